"""Checkpoints: what goes in comes out, or DamagedCheckpoint does."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tfc_jax import checkpoint, files
from tfc_jax.checkpoint import Checkpoint, DamagedCheckpoint, Part

BFLOAT16 = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(2, 3)
ARRAYS: dict[str, np.ndarray] = {
    "params/layers/0/kernel": np.array([[1.5, np.nan, -0.0], [np.inf, 1e-45, 3e38]], np.float32),
    "opt_state/0/trace/layers/0/kernel": BFLOAT16,
    "step": np.array([7, 7], np.int32),
    "first_bad_step": np.array([-1, 3], np.int32),
    "empty": np.zeros((2, 0), np.float32),
    "key": np.array([[0, 2**32 - 1], [1, 2]], np.uint32),
}
STORED = Checkpoint(
    step=7,
    arrays=ARRAYS,
    parts={"steps/a-0-7.parquet": Part("ab" * 32, rows=14)},
    final={"loss": np.array([0.25, np.nan], np.float32)},
    wall_s=12.5,
    epoch=3,
)


def save(path: Path, stored: Checkpoint) -> None:
    with files.new_file(path) as file:
        checkpoint.save(file, stored)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "c.npz", STORED)
    return tmp_path / "c.npz"


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def test_every_bit_comes_back(path: Path) -> None:
    found = checkpoint.load(path)
    assert_same_bits(found.arrays, ARRAYS)
    assert_same_bits(found.final, STORED.final)
    assert (found.step, found.parts, found.wall_s, found.epoch) == (7, STORED.parts, 12.5, 3)
    assert found.arrays["opt_state/0/trace/layers/0/kernel"].dtype == ml_dtypes.bfloat16


def test_an_altered_byte_is_noticed_wherever_it_is(path: Path) -> None:
    raw = path.read_bytes()
    for position in [*range(0, len(raw), 97), len(raw) - 1]:
        altered = bytearray(raw)
        altered[position] ^= 0x10
        path.write_bytes(altered)
        with pytest.raises(DamagedCheckpoint, match="SHA-256"):
            checkpoint.load(path)


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 33, -33, -1])
def test_a_cut_file_is_noticed_wherever_it_was_cut(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedCheckpoint):
        checkpoint.load(path)


def test_an_appended_byte_is_noticed(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DamagedCheckpoint):
        checkpoint.load(path)


def test_nothing_in_it_is_pickled(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:  # the trailer after it does not matter to zip
        for name in archive.namelist():
            head = archive.read(name)[:128]
            assert head.startswith(b"\x93NUMPY"), name
            assert b"'descr': '|O'" not in head, name


def test_what_only_pickle_could_store_is_neither_written_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    save(path, Checkpoint(0, {"a": np.array([{}])}, {}, {}, 0.0, 1))
    with pytest.raises(DamagedCheckpoint, match="Python objects"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parts": []},
        {"parts": {"a": ["00", "3"]}},
        {"step": None},
        {"step": "3"},
        {"step": -1},
        {"epoch": "x"},
        {"epoch": 10**9},
        {"wall_s": -1.0},
        {"wall_s": float("nan")},
        {"arrays": {"step": np.zeros(2)}},
    ],
    ids=str,
)
def test_a_whole_file_that_says_what_no_checkpoint_does_is_damaged(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    save(tmp_path / "c.npz", replace(STORED, **wrong))
    with pytest.raises(DamagedCheckpoint, match="not a checkpoint of this version"):
        checkpoint.load(tmp_path / "c.npz")


def test_a_whole_file_that_is_no_checkpoint_is_damaged(tmp_path: Path) -> None:
    with files.new_file(tmp_path / "c.npz") as file:
        file.write(b"anything")
        file.write(file.digest())
    with pytest.raises(DamagedCheckpoint, match="not a checkpoint of this version"):
        checkpoint.load(tmp_path / "c.npz")
