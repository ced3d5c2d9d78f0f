"""What static keys and data set fix together: the shape of a network's inputs, and its width."""

from dataclasses import dataclass, replace
from types import ModuleType

from tfc_jax import registry
from tfc_jax.data import Dataset
from tfc_jax.errors import InputError
from tfc_jax.keys import Run
from tfc_jax.sizes import Sizes

WIDEST = 2**16
FARTHEST = 2.0  # a network of more than so many times target_params is none of that family


@dataclass(frozen=True)
class Network:
    """A network to be built.

    Attributes:
      run: static keys, the width included.
      input_shape: of one sample, as the network reads it: (H, W, C) or (D,).
      n_outputs: logits K, or targets of a regression.
      n_classes: K; 0 for regression.
    """

    run: Run
    input_shape: tuple[int, ...]
    n_outputs: int
    n_classes: int

    @classmethod
    def of(cls, run: Run, dataset: Dataset) -> "Network":
        """Returns the network that a run trains on a data set.

        Raises:
          InputError: no width meets `target_params`.
        """
        network = cls(run, read_shape(run, dataset), dataset.n_outputs, dataset.n_classes)
        return network if run.target_params is None else _with_params(network, run.target_params)

    @property
    def architecture(self) -> ModuleType:
        """The file of tfc_jax/models."""
        return registry.module("models", self.run.architecture)

    @property
    def sizes(self) -> Sizes:
        """Sizes by the architecture's own formulas."""
        sizes: Sizes = self.architecture.sizes(self.run, self.input_shape, self.n_outputs)
        return sizes


def read_shape(run: Run, dataset: Dataset) -> tuple[int, ...]:
    """Returns the shape of one sample as the network reads it."""
    if run.fourier_features is None:
        return dataset.input_shape
    return (2 * run.fourier_features,)


def _with_params(network: Network, target: int) -> Network:
    """The width whose parameter count is nearest to the target; counts rise with the width."""

    def at(width: int) -> Network:
        return replace(network, run=replace(network.run, width=width, target_params=None))

    def count(width: int) -> int:
        return at(width).sizes.n_params

    low, high = 1, 2
    while count(high) < target and high < WIDEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < target else (low, middle)
    best = min((low, high), key=lambda width: abs(count(width) - target))
    if not target / FARTHEST <= count(best) <= FARTHEST * target:
        run = network.run
        raise InputError(
            f"target_params: {target} came, but {run.architecture} of depth {run.depth} on "
            f"{run.dataset} has {count(best):,} trained numbers at width {best}, which is closest. "
            f"Use another target_params or depth."
        )
    return at(best)
