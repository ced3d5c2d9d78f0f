"""How far networks of finite width stray from the wide limit: He-initialised ReLU layers."""

import numpy as np
from numpy.typing import ArrayLike

from tfc_jax.theory.cosines import relu_cosine
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


def relu_cosine_variance(cosine: ArrayLike, width: int) -> Floats:
    """Variance over networks of the cosine of two features after one layer of `width` ReLU units.

    Given the cosine of the inputs, at any angle, whatever the variance of the weights; for small
    angles it is that of `angle_log_variance`. First order in 1/width: units a, b of both samples
    are independent, and the cosine mean(ab) / sqrt(mean(a^2) mean(b^2)) = c moves with each unit by
    (2ab - c (a^2 + b^2)) / width, whose moments are polynomials in sines and the angle (ours, after
    the arc-cosine kernels of Cho and Saul, 2009).

    Error: below 12 / width of itself at cosines up to 0.9 (test_theory_widths.py).
    """
    angle = np.arccos(np.clip(np.asarray(cosine, np.float64), -1, 1))
    sine, cos, off = np.sin(angle), np.cos(angle), np.pi - angle
    squares = (3 * sine * cos + off * (1 + 2 * cos**2)) / (2 * np.pi)
    fourth = 3 * off / 8 + np.sin(2 * angle) / 4 - np.sin(4 * angle) / 32
    cube = 4 / np.pi * (cos * fourth + sine**5 / 4)
    c = relu_cosine(cosine)
    return np.maximum(4 * squares - 8 * c * cube + c**2 * (3 + 2 * squares), 0) / width
