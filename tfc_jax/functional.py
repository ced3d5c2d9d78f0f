"""A network as pure functions: parameters in, logits and features out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from tfc_jax.fourier import lift
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.sampling import WEIGHTS, stream

Tree = dict
Tap = Callable[[str, Array], Array]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Functional:
    """The functions of one network, for one run.

    Layers count from 1 to L = `run.depth`; W_l is the matrix at the l-th of the architecture's
    `kernel_paths`, the windows and channels of a convolution flattened into its rows.
    """

    network: Network

    def init(self, hyper: Hyper, purpose: int = WEIGHTS) -> tuple[Tree, Tree]:
        """Returns initial parameters, and the state that is not trained.

        Args:
          purpose: what the seed is drawn for; another one gives other weights of the same law.
        """
        model = self._model(hyper, purpose)
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        return params, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    def apply(
        self,
        params: Tree,
        model_state: Tree,
        x_BxD: Array,
        *,
        train: bool,
        tap: Tap = lambda name, value: value,
    ) -> tuple[Array, Tree]:
        """Returns the logits (B, K) and the model state (running statistics) after the pass."""
        model = nnx.merge(_abstract(self)[0], params, model_state, copy=True)
        logits = model(self._shaped(x_BxD), tap, train)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    def features(self, params: Tree, model_state: Tree, x_BxD: Array) -> tuple[Array, ...]:
        """Returns the features (B, H_l) of layers 1..L, the logits last, in evaluation mode."""
        seen: dict[str, Array] = {}

        def tap(name: str, value: Array) -> Array:
            seen[name] = value
            return value

        self.apply(params, model_state, x_BxD, train=False, tap=tap)
        return tuple(flat(seen[name]) for name in self.feature_names)

    def inputs(self, x_BxD: Array) -> Array:
        """Returns what the network reads of scaled inputs: these, or their Fourier features."""
        n_frequencies = self.network.run.fourier_features
        return x_BxD if n_frequencies is None else lift(x_BxD, n_frequencies)

    def zero_taps(self, x_BxD: Array) -> dict[str, Array]:
        """Zeros of the shape and dtype of everything that passes a tap."""
        shapes = _tap_shapes(self, x_BxD.shape, x_BxD.dtype)
        return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Taps of the features of layers 1..L: the logits are what the last linear map returns."""
        depth = self.network.run.depth
        return (*(f"feature_{layer}" for layer in range(1, depth)), f"linear_{depth}")

    @property
    def linear_names(self) -> tuple[str, ...]:
        """Taps of the pre-activations W_l h_{l-1}, where a layer has one."""
        return tuple(f"linear_{layer}" for layer in range(1, self.network.run.depth + 1))

    def kernels(self, tree: Tree) -> tuple[Array, ...]:
        """Returns W_1..W_L, each (fan_in, fan_out), from a tree shaped like the parameters."""
        leaves = (_leaf(tree, path) for path in self._paths)
        return tuple(leaf.reshape(-1, leaf.shape[-1]) for leaf in leaves)

    def with_kernels(self, params: Tree, kernels: tuple[Array, ...]) -> Tree:
        """Returns the parameters with W_1..W_L replaced."""
        for path, kernel in zip(self._paths, kernels, strict=True):
            params = _replaced(params, path, kernel.reshape(_leaf(params, path).shape))
        return params

    def widths(self) -> tuple[int, ...]:
        """Returns H_1..H_L, without building the network."""
        n_inputs = prod(self.network.input_shape)
        shapes = _tap_shapes(self, (1, n_inputs), jnp.dtype(jnp.float32))
        return tuple(prod(shapes[name].shape) for name in self.feature_names)

    def fans_in(self) -> tuple[int, ...]:
        """Returns the rows of W_1..W_L, without building the network."""
        _, (params, _) = _abstract(self)
        return tuple(prod(_leaf(params, path).shape[:-1]) for path in self._paths)

    @property
    def dense(self) -> tuple[int, ...]:
        """Layers whose pre-activation is W_l times the whole feature of the layer below."""
        layers: tuple[int, ...] = self.network.architecture.dense_layers(self.network.run)
        return layers

    @property
    def _paths(self) -> tuple[Path, ...]:
        paths: tuple[Path, ...] = self.network.architecture.kernel_paths(self.network.run)
        return paths

    def _shaped(self, x_BxD: Array) -> Array:
        return x_BxD.reshape(x_BxD.shape[0], *self.network.input_shape)

    def _model(self, hyper: Hyper, purpose: int = WEIGHTS) -> nnx.Module:
        net, rngs = self.network, nnx.Rngs(params=stream(hyper.seed, purpose))
        return net.architecture.Model(net.run, net.input_shape, net.n_outputs, hyper, rngs)


def flat(value: Array) -> Array:
    """(B, ...) -> (B, H)."""
    return value.reshape(value.shape[0], -1)


def _leaf(tree: Any, path: Path) -> Array:
    for name in path:
        tree = tree[name]
    return tree


def _replaced(tree: Any, path: Path, leaf: Array) -> Any:
    if not path:
        return leaf
    first, *rest = path
    return {**tree, first: _replaced(tree[first], tuple(rest), leaf)}


# Where only shapes matter.
_ANY = Hyper.of(Run())


# Both are asked for at every trace, and building a model takes as long as tracing its passes.
@lru_cache(maxsize=64)
def _abstract(net: Functional) -> tuple[nnx.GraphDef, list[Tree]]:
    """A model's structure, and the shapes of its parameters and of its other state."""
    graph, *states = nnx.split(nnx.eval_shape(lambda: net._model(_ANY)), nnx.Param, ...)
    return graph, [nnx.to_pure_dict(state) for state in states]


@lru_cache(maxsize=64)
def _tap_shapes(
    net: Functional, shape: tuple[int, ...], dtype: jnp.dtype
) -> dict[str, jax.ShapeDtypeStruct]:
    shapes: dict[str, jax.ShapeDtypeStruct] = {}

    def tap(name: str, value: Array) -> Array:
        shapes[name] = jax.ShapeDtypeStruct(value.shape, value.dtype)
        return value

    def forward(params: Tree, model_state: Tree, x: Array) -> Array:
        return net.apply(params, model_state, x, train=True, tap=tap)[0]

    _, states = _abstract(net)
    jax.eval_shape(forward, *states, jax.ShapeDtypeStruct(shape, dtype))
    return shapes
