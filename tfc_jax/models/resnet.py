"""ResNet for small images (He et al., 2016, section 4.2): three stages of basic blocks."""

import math
from dataclasses import dataclass

from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import _misfits
from tfc_jax.models._layers import (
    ACTIVATIONS,
    Path,
    Scale,
    Shape,
    Tap,
    apply_norm,
    conv,
    linear,
    norms,
)
from tfc_jax.models._sizes import Map, sizes_of
from tfc_jax.sizes import Sizes

EXAMPLE = {"depth": 5, "width": 4, "norm": "batch", "learning_rate": 0.1}
_STAGES = 3


@dataclass(frozen=True)
class _Plan:
    """One block: channels in and out, and its stride."""

    inputs: int
    channels: int
    stride: int

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a 1x1 convolution, since the shape changes."""
        return self.stride > 1


class Block(nnx.Module):
    """act(norm(V act(norm(W h))) + shortcut(h)), W and V 3x3 convolutions, W with the stride."""

    def __init__(self, run: Run, plan: _Plan, scale: Scale, rngs: nnx.Rngs) -> None:
        channels = (plan.inputs, plan.channels)
        self.activation = ACTIVATIONS[run.activation]
        self.first = conv(run.init, 3, channels, False, scale, rngs, stride=plan.stride)
        self.second = conv(run.init, 3, (plan.channels,) * 2, False, scale, rngs)
        self.norms = norms("batch", (plan.channels,) * (3 if plan.projects else 2), rngs)
        self.projection = nnx.List(
            [
                conv(run.init, 1, channels, False, scale, rngs, stride=plan.stride)
                for _ in range(plan.projects)
            ]
        )

    def __call__(self, h_BxHxWxC: Array, tap: Tap, layer: int, train: bool) -> Array:
        """Returns the block's output; W h passes `tap` as `linear_<layer>`."""
        a = tap(f"linear_{layer}", self.first(h_BxHxWxC))
        b = self.second(self.activation(apply_norm(self.norms[0], a, train)))
        shortcut = h_BxHxWxC
        for projection in self.projection:
            shortcut = apply_norm(self.norms[2], projection(h_BxHxWxC), train)
        return self.activation(apply_norm(self.norms[1], b, train) + shortcut)


class Model(nnx.Module):
    """A stem, 3n blocks and the head: `depth` L = 3n + 2 layers.

    The longest path has 6n + 2 weights: depth 11 and `width` 16 are ResNet-20. Channels are
    `width`, 2 `width` and 4 `width` in the three stages; the first block of the second and third
    has stride 2 and a projection with a norm as its shortcut (option B of the paper). The feature
    of a layer is its output; that of layer L - 1, which the head reads, is averaged over pixels.

    Args:
      run: the static keys; only the head has a bias, if any.
      input_shape: (height, width, channels).
      n_outputs: K logits, or the number of regression targets.
      hyper: traced keys, of which `init_scale` is the factor on the initial weights.
      rngs: stream `params` draws the initial weights, layer after layer.
    """

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        scale, stem = hyper.init_scale, (input_shape[-1], run.width)
        self.activation = ACTIVATIONS[run.activation]
        self.stem = conv(run.init, 3, stem, False, scale, rngs)
        self.norms = norms("batch", [run.width], rngs)
        self.blocks = nnx.List([Block(run, plan, scale, rngs) for plan in _plans(run)])
        self.head = linear(run.init, 4 * run.width, n_outputs, run.bias, scale, rngs)

    def __call__(self, x: Array, tap: Tap, train: bool) -> Array:
        """Returns the logits (B, K); every layer's first linear map and its feature pass `tap`."""
        a = tap("linear_1", self.stem(x))
        h = tap("feature_1", self.activation(apply_norm(self.norms[0], a, train)))
        for layer, block in enumerate(self.blocks, start=2):
            h = block(h, tap, layer, train)
            if layer == len(self.blocks) + 1:
                h = h.mean(axis=(1, 2))
            h = tap(f"feature_{layer}", h)
        return tap(f"linear_{len(self.blocks) + 2}", self.head(h))


def _plans(run: Run) -> list[_Plan]:
    """The 3n blocks."""
    plans: list[_Plan] = []
    channels = run.width
    for stage in range(_STAGES):
        for block in range((run.depth - 2) // _STAGES):
            halves = stage > 0 and block == 0
            plans.append(_Plan(channels, run.width * 2**stage, 2 if halves else 1))
            channels = run.width * 2**stage
    return plans


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    *sides, channels = input_shape
    maps = [Map(9 * channels, run.width, math.prod(sides), norm=True)]
    units = [run.width * math.prod(sides)]
    for plan in _plans(run):
        sides = [-(-side // plan.stride) for side in sides]
        for fan_in in (9 * plan.inputs, 9 * plan.channels, *[plan.inputs] * plan.projects):
            maps.append(Map(fan_in, plan.channels, math.prod(sides), norm=True))
        units.append(plan.channels * math.prod(sides))
    maps.append(Map(4 * run.width, n_outputs, bias=run.bias))
    return sizes_of(maps, input_shape, [*units[:-1], 4 * run.width])


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where the stem, the first convolution of every block and the head stand."""
    blocks = [("blocks", i, "first", "kernel") for i in range(run.depth - 2)]
    return (("stem", "kernel"), *blocks, ("head", "kernel"))


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers that read the whole feature of the layer below: the head."""
    return (run.depth,)


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    found = [*_misfits.flat_inputs(run, input_shape), *_misfits.structured(run)]
    if run.norm != "batch":
        found.append(
            f"norm: {run.norm} came, but resnet is built with batch norm: write norm: batch."
        )
    if run.depth < _STAGES + 2 or (run.depth - 2) % _STAGES:
        found.append(
            f"depth: {run.depth} came, but resnet has three stages of n blocks, hence 3n + 2 "
            f"layers: write depth: 5, 8, 11 or another of this series."
        )
    return found


def euler_holds(run: Run) -> bool:
    """Never: batch norm and sums of layers break the identity of SCIENCE.md section 4."""
    return False
