"""Cached arrays: all or nothing, and never silently altered."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfc_jax import data
from tfc_jax.cache import cache_root
from tfc_jax.data import Dataset, _cache
from tfc_jax.errors import InputError

Make = Callable[..., Dataset]
FILES = ["SHA256SUMS", "dataset.json", "x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy"]


@pytest.fixture
def cached(make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A small data set in the cache, under a name that is read from there."""
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))
    dataset = make_dataset(name="mnist")
    _cache.write(dataset)
    return dataset


def test_what_is_read_is_what_was_written(cached: Dataset) -> None:
    read = data.load("mnist")
    assert read.sha256 == cached.sha256
    assert (read.class_names, read.max_value) == (cached.class_names, cached.max_value)


def test_arrays_are_mapped_and_cannot_be_written(cached: Dataset) -> None:
    x = data.load("mnist").x_train
    assert isinstance(x, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 1


def test_only_the_finished_folder_is_left(cached: Dataset) -> None:
    folder = _cache.folder("mnist")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("file", FILES)
def test_a_single_altered_bit_is_refused_with_the_remedy(cached: Dataset, file: str) -> None:
    path = _cache.folder("mnist") / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"altered .* Make it anew with: tfc data prepare mnist"):
        data.load("mnist")


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_is_refused(cached: Dataset, file: str) -> None:
    path = _cache.folder("mnist") / file
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match="missing or altered"):
        data.load("mnist")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused_and_named(cached: Dataset, file: str) -> None:
    (_cache.folder("mnist") / file).unlink()
    with pytest.raises(InputError, match=f"{file} in .* missing"):
        data.load("mnist")


def test_a_second_writer_leaves_the_first_in_place(cached: Dataset, make_dataset: Make) -> None:
    _cache.write(make_dataset(name="mnist", x_test=np.ones((8, 2, 2, 1), np.uint8)))
    assert data.load("mnist").sha256 == cached.sha256
    assert len(list(_cache.folder("mnist").parent.iterdir())) == 1


def test_a_writer_that_fails_leaves_nothing(
    make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TFC_CACHE", str(tmp_path))
    monkeypatch.setattr(_cache, "sync_file", fail)
    with pytest.raises(InputError, match=r"No space left .* set TFC_CACHE"):
        _cache.write(make_dataset(name="mnist"))
    assert list((tmp_path / "data").iterdir()) == []


def test_a_cache_that_cannot_be_a_folder_is_refused(
    make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cannot be written"):
        _cache.write(make_dataset(name="mnist"))
    with pytest.raises(InputError, match="cannot be written"):
        _cache.make_root()


def test_a_discarded_data_set_is_gone_and_may_be_discarded_again(cached: Dataset) -> None:
    _cache.discard("mnist")
    _cache.discard("mnist")
    assert not _cache.is_intact("mnist")
    assert list(_cache.folder("mnist").parent.iterdir()) == []


WRITE_AND_READ = """
import numpy as np
from tfc_jax.data import Dataset, _cache
x, y = np.zeros((5000, 8, 8, 1), np.uint8), np.arange(5000, dtype=np.int32) % 2
for i in range(20):
    name = f"set{i}"
    _cache.write(Dataset(name, x, y, x, y, ("a", "b"), 255))
    assert _cache.read(name).x_train.shape == x.shape
print("done")
"""


def test_processes_that_write_the_same_data_sets_do_not_disturb_each_other(
    python: Callable[..., list[tuple[str, str]]], tmp_path: Path
) -> None:
    assert python(WRITE_AND_READ, copies=2, TFC_CACHE=str(tmp_path)) == [("done\n", "")] * 2
    assert len(list((tmp_path / "data").iterdir())) == 20


def test_the_default_cache_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFC_CACHE")
    assert cache_root() == Path.home() / ".cache" / "tfc_jax"


def test_a_cache_copied_from_another_machine_is_read(
    cached: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tmp_path / "cache", tmp_path / "elsewhere")
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "elsewhere"))
    assert data.load("mnist").sha256 == cached.sha256
