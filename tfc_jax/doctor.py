"""What this machine offers and what it lacks, as rows for `tfc doctor`. Prints nothing."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tfc_jax import data, devices

ENOUGH_DISK_GB = 5

_LIST_DEVICES = """
import json, jax
print(json.dumps([(d.platform, d.device_kind) for d in jax.local_devices()]))
"""


@dataclass(frozen=True)
class Row:
    """One line of `tfc doctor`.

    Attributes:
      what: the thing looked at.
      state: what was found.
      remedy: what to do about it; empty when nothing is missing.
    """

    what: str
    state: str
    remedy: str = ""


def collect(results: Path = Path("results"), *, timeout_s: float = 60.0) -> list[Row]:
    """Returns every row: versions, hardware, data sets. Starts one process that imports JAX.

    Args:
      results: where results would be written; need not exist.
      timeout_s: how long that process may take. A device that others hold can block it for ever.
    """
    return [*versions(), cores(), device(timeout_s), disk(results), *data_sets()]


def versions() -> list[Row]:
    """Returns Python, this package, what it declares to need, and TensorFlow, which it may need."""
    declared = metadata.requires("tfc_jax") or []
    needed = [_project(line) for line in declared if "extra ==" not in line]
    rows = [_installed(name, f"pip install {name}") for name in ["tfc_jax", *needed]]
    tensorflow = _installed("tensorflow", "Only to prepare image data: pip install 'tfc_jax[data]'")
    return [Row("python", platform.python_version()), *rows, tensorflow]


def cores() -> Row:
    """Returns how many CPU cores this process may use; fewer than the machine has is no fault."""
    return Row("cpu cores", f"{len(devices.cores())} of {os.cpu_count()} usable")


def device(timeout_s: float = 60.0) -> Row:
    """Returns the devices that JAX finds, by asking another process, or why it finds none."""
    quiet = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _LIST_DEVICES],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=quiet,
        )
    except subprocess.TimeoutExpired:
        remedy = "See whether another process holds the accelerator; JAX_PLATFORMS=cpu avoids it."
        return Row("devices", f"no answer from JAX within {timeout_s:g} s", remedy)
    if answer.returncode != 0:
        reason = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        return Row("devices", f"JAX does not start: {reason}", "Install again: make environment")
    found = [tuple(pair) for pair in json.loads(answer.stdout.splitlines()[-1])]
    kinds = ", ".join(f"{n} {kind}" for (_, kind), n in Counter(found).items())
    return Row("devices", kinds, _unused_accelerator({name for name, _ in found}))


def disk(folder: Path) -> Row:
    """Returns the free space of the file system that would hold `folder`."""
    absolute = folder.absolute()
    present = next(path for path in (absolute, *absolute.parents) if path.exists())
    free_gb = shutil.disk_usage(present).free / 1e9
    too_little = free_gb < ENOUGH_DISK_GB
    remedy = "Free some space, or write elsewhere: tfc run --out FOLDER" if too_little else ""
    return Row("disk", f"{free_gb:.1f} GB free for {folder}", remedy)


def data_sets() -> list[Row]:
    """Returns one row per data set that a sweep may name."""
    return [
        Row(
            f"data {s.name}",
            f"{'ready' if s.available else 'absent'}: {_from_home(s.where)}",
            _from_home(s.remedy),
        )
        for s in data.state()
    ]


def _from_home(text: str) -> str:
    """Paths as people write them, who show this table to others."""
    return text.replace(str(Path.home()), "~")


def _project(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match, requirement
    return match[0]


def _installed(name: str, remedy: str) -> Row:
    try:
        return Row(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Row(name, "not installed", remedy)


def _unused_accelerator(platforms: set[str], dev: Path = Path("/dev")) -> str:
    """Returns how to make JAX see an accelerator that the machine has and JAX does not list."""
    present = {"gpu": dev / "nvidia0", "tpu": dev / "accel0"}
    extra = {"gpu": "cuda", "tpu": "tpu"}
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return ""
    for name, node in present.items():
        if node.exists() and name not in platforms:
            return f"There is a {name} that JAX does not see: pip install 'tfc_jax[{extra[name]}]'"
    return ""
