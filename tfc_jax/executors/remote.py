"""What executors share whose workers run on other machines: the worker's part of it.

An engine (Ray, SLURM) calls `train` in a process that it starts wherever it likes, with one line of
JSON, and gets back another one. All else goes through the results folder (channel.py).
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tfc_jax import data
from tfc_jax.devices import Devices
from tfc_jax.event_log import ENDS
from tfc_jax.executors import node
from tfc_jax.executors.channel import LaunchOver, Post
from tfc_jax.executors.diagnostics import printed_to
from tfc_jax.executors.local import cpu_environment
from tfc_jax.layout import Folder
from tfc_jax.options import Options, worker_settings
from tfc_jax.task import Task

REFUSED = "refused"


@dataclass(frozen=True)
class Order:
    """What a worker is told; one line of JSON.

    Attributes:
      task: `Task.to_json`; empty for a worker that is only to look whether it could train.
      path: folder of the launch.
      start: current folder of the launcher, from which paths of data sets may start.
      environment: variables to set before JAX starts.
      deterministic, max_memory: of the options.
      url: of results in an object store, else empty.
      tools: of the launcher (node.tools).
      wanted: data sets (node.wanted_data).
    """

    task: str
    path: str
    start: str
    environment: Mapping[str, str]
    deterministic: bool
    max_memory: float | None
    url: str
    tools: Mapping[str, str]
    wanted: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, line: str) -> "Order":
        """The inverse of `to_json`; goes to the launcher's folder, if it is here too."""
        told = cls(**json.loads(line))
        with suppress(OSError):
            os.chdir(told.start)
        return told

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def environment(found: Devices) -> dict[str, str]:
    """Returns what to set before JAX starts, so that it computes as it would here.

    Caches are those of the machine that trains.
    """
    given = {n: v for n, v in os.environ.items() if _concerns_numbers(n)}
    return given | ({"JAX_PLATFORMS": "cuda,cpu"} if found.platform == "gpu" else cpu_environment())


def _concerns_numbers(variable: str) -> bool:
    return variable == "XLA_FLAGS" or (variable.startswith("JAX_") and "CACHE" not in variable)


def look(order: str) -> list[str]:
    """Returns why this machine cannot train for a launch; empty if it can."""
    told = Order.read(order)
    try:
        return node.misfits(Post(Path(told.path), node.LOOKING), told.url, told.tools, told.wanted)
    finally:
        data.loaded.cache_clear()  # of all packs; this process may train none of them


def train(order: str) -> str:
    """Trains a pack in this process; returns its last event as JSON.

    The event is `finished`, `stopped`, `failed`, or `refused`: this machine must not train, and
    `why` says why. It may be called again, anywhere, for a pack whose process or machine ended in
    the middle: that goes on from the last commit.
    """
    told = Order.read(order)
    task = Task.from_json(told.task)
    return json.dumps(_trained(told, task, Post(Path(told.path), task.pack)))


def _trained(told: Order, task: Task, post: Post) -> dict[str, Any]:
    """Returns the last event."""
    try:
        if post.is_seen and post.should_stop():
            return {"event": "stopped"}
        why = node.misfits(post, told.url, told.tools, told.wanted)
        variables = tuple(told.environment.items())
        if not why and not _prepare(variables, told.deterministic, told.max_memory):
            why = [f"{node.name()}: JAX was imported before a worker could set its environment."]
        return {"event": REFUSED, "why": why} if why else _serve(task, post)
    except LaunchOver:  # nobody hears this
        return {"event": "stopped"}


def _serve(task: Task, post: Post) -> dict[str, Any]:
    from tfc_jax import worker  # starts JAX

    ends: list[dict[str, Any]] = []

    def report(event: dict[str, Any]) -> None:
        if event["event"] in ENDS:
            ends.append(event)
        else:
            post.say(event)

    with printed_to(Folder(Path(task.out))):
        worker.settle()
        worker.serve(task, report, post.should_stop)
    return ends[-1]


@cache  # a process may train many packs; its environment is set once
def _prepare(
    variables: tuple[tuple[str, str], ...], deterministic: bool, max_memory: float | None
) -> bool:
    """Sets the environment of this process; returns whether JAX had not started with another."""
    before = dict(os.environ)
    os.environ.update(variables)
    options = Options(deterministic=deterministic, max_memory=max_memory)
    wanted = dict(variables) | worker_settings(options)
    os.environ.update(wanted)
    logging.basicConfig(level=logging.WARNING)
    return "jax" not in sys.modules or all(before.get(n) == v for n, v in wanted.items())
