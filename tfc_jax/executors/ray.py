"""Packs as tasks of Ray, on a cluster that is joined by its address or on this machine alone.

Ray decides which machine takes a pack, and gives a pack whose machine is lost to another one, which
goes on from the last commit. All that Ray carries is an order (remote.py) and a last event.
"""

import importlib.util
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfc_jax import devices
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.event_log import OnEvent
from tfc_jax.executors import fleet, ray_cluster, remote
from tfc_jax.executors.fleet import Lost
from tfc_jax.executors.local import Interrupt
from tfc_jax.lock import Lock
from tfc_jax.options import Options, joined
from tfc_jax.task import Task

AHEAD = 2  # packs that Ray holds for each that it can train now
LOOK_SECONDS = 60.0  # how long a node may take to load its data sets
_RESOURCE = {"cpu": "CPU", "gpu": "GPU"}  # as Ray calls them


@contextmanager
def opened(options: Options) -> Iterator["OnRay"]:
    """Joins a cluster, or starts one that nobody else can reach; ends what it started.

    Raises:
      InputError: Ray is not installed, nothing answers at the address, or there are no devices.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("--executor ray: Ray is not installed. Run: pip install 'tfc_jax[ray]'")
    if address := joined(options.address):
        cluster = ray_cluster.joined_to(address, options.connect_seconds)
    else:
        cluster = ray_cluster.started_here(options.workers)
    with cluster:
        yield OnRay(options, _found(options))


@dataclass(frozen=True)
class OnRay:
    """The cluster that this process has joined.

    Attributes:
      found: its GPUs, or its CPUs if it has none, when it was joined.
    """

    options: Options
    found: Devices

    def execute(
        self, tasks: Sequence[Task], lock: Lock, on_event: OnEvent, interrupt: Interrupt
    ) -> None:
        """Trains one task of Ray per pack; machines that join later take part."""
        engine = _Engine(self.found.platform, self.options)
        fleet.execute(engine, tasks, self.found, lock, on_event, interrupt, self.options)


class _Engine:
    """Ray, as `fleet` speaks to it."""

    def __init__(self, platform: str, options: Options) -> None:
        import ray

        self._ray, self._platform, self._workers = ray, platform, options.workers
        self._look_seconds = LOOK_SECONDS + options.connect_seconds
        self._head = ray_cluster.Head(ray.get_runtime_context().gcs_address)
        devices = {"num_cpus": 1, "num_gpus": 1 if platform == "gpu" else 0}
        # A worker on a GPU holds its memory while it lives: it lives for one pack (max_calls).
        calls = {"max_calls": 1} if platform == "gpu" else {}
        self._train = ray.remote(**devices, **calls, max_retries=ray_cluster.RETRIES)(remote.train)
        self._look = ray.remote(num_cpus=0, max_retries=1)(remote.look)

    def room(self, flying: int) -> int:
        """Bounded by --workers, or by what the cluster has now."""
        if self._workers:
            return self._workers - flying if self._head.answers() else 0
        n = self._head.asked(partial(_count, self._platform))
        return 0 if n is None else AHEAD * max(n, 1) - flying

    def submit(self, orders: Sequence[remote.Order]) -> list[Any]:
        return [self._train.remote(order.to_json()) for order in orders]

    def landed(self, flying: Sequence[Any], seconds: float) -> Sequence[Any]:
        if not flying:
            return ()
        if not self._head.answers():
            time.sleep(seconds)
            return ()
        ended: Sequence[Any]
        ended, _ = self._ray.wait(list(flying), num_returns=1, timeout=seconds)
        return ended

    def end_of(self, handle: Any) -> str:
        try:
            end: str = self._ray.get(handle)
        except (self._ray.exceptions.RayError, ImportError) as error:
            raise Lost(f"Ray gave it up: {_line(error)}. Run tfc retry") from error
        return end

    def cancel(self, handles: Sequence[Any]) -> None:
        for handle in () if self._head.is_lost else handles:
            self._ray.cancel(handle, force=True)

    def misfits(self, order: remote.Order, interrupt: Interrupt) -> list[str]:
        """Asks all nodes at once, also those whose CPUs are taken."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {}
        for node in self._head.asked(partial(_nodes, self._platform)) or ():
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answer = self._look.options(scheduling_strategy=place).remote(order.to_json())
            asked[answer] = node["NodeManagerHostname"]
        left, seconds = list(asked), 0.0
        while left and seconds < self._look_seconds and not interrupt.level:
            _, left = self._ray.wait(left, num_returns=len(left), timeout=1.0)
            seconds += 1.0
        why = [one for answer in asked if answer not in left for one in self._answer(asked, answer)]
        if not interrupt.level:
            silent = f"no answer within {self._look_seconds:g} s. Mend it, or wait longer with"
            why += [f"node {asked[a]}: {silent} --connect-seconds." for a in left]
        self.cancel(left)
        return why

    def _answer(self, asked: Mapping[Any, str], answer: Any) -> list[str]:
        exceptions = self._ray.exceptions
        try:
            why: list[str] = self._ray.get(answer)
        except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError):
            return []  # it left meanwhile
        except (exceptions.RayError, ImportError) as error:
            return [f"node {asked[answer]}: tfc_jax does not run there: {_line(error)}."]
        return why


def _nodes(platform: str) -> list[dict[str, Any]]:
    """The nodes that can train."""
    import ray

    name = _RESOURCE[platform]
    return [node for node in ray.nodes() if node["Alive"] and name in node["Resources"]]


def _count(platform: str) -> int:
    """How many packs the cluster can train at a time."""
    import ray

    return int(ray.cluster_resources().get(_RESOURCE[platform], 0))


def _has_tpus() -> bool:
    import ray

    return bool(ray.cluster_resources().get("TPU", 0))


def _found(options: Options) -> Devices:
    """What trains: as on one machine, GPUs if there are any, unless JAX_PLATFORMS says otherwise.

    Raises:
      InputError: there is nothing that trains.
    """
    asked = devices.PLATFORMS.get(os.environ.get("JAX_PLATFORMS", "").split(",")[0], "")
    platform = "gpu" if asked in ("", "gpu") and _count("gpu") else "cpu"
    if asked != "cpu" and platform == "cpu" and _has_tpus():
        raise InputError(
            "--executor ray: the cluster has TPU chips, on which workers of Ray do not train. "
            "Leave --executor out on a TPU host: one worker shares each pack among all its chips. "
            "Or set JAX_PLATFORMS=cpu to train on the CPUs of the cluster."
        )
    if asked not in ("", platform) or not _count(platform):
        raise InputError(
            f"--executor ray: the cluster has no {asked or platform} for workers. Add a node that "
            f"has, or leave JAX_PLATFORMS unset."
        )
    n = _count(platform)
    return Devices(platform, tuple(range(min(n, options.workers or n))))


def _line(error: BaseException) -> str:
    """What an error of Ray says, without its stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(".: ")
