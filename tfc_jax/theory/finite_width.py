"""How far networks of finite width stray from the wide limit: He-initialised ReLU layers."""

import numpy as np
from numpy.typing import ArrayLike

from tfc_jax.theory.gaussian import Floats


def log_norm_variance(depth: int, width: int) -> float:
    """Variance over networks of ln |h_depth|^2, about 5 depth / width.

    |h_l|^2 / |h_{l-1}|^2 is a mean of `width` independent terms of mean 1 and variance 5. Relative
    error about 3 / width (test_theory_widths.py). Source: Hanin and Nica, 2020.
    """
    return 5 * depth / width


def log_norm_mean(depth: int, width: int) -> float:
    """Mean of ln(|h_depth|^2 / |x|^2), about -5 depth / (2 width); the mean of the ratio is 1."""
    return -log_norm_variance(depth, width) / 2


def angle_drift(angle: ArrayLike, width: int) -> Floats:
    """Mean change of ln sin^2(angle) in one layer, about -2 angle / (3 pi) - 2 / width.

    Angle between two samples, in radians; for small angles (below 0.1 its error is below
    0.05 angle^2 + 15 / width^2, test_theory_widths.py). Source: Jakub and Nica, 2023.
    """
    return -2 * np.asarray(angle, np.float64) / (3 * np.pi) - 2 / width


def angle_log_variance(width: int) -> float:
    """Variance over networks of the change of ln sin^2(angle) in one layer, about 8 / width.

    For small angles: some 1 % less per 0.02 radians. Source: Jakub and Nica, 2023.
    """
    return 8 / width
