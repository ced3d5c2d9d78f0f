"""A truncated or altered data set is refused before anything is compiled, in one sentence."""

import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from typer.testing import CliRunner

from tests.faults.tally import Tally, Tries
from tests.sweeps import CPU, content, make_sweep, train, write_sweep
from tfc_jax import data, worker
from tfc_jax.cli import app
from tfc_jax.data import Dataset, _cache, digits
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.replay import replay
from tfc_jax.results import open_results

Change = Callable[[bytes], bytes]
RNG = np.random.default_rng(11)
X = RNG.integers(0, 256, (24, 2, 2, 1), np.uint8)
ARRAYS: dict[str, Any] = {
    "x_train": X,
    "y_train": np.arange(24) % 3,
    "x_test": X[:6],
    "y_test": np.arange(6) % 3,
}


def flipped(position: int, bit: int = 0) -> Change:
    def change(raw: bytes) -> bytes:
        altered = bytearray(raw)
        altered[position % len(raw)] ^= 1 << bit
        return bytes(altered)

    return change


def truncated(length: int) -> Change:
    return lambda raw: raw[:length]


def changes(size: int, count: int) -> Iterator[Change]:
    """As many flips as truncations, at places spread over a file."""
    for place in RNG.integers(0, size, count):
        yield flipped(int(place), int(RNG.integers(8)))
        yield truncated(int(place))


def attempt(load: Callable[[], Dataset], original: Dataset, tally: Tally) -> bool:
    """Adds to the tally; returns whether the data set was refused."""
    tally.tried += 1
    try:
        found = load()
    except InputError as error:
        tally.wrong += any("\n" in message or len(message) < 20 for message in error.messages)
        return True
    except Exception:
        tally.tracebacks += 1
        return False
    tally.wrong += found.sha256 != original.sha256  # a bit that nothing reads may differ
    return False


def altered(path: Path, change: Change, tally: Tally, load: Callable[[], Dataset]) -> bool:
    """Tries one change of a file, and puts the file back."""
    raw, original = path.read_bytes(), load()
    path.write_bytes(change(raw))
    try:
        return attempt(load, original, tally)
    finally:
        path.write_bytes(raw)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_altered_archive(save: Any, tmp_path: Path, tries: Tries, tally: Tally) -> None:
    path = tmp_path / "mine.npz"
    save(path, **ARRAYS)
    size = path.stat().st_size
    every = [flipped(place, bit) for place in range(size) for bit in range(8)]
    every += [truncated(length) for length in range(size)]
    chosen = every[:: tries(9, 1)]
    refused = sum(altered(path, c, tally, lambda: data.load(f"npz:{path}")) for c in chosen)
    assert tally.tried == len(chosen) > 500
    # The others change dates and attributes, a third of so small an archive, which nothing reads.
    assert refused > 0.6 * tally.tried
    assert not tally.bad


def test_an_altered_cache(
    tmp_path: Path, tries: Tries, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFC_CACHE", str(tmp_path))
    y = {name: ARRAYS[name].astype(np.int32) for name in ("y_train", "y_test")}
    x = {name: ARRAYS[name] for name in ("x_train", "x_test")}
    _cache.write(Dataset(name="mnist", **x, **y, class_names=("a", "b", "c"), max_value=255))
    files = sorted(_cache.folder("mnist").iterdir())
    for path in files:
        for change in changes(path.stat().st_size, tries(10, 400)):
            refused = altered(path, change, tally, lambda: data.load("mnist"))
            # A sum in capitals, say, or a file name that nobody asks for, is no damage.
            tally.wrong += not refused and path.name != "SHA256SUMS"
    assert tally.tried >= 20 * len(files) == 120
    assert not tally.bad


def test_altered_embedded_digits(
    tmp_path: Path, tries: Tries, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(sklearn.datasets.__file__).parent
    (source,) = here.glob("data/digits.csv.gz")
    raw, original = source.read_bytes(), data.load("digits")
    copy = tmp_path / "digits.csv.gz"
    real = sklearn.datasets.load_digits
    module = sys.modules[real.__module__]

    def from_copy(**_: Any) -> Any:  # as scikit-learn reads its own
        with gzip.open(copy, "rt", encoding="utf-8") as lines:
            return np.loadtxt(lines, delimiter=","), "digits"

    monkeypatch.setattr(module, "load_gzip_compressed_csv_data", from_copy)
    text = gzip.decompress(raw).replace(b"0,", b"1,", 1)
    other = [lambda _: gzip.compress(text), lambda _: gzip.compress(text[: len(text) // 2])]
    for change in [*other, *changes(len(raw), tries(6, 100))]:
        copy.write_bytes(change(raw))
        attempt(lambda: data.load("digits"), original, tally)
    copy.write_bytes(raw)
    assert data.load("digits").sha256 == original.sha256 == digits._SHA256
    assert tally.tried >= 14
    assert not tally.bad


MAKE_TFDS = """
import sys
import numpy as np
import tensorflow_datasets as tfds

class Mnist(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("3.0.1")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(2, 2, 1)),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(24), "test": self._generate_examples(6)}

    def _generate_examples(self, n):
        for i in range(n):
            image = np.random.default_rng(i).integers(0, 256, (2, 2, 1), dtype=np.uint8)
            yield i, {"image": image, "label": i % 3}

Mnist(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What TFDS prepares, of 24 small images."""
    folder = tmp_path_factory.mktemp("tfds")
    command = [sys.executable, "-c", MAKE_TFDS, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_an_altered_preparation_of_tfds(
    prepared: Path,
    tmp_path: Path,
    tries: Tries,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(prepared, tmp_path / "tfds")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))

    def load() -> Dataset:
        _cache.discard("mnist")
        return data.load("mnist")

    files = sorted((tmp_path / "tfds" / "mnist" / "3.0.1").iterdir())
    assert sum("array_record" in path.name for path in files) == 2
    for path in files:
        for change in changes(path.stat().st_size, tries(6, 300)):
            refused = altered(path, change, tally, load)
            assert refused == (not _cache.folder("mnist").exists())
    # Whole records, but of another part: too few of them.
    test, train = (next(p for p in files if f"-{part}." in p.name) for part in ("test", "train"))
    assert altered(train, lambda _: test.read_bytes(), tally, load)
    assert tally.tried >= 10 * len(files) >= 40
    assert not tally.bad


def sweep_of(folder: Path, seeds: int = 2, **base: Any) -> dict[str, Any]:
    own = {"dataset": f"npz:{folder}/mine.npz", "n_train": None, "batch_size": 8, "steps": 20}
    return {"base": own | base, "grid": {}, "seeds": seeds, "record": {"probe_samples": 6}}


def save(folder: Path, **changed: Any) -> None:
    np.savez(folder / "mine.npz", **ARRAYS | changed)


OTHER: dict[str, dict[str, Any]] = {
    "one pixel": {"x_train": np.where(np.arange(96).reshape(X.shape) == 50, X ^ 1, X)},
    "one label": {"y_train": np.where(np.arange(24) == 3, 1, np.arange(24) % 3)},
    "a test label": {"y_test": np.array([0, 1, 2, 0, 1, 1])},
    "the order": {"x_train": X[::-1]},
    "one sample less": {"x_train": X[:-1], "y_train": np.arange(23) % 3},
    "NaN": {"x_train": np.full(X.shape, np.nan, np.float32), "x_test": np.ones((6, 2, 2, 1), "f4")},
}
ASKED: dict[str, dict[str, Any]] = {
    "the same runs, longer": {"steps": 40},
    "only new runs": {"learning_rate": 0.3},
}


def test_a_data_set_that_changed_between_launches(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for runs that are all new: a folder's runs are compared with each other."""
    save(tmp_path)
    train(make_sweep(tmp_path, **sweep_of(tmp_path)), tmp_path / "out")
    before = content(tmp_path / "out", without=())

    def compiles(*_: Any) -> None:
        raise AssertionError("this was to be refused before")

    monkeypatch.setattr(worker, "prepare", compiles)
    for changed in OTHER.values():
        save(tmp_path, **changed)
        for asked in ASKED.values():
            path = write_sweep(tmp_path, **sweep_of(tmp_path, **asked))
            command = ["run", str(path), "--out", str(tmp_path / "out"), "--workers", "0"]
            result = CliRunner().invoke(app, command)
            tally.tried += 1
            told = " ".join(result.output.split())
            tally.wrong += result.exit_code != 2 or "mine.npz" not in told
            tally.wrong += not ("its content is not what pack" in told or "holds NaN" in told)
            tally.tracebacks += "Traceback" in result.output or not isinstance(
                result.exception, SystemExit
            )
            tally.lost += content(tmp_path / "out", without=()) != before
    assert tally.tried == len(OTHER) * len(ASKED)
    assert not tally.bad


def test_a_data_set_that_changes_while_a_launch_runs(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packs that come later fail with the remedy, and finish once it is put back."""
    save(tmp_path)
    sweep = make_sweep(tmp_path, **sweep_of(tmp_path, seeds=4))
    train(sweep, tmp_path / "whole", width=2)
    events: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "finished":
            save(tmp_path, **OTHER["one label"])
            data.loaded.cache_clear()

    data.loaded.cache_clear()
    counts = train(sweep, tmp_path / "out", width=2, on_event=watch)
    tally.tried += 1
    assert counts == {"done": 2, "failed": 2}
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert "its content is not what this pack is for" in failed["error"]
    assert "tfc retry" in failed["error"]
    run_id = open_results(tmp_path / "out").runs.query("status == 'done'")["run_id"].iloc[0]
    with pytest.raises(InputError, match=r"could not be trained here: .* not what this pack is"):
        replay(Folder(tmp_path / "out"), run_id, CPU)
    save(tmp_path)
    data.loaded.cache_clear()
    train(sweep, tmp_path / "out", width=2, retry=True)
    tally.lost += content(tmp_path / "out") != content(tmp_path / "whole")
    assert not tally.bad
