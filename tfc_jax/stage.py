"""The folder of one writer of a pack, through which all goes that it changes in the results.

Everything that a writer does outside of its folder is a rename or a hard link out of it or into it.
Another writer takes the pack over by renaming that folder: from that moment nothing that the former
one does has an effect, since neither what it wants to publish nor the place for what it wants to
take away has its old name. So a process that was suspended, replaced and woken up changes nothing,
wherever it was suspended, and what it staged is there for the new one.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tfc_jax import files
from tfc_jax.files import HashedFile
from tfc_jax.layout import Folder


class Fenced(Exception):
    """Another writer has taken the pack over; this one has to stop."""


@dataclass(frozen=True)
class Stage:
    """Where a writer stages what it publishes.

    Attributes:
      epoch: number of the writer, larger than those of all that have committed before.
      token: makes the name of the folder its own: no writer before or after has the same.
    """

    folder: Folder
    pack: str
    epoch: int
    token: str

    @property
    def path(self) -> Path:
        """Gone once another writer has taken over."""
        return self.folder.stage(self.pack, self.epoch, self.token)

    @classmethod
    def take(cls, folder: Folder, pack: str) -> "Stage":
        """Takes a pack over, with all that its former writer staged.

        Raises:
          Fenced: two writers try it at the same moment.
        """
        former = folder.stages_of(pack)
        epoch = 1 + max((_epoch(path) for path in former), default=0)
        mine = cls(folder, pack, epoch, secrets.token_hex(4))
        try:
            if former:
                files.rename(former[-1], mine.path)
            else:
                files.make_folder(folder.staging)
                files.make_new_folder(mine.path)
        except FileNotFoundError as error:
            raise Fenced(mine._sentence) from error
        files.sync_folder(folder.staging)
        for left in former[:-1]:  # by a writer that ended just before it looked round, as below
            files.remove(left)
        if folder.stages_of(pack) != [mine.path]:
            files.remove(mine.path)
            raise Fenced(mine._sentence)
        return mine

    def after(self, epoch: int) -> "Stage":
        """Returns the stage with a number beyond `epoch`."""
        if self.epoch > epoch:
            return self
        later = replace(self, epoch=epoch + 1)
        with self._unless_fenced():
            files.rename(self.path, later.path)
        return later

    @contextmanager
    def new_file(self, name: str) -> Iterator[HashedFile]:
        """Gives a file to write; when the context ends its content is durable, its name is not."""
        with self._unless_fenced(), files.new_file(self.path / name) as file:
            yield file

    def sync(self) -> None:
        """Makes the names of all staged files durable."""
        with self._unless_fenced():
            files.sync_folder(self.path)

    def link(self, name: str, target: Path) -> None:
        """Publishes a file under a second name; the name is not durable yet.

        Raises:
          FileExistsError: there is a file of that name; it stays as it is.
        """
        with self._unless_fenced():
            files.link(self.path / name, target)

    def move_out(self, name: str, target: Path) -> None:
        """Publishes a file, in place of another if there is one; durable when this returns."""
        with self._unless_fenced():
            files.move_in(self.path / name, target)

    def take_in(self, path: Path, name: str) -> None:
        """Takes a file away from the results, if it is there."""
        if path.exists():
            with self._unless_fenced():
                files.rename(path, self.path / name)

    def drop(self, name: str) -> None:
        """Deletes a staged file."""
        files.remove(self.path / name)

    def names(self) -> list[str]:
        """What is staged."""
        with self._unless_fenced():
            return sorted(path.name for path in self.path.iterdir())

    def close(self) -> None:
        """Deletes the folder and what is in it."""
        for name in self.names():
            self.drop(name)
        files.remove(self.path)

    @contextmanager
    def _unless_fenced(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if self.path.is_dir():
                raise
            raise Fenced(self._sentence) from error

    @property
    def _sentence(self) -> str:
        return (
            f"Pack {self.pack}: another process has taken it over, so this one stops without "
            f"writing. Nothing is lost: the other one goes on from the last commit."
        )


def _epoch(path: Path) -> int:
    return int(path.name.split(".")[1])
