"""The recorded bound against its float64 definition, and that no network gets below it."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.probes import rank_bound
from tfc_jax.probes.rank import EPSILONS
from tfc_jax.theory import rank_loss_bound

Look = Callable[..., dict[str, np.ndarray]]
N, H, K = 60, 12, 2
# Singular vectors are off by some N H roundings over a gap, here of targets of size about one.
ATOL = 1e-5


def parts(scale: float = 1.0) -> dict[str, np.ndarray]:
    """Features whose eigenvalues lie well between the thresholds, targets, and a readout."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, H)))[0] for n in (N, H))
    spectrum = np.repeat([1.0, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11], 2)
    return {
        "features": scale * left * np.sqrt(N * spectrum) @ right.T,
        "target": 1 + left[:, ::5] @ rng.standard_normal((3, K)) * np.sqrt(N),
        "readout": rng.standard_normal((H, K)),
    }


def measured(look: Look, given: dict[str, np.ndarray]) -> dict[str, float]:
    feature, target, readout = (
        jnp.asarray(given[name], jnp.float32) for name in ("features", "target", "readout")
    )
    logits = jnp.matmul(feature, readout, precision="highest") + 0.5
    found = look(
        rank_bound,
        {
            "features": (feature, logits),
            "weights": (jnp.ones((3, H)), readout),
            "train_logits": logits,
            "train_targets": target,
        },
    )
    return {name: float(value) for name, value in found.items()}


def test_every_epsilon_has_the_bound_of_its_definition(look: Look) -> None:
    given = parts()
    found = measured(look, given)
    for name, epsilon in EPSILONS.items():
        exact = rank_loss_bound(given["features"], given["target"], given["readout"], epsilon)
        assert found[f"rank_bound_{name}"] == pytest.approx(exact, abs=ATOL), name
    bounds = [found[f"rank_bound_{name}"] for name in EPSILONS]
    assert len(set(np.round(bounds, 3))) == len(EPSILONS)  # each threshold is seen


def test_the_loss_is_the_root_of_the_mean_over_samples_and_outputs(look: Look) -> None:
    given = parts()
    outputs = given["features"] @ given["readout"] + 0.5
    exact = np.sqrt(np.mean((outputs - given["target"]) ** 2))
    assert measured(look, given)["output_rmse"] == pytest.approx(exact, rel=ATOL)


def test_no_readout_gets_below_the_bound(look: Look) -> None:
    given = parts()
    columns = np.column_stack([given["features"], np.ones(N)])
    best = np.linalg.lstsq(columns[:, :4], given["target"], rcond=None)[0]
    given["readout"] = np.pad(best, ((0, H - 4), (0, 0)))
    found = measured(look, given)
    bounds = [found[f"rank_bound_{name}"] for name in EPSILONS]
    assert found["output_rmse"] >= max(bounds) - ATOL
    assert max(bounds) > 0.1  # it says something


def test_features_that_hold_the_constant_already_give_a_valid_bound(look: Look) -> None:
    given = parts()
    given["features"][:, 0] = 3.0
    exact = rank_loss_bound(given["features"], given["target"], given["readout"], 1e-2)
    found = measured(look, given)["rank_bound_1em2"]
    assert np.isfinite(found)
    assert found <= exact + ATOL


def test_dead_features_leave_the_deviation_of_the_targets(look: Look) -> None:
    given = parts(scale=0.0)
    exact = np.sqrt(np.mean((given["target"] - given["target"].mean(axis=0)) ** 2))
    given["readout"] = np.zeros((H, K))
    assert measured(look, given)["rank_bound_1em2"] == pytest.approx(exact, rel=ATOL)


def test_a_last_layer_that_reads_something_else_has_no_bound(look: Look) -> None:
    features = (jnp.ones((N, H)), jnp.ones((N, K)))
    weights = (jnp.ones((3, H)), jnp.ones((5, K)))
    assert look(rank_bound, {"features": features, "weights": weights}) == {}
