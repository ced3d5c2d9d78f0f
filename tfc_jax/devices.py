"""Which accelerators this machine has, found without importing JAX (which would take them)."""

import os
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Devices:
    """What workers can run on.

    Attributes:
      platform: `cpu`, `gpu` or `tpu`.
      ids: one per worker: CPU core numbers, GPU indices, or (0,) for all chips of a TPU host.
    """

    platform: str
    ids: tuple[int, ...]


def find() -> Devices:
    """Returns the best platform with hardware and a JAX plugin; JAX_PLATFORMS overrides."""
    wanted = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
    gpus = _gpus() if wanted in ("", "cuda", "gpu") else ()
    if gpus:
        return Devices("gpu", gpus)
    if wanted in ("", "tpu") and _has_tpu():
        return Devices("tpu", (0,))
    return Devices("cpu", cores())


def cores() -> tuple[int, ...]:
    """Returns the CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _gpus() -> tuple[int, ...]:
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(find_spec(plugin) for plugin in plugins):
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(int(i) for i in visible.split(",") if i.strip().isdigit())
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(range(sum(line.startswith("GPU ") for line in listed.stdout.splitlines())))


def _has_tpu() -> bool:
    nodes = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    return find_spec("libtpu") is not None and bool(nodes)
