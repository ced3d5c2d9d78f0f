"""Which results in an object store are meant, and where this machine keeps its copies of them."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from tfc_jax.cache import cache_root
from tfc_jax.errors import InputError, without_secrets

SCHEMES = ("s3", "gs", "az")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CUT = re.compile(rf"(?:{'|'.join(SCHEMES)}):/", re.IGNORECASE)
# Letters that no store, shell or file system takes for anything else; no segment begins with a dot.
_URL = re.compile(
    rf"(?:{'|'.join(SCHEMES)})://[a-z0-9][a-z0-9._-]{{1,62}}(?:/[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*)+"
)
_LONGEST = 512


@dataclass(frozen=True)
class Place:
    """Results in an object store, as `s3://bucket/prefix` names them."""

    url: str

    @property
    def name(self) -> str:
        """The last part of the URL, as a results folder has the name of its sweep."""
        return self.url.rsplit("/", 1)[1]

    @property
    def cache(self) -> Path:
        """The folder of this machine that has its copies; may be deleted while no command runs."""
        return cache_root() / "objects" / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    @property
    def seen(self) -> Path:
        """What commands read: copies of objects, nothing else."""
        return self.cache / "seen" / self.name

    @property
    def watched(self) -> Path:
        """What `tfc status` reads: documents alone, since data files may be of another hour."""
        return self.cache / "watched" / self.name

    @property
    def work(self) -> Path:
        """Where launches and workers write before the object store has it."""
        return self.cache / "work" / self.name


_FOLDERS: dict[Path, Place] = {}  # that stand for a place in this process


def is_url(text: str) -> bool:
    """Whether a text is a URL, also one of a store that lacks a slash, and no path."""
    return bool(_SCHEME.match(text) or _CUT.match(text))


def place_named(path: str | Path) -> Place | None:
    """Returns the results in an object store that a URL names; None for a path of this machine.

    Raises:
      InputError: no results can be there, or it is a URL that was made a path.
    """
    if isinstance(path, Path) and _CUT.match(str(path)):
        raise InputError(
            f"{without_secrets(str(path))}: a URL came as a Path, which cost it one of its "
            f"slashes. Give a string."
        )
    return place_at(path) if isinstance(path, str) and is_url(path) else None


def place_at(url: str) -> Place:
    """Returns the results that a URL names.

    Raises:
      InputError: it is not one of an object store, or has more than a bucket and a prefix in it.
    """
    if not _URL.fullmatch(url.removesuffix("/")) or len(url) > _LONGEST:
        raise InputError(
            f"{without_secrets(url)}: no results can be there. Allowed: s3://BUCKET/PREFIX, also "
            f"gs:// and az://, of letters, digits and . _ - = +; keys and options come from the "
            f"environment alone."
        )
    place = Place(url.removesuffix("/"))
    for folder in (place.seen, place.watched, place.work):
        stand_for(folder, place)
    return place


def stand_for(folder: Path, place: Place) -> None:
    """Makes a folder known as one that holds copies of a place."""
    _FOLDERS[folder] = place


def place_of(folder: Path) -> Place | None:
    """Returns the place of which a folder holds copies; None for a results folder."""
    return _FOLDERS.get(folder)


def told(text: str) -> str:
    """Returns a text for the user with the URL of a place instead of the folder of its copies."""
    for folder, place in _FOLDERS.items():
        text = text.replace(str(folder), place.url)
    return text
