"""manifest.json: versions, git, device, flags, schema of a results folder."""

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from tfc_jax.config import Outline, Sweep, load_outline
from tfc_jax.contents import check_contents
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.files import write_whole
from tfc_jax.layout import Folder
from tfc_jax.record import Record
from tfc_jax.runs_table import recorded
from tfc_jax.schema import result_columns, run_columns
from tfc_jax.untrusted import read_json
from tfc_jax.yaml_source import SAVE

LIBRARIES = ("tfc_jax", "jax", "jaxlib", "flax", "optax", "numpy", "pandas", "pyarrow")
GIVEN = ("set", "filter", "limit")
AGAIN = (
    "`tfc run` of your sweep file writes it again, and names the code and the machine of then, not "
    "of those that trained."
)
TRAINED_BY = ("git", "versions", "platform", "machine")


class _Flags(BaseModel, strict=True):
    set: list[str]
    filter: str | None
    limit: int | None
    max_memory: float | None
    deterministic: bool
    executor: Literal["local", "ray", "slurm"] = "local"  # what is older says nothing of it
    address: str | None = None
    slurm: dict[str, str] = Field(default_factory=dict)


class _Manifest(BaseModel, strict=True):
    """What is read again; a manifest holds more, which people read."""

    flags: _Flags
    record: dict[str, Any]
    earlier: list[dict[str, Any]]


def write(
    folder: Folder,
    sweep: Sweep,
    devices: Devices,
    flags: dict[str, Any],
    *,
    trains: bool,
    anew: bool = False,
) -> None:
    """Writes the sweep's text and the manifest of this launch, if they say anything new.

    A launch that trains nothing leaves what the manifest says of code, versions and machine: it
    names those that trained the numbers, and under `earlier` the others that trained some of them.

    Args:
      flags: what the user gave besides the file: `set`, `filter`, `limit`, and execution flags.
      trains: whether this launch is to train anything.
      anew: whether the results that the former manifest speaks of are gone.
    """
    before = None if anew else read(folder)
    asked = {"name": sweep.name, "description": sweep.description, "steps": sweep.steps}
    if before is None or trains:
        content = asked | {"flags": flags} | _origin(sweep, devices)
        content["earlier"] = _earlier(before or {}, content)
    else:
        given = {name: flags[name] for name in GIVEN}
        content = before | asked | {"flags": before["flags"] | given}
    text = sweep.text.encode()
    if not folder.sweep.exists() or folder.sweep.read_bytes() != text:
        write_whole(folder.sweep, text)
    if content != before:
        write_whole(folder.manifest, json.dumps(content, indent=1).encode())


def _origin(sweep: Sweep, devices: Devices) -> dict[str, Any]:
    """Where the numbers of a launch come from, and what they mean."""
    return {
        "launched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "record": asdict(sweep.record),
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
        "git": git_commit(),
        "platform": devices.platform,
        "n_devices": None if devices.is_limit else len(devices.ids),
        "machine": platform.machine(),
        "schema": _schema(sweep.record),
    }


def _earlier(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    """Code and machines of earlier launches that trained, each once, without those of now."""
    newest = [{name: before.get(name) for name in TRAINED_BY}] if before else []
    past = [*before.get("earlier", []), *newest]
    distinct = [one for i, one in enumerate(past) if one not in past[:i]]
    return [one for one in distinct if one != {name: now[name] for name in TRAINED_BY}]


def read(folder: Folder) -> dict[str, Any] | None:
    """Returns the manifest, or None where nothing was launched yet.

    Raises:
      InputError: it is not one that a launch wrote.
    """
    remedy = f"Restore it from a copy; `tfc fsck {folder.root}` says what else can be done."
    try:
        content = read_json(folder.manifest, remedy)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        _Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{folder.manifest}: {key}: {first['msg']}. {remedy}") from None
    return content


def former_name(folder: Folder, sweep: Sweep) -> str | None:
    """Returns the name that results have, if a launch of this sweep would give them another one."""
    content = read(folder)
    name = content.get("name", sweep.name) if content else sweep.name
    return None if name == sweep.name else str(name)


def launched_sweep(folder: Folder) -> Sweep:
    """Returns the sweep that was launched last, with its overrides.

    Raises:
      InputError: the folder holds no results, or what cannot be read as such.
    """
    return launched_outline(folder).sweep


def launched_outline(folder: Folder) -> Outline:
    """Returns what the sweep asks for that was launched last; raises what `launched_sweep` does."""
    check_contents(folder.root)
    return stored_outline(folder)


def stored_outline(folder: Folder) -> Outline:
    """Returns what `launched_outline` does of a folder in which everything is in its place."""
    manifest = read(folder)
    if manifest is None and (any(folder.checkpoints.glob("*.npz")) or recorded(folder) is not None):
        raise InputError(f"{folder.root}: results are here, but no manifest.json. {AGAIN}")
    if manifest is None:
        raise InputError(
            f"{folder.root}: there are no results here (no manifest.json). Give the folder that "
            f"`tfc run` wrote, such as results/quickstart."
        )
    flags = manifest["flags"]
    if not folder.sweep.exists():
        raise InputError(f"{folder.sweep}: missing. `tfc run` of your sweep file writes it again.")
    try:
        return load_outline(
            folder.sweep, overrides=flags["set"], where=flags["filter"], limit=flags["limit"]
        )
    except InputError as error:
        raise _of_copy(folder, error) from error


def _of_copy(folder: Folder, error: InputError) -> InputError:
    """What is wrong with a stored sweep is not for the user to write otherwise."""
    if not any(message.startswith(f"{folder.sweep}:") for message in error.messages):
        return error
    remedy = (
        f"{folder.sweep}: this copy of the sweep is damaged, or of another version. `tfc run` of "
        f"your sweep file writes it again."
    )
    return InputError([*(message.removesuffix(SAVE) for message in error.messages), remedy])


def check_record(folder: Folder, record: Record) -> None:
    """Refuses a `record` that differs from what the stored tables hold.

    The manifest says what that is, or, where it is gone, the rows of the runs table.

    Raises:
      InputError: it differs.
    """
    manifest = read(folder)
    old = manifest["record"] if manifest else recorded(folder)
    changed = differing(old, json.loads(json.dumps(asdict(record))))
    if old is not None and changed:
        was = ", ".join(f"{key}: {old.get(key)}" for key in changed)
        verb = "differs" if len(changed) == 1 else "differ"
        raise InputError(
            f"{folder.root}: record.{', record.'.join(changed)} {verb} from the results that are "
            f"stored here ({was}). Restore them, or write elsewhere with --out, or start over with "
            f"--fresh."
        )


def differing(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    """Returns the keys in which two records differ, in order; none where one of them is unknown."""
    if old is None or new is None:
        return []
    return sorted(key for key in {**old, **new} if old.get(key) != new.get(key))


def _schema(record: Record) -> dict[str, list[dict[str, str]]]:
    tables = {"runs": run_columns(record), **result_columns(record)}
    return {table: [asdict(column) for column in columns] for table, columns in tables.items()}


def git_commit() -> str | None:
    """The commit of the code that runs, if it runs from a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
