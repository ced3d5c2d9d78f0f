"""What the tests of metrics share: snapshots made by hand, and brute-force twins in float64."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.snapshot import Snapshot

MakeSnapshot = Callable[..., Snapshot]


@dataclass(frozen=True)
class Pairs:
    """Mean cosines over pairs of rows, by a double loop in float64."""

    everywhere: float
    within: float
    between: float


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _pairs(rows: np.ndarray, labels: np.ndarray) -> Pairs:
    x = rows.astype(np.float64)
    alive = [i for i in range(len(x)) if np.any(x[i] != 0)]
    same: list[float] = []
    different: list[float] = []
    for i in alive:
        for j in alive:
            if i != j:
                cosine = float(x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]))
                (same if labels[i] == labels[j] else different).append(cosine)
    return Pairs(_mean(same + different), _mean(same), _mean(different))


def _centered_pairs(rows: np.ndarray, labels: np.ndarray) -> Pairs:
    x = rows.astype(np.float64)
    alive = np.any(x != 0, axis=1)
    return _pairs(x[alive] - x[alive].mean(axis=0), labels[alive])


@pytest.fixture(scope="session")
def pairs() -> Callable[[np.ndarray, np.ndarray], Pairs]:
    """`pairs(rows, labels)`: mean cosines of the rows that are not all zero."""
    return _pairs


@pytest.fixture(scope="session")
def centered_pairs() -> Callable[[np.ndarray, np.ndarray], Pairs]:
    """The same after the mean of the rows that are not all zero is subtracted."""
    return _centered_pairs


@pytest.fixture(scope="session")
def make_snapshot() -> MakeSnapshot:
    """Builds a snapshot of random arrays; keywords replace fields."""

    def make(
        seed: int = 0, batch: int = 24, widths: Sequence[int] = (6, 6, 3), **fields: Any
    ) -> Snapshot:
        rng = np.random.default_rng(seed)

        def layers(rows: Sequence[int]) -> tuple[jnp.ndarray, ...]:
            shapes = zip(rows, widths, strict=True)
            return tuple(jnp.asarray(rng.standard_normal(s), jnp.float32) for s in shapes)

        samples, fan_in = [batch] * len(widths), [5, *widths[:-1]]
        defaults: dict[str, Any] = {
            "step": jnp.int32(0),
            "inputs": jnp.asarray(rng.standard_normal((batch, 5)), jnp.float32),
            "features": layers(samples),
            "feature_grads": layers(samples),
            "deltas": layers(samples),
            "weights": layers(fan_in),
            "weight_grads": layers(fan_in),
            "updates": layers(fan_in),
            "labels": jnp.asarray(rng.integers(0, widths[-1], batch), jnp.int32),
            "logit_dot_grad": jnp.float32(0.25),
            "grad_norm_total": jnp.float32(2.5),
            "n_classes": widths[-1],
            "euler": True,
            "dense": tuple(range(1, len(widths) + 1)),
        }
        return Snapshot(**(defaults | fields))

    return make
