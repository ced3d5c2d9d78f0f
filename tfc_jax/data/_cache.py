"""Data sets as plain .npy files with checksums: written whole or not at all, checked when read."""

import json
import re
import secrets
import shutil
from pathlib import Path

import numpy as np

from tfc_jax.cache import cache_root
from tfc_jax.data._dataset import ARRAYS, Dataset
from tfc_jax.errors import InputError
from tfc_jax.files import sha256, sync_file, sync_folder

_META = "dataset.json"
_SUMS = "SHA256SUMS"  # in the format that `sha256sum --check` reads


def make_root() -> Path:
    """Creates the cache folder where it is missing.

    Raises:
      InputError: it cannot be created.
    """
    try:
        cache_root().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(cache_root(), error) from error
    return cache_root()


def file_name(name: str) -> str:
    """Returns the name of a data set as a single file or folder may be called: tfds+emnist+letters.

    Colons and slashes become plus signs, which no name contains.
    """
    return re.sub("[:/]", "+", name)


def folder(name: str) -> Path:
    """Where the arrays of one data set are, or would be."""
    return cache_root() / "data" / file_name(name)


def read(name: str) -> Dataset:
    """Returns a cached data set, its arrays memory-mapped and read-only.

    Raises:
      InputError: a file is missing, truncated or altered; the message says how to make it anew.
    """
    here = folder(name)
    damaged = _damaged(here)
    if damaged:
        raise InputError(
            f"dataset '{name}': {', '.join(damaged)} in {here} missing or altered (SHA-256 does "
            f"not match). Make it anew with: tfc data prepare {name}"
        )
    meta = json.loads((here / _META).read_text())
    arrays = {a: np.load(here / f"{a}.npy", mmap_mode="r", allow_pickle=False) for a in ARRAYS}
    return Dataset(
        name=name,
        class_names=tuple(meta["class_names"]),
        max_value=meta["max_value"],
        **arrays,
    )


def is_intact(name: str) -> bool:
    """Whether all files are there and hold what was written."""
    return not _damaged(folder(name))


def _damaged(here: Path) -> list[str]:
    """Names of the files that are not what was written."""
    expected = [_META, *(f"{a}.npy" for a in ARRAYS)]
    if not (here / _SUMS).is_file():
        return [_SUMS]
    lines = (here / _SUMS).read_text(errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    return [name for name in expected if not _matches(here / name, sums.get(name))]


def _matches(path: Path, digest: str | None) -> bool:
    return path.is_file() and sha256(path) == digest


def write(dataset: Dataset) -> None:
    """Stores a data set, durably, under its name.

    Everything is written beside its place and moved in with one rename, so a reader sees all of
    it or nothing, whatever stops the writer. Where another process was first, its files stay.

    Raises:
      InputError: the folder cannot be written.
    """
    target = folder(dataset.name)
    beside = _beside(target)
    try:
        beside.mkdir(parents=True)
        _fill(beside, dataset)
        _move_in(beside, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be written ({error.strerror or error}). Make room there, or set TFC_CACHE "
        "to another folder."
    )


def discard(name: str) -> None:
    """Removes a cached data set; it is out of sight at once, whatever stops the removal."""
    away = _beside(folder(name))
    try:
        folder(name).rename(away)
    except (FileNotFoundError, NotADirectoryError):
        return
    shutil.rmtree(away)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}")


def _fill(here: Path, dataset: Dataset) -> None:
    for name in ARRAYS:
        np.save(here / f"{name}.npy", getattr(dataset, name), allow_pickle=False)
    meta = {"class_names": dataset.class_names, "max_value": dataset.max_value}
    (here / _META).write_text(json.dumps(meta, indent=1) + "\n")
    sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(here.iterdir())]
    (here / _SUMS).write_text("".join(sums))
    for path in here.iterdir():
        sync_file(path)
    sync_folder(here)


def _move_in(beside: Path, target: Path) -> None:
    try:
        beside.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    sync_folder(target.parent)
