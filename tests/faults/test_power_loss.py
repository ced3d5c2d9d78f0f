"""The power goes at any moment: what was called committed is there, and all else is made again."""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.faults.power import Event, Killed, Recorder, State, Sync, crashes, put
from tests.faults.tally import Tally, Tries
from tests.sweeps import PACK, content, fake_plugins, make_state, make_store, train_fake_pack
from tfc_jax import checkpoint as checkpoints
from tfc_jax import files, store
from tfc_jax.checkpoint import DamagedCheckpoint
from tfc_jax.layout import Folder, steps_of
from tfc_jax.stage import Stage
from tfc_jax.store import PackStore

STEPS = 40
TABLES = ("steps", "layers", "probe")


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins(monkeypatch)
    monkeypatch.setattr(store.logger, "disabled", True)  # thousands of damaged checkpoints


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: thousands of small disks are made here."""
    shared = Path("/dev/shm")  # noqa: S108 - below it a folder is made that is new
    if not shared.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="tfc-", dir=shared))  # beside those of a killed test
    yield folder
    shutil.rmtree(folder)


def nothing(out: Path) -> None:
    """Before the first launch."""


def killed_before_publishing(out: Path) -> None:
    """The second commit is durable, and nothing of it is in the tables."""
    train_fake_pack(out, steps=20, commit_every=10)
    folder = Folder(out)
    stage = Stage.take(folder, PACK)
    for table in TABLES:
        part = f"{PACK}-{10:09d}-{20:09d}.parquet"
        stage.take_in(folder.table(table) / part, f"{table}-{part}")


def newest_checkpoint_damaged(out: Path) -> None:
    """Rows of the last group stand in the tables, and no good checkpoint covers them."""
    train_fake_pack(out, steps=20, commit_every=10)
    Folder(out).checkpoint(PACK, 20).write_bytes(b"damaged")


def done(out: Path) -> None:
    """Fewer steps were asked for, and are done."""
    train_fake_pack(out, steps=20, commit_every=10)


SCENES = (nothing, done, killed_before_publishing, newest_checkpoint_damaged)


def recorded(out: Path, scene: Callable[[Path], None], kill_at: int = -1) -> Recorder:
    """What a launch does after a scene, or one that is killed and another.

    It tells what the runs table has said, and recoveries.
    """
    out.mkdir()
    scene(out)
    recorder = Recorder(out)
    recorder.kill_at = kill_at
    write_runs, recover = PackStore.write_runs, PackStore.recover
    with pytest.MonkeyPatch.context() as patch:

        def telling_write(self: PackStore, status: str, steps_done: int, wall_s: float) -> None:
            write_runs(self, status, steps_done, wall_s)
            recorder.tell((status, steps_done))

        def telling_recover(self: PackStore) -> Any:
            checkpoint = recover(self)
            recorder.tell(("recovered", checkpoint.step if checkpoint else 0))
            return checkpoint

        patch.setattr(files, "os", recorder)
        patch.setattr(PackStore, "write_runs", telling_write)
        patch.setattr(PackStore, "recover", telling_recover)
        with suppress(Killed):
            train_fake_pack(out, steps=STEPS, commit_every=10)
        if kill_at >= 0:
            recorder.kill_at = -1
            train_fake_pack(out, steps=STEPS, commit_every=10)
    return recorder


def before_syncs_of_names(calls: Sequence[str]) -> list[int]:
    """Calls at which a kill leaves a name that is there and not durable."""
    naming = ("link", "rename")
    return [i for i, n in enumerate(calls) if n == "fsync" and calls[i - 1] in naming]


class Judge:
    """Says what is wrong with a disk after a power loss, by what an undisturbed launch leaves."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        train_fake_pack(folder / "reference", steps=STEPS, commit_every=10)
        self.content = content(folder / "reference")
        parts = (folder / "reference").glob("*/*-*-*.parquet")
        self.parts = {f"{p.parent.name}/{p.name}": files.sha256(p) for p in parts}

    def uncovered(self, out: Path) -> set[str]:
        """Parts in the tables that no good checkpoint names."""
        covered: set[str] = set()
        for path in Folder(out).checkpoints.glob(f"{PACK}-*.npz"):
            try:
                covered |= checkpoints.load(path).parts.keys()
            except DamagedCheckpoint:
                continue
        return {f"{p.parent.name}/{p.name}" for p in out.glob(f"*/{PACK}-*.parquet")} - covered

    def verdict(self, out: Path, told: Any, *, finish: bool) -> str:
        """Returns what went wrong, or nothing."""
        status, steps = told or ("", 0)
        if any(t.is_dir() and not any(t.iterdir()) for t in (out / name for name in TABLES)):
            return "a table that no reader can open"
        if told and self.uncovered(out):
            return "rows without a checkpoint"
        if status in ("running", "done") and not self._says(out, status, steps):
            return "what the runs table said is lost"
        if not finish:
            return self._after_recovery(out, steps)
        train_fake_pack(out, steps=STEPS, commit_every=10)
        return "" if content(out) == self.content else "another result"

    def _says(self, out: Path, status: str, steps: int) -> bool:
        rows = pq.ParquetFile(out / "runs" / f"{PACK}.parquet").read().to_pylist()
        if status == "done" and not (out / "params" / f"{PACK}.npz").exists():
            return False
        return all(row["steps_done"] >= steps for row in rows)

    def _after_recovery(self, out: Path, steps: int) -> str:
        folder = Folder(out)
        if (out / "runs" / f"{PACK}.parquet").exists():
            self._says(out, "", 0)  # it can be read, whatever it says
        checkpoint = make_store(folder).recover()
        done = checkpoint.step if checkpoint else 0
        if done < steps:
            return "a commit is lost"
        if checkpoint:
            expected = make_state(done)["params/layers/0/kernel"]
            np.testing.assert_array_equal(checkpoint.arrays["params/layers/0/kernel"], expected)
        found = {f"{t}/{p.name}" for t in TABLES for p in folder.parts_of(t, PACK)}
        wanted = {name for name in self.parts if (steps_of(Path(name)) or (0, 0))[1] <= done}
        if found != wanted:
            return "rows are missing, or stand there twice"
        is_same = all(files.sha256(out / name) == self.parts[name] for name in found)
        return "" if is_same else "other rows"


def judged(
    judge: Judge, recorder: Recorder, events: list[Event], memory: Path, at_most: int
) -> Iterator[str]:
    """Yields a verdict for each different state after a power loss."""
    seen: set[int] = set()
    for number, (state, told) in enumerate(
        crashes(recorder.start, events, at_most, random.Random(0))
    ):
        key = hash((frozenset(state.items()), told))
        if key in seen:
            continue
        seen.add(key)
        yield verdict(judge, state, told, memory / str(number), finish=len(seen) % 100 == 0)


def verdict(judge: Judge, state: State, told: Any, out: Path, *, finish: bool) -> str:
    out.mkdir()
    put(state, out)
    try:
        return judge.verdict(out, told, finish=finish)
    except Exception as error:  # whatever a broken disk leads to is a verdict
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(out)


@pytest.fixture
def judge(memory: Path) -> Judge:
    return Judge(memory / "judge")


def test_power_loss(tally: Tally, tries: Tries, memory: Path, judge: Judge) -> None:
    for scene in SCENES:
        recorder = recorded(memory / scene.__name__, scene)
        found = list(judged(judge, recorder, recorder.events, memory, tries(150, 2000)))
        tally.tried += len(found)
        tally.lost += sum("lost" in v for v in found)
        tally.doubled += sum("twice" in v for v in found)
        tally.wrong += sum(bool(v) for v in found)
        assert not [v for v in found if v], scene.__name__
    assert tally.tried >= 10_000


def test_power_loss_after_a_kill(tally: Tally, tries: Tries, memory: Path, judge: Judge) -> None:
    """Names that the killed launch had given without a sync are made durable by the next one."""
    places = before_syncs_of_names(recorded(memory / "whole", nothing).calls)
    for kill_at in places:
        recorder = recorded(memory / f"killed-{kill_at}", nothing, kill_at)
        found = list(judged(judge, recorder, recorder.events, memory, tries(2, 100)))
        tally.tried += len(found)
        tally.wrong += sum(bool(v) for v in found)
        assert not [v for v in found if v], kill_at
    assert tally.tried > 100 * len(places) > 1000


def test_power_loss_is_noticed_without_any_one_of_the_syncs(memory: Path, judge: Judge) -> None:
    recorders = [recorded(memory / scene.__name__, scene) for scene in SCENES]
    for kill_at in before_syncs_of_names(recorders[0].calls):
        recorders.append(recorded(memory / f"killed-{kill_at}", nothing, kill_at))
    sites = {e.site for r in recorders for e in r.events if isinstance(e, Sync)}
    harmless = [site for site in sorted(sites) if not is_noticed(judge, recorders, site, memory)]
    assert not harmless
    assert len(sites) > 10


def is_noticed(judge: Judge, recorders: list[Recorder], site: str, memory: Path) -> bool:
    """Whether something goes wrong where the syncs of one place do nothing."""
    for recorder in recorders:
        events = [e for e in recorder.events if not (isinstance(e, Sync) and e.site == site)]
        if len(events) < len(recorder.events) and any(judged(judge, recorder, events, memory, 30)):
            return True
    return False
