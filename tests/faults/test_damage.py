"""Files that change on the disk: damage is always noticed, and what can be made again is."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.faults.tally import Tally, Tries
from tests.sweeps import (
    BARE,
    PACK,
    content,
    fake_plugins,
    make_store,
    make_sweep,
    train,
    train_fake_pack,
)
from tfc_jax import fsck
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder

Damage = Callable[[bytes, random.Random], bytes]
RECORD = BARE | {"metrics": ["similarity"], "probes": ["generalization"]}


def flip(raw: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(raw))
    return raw[:place] + bytes([raw[place] ^ (1 << rng.randrange(8))]) + raw[place + 1 :]


def cut(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw))]


def zero(raw: bytes, rng: random.Random) -> bytes:
    while True:
        start = rng.randrange(len(raw))
        stop = rng.randrange(start, len(raw)) + 1
        if any(raw[start:stop]):
            return raw[:start] + bytes(stop - start) + raw[stop:]


DAMAGES = (flip, cut, zero)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    train(make_sweep(out.parent, record=RECORD), out, commit_seconds=0)
    return out


def test_a_data_file_flipped_cut_or_zeroed(
    tmp_path: Path, tally: Tally, tries: Tries, trained: Path
) -> None:
    rng, out = random.Random(0), tmp_path / "out"
    shutil.copytree(trained, out)
    parts = sorted(out.glob("*/*-*-*.parquet"))
    for n in range(tries(300, 3000)):
        tally.tried += 1
        with damaged(rng.choice(parts), DAMAGES[n % 3], rng) as path:
            tally.wrong += [one.path for one in fsck.check(Folder(out)).damage] != [path]
    assert not tally.bad
    assert fsck.check(Folder(out)).damage == []


def test_final_weights_flipped_cut_or_zeroed(
    tmp_path: Path, tally: Tally, tries: Tries, trained: Path
) -> None:
    """A zip file has some bytes that say nothing: without a finding the weights are the same."""
    rng, out = random.Random(0), tmp_path / "out"
    shutil.copytree(trained, out)
    paths = sorted(out.glob("params/*.npz"))
    for n in range(tries(100, 1000)):
        tally.tried += 1
        before = weights_in(path := rng.choice(paths))
        with damaged(path, DAMAGES[n % 3], rng):
            found = [one.path for one in fsck.check(Folder(out)).damage]
            tally.wrong += found != [path] and (found != [] or weights_in(path) != before)
    assert not tally.bad


@contextmanager
def damaged(path: Path, damage: Damage, rng: random.Random) -> Iterator[Path]:
    raw = path.read_bytes()
    path.write_bytes(damage(raw, rng))
    yield path
    path.write_bytes(raw)


def weights_in(path: Path) -> dict[str, bytes]:
    with np.load(path) as stored:
        return {name: stored[name].tobytes() for name in stored.files}


def test_a_launch_that_asks_more_of_damaged_results(
    tmp_path: Path, tally: Tally, tries: Tries, trained: Path
) -> None:
    """Refused, and nothing changes on the disk."""
    rng, out = random.Random(1), tmp_path / "out"
    shutil.copytree(trained, out)
    longer = make_sweep(tmp_path, base={"steps": 80}, record=RECORD)
    parts = sorted(out.glob("*/*-*-*.parquet"))
    for n in range(tries(30, 300)):
        tally.tried += 1
        with (
            damaged(rng.choice(parts), DAMAGES[n % 3], rng),
            pytest.raises(InputError, match="damaged, so nothing is added"),
        ):
            train(longer, out)
    train(longer, out)
    train(longer, tmp_path / "reference")
    assert content(out) == content(tmp_path / "reference")


def test_a_checkpoint_flipped_cut_or_zeroed(
    tmp_path: Path, tally: Tally, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack goes on from the one before, says so, and comes out the same."""
    fake_plugins(monkeypatch)
    train_fake_pack(tmp_path / "half", steps=20, commit_every=10)
    train_fake_pack(tmp_path / "reference")
    reference, rng = content(tmp_path / "reference"), random.Random(2)
    for n in range(tries(60, 600)):
        folder = Folder(tmp_path / str(n))
        shutil.copytree(tmp_path / "half", folder.root)
        newest = folder.checkpoints_of(PACK)[0]
        newest.write_bytes(DAMAGES[n % 3](newest.read_bytes(), rng))
        store = make_store(folder)
        checkpoint = store.recover()
        tally.tried += 1
        tally.wrong += checkpoint is None or checkpoint.step != 10
        tally.wrong += str(newest) not in "".join(store.notices)
        train_fake_pack(folder.root, commit_every=10)
        tally.wrong += content(folder.root) != reference
    assert not tally.bad
