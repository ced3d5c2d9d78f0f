"""What bench.scaling measures is a launch; what it says of efficiency is arithmetic."""

import pytest

from bench import scaling
from bench.scaling import STEPS, Point, line, measured, single


def point(executor: str, workers: int, rate: float, steps: int = STEPS["training"]) -> Point:
    return Point(executor, workers, steps, 10, rate)


def test_efficiency_is_against_a_single_worker_per_core() -> None:
    alone = point("local", 1, 2.0)
    overhead = point("ray", 4, 8.0, STEPS["overhead"])
    assert line(point("ray", 4, 3.0), overhead, alone, cores=2).split() == [
        *("ray", "4", "3.000", "75%", "0.500")
    ]
    assert line(point("local", 1, 2.0), overhead, alone, cores=2).split()[3] == "100%"


def test_the_single_worker_is_that_with_the_fewest_whatever_came_first() -> None:
    first = point("ray", 2, 1.0)
    assert single([first]) is first
    alone = point("local", 1, 0.6)
    assert single([first, point("local", 1, 9.0, STEPS["overhead"]), alone]) is alone


@pytest.mark.slow
def test_packs_of_a_launch_are_counted_once_all_workers_are_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "RUNS_PER_PACK", 2)
    monkeypatch.setattr(scaling, "RECORD", {"metrics": [], "probes": []})  # compiles faster
    found = measured("local", 2, 10, 6)
    assert (found.executor, found.workers, found.steps, found.packs) == ("local", 2, 10, 4)
    assert found.packs_per_s > 0
