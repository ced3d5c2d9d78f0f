"""Downloads and prepares with TensorFlow Datasets, refusing at once what cannot work."""

from pathlib import Path
from typing import Any

from tfc_jax.data import _cache, _child
from tfc_jax.data._connection import why_unreachable
from tfc_jax.errors import InputError
from tfc_jax.files import sha256


def download_and_prepare(name: str, builder_name: str, data_dir: Path) -> None:
    """Makes `data_dir/BUILDER_NAME/VERSION` in the array_record format.

    Args:
      name: what a sweep calls the data set.
      builder_name: what TFDS calls it, NAME or NAME/CONFIG.
    Raises:
      InputError: TFDS does not know it, it is no set of labelled images of one size, TensorFlow is
        absent, the download host does not answer, a file in the download cache is not the original,
        or TensorFlow Datasets itself failed.
    """
    problems = _problems(name, builder_name, data_dir)
    if problems:
        raise InputError([f"tfc data prepare {name}: {problem}" for problem in problems])
    _child.run(name, "_tfds_child.py", builder_name, str(data_dir))


def _problems(name: str, builder_name: str, data_dir: Path) -> list[str]:
    from tfc_jax.data import _tfds_builder

    try:
        # Made where nothing is prepared, so that it describes what would be prepared.
        builder = _tfds_builder.builder(builder_name, data_dir / ".nothing")
    except InputError as error:
        return list(error.messages)
    unsuitable = _tfds_builder.unsuitable(dict(builder.info.features), list(builder.info.splits))
    return unsuitable or [
        *_child.without_tensorflow(),
        *_in_the_way(data_dir / builder_name / str(builder.version)),
        *_download_problems(name, builder, data_dir),
    ]


def _in_the_way(prepared: Path) -> list[str]:
    if not prepared.exists():
        return []
    return [
        f"{prepared} is there in another format than array_record, which alone is readable without "
        "TensorFlow. Set TFDS_DATA_DIR to another folder and run this again."
    ]


def _download_problems(name: str, builder: Any, data_dir: Path) -> list[str]:
    """Checks what TFDS does not: cached files against their SHA-256, the network before use."""
    problems, missing = [], []
    for url, info in builder.url_infos.items():
        path = _cached_download(builder.name, data_dir, url, info.checksum)
        if not path.is_file():
            missing.append(url)
        elif sha256(path) != info.checksum:
            problems.append(f"{path} is not the original file {url}. Delete it and run this again.")
    unreachable = why_unreachable(missing[0]) if missing else ""
    if unreachable:
        problems.append(
            f"{_files(len(missing))} to be downloaded, but there is no connection "
            f"({unreachable}). Run this again with a network, or bring {_cache.folder(name)} from "
            "a machine that has prepared it."
        )
    return problems


def _files(n: int) -> str:
    return "1 file is" if n == 1 else f"{n} files are"


def _cached_download(dataset: str, data_dir: Path, url: str, checksum: str) -> Path:
    from tensorflow_datasets.core.download import resource

    return data_dir / "downloads" / dataset / resource.get_dl_fname(url, checksum)
