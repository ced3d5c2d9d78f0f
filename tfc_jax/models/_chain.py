"""A chain of 3x3 convolutions and then of linear layers: what cnn and vgg11 share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models._layers import (
    ACTIVATIONS,
    HOMOGENEOUS,
    Scale,
    Shape,
    Tap,
    apply_norm,
    conv,
    linear,
    max_pool,
    norms,
)
from tfc_jax.models._sizes import Map, sizes_of
from tfc_jax.sizes import Sizes

_WINDOW = 3


@dataclass(frozen=True)
class Link:
    """One layer of a chain.

    Attributes:
      reads: shape of what it reads: (H, W, C) for a convolution, (D,) for a linear layer.
      outputs: channels or units.
      pools: whether 2x2 max pooling follows the activation.
    """

    reads: Shape
    outputs: int
    pools: bool = False

    @property
    def is_conv(self) -> bool:
        """A convolution, or a linear layer."""
        return len(self.reads) > 1

    @property
    def feature(self) -> Shape:
        """Shape of the layer's feature, after pooling."""
        *sides, _ = self.reads
        return (*(side // 2 if self.pools else side for side in sides), self.outputs)

    def map(self, bias: bool, norm: bool) -> Map:
        """What it costs."""
        *sides, inputs = self.reads
        window = _WINDOW**2 if self.is_conv else 1
        return Map(window * inputs, self.outputs, math.prod(sides), bias, norm)


class Chain(nnx.Module):
    """h_l = pool(act(norm(W_l h_{l-1}))), logits z = W_L h_{L-1}; linear layers read flat features.

    Args:
      links: layers 1..L.
      others: as of every architecture; see mlp.
    """

    def __init__(self, run: Run, links: Sequence[Link], hyper: Hyper, rngs: nnx.Rngs) -> None:
        self.activation = ACTIVATIONS[run.activation]
        self.pools = tuple(link.pools for link in links)
        self.layers = nnx.List([_layer(run, link, hyper.init_scale, rngs) for link in links])
        self.norms = norms(run.norm, [link.outputs for link in links[:-1]], rngs)

    def __call__(self, x: Array, tap: Tap, train: bool) -> Array:
        """Returns the logits (B, K); passes W_l h_{l-1} and the pooled features through `tap`."""
        h, depth = x, len(self.layers)
        for layer, weights in enumerate(self.layers, start=1):
            if isinstance(weights, nnx.Linear):
                h = h.reshape(h.shape[0], -1)
            a = tap(f"linear_{layer}", weights(h))
            if layer == depth:
                return a
            if self.norms:
                a = apply_norm(self.norms[layer - 1], a, train)
            h = self.activation(a)
            h = tap(f"feature_{layer}", max_pool(h) if self.pools[layer - 1] else h)
        raise AssertionError("a chain has a last layer")


def chain_sizes(run: Run, links: Sequence[Link]) -> Sizes:
    """Returns the sizes of a chain."""
    hidden = [link.map(run.bias, run.norm != "none") for link in links[:-1]]
    maps = [*hidden, links[-1].map(run.bias, False)]
    return sizes_of(maps, links[0].reads, [math.prod(link.feature) for link in links[:-1]])


def chain_euler_holds(run: Run) -> bool:
    """As for mlp: max pooling is positively homogeneous."""
    return run.activation in HOMOGENEOUS and not run.bias and run.norm == "none"


def flat_link(below: Link, outputs: int) -> Link:
    """A linear layer that reads the whole feature of the layer below."""
    return Link((math.prod(below.feature),), outputs)


def _layer(run: Run, link: Link, scale: Scale, rngs: nnx.Rngs) -> nnx.Conv | nnx.Linear:
    inputs = link.reads[-1]
    if link.is_conv:
        return conv(run.init, _WINDOW, (inputs, link.outputs), run.bias, scale, rngs)
    return linear(run.init, inputs, link.outputs, run.bias, scale, rngs)
