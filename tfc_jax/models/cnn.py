"""Plain convolutional network: 3x3 convolutions, max pooling after every second, a linear layer."""

from flax import nnx

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import _misfits
from tfc_jax.models._chain import Chain, Link, chain_euler_holds, chain_sizes, flat_link
from tfc_jax.models._layers import Path, Shape, layer_paths
from tfc_jax.sizes import Sizes

EXAMPLE = {"depth": 4, "width": 6, "learning_rate": 0.1}
_SMALLEST_POOLED = 4


class Model(Chain):
    """`depth` - 1 convolutions, then the linear layer on the whole last feature.

    Channels are `width` in the first stage and double after each pooling; 2x2 max pooling follows
    every second convolution while both sides are at least 4. The feature of a layer is what it
    passes on: after the activation, and after the pooling if any.

    Args:
      run: the static keys; `norm` stands between a convolution and its activation, and works on
        each channel (`batch`) or over the channels of each pixel (`layer`).
      input_shape: (height, width, channels).
      n_outputs: K logits, or the number of regression targets.
      hyper: traced keys, of which `init_scale` is the factor on the initial weights.
      rngs: stream `params` draws the initial weights, layer after layer.
    """

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        super().__init__(run, _links(run, input_shape, n_outputs), hyper, rngs)


def _links(run: Run, input_shape: Shape, n_outputs: int) -> list[Link]:
    links: list[Link] = []
    shape, channels = input_shape, run.width
    for layer in range(1, run.depth):
        pools = layer % 2 == 0 and min(shape[:2]) >= _SMALLEST_POOLED
        links.append(Link(shape, channels, pools))
        shape, channels = links[-1].feature, 2 * channels if pools else channels
    return [*links, flat_link(links[-1], n_outputs)]


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    return chain_sizes(run, _links(run, input_shape, n_outputs))


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where the weights of layers 1..L stand in the parameters."""
    return layer_paths(run)


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers that read the whole feature of the layer below: the last."""
    return (run.depth,)


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    return [
        *_misfits.flat_inputs(run, input_shape),
        *_misfits.depth_below(run, 2, "has a convolution below its linear layer"),
        *_misfits.structured(run),
    ]


def euler_holds(run: Run) -> bool:
    """Whether <W_l, dL/dW_l> = mean_i <z_i, dl_i/dz_i> holds: SCIENCE.md section 4, Euler."""
    return chain_euler_holds(run)
