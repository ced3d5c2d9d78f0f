"""Runs -> programs -> packs; what they need in memory, arithmetic, time and disk.

The cut into packs depends on the sweep, the pack width and the packs that exist already; never on
devices, workers or the memory found.
"""

import hashlib
from collections import defaultdict
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property

from tfc_jax import data, registry, timetable
from tfc_jax.config import Sweep
from tfc_jax.data import Dataset
from tfc_jax.errors import InputError
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.record import Record
from tfc_jax.schema import (
    MOST_UNITS,
    SHOWN_OF_REGRESSION,
    SHOWN_PER_CLASS,
    result_columns,
)
from tfc_jax.sizes import Sizes
from tfc_jax.timetable import Schedule

FLOAT_BYTES = 4
# Declared, not found on the machine: the cut into packs must not depend on it. On a CPU a pack is
# the unit in which cores share work, so it is small; an accelerator wants to be full.
LANE_BUDGET_BYTES = {"cpu": 8 * 2**20, "gpu": 16 * 2**30, "tpu": 8 * 2**30}
WIDTH_LIMITS = {"cpu": (2, 16), "gpu": (64, 512), "tpu": (64, 512)}
SCHEDULES: dict[str, Schedule] = {"cpu": "mapped", "gpu": "lockstep", "tpu": "lockstep"}


@dataclass(frozen=True)
class Speed:
    """Declared speed of one device: time = step_s + depth * layer_s + arithmetic / flops_per_s."""

    step_s: float
    layer_s: float
    flops_per_s: float
    compile_s: float  # of one program; each worker compiles the programs it meets


# The CPU's was measured on one core (AVX-512, digits, widths 32 to 256); the others are guesses.
SPEEDS = {
    "cpu": Speed(1e-5, 5e-6, 1.5e11, 6.0),
    "gpu": Speed(1e-4, 5e-5, 2e13, 30.0),
    "tpu": Speed(1e-4, 5e-5, 4e13, 30.0),
}
# Measured share of a bare step that the default metric families add to a measured one.
METRICS_COST = 0.5
STORED_BYTES_PER_VALUE = 3.0


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
        """Device memory of a lane while it trains: gradients, update, activations, batches."""
        copies = 4 if record.metrics else 1  # features, their gradients, deltas
        activations = copies * self.run.batch_size * self.sizes.activations_per_sample
        indices = timetable.chunk_steps(record) * self.run.batch_size
        return FLOAT_BYTES * (2 * self.sizes.n_params + activations + indices)

    def lane_bytes(self, record: Record) -> float:
        """Device memory of one lane in all."""
        return self.state_bytes(record) + self.work_bytes(record)

    def width(self, record: Record, platform: str, max_memory: float | None) -> int:
        """The default pack width: the largest power of two within the platform's budget."""
        low, high = WIDTH_LIMITS[platform]
        budget: float = LANE_BUDGET_BYTES[platform]
        if max_memory is not None:
            low, budget = 1, min(budget, max_memory - self.shared_bytes)
        fitting = max(int(budget / self.lane_bytes(record)), 1)
        return min(max(2 ** (fitting.bit_length() - 1), low), high)

    @property
    def shared_bytes(self) -> int:
        """Device memory of the data set, which all lanes share."""
        d = self.dataset
        return d.x_train.nbytes + d.x_test.nbytes + d.y_train.nbytes + d.y_test.nbytes


@dataclass(frozen=True)
class Pack:
    """What one device trains in one compiled call, what is committed, what is resumed.

    Attributes:
      runs: the real lanes, in order; lanes len(runs)..width-1 are padding.
      width: lanes of the compiled program.
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

    def device_bytes(self, record: Record) -> float:
        """Device memory while training; of `mapped` lanes, only one works at a time."""
        program = self.program
        working = self.width if self.schedule == "lockstep" else 1
        lanes = self.width * program.state_bytes(record) + working * program.work_bytes(record)
        return program.shared_bytes + lanes

    def flops(self, record: Record, steps: int) -> float:
        """Arithmetic of the steps and looks that are missing."""
        return self.training_flops(record, steps) + self.probe_flops(record, steps)

    def training_flops(self, record: Record, steps: int) -> float:
        """Arithmetic of the steps that are missing."""
        measured = len(record.measured_steps(self.steps_done, steps)) if record.metrics else 0
        equivalent = (steps - self.steps_done) + METRICS_COST * measured
        return len(self.runs) * self.program.step_flops * max(equivalent, 0)

    def probe_flops(self, record: Record, steps: int) -> float:
        """Arithmetic of the looks at the probe set that are missing."""
        looks = n_looks(record, steps)
        if self.steps_done:
            looks = max(looks - n_looks(record, self.steps_done), 0)
        return len(self.runs) * looks * self.program.look_flops(record)

    def probe_seconds(self, record: Record, steps: int, platform: str) -> float:
        """The probes' share of `seconds`."""
        return self.probe_flops(record, steps) / SPEEDS[platform].flops_per_s

    def seconds(self, record: Record, steps: int, platform: str) -> float:
        """One device's time for the missing steps, by the declared speed of its platform."""
        speed = SPEEDS[platform]
        together = self.width if self.schedule == "lockstep" else 1
        n_steps = len(self.runs) * max(steps - self.steps_done, 0) / together
        overhead = speed.step_s + speed.layer_s * self.program.run.depth
        return n_steps * overhead + self.flops(record, steps) / speed.flops_per_s

    def disk_bytes(self, record: Record, steps: int) -> float:
        """Parquet, the last checkpoint and the final weights."""
        values = values_stored(record, steps, self.program.network)
        slots = 2 + self.program.run.has_momentum + 2 * (self.program.run.optimizer == "adam")
        states = self.width * self.program.sizes.n_params * slots
        return len(self.runs) * values * STORED_BYTES_PER_VALUE + FLOAT_BYTES * states


@dataclass(frozen=True)
class StartedPack:
    """A pack of an earlier launch, as the runs table holds it. Its cut stands for ever."""

    runs: tuple[Run, ...]
    width: int
    schedule: Schedule
    steps_done: int
    failed: bool
    settled: bool
    dataset_sha256: str | None


@dataclass(frozen=True)
class Plan:
    """Everything a launch would do."""

    sweep: Sweep
    platform: str
    packs: tuple[Pack, ...]

    @property
    def unfinished(self) -> tuple[Pack, ...]:
        """Packs that miss steps or whose end is not in their rows yet; failed ones apart."""
        steps = self.sweep.steps
        left = (pack for pack in self.packs if pack.steps_done < steps or not pack.settled)
        return tuple(pack for pack in left if not pack.failed)

    @property
    def programs(self) -> dict[str, list[Pack]]:
        """Packs by program, in order."""
        by_program: dict[str, list[Pack]] = defaultdict(list)
        for pack in self.packs:
            by_program[pack.program.id].append(pack)
        return dict(by_program)


def make_plan(
    sweep: Sweep,
    *,
    platform: str,
    started: Sequence[StartedPack] = (),
    width: int | None = None,
    schedule: Schedule | None = None,
    max_memory: float | None = None,
) -> Plan:
    """Keeps the packs that exist and cuts the other runs, in order, into packs.

    Args:
      sweep: the validated sweep.
      platform: `cpu`, `gpu` or `tpu`: chooses the default schedule and memory budget.
      started: packs of earlier launches; those with no run of this sweep are left out.
      width, schedule: override the defaults for new packs.
      max_memory: bytes per device that a pack may need.
    Raises:
      InputError: a data set is absent, has changed, or does not fit its runs; a pack needs more
        memory than allowed. All such errors at once.
    """
    programs = _programs(sweep.runs)
    wanted = {run.run_id: run for run in sweep.runs}
    packs, taken = _kept(started, wanted.keys(), programs)
    missing: dict[Hashable, list[Run]] = defaultdict(list)
    for run_id, run in wanted.items():
        if run_id not in taken:
            missing[program_key(run)].append(run)
    for key, runs in missing.items():
        lanes = width or programs[key].width(sweep.record, platform, max_memory)
        packs += [
            Pack(programs[key], group, lanes, schedule or SCHEDULES[platform])
            for group in _groups(runs, lanes)
        ]
    plan = Plan(sweep, platform, tuple(packs))
    _check_memory(plan, max_memory)
    return plan


def _kept(
    started: Sequence[StartedPack],
    wanted: AbstractSet[str],
    programs: Mapping[Hashable, ProgramPlan],
) -> tuple[list[Pack], set[str]]:
    """Returns the started packs that hold a wanted run, and the run_ids of all started packs."""
    packs: list[Pack] = []
    taken: set[str] = set()
    for old in started:
        ids = {run.run_id for run in old.runs}
        taken |= ids
        if ids & wanted:
            program = programs[program_key(old.runs[0])]
            pack = Pack(
                program=program,
                runs=old.runs,
                width=old.width,
                schedule=old.schedule,
                steps_done=old.steps_done,
                failed=old.failed,
                settled=old.settled,
            )
            _check_data(pack, old.dataset_sha256)
            packs.append(pack)
    return packs, taken


def _check_data(pack: Pack, stored: str | None) -> None:
    """Rows of one run must come from one data set."""
    if stored is not None and stored != pack.program.dataset.sha256:
        raise InputError(
            f"{pack.program.run.dataset}: its content is not what pack {pack.id} was started on "
            f"(SHA-256 {stored[:12]} then, {pack.program.dataset.sha256[:12]} now). Restore the "
            f"data, or start over with --fresh or another --out."
        )


def _check_memory(plan: Plan, max_memory: float | None) -> None:
    needs = {p.id: p.device_bytes(plan.sweep.record) for p in plan.unfinished}
    if max_memory is not None and needs and max(needs.values()) > max_memory:
        worst = max(needs, key=needs.__getitem__)
        raise InputError(
            f"--max-memory: {max_memory / 2**30:.2f} GiB is allowed, but pack {worst} needs about "
            f"{needs[worst] / 2**30:.2f} GiB. Allow more, or give a smaller --pack-width (packs "
            f"that have started keep theirs)."
        )


def program_key(run: Run) -> Hashable:
    """Returns what one compiled program has in common.

    Besides the static keys: whether there is a momentum buffer.
    """
    return run.static_key(), run.has_momentum


def pack_id(run_ids: Iterable[str]) -> str:
    """Returns 12 hex digits that name a pack by the runs in it, in order."""
    return _digest(",".join(run_ids))[:12]


def n_looks(record: Record, steps: int) -> int:
    """Looks at the probe set over the first `steps` steps, that at step 0 included."""
    return steps // record.probe_every + 1 if record.probes else 0


def values_stored(record: Record, steps: int, network: Network) -> float:
    """Values that one run writes over `steps` steps."""
    columns = {table: len(c) for table, c in result_columns(record).items()}
    measured = len(record.measured_steps(0, steps)) if record.metrics else 0
    return (
        columns["steps"] * steps
        + columns.get("layers", 0) * network.run.depth * measured
        + values_per_look(record, network) * n_looks(record, steps)
    )


def values_per_look(record: Record, network: Network) -> int:
    """Values of one look of one run at the probe set; null columns count too."""
    depth, n_classes = network.run.depth, network.n_classes
    # The middle layer's own width is not known here: that of an average one.
    n_units = network.sizes.n_units // (depth - 1) if depth > 1 else network.n_outputs
    rows = {
        "probe": 1,
        "probe_layers": depth,
        "classes": depth * n_classes**2,
        "features": min(n_units, MOST_UNITS) * (SHOWN_PER_CLASS * n_classes or SHOWN_OF_REGRESSION),
    }
    columns = result_columns(record)
    return sum(n * len(columns.get(table, ())) for table, n in rows.items())


def values_per_chunk(record: Record, depth: int) -> int:
    """Float values in the output buffers of one lane."""
    columns = {table: len(c) for table, c in result_columns(record).items()}
    per_record = columns.get("layers", 0) * depth + columns["steps"]
    return columns["steps"] * timetable.chunk_steps(record) + per_record * timetable.chunk_records(
        record
    )


def _programs(runs: Iterable[Run]) -> dict[Hashable, ProgramPlan]:
    """Loads each data set once; raises all errors together."""
    by_program: dict[Hashable, list[Run]] = defaultdict(list)
    for run in runs:
        by_program[program_key(run)].append(run)
    programs: dict[Hashable, ProgramPlan] = {}
    datasets: dict[Hashable, Dataset] = {}
    errors: list[str] = []
    for key, members in by_program.items():
        first = members[0]
        part = {k: getattr(first, k) for k in ("n_train", "classes", "difficulty")}
        name = (first.dataset, *part.values())
        try:
            if name not in datasets:
                datasets[name] = data.load(first.dataset, **part)
            program = ProgramPlan(first, datasets[name])
            errors += _misfits(members, program)
            programs[key] = program
        except InputError as error:
            errors += error.messages
    if errors:
        raise InputError(list(dict.fromkeys(errors)))
    return programs


def _misfits(runs: Sequence[Run], program: ProgramPlan) -> Iterator[str]:
    """What the keys of one program's runs ask of their data set or network and do not get."""
    run, dataset = runs[0], program.dataset
    n = len(dataset.x_train)
    if run.batch_size > n:
        yield (
            f"batch_size: {run.batch_size} came, but {run.dataset} has {n} training samples here. "
            f"Use a batch_size of at most {n}."
        )
    if run.loss == "cross_entropy" and not dataset.n_classes:
        yield f"loss: cross_entropy came, but {run.dataset} is a regression. Use loss: mse."
    if any(r.label_noise for r in runs) and not dataset.n_classes:
        yield f"label_noise: {run.dataset} is a regression and has no labels. Use label_noise: 0."
    architecture = program.network.architecture
    misfits: list[str] = architecture.misfits(run, program.network.input_shape)
    yield from misfits
    if not misfits:
        yield from _beyond_dense(runs, architecture.dense_layers(run))


def _beyond_dense(runs: Iterable[Run], dense: Container[int]) -> Iterator[str]:
    """Interventions that need a layer that reads, or gives, a whole feature, and do not find it."""
    # The mean of a feature is removed from the weights that read it, one layer above.
    above = {"remove_feature_mean": 1, "reinit_dead": 0}
    for run in runs:
        if run.intervention in above:
            layers = [layer + above[run.intervention] for layer in run.intervened_layers]
            missing = [layer for layer in layers if layer not in dense]
            if missing:
                yield (
                    f"intervention: {run.intervention} needs layer {missing[0]} to be fully "
                    f"connected, which in {run.architecture} it is not. Use another "
                    f"intervention, intervene_layer or architecture."
                )
                return


def _groups(runs: Sequence[Run], width: int) -> Iterator[tuple[Run, ...]]:
    return (tuple(runs[i : i + width]) for i in range(0, len(runs), width))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
