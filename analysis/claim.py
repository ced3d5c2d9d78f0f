"""A claim and its parts: where to look, what to compute there, what counts as a yes."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.evidence import Cells, Evidence
from analysis.verdicts import Rule
from tfc_jax.errors import InputError, nearest
from tfc_jax.expression import parse
from tfc_jax.keys import KINDS

# Parameters of evidence functions that are filled from the claim.
FIXED = {"no_effect", "threshold"}
_EVIDENCE = Path(__file__).parent / "evidence"


@dataclass(frozen=True)
class Part:
    """One question to the data: where to look, what to compute, what counts as a yes."""

    sweep: str
    cells: Mapping[str, str]
    evidence: str
    arguments: Mapping[str, Any]
    statistic: str
    unit: str
    rule: Rule

    def judge(self, cells: Cells) -> Evidence:
        """Runs the evidence function on the runs of the cells."""
        function = evidence_function(self.evidence)
        given = dict(self.arguments)
        for name in FIXED & inspect.signature(function).parameters.keys():
            given[name] = self.rule.null if name == "no_effect" else self.rule.threshold
        return function(cells, **given)


@dataclass(frozen=True)
class Claim:
    """A claim and all that was fixed about it before data.

    Attributes:
      parts: by name; the only one has the empty name.
    """

    id: str
    claim: str
    source: str
    why: str
    ours: str
    parts: Mapping[str, Part]

    @property
    def family(self) -> str:
        """T, V or R: p values are corrected within it."""
        return self.id[0]

    @property
    def sweeps(self) -> tuple[str, ...]:
        """The sweeps of its parts, each once."""
        return tuple(dict.fromkeys(part.sweep for part in self.parts.values()))


def evidence_function(name: str) -> Callable[..., Evidence]:
    """Returns the function that `file.function` names.

    Raises:
      ValueError: there is none, with the nearest name.
    """
    file, _, function = name.partition(".")
    files = sorted(path.stem for path in _EVIDENCE.glob("*.py") if path.stem != "__init__")
    if file not in files:
        raise ValueError(f"there is no evidence file '{file}'.{nearest(file, files)}")
    module = importlib.import_module(f"analysis.evidence.{file}")
    found = getattr(module, function, None)
    if not callable(found) or function.startswith("_"):
        raise ValueError(f"{file}.py has no function '{function}'.{nearest(function, dir(module))}")
    chosen: Callable[..., Evidence] = found
    return chosen


def misfits(part: Part) -> list[str]:
    """What is wrong with one question, apart from the types of its values."""
    rule = part.rule
    found = []
    if rule.no_effect is None and rule.direction in ("either", "within"):
        found.append(f"`{rule.direction}` needs a value of no_effect, at which it is mirrored")
    if rule.direction == "below" and rule.threshold > rule.null and not rule.count:
        found.append("the threshold of `below` is at or below no_effect")
    if rule.direction != "below" and rule.threshold < rule.null:
        found.append(f"the threshold of `{rule.direction}` is at or above no_effect")
    if rule.ratio and not 0 < rule.null:
        found.append("no_effect of a ratio is positive")
    for expression in part.cells.values():
        try:
            parse(expression, KINDS)
        except InputError as error:
            found += error.messages
    return found + _unusable(part)


def _unusable(part: Part) -> list[str]:
    try:
        function = evidence_function(part.evidence)
    except ValueError as error:
        return [str(error)]
    signature = inspect.signature(function)
    given = dict(part.arguments)
    for name in FIXED & given.keys():
        return [f"{name} is no argument: a function that has it is given the claim's"]
    given |= dict.fromkeys(FIXED & signature.parameters.keys())
    try:
        signature.bind(None, **given)
    except TypeError as error:
        return [f"{part.evidence}: {error}; its parameters: {', '.join(signature.parameters)}"]
    return []
