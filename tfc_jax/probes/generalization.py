"""Held-out and training loss and accuracy on fixed samples: is less collapse better?"""

from jax import Array

from tfc_jax.losses import accuracy, data_loss
from tfc_jax.schema import Column
from tfc_jax.sizes import Sizes
from tfc_jax.snapshot import ProbeView

COLUMNS = (
    Column("test_loss", "probe", "nats or squared units", "mean loss on the test probe"),
    Column("test_accuracy", "probe", "share", "accuracy on the test probe, clean labels"),
    Column("train_loss", "probe", "nats or squared units", "mean loss on the training probe"),
    Column("train_accuracy", "probe", "share", "accuracy on the training probe, noisy labels"),
)


def compute(view: ProbeView) -> dict[str, Array]:
    """Returns the four columns, each (); accuracies are left out for a regression."""
    columns = {
        "test_loss": data_loss(view.loss, view.test_logits, view.test_targets),
        "train_loss": data_loss(view.loss, view.train_logits, view.train_targets),
    }
    if view.test_targets.ndim == 1:
        columns["test_accuracy"] = accuracy(view.test_logits, view.test_targets)
        columns["train_accuracy"] = accuracy(view.train_logits, view.train_targets)
    return columns


def flops(n_samples: int, sizes: Sizes) -> float:
    """One forward pass of as many training and as many test samples."""
    return 2 * n_samples * sizes.flops_per_sample / 3
