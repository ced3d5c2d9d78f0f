"""How to run a sweep, and what that means for the environment of a worker."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfc_jax.cache import cache_root
from tfc_jax.choices import Choice
from tfc_jax.devices import Devices
from tfc_jax.executors import local
from tfc_jax.task import COMMIT_SECONDS
from tfc_jax.timetable import Schedule

COMPILE_MINUTES = 30.0
CONNECT_SECONDS = 10.0
FROM_ENVIRONMENT = "$RAY_ADDRESS"  # what is stored for an address that a variable has given


@dataclass(frozen=True)
class Options:
    """How to run a sweep. Of these only schedule, pack_width and deterministic touch any number.

    Attributes:
      workers: processes; 0 trains in this process, None means one per device.
      pack_width, schedule: of packs not started yet, now and later; None means what is stored in
        the results folder, else the default of the platform.
      max_memory: bytes per device that a pack may need; None means the platform's budget.
      deterministic: bit-exact kernels on GPUs, slower.
      fail_fast: stop at the first failed pack.
      fresh: delete stored results first.
      retry: also take packs that failed before.
      commit_seconds: how old results may grow before they are committed.
      compile_minutes: how long a worker may take to begin, load its data and compile, each, before
        it counts as hung; 0 means for ever. Without worker processes nobody watches.
      executor: where workers run: local, ray or slurm.
      address: of a Ray cluster; None means RAY_ADDRESS, else one that is started here.
      connect_seconds: how long a Ray cluster may take to answer.
      slurm: what sbatch is asked for.
      url: of results in an object store, of which the folder is a copy; "" of results in a folder.
      given: what the user gave to select runs: `set`, `filter`, `limit`; stored in the manifest.
    """

    workers: int | None = None
    pack_width: int | None = None
    schedule: Schedule | None = None
    max_memory: float | None = None
    deterministic: bool = False
    fail_fast: bool = False
    fresh: bool = False
    retry: bool = False
    commit_seconds: float = COMMIT_SECONDS
    compile_minutes: float = COMPILE_MINUTES
    executor: Literal["local", "ray", "slurm"] = "local"
    address: str | None = None
    connect_seconds: float = CONNECT_SECONDS
    slurm: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] | None = None
    url: str = ""

    @property
    def choice(self) -> Choice:
        """What the flags say of new packs."""
        return Choice(self.schedule, self.pack_width)


def joined(address: str | None) -> str:
    """Returns the address of the Ray cluster that is joined; "" if one is started here."""
    return address or os.environ.get("RAY_ADDRESS", "")


def prepare_process(options: Options, found: Devices) -> None:
    """Gives this process a worker's environment if it is to train; before JAX is imported."""
    if options.workers == 0:
        device = local.worker_environment(found.platform, found.ids[0])
        os.environ.update(device | worker_settings(options))


def worker_settings(options: Options) -> dict[str, str]:
    """Environment of every worker: the compile cache; memory and determinism as asked for."""
    cache = cache_root() / "xla"
    defaults = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**31),  # with a size, JAX locks the cache
    }
    settings = {name: os.environ.get(name, value) for name, value in defaults.items()}
    _drop_half_entries(Path(settings["JAX_COMPILATION_CACHE_DIR"]))
    if options.max_memory is not None:
        settings["TFC_MAX_MEMORY"] = str(options.max_memory)
    if options.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        settings["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    return settings


def _drop_half_entries(cache: Path) -> None:
    """A process killed between the two files of an entry would keep JAX from storing any other."""
    for entry in cache.glob("*-cache"):
        if not entry.with_name(entry.name.removesuffix("cache") + "atime").exists():
            entry.unlink(missing_ok=True)
