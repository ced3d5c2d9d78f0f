"""What metrics and probes read, and what they may return."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OnLayers:
    """A column that is defined on some of the layers; it is null on the others.

    Attributes:
      values: (n,) one per layer.
      layers: their numbers, ascending, from 1.
    """

    values: Array
    layers: tuple[int, ...] = field(metadata={"static": True})


def on_layers(values: Array, layers: tuple[int, ...], n_layers: int) -> "Values":
    """Returns (n,) values of these layers of 1..n_layers; a plain array where these are all."""
    return values if len(layers) == n_layers else OnLayers(values, layers)


Values = Array | OnLayers  # of one column at one step: (), (L,), or on some layers


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Snapshot:
    """One batch of one run at step t, before the update of step t is applied.

    Tuples have one entry per layer 1..L; layer L holds the logits. Gradients are of the batch's
    mean loss: row i of one is 1/B of the gradient of sample i's own loss. W_l is the first linear
    map that layer l applies to what it reads: of a convolution the windows x channels, of a
    recurrent layer the weights of its input.

    Attributes:
      step: () int32, t.
      inputs: (B, D) scaled inputs, flattened; the features of layer 0.
      features: (B, H_l) after the nonlinearity, flattened.
      feature_grads: (B, H_l) gradient with respect to the features.
      deltas: (B, H_l) gradient with respect to W_l h_{l-1}, before the norm; None where a layer
        has no such place.
      weights: (fan_in, fan_out) of W_l, before the update; columns are units.
      weight_grads: likewise, of the batch-mean data loss (no weight decay).
      updates: likewise, what the optimizer adds to the weights.
      labels: (B,) int32 class of each sample; all zeros for regression.
      logit_dot_grad: () mean over samples of <z_i, d loss_i / d z_i>.
      grad_norm_total: () Euclidean norm of the data-loss gradient over all parameters.
      n_classes: number of classes K; 1 for regression.
      euler: whether Euler's identity holds (positively homogeneous, no bias, no norm).
      dense: layers whose pre-activation is W_l h_{l-1} with the whole feature of the layer below,
        so that a sample's gradient of W_l is an outer product of h_{l-1} and delta_l.
    """

    step: Array
    inputs: Array
    features: tuple[Array, ...]
    feature_grads: tuple[Array, ...]
    deltas: tuple[Array | None, ...]
    weights: tuple[Array, ...]
    weight_grads: tuple[Array, ...]
    updates: tuple[Array, ...]
    labels: Array
    logit_dot_grad: Array
    grad_norm_total: Array
    n_classes: int = field(metadata={"static": True})
    euler: bool = field(metadata={"static": True})
    dense: tuple[int, ...] = field(metadata={"static": True})

    @property
    def delta_by_layer(self) -> dict[int, Array]:
        """The deltas of the layers that have one, by number."""
        pairs = enumerate(self.deltas, start=1)
        return {layer: delta_BxH for layer, delta_BxH in pairs if delta_BxH is not None}

    @property
    def below(self) -> tuple[Array, ...]:
        """What each layer reads: the inputs, then the features of layers 1..L-1."""
        return (self.inputs, *self.features[:-1])


@dataclass(frozen=True)
class Traits:
    """What is known of a network before it is built, and decides which columns it has.

    Attributes:
      depth: L.
      n_classes: K; 0 for regression.
      batch_size: B.
      dense: as in `Snapshot`.
      reads_last_feature: whether W_L is as high as the feature of layer L-1 is wide; False at L=1.
    """

    depth: int
    n_classes: int
    batch_size: int
    dense: tuple[int, ...]
    reads_last_feature: bool


@dataclass(frozen=True)
class ProbeView:
    """What a probe sees: the network, in evaluation mode, on fixed training and test samples.

    Attributes:
      train_inputs: (N, D) scaled inputs, before any Fourier features.
      train_logits, test_logits: (N, K).
      train_targets, test_targets: (N,) int32 classes or (N, K) float32 targets; the training ones
        carry the run's label noise, the test ones are clean.
      features: (N, H_l) of the training samples, per layer 1..L; layer L holds the logits.
      weights: (fan_in, fan_out) of W_l, per layer.
      params: all trained numbers.
      train_loss: data loss of the training samples as a function of `params`: ().
      outputs: logits as a function of inputs (n, D) as the data set has them, not yet scaled.
      loss: the `loss` key.
      n_classes: K; 0 for regression.
    """

    train_inputs: Array
    train_logits: Array
    train_targets: Array
    test_logits: Array
    test_targets: Array
    features: tuple[Array, ...]
    weights: tuple[Array, ...]
    params: Any
    train_loss: Callable[[Any], Array]
    outputs: Callable[[Array], Array]
    loss: str
    n_classes: int
