"""What a network costs, by its architecture's own formulas."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of one network, fixed by the static keys and the data set.

    Attributes:
      n_params: trained numbers.
      n_units: hidden units.
      flops_per_sample: multiplications and additions of one sample's forward and backward pass.
      activations_per_sample: floats kept from the forward pass for the backward pass.
    """

    n_params: int
    n_units: int
    flops_per_sample: float
    activations_per_sample: int
