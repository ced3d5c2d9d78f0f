"""A loss that features of low epsilon-rank cannot get below (ours)."""

import numpy as np

from tfc_jax.theory.gaussian import Floats


def rank_loss_bound(
    features_NxH: Floats, target_NxK: Floats, readout_HxK: Floats, epsilon: float
) -> float:
    """Lower bound on sqrt(MSE) of features @ readout + any bias; negative where it is vacuous.

    The Gram matrix mean_i phi_a(x_i) phi_b(x_i) has eigenfunctions sum_a v_a phi_a(x). Those with
    eigenvalues above epsilon span, with the constant 1, all that the output holds but for a rest of
    norm sqrt(epsilon) |readout| at most, so that

      sqrt(MSE) >= dist(target, span) - sqrt(epsilon) |readout|.

    Norms are root mean squares over the N points and K outputs, |readout| is Frobenius' norm over
    sqrt(K). All of it holds on the points that MSE is taken on, and on no others.

    Args:
      epsilon: positive; eigenvalues need float64 features to be told from it below 1e-7 of the
        largest.
    """
    n_samples, n_outputs = target_NxK.shape
    left, singular, _ = np.linalg.svd(features_NxH / np.sqrt(n_samples), full_matrices=False)
    kept_NxR = np.column_stack(
        [np.full(n_samples, n_samples**-0.5), left[:, singular**2 > epsilon]]
    )
    # Least squares, as the constant may lie among the eigenfunctions already.
    rest_NxK = target_NxK - kept_NxR @ np.linalg.lstsq(kept_NxR, target_NxK)[0]
    distance = np.linalg.norm(rest_NxK) / np.sqrt(n_samples * n_outputs)
    return float(distance - np.sqrt(epsilon / n_outputs) * np.linalg.norm(readout_HxK))
