"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 (its 100 fine labels): see `_tfds`."""

from tfc_jax.data import _tfds
from tfc_jax.data._dataset import Dataset
from tfc_jax.data._state import State

NAMES = ("cifar10", "cifar100", "fashion_mnist", "mnist")


def load_raw(name: str) -> Dataset:
    """Returns uint8 images (N, H, W, C), in TFDS's own order.

    Raises:
      InputError: nothing is prepared here, or what is there is damaged. Never downloads.
    """
    return _tfds.load_raw(name)


def prepare(name: str) -> State:
    """Downloads, prepares and caches what of that is not done; replaces damaged arrays.

    Raises:
      InputError: TensorFlow or the network is missing, or a downloaded file is damaged.
    """
    return _tfds.prepare(name)


def state(name: str) -> State:
    """Looks for files only: quick, and without a network."""
    return _tfds.state(name)
