"""VGG-11 (Simonyan and Zisserman, 2015): eight convolutions, three linear layers."""

from flax import nnx

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import _misfits
from tfc_jax.models._chain import Chain, Link, chain_euler_holds, chain_sizes, flat_link
from tfc_jax.models._layers import Path, Shape, layer_paths
from tfc_jax.sizes import Sizes

EXAMPLE = {"depth": 11, "width": 2, "norm": "batch", "learning_rate": 0.1}
_DEPTH = 11
# Configuration A: channels of the eight convolutions over `width`, and where pooling follows.
_CHANNELS = (1, 2, 4, 4, 8, 8, 8, 8)
_POOLED = (True, True, False, True, False, True, False, True)
_HIDDEN = 8
_SMALLEST_POOLED = 2


class Model(Chain):
    """Configuration A with `width` channels in the first stage; 64 are those of the paper.

    2x2 max pooling is left out where a side would vanish. The two hidden linear layers have 8 times
    `width` units (4096 in the paper, for larger images), and no dropout. The feature of a layer is
    what it passes on: after the activation, and after the pooling if any.

    Args:
      run: the static keys; `norm` stands between every hidden layer and its activation, and works
        on each channel (`batch`) or over the channels of each pixel (`layer`).
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
    shape = input_shape
    for factor, pooled in zip(_CHANNELS, _POOLED, strict=True):
        pools = pooled and min(shape[:2]) >= _SMALLEST_POOLED
        links.append(Link(shape, factor * run.width, pools))
        shape = links[-1].feature
    for outputs in (_HIDDEN * run.width, _HIDDEN * run.width, n_outputs):
        links.append(flat_link(links[-1], outputs))
    return links


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs."""
    return chain_sizes(run, _links(run, input_shape, n_outputs))


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where the weights of layers 1..11 stand in the parameters."""
    return layer_paths(run)


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers that read the whole feature of the layer below: the linear ones."""
    return (9, 10, 11)


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    found = [*_misfits.flat_inputs(run, input_shape), *_misfits.structured(run)]
    if run.depth != _DEPTH:
        found.append(f"depth: {run.depth} came, but vgg11 has 11 layers: write depth: 11.")
    return found


def euler_holds(run: Run) -> bool:
    """Whether <W_l, dL/dW_l> = mean_i <z_i, dl_i/dz_i> holds: SCIENCE.md section 4, Euler."""
    return chain_euler_holds(run)
