"""A task survives the pipe to a worker."""

import pytest

from tests.sweeps import RUNS
from tfc_jax.keys import Run
from tfc_jax.record import PerDecade, Record
from tfc_jax.task import Task

TASK = Task(
    out="results/a b",
    pack="0" * 12,
    program="0" * 8,
    runs=RUNS,
    width=4,
    schedule="mapped",
    record=Record(every=PerDecade(40), metrics=("norms", "units"), probes=()),
    steps=40,
    commit_seconds=0.0,
)
ODD = Run(
    n_train=20,
    label_noise=0.1 + 0.2,
    learning_rate=1e-45 + 2.0**-126,
    init="structured",
    structured_gamma=1 / 3,
    bias=True,
    dataset='npz:a "b"\n.npz',
    seed=2**32 - 1,
    steps=40,
)


@pytest.mark.parametrize("runs", [RUNS, (ODD,)])
def test_a_task_comes_back_as_it_was(runs: tuple[Run, ...]) -> None:
    task = Task(**{**vars(TASK), "runs": runs})
    line = task.to_json()
    assert "\n" not in line
    back = Task.from_json(line)
    assert back == task
    assert [run.run_id for run in back.runs] == [run.run_id for run in runs]


def test_a_plain_record_comes_back_too() -> None:
    task = Task(**{**vars(TASK), "record": Record(every=7)})
    assert Task.from_json(task.to_json()).record == Record(every=7)
