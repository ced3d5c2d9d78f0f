"""Ids of a whole grid at once are those of its runs."""

from typing import Any

import numpy as np
import pytest

from tfc_jax import run_ids as module
from tfc_jax.expression import parse
from tfc_jax.grid import Axis, Grid
from tfc_jax.keys import KEYS, KINDS
from tfc_jax.run_ids import as_text, run_ids

BASE: dict[str, Any] = {name: key.default for name, key in KEYS.items()}


def axis(name: str, *values: object) -> Axis:
    return Axis((name,), [(value,) for value in values])


GRIDS = {
    "no axis": (),
    "one value": (axis("depth", 3),),
    "default of every axis among others": (axis("depth", 5, 3), axis("seed", 0, 1, 2)),
    "numbers, texts, truth, null": (
        axis("learning_rate", 0.01, 1e-05, 3.0, 0.1),
        axis("bias", True, False),
        axis("n_train", None, 7),
        axis("init", "he_normal", "xavier_normal"),
    ),
    "keys that move together, apart in the text": (
        axis("width", 8, 128),
        Axis(("activation", "seed", "init_scale"), [("tanh", 4, 1.0), ("relu", 0, 2.5)]),
        axis("momentum", 0.0, 0.9),
    ),
    "texts with what has a meaning in formats": (
        axis("dataset", "npz:/50%b/%%/{0}", 'npz:/"quoted"/ü'),
        axis("seed", 0, 1),
        axis("scaling", "none", "unit"),
    ),
}


@pytest.mark.parametrize("base", [{}, {"depth": 9, "dataset": "npz:/100%"}])
@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("most_rows", [1, 4, 4096])
def test_they_are_the_ids_of_the_runs_one_by_one(
    base: dict[str, Any],
    axes: tuple[Axis, ...],
    most_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many axes are combined at once, a part of a row kept, a whole one or none."""
    monkeypatch.setattr(module, "MOST_ROWS", most_rows)
    product = Grid(BASE | base, axes)
    for excluded in ([], ["seed == 0"], ["depth < 9 and seed != 1"], ["bias", "width == 8"]):
        keep = product.kept([parse(text, KINDS) for text in excluded])
        ids = run_ids(product, keep)
        text = as_text(ids).decode()
        found = [text[i : i + 12] for i in range(0, len(text), 12)]
        assert found == [run.run_id for run in product.runs(keep)]
        assert ids.tolist() == [int(run_id, 16) for run_id in found]


def test_digits_in_front_may_be_zero() -> None:
    ids = np.array([0, 1, 2**48 - 1, 0xABC], np.uint64)
    assert as_text(ids) == b"000000000000000000000001ffffffffffff000000000abc"
