"""What an executor asks of a worker, as one line of JSON."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from tfc_jax.config import Sweep
from tfc_jax.keys import Run
from tfc_jax.pack import Pack
from tfc_jax.record import PerDecade, Record
from tfc_jax.timetable import Schedule

COMMIT_SECONDS = 30.0
PREPARE = "prepare "  # before a task that a worker may get next


@dataclass(frozen=True)
class Task:
    """Train one pack up to `steps` and commit it below `out`, every `commit_seconds` or so.

    Attributes:
      dataset_sha256: of the arrays that were planned with; a worker refuses others. "" is any.
      url: of results in an object store, of which `out` is a copy on the launcher's machine; "" of
        results in a folder.
    """

    out: str
    pack: str
    program: str
    runs: tuple[Run, ...]
    width: int
    schedule: Schedule
    record: Record
    steps: int
    commit_seconds: float = COMMIT_SECONDS
    dataset_sha256: str = ""
    url: str = ""

    @classmethod
    def of(
        cls,
        pack: Pack,
        sweep: Sweep,
        out: str,
        commit_seconds: float = COMMIT_SECONDS,
        url: str = "",
    ) -> "Task":
        """The task that finishes a planned pack."""
        return cls(
            out=out,
            pack=pack.id,
            program=pack.program.id,
            runs=tuple(
                run if run.steps == sweep.steps else replace(run, steps=sweep.steps)
                for run in pack.runs
            ),
            width=pack.width,
            schedule=pack.schedule,
            record=sweep.record,
            steps=sweep.steps,
            commit_seconds=commit_seconds,
            dataset_sha256=pack.program.dataset.sha256,
            url=url,
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
