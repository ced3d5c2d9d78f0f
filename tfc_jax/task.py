"""What an executor asks of a worker, as one line of JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from tfc_jax.keys import Run
from tfc_jax.plan import Pack
from tfc_jax.record import PerDecade, Record
from tfc_jax.timetable import Schedule


@dataclass(frozen=True)
class Task:
    """Train one pack up to `steps` and commit it below `out`."""

    out: str
    pack: str
    program: str
    runs: tuple[Run, ...]
    width: int
    schedule: Schedule
    record: Record
    steps: int

    @classmethod
    def of(cls, pack: Pack, record: Record, steps: int, out: str) -> "Task":
        """The task that finishes a planned pack."""
        return cls(
            out, pack.id, pack.program.id, pack.runs, pack.width, pack.schedule, record, steps
        )

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self) | {"runs": [run.changed() for run in self.runs]})

    @classmethod
    def from_json(cls, line: str) -> "Task":
        """The inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(line)
        record = fields.pop("record")
        runs = tuple(Run(**changed, steps=fields["steps"]) for changed in fields.pop("runs"))
        return cls(**fields, runs=runs, record=_record(record))


def _record(fields: dict[str, Any]) -> Record:
    """JSON makes lists of tuples, and mappings of dataclasses."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    if isinstance(values["every"], dict):
        values["every"] = PerDecade(**values["every"])
    return Record(**values)
