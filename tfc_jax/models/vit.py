"""Small vision transformer, norms first: blocks x + a attn(LN(x)), x + a mlp(LN(x)).

Layer 1 embeds patches and adds learned positions; layers 2..L-1 are blocks; layer L is a norm, the
mean over tokens and a linear map. a is `residual_alpha`.

Source: Dosovitskiy et al. (arXiv 2010.11929); the mean instead of a class token as in Beyer, Zhai
and Kolesnikov (arXiv 2205.01580); the size of patches and the number of heads are ours.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.models import _misfits
from tfc_jax.models._layers import ACTIVATIONS, Path, Scale, Shape, Tap, linear, norm
from tfc_jax.sizes import Sizes

EXAMPLE = {
    "depth": 3,
    "width": 16,
    "activation": "gelu",
    "norm": "layer",
    "bias": True,
    "optimizer": "adam",
    "learning_rate": 0.003,
}
MOST_PATCHES, LEAST_PIXELS = 8, 2  # of a side
MOST_HEADS, LEAST_HEAD_WIDTH = 8, 8
MLP_RATIO = 4
POSITION_SCALE = 0.02  # standard deviation of the initial position embedding


class Model(nnx.Module):
    """`depth` layers, `width` numbers a token.

    Args:
      run: the static keys.
      input_shape: (H, W, C) of one image.
      n_outputs: K logits, or the number of regression targets.
      hyper: traced keys, of which `init_scale` is the factor on the initial weights and position
        embedding, and `residual_alpha` that on the branches.
      rngs: stream `params` draws the initial weights, layer after layer.
    """

    def __init__(
        self, run: Run, input_shape: Shape, n_outputs: int, hyper: Hyper, rngs: nnx.Rngs
    ) -> None:
        self.grid = grid(input_shape)
        (n_tokens, n_pixels), scale = _patches(input_shape), hyper.init_scale
        draw = jax.random.normal(rngs.params(), (n_tokens, run.width), jnp.float32)
        self.alpha = nnx.Variable(jnp.asarray(hyper.residual_alpha))
        self.embed = linear(run.init, n_pixels, run.width, run.bias, scale, rngs)
        self.positions = nnx.Param(scale * POSITION_SCALE * draw)
        self.blocks = nnx.List([Block(run, scale, rngs) for _ in range(run.depth - 2)])
        self.norm = norm("layer", run.width, rngs)
        self.head = linear(run.init, run.width, n_outputs, run.bias, scale, rngs)

    def __call__(self, x: Array, tap: Tap, train: bool) -> Array:
        """Returns the logits (B, K); passes every layer's tokens (B, T, H) and them through `tap`.

        Args:
          tap: `tap(name, value)` returns what the layer goes on with; names are `feature_<l>`,
            l = 1..L-1, and `linear_<L>`.
          train: makes no difference here.
        """
        h_BxTxH = self.embed(patches(x, self.grid)) + self.positions[...][None]
        h_BxTxH = tap("feature_1", h_BxTxH)
        for layer, block in enumerate(self.blocks, start=2):
            h_BxTxH = tap(f"feature_{layer}", block(h_BxTxH, self.alpha[...]))
        logits = self.head(jnp.mean(self.norm(h_BxTxH), axis=1))
        return tap(f"linear_{len(self.blocks) + 2}", logits)


class Block(nnx.Module):
    """Attention, then a perceptron of one hidden layer, each added to what it reads."""

    def __init__(self, run: Run, scale: Scale, rngs: nnx.Rngs) -> None:
        init, width, bias = run.init, run.width, run.bias
        self.n_heads = heads(width)
        self.activation = ACTIVATIONS[run.activation]
        self.norms = nnx.List([norm("layer", width, rngs) for _ in range(2)])
        self.qkv = linear(init, width, 3 * width, bias, scale, rngs, n_maps=3)
        self.out = linear(init, width, width, bias, scale, rngs)
        self.up = linear(init, width, MLP_RATIO * width, bias, scale, rngs)
        self.down = linear(init, MLP_RATIO * width, width, bias, scale, rngs)

    def __call__(self, x_BxTxH: Array, alpha: Array) -> Array:
        """Returns tokens (B, T, H)."""
        x_BxTxH = x_BxTxH + alpha * self._attend(self.norms[0](x_BxTxH))
        hidden = self.activation(self.up(self.norms[1](x_BxTxH)))
        return x_BxTxH + alpha * self.down(hidden)

    def _attend(self, x_BxTxH: Array) -> Array:
        """Softmax attention over all tokens; JAX takes its softmax in float32 always."""
        qkv = self.qkv(x_BxTxH).reshape(*x_BxTxH.shape[:2], 3, self.n_heads, -1)
        mixed = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return self.out(mixed.reshape(x_BxTxH.shape))


def grid(input_shape: Shape) -> int:
    """Returns the number of patches on each side: 4 for 8 pixels, 7 for 28, 8 for 32; 1: uncut."""
    sides = input_shape[:2]
    fitting = (
        g
        for g in range(2, MOST_PATCHES + 1)
        if all(side % g == 0 and side // g >= LEAST_PIXELS for side in sides)
    )
    return max(fitting, default=1)


def heads(width: int) -> int:
    """Returns the most heads among 2, 4, 8 that have a whole width of at least 8; else 1."""
    fitting = (n for n in (2, 4, MOST_HEADS) if width % n == 0 and width // n >= LEAST_HEAD_WIDTH)
    return max(fitting, default=1)


def patches(x: Array, n_side: int) -> Array:
    """Cuts images (B, H, W, C) into tokens (B, n_side^2, pixels of a patch), row by row."""
    n_images, height, width, channels = x.shape
    cut = x.reshape(
        n_images, n_side, height // n_side, n_side, width // n_side, channels
    ).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(n_images, n_side**2, -1)


def kernel_paths(run: Run) -> tuple[Path, ...]:
    """Returns where the weights of layers 1..L stand: of a block, queries, keys and values."""
    blocks = (("blocks", i, "qkv", "kernel") for i in range(run.depth - 2))
    return (("embed", "kernel"), *blocks, ("head", "kernel"))


def dense_layers(run: Run) -> tuple[int, ...]:
    """Returns the layers that read the whole feature below: none, maps act on single tokens."""
    return ()


def euler_holds(run: Run) -> bool:
    """Whether <W_l, dL/dW_l> = mean_i <z_i, dl_i/dz_i> holds: not behind a norm or a residual."""
    return False


def sizes(run: Run, input_shape: Shape, n_outputs: int) -> Sizes:
    """Returns parameter count and costs; the first layer has no input gradient."""
    (n_tokens, n_pixels), width, n_blocks = _patches(input_shape), run.width, run.depth - 2
    embed, head = n_pixels * width, width * n_outputs
    block = (4 + 2 * MLP_RATIO) * width**2
    biases = width + n_blocks * (5 + MLP_RATIO) * width + n_outputs if run.bias else 0
    norms = (2 * n_blocks + 1) * 2 * width
    attention = 2 * n_tokens * width  # products of a token with all keys, and with all values
    kept = (9 + 2 * MLP_RATIO) * width + 2 * heads(width) * n_tokens
    return Sizes(
        n_params=embed + n_tokens * width + n_blocks * block + head + biases + norms,
        n_units=(1 + n_blocks) * n_tokens * width,
        flops_per_sample=n_tokens * (4.0 * embed + 6.0 * n_blocks * (block + attention))
        + 6.0 * head,
        activations_per_sample=math.prod(input_shape)
        + n_tokens * (2 * width + n_blocks * kept)
        + n_outputs,
    )


def misfits(run: Run, input_shape: Shape) -> list[str]:
    """Returns what keys and inputs do not fit this architecture, one sentence each."""
    found = [
        *_misfits.flat_inputs(run, input_shape),
        *_misfits.depth_below(run, 3, "has a block between its patch embedding and its head"),
        *_misfits.structured(run),
    ]
    if len(input_shape) == 3 and grid(input_shape) == 1:
        found.append(
            f"architecture: vit cuts an image into 2 x 2 to 8 x 8 patches of at least 2 pixels a "
            f"side, but {run.dataset} has inputs of shape {input_shape} here. Use images of such a "
            "size, or another architecture."
        )
    if run.norm != "layer":
        found.append(f"norm: {run.norm} came, but vit is built with layer norm: write norm: layer.")
    return found


def _patches(input_shape: Shape) -> tuple[int, int]:
    """Returns the number of patches, and of pixels times channels of each."""
    n_tokens = grid(input_shape) ** 2
    return n_tokens, math.prod(input_shape) // n_tokens
