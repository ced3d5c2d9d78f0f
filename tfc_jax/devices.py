"""Which accelerators this machine has, found without importing JAX (which would take them)."""

import itertools
import os
import re
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tfc_jax.errors import InputError
from tfc_jax.wording import counted

# What JAX_PLATFORMS calls them -> what we do.
PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "gpu": "gpu", "tpu": "tpu"}


@dataclass(frozen=True)
class Devices:
    """What workers can run on.

    Attributes:
      platform: `cpu`, `gpu` or `tpu`.
      ids: one per worker: CPU core numbers, GPU indices, UUIDs of GPUs or of MIG instances, or
        (0,) for all chips of a TPU host.
      n_chips: that a worker shares a pack among, as far as files of the system tell.
      is_limit: nobody knows how many there are, but that no more ids are used at a time.
    """

    platform: str
    ids: tuple[int | str, ...]
    n_chips: int = 1
    is_limit: bool = False


def find() -> Devices:
    """Returns the best platform with hardware and a JAX plugin; JAX_PLATFORMS overrides.

    Raises:
      InputError: JAX_PLATFORMS asks for what is not here.
    """
    asked = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
    wanted = PLATFORMS.get(asked)
    gpus = _gpus() if wanted in (None, "gpu") else ()
    n_chips = _tpu_chips() if wanted in (None, "tpu") else 0
    here = {"cpu": True, "gpu": bool(gpus), "tpu": bool(n_chips)}
    if asked and not here.get(wanted or "", False):
        raise InputError(
            f"JAX_PLATFORMS: '{asked}' came, but there is no such device, or no JAX plugin for it. "
            f"Leave it unset, or use one of {', '.join(PLATFORMS)}; `tfc doctor` says what is here."
        )
    if gpus:
        return Devices("gpu", gpus)
    if n_chips:
        return Devices("tpu", (0,), n_chips)
    return Devices("cpu", cores())


def check_workers(workers: int | None, here: Devices) -> None:
    """Refuses more workers than accelerators; CPU workers may share a core.

    Raises:
      InputError: there are more.
    """
    n = len(here.ids)
    if here.platform != "cpu" and (workers or 0) > n:
        raise InputError(
            f"--workers: {workers} came, but this machine has "
            f"{counted(n, f'{here.platform} device')} for workers. Give at most that many."
        )


def cores() -> tuple[int, ...]:
    """Returns the CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _gpus() -> tuple[int | str, ...]:
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(find_spec(plugin) for plugin in plugins):
        return ()
    listed = _listed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return _visible(visible, len(listed))
    if not any(instances for _, instances in listed):
        return tuple(range(len(listed)))
    return tuple(name for gpu, instances in listed for name in instances or [gpu])


def _listed() -> list[tuple[str, list[str]]]:
    """UUIDs of the GPUs that the driver lists, and of the MIG instances into which each is cut.

    Of a GPU that is cut, CUDA shows a process one instance, the first unless it is told which.
    """
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    gpus: list[tuple[str, list[str]]] = []
    for line in answer.stdout.splitlines():
        uuid = re.search(r"UUID: ([^)\s]+)", line)
        if line.startswith("GPU "):
            gpus.append((uuid[1] if uuid else str(len(gpus)), []))
        elif gpus and uuid and line.split()[0] == "MIG":
            gpus[-1][1].append(uuid[1])
    return gpus


def _visible(listed: str, n_gpus: int) -> tuple[int | str, ...]:
    """CUDA_VISIBLE_DEVICES: indices or UUIDs; like CUDA, nothing from the first -1 on counts.

    Args:
      n_gpus: how many the driver lists; 0 means that it did not answer.
    Raises:
      InputError: there is no GPU of such an index. CUDA would leave it out, and all after it.
    """
    names = [name.strip() for name in listed.split(",")]
    valid = list(itertools.takewhile(lambda name: name and name != "-1", names))
    found = dict.fromkeys(int(name) if name.isdecimal() else name for name in valid)
    absent = [name for name in found if isinstance(name, int) and name >= n_gpus > 0]
    if absent:
        raise InputError(
            f"CUDA_VISIBLE_DEVICES: {absent[0]} came, but the driver lists {n_gpus} GPU, counted "
            f"from 0. Use indices below {n_gpus}, or the UUIDs that `nvidia-smi -L` lists."
        )
    return tuple(found)


def _tpu_chips() -> int:
    nodes = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    return len(nodes) if find_spec("libtpu") is not None else 0
