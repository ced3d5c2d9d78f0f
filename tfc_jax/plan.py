"""Runs -> programs -> packs: a launch, planned.

The cut into packs depends on the sweep, the pack width and the packs that exist already; never on
devices, workers or the memory found.
"""

from collections import defaultdict
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tfc_jax import data, registry
from tfc_jax.choices import Choice, Choices
from tfc_jax.config import Sweep
from tfc_jax.data import Dataset
from tfc_jax.errors import InputError
from tfc_jax.expression import parse
from tfc_jax.keys import CONTRADICTIONS, DIGITS, KINDS, Run
from tfc_jax.network import read_shape
from tfc_jax.pack import SCHEDULES, SLICES, Pack, ProgramPlan, pack_id, prices, program_key
from tfc_jax.run_ids import as_text
from tfc_jax.stored_columns import WIDEST_PACK
from tfc_jax.timetable import Schedule


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

    @cached_property
    def unfinished(self) -> tuple[Pack, ...]:
        """Packs that miss steps or whose end is not in their rows yet; failed ones apart."""
        return tuple(filter(self.is_unfinished, self.packs))

    def is_unfinished(self, pack: Pack) -> bool:
        """Whether `unfinished` has this pack of the plan."""
        return (pack.steps_done < self.sweep.steps or not pack.settled) and not pack.failed

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
    stored: Choices = Choices(),  # noqa: B008 - frozen
    max_memory: float | None = None,
) -> Plan:
    """Keeps the packs that exist and cuts the other runs, in order, into packs.

    Args:
      sweep: the validated sweep.
      platform: `cpu`, `gpu` or `tpu`: chooses the default schedule and memory budget, and how many
        slices of the pack width a full pack has.
      started: packs of earlier launches; those with no run of this sweep are left out.
      width, schedule: of new packs; None means what is stored.
      stored: schedules and widths of new packs; where it has none they take the defaults.
      max_memory: bytes per device that a pack may need.
    Raises:
      InputError: a data set is absent, has changed, or does not fit its runs; a pack needs more
        memory than allowed. All such errors at once.
    """
    by_program = _by_program(sweep.runs)
    with _errors_of(sweep):
        programs = _programs(by_program)
        _check_data(started, programs.values())
    packs, taken = _kept(started, sweep.runs, programs)
    missing = _by_program(r for r in sweep.runs if id(r) not in taken) if taken else by_program
    choices = stored.overridden(Choice(schedule, width))
    for key, runs in missing.items():
        chosen = choices.of(programs[key].id)
        # By all runs, not those that are missing: the cut goes on as it began.
        asked = sweep.record, platform, max_memory, len(by_program[key])
        lanes = chosen.pack_width or programs[key].width(*asked)
        packs += [
            Pack(programs[key], group, lanes, chosen.schedule or SCHEDULES[platform])
            for group in _groups(runs, min(lanes * SLICES[platform], WIDEST_PACK))
        ]
    plan = Plan(sweep, platform, tuple(packs))
    with _errors_of(sweep):
        _check_memory(plan, max_memory)
    return plan


def name_packs(plan: Plan) -> None:
    """Makes the ids of packs from those of runs that the sweep knows, sooner than `Pack.id` does.

    To hash a million runs again takes longer than all else at the start of a launch.
    """
    sweep = plan.sweep
    if sweep.ids is None:
        return
    place = {id(run): i for i, run in enumerate(sweep.runs)}
    text = as_text(sweep.ids).decode()
    for pack in plan.packs:
        at = [place.get(id(run), -1) for run in pack.runs]
        if min(at) >= 0:
            # As `cached_property` keeps it, which says how it is read.
            vars(pack)["id"] = pack_id(text[DIGITS * i : DIGITS * (i + 1)] for i in at)


@contextmanager
def _errors_of(sweep: Sweep) -> Iterator[None]:
    """Says of each error in which file it is, and where that sets the key in question."""
    try:
        yield
    except InputError as error:
        raise InputError([sweep.placed(message) for message in error.messages]) from None


def _kept(
    started: Sequence[StartedPack],
    wanted: Sequence[Run],
    programs: Mapping[Hashable, ProgramPlan],
) -> tuple[list[Pack], set[int]]:
    """Returns the started packs that hold a wanted run, and `id` of the wanted runs in them.

    A run is the wanted one of the same identity, most often the same object, which is found sooner.
    """
    own = {id(run) for run in wanted} if started else set[int]()
    copies = {run.identity for old in started for run in old.runs if id(run) not in own}
    found = {id(run): run.identity for run in wanted if run.identity in copies} if copies else {}
    taken = {id(run) for old in started for run in old.runs}.intersection(own).union(found)
    others = copies.difference(found.values())
    packs: list[Pack] = []
    for old in started:
        if any(id(run) in own or run.identity not in others for run in old.runs):
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
            packs.append(pack)
    return packs, taken


def _check_data(started: Sequence[StartedPack], programs: Iterable[ProgramPlan]) -> None:
    """All rows of a results folder must come from one content of a data set, new packs' too."""
    firsts = {_data_part(old.runs[0]): old for old in started if old.dataset_sha256 is not None}
    for program in programs:
        old = firsts.get(_data_part(program.run))
        if old is not None and old.dataset_sha256 != program.dataset.sha256:
            raise InputError(
                f"{program.run.dataset}: its content is not what pack "
                f"{pack_id(run.run_id for run in old.runs)} was started on (SHA-256 "
                f"{str(old.dataset_sha256)[:12]} then, {program.dataset.sha256[:12]} now). Restore "
                f"the data, or start over with --fresh or another --out."
            )


def _check_memory(plan: Plan, max_memory: float | None) -> None:
    if max_memory is None or not plan.unfinished:
        return
    record = plan.sweep.record
    needs = prices(lambda pack: pack.device_bytes(record), plan.unfinished)
    most = max(needs)
    if most > max_memory:
        worst = plan.unfinished[needs.index(most)]
        raise InputError(
            f"--max-memory: {max_memory / 2**30:.3g} GiB is allowed, but pack {worst.id} needs "
            f"about {most / 2**30:.3g} GiB. Allow more, or give a smaller --pack-width (packs "
            f"that have started keep theirs)."
        )


def _by_program(runs: Iterable[Run]) -> dict[Hashable, list[Run]]:
    """Runs by program_key, in order."""
    by_program: dict[Hashable, list[Run]] = defaultdict(list)
    for run in runs:
        by_program[program_key(run)].append(run)
    return by_program


def _programs(by_program: Mapping[Hashable, Sequence[Run]]) -> dict[Hashable, ProgramPlan]:
    """Loads each data set once; raises all errors together."""
    programs: dict[Hashable, ProgramPlan] = {}
    datasets: dict[Hashable, Dataset] = {}
    errors: list[str] = []
    unfit: list[str] = []
    for key, members in by_program.items():
        first = members[0]
        name = _data_part(first)
        part = dict(zip(("n_train", "classes", "difficulty"), name[1:], strict=True))
        try:
            if name not in datasets:
                datasets[name] = data.load(first.dataset, **part)
            programs[key] = ProgramPlan(first, datasets[name])
            misfits = _unfit(programs[key])
            unfit += misfits
            errors += _misfits(members, programs[key], is_built=not misfits)
        except InputError as error:
            errors += error.messages
    if unfit and len({run.architecture for run, *_ in by_program.values()}) > 1:
        unfit.append(
            "This sweep has several architectures: keys in which they differ go into one zip block "
            "with architecture, as in sweeps/conditions/architectures.yaml."
        )
    if errors or unfit:
        raise InputError(list(dict.fromkeys(errors + unfit)))
    return programs


def _data_part(run: Run) -> tuple[Any, ...]:
    """What decides which samples a run trains on."""
    return run.dataset, run.n_train, run.classes, run.difficulty


def _unfit(program: ProgramPlan) -> list[str]:
    """What does not fit the architecture; else there is no such network to be asked about."""
    run = program.run
    architecture = registry.module("models", run.architecture)
    found: list[str] = architecture.misfits(run, read_shape(run, program.dataset))
    return found


def _misfits(runs: Sequence[Run], program: ProgramPlan, *, is_built: bool) -> Iterator[str]:
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
    if is_built:
        dense = program.network.architecture.dense_layers(run)
        yield from _contradictions_of_width(run, program.network.run)
        yield from _beyond_dense(runs, dense)


def _contradictions_of_width(asked: Run, built: Run) -> Iterator[str]:
    """What the width that `target_params` found contradicts; a sweep is read before it is known."""
    if asked.target_params is None:
        return
    for when, why in CONTRADICTIONS:
        condition = parse(when, KINDS)
        if "width" in condition.names and condition.matches(lambda name: getattr(built, name)):
            yield (
                f"target_params: {asked.target_params} came, which gives {asked.architecture} of "
                f"depth {asked.depth} on {asked.dataset} the width {built.width}, but {why}. Use "
                f"another target_params or depth."
            )


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


def _groups(runs: Sequence[Run], size: int) -> Iterator[tuple[Run, ...]]:
    return (tuple(runs[i : i + size]) for i in range(0, len(runs), size))
