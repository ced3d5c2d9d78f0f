"""Programs and packs: what is compiled once and trained together, and what it needs."""

import hashlib
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property

from tfc_jax import registry, timetable
from tfc_jax.data import Dataset
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.pricing import (
    FLOAT_BYTES,
    SPEEDS,
    STORED_BYTES_PER_VALUE,
    metrics_cost,
    n_looks,
    values_per_chunk,
    values_per_look,
    values_stored,
)
from tfc_jax.record import Record
from tfc_jax.sizes import Sizes
from tfc_jax.timetable import Schedule

# Declared, not found on the machine: the cut into packs must not depend on it. On a CPU a pack is
# the unit in which cores share work, so it is small; an accelerator wants to be full.
LANE_BUDGET_BYTES = {"cpu": 8 * 2**20, "gpu": 16 * 2**30, "tpu": 8 * 2**30}
WIDTH_LIMITS = {"cpu": (2, 16), "gpu": (64, 512), "tpu": (64, 512)}
# Slices of a full pack, each of the pack width and on a chip of its own. A TPU host has 8 chips at
# most; where there are fewer, slices take turns: the cut must not depend on how many there are.
SLICES = {"cpu": 1, "gpu": 1, "tpu": 8}
SCHEDULES: dict[str, Schedule] = {"cpu": "mapped", "gpu": "lockstep", "tpu": "lockstep"}


@dataclass(frozen=True, eq=False)
class ProgramPlan:
    """One compiled program: runs that share shapes and code.

    Attributes:
      run: any of its runs; only the static keys matter.
      dataset: what it trains on.
    """

    run: Run
    dataset: Dataset

    @cached_property
    def id(self) -> str:
        """8 hex digits: a hash of the static keys."""
        return _digest(repr(program_key(self.run)))[:8]

    @cached_property
    def network(self) -> Network:
        """The network as it is built."""
        return Network.of(self.run, self.dataset)

    @cached_property
    def sizes(self) -> Sizes:
        """Sizes by the architecture's own formulas."""
        return self.network.sizes

    @property
    def title(self) -> str:
        """Data set, architecture, depth and the width that is built."""
        built = self.network.run
        return f"{built.dataset} {built.architecture} {built.depth}x{built.width}"

    @property
    def step_flops(self) -> float:
        """Arithmetic of one bare step of one run."""
        return self.run.batch_size * self.sizes.flops_per_sample

    def look_flops(self, record: Record) -> float:
        """Arithmetic of one look of one run at the probe set, by the probes' own formulas."""
        n = min(record.probe_samples, len(self.dataset.x_train))
        probes = (registry.module("probes", name) for name in record.probes)
        return sum(probe.flops(n, self.sizes) for probe in probes)

    def state_bytes(self, record: Record) -> float:
        """Device memory that every lane holds all the time: parameters, buffers, records."""
        slots = 1 + self.run.has_momentum + 2 * (self.run.optimizer == "adam")
        values = values_per_chunk(record, self.run.depth) + values_per_look(record, self.network)
        return FLOAT_BYTES * (slots * self.sizes.n_params + values)

    def work_bytes(self, record: Record) -> float:
        """Device memory of a lane while it trains: gradients, activations, batches.

        A gradient becomes the update where it stands: it counts once.
        """
        copies = 4 if record.metrics else 1  # features, their gradients, deltas
        activations = copies * self.run.batch_size * self.sizes.activations_per_sample
        indices = timetable.chunk_steps(record) * self.run.batch_size
        return FLOAT_BYTES * (self.sizes.n_params + activations + indices)

    def lane_bytes(self, record: Record) -> float:
        """Device memory of one lane in all."""
        return self.state_bytes(record) + self.work_bytes(record)

    def width(self, record: Record, platform: str, max_memory: float | None, n_runs: int) -> int:
        """The default pack width: the largest power of two within the platform's budget.

        Where packs have slices, it is halved while one pack still has room for all runs of the
        program, so that few runs occupy all chips too.
        """
        low, high = WIDTH_LIMITS[platform]
        budget: float = LANE_BUDGET_BYTES[platform]
        if max_memory is not None:
            low, budget = 1, min(budget, max_memory - self.shared_bytes)
        fitting = max(int(budget / self.lane_bytes(record)), 1)
        lanes = min(max(2 ** (fitting.bit_length() - 1), low), high)
        slices = SLICES[platform]
        return min(lanes, room(n_runs, slices)) if slices > 1 else lanes

    @property
    def shared_bytes(self) -> int:
        """Device memory of the data set, which all lanes share."""
        d = self.dataset
        return d.x_train.nbytes + d.x_test.nbytes + d.y_train.nbytes + d.y_test.nbytes


@dataclass(frozen=True)
class Pack:
    """What one device trains in one compiled call, what is committed, what is resumed.

    Attributes:
      runs: in order; where they are fewer than lanes, the others are padding.
      width: lanes of the compiled program on one chip; fewer than runs where the pack has slices,
        as on a TPU host, or after the device ran out of memory.
      schedule: `lockstep` or `mapped`.
      steps_done: committed updates.
      failed: an earlier launch could not train it.
      settled: its rows say that its runs are done or diverged, or it has no rows yet.
    """

    program: ProgramPlan
    runs: tuple[Run, ...]
    width: int
    schedule: Schedule
    steps_done: int = 0
    failed: bool = False
    settled: bool = True

    @cached_property
    def id(self) -> str:
        """12 hex digits: a hash of the run_ids."""
        return pack_id(run.run_id for run in self.runs)

    @property
    def kind(self) -> Hashable:
        """What a price depends on: packs of one kind need and cost the same."""
        return self.program, len(self.runs), self.width, self.schedule, self.steps_done

    @property
    def n_slices(self) -> int:
        """Pieces of `width` runs, each of which has a chip of its own while it trains."""
        return -(-len(self.runs) // self.width)

    def device_bytes(self, record: Record) -> float:
        """Memory of each chip while training; of `mapped` lanes, only one works at a time.

        Slices that wait for their turn are not counted: they leave if there is no room for them.
        """
        program = self.program
        working = self.width if self.schedule == "lockstep" else 1
        lanes = self.width * program.state_bytes(record) + working * program.work_bytes(record)
        return program.shared_bytes + lanes

    def flops(self, record: Record, steps: int) -> float:
        """Arithmetic of the steps and looks that are missing."""
        return self.training_flops(record, steps) + self.probe_flops(record, steps)

    def training_flops(self, record: Record, steps: int) -> float:
        """Arithmetic of the steps that are missing."""
        measured = len(record.measured_steps(self.steps_done, steps))
        equivalent = (steps - self.steps_done) + metrics_cost(record) * measured
        return len(self.runs) * self.program.step_flops * max(equivalent, 0)

    def probe_flops(self, record: Record, steps: int) -> float:
        """Arithmetic of the looks at the probe set that are missing."""
        looks = n_looks(record, steps)
        if self.steps_done:
            looks = max(looks - n_looks(record, self.steps_done), 0)
        return len(self.runs) * looks * self.program.look_flops(record)

    def probe_seconds(self, record: Record, steps: int, platform: str, n_chips: int = 1) -> float:
        """The probes' share of `seconds`."""
        return self._share(n_chips) * self.probe_flops(record, steps) / SPEEDS[platform].flops_per_s

    def seconds(self, record: Record, steps: int, platform: str, n_chips: int = 1) -> float:
        """One worker's time for the missing steps, by the declared speed of its platform."""
        speed = SPEEDS[platform]
        together = self.width if self.schedule == "lockstep" else 1
        n_steps = len(self.runs) * max(steps - self.steps_done, 0) / together
        overhead = speed.step_s + speed.layer_s * self.program.run.depth
        alone = n_steps * overhead + self.flops(record, steps) / speed.flops_per_s
        return self._share(n_chips) * alone

    def _share(self, n_chips: int) -> float:
        """Turns that the slices take, of as many as there are slices on one chip."""
        return -(-self.n_slices // n_chips) / self.n_slices

    def disk_bytes(self, record: Record, steps: int) -> float:
        """Parquet, the last checkpoint and the final weights."""
        return self.row_bytes(record, steps) + self.checkpoint_bytes + self.weight_bytes

    def row_bytes(self, record: Record, steps: int) -> float:
        """Parquet of the first `steps` steps."""
        values = values_stored(record, steps, self.program.network)
        return len(self.runs) * values * STORED_BYTES_PER_VALUE

    @property
    def checkpoint_bytes(self) -> int:
        """One checkpoint: weights and the buffers of the update rule, of all lanes."""
        run = self.program.run
        return self.weight_bytes * (1 + run.has_momentum + 2 * (run.optimizer == "adam"))

    @property
    def weight_bytes(self) -> int:
        """The final weights."""
        return FLOAT_BYTES * max(self.width, len(self.runs)) * self.program.sizes.n_params


def prices(price: Callable[[Pack], float], packs: Iterable[Pack]) -> list[float]:
    """Returns the price of every pack, computed once per kind: kinds are few where packs are many.

    Args:
      price: memory, arithmetic, time or disk of a pack, as its methods say.
    """
    known: dict[Hashable, float] = {}
    found = []
    for pack in packs:
        kind = pack.kind
        if kind not in known:
            known[kind] = price(pack)
        found.append(known[kind])
    return found


def room(n_runs: int, slices: int) -> int:
    """Returns the least power of two of lanes with which so many slices have room for all runs."""
    most = -(-n_runs // slices)
    return int(2 ** (most - 1).bit_length())


def program_key(run: Run) -> Hashable:
    """Returns what one compiled program has in common.

    Besides the static keys: whether there is a momentum buffer.
    """
    return run.static_key(), run.has_momentum


def pack_id(run_ids: Iterable[str]) -> str:
    """Returns 12 hex digits that name a pack by the runs in it, in order."""
    return _digest(",".join(run_ids))[:12]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
