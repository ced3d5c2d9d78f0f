"""Whoever reads what `tfc` prints may leave, and whoever waits for it may interrupt it."""

import fcntl
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.launches import LONG, ended, handles, judge, printed, send, start
from tests.faults.tally import Tally, Tries
from tests.sweeps import ROOT, make_sweep, train
from tfc_jax.config import Sweep
from tfc_jax.results import open_results

# A `tfc` whose terminal is its own, so that the system tells it when that is closed.
LOGIN = "import os, tfc_jax.__main__; os.login_tty(0); tfc_jax.__main__.main()"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cache")]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> Path:
    """Results that a watcher waits for in vain."""
    out = tmp_path_factory.mktemp("half") / "out"
    filtered = make_sweep(out.parent, **LONG)
    train(filtered, out, given={"set": [], "filter": None, "limit": None})
    (next((out / "runs").glob("*.parquet"))).unlink()
    (out / ".runs.parquet").unlink()
    return out


COMMANDS = ("plan", "ls", "status --watch", "report", "replay", "bench", "doctor")


def arguments(name: str, sweep: Sweep, reference: Path, half: Path, tmp_path: Path) -> list[object]:
    run_id = open_results(reference).runs["run_id"].iloc[0]
    given: dict[str, list[object]] = {
        "plan": ["plan", sweep.path],
        "ls": ["ls", reference],
        "status --watch": ["status", half, "--watch"],
        "report": ["report", reference, "--out", tmp_path / "report.html"],
        "replay": ["replay", reference, run_id],
        "bench": ["bench", sweep.path, "--out", tmp_path / "none", "--seconds", 0.5],
        "doctor": ["doctor"],
    }
    return given[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_in_a_command(
    tmp_path: Path,
    sweep: Sweep,
    reference: Path,
    half: Path,
    tries: Tries,
    tally: Tally,
    name: str,
) -> None:
    draws, codes = random.Random(name), []
    for index in range(tries(2, 20)):
        text = tmp_path / f"{index}.txt"
        given = arguments(name, sweep, reference, half, tmp_path)
        process = start(given, text)
        assert process.pid is not None
        time.sleep(draws.uniform(0, 0.3) if index % 2 else draws.uniform(0, 0.02))
        send([signal.SIGINT, signal.SIGTERM, signal.SIGHUP][index % 3], process.pid)
        codes.append(ended(process))
        tally.tried += 1
        tally.wrong += codes[-1] not in (0, 130)
        tally.tracebacks += "Traceback" in text.read_text()
    assert not tally.bad
    assert 130 in codes


def tfc(*given: object, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tfc_jax", *map(str, given)]
    return subprocess.Popen(command, cwd=ROOT, text=True, **options)  # type: ignore[call-overload]


def test_the_first_moments_of_a_real_process(
    tmp_path: Path, sweep: Sweep, tries: Tries, tally: Tally
) -> None:
    """Imports and all; only the interpreter's own start is not ours to guard."""
    draws = random.Random(0)
    for index in range(tries(3, 50)):
        process = start_real(sweep, tmp_path / "out")
        time.sleep(draws.uniform(0, 0.7))
        number = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP][index % 3]
        process.send_signal(number)
        said = process.communicate(timeout=60)[0]
        tally.tried += 1
        tally.wrong += process.returncode != 130 or said.count("Stopp") != 1
        tally.tracebacks += "Traceback" in said
    assert not tally.bad


@contextmanager
def without_nohup() -> Iterator[None]:
    """What starts in it is ended by a hangup, also where the tests themselves are not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def start_real(sweep: Sweep, out: Path) -> "subprocess.Popen[str]":
    with without_nohup():
        process = tfc(
            *("run", sweep.path, "--out", out),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None and not handles(process.pid, signal.SIGTERM):
        time.sleep(0.0005)
    return process


@pytest.mark.parametrize(
    "given", [["ls", "OUT"], ["status", "OUT"], ["show", "OUT", "--columns"], ["schema"], ["init"]]
)
def test_a_reader_that_leaves(reference: Path, tally: Tally, given: Sequence[str]) -> None:
    """As `head` does, before the first line even."""
    reading, writing = os.pipe()
    os.close(reading)
    given = [str(reference) if word == "OUT" else word for word in given]
    with tfc(*given, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        said = process.communicate(timeout=60)[1]
    tally.tried += 1
    tally.wrong += process.returncode != 141 or said != ""
    tally.tracebacks += "Traceback" in said or "Exception" in said
    assert not tally.bad


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output(reference: Path, tally: Tally) -> None:
    with open("/dev/full", "w") as full, tfc(
        "ls", reference, stdout=full, stderr=subprocess.PIPE
    ) as process:  # fmt: skip
        said = process.communicate(timeout=60)[1]
    tally.tried += 1
    tally.wrong += process.returncode != 2 or said != "output: No space left on device.\n"
    assert not tally.bad


def nobody_reads() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    os.dup2(writing, 2)


def all_is_full() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    os.dup2(full, 2)


def all_is_closed() -> None:
    sys.stdout = sys.stderr = None  # as Python does it then
    for number in range(3):
        os.close(number)


@pytest.mark.parametrize("before", [nobody_reads, all_is_full, all_is_closed])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_launch_that_nobody_watches_any_more(
    tmp_path: Path, sweep: Sweep, reference: Path, tally: Tally, before: object, workers: int
) -> None:
    given = ["run", sweep.path, "--out", tmp_path / "out", "--pack-width", 3, "--workers", workers]
    process = start([*given, "--verbose"], tmp_path / "out.txt", before=before)  # type: ignore[arg-type]
    tally.wrong += ended(process) != 0
    judge(tally, tmp_path / "out", reference, text=printed(tmp_path / "out"))
    assert not tally.bad


def test_a_file_is_never_opened_in_the_place_of_a_closed_stream() -> None:
    code = (
        "import os; from tfc_jax import process; [os.close(number) for number in range(3)]\n"
        "process.open_missing_streams(); os._exit(os.open(os.devnull, os.O_RDONLY))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode >= 3


def read_all(terminal: int, into: list[bytes]) -> None:
    while True:
        try:
            into.append(os.read(terminal, 65536))
        except OSError:  # its other end is closed
            return


def resized(terminal: int, process: "subprocess.Popen[str]") -> None:
    draws = random.Random(0)
    while process.poll() is None:
        size = struct.pack("HHHH", draws.choice([0, 1, 24, 60]), draws.choice([0, 1, 9, 200]), 0, 0)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
        send(signal.SIGWINCH, process.pid)
        time.sleep(0.02)


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_a_terminal_that_is_resized_or_dumb(
    tmp_path: Path, reference: Path, sweep: Sweep, tally: Tally, term: str
) -> None:
    main, other = pty.openpty()
    shown: list[bytes] = []
    flags = ("--pack-width", 3, "--workers", 0)
    with tfc(
        *("run", sweep.path, "--out", tmp_path / "out", *flags),
        stdout=other,
        stderr=other,
        env=os.environ | {"TERM": term},
        start_new_session=True,
    ) as process:
        os.close(other)
        reader = threading.Thread(target=read_all, args=(main, shown))
        reader.start()
        resized(main, process)
    reader.join()
    os.close(main)
    text = b"".join(shown).decode()
    tally.wrong += process.returncode != 0 or (term == "dumb" and "\x1b" in text)
    judge(tally, tmp_path / "out", reference, text=text)
    assert not tally.bad


def test_a_terminal_that_is_closed(
    tmp_path: Path, reference: Path, sweep: Sweep, tries: Tries, tally: Tally
) -> None:
    """The system sends SIGHUP to what runs there, and nothing can be written any more."""
    for index in range(tries(1, 20)):
        out = tmp_path / str(index)
        main, other = pty.openpty()
        flags = ("--pack-width", 3, "--workers", 1, "--commit-seconds", 0)
        command = [sys.executable, "-c", LOGIN, "run", sweep.path, "--out", out, *flags]
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdin=other, stdout=other, stderr=other
        )
        os.close(other)
        while process.poll() is None and not list(out.glob("checkpoints/*.npz")):
            if select.select([main], [], [], 0.01)[0]:
                os.read(main, 65536)
        os.close(main)
        tally.wrong += process.wait(60) not in (0, 130)
        tally.wrong += train(sweep, out) != {"done": 6}
        judge(tally, out, reference)
    assert not tally.bad
