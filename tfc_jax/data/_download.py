"""Downloads and prepares with TensorFlow Datasets, refusing at once what cannot work."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tfc_jax.data import _cache
from tfc_jax.data._connection import why_unreachable
from tfc_jax.errors import InputError
from tfc_jax.files import sha256

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def download_and_prepare(name: str, data_dir: Path) -> None:
    """Makes `data_dir/NAME/VERSION` in the array_record format.

    Raises:
      InputError: TensorFlow is absent, the download host does not answer, a file in the download
        cache is not the original, or TensorFlow Datasets itself failed.
    """
    problems = [
        *_without_tensorflow(),
        *_in_the_way(name, data_dir),
        *_download_problems(name, data_dir),
    ]
    if problems:
        raise InputError([f"tfc data prepare {name}: {problem}" for problem in problems])
    _run_child(name, data_dir)


def _without_tensorflow() -> list[str]:
    if importlib.util.find_spec("tensorflow") is not None:
        return []
    return [
        "preparing needs TensorFlow (reading does not), which is not installed. Run: "
        "pip install 'tfc_jax[data]'"
    ]


def _in_the_way(name: str, data_dir: Path) -> list[str]:
    import tensorflow_datasets as tfds

    prepared = data_dir / name / str(tfds.builder_cls(name).VERSION)
    if not prepared.exists():
        return []
    return [
        f"{prepared} is there in another format than array_record, which alone is readable without "
        "TensorFlow. Set TFDS_DATA_DIR to another folder and run this again."
    ]


def _download_problems(name: str, data_dir: Path) -> list[str]:
    """Checks what TFDS does not: cached files against their SHA-256, the network before use."""
    import tensorflow_datasets as tfds

    problems, missing = [], []
    for url, info in tfds.builder_cls(name).url_infos.items():
        path = _cached_download(name, data_dir, url, info.checksum)
        if not path.is_file():
            missing.append(url)
        elif sha256(path) != info.checksum:
            problems.append(f"{path} is not the original file {url}. Delete it and run this again.")
    unreachable = why_unreachable(missing[0]) if missing else ""
    if unreachable:
        problems.append(
            f"{len(missing)} files are to be downloaded, but there is no connection "
            f"({unreachable}). Run this again with a network, or bring {_cache.folder(name)} from "
            "a machine that has prepared it."
        )
    return problems


def _cached_download(name: str, data_dir: Path, url: str, checksum: str) -> Path:
    from tensorflow_datasets.core.download import resource

    return data_dir / "downloads" / name / resource.get_dl_fname(url, checksum)


def _run_child(name: str, data_dir: Path) -> None:
    log = _cache.make_root() / f"prepare-{name}.log"
    # -P: the folder of the program holds a tfds.py, which must not shadow anything.
    program = [sys.executable, "-P", str(Path(__file__).with_name("_tfds_child.py"))]
    with log.open("w") as output:
        done = subprocess.run(
            [*program, name, str(data_dir)],
            env=os.environ | _QUIET,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        raise InputError(
            f"tfc data prepare {name}: TensorFlow Datasets failed: {lines[-1].strip()} "
            f"The whole output is in {log}."
        )
