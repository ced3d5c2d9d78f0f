"""Labelled images of one size through TensorFlow Datasets (TFDS).

TFDS downloads and prepares once (this needs TensorFlow); its array_record files are read without
TensorFlow and kept as .npy arrays, and from then on nothing but those is read.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfc_jax.data import _cache
from tfc_jax.data._dataset import Dataset
from tfc_jax.data._state import State
from tfc_jax.errors import InputError

PREFIX = "tfds:"
_FORMAT = "array_record"
_MAX_VALUE = 255
_BATCH = 1000


def builder_name(name: str) -> str:
    """Returns what TFDS calls a data set: NAME or NAME/CONFIG."""
    return name.removeprefix(PREFIX)


def load_raw(name: str) -> Dataset:
    """Returns the images as uint8 (N, H, W, C), in TFDS's own order.

    That order is a fixed shuffle (by a hash of each example's key): classes are mixed, and the
    first n samples are not the first n of the original files.

    Raises:
      InputError: nothing is prepared here, or what is there is damaged. Never downloads.
    """
    if not _cache.folder(name).exists():
        _cache.write(_read_prepared(name))
    return _cache.read(name)


def prepare(name: str) -> State:
    """Downloads, prepares and caches what of that is not done; replaces damaged arrays.

    Raises:
      InputError: TensorFlow or the network is missing, or a downloaded file is damaged.
    """
    if not _cache.is_intact(name):
        _cache.discard(name)
        if _prepared_folder(name) is None:
            from tfc_jax.data._download import download_and_prepare

            download_and_prepare(name, builder_name(name), data_dir())
        load_raw(name)
    return state(name)


def state(name: str) -> State:
    """Looks for files only: quick, and without a network."""
    cached, prepared = _cache.folder(name), _prepared_folder(name)
    if cached.exists():
        return State(name, available=True, where=str(cached))
    if prepared is not None:
        return State(name, available=True, where=str(prepared))
    return State(name, available=False, where=str(cached), remedy=f"tfc data prepare {name}")


def data_dir() -> Path:
    """$TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _prepared_folder(name: str) -> Path | None:
    """The newest version that TFDS has prepared in the format that is readable here."""
    infos = (data_dir() / builder_name(name)).glob("*/dataset_info.json")
    found = [info.parent for info in infos if _version(info.parent) and _formats(info) & {_FORMAT}]
    return max(found, key=_version, default=None)


def _version(folder: Path) -> tuple[int, ...]:
    """(3, 0, 1) for a folder named 3.0.1; () for the folder of an unfinished preparation."""
    parts = folder.name.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _formats(info: Path) -> set[str]:
    try:
        content = json.loads(info.read_text())
        return {content.get("fileFormat", ""), *content.get("alternativeFileFormats", ())}
    except (ValueError, AttributeError, TypeError):
        return {_FORMAT}  # it is damaged, which reading it will tell


def _read_prepared(name: str) -> Dataset:
    folder = _prepared_folder(name)
    if folder is None:
        raise InputError(
            f"dataset '{name}' is not prepared on this machine (neither {_cache.folder(name)} nor "
            f"{data_dir() / builder_name(name)} as {_FORMAT}). Run: tfc data prepare {name}"
        )
    try:
        return _read_folder(name, folder)
    except (InputError, ImportError):
        raise
    except Exception as error:  # whatever TFDS and its libraries make of bytes that are not theirs
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{folder} is damaged ({what}). Delete it and run: tfc data prepare {name}"
        ) from error


def _read_folder(name: str, folder: Path) -> Dataset:
    import tensorflow_datasets as tfds

    from tfc_jax.data._tfds_builder import split_for_test, unsuitable

    with _quiet():
        builder = tfds.builder_from_directory(folder)
        splits = list(builder.info.splits)
        problems = unsuitable(dict(builder.info.features), splits)
        if problems:
            raise InputError([f"dataset '{name}': {problem}" for problem in problems])
        x_train, y_train = read_split(builder, "train")
        x_test, y_test = read_split(builder, split_for_test(splits))
    names = tuple(builder.info.features["label"].names)
    return Dataset(name, x_train, y_train, x_test, y_test, names, _MAX_VALUE)


def read_split(builder: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, uint8 (N, H, W, C), and their `label`, int32 (N,)."""
    source = builder.as_data_source(split, file_format=_FORMAT)
    x = np.empty((len(source), *builder.info.features["image"].shape), np.uint8)
    y = np.empty(len(source), np.int32)
    for start in range(0, len(source), _BATCH):
        rows = range(start, min(start + _BATCH, len(source)))
        for row, example in zip(rows, source.__getitems__(rows), strict=True):
            x[row], y[row] = example["image"], example["label"]
    return x, y


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what TFDS logs while reading (advice to install OpenCV)."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
