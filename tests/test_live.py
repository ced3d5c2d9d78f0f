"""The live view: what it draws, from real results in every state, and how it ends."""

import io
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.sweeps import ROOT, make_sweep, train
from tfc_jax.errors import InputError
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.live import WATCH_SECONDS, View, resampled, sparkline, watch
from tfc_jax.progress import PLAIN_SECONDS
from tfc_jax.status import PackState, Reader, Status, read_status
from tfc_jax.trends import SIMILARITY, Curve

RECORDED = {"metrics": ["similarity"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 runs in 2 packs, all done."""
    folder = tmp_path_factory.mktemp("finished")
    train(make_sweep(folder, record=RECORDED), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, stopped after 20 of 60 steps of the first pack."""
    folder = tmp_path_factory.mktemp("half")
    interrupt = Interrupt()

    def stop(event: dict[str, Any]) -> None:
        interrupt.level = int(event["event"] != "planned")

    sweep = make_sweep(folder, record=RECORDED)
    train(sweep, folder / "out", on_event=stop, interrupt=interrupt)
    return folder / "out"


def drawn(state: Status, width: int, *, height: int = 40, encoding: str = "utf-8") -> list[str]:
    """The lines of a view on a terminal of this size."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=file, width=width, height=height, legacy_windows=False)
    console.print(View(state))
    file.seek(0)
    return file.read().splitlines()


def test_a_sparkline_goes_through_all_levels() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([70, 0, 35]) == "█▁▅"


def test_a_sparkline_of_nothing_is_blank_and_of_equal_values_level() -> None:
    assert sparkline([]) == ""
    assert sparkline([float("nan"), float("inf")]) == "  "
    assert sparkline([2.0, float("nan"), 2.0]) == "▄ ▄"


def test_a_curve_is_spread_over_the_steps_of_a_run() -> None:
    curve = Curve("loss", (0, 25, 40), (1.0, 2.0, 4.0), 1)
    cells = resampled(curve, 100, 4)  # 25 steps each; steps 50 to 99 are not committed yet
    assert cells[:2] == [1.0, 3.0]
    assert all(map(math.isnan, cells[2:]))
    wide = resampled(curve, 100, 10)
    assert wide[:5] == [1.0, 1.0, 2.0, 2.0, 4.0]  # gaps hold the value before them


@pytest.mark.parametrize("width", [80, 120])
def test_a_finished_sweep_shows_its_packs_and_both_curves(finished: Path, width: int) -> None:
    state = read_status(Folder(finished))
    lines = drawn(state, width)
    text = "\n".join(lines)
    assert {len(line) for line in lines} == {width}
    assert "6 done" in text
    assert "100.0 % committed" in text
    for pack in state.packs:
        row = next(line for line in lines if pack.id in line)
        assert "digits mlp" in row
        assert "60/60" in row
        assert "done" in row
    loss = next(line for line in lines if "loss  " in line)
    assert f"{state.curves[0].values[0]:.4g}" in loss
    assert "█" in loss
    assert "▁" in loss
    assert any("similarity  " in line for line in lines)
    assert "medians of 6 runs" in text


def test_an_unfinished_sweep_shows_what_was_committed_and_what_is_left(half: Path) -> None:
    state = read_status(Folder(half))
    text = "\n".join(drawn(state, 120))
    assert "3 interrupted (tfc run goes on)" in text
    assert "20/60" in text
    assert "3 pending runs" in text
    assert max(state.curves[0].steps) < 20
    assert f"on the plateau: {sum(state.plateaued.values())} of 3 runs" in text


def test_a_pack_at_work_says_how_far_it_is_and_a_failed_one_why(half: Path) -> None:
    state = read_status(Folder(half))
    at_work = PackState("a" * 12, "digits mlp 3x16", 3, 35, "training", 1)
    failed = PackState("b" * 12, "digits mlp 3x16", 3, 20, "failed", 0)
    busy = replace(
        state,
        training=True,
        rate=5400.0,
        eta_s=45.0,
        packs=(at_work, failed),
        errors=("pack bbb: MemoryError: too wide",),
    )
    text = "\n".join(drawn(busy, 120))
    assert "training, 1 diverged" in text
    assert "35/60" in text
    assert "about 45 s left at 5,400 run-steps/s" in text
    assert "MemoryError: too wide" in text


def test_packs_beyond_the_height_of_the_terminal_are_counted(half: Path) -> None:
    many = tuple(PackState(f"{i:012}", "digits", 3, 20, "done", 0) for i in range(50))
    lines = drawn(replace(read_status(Folder(half)), packs=many), 80, height=30)
    assert len(lines) <= 30
    rows = sum("20/60" in line for line in lines)
    assert f"{50 - rows} more packs" in "\n".join(lines)


def test_a_terminal_without_blocks_gets_plain_characters(finished: Path) -> None:
    lines = drawn(read_status(Folder(finished)), 100, encoding="ascii")
    loss = next(line for line in lines if "loss  " in line)
    assert "#" in loss
    assert loss.isascii()


def fake_terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, width=100, height=40), file


def test_watching_ends_when_all_runs_are_settled_and_leaves_the_last_state(finished: Path) -> None:
    console, file = fake_terminal()
    watch(Folder(finished), console, sleep=lambda _: pytest.fail("nothing to wait for"))
    screen, _, after = file.getvalue().rpartition("\x1b[?1049l")  # leaves the alternate screen
    assert "\x1b[?1049h" in screen
    assert "6 done" in after
    assert "\x1b[?25h" in file.getvalue()  # the cursor is back


def test_ctrl_c_puts_the_terminal_back(half: Path) -> None:
    console, file = fake_terminal()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(Folder(half), console, sleep=interrupt)
    assert "interrupted" in file.getvalue().rpartition("\x1b[?1049l")[2]


def test_sigterm_ends_as_ctrl_c_does(half: Path) -> None:
    console, file = fake_terminal()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        watch(Folder(half), console, sleep=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert "\x1b[?1049l" in file.getvalue()
    assert signal.getsignal(signal.SIGTERM) == before


def test_files_that_vanish_while_watching_leave_the_last_state_with_a_note(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console, file = fake_terminal()
    reads = iter([read_status(Folder(half))])
    waits: list[float] = []

    def read(_: Reader) -> Status:
        for state in reads:
            return state
        raise InputError("there are no results here")

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Reader, "read", read)
    with pytest.raises(KeyboardInterrupt):
        watch(Folder(half), console, sleep=sleep)
    assert "not read again: there are no results here" in file.getvalue()
    assert waits == [WATCH_SECONDS] * 2


def test_without_a_terminal_lines_come_until_all_is_settled(half: Path, finished: Path) -> None:
    file = io.StringIO()
    waits: list[float] = []
    states = [read_status(Folder(half)), read_status(Folder(finished))]
    with pytest.MonkeyPatch.context() as patch:
        reads = iter(states)
        patch.setattr(Reader, "read", lambda _: next(reads))
        watch(Folder(half), Console(file=file, width=60), sleep=waits.append)
    assert file.getvalue() == f"{states[0].as_text()}\n{states[1].as_text()}\n"
    assert waits == [PLAIN_SECONDS]


def test_ctrl_c_on_the_command_ends_with_130_and_no_traceback(half: Path) -> None:
    command = [sys.executable, "-m", "tfc_jax.cli", "status", str(half), "--watch"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "3 interrupted" in first
    assert process.returncode == 130
    assert "Traceback" not in said


def test_no_results_are_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results here"):
        watch(Folder(tmp_path), Console(file=io.StringIO()))


@pytest.mark.parametrize("torn", ["manifest.json", "runs"])
def test_results_that_are_not_whole_at_the_start_are_an_input_error(
    half: Path, tmp_path: Path, torn: str
) -> None:
    shutil.copytree(half, tmp_path / "out")
    file = tmp_path / "out" / torn
    file = next(file.glob("*.parquet")) if file.is_dir() else file
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(InputError, match=r"cannot be read now \(.*try again"):
        watch(Folder(tmp_path / "out"), Console(file=io.StringIO()))


def test_similarity_is_shown_only_where_it_is_recorded(tmp_path: Path) -> None:
    train(make_sweep(tmp_path), tmp_path / "out")
    state = read_status(Folder(tmp_path / "out"))
    assert [curve.column for curve in state.curves] == ["loss"]
    assert SIMILARITY not in "\n".join(drawn(state, 120))
