"""Nodes that take packs from a launcher, fail, are cut off or slow, in simulated time."""

import math
import random
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy

from bench.simulation.actors import Actor, Call, Request
from bench.simulation.costs import Cluster, PackCosts, Storage
from bench.simulation.packs import STEPS, Life, Spent, size_of
from tfc_jax.executors.waiting import Waiting
from tfc_jax.stage import Fenced
from tfc_jax.task import Task

Process = Generator[simpy.Event, Any, None]


@dataclass
class Outcome:
    """What a sweep took.

    Attributes:
      seconds: until the last pack was done.
      spent: by all slots.
      storage_busy_s: seconds in which the storage answered calls, one at a time.
      sent_bytes: to the storage.
      calls: of the storage, by name.
      compiled_s, dispatch_s: of all slots, waiting for the launcher included.
      failures, cut_off, fenced: nodes that died, nodes that were cut off, attempts that were
        replaced while they went on.
    """

    seconds: float = 0.0
    spent: Spent = field(default_factory=Spent)
    storage_busy_s: float = 0.0
    sent_bytes: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)
    compiled_s: float = 0.0
    dispatch_s: float = 0.0
    failures: int = 0
    cut_off: int = 0
    fenced: int = 0


class Simulation:
    """One sweep on one cluster. `run` returns when every pack is done."""

    def __init__(
        self,
        tasks: Sequence[Task],
        costs: PackCosts,
        cluster: Cluster,
        storage: Storage,
        seed: int = 0,
    ) -> None:
        self.cluster, self.storage, self.costs = cluster, storage, costs
        self.outcome = Outcome()
        self.env, self.draws = simpy.Environment(), random.Random(seed)
        self._server = simpy.Resource(self.env)  # answers one call at a time
        self._wire = simpy.Resource(self.env)  # of all nodes to the storage
        self._launcher = simpy.Resource(self.env)
        self._nodes: list[Node] = []
        self._waiting, self._lost = Waiting(tasks), list[Task]()
        self._undone = {task.pack for task in tasks}
        self._news, self._over = self.env.event(), self.env.event()

    def run(self) -> Outcome:
        """Trains everything.

        Raises:
          whatever the code under simulation raises, but for what a replaced writer is to raise.
        """
        self._nodes = [Node(self) for _ in range(self.cluster.nodes)]
        for node in self._nodes:
            node.start()
        if self._undone:
            self.env.run(until=self._over)
        self.outcome.seconds = self.env.now
        return self.outcome

    def _serve(self, request: Request) -> Process:
        """Lets the time pass that a request takes."""
        if not isinstance(request, Call):
            yield self.env.timeout(request.seconds)
            return
        storage = self.storage
        n_calls = max(math.ceil(request.n_entries / storage.entries_per_call), 1)
        calls = self.outcome.calls
        calls[request.name] = calls.get(request.name, 0) + n_calls
        yield from self._use(self._server, n_calls / storage.calls_per_s)
        self.outcome.storage_busy_s += n_calls / storage.calls_per_s
        yield self.env.timeout(n_calls * storage.call_s)
        if request.n_bytes:
            self.outcome.sent_bytes += request.n_bytes
            shared_s = request.n_bytes / storage.bytes_per_s
            yield from self._use(self._wire, shared_s)
            yield self.env.timeout(max(request.n_bytes / storage.node_bytes_per_s - shared_s, 0))

    def _use(self, resource: simpy.Resource, seconds: float) -> Process:
        if seconds:
            with resource.request() as turn:
                yield turn
                yield self.env.timeout(seconds)

    def take(self, node: "Node", program: str) -> Generator[simpy.Event, Any, Task]:
        """Waits for the launcher to hand out a pack; one that was lost goes first."""
        while True:
            task = self._lost.pop(0) if self._lost else self._waiting.take(program)
            if task is not None:
                node.at_work[task.pack] = task
                began = self.env.now
                yield from self._use(self._launcher, self.cluster.dispatch_s)
                self.outcome.dispatch_s += self.env.now - began
                return task
            yield self._news

    def compile(self, slowness: float) -> Process:
        seconds = self.cluster.compile_s * slowness
        self.outcome.compiled_s += seconds
        yield self.env.timeout(seconds)

    def attempt(self, node: "Node", task: Task) -> Process:
        """Trains a pack in a slot of a node; ends early when the node dies or was replaced."""
        actor = self.actor(task, node.slowness)
        try:
            while (request := actor.resume()) is not None:
                yield from self._serve(request)
        finally:
            actor.kill()
        node.at_work.pop(task.pack, None)
        if isinstance(actor.error, Fenced):
            self.outcome.fenced += 1
            if not any(task.pack in other.at_work for other in self._nodes):
                self.env.process(self.lose([task]))
        elif actor.error is not None:
            raise actor.error
        elif not node.is_cut_off:  # else nobody learns of it
            self._end(task)

    def actor(self, task: Task, slowness: float) -> Actor:
        """Returns an attempt to finish a pack that has not begun."""
        step_s = self.costs.train_s * slowness / STEPS
        life = Life(task, self.costs, step_s, lambda: self.env.now, self.outcome.spent)
        return Actor(life.run, size_of(self.costs))

    def _end(self, task: Task) -> None:
        self._undone.discard(task.pack)
        if not self._undone and not self._over.triggered:
            self._over.succeed()

    def lose(self, tasks: Iterable[Task]) -> Process:
        """The launcher finds out that a node is gone: others take its packs."""
        yield self.env.timeout(self.cluster.detect_s)
        self._lost += [task for task in tasks if task.pack in self._undone]
        self._news.succeed()
        self._news = self.env.event()


class Node:
    """One machine: its slots, and what becomes of it."""

    def __init__(self, simulation: Simulation) -> None:
        self.at_work: dict[str, Task] = {}  # by pack
        self._healed = simulation.env.event()
        self.is_cut_off = False
        self._simulation = simulation
        cluster, draws = simulation.cluster, simulation.draws
        is_slow = draws.random() < cluster.slow_share
        self.slowness = cluster.slow_factor if is_slow else math.exp(draws.gauss(0, cluster.spread))
        self._slots: list[simpy.Process] = []

    def start(self) -> None:
        cluster, start = self._simulation.cluster, self._simulation.env.process
        self._slots = [start(self._slot()) for _ in range(cluster.slots)]
        if cluster.node_mtbf_s < math.inf:
            start(self._fail())

    def _slot(self) -> Process:
        simulation, program = self._simulation, ""
        while True:
            try:
                task = yield from simulation.take(self, program)
                if task.program != program:
                    yield from simulation.compile(self.slowness)
                    program = task.program
                yield from simulation.attempt(self, task)
                while self.is_cut_off:
                    yield self._healed
            except simpy.Interrupt:
                program = ""
                yield self._healed

    def _fail(self) -> Process:
        simulation = self._simulation
        cluster, draws, outcome = simulation.cluster, simulation.draws, simulation.outcome
        while True:
            yield simulation.env.timeout(draws.expovariate(1 / cluster.node_mtbf_s))
            self._healed = simulation.env.timeout(cluster.repair_s)
            simulation.env.process(simulation.lose(tuple(self.at_work.values())))
            if draws.random() < cluster.partitions:
                outcome.cut_off += 1
                self.is_cut_off = True
            else:
                outcome.failures += 1
                self.at_work.clear()
                for slot in self._slots:
                    slot.interrupt()
            yield self._healed
            self.is_cut_off = False
