"""Tiny ImageNet: 200 classes of 64 x 64 images, from its original archive.

Nobody may hand the archive on, so the user gets it and unpacks it in TFDS's folder for such files.
`tfds.folder_dataset.ImageFolder` decodes it once (this needs TensorFlow); from then on nothing but
.npy arrays is read.
"""

import re
import tempfile
from pathlib import Path

import numpy as np

from tfc_jax.data import _cache, _child, _tfds
from tfc_jax.data._dataset import Dataset
from tfc_jax.data._state import State
from tfc_jax.errors import InputError

NAMES = ("tiny_imagenet",)
ARCHIVE = "tiny-imagenet-200"
N_CLASSES, N_TRAIN, N_VALIDATION = 200, 100_000, 10_000
_MAX_VALUE = 255
_PLAIN = re.compile(r"\w[\w.-]*")


def load_raw(name: str) -> Dataset:
    """Returns 100000 training and 10000 validation images (as test set), uint8 (N, 64, 64, 3).

    Grey images have three equal channels. Labels count the WordNet ids in alphabetical order; the
    names of the classes are the archive's words. The order is ImageFolder's fixed shuffle.

    Raises:
      InputError: it is not prepared here, or what is there is damaged.
    """
    if not _cache.folder(name).exists():
        raise InputError(f"dataset '{name}' is not prepared on this machine. {state(name).remedy}")
    return _cache.read(name)


def prepare(name: str) -> State:
    """Decodes the unpacked archive into cached arrays, once; replaces damaged arrays.

    Raises:
      InputError: the archive or TensorFlow is missing, or the archive is not complete.
    """
    if not _cache.is_intact(name):
        _cache.discard(name)
        problems = [*_child.without_tensorflow(), *_archive_problems(archive())]
        if problems:
            raise InputError([f"tfc data prepare {name}: {problem}" for problem in problems])
        _convert(name, archive())
    return state(name)


def state(name: str) -> State:
    """Looks for files only."""
    cached = _cache.folder(name)
    if cached.exists():
        return State(name, available=True, where=str(cached))
    unpack = "" if archive().is_dir() else f"{_unpack()} Then run: "
    return State(name, False, str(cached), f"{unpack}tfc data prepare {name}")


def archive() -> Path:
    """Where the user unpacks the archive."""
    return _tfds.data_dir() / "downloads" / "manual" / ARCHIVE


def _unpack() -> str:
    return f"Get {ARCHIVE}.zip from its makers and unpack it, so that {archive()}/wnids.txt exists."


def _archive_problems(here: Path) -> list[str]:
    needed = ["wnids.txt", "words.txt", "train", "val/images", "val/val_annotations.txt"]
    missing = [name for name in needed if not (here / name).exists()]
    if missing:
        return [f"{', '.join(missing)} missing in {here}. {_unpack()}"]
    leading_out = _leading_out(here)
    if leading_out:
        return [f"{here} names {leading_out[0]!r}, no plain file. Unpack {ARCHIVE}.zip again."]
    wnids = _wnids(here)
    counts = {
        "classes in wnids.txt": (len(wnids), N_CLASSES),
        "training images": (sum(len(_jpegs(_train(here, w))) for w in wnids), N_TRAIN),
        "validation images": (len(_jpegs(here / "val/images")), N_VALIDATION),
        "lines in val_annotations.txt": (len(_validation(here)), N_VALIDATION),
    }
    problems = [
        f"{here} holds {found} {what} instead of {expected}. Unpack {ARCHIVE}.zip again."
        for what, (found, expected) in counts.items()
        if found != expected
    ]
    strange = {wnid for _, wnid in _validation(here)} - set(wnids) | set(wnids) - set(_words(here))
    if strange:
        problems.append(
            f"wnids.txt, words.txt and val_annotations.txt in {here} do not agree on "
            f"{', '.join(sorted(strange))}. Unpack {ARCHIVE}.zip again."
        )
    return problems


def _leading_out(here: Path) -> list[str]:
    """Names in the archive's lists that would lead out of the folders that links are made in."""
    names = [*_wnids(here), *(name for pair in _validation(here) for name in pair)]
    return [name for name in names if not _PLAIN.fullmatch(name)]


def _wnids(here: Path) -> list[str]:
    return sorted((here / "wnids.txt").read_text().split())


def _words(here: Path) -> dict[str, str]:
    """What each WordNet id means."""
    lines = (here / "words.txt").read_text().splitlines()
    return {wnid: words for wnid, _, words in (line.partition("\t") for line in lines)}


def _train(here: Path, wnid: str) -> Path:
    return here / "train" / wnid / "images"


def _validation(here: Path) -> list[tuple[str, str]]:
    """File and WordNet id of each validation image."""
    lines = (here / "val" / "val_annotations.txt").read_text().splitlines()
    columns = [[*line.split("\t"), ""] for line in lines]
    return [(file, wnid) for file, wnid, *_ in columns]


def _jpegs(folder: Path) -> list[Path]:
    return list(folder.glob("*.JPEG"))


def _convert(name: str, here: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=_cache.make_root()) as scratch:
        tree, arrays = Path(scratch, "tree"), Path(scratch, "arrays")
        _link(here, tree)
        _child.run(name, "_image_folder_child.py", str(tree), str(arrays))
        # Mapped, not read: the training images alone are 1.2 GB.
        parts = {
            path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in arrays.iterdir()
        }
        words = _words(here)
        names = tuple(words[wnid] for wnid in _wnids(here))
        _cache.write(Dataset(name=name, class_names=names, max_value=_MAX_VALUE, **parts))


def _link(here: Path, tree: Path) -> None:
    """Makes the tree that ImageFolder reads, split/label/image, of links into the archive."""
    for wnid in _wnids(here):
        (tree / "test" / wnid).mkdir(parents=True)
        (tree / "train").mkdir(exist_ok=True)
        (tree / "train" / wnid).symlink_to(_train(here, wnid).absolute())
    for file, wnid in _validation(here):
        (tree / "test" / wnid / file).symlink_to((here / "val" / "images" / file).absolute())
