"""What tfc bench measures, what it concludes from the numbers, and what it stores."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.sweeps import CPU, make_sweep, write_sweep
from tfc_jax import bench, candidates, rates, tuning, worker
from tfc_jax.candidates import Candidate
from tfc_jax.choices import Choice
from tfc_jax.cli import app
from tfc_jax.config import Sweep
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.plan import make_plan
from tfc_jax.record import PerDecade, Record
from tfc_jax.started import started_packs
from tfc_jax.task import Task
from tfc_jax.tuning import Measured

DEPTHS = {"depth": [2, 3, 4, 5, 6]}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Five programs of three runs."""
    return make_sweep(tmp_path, grid=DEPTHS, seeds=3)


def now(sweep: Sweep, **options: Any) -> dict[str, Candidate]:
    """What is in force, by program, the smallest first."""
    plan = make_plan(sweep, platform="cpu", **options)
    return {
        name: candidates.in_force(packs, sweep.record, CPU, None)
        for name, packs in plan.programs.items()
    }


def measured(candidate: Candidate, *step_s: float) -> Measured:
    return Measured(candidate, tuple(step_s))


def test_a_few_programs_are_all_measured_of_many_the_ends_and_the_middle(
    sweep: Sweep, tmp_path: Path
) -> None:
    plan = make_plan(sweep, platform="cpu")
    titles = [plan.programs[name][0].program.run.depth for name in candidates.sample(plan)]
    assert titles == [2, 4, 6]
    few = make_plan(make_sweep(tmp_path, grid={"depth": [4, 2]}), platform="cpu")
    assert set(candidates.sample(few)) == set(few.programs)


def test_a_pack_takes_as_long_as_its_slices_take_turns_on_the_chips(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, grid={}, seeds=21)
    (packs,) = make_plan(sweep, platform="tpu", width=2).programs.values()

    def of(schedule: Any, n_chips: int) -> list[float]:
        found = Devices("tpu", (0,), n_chips)
        one = candidates.in_force(packs, sweep.record, found, None)
        one = replace(one, schedule=schedule)
        assert len(one.pack.runs) == 2  # a slice is measured
        assert (one.pack_sizes, one.widest) == ([16, 5], 4)
        return one.pack_step_seconds(1.0)

    assert of("lockstep", 8) == [1, 1]
    assert of("lockstep", 4) == [2, 1]
    assert of("lockstep", 1) == [8, 3]
    assert of("mapped", 1) == [8, 2.5]  # padding costs nothing
    assert of("mapped", 2) == [4, 2]
    assert of("mapped", 8) == [1, 1]


def test_mapped_is_tried_once_and_lockstep_no_wider_than_the_runs_need(sweep: Sweep) -> None:
    first = next(iter(now(sweep).values()))
    found = candidates.rivals(first, sweep.record, None)
    assert first.choice == Choice("mapped", 16)
    assert [one.choice for one in found] == [Choice("lockstep", 4), Choice("lockstep", 2)]
    lockstep = next(iter(now(sweep, schedule="lockstep", width=8).values()))
    found = candidates.rivals(lockstep, sweep.record, None)
    assert [one.choice for one in found] == [
        Choice("lockstep", 4), Choice("lockstep", 2), Choice("mapped", 16)
    ]  # fmt: skip
    assert not any(one.in_force for one in found)
    assert candidates.rivals(lockstep, sweep.record, 1.0) == []


def test_padding_costs_time_in_lockstep_and_none_where_lanes_are_mapped(sweep: Sweep) -> None:
    mapped = replace(next(iter(now(sweep).values())), width=2)
    lockstep = replace(mapped, schedule="lockstep")
    assert mapped.pack_sizes == [2, 1]
    assert mapped.pack_step_seconds(2.0) == [2.0, 1.0]
    assert lockstep.pack_step_seconds(2.0) == [2.0, 2.0]
    assert measured(mapped, 2.0).rate == 1.0
    assert measured(lockstep, 2.0).rate == 0.75
    assert measured(lockstep, 2.0).pack_seconds(10) == [20.0, 20.0]


def test_the_spread_is_that_of_the_repeats(sweep: Sweep) -> None:
    one = replace(next(iter(now(sweep).values())), width=4)
    assert measured(one, *[3 / rate for rate in (1, 2, 3, 4, 5)]).quartiles == (2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    ("rates_of_rival", "is_taken"),
    [
        ((2.0, 2.1, 2.2), True),
        ((1.04, 1.04, 1.04), False),  # by less than 5 %
        ((0.7, 1.2, 1.7), False),  # by less than the spread
        ((0.5, 0.5, 0.5), False),
    ],
)
def test_what_is_in_force_is_kept_unless_another_is_clearly_faster(
    sweep: Sweep, rates_of_rival: tuple[float, ...], is_taken: bool
) -> None:
    one = replace(next(iter(now(sweep).values())), width=4)
    kept = measured(one, 3 / 0.99, 3.0, 3 / 1.01)
    lanes = replace(one, schedule="lockstep", in_force=False)
    rival = measured(lanes, *[3 / rate for rate in rates_of_rival])
    assert tuning.recommended([kept, rival]) is (rival if is_taken else kept)


def test_what_cannot_be_trained_is_never_taken_and_gives_way(sweep: Sweep) -> None:
    one = next(iter(now(sweep).values()))
    works, fails = measured(one, 1.0), Measured(replace(one, in_force=False), error="no room")
    assert tuning.recommended([works, fails]) is works
    fails, works = Measured(one, error="no room"), measured(replace(one, in_force=False), 1.0)
    assert tuning.recommended([fails, works]) is works
    assert math.isinf(fails.pack_seconds(10)[0])
    assert tuning.chosen({"a": [Measured(one, error="no room")]}, {}) == {}


def test_a_program_that_was_not_measured_takes_the_change_of_the_likest(
    sweep: Sweep, tmp_path: Path
) -> None:
    small, _, middle, _, large = now(sweep).items()
    other = make_sweep(tmp_path, base={"architecture": "residual"}, grid={}, seeds=3)
    ((residual, its),) = now(other).items()
    lockstep = replace(large[1], schedule="lockstep", width=8, in_force=False)
    found = tuning.chosen(
        {
            small[0]: [measured(small[1], 1.0)],
            large[0]: [measured(large[1], 1.0), measured(lockstep, 0.1)],
        },
        {middle[0]: middle[1], residual: its, "almost as large": replace(large[1])},
    )
    assert found == {
        small[0]: small[1].choice,
        large[0]: lockstep.choice,
        middle[0]: Choice("lockstep", 4),  # no wider than its runs need
        "almost as large": Choice("lockstep", 4),
    }


def test_the_likest_is_of_the_same_architecture_before_it_is_of_the_same_size(
    sweep: Sweep, tmp_path: Path
) -> None:
    mlps = [measured(one, 1.0) for one in now(sweep).values()]
    other = make_sweep(tmp_path, base={"architecture": "residual"}, grid={"depth": [4, 6]})
    small, large = now(other).values()
    assert tuning.nearest(small, [*mlps, measured(large, 1.0)]).candidate is large
    ends = mlps[0], mlps[4]
    assert tuning.nearest(mlps[1].candidate, ends) is ends[0]
    assert tuning.nearest(mlps[3].candidate, ends) is ends[1]


def test_workers_take_the_longest_pack_that_waits() -> None:
    assert tuning.makespan([1, 3, 2, 2], 2) == 4
    assert tuning.makespan([5, 1, 1], 2) == 5
    assert tuning.makespan([1, 2], 4) == 2


def test_the_time_of_what_was_not_measured_follows_from_its_arithmetic(sweep: Sweep) -> None:
    first, *others = now(sweep).values()
    flops = [one.program.step_flops / first.program.step_flops for one in (first, *others)]
    taken = measured(first, 3.0)
    total = tuning.sweep_seconds([taken], others, steps=10, n_workers=1)
    assert total == pytest.approx(30 * sum(flops))


@pytest.mark.parametrize(
    ("record", "wanted", "steps", "n_measured"),
    [
        (Record(every=5, probe_every=100), 1, (700, 705), 1),
        (Record(every=5, probe_every=100), 23, (700, 720), 4),
        (Record(every=5, probe_every=100), 10**6, (700, 800), 20),
        (Record(every=1, probe_every=300), 10**6, (600, 850), 250),
        (Record(every=5, metrics=(), probes=()), 7, (750, 757), 0),
        (Record(every=PerDecade(10), probes=()), 10**6, (750, 1000), 1),
    ],
)
def test_measured_steps_have_their_share_of_the_piece_that_is_repeated(
    record: Record, wanted: int, steps: tuple[int, int], n_measured: int
) -> None:
    piece = rates.piece(record, 1500, wanted)
    assert (piece.start, piece.stop) == steps
    assert len(piece.measured) == n_measured


def test_every_candidate_is_measured_and_one_that_fails_alone_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(tmp_path)
    ((_, one),) = now(sweep, width=3).items()
    ways = [one, replace(one, schedule="lockstep", width=2), replace(one, schedule="lockstep")]
    tasks = [Task.of(way.pack, sweep, out="") for way in ways]
    prepare = worker.prepare

    def no_room(task: Task) -> Any:
        if task is tasks[1]:
            raise MemoryError("no\nroom")
        return prepare(task)

    monkeypatch.setattr(worker, "prepare", no_room)
    events: list[dict[str, Any]] = []
    rates.measure(tasks, 0.0, events.append)  # no more than the least
    assert [event["event"] for event in events] == ["compiled", "failed", "compiled", "measured"]
    assert events[1]["error"] == "MemoryError: no"
    assert {i: len(values) for i, values in events[-1]["step_s"].items()} == {0: 5, 2: 5}
    assert all(value > 0 for values in events[-1]["step_s"].values() for value in values)
    assert list(tmp_path.iterdir()) == [tmp_path / "small.yaml"]


def answers(step_s: Mapping[str, float]) -> Any:
    """Stands for measuring processes: seconds per step, by schedule."""

    def answer(tasks: list[Task], *_: Any) -> Iterator[dict[str, Any]]:
        for i in range(len(tasks)):
            yield {"event": "compiled", "candidate": i, "bytes": 2**20, "seconds": 1.0}
        found = {str(i): [step_s[task.schedule]] * 3 for i, task in enumerate(tasks)}
        yield {"event": "measured", "step_s": found}

    return answer


def tfc(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def choices_shown(told: str) -> list[str]:
    """The last column of the table, where it says anything."""
    return [
        line.split()[-1]
        for line in map(str.rstrip, told.splitlines())
        if line.endswith(("now", "take", "keep"))
    ]


def test_without_schedules_what_is_in_force_is_measured_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "_answers", answers({"mapped": 0.001}))
    path = write_sweep(tmp_path, grid=DEPTHS, seeds=3)
    answer = tfc("bench", path, "--workers", "2")
    assert answer.exit_code == 0, answer.output
    assert "measuring 3 candidates of smallest, middle and largest of 5 programs" in answer.stderr
    assert "about 12 s; before that each is compiled, which takes longer" in answer.stderr
    assert len(answer.stdout.splitlines()) == 1 + 3 + 2
    assert "3,000" in answer.stdout
    assert "small: training 15 runs of 60 steps takes under 1 s on 2 cpu workers" in answer.stdout
    assert "2 programs were not measured" in answer.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.yaml"]


def test_what_is_recommended_is_stored_and_a_run_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, path = tmp_path / "out", write_sweep(tmp_path)
    monkeypatch.setattr(bench, "_answers", answers({"mapped": 0.001, "lockstep": 0.0002}))
    answer = tfc("bench", path, "--schedules", "--store", "--out", out, "--seconds", "1")
    assert answer.exit_code == 0, answer.output
    assert choices_shown(answer.stdout) == ["now", "take"]
    assert "Take lockstep, width 8 for digits mlp 3x16: 7.50 times as fast." in answer.stdout
    assert f"{out}/schedules.json: stored for 1 program\n" in answer.stdout
    assert tfc("run", path, "--out", out, "--workers", "0", "--quiet").exit_code == 0
    assert [(p.schedule, p.width) for p in started_packs(Folder(out))] == [("lockstep", 8)]
    again = tfc("bench", path, "--schedules", "--out", out)
    assert "Keep what is in force" in again.stdout
    assert choices_shown(again.stdout) == ["keep"]
    monkeypatch.setattr(bench, "_answers", answers({"mapped": 0.0001, "lockstep": 0.1}))
    back = tfc("bench", path, "--schedules", "--out", out, "--json")
    best = [row for row in json.loads(back.stdout) if row["recommended"]]
    assert [(row["schedule"], row["in_force"]) for row in best] == [("mapped", False)]
    told = tfc("bench", path, "--schedules", "--out", out).stdout
    assert "Packs that have started keep their schedule and width: 6 of 6 runs." in told


def test_nothing_is_stored_without_a_comparison(tmp_path: Path) -> None:
    answer = tfc("bench", write_sweep(tmp_path), "--store")
    assert answer.exit_code == 2
    assert "--schedules" in answer.stderr


def test_a_measuring_process_that_dies_is_told_with_the_last_it_said() -> None:
    class Nonsense:
        def to_json(self) -> str:
            return "nonsense"

    with pytest.raises(InputError, match=r"ended with code 1: .*JSONDecodeError.*--max-memory"):
        list(bench._answers([Nonsense()], 1.0, {}))  # type: ignore[list-item]


@pytest.mark.slow
def test_a_measuring_process_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    found, folder = make_sweep(tmp_path), Folder(tmp_path / "out")
    prepared = bench.prepare(found, folder, Options(), CPU, compare=True)
    said: list[str] = []
    results = bench.measure(prepared, Options(), CPU, 0.1, said.append)
    (ones,) = results.values()
    assert len(ones) == len(said) == 4
    assert all(one.rate > 0 and one.pack_bytes > 0 for one in ones)
    assert not folder.root.exists()
