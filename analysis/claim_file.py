"""The files of claims: what was fixed before the data, read strictly.

    claims:
      - id: T4
        claim: Features of a middle layer grow more alike over the plateau
        source: paper                      # paper | reviewers | ours
        sweep: two_phase                   # a file of sweeps/figures
        cells: {plain: "depth == 9"}       # the runs it speaks of, by expressions over run keys
        evidence: similarity.rise          # analysis/evidence/similarity.py, function rise
        arguments: {column: feature_cos}
        statistic: median over seeds of the change from step 0 to the end of phase one
        unit: cosine
        direction: above                   # above | below | either (sign open) | within (the same)
        no_effect: 0                       # null: nothing is the opposite, p is against threshold
        threshold: 0.02                    # the smallest effect of interest, a value of the effect
        why: the margin of the flag feature_collapse
        ours: the window of 50 steps

`scale: ratio` mirrors `either` and `within` by division, `rule: count` is a share of cases with its
exact interval and no p. `parts` makes a claim that several things hold together: a mapping from the
part's name to whatever differs there from the claim (sweep, cells, evidence, arguments, statistic,
unit, direction, no_effect, threshold, scale, rule).

The sweeps of the profiles differ, and with them what picks the same cell:

    cells:
      plain: {default: "width == 64", paper: "width == 512"}
    parts:
      plain: {}
      blobs: {profiles: [default], cells: {blobs: "dataset == \"gaussian_blobs\""}}

An expression alone is for all profiles, a mapping has one for each, and `profiles` lists those that
have the part (all, if it is left out). The profiles are `default` and `paper`; smoke reads what
default reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from analysis.claim import Claim, Part, misfits
from analysis.profiles import PROFILES, Profile
from analysis.verdicts import Direction, Rule
from tfc_jax.errors import InputError, nearest

__all__ = ["FAMILIES", "FILES", "Claim", "Part", "read_claims"]

FAMILIES = ("T", "V", "R")
FILES = tuple(
    path
    for family in FAMILIES
    if (path := Path(__file__).with_name(f"claims_{family.lower()}.yaml")).exists()
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ByProfile(_Strict):
    """What picks the runs of one cell in the sweeps of each profile."""

    default: str
    paper: str


def _for_all(cell: Any) -> Any:
    if isinstance(cell, str):
        return dict.fromkeys(ByProfile.model_fields, cell)
    if not isinstance(cell, dict):
        raise ValueError("an expression, or a mapping with one for each profile")
    return cell


Cell = Annotated[ByProfile, BeforeValidator(_for_all)]


class PartEntry(_Strict):
    """What differs in one part of a claim."""

    profiles: list[str] = Field(default=list(ByProfile.model_fields), min_length=1)
    sweep: str | None = None
    cells: dict[str, Cell] | None = None
    evidence: str | None = None
    arguments: dict[str, Any] | None = None
    statistic: str | None = None
    unit: str | None = None
    direction: Direction | None = None
    no_effect: float | None = None
    threshold: float | None = None
    scale: Literal["difference", "ratio"] | None = None
    rule: Literal["effect", "count"] | None = None

    @field_validator("profiles")
    @classmethod
    def _are_known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in ByProfile.model_fields:
                raise ValueError(_unknown("profile", name, ByProfile.model_fields))
        return names


class ClaimEntry(_Strict):
    """One claim as it stands in the file."""

    id: str = Field(pattern=r"^[TVR][1-9][0-9]*$")
    claim: str
    source: Literal["paper", "reviewers", "ours"]
    sweep: str
    cells: dict[str, Cell] = Field(min_length=1)
    evidence: str
    arguments: dict[str, Any] = {}
    statistic: str
    unit: str
    direction: Direction
    no_effect: float | None
    threshold: float
    scale: Literal["difference", "ratio"] = "difference"
    rule: Literal["effect", "count"] = "effect"
    why: str
    ours: str = ""
    parts: dict[str, PartEntry] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> "ClaimEntry":
        for profile in ByProfile.model_fields:
            parts = _parts_of(self, profile)
            if not parts:
                raise ValueError(f"no part has the profile '{profile}'")
            for name, part in parts.items():
                label = f"part '{name}': " if name else ""
                for problem in misfits(part):
                    raise ValueError(label + problem)
        return self


def read_claims(
    paths: Path | Sequence[Path] = FILES, profile: Profile = PROFILES["default"]
) -> tuple[Claim, ...]:
    """Reads files of claims, all of it strictly; returns the cells and parts of one profile.

    Raises:
      InputError: all that is wrong in the first file that is, each with its line.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    claims = [claim for file in files for claim in _read(file, profile.cells)]
    ids = [claim.id for claim in claims]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        places = ", ".join(str(file) for file in files)
        raise InputError(f"{places}: {twice[0]} comes twice. An id stands once, in one file.")
    return tuple(claims)


def _read(path: Path, profile: str) -> list[Claim]:
    text = path.read_text(encoding="utf-8")
    try:
        data = YAML(typ="safe", pure=True).load(text)
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InputError(f"{path}:{line}: not YAML: {error.problem}.") from None
    except YAMLError as error:
        raise InputError(f"{path}: not YAML: {error}.") from None
    entries = data.get("claims") if isinstance(data, dict) and len(data) == 1 else None
    if not isinstance(entries, list):
        raise InputError(f"{path}:1: a file of claims has one key, claims, with a list under it.")
    problems: list[str] = []
    checked = [_entry(path, root, at, entry, problems) for at, entry in enumerate(entries)]
    if problems:
        raise InputError(problems)
    return [_claim(entry, profile) for entry in checked if entry]


def _claim(read: ClaimEntry, profile: str) -> Claim:
    return Claim(read.id, read.claim, read.source, read.why, read.ours, _parts_of(read, profile))


def _entry(path: Path, root: Node, at: int, entry: Any, problems: list[str]) -> ClaimEntry | None:
    try:
        return ClaimEntry.model_validate(entry, strict=False)
    except ValidationError as error:
        for found in error.errors():
            where = f"{path}:{_line(root, ('claims', at, *found['loc']))}"
            problems.append(f"{where}: {_sentence(found)}")
        return None


def _sentence(found: Mapping[str, Any]) -> str:
    """One of pydantic's findings, in our words where a key is not known."""
    *_, key = found["loc"] or ("",)
    if found["type"] == "extra_forbidden":
        if "cells" in found["loc"][-3:-2]:
            return _unknown("profile", key, ByProfile.model_fields)
        allowed = PartEntry.model_fields if "parts" in found["loc"] else ClaimEntry.model_fields
        return _unknown("key", key, allowed)
    message = str(found["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(map(str, found['loc']))}: {message}" if found["loc"] else message


def _unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    return f"unknown {kind} '{name}'.{nearest(name, names)} Allowed: {', '.join(names)}."


def _line(node: Node, keys: Sequence[str | int]) -> int:
    """The line of what `keys` lead to, or of the last thing on the way that is there."""
    line = node.start_mark.line + 1
    for key in keys:
        if isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        elif isinstance(node, MappingNode):
            pairs = {k.value: (k, v) for k, v in node.value}
            if str(key) not in pairs:
                break
            name, node = pairs[str(key)]
            line = name.start_mark.line + 1
    return int(line)


def _parts_of(entry: ClaimEntry, profile: str) -> dict[str, Part]:
    parts = entry.parts or {"": PartEntry()}
    return {n: _part(entry, part, profile) for n, part in parts.items() if profile in part.profiles}


def _part(entry: ClaimEntry, own: PartEntry, profile: str) -> Part:
    names = PartEntry.model_fields.keys() - {"profiles"}
    value = {n: getattr(entry, n) if getattr(own, n) is None else getattr(own, n) for n in names}
    if "no_effect" in own.model_fields_set:  # a null is given, too
        value["no_effect"] = own.no_effect
    ratio, count = value["scale"] == "ratio", value["rule"] == "count"
    rule = Rule(value["direction"], value["no_effect"], value["threshold"], ratio, count)
    cells = {name: getattr(cell, profile) for name, cell in value["cells"].items()}
    kept = ("sweep", "evidence", "arguments", "statistic", "unit")
    return Part(**{name: value[name] for name in kept}, cells=cells, rule=rule)
