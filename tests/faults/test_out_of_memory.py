"""A device without memory for a pack: fewer lanes at a time, and every row all the same.

Injected where XLA says it: at the call that compiles, at a step, in a probe, or when what was
dispatched is fetched.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from tests.faults.tally import Tally, Tries
from tests.sweeps import CPU, PACK, RUNS, content, make_sweep, read_rows, train
from tfc_jax import worker
from tfc_jax.estimate import program_rows, summary
from tfc_jax.event_log import Entry, entries
from tfc_jax.executors import local
from tfc_jax.folder_tables import create
from tfc_jax.glance import Launch
from tfc_jax.hyper import Hyper
from tfc_jax.launch import plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.out_of_memory import halved
from tfc_jax.plan import StartedPack
from tfc_jax.program import Program
from tfc_jax.progress import Display
from tfc_jax.record import Record
from tfc_jax.replay import Comparison, _train, _was_halved
from tfc_jax.results import open_results
from tfc_jax.task import Task

# Three packs of four runs, one initialisation scale each.
GRID = {"init_scale": [0.75, 1.0, 1.25], "learning_rate": [0.05, 0.1, 0.2, 0.4]}
MIDDLE, WIDTH = 1.0, 4
RECORD = {"metrics": ["norms"], "probes": ["generalization", "similarity"]}
SAID = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes."
# Of losses: two executables round differently, 60 steps apart; float32 has 6e-8 per operation.
TOLERANCE = 1e-4
REAL: dict[str, cached_property] = {
    name: vars(Program)[name] for name in ("init", "chunk", "probe", "intervene")
}


class Lost:
    """What a program that failed after it was dispatched leaves where its results should be."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise jax.errors.JaxRuntimeError(SAID)


@dataclass
class Device:
    """A device that holds `lanes` lanes of the pack in the middle, from its n-th call on.

    Attributes:
      function: of the program, in which it is full.
      late: whether it says so when the results are fetched.
    """

    function: str
    lanes: int
    call: int = 1
    late: bool = False
    calls: Counter[int] = field(default_factory=Counter)  # by width
    full: int = 0

    def call_of(self, name: str, real: Any, *arguments: Any) -> Any:
        hyper = next(a for a in arguments if isinstance(a, Hyper))
        width = hyper.seed.shape[0]
        is_hit = name == self.function and bool((hyper.init_scale == MIDDLE).all())
        self.calls[width] += is_hit
        if not is_hit or width <= self.lanes or self.calls[width] < self.call:
            return real(*arguments)
        self.full += 1
        if not self.late:
            raise jax.errors.JaxRuntimeError(SAID)
        carry, outputs = real(*arguments)
        return carry, outputs._replace(every_step=dict.fromkeys(outputs.every_step, Lost()))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Device], None]:
    """Puts every program on a device; what is compiled stays for other tests."""

    def wrapped(name: str, device: Device) -> property:
        def get(program: Program) -> Any:
            compiled = vars(program)  # where cached_property keeps it
            if name not in compiled:
                compiled[name] = REAL[name].func(program)
            function = compiled[name]
            return Calls(function, lambda *a: device.call_of(name, function, *a))

        return property(get)

    def install(device: Device) -> None:
        for name in REAL:
            monkeypatch.setattr(Program, name, wrapped(name, device))

    return install


@dataclass
class Calls:
    """A function of a program, of which only the calls are intercepted."""

    real: Any
    call: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture(scope="module", params=["mapped", "lockstep"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The undisturbed launch of a schedule."""
    folder = tmp_path_factory.mktemp(f"whole-{request.param}")
    sweep = make_sweep(folder, grid=GRID, record=RECORD, base={"depth": 2})
    train(sweep, folder / "out", width=WIDTH, schedule=request.param)
    return SimpleNamespace(schedule=request.param, sweep=sweep, out=folder / "out")


def launch(whole: Any, out: Path, **options: Any) -> list[dict[str, Any]]:
    """Launches with every chunk committed; returns what was told."""
    events: list[dict[str, Any]] = []
    train(
        whole.sweep,
        out,
        width=WIDTH,
        schedule=whole.schedule,
        commit_seconds=0.0,
        on_event=events.append,
        **options,
    )
    return events


def rows_of(out: Path, table: str, scales: set[float]) -> Any:
    runs = open_results(out).runs
    wanted = set(runs.loc[runs["init_scale"].isin(scales), "run_id"])
    rows = read_rows(out / table).to_pandas()
    return rows[rows["run_id"].isin(wanted)].reset_index(drop=True)


def count(tally: Tally, out: Path, whole: Any) -> None:
    """Adds one launch to the tally: rows, neighbours, tolerance."""
    tally.tried += 1
    for table in ("steps", "layers", "probe", "probe_layers"):
        keys = ["run_id", "step"] + ["layer"] * (table in ("layers", "probe_layers"))
        for scale in GRID["init_scale"]:
            old, new = (rows_of(folder, table, {scale}) for folder in (whole.out, out))
            tally.doubled += bool(new[keys].duplicated().any())
            tally.lost += not old[keys].isin(new[keys]).all().all() or len(new) < len(old)
            if scale != MIDDLE:
                tally.wrong += not old.equals(new)
            elif table == "steps":
                tally.wrong += not np.allclose(old["loss"], new["loss"], rtol=TOLERANCE, atol=1e-6)


@dataclass(frozen=True)
class Fault:
    """A device that is full, and from which step the pack goes on with less."""

    name: str
    device: Callable[[], Device]
    step: int = 0
    both: bool = False  # tried in both schedules, not only with --long-faults


FAULTS = (
    Fault("while init compiles", lambda: Device("init", 2), both=True),
    Fault("in the first probe", lambda: Device("probe", 2)),
    Fault("while the chunk compiles", lambda: Device("chunk", 2)),
    Fault("at a step before the first commit", lambda: Device("chunk", 2, call=2)),
    Fault("at a step after a commit", lambda: Device("chunk", 2, call=3), 20, both=True),
    Fault("in a later probe", lambda: Device("probe", 3, call=4), 20),
    Fault("at the fetch of the first chunk", lambda: Device("chunk", 2, late=True)),
    Fault(
        "at the fetch of the last chunk",
        lambda: Device("chunk", 2, call=3, late=True),
        40,
        both=True,
    ),
    Fault("down to one lane", lambda: Device("chunk", 1, call=3), 20),
)


def test_a_device_without_memory_for_a_pack(
    whole: Any, tmp_path: Path, tries: Tries, tally: Tally, install: Callable[[Device], None]
) -> None:
    faults = [f for f in FAULTS if f.both or whole.schedule == "mapped" or tries(0, 1)]
    for fault in faults:
        device = fault.device()
        install(device)
        out = tmp_path / fault.name
        events = launch(whole, out)
        count(tally, out, whole)
        told = [event for event in events if event["event"] == "halved"]
        widths = [2, 1] if device.lanes == 1 else [2]
        assert [event["width"] for event in told] == widths, fault.name
        assert told[0]["step"] == fault.step, fault.name
        assert device.full >= len(told), fault.name
        runs = open_results(out).runs.groupby("init_scale")["pack_width"].unique()
        assert [list(runs[s]) for s in GRID["init_scale"]] == [[4], widths[-1:], [4]], fault.name
        logged = [entry for entry in entries(Folder(out)) if entry.event == "halved"]
        assert [entry.step for entry in logged] == [event["step"] for event in told]
        assert not any(event["event"] == "failed" for event in events), fault.name
    assert tally.tried == len(faults) > 2
    assert not tally.bad


def test_halved_at_the_start_it_is_a_pack_of_that_width_from_there_on(
    whole: Any, tmp_path: Path, install: Callable[[Device], None]
) -> None:
    """Bit for bit: the slices, their joining, and a later launch that asks for more steps."""
    install(Device("init", 2))
    launch(whole, tmp_path / "halved")
    more = make_sweep(tmp_path, grid=GRID, record=RECORD, base={"depth": 2, "steps": 80})
    planned = plan_sweep(more, Folder(tmp_path / "halved"), Options(), CPU)
    assert [(pack.width, len(pack.runs)) for pack in planned.packs] == [(4, 4), (2, 4), (4, 4)]
    assert "3 packs" in summary(planned, 1)
    assert program_rows(planned, 1, measure=False)
    events: list[dict[str, Any]] = []
    train(more, tmp_path / "halved", on_event=events.append)
    assert "halved" not in {event["event"] for event in events}
    train(more, tmp_path / "narrow", width=2, schedule=whole.schedule)
    for table in ("steps", "layers", "probe", "probe_layers"):
        narrow, halved = (rows_of(tmp_path / n, table, {MIDDLE}) for n in ("narrow", "halved"))
        assert narrow.equals(halved), table
        assert len(halved) > 4
    for run_id in narrow["run_id"].unique():
        a, b = (open_results(tmp_path / n).params(run_id) for n in ("narrow", "halved"))
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_pack_of_which_not_one_run_fits_fails_with_a_remedy_and_a_retry_begins_wide(
    whole: Any, tmp_path: Path, install: Callable[[Device], None]
) -> None:
    device = Device("chunk", 0)
    install(device)
    events = launch(whole, tmp_path / "out")
    assert [event["width"] for event in events if event["event"] == "halved"] == [2, 1]
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert failed["error"].startswith("the device has no memory for one run of this")
    assert "tfc retry" in failed["error"]
    assert "\n" not in failed["error"]
    runs = open_results(tmp_path / "out").runs
    assert runs.groupby("init_scale")["status"].unique().map(list).to_dict() == {
        0.75: ["done"],
        1.0: ["failed"],
        1.25: ["done"],
    }
    device.lanes = WIDTH  # somebody else's process is gone
    assert "halved" not in {event["event"] for event in launch(whole, tmp_path / "out", retry=True)}
    assert content(tmp_path / "out") == content(whole.out)


def test_rows_keep_the_width_of_what_is_committed(
    whole: Any, tmp_path: Path, install: Callable[[Device], None]
) -> None:
    """Every width trains one chunk, but for the last, which fails in the middle of it."""
    install(Device("chunk", 0, call=3))
    told = [e for e in launch(whole, tmp_path / "out") if e["event"] == "halved"]
    assert [(event["width"], event["step"]) for event in told] == [(2, 20), (1, 40)]
    runs = open_results(tmp_path / "out").runs
    failed = runs[runs["status"] == "failed"]
    assert len(failed) == 4
    assert failed["steps_done"].unique().tolist() == [40]
    assert failed["pack_width"].unique().tolist() == [2]


def test_nothing_of_the_wide_program_stays_on_the_device(
    whole: Any,
    tmp_path: Path,
    install: Callable[[Device], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare, held = worker.prepare, list[tuple[int, int]]()
    worker.device_data.cache_clear()
    others = jax.live_arrays()  # of other tests

    def watched(task: Task) -> Any:
        mine = [a for a in jax.live_arrays() if not any(a is other for other in others)]
        held.append((task.width, sum(a.nbytes for a in mine)))
        return prepare(task)

    monkeypatch.setattr(worker, "prepare", watched)
    install(Device("chunk", 2, call=3))
    launch(whole, tmp_path / "out")
    assert [width for width, _ in held] == [4, 4, 2, 4]
    assert held[0][1] < 100
    assert held[2][1] < 100  # a few counters; the states of four lanes are 50 kB
    assert held[3][1] > 10_000  # the data set, which the next pack needs


def test_another_error_of_the_device_halves_nothing() -> None:
    task = Task("", "p", "", RUNS, 8, "mapped", Record(), 10)
    for error in (jax.errors.JaxRuntimeError("INTERNAL: no"), MemoryError(SAID)):
        with pytest.raises(type(error)):
            halved(task, error)
    for said in (SAID, "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"):
        assert halved(task, jax.errors.JaxRuntimeError(said)).width == 4
    widths = [
        halved(replace(task, width=w), jax.errors.JaxRuntimeError(SAID)).width for w in (7, 2)
    ]
    assert widths == [4, 1]


def test_what_ran_out_of_memory_ahead_is_compiled_alone_at_full_width(
    whole: Any, tmp_path: Path
) -> None:
    """The other pack that held the memory is done by then."""

    def ahead(task: Task) -> None:
        raise jax.errors.JaxRuntimeError(SAID)

    def broken(task: Task) -> None:
        raise jax.errors.JaxRuntimeError("INTERNAL: no")

    create(Folder(tmp_path), whole.sweep.record)
    (first, *_) = plan_sweep(whole.sweep, Folder(tmp_path), Options(pack_width=WIDTH), CPU).packs
    told: list[dict[str, Any]] = []
    task = Task.of(first, whole.sweep, str(tmp_path))
    worker.serve(task, told.append, lambda: False, broken)
    assert [event["event"] for event in told] == ["failed"]
    worker.serve(task, told.append, lambda: False, ahead)
    assert told[-1]["event"] == "finished"
    assert "halved" not in {event["event"] for event in told}


def test_the_user_reads_one_line_and_the_rate_counts_from_the_last_commit(
    whole: Any, tmp_path: Path, install: Callable[[Device], None]
) -> None:
    install(Device("chunk", 2, call=3))
    text = StringIO()
    with Display(Console(file=text, width=200), quiet=False) as display:
        train(
            whole.sweep,
            tmp_path / "out",
            width=WIDTH,
            schedule=whole.schedule,
            commit_seconds=0.0,
            on_event=display,
        )
    lines = [line for line in text.getvalue().splitlines() if "memory" in line]
    assert len(lines) == 1
    assert lines[0].startswith("pack ")
    assert "out of device memory; goes on from step 20 with a pack width of 2" in lines[0]
    assert text.getvalue().count("done (") == 3
    launch = Launch()
    for time, (event, step) in enumerate((("started", 0), ("step", 40), ("halved", 20))):
        launch.take(Entry(event=event, step=step, pack="a", time=float(time)))
    assert launch.newest == {"a": 20}


def test_a_replay_of_a_halved_pack_says_why_bits_may_differ(tmp_path: Path) -> None:
    pack = StartedPack(RUNS, 4, "mapped", 40, failed=False, settled=True, dataset_sha256=None)
    event: dict[str, Any] = {"event": "halved", "pack": PACK, "width": 2, "step": 20}
    for told, expected in (
        ([], False),
        ([event | {"step": 0}], False),  # all of it was trained at the width that the table says
        ([event | {"pack": "another"}], False),
        ([{"event": "started", "pack": PACK, "step": 20}, event, {"event": "ended"}], True),
    ):
        lines = [json.dumps({"time": 0.0, **one}) for one in told]
        Folder(tmp_path).log.write_text("\n".join([*lines, "cut sho"]))
        assert _was_halved(Folder(tmp_path), pack) == expected
    same = Comparison(10, 0, 0.0, ())
    other = replace(same, differing=1, where=("steps.loss: 1 values",))
    said = "Bits may differ here: a device ran out of memory"
    assert said in replace(other, halved=True).as_text("r")
    assert said not in other.as_text("r")
    assert said not in replace(same, halved=True).as_text("r")


def test_the_fault_of_a_replay_itself_counts_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def execute(tasks: Any, settings: Any, watch: Callable[..., None], interrupt: Any) -> None:
        watch({"event": "halved", "pack": "p", "width": 2, "step": 0})

    task = Task("", "p", "", RUNS, 8, "mapped", Record(), 10)
    monkeypatch.setattr(local, "execute", execute)
    assert _train(task, CPU)
    monkeypatch.setattr(local, "execute", lambda *_: None)
    assert not _train(task, CPU)
