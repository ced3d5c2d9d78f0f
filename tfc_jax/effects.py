"""What a sweep asks to be recorded and no network of it can give: said, not refused.

Other programs of the sweep, or the next sweep with the same record, may give it. Metrics and probes
declare it: `lacks(traits)` returns why nothing comes for such a network, or an empty string.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType

from tfc_jax import registry
from tfc_jax.functional import Functional
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.pack import ProgramPlan
from tfc_jax.plan import Plan
from tfc_jax.record import PLUGINS, Record
from tfc_jax.snapshot import Traits
from tfc_jax.wording import counted

SHOWN = 3  # programs that a note names
DECIDED_BY = {"every": "metrics", "probe_every": "probes", "probe_samples": "probes"}


def notes(plan: Plan) -> list[str]:
    """Returns one line for each metric, probe and key of the record that gives nothing."""
    record = plan.sweep.record
    return [*_idle_keys(record), *_missing_columns(plan)]


def traits_of(network: Network) -> Traits:
    """Returns what decides which columns a network has."""
    run = network.run
    dense = network.architecture.dense_layers(run)
    is_read = run.depth > 1 and (
        run.depth in dense or _reads_last_feature(run.architecture, network.input_shape)
    )
    return Traits(run.depth, network.n_classes, run.batch_size, dense, is_read)


def _idle_keys(record: Record) -> Iterator[str]:
    default = Record()
    for key, plugins in DECIDED_BY.items():
        if not getattr(record, plugins) and getattr(record, key) != getattr(default, key):
            yield f"record.{key} has no effect: record.{plugins} is empty."


def _missing_columns(plan: Plan) -> Iterator[str]:
    record = plan.sweep.record
    asked = [(kind, name) for kind in PLUGINS for name in getattr(record, kind)]
    declaring = {
        (kind, name): module
        for kind, name in asked
        if hasattr(module := registry.module(kind, name), "lacks")
    }
    programs = [packs[0].program for packs in plan.programs.values()] if declaring else []
    traits = {program.id: traits_of(program.network) for program in programs}
    for (kind, name), module in declaring.items():
        for why, found in _by_reason(module, programs, traits).items():
            is_all = len(found) == len(programs)
            which = "any program of this sweep" if is_all else _titles(found)
            remedy = " Leave it out." if is_all else ""
            yield f"record.{kind}: {name} gives nothing for {which}: {why}.{remedy}"


def _by_reason(
    module: ModuleType, programs: list[ProgramPlan], traits: dict[str, Traits]
) -> dict[str, list[ProgramPlan]]:
    found: dict[str, list[ProgramPlan]] = defaultdict(list)
    for program in programs:
        if why := module.lacks(traits[program.id]):
            found[why].append(program)
    return found


def _titles(programs: list[ProgramPlan]) -> str:
    titles = list(dict.fromkeys(program.title for program in programs))
    more = len(titles) - SHOWN
    tail = f" and {counted(more, 'other')}" if more > 0 else ""
    return ", ".join(titles[:SHOWN]) + tail


@lru_cache(maxsize=64)
def _reads_last_feature(architecture: str, input_shape: tuple[int, ...]) -> bool:
    """Whether W_L is as high as the feature below is wide, which a small network tells.

    Maps of tokens, or of the last step, do not read the whole feature, unless one is all there is.
    """
    example = Run(architecture=architecture, **registry.module("models", architecture).EXAMPLE)
    net = Functional(Network(example, input_shape, n_outputs=2, n_classes=2))
    return net.widths()[-2] == net.fans_in()[-1]
