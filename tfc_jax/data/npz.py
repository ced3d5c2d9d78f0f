"""A user's own data set: `npz:PATH`, one NumPy archive of four arrays."""

from pathlib import Path

import numpy as np

from tfc_jax.archives import names_of, read_arrays
from tfc_jax.data._dataset import ARRAYS, Dataset
from tfc_jax.data._state import State
from tfc_jax.errors import InputError

PREFIX, PLACEHOLDER = "npz:", "PATH"


def load_raw(name: str) -> Dataset:
    """Reads `npz:PATH`; a relative PATH starts at the current folder.

    The archive holds x_train, y_train, x_test, y_test. Inputs are uint8 (`max_value` 255) or
    floating point (read as float32, `max_value` 1), of shape (N, H, W, C) or (N, D). Integer
    targets of shape (N,) are class labels 0..K-1, K - 1 being the largest training label;
    floating-point targets of shape (N,) or (N, O) are regression targets.

    Raises:
      InputError: there is no such archive, or it does not hold such arrays.
    """
    raw = _read(_path(name), name)
    y_train, y_test, n_classes = _targets(name, raw["y_train"], raw["y_test"])
    return Dataset(
        name=name,
        x_train=_inputs(raw["x_train"]),
        y_train=y_train,
        x_test=_inputs(raw["x_test"]),
        y_test=y_test,
        class_names=tuple(str(label) for label in range(n_classes)),
        max_value=255 if raw["x_train"].dtype == np.uint8 else 1,
    )


def prepare(name: str) -> State:
    """Reads the archive once: there is nothing else to prepare.

    Raises:
      InputError: as of `load_raw`.
    """
    load_raw(name)
    return State(name, available=True, where=str(_path(name)))


def _path(name: str) -> Path:
    """Returns the PATH of a name, if the system can look for it."""
    path = Path(name.removeprefix(PREFIX))
    try:
        path = path.expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, or the home of nobody
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"dataset '{name}': {reason}. Give the path of an archive.") from None
    return path


def _read(path: Path, name: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(
            f"dataset '{name}': there is no file {path.absolute()}. Give the path of an "
            "archive that np.savez wrote."
        )
    try:
        arrays = read_arrays(path, ARRAYS)
        others = names_of(path)
    except ValueError as error:
        raise InputError(
            f"dataset '{name}': {path} cannot be read as an archive of plain arrays ({error}). "
            "Write it with np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)."
        ) from error
    missing = [key for key in ARRAYS if key not in arrays]
    if missing:
        raise InputError(
            f"dataset '{name}': {', '.join(missing)} missing; the archive holds "
            f"{', '.join(others) or 'nothing'}. Needed are {', '.join(ARRAYS)}."
        )
    return arrays


def _inputs(x: np.ndarray) -> np.ndarray:
    return _float32(x) if x.dtype.kind == "f" else x


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
        return values.astype(np.float32)


def _targets(
    name: str, y_train: np.ndarray, y_test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns both targets in their final dtype, and K (0 for regression)."""
    kinds = y_train.dtype.kind + y_test.dtype.kind
    if kinds == "ff":
        return _as_columns(y_train), _as_columns(y_test), 0
    if not set(kinds) <= {"i", "u"}:
        raise InputError(
            f"dataset '{name}': y_train is {y_train.dtype} and y_test {y_test.dtype}; both must be "
            "integers (class labels) or both floating point (regression targets)."
        )
    _check_label_range(name, y_train, y_test)
    return y_train.astype(np.int32), y_test.astype(np.int32), int(y_train.max()) + 1


def _as_columns(y: np.ndarray) -> np.ndarray:
    return _float32(y[:, None] if y.ndim == 1 else y)


def _check_label_range(name: str, y_train: np.ndarray, y_test: np.ndarray) -> None:
    """Refuses numbers that are no labels before K outputs are made for them."""
    smallest = min(int(y.min(initial=0)) for y in (y_train, y_test))
    largest = max(int(y.max(initial=0)) for y in (y_train, y_test))
    if smallest < 0 or largest >= y_train.size:
        raise InputError(
            f"dataset '{name}': labels {smallest}..{largest} with {y_train.size} training samples; "
            "labels count from 0 and each class needs a training sample. Store regression targets "
            "as floating point."
        )
