"""What one measured training step saw: everything a metric may read."""

from dataclasses import dataclass, field

import jax
from jax import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Snapshot:
    """One batch of one run at step t, before the update of step t is applied.

    Tuples have one entry per layer 1..L; layer L holds the logits. Gradients marked "per sample"
    are of sample i's own loss (the batch mean's gradient times B).

    Attributes:
      inputs: (B, D) scaled inputs, flattened; the features of layer 0.
      features: (B, H_l) after the nonlinearity.
      feature_grads: (B, H_l) per-sample loss gradient with respect to the features.
      deltas: (B, H_l) per-sample loss gradient with respect to W_l h_{l-1}, before the norm.
      weights: (H_{l-1}, H_l), before the update; columns are units.
      weight_grads: (H_{l-1}, H_l) of the batch-mean data loss (no weight decay).
      updates: (H_{l-1}, H_l) what the optimizer adds to the weights.
      labels: (B,) int32 class of each sample; all zeros for regression.
      logit_dot_grad: () mean over samples of <z_i, d loss_i / d z_i>.
      grad_norm_total: () Euclidean norm of the data-loss gradient over all parameters.
      n_classes: number of classes K; 1 for regression.
      euler: whether Euler's identity holds (positively homogeneous, no bias, no norm).
    """

    inputs: Array
    features: tuple[Array, ...]
    feature_grads: tuple[Array, ...]
    deltas: tuple[Array, ...]
    weights: tuple[Array, ...]
    weight_grads: tuple[Array, ...]
    updates: tuple[Array, ...]
    labels: Array
    logit_dot_grad: Array
    grad_norm_total: Array
    n_classes: int = field(metadata={"static": True})
    euler: bool = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ProbeView:
    """What a probe sees: the network, in evaluation mode, on fixed training and test samples.

    Attributes:
      train_logits, test_logits: (N, K).
      train_targets, test_targets: (N,) int32 classes or (N, K) float32 targets; the training ones
        carry the run's label noise, the test ones are clean.
      loss: the `loss` key.
    """

    train_logits: Array
    train_targets: Array
    test_logits: Array
    test_targets: Array
    loss: str = field(metadata={"static": True})
