"""What is counted has the number of its noun, and no time that passes is called none."""

from pathlib import Path

import pytest

from tests.sweeps import make_sweep, train
from tfc_jax.estimate import summary
from tfc_jax.layout import Folder
from tfc_jax.plan import make_plan
from tfc_jax.started import started_packs
from tfc_jax.wording import about, counted, duration, size


@pytest.mark.parametrize(
    ("n", "words", "said"),
    [
        (0, ["run"], "0 runs"),
        (1, ["cpu worker"], "1 cpu worker"),
        (2, ["pack"], "2 packs"),
        (1, ["pack is", "packs are"], "1 pack is"),
        (3, ["pack is", "packs are"], "3 packs are"),
    ],
)
def test_one_is_singular(n: int, words: list[str], said: str) -> None:
    assert counted(n, *words) == said


@pytest.mark.parametrize(
    ("seconds", "said", "roughly"),
    [
        (0, "0 s", "about 0 s"),
        (0.4, "under 1 s", "under 1 s"),
        (0.999, "under 1 s", "under 1 s"),
        (45, "45 s", "about 45 s"),
        (720, "12 min", "about 12 min"),
        (12_240, "3.4 h", "about 3.4 h"),
        (172_799, "48.0 h", "about 48.0 h"),
        (6_197_040, "71.7 days", "about 71.7 days"),
    ],
)
def test_a_time_is_said_in_one_unit(seconds: float, said: str, roughly: str) -> None:
    assert duration(seconds) == said
    assert about(seconds) == roughly


@pytest.mark.parametrize(
    ("n_bytes", "said"),
    [
        (0, "0 MiB"),
        (1000, "under 0.1 MiB"),
        (1.4 * 2**20, "1.4 MiB"),
        (12.4 * 2**20, "12 MiB"),
        (3.4 * 2**30, "3.4 GiB"),
        (80_121_696.9 * 2**20, "76.4 TiB"),
    ],
)
def test_a_size_is_said_in_a_unit_that_can_be_read(n_bytes: float, said: str) -> None:
    assert size(n_bytes) == said


def test_a_plan_of_one_run_on_one_worker_speaks_of_one(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, grid={"learning_rate": [0.1]})
    said = summary(make_plan(sweep, platform="cpu"), 1)
    assert "small: 1 run of 60 steps; 1 run in 1 pack to train; about " in said
    assert " on 1 cpu worker, " in said
    train(sweep, tmp_path / "out")
    done = make_plan(sweep, platform="cpu", started=list(started_packs(Folder(tmp_path / "out"))))
    assert "0 runs in 0 packs to train; about 0 s on 2 cpu workers, " in summary(done, 2)
