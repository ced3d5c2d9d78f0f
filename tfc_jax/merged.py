"""Which parts of a pack stand merged in one file: `checkpoints/PACK.merged.json`.

A checkpoint names the parts of its pack as they were committed, with the hash of each. Where
`tfc compact` has put some of them into one file, this record says what that file is, and for which
parts it stands. It is written first, and counts from the moment on at which that file has its place
in the table.
"""

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from tfc_jax import files
from tfc_jax.checkpoint import Part
from tfc_jax.errors import InputError
from tfc_jax.layout import PART, Folder, part_name
from tfc_jax.untrusted import DamagedFile, read_json

_Step = Annotated[int, Field(strict=True, ge=0, lt=10**9)]
_Name = Annotated[str, Field(pattern=rf"^[a-z_]+/{PART}$")]


class Merged(BaseModel):
    """A file that stands for several parts of its table and pack.

    Attributes:
      sha256: hex digest of its content.
      rows: their number.
      spans: first and last step of each part, as its name has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    rows: Annotated[int, Field(strict=True, ge=0, lt=2**62)]
    spans: Annotated[tuple[tuple[_Step, _Step], ...], Field(min_length=2)]

    def parts(self, name: str) -> list[str]:
        """Returns the names of the parts, as checkpoints name them; `name` is that of the file."""
        table, _, file = name.partition("/")
        return [f"{table}/{part_name(file[:12], *span)}" for span in self.spans]


_Record = RootModel[dict[_Name, Merged]]


def read(folder: Folder, pack: str) -> dict[str, Merged]:
    """Returns what is merged of a pack, by the name of the file; nothing if nothing ever was.

    Raises:
      DamagedFile: the record says nothing that `write` does.
    """
    path = folder.merged(pack)
    try:
        record = _Record.model_validate(read_json(path)).root
    except FileNotFoundError:
        return {}
    except (InputError, ValidationError) as error:
        told = f"is no record of merged files ({' '.join(str(error).split())[:100]})"
        raise DamagedFile(path, folder.root, told) from error
    return record


def write(folder: Folder, pack: str, record: Mapping[str, Merged]) -> None:
    """Stores what is merged of a pack, durably."""
    content = {name: merged.model_dump() for name, merged in sorted(record.items())}
    staged = folder.staged_merged
    with files.new_file(staged) as file:
        file.write(json.dumps(content, indent=1).encode())
    files.move_in(staged, folder.merged(pack))


def standing(
    folder: Folder, named: Mapping[str, Part], record: Mapping[str, Merged]
) -> dict[str, Part]:
    """Returns what should stand in the tables for the parts that a checkpoint names.

    A file of the record counts if it is there, and the checkpoint names all that it stands for.
    """
    found = dict(named)
    for name, merged in record.items():
        parts = merged.parts(name)
        if named.keys() >= set(parts) and (folder.root / name).exists():
            for part in parts:
                found.pop(part, None)
            found[name] = Part(merged.sha256, merged.rows)
    return found
