"""What a sweep records, and at which steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from tfc_jax import registry
from tfc_jax.errors import nearest, quoted
from tfc_jax.keytypes import INT32_MAX, Count, Key, Whole, shown
from tfc_jax.yaml_source import Problems, Value

MAX_PER_DECADE = 1000


@dataclass(frozen=True)
class PerDecade:
    """`log` measured steps per decade: 0 and the rounded powers 10^(i/log), i = 0, 1, ..."""

    log: int

    def step(self, i: int) -> int:
        return round(10 ** (i / self.log))

    def index(self, step: int) -> int:
        """Returns the i whose power is nearest to a step >= 1; i - 1 or i + 1 may round to it."""
        return round(self.log * math.log10(step))


@dataclass(frozen=True)
class Record:
    """What is measured during a run.

    Attributes:
      every: layer metrics every so many steps; the loss is kept at every step regardless.
      probe_every: steps between two looks at the probe set.
      probe_samples: samples of the probe set.
      metrics: files of tfc_jax/metrics.
      probes: files of tfc_jax/probes.
    """

    every: int | PerDecade = 1
    probe_every: int = 100
    probe_samples: int = 512
    metrics: tuple[str, ...] = ("similarity", "gradients", "norms", "units")
    probes: tuple[str, ...] = ("generalization",)

    def measured(self, step: int) -> bool:
        """Whether the layers are measured at this step; always at step 0."""
        if isinstance(self.every, int):
            return step % self.every == 0
        if step == 0:
            return True
        i = self.every.index(step)
        return step in {self.every.step(max(j, 0)) for j in (i - 1, i, i + 1)}

    def measured_steps(self, start: int, stop: int) -> list[int]:
        """Returns the measured steps in start..stop-1, ascending."""
        if isinstance(self.every, int):
            return list(range(-(-start // self.every) * self.every, stop, self.every))
        first = max(self.every.index(max(start, 1)) - 1, 0)
        last = self.every.index(max(stop, 1)) + 1
        steps = {0, *(self.every.step(i) for i in range(first, last + 1))}
        return sorted(step for step in steps if start <= step < stop)


def _key(name: str, hint: Any, unit: str, doc: str) -> Key:
    return Key(name, TypeAdapter(hint), getattr(Record, name), False, unit, doc)


NUMBERS = {
    key.name: key
    for key in (
        _key("every", Count, "steps", "Layer metrics every so many steps, or {log: n} per decade."),
        _key("probe_every", Count, "steps", "Steps between two looks at the probe set."),
        _key(
            "probe_samples",
            Annotated[Whole, Field(ge=2, le=INT32_MAX)],
            "samples",
            "Size of the probe set.",
        ),
    )
}
LOG = Key(
    "log",
    TypeAdapter(Annotated[Whole, Field(ge=1, le=MAX_PER_DECADE)]),
    None,
    False,
    "steps per decade",
    "Measured steps per decade of steps.",
)
PLUGINS = {"metrics": "metric", "probes": "probe"}  # folder -> what a message calls a file of it
NAMES = (*NUMBERS, *PLUGINS)


def read_record(value: Value | None, problems: Problems) -> Record:
    """Returns the `record` section; its default where there is none."""
    if value is None or value.data is None:
        return Record()
    if not isinstance(value.data, dict):
        problems.add(value, f"record: {shown(value.data)} came. Allowed: a mapping of {_NAMES}.")
        return Record()
    readers: dict[str, Callable[[str, Value, Problems], Any]] = {
        **dict.fromkeys(NUMBERS, _read_number),
        **dict.fromkeys(PLUGINS, _read_plugins),
    }
    given = {}
    for name, item in value.data.items():
        if name not in readers:
            message = f"unknown key {quoted(name)} in record.{nearest(name, NAMES)}"
            problems.add(item, f"{message} Allowed: {_NAMES}.")
        else:
            given[name] = readers[name](name, item, problems)
    return Record(**{name: item for name, item in given.items() if item is not None})


_NAMES = ", ".join(NAMES)


def _read_number(name: str, value: Value, problems: Problems) -> Any:
    if name == "every" and isinstance(value.data, dict):
        return _read_per_decade(value, problems)
    try:
        return NUMBERS[name].checked(value.data)
    except ValueError as error:
        also = " Or {log: n}, n per decade of steps." if name == "every" else ""
        problems.add(value, f"record.{name}: {error}{also}")
        return None


def _read_per_decade(value: Value, problems: Problems) -> PerDecade | None:
    if value.data.keys() != {"log"}:
        keys = ", ".join(value.data) or "nothing"
        problems.add(value, f"record.every: a mapping of {keys} came. Allowed: {{log: n}}.")
        return None
    try:
        return PerDecade(LOG.checked(value.data["log"].data))
    except ValueError as error:
        problems.add(value.data["log"], f"record.every.log: {error}")
        return None


def _read_plugins(name: str, value: Value, problems: Problems) -> tuple[str, ...] | None:
    available = registry.names(name)
    if value.data == "all":
        return available
    if not isinstance(value.data, list):
        problems.add(
            value,
            f"record.{name}: {shown(value.data)} came. Allowed: all, or a list of "
            f"{', '.join(available)}.",
        )
        return None
    items = [item for item in value.data if _is_plugin(name, item, problems)]
    seen: set[str] = set()
    for item in items:
        if item.data in seen:
            problems.add(item, f"record.{name}: '{item.data}' comes twice. Keep one of them.")
        seen.add(item.data)
    return tuple(item.data for item in items)


def _is_plugin(name: str, item: Value, problems: Problems) -> bool:
    available = registry.names(name)
    if isinstance(item.data, str) and item.data in available:
        return True
    is_text = isinstance(item.data, str)
    what = quoted(item.data) if is_text else shown(item.data)
    hint = nearest(item.data, available) if is_text else ""
    problems.add(
        item,
        f"unknown {PLUGINS[name]} {what} in record.{name}.{hint} "
        f"Available: {', '.join(available)}.",
    )
    return False
