"""Any other set of labelled images of one size in TFDS's catalogue: `tfds:NAME`, see `_tfds`.

A data set of which TFDS has several configurations needs one: `tfds:NAME/CONFIG`. The test set is
TFDS's split `test`, else `validation`.
"""

import re

from tfc_jax.data import _tfds
from tfc_jax.data._dataset import Dataset
from tfc_jax.data._state import State
from tfc_jax.errors import InputError

PREFIX, PLACEHOLDER = _tfds.PREFIX, "NAME"
_NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)


def load_raw(name: str) -> Dataset:
    """Returns uint8 images (N, H, W, C), in TFDS's own order.

    Raises:
      InputError: it is no such name, nothing is prepared here, what is there is damaged, or it does
        not hold labelled images of one size. Never downloads.
    """
    _check(name)
    return _tfds.load_raw(name)


def prepare(name: str) -> State:
    """Downloads, prepares and caches what of that is not done; replaces damaged arrays.

    Raises:
      InputError: it is no such name, TFDS does not know it, it does not hold labelled images of one
        size, TensorFlow or the network is missing, or a downloaded file is damaged.
    """
    _check(name)
    return _tfds.prepare(name)


def _check(name: str) -> None:
    """Lets nothing through that is no name but a path, a version or a pattern."""
    if not _NAME.fullmatch(_tfds.builder_name(name)):
        raise InputError(
            f"unknown dataset '{name}'. Write tfds:NAME or tfds:NAME/CONFIG as TFDS's catalogue "
            "has them: NAME in lower-case letters, digits and _, without a version."
        )
