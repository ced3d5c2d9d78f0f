"""The plan's memory against what XLA sets aside for the compiled program."""

from dataclasses import replace
from typing import Any

import pytest

from tfc_jax import data
from tfc_jax.keys import Run
from tfc_jax.pack import Pack, ProgramPlan
from tfc_jax.record import Record
from tfc_jax.task import Task
from tfc_jax.worker import prepare

N_LANES, CHUNK = 16, 20
WITHIN = 0.15  # of what is used
DEFAULTS = Record().metrics


@pytest.mark.parametrize(
    ("keys", "metrics"),
    [
        pytest.param({}, (), id="sgd"),
        pytest.param({"momentum": 0.9}, DEFAULTS, id="momentum-metrics", marks=pytest.mark.slow),
        pytest.param({"optimizer": "adam"}, DEFAULTS, id="adam-metrics", marks=pytest.mark.slow),
    ],
)
def test_planned_memory_is_what_a_pack_in_lockstep_uses(
    keys: dict[str, Any], metrics: tuple[str, ...]
) -> None:
    run = Run(depth=6, width=128, steps=CHUNK, **keys)
    runs = tuple(replace(run, seed=seed) for seed in range(N_LANES))
    record = Record(metrics=metrics, probe_every=CHUNK)
    engine, _ = prepare(Task("", "", "", runs, N_LANES, "lockstep", record, CHUNK))
    program = ProgramPlan(run, data.loaded(run.dataset, run.n_train, run.classes, run.difficulty))
    planned = Pack(program, runs, N_LANES, "lockstep").device_bytes(record)
    assert planned == pytest.approx(engine.memory_bytes(), rel=WITHIN)
