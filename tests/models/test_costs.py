"""The costs that architectures declare, against what XLA and JAX count in the networks themselves.

Formulas count the products of linear maps; element-wise work is small beside them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array

from tfc_jax import registry
from tfc_jax.functional import Functional, Tree
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.losses import data_loss
from tfc_jax.network import Network
from tfc_jax.sizes import Sizes

K = 3
Loss = Callable[[Tree, Tree], Array]  # of parameters and state
Shape = tuple[int, int, int]
RECURRENT, CONVOLUTIONAL = ("gru", "lstm", "rnn"), ("cnn", "resnet", "vgg11")
of_every_architecture = pytest.mark.parametrize("name", registry.names("models"))


def example(name: str) -> Run:
    return Run(architecture=name, **registry.module("models", name).EXAMPLE)


def sizes(run: Run, shape: Shape) -> Sizes:
    found: Sizes = registry.module("models", run.architecture).sizes(run, shape, K)
    return found


def per_sample(run: Run, shape: Shape, count: Callable[[Loss, Tree], float]) -> float:
    """What a sample more in the batch adds to a count; weights alone add nothing."""
    net = Functional(Network(run, shape, K, K))
    start = jax.eval_shape(net.init, Hyper.of(run))

    def counted(n_samples: int) -> float:
        x, y = jnp.ones((n_samples, shape[0] * shape[1])), jnp.zeros(n_samples, jnp.int32)

        def loss(params: Tree, state: Tree) -> Array:
            return data_loss(run.loss, net.apply(params, state, x, train=True)[0], y)

        return count(loss, start)

    return counted(3) - counted(2)


def xla_flops(loss: Loss, start: Tree) -> float:
    """Of a forward and a backward pass, as XLA counts them before it optimises."""
    count: Any = jax.jit(jax.value_and_grad(loss)).lower(*start).cost_analysis()
    return float(count["flops"])


def floats_kept(loss: Loss, start: Tree) -> float:
    """What JAX keeps from the forward pass for the backward pass, in floats of four bytes."""

    def kept(params: Tree, state: Tree) -> Any:
        return jax.vjp(lambda params: loss(params, state), params)[1]

    leaves = jax.tree.leaves(jax.eval_shape(kept, *start))
    return sum(leaf.size * leaf.dtype.itemsize / 4 for leaf in leaves)


# At least: a norm takes some 30 operations a unit, beside 6 for each of 8 or 16 inputs.
# At most: the formulas count a window's products with the padding, XLA does not. Those are 8 in 9
# where pooling leaves a side of one, as vgg11 does of 8, and 1 in 25 at a side of 32.
@of_every_architecture
@pytest.mark.parametrize(("side", "least", "most_with_padding"), [(8, 0.7, 2.5), (32, 0.75, 1.2)])
def test_arithmetic_is_what_xla_counts(
    name: str, side: int, least: float, most_with_padding: float
) -> None:
    run, most = example(name), most_with_padding if name in CONVOLUTIONAL else 1
    # XLA counts the body of a loop once: a recurrent network gets an image of one row.
    shape = (1, side**2, 1) if name in RECURRENT else (side, side, 1)
    counted = per_sample(run, shape, xla_flops)
    assert least * counted <= sizes(run, shape).flops_per_sample <= most * counted


@pytest.mark.parametrize("name", RECURRENT)
def test_every_row_of_an_image_costs_a_recurrent_network_the_same(name: str) -> None:
    one, two, nine = (sizes(example(name), (rows, 8, 1)).flops_per_sample for rows in (1, 2, 9))
    assert two > one
    assert nine == one + 8 * (two - one)


@of_every_architecture
def test_activations_are_what_the_backward_pass_needs(name: str) -> None:
    """JAX keeps up to four numbers more for each: masks, and what a norm or a pooling reads."""
    run, shape = example(name), (8, 8, 1)
    counted = per_sample(run, shape, floats_kept)
    assert counted / 5 <= sizes(run, shape).activations_per_sample <= 1.1 * counted
