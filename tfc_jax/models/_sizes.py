"""Costs of a network whose work is linear maps, each at one place or at many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tfc_jax.sizes import Sizes


@dataclass(frozen=True)
class Map:
    """A linear map of a network.

    Attributes:
      fan_in: numbers that one output reads; of a convolution, its window times its channels.
      fan_out: outputs at one place.
      places: how often the same weights are used in one sample: pixels of a convolution.
      bias: whether each output has one.
      norm: whether a norm follows, which trains a scale and a shift of each output.
    """

    fan_in: int
    fan_out: int
    places: int = 1
    bias: bool = False
    norm: bool = False

    @property
    def n_params(self) -> int:
        """Trained numbers, those of the norm included."""
        return self.fan_out * (self.fan_in + self.bias + 2 * self.norm)

    @property
    def products(self) -> int:
        """Multiplications of one sample's forward pass."""
        return self.fan_in * self.fan_out * self.places


def sizes_of(maps: Sequence[Map], input_shape: Sequence[int], units: Sequence[int]) -> Sizes:
    """Returns the sizes of a network; its first map reads the inputs and passes no gradient on.

    Args:
      maps: all linear maps, the one that reads the inputs first.
      units: hidden feature values of layers 1..L-1.
    """
    outputs = sum(m.fan_out * m.places for m in maps)
    return Sizes(
        n_params=sum(m.n_params for m in maps),
        n_units=sum(units),
        flops_per_sample=6.0 * sum(m.products for m in maps) - 2.0 * maps[0].products,
        activations_per_sample=math.prod(input_shape) + outputs,
    )
