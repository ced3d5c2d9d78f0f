"""What may be done to a network once, in the middle of training (SCIENCE.md T24; all ours).

An intervention changes weights and nothing else: biases, norms, running statistics and the buffers
of the optimizer stay, momentum of sgd included. All layers that it acts on change together, judged
by the network before it, in evaluation mode. Units and directions of a layer l are those of W_l,
(fan_in, fan_out); of a recurrent layer that is the map of its input, all gates side by side, and
its map of the state stays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from tfc_jax.functional import Functional, Tree
from tfc_jax.hyper import Hyper
from tfc_jax.keys import INTERVENTIONS
from tfc_jax.power import TopDirection, start, top_direction, unit
from tfc_jax.sampling import REDRAW, SHAM, stream

ITERATIONS = 300  # of the power iteration: it runs once, so it may be thorough

Kernels = tuple[Array, ...]


@dataclass(frozen=True)
class Moment:
    """A run at the moment of its intervention.

    Attributes:
      params, model_state: the network before.
      inputs: (N, D), fixed training ones, by whose features means and dead units are judged.
    """

    net: Functional
    params: Tree
    model_state: Tree
    hyper: Hyper
    inputs: Array

    @property
    def kernels(self) -> Kernels:
        """W_1..W_L."""
        return self.net.kernels(self.params)

    @property
    def features(self) -> tuple[Array, ...]:
        """Features (N, H_l) of layers 1..L."""
        return self.net.features(self.params, self.model_state, self.inputs)

    def acts_on(self, layer: int) -> Array:
        """Whether the run intervenes at a hidden layer, ()."""
        chosen = self.hyper.intervene_layer
        return (chosen == 0) | (chosen == layer)

    def on_chosen(self, change: Callable[[int, Array], Array]) -> Kernels:
        """The kernels, those of the chosen hidden layers replaced by `change(layer, W_l)`."""
        *hidden, last = self.kernels
        changed = [
            lax.cond(self.acts_on(layer), partial(change, layer), lambda same: same, kernel)
            for layer, kernel in enumerate(hidden, start=1)
        ]
        return (*changed, last)


def intervene(net: Functional, params: Tree, model_state: Tree, hyper: Hyper, x_NxD: Array) -> Tree:
    """Returns the parameters after the run's intervention: see ARMS.

    Matrix products are of full precision, whatever that of training is.
    """
    moment = Moment(net, params, model_state, hyper, x_NxD)
    with jax.default_matmul_precision("highest"):
        arms = [partial(ARMS[name], moment) for name in INTERVENTIONS]
        return net.with_kernels(params, lax.switch(hyper.intervention, arms))


def unchanged(moment: Moment) -> Kernels:
    """None, the control arm; and momentum, which the optimizer turns on (Hyper.momentum_at)."""
    return moment.kernels


def remove_common_direction(moment: Moment) -> Kernels:
    """W_l loses its top direction v of the inputs: W - v v^T W, and sigma_1^2 of |W|^2."""
    return moment.on_chosen(lambda _, kernel: without(kernel, common_direction(kernel).inward))


def sham(moment: Moment) -> Kernels:
    """W_l loses as much of |W|^2 as without its common direction, in random directions."""
    key = stream(moment.hyper.seed, SHAM)
    return moment.on_chosen(
        lambda layer, kernel: without_random(kernel, jax.random.fold_in(key, layer))
    )


def remove_feature_mean(moment: Moment) -> Kernels:
    """The weights that read layer l lose the direction m of its mean feature: W - m m^T W.

    These are W_{l+1}. Needs layer l + 1 dense; the others stay. Around a residual block the mean
    passes on as it was.
    """
    changed = list(moment.kernels)
    for layer, feature_NxH in enumerate(moment.features[:-1], start=1):
        if layer + 1 in moment.net.dense:
            reading = changed[layer]  # W_{l+1}
            removed = without(reading, unit(jnp.mean(feature_NxH, axis=0)))
            changed[layer] = jnp.where(moment.acts_on(layer), removed, reading)
    return tuple(changed)


def rescale(moment: Moment) -> Kernels:
    """W_l times intervene_value."""
    return moment.on_chosen(
        lambda _, kernel: moment.hyper.intervene_value.astype(kernel.dtype) * kernel
    )


def reinit_dead(moment: Moment) -> Kernels:
    """Units of layer l that no sample turns on (feature <= 0) get new weights of the initial law.

    Their biases stay. Needs layer l dense; the others stay.
    """
    features = moment.features
    fresh = moment.net.kernels(moment.net.init(moment.hyper, REDRAW)[0])

    def redrawn(layer: int, kernel: Array) -> Array:
        if layer not in moment.net.dense:
            return kernel
        is_dead_H = jnp.all(features[layer - 1] <= 0, axis=0)
        is_dead = jnp.broadcast_to(is_dead_H, kernel.shape)
        return jnp.where(is_dead, fresh[layer - 1].astype(kernel.dtype), kernel)

    return moment.on_chosen(redrawn)


Arm = Callable[[Moment], Kernels]
ARMS: dict[str, Arm] = {
    "none": unchanged,
    "remove_common_direction": remove_common_direction,
    "remove_feature_mean": remove_feature_mean,
    "rescale": rescale,
    "reinit_dead": reinit_dead,
    "enable_momentum": unchanged,
    "sham": sham,
}


def common_direction(kernel: Array) -> TopDirection:
    """The direction of the inputs that W passes on most strongly, by power iteration."""
    return top_direction(kernel, start(kernel), ITERATIONS)


def without(kernel: Array, direction: Array) -> Array:
    """W - v v^T W for a unit vector v of the inputs; unchanged for v = 0.

    Error: |v^T W'| <= 4 (fan_in + 2) eps |W|, however v was found (test_interventions.py).
    """
    return kernel - jnp.outer(direction, direction @ kernel)


def without_random(kernel: Array, key: Array) -> Array:
    """W without random orthonormal directions that hold |v^T W|^2, v the common direction.

    Random directions of the smaller space, inputs or outputs (the larger would need a basis of
    thousands), are taken away one after another, the last one in part, until as much of |W|^2 is
    gone. None is favoured: on average all directions, the common one too, lose the same share. A
    common direction that holds half of |W|^2 costs half of all directions.
    Error: |W|^2 - |W'|^2 is |v^T W|^2 to a few min(fan_in, fan_out) eps |W|^2.
    """
    largest = jnp.max(jnp.abs(kernel))
    scale = jnp.where(largest == 0, 1, largest)  # energies are squares and may leave float32
    scaled = kernel / scale
    energy = jnp.sum((common_direction(kernel).inward @ scaled) ** 2)
    if kernel.shape[0] <= kernel.shape[1]:
        return kernel - scale * _random_part(scaled, energy, key)
    return kernel - scale * _random_part(scaled.T, energy, key).T


def _random_part(matrix: Array, energy: Array, key: Array) -> Array:
    """What of a matrix (n, m) lies in random directions of n dimensions and holds `energy`."""
    basis = random_basis(matrix.shape[0], key, matrix.dtype)
    parts = basis.T @ matrix
    energies = jnp.sum(parts**2, axis=1)
    left = jnp.maximum(energy - (jnp.cumsum(energies) - energies), 0)
    share = jnp.minimum(left / jnp.where(energies == 0, 1, energies), 1)
    return basis @ ((1 - jnp.sqrt(1 - share))[:, None] * parts)


def random_basis(n: int, key: Array, dtype: jnp.dtype) -> Array:
    """A random orthonormal basis, columns (n, n)."""
    basis, _ = jnp.linalg.qr(jax.random.normal(key, (n, n), dtype))
    return basis
