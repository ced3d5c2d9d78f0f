"""The probe's cosines are those of the metric family, on the probe's own samples."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax.metrics import similarity as family
from tfc_jax.probes import similarity

Look = Callable[..., dict[str, np.ndarray]]
N, H, K = 40, 9, 4
# |S|^2 counts N^2 ordered pairs; sqrt(N) roundings of it, spread over the N^2/K within a class.
ATOL = 4 * N**0.5 * 2.0**-24 * K


def random_rows(scale: float = 1.0) -> np.ndarray:
    rows = np.maximum(np.random.default_rng(0).standard_normal((N, H)) + 0.3, 0)
    rows[[2, 11]] = 0
    return (scale * rows).astype(np.float32)


def mean_cosine(rows: np.ndarray, wanted: Callable[[int, int], bool]) -> float:
    x = rows.astype(np.float64)
    alive = [i for i in range(len(x)) if x[i].any()]
    pairs = [(i, j) for i in alive for j in alive if i != j and wanted(i, j)]
    return float(
        np.mean([x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for i, j in pairs])
    )


def measure(look: Look, rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    arrays = {"features": (jnp.asarray(rows),), "train_targets": jnp.asarray(labels, jnp.int32)}
    found = look(similarity, arrays, n_classes=K)
    return {name: float(value[0]) for name, value in found.items()}


def test_every_column_of_the_family_has_its_companion() -> None:
    names = {f"probe_{column.name}" for column in family.COLUMNS}
    assert {column.name for column in similarity.COLUMNS} == names
    assert not any("batch" in column.meaning for column in similarity.COLUMNS)


@pytest.mark.parametrize("scale", [1.0, 1e-25])
def test_cosines_match_a_double_loop_over_pairs(look: Look, scale: float) -> None:
    rows, labels = random_rows(scale), np.random.default_rng(1).choice([0, 1, 3], N)
    found = measure(look, rows, labels)
    within = mean_cosine(rows, lambda i, j: labels[i] == labels[j])
    between = mean_cosine(rows, lambda i, j: labels[i] != labels[j])
    everywhere = mean_cosine(rows, lambda i, j: True)
    assert found["probe_feature_cos"] == pytest.approx(everywhere, abs=ATOL)
    assert found["probe_feature_cos_within"] == pytest.approx(within, abs=ATOL)
    assert found["probe_feature_cos_between"] == pytest.approx(between, abs=ATOL)
    assert found["probe_feature_deficit"] == pytest.approx(1 - everywhere, abs=ATOL)


def test_a_regression_has_no_classes_to_compare(look: Look) -> None:
    found = look(similarity, {}, regression=True)
    assert set(found) == {"probe_feature_cos", "probe_feature_deficit"}


def test_dead_layers_give_nan(look: Look) -> None:
    found = measure(look, np.zeros((N, H), np.float32), np.arange(N) % K)
    assert np.isnan(list(found.values())).all()
