"""What status says of many runs at once is what one by one says."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.sweeps import write_sweep
from tfc_jax.config import load_outline
from tfc_jax.errors import InputError
from tfc_jax.glance import Asked
from tfc_jax.keys import KEYS, Run
from tfc_jax.pack_texts import pack_texts
from tfc_jax.run_arrays import RunArrays, of_outline, of_runs, of_sweep
from tfc_jax.stored_runs import StoredRuns

STEPS = 60
SWEEPS: dict[str, dict[str, Any]] = {
    "a grid": {"grid": {"init_scale": [0.8, 1.0], "learning_rate": [0.05, 0.2]}, "seeds": 3},
    "keys that move together": {
        "grid": {"depth": [3, 4]},
        "zip": [{"norm": ["none", "batch", "layer", "none"], "momentum": [0, 0.5, 0.5, 0.9]}],
    },
    "null among numbers": {"grid": {"n_train": [None, 100, 200, 300], "bias": [True, False]}},
    "one run": {"grid": {}},
    "texts": {"grid": {"activation": ["relu", "tanh", "gelu", "abs"]}, "seeds": 2},
    "some left out": {
        "grid": {"width": [8, 16], "momentum": [0.0, 0.5, 0.9]},
        "seeds": 4,
        "exclude": ["momentum == 0 and width == 8", "momentum == 0.9 and seed > 0"],
    },
}


def described(runs: Sequence[Run], sweep: Sequence[Run], built: int | None) -> str:
    """As a pack is described, run by run."""
    first = runs[0]
    width = first.width if built is None else built
    parts = [f"{first.dataset} {first.architecture} {first.depth}x{width}"]
    for name in KEYS:
        counts = Counter(getattr(run, name) for run in sweep)
        told = ("seed", "dataset", "architecture", "depth", "width", "target_params")
        value, n = counts.most_common(1)[0]
        own = list(dict.fromkeys(getattr(run, name) for run in runs))
        if name not in told and len(counts) > 1 and not (own == [value] and n > len(sweep) / 2):
            parts.append(f"{name} {values_text(own)}")
    return ", ".join(parts)


def values_text(values: Sequence[Any]) -> str:
    def short(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    if len(values) > 1 and all(isinstance(value, int | float) for value in values):
        return f"{short(min(values))} to {short(max(values))}"
    return ", ".join(map(short, values[:2])) + (", ..." if len(values) > 2 else "")


def table_of(runs: Sequence[Run], packs: Sequence[str], **columns: Sequence[Any]) -> pa.Table:
    n = len(runs)
    given: Mapping[str, Any] = {
        "run_id": [run.run_id for run in runs],
        "pack": [pack * 12 if len(pack) == 1 else pack for pack in packs],
        "status": ["done"] * n,
        "steps_done": [STEPS] * n,
        "prior_loss": pa.nulls(n, pa.float64()),
        "built_width": pa.nulls(n, pa.int64()),
        **columns,
    }
    return pa.table(dict(given))


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("sections", SWEEPS.values(), ids=SWEEPS)
def test_a_grid_as_arrays_is_its_runs(
    tmp_path: Path, sections: dict[str, Any], limit: int | None
) -> None:
    outline = load_outline(write_sweep(tmp_path, **sections), limit=limit)
    runs = outline.sweep.runs
    arrays, one_by_one = of_outline(outline), of_runs(runs)
    assert arrays.ids.to_pylist() == one_by_one.ids.to_pylist() == [r.run_id for r in runs]
    assert len(runs) <= (limit or len(runs))
    places = np.arange(len(runs))[::-2]
    for name in KEYS:
        values, code = arrays.column(name, places)
        assert [values[i] for i in code] == [getattr(runs[i], name) for i in places]
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("width", [1, 3, 100])
@pytest.mark.parametrize("sections", SWEEPS.values(), ids=SWEEPS)
def test_packs_are_described_as_run_by_run(
    tmp_path: Path, sections: dict[str, Any], width: int
) -> None:
    outline = load_outline(write_sweep(tmp_path, **sections))
    runs = outline.sweep.runs
    groups = [runs[i : i + width] for i in range(0, len(runs), width)]
    ids = [f"{7 * i % 31:012x}" for i in range(len(groups))]
    built = [None if i % 2 else 40 + i for i in range(len(groups))]
    table = table_of(
        runs,
        [ids[i // width] for i in range(len(runs))],
        built_width=pa.array([built[i // width] for i in range(len(runs))], pa.int64()),
    )
    arrays = of_outline(outline)
    rows = StoredRuns.of(table, Asked("", STEPS, arrays))
    expected = {
        pack: described(group, runs, width_built)
        for pack, group, width_built in zip(ids, groups, built, strict=True)
    }
    assert dict(zip(rows.packs, pack_texts(rows, arrays), strict=True)) == expected
    assert rows.packs == sorted(ids)


@pytest.fixture
def runs() -> tuple[Run, ...]:
    return tuple(Run(seed=seed, steps=STEPS) for seed in range(6))


def of(runs: Sequence[Run], table: pa.Table, steps: int = STEPS) -> StoredRuns:
    return StoredRuns.of(table, Asked("", steps, of_runs(runs)))


def test_rows_of_other_runs_do_not_count(runs: tuple[Run, ...]) -> None:
    others = [dataclasses.replace(run, width=7) for run in runs]
    table = table_of([*others, *runs[:2]], ["b", "a"] * 4)
    found = of(runs, table)
    assert found.counts(6) == {"done": 2, "diverged": 0, "running": 0, "failed": 0, "pending": 4}
    assert found.ids.to_pylist() == [runs[1].run_id, runs[0].run_id]
    assert (found.packs, found.sizes.tolist()) == (["a" * 12, "b" * 12], [1, 1])
    alone = of(runs, table_of(others, ["a"] * 6))
    assert (alone.counts(6)["pending"], alone.packs, alone.of_packs(STEPS)[0]) == (6, [], [])


def test_a_pack_whose_id_is_none_is_refused(runs: tuple[Run, ...]) -> None:
    with pytest.raises(InputError, match="no pack has this id"):
        of(runs, table_of(runs, ["*"] * 6))


def test_the_last_of_two_rows_of_a_run_counts(runs: tuple[Run, ...]) -> None:
    twice = table_of([runs[0], runs[1], runs[0]], ["a"] * 3, status=["failed", "done", "running"])
    assert of(runs, twice).counts(6)["running"] == 1
    assert sum(of(runs, twice).counts(6).values()) == 6


def test_ended_runs_of_which_more_steps_are_wanted_are_pending(runs: tuple[Run, ...]) -> None:
    status = ["done", "diverged", "done", "failed"]
    table = table_of(runs[:4], ["a"] * 4, status=status, steps_done=[60, 60, 80, 60])
    counts = of(runs, table, steps=80).counts(6)
    assert counts == {"done": 1, "diverged": 0, "running": 0, "failed": 1, "pending": 4}
    sizes, steps, has_failed, is_done, bad = of(runs, table, steps=80).of_packs(80)
    assert (sizes, steps, has_failed, is_done, bad) == ([4], [60], [True], [False], [1])


def test_rows_are_found_by_the_ids_of_their_runs(runs: tuple[Run, ...]) -> None:
    found = of(runs, table_of(runs, list("cabcab")))
    asked = [runs[4].run_id, "nobody", runs[0].run_id]
    row = found.rows_of(asked)
    assert row[1] == -1
    assert [found.ids[i].as_py() for i in row[[0, 2]]] == [asked[0], asked[2]]
    assert found.rows_of([]).tolist() == []


def test_texts_of_every_encoding_are_read(runs: tuple[Run, ...]) -> None:
    table = table_of(runs, ["a"] * 6)
    texts = ("run_id", "pack", "status")
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        other = table
        for name in texts:
            place = table.column_names.index(name)
            encoded = pa.chunked_array([table[name].combine_chunks().cast(pa.string())])
            column = encoded.dictionary_encode() if pa.types.is_dictionary(kind) else encoded
            other = other.set_column(place, name, column.cast(kind))
        assert of(runs, other).counts(6)["done"] == 6


def test_ids_of_a_sweep_are_those_of_its_runs_also_of_others_than_it_was_read_with(
    tmp_path: Path,
) -> None:
    sweep = load_outline(write_sweep(tmp_path)).sweep
    assert sweep.ids is not None
    assert of_sweep(sweep).ids.to_pylist() == [run.run_id for run in sweep.runs]
    fewer = dataclasses.replace(sweep, runs=sweep.runs[1:])
    assert fewer.ids is None
    assert of_sweep(fewer).ids.to_pylist() == [run.run_id for run in sweep.runs[1:]]


def test_arrays_know_where_a_run_is(runs: tuple[Run, ...]) -> None:
    arrays: RunArrays = of_runs(runs)
    asked = pa.chunked_array([[runs[5].run_id, "x"], [runs[0].run_id]])
    assert arrays.places(asked).tolist() == [5, -1, 0]
