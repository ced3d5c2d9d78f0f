"""Commands and `open_results` read results in an object store through local copies of them."""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.objects import mirror
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.head import CHECKPOINTS, head_key, read_head, step_of
from tfc_jax.objects.place import Place, place_of, stand_for


def bring_documents(root: Path) -> None:
    """Brings what tells of the whole sweep; a results folder is left as it is.

    Raises:
      InputError: the store cannot be used.
    """
    place = place_of(root)
    if place is not None:
        mirror.bring(Bucket(place), root, mirror.documents())


def without_data(root: Path) -> Path:
    """Returns where `tfc status` looks; of a results folder that is itself."""
    place = place_of(root)
    return root if place is None else place.watched


def bring_tables(root: Path, tables: Sequence[str], packs: Collection[str]) -> None:
    """Brings the rows of packs in result tables."""
    place = place_of(root)
    if place is not None and packs:
        mirror.bring(Bucket(place), root, mirror.parts(tables, packs))


def bring_weights(root: Path, pack: str) -> None:
    """Brings the final weights of a pack."""
    place = place_of(root)
    if place is not None:
        mirror.bring(Bucket(place), root, mirror.weights({pack}))


@contextmanager
def whole(root: Path) -> Iterator[Path]:
    """Gives a folder with all there is, to be verified: of an object store, copied anew.

    Raises:
      InputError: the store cannot be used, or a head is none.
    """
    place = place_of(root)
    if place is None:
        yield root
        return
    with tempfile.TemporaryDirectory(prefix="tfc-fsck-") as scratch:
        copied = Path(scratch) / place.name
        stand_for(copied, place)
        bucket = Bucket(place)
        mirror.bring(bucket, copied, mirror.documents(), mirror.parts(), mirror.weights())
        _bring_checkpoints(bucket, Folder(copied))
        yield copied


def _bring_checkpoints(bucket: Bucket, folder: Folder) -> None:
    """Copies those that heads name, under the names that they have in a folder."""
    folder.checkpoints.mkdir(exist_ok=True)
    heads = [e.key for e in bucket.listed(CHECKPOINTS) if e.key.endswith("/head.json")]
    packs = [key.split("/")[1] for key in heads]
    for pack in (pack for pack, key in zip(packs, heads, strict=True) if key == head_key(pack)):
        for key in read_head(bucket, pack).head.checkpoints:
            step = step_of(key, pack)
            assert step is not None, "a head names checkpoints alone"
            if not bucket.download(key, folder.checkpoint(pack, step)):
                folder.checkpoint(pack, step).touch()


def refuse_place(root: Path, what: str) -> None:
    """Refuses what cannot be done with results in an object store.

    Raises:
      InputError: this is one.
    """
    place: Place | None = place_of(root)
    if place is not None:
        raise InputError(f"{place.url}: {what}")
