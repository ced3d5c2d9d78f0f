"""Runs a program with TensorFlow as a process of its own, its output in a log."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tfc_jax.data import _cache
from tfc_jax.errors import InputError

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def without_tensorflow() -> list[str]:
    """Returns a sentence if TensorFlow is not installed, else nothing."""
    if importlib.util.find_spec("tensorflow") is not None:
        return []
    return [
        "preparing needs TensorFlow (reading does not), which is not installed. Run: "
        "pip install 'tfc_jax[data]'"
    ]


def run(name: str, program: str, *arguments: str) -> None:
    """Runs a file of this folder; `name` is the data set, for the log and the message.

    Raises:
      InputError: it failed; the message has its last line.
    """
    log = _cache.make_root() / f"prepare-{_cache.file_name(name)}.log"
    # -P: the folder of the program holds a tfds.py, which must not shadow anything.
    command = [sys.executable, "-P", str(Path(__file__).with_name(program)), *arguments]
    with log.open("w") as output:
        done = subprocess.run(
            command,
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
