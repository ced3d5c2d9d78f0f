"""A user's own arrays."""

from pathlib import Path

import numpy as np
import pytest

from tfc_jax import data
from tfc_jax.errors import InputError

CLASSES = {
    "x_train": np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1),
    "y_test": np.array([2, 0]),
}
REGRESSION = {
    "x_train": np.linspace(0, 1, 6).reshape(6, 1),
    "y_train": np.linspace(-1, 1, 6),
    "x_test": np.ones((2, 1)),
    "y_test": np.zeros(2),
}


def archive(folder: Path, arrays: dict[str, np.ndarray]) -> str:
    path = folder / "mine.npz"
    np.savez(path, allow_pickle=True, **arrays)
    return f"npz:{path}"


@pytest.mark.parametrize("integer", [np.uint8, np.int64, ">i4"])
def test_integer_targets_are_class_labels(tmp_path: Path, integer: str) -> None:
    labels = {key: CLASSES[key].astype(integer) for key in ("y_train", "y_test")}
    dataset = data.load(archive(tmp_path, CLASSES | labels))
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.max_value == 255
    assert dataset.y_train.dtype == np.int32
    np.testing.assert_array_equal(dataset.y_train, CLASSES["y_train"])
    np.testing.assert_array_equal(dataset.x_train, CLASSES["x_train"])


def test_float_targets_are_regression_targets_in_columns(tmp_path: Path) -> None:
    dataset = data.load(archive(tmp_path, REGRESSION))
    assert (dataset.n_classes, dataset.n_outputs, dataset.max_value) == (0, 1, 1)
    assert dataset.y_train.dtype == dataset.x_train.dtype == np.float32
    np.testing.assert_array_equal(dataset.y_train, REGRESSION["y_train"][:, None].astype("f4"))


def test_several_outputs_stay_several(tmp_path: Path) -> None:
    outputs = {"y_train": np.zeros((6, 3)), "y_test": np.zeros((2, 3))}
    assert data.load(archive(tmp_path, REGRESSION | outputs)).n_outputs == 3


def test_the_part_a_sweep_asks_for_is_taken(tmp_path: Path) -> None:
    dataset = data.load(archive(tmp_path, CLASSES), classes=2, n_train=3)
    np.testing.assert_array_equal(dataset.y_train, [0, 1, 0])


def test_a_relative_path_starts_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path, CLASSES)
    monkeypatch.chdir(tmp_path)
    assert data.load("npz:mine.npz").name == "npz:mine.npz"


WRONG: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "no channel axis": ({"x_train": np.zeros((6, 2, 2), np.uint8)}, r"allowed are \(N, H, W, C\)"),
    "wide images": ({"x_train": np.zeros((6, 2, 2, 1), np.int64)}, "int64; allowed are uint8"),
    "booleans": ({"y_train": np.zeros(6, bool)}, "y_train is bool and y_test int64; both must"),
    "mixed targets": ({"y_test": np.zeros(2)}, "y_train is int64 and y_test float64; both must"),
    "text": ({"y_train": np.array(["a"] * 6)}, "y_train is <U1"),
    "unseen label": ({"y_test": np.array([0, 3])}, r"y_test holds labels 0\.\.3; .*0\.\.2"),
    "negative label": ({"y_train": np.array([-1, 0, 1, 0, 1, 0])}, r"labels -1\.\.2 with 6"),
    "years": ({"y_train": np.arange(1990, 1996)}, r"labels 0\.\.1995 with 6 training samples"),
    "wrapping label": ({"y_test": np.array([0, 2**32])}, r"labels 0\.\.4294967296 with 6"),
    "empty": ({"x_train": np.zeros((0, 1), "f4"), "y_train": np.zeros(0, int)}, "with 0 training"),
    "scalar": ({"y_train": np.array(0)}, "with 1 training samples"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_arrays_that_cannot_be_learned_are_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        data.load(archive(tmp_path, CLASSES | changes))


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x_test holds NaN or infinite"):
        data.load(archive(tmp_path, REGRESSION | {"x_test": np.full((2, 1), 1e300)}))


def test_missing_arrays_are_named_together_with_those_present(tmp_path: Path) -> None:
    arrays = {"x_train": CLASSES["x_train"], "labels": CLASSES["y_train"]}
    with pytest.raises(InputError, match=r"y_train, x_test, y_test missing; .* x_train, labels"):
        data.load(archive(tmp_path, arrays))


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    objects = np.array([{}] * 6, dtype=object)
    with pytest.raises(InputError, match="cannot be read as an archive of plain arrays"):
        data.load(archive(tmp_path, CLASSES | {"y_train": objects}))


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros(3))
    with pytest.raises(InputError, match="cannot be read as an archive of plain arrays"):
        data.load(f"npz:{tmp_path / 'mine.npy'}")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.95])
def test_a_truncated_archive_is_refused(tmp_path: Path, kept: float) -> None:
    path = Path(archive(tmp_path, CLASSES).removeprefix("npz:"))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="cannot be read as an archive of plain arrays"):
        data.load(f"npz:{path}")


def test_an_altered_archive_is_refused(tmp_path: Path) -> None:
    path = Path(archive(tmp_path, CLASSES).removeprefix("npz:"))
    content = path.read_bytes()
    image = CLASSES["x_train"].tobytes()
    assert content.count(image) == 1
    path.write_bytes(content.replace(image, image[::-1]))
    with pytest.raises(InputError, match="Bad CRC-32"):
        data.load(f"npz:{path}")


def test_a_path_that_is_not_there_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"there is no file {tmp_path / 'gone.npz'}"):
        data.load("npz:gone.npz")


def test_an_archive_is_prepared_by_reading_it(tmp_path: Path) -> None:
    name = archive(tmp_path, CLASSES)
    assert data.prepare(name).available
    with pytest.raises(InputError, match="there is no file"):
        data.prepare(f"npz:{tmp_path / 'absent.npz'}")
