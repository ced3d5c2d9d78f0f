"""schedules.json of a results folder: the schedule and pack width that new packs take.

Flags of `tfc run` are stored for all programs of a sweep, what `tfc bench --schedules --store`
recommends for each program, both for one platform. Flags of now come first, then what is stored,
then the defaults. Packs that have started keep theirs, whatever is stored here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tfc_jax.errors import InputError
from tfc_jax.files import write_whole
from tfc_jax.layout import Folder
from tfc_jax.pack import SCHEDULES
from tfc_jax.stored_columns import WIDEST_PACK
from tfc_jax.timetable import Schedule
from tfc_jax.untrusted import read_json


@dataclass(frozen=True)
class Choice:
    """What new packs take; None leaves it to what comes next."""

    schedule: Schedule | None = None
    pack_width: int | None = None

    def before(self, other: "Choice") -> "Choice":
        """Returns this choice, completed by another."""
        return Choice(self.schedule or other.schedule, self.pack_width or other.pack_width)


@dataclass(frozen=True)
class Choices:
    """The choices of a sweep on one platform.

    Attributes:
      every: of all programs.
      programs: by program id; these come before `every`.
    """

    every: Choice = Choice()
    programs: Mapping[str, Choice] = field(default_factory=dict)

    def of(self, program: str) -> Choice:
        """Returns the choice of a program, by its id."""
        return self.programs.get(program, Choice()).before(self.every)

    def overridden(self, flags: Choice) -> "Choices":
        """Returns the choices after flags, which hold for every program."""
        kept = {
            program: Choice(
                None if flags.schedule else own.schedule,
                None if flags.pack_width else own.pack_width,
            )
            for program, own in self.programs.items()
        }
        own = {program: choice for program, choice in kept.items() if choice != Choice()}
        return Choices(flags.before(self.every), own)

    def measured(self, programs: Mapping[str, Choice]) -> "Choices":
        """Returns the choices after a measurement, which holds for the programs it names."""
        return Choices(self.every, {**self.programs, **programs})


def stored(folder: Folder, platform: str) -> Choices:
    """Returns what is stored for a platform; what is stored for another one does not count.

    Raises:
      InputError: the file is not one of ours.
    """
    return _read(folder).get(platform, Choices())


def store(folder: Folder, platform: str, choices: Choices) -> None:
    """Stores the choices of a platform beside those of others, if they say anything new."""
    before = _read(folder)
    if choices == before.get(platform, Choices()):
        return
    content = {name: asdict(one) for name, one in (before | {platform: choices}).items()}
    write_whole(folder.schedules, json.dumps(content, indent=1).encode())


def origin(folder: Folder, platform: str, flags: Choice) -> str:
    """Returns where the schedule and the width of new packs come from, in a sentence or two."""
    everyone = _read(folder)
    here = everyone.get(platform, Choices())
    known = [here.every, *here.programs.values()]

    def source(flag: str, name: str) -> str:
        if getattr(flags, name):
            return f"by {flag}"
        is_stored = any(getattr(choice, name) for choice in known)
        return f"as stored in {folder.schedules}" if is_stored else "by default"

    sources = source("--schedule", "schedule"), source("--pack-width", "pack_width")
    same = sources[0] == sources[1]
    told = (
        f"schedule and width {sources[0]}" if same else f"schedule {sources[0]}, width {sources[1]}"
    )
    others = [name for name in everyone if name != platform]
    unused = f" {folder.schedules} also says what {' and '.join(others)} takes; this is {platform}."
    return f"New packs: {told}.{unused if others else ''}"


def _read(folder: Folder) -> dict[str, Choices]:
    """Returns all that is stored, by platform."""
    remedy = (
        "Delete the file: packs that have not started then take the defaults, until `tfc bench "
        "--schedules --store` or flags of `tfc run` write it again."
    )
    try:
        content = read_json(folder.schedules, remedy)
        return {_known(name, SCHEDULES): _choices(one) for name, one in content.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"{folder.schedules}: this is not a stored choice of schedules ({error}). {remedy}"
        ) from error


def _choices(content: Mapping[str, Any]) -> Choices:
    known = {"every", "programs"}
    for name in content:
        _known(name, known)
    programs = {program: _choice(one) for program, one in content["programs"].items()}
    return Choices(_choice(content["every"]), programs)


def _choice(content: Mapping[str, Any]) -> Choice:
    choice = Choice(**content)
    width = choice.pack_width
    if choice.schedule is not None:
        _known(choice.schedule, set(SCHEDULES.values()))
    if width is not None and not (type(width) is int and 1 <= width <= WIDEST_PACK):
        raise ValueError(f"pack_width {width!r} came")
    return choice


def _known(name: str, allowed: Any) -> str:
    if name not in allowed:
        raise ValueError(f"{name!r} came, where one of {', '.join(sorted(allowed))} is allowed")
    return name
