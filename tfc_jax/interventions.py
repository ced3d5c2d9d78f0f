"""What may be done to a network once, in the middle of training (SCIENCE.md T24; all ours)."""

from jax import Array

from tfc_jax.functional import Functional, Tree
from tfc_jax.hyper import Hyper


def intervene(net: Functional, params: Tree, model_state: Tree, hyper: Hyper, x_NxD: Array) -> Tree:
    """Returns the parameters after the run's intervention."""
    return params
