"""The tfc command: what it prints, how it ends, what it leaves alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.sweeps import ROOT, content, make_sweep, train, write_sweep
from tfc_jax import commands, config
from tfc_jax.cli import app
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.keys import KEYS
from tfc_jax.layout import Folder
from tfc_jax.results import open_results
from tfc_jax.started import started_packs

QUICK = ("--workers", "0", "--pack-width", "3", "--quiet")
LONG: dict[str, Any] = {"base": {"steps": 20_000}, "record": {"probe_every": 250, "probes": []}}


def tfc(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def assert_refused(answer: Result, *parts: str) -> None:
    assert answer.exit_code == 2, answer.output
    assert "Traceback" not in answer.output
    for part in parts:
        assert part in answer.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small sweep."""
    folder = tmp_path_factory.mktemp("finished")
    train(make_sweep(folder), folder / "out")
    return folder / "out"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_trains_skips_what_is_done_and_takes_the_flags_of_the_design(here: Path) -> None:
    path = write_sweep(here)
    chosen = ("--filter", "learning_rate < 0.5", "--limit", "3", "--set", "steps=20", *QUICK)
    answer = tfc("run", path, *chosen)
    assert answer.exit_code == 0
    assert answer.stdout == "results/small: 3 done\n"
    runs = open_results(here / "results" / "small").runs
    assert len(runs) == 3
    assert set(runs["steps_done"]) == {20}
    answer = tfc("run", path, "--out", "results/small", *QUICK)
    assert answer.stdout == "results/small: 6 done\n"
    assert set(open_results("results/small").runs["steps_done"]) == {60}
    answer = tfc("run", path, "--fresh", "--set", "record.every=5", *QUICK)
    assert answer.exit_code == 0


@pytest.mark.parametrize("command", [("plan",), ("run", "-n"), ("run", "--dry-run")])
def test_a_plan_says_what_would_run_and_writes_nothing(here: Path, command: tuple[str]) -> None:
    answer = tfc(*command, write_sweep(here))
    assert answer.exit_code == 0
    assert "6 runs of 60 steps" in answer.stdout
    assert "digits mlp 3x16" in answer.stdout
    assert sorted(path.name for path in here.iterdir()) == ["small.yaml"]


@pytest.mark.parametrize("command", [("plan",), ("run", "-n")])
def test_a_plan_reads_its_sweep_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str]
) -> None:
    read: list[Path] = []

    def counting(path: Path, **selection: Any) -> Sweep:
        read.append(path)
        return load_sweep(path, **selection)

    monkeypatch.setattr(config, "load_sweep", counting)
    assert tfc(*command, write_sweep(here)).exit_code == 0
    assert len(read) == 1


@pytest.mark.parametrize("command", [("run",), ("run", "-n"), ("bench",)])
def test_what_planning_finds_wrong_with_several_sweeps_is_said_of_each_at_once(
    here: Path, command: tuple[str]
) -> None:
    good = write_sweep(here)
    depth = write_sweep(here, "depth", {"architecture": "vgg11", "depth": 4}, {})
    batch = write_sweep(here, "batch", {"n_train": None, "batch_size": 2000}, {})
    answer = tfc(*command, good, depth, batch)
    assert_refused(answer, f"{depth}:4: depth: 4 came", f"{batch}:6: batch_size: 2000 came")
    assert answer.stdout == ""
    assert not (here / "results").exists()


def test_a_plan_as_json_is_one_row_per_program(here: Path) -> None:
    path = write_sweep(here, grid={"depth": [2, 3]}, seeds=2)
    rows = json.loads(tfc("plan", path, "--json").stdout)
    assert [row["runs"] for row in rows] == ["2", "2"]
    assert [row["what"] for row in rows] == ["digits mlp 2x16", "digits mlp 3x16"]


def test_the_version_is_printed_on_request() -> None:
    answer = tfc("--version")
    assert (answer.exit_code, answer.stdout) == (0, f"tfc_jax {metadata.version('tfc_jax')}\n")
    assert "--version" in tfc("--help").stdout


def test_the_printed_sweep_is_valid(here: Path) -> None:
    (here / "mine.yaml").write_text(tfc("init").stdout)
    answer = tfc("validate", "mine.yaml")
    assert answer.exit_code == 0
    assert f"{len(load_sweep('mine.yaml').runs)} runs" in answer.stdout


def test_the_schema_is_json_and_knows_every_key() -> None:
    text = tfc("schema").stdout
    assert json.loads(text)["type"] == "object"
    assert all(f'"{name}"' in text for name in KEYS)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "absent.yaml"], ["absent.yaml"]),
        (["run", "bad.yaml"], ["bad.yaml:2: ", "unknown key 'widht'", "'width'?", "bad.yaml:3: "]),
        (["run", "bad.yaml", "worse.yaml"], ["bad.yaml:2", "worse.yaml:1"]),
        (["validate", "bad.yaml"], ["bad.yaml:2: "]),
        (["plan", "bad.yaml"], ["bad.yaml:2: "]),
        (["run", "small.yaml", "--set", "widht=3"], ["widht"]),
        (["run", "small.yaml", "--filter", "seed >"], ["--filter"]),
        (["run", "small.yaml", "--filter", "seed > 99"], ["--filter: no run"]),
        (["run", "small.yaml", "--limit", "0"], ["--limit"]),
        (["run", "small.yaml", "--flag"], ["--flag"]),
        (["run", "small.yaml", "--schedule", "fast"], ["fast", "lockstep"]),
        (["run", "small.yaml", "--set", "n_train=10", "--set", "batch_size=20"], ["n_train"]),
        (["run", "small.yaml", "--set", "n_train=null", "--set", "batch_size=2000"], ["at most"]),
        (["run", "small.yaml", "--max-memory", "0.001", "--pack-width", "999"], ["--max-memory"]),
        (["run", "small.yaml", "small.yaml", "--out", "x"], ["--out"]),
        (["status", "nowhere"], ["no results here"]),
        (["ls", "nowhere"], ["no results here"]),
        (["show", "nowhere", "0" * 12], ["no results here"]),
        (["replay", "nowhere", "0" * 12], ["no results here"]),
        (["retry", "nowhere"], ["no results here"]),
        (["data", "prepare", "mnits"], ["Did you mean 'mnist'?"]),
    ],
)
def test_bad_input_ends_with_2_one_sentence_each_and_no_trace(
    here: Path, arguments: list[str], parts: list[str]
) -> None:
    write_sweep(here)
    (here / "bad.yaml").write_text("name: bad\nbase: {widht: 3}\nseeds: none\n")
    (here / "worse.yaml").write_text("[]")
    before = sorted(here.rglob("*"))
    assert_refused(tfc(*arguments), *parts)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--limit", "0", "'0' came. Allowed: a whole number >= 1."),
        ("--limit", "two", "'two' came. Allowed: a whole number >= 1."),
        ("--workers", "2000", "'2000' came. Allowed: a whole number >= 0 and <= 1024."),
        ("--pack-width", "1.5", "'1.5' came. Allowed: a whole number >= 1 and <= 65536."),
        ("--max-memory", "nan", "'nan' came. Allowed: a number >= 0.001."),
        ("--commit-seconds", "-1", "'-1' came. Allowed: a number >= 0 and <= 86400."),
        ("--compile-minutes", "inf", "'inf' came. Allowed: a number >= 0 and <= 1000000."),
        (
            "--executor",
            "slrum",
            "'slrum' came. Did you mean 'slurm'? Allowed: local, ray, slurm.",
        ),
        ("--executor", "cloud", "'cloud' came. Allowed: local, ray, slurm."),
        (
            "--schedule",
            "lockstp",
            "'lockstp' came. Did you mean 'lockstep'? Allowed: lockstep, mapped.",
        ),
    ],
)
def test_a_refused_flag_says_what_came_and_what_is_allowed(
    here: Path, flag: str, value: str, said: str
) -> None:
    answer = tfc("run", write_sweep(here), flag, value)
    assert_refused(answer)
    assert said in " ".join(answer.stderr.replace("│", " ").split())


def test_a_launch_that_leaves_runs_undone_ends_with_1(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk nothing in the rows says that a pack has failed."""
    counts = Counter(running=3, pending=3)
    monkeypatch.setattr(commands, "launch", lambda *_: counts)
    assert tfc("run", write_sweep(here)).exit_code == 1
    counts.clear()
    assert tfc("run", write_sweep(here)).exit_code == 0


def test_bad_sweeps_and_readers_need_no_jax(here: Path, finished: Path) -> None:
    (here / "bad.yaml").write_text("name: bad\nbase: {widht: 3}\n")
    commands = [["run", "bad.yaml"], ["run", "--flag"], ["status", str(finished)],
                ["ls", str(finished)], ["show", str(finished), "--columns"], ["init"]]  # fmt: skip
    code = (
        "import sys; from typer.testing import CliRunner; from tfc_jax.cli import app\n"
        f"codes = [CliRunner().invoke(app, c).exit_code for c in {commands}]\n"
        "print(codes, 'jax' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[2, 2, 0, 0, 0, 0] False\n"


def test_status_counts_runs_and_is_json_on_request(finished: Path) -> None:
    assert "6 done" in tfc("status", finished).stdout
    state = json.loads(tfc("status", finished, "--json").stdout)
    assert state["counts"] == {"done": 6, "diverged": 0, "running": 0, "failed": 0, "pending": 0}
    assert state["committed_steps"] == state["total_steps"] == 6 * 60


def test_ls_shows_what_distinguishes_runs(finished: Path) -> None:
    rows = json.loads(tfc("ls", finished, "--filter", "init_scale < 0.9", "--json").stdout)
    assert len(rows) == 3
    assert {"run_id", "init_scale", "learning_rate", "status", "final_loss"} <= rows[0].keys()
    assert "width" not in rows[0]
    assert len(tfc("ls", finished, "--limit", "2").stdout.splitlines()) == 1 + 2
    assert_refused(tfc("ls", finished, "--filter", "ini_scale < 1"), "Did you mean 'init_scale'?")


def test_show_tells_all_of_one_run_and_what_columns_mean(finished: Path) -> None:
    run_id = open_results(finished).runs["run_id"].iloc[0]
    rows = {row["column"]: row["value"] for row in json.loads(
        tfc("show", finished, run_id, "--json").stdout)}  # fmt: skip
    assert rows["run_id"] == run_id
    assert rows["status"] == "done"
    answer = tfc("show", finished, "--columns")
    assert "units" not in answer.stdout.splitlines()[0]
    assert "data loss of the batch" in answer.stdout
    assert_refused(tfc("show", finished), "RUN_ID")
    assert_refused(tfc("show", finished, run_id[:-1] + "x"), f"Did you mean '{run_id}'?")


def test_a_report_is_one_page_and_a_place_that_is_absent_is_refused(
    finished: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    assert tfc("report", finished, "--out", page).exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert_refused(tfc("report", finished, "--out", tmp_path / "no" / "page.html"), "--out")


def test_doctor_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(tfc("doctor", "--json").stdout)
    assert {"jax", "python"} <= {row["what"] for row in rows}


def launch(path: Path, out: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tfc_jax.cli", "run", str(path), "--out", str(out)]
    cache = str(out.parent / "cache")  # a kill may leave half an entry in it
    environment = os.environ | {"TFC_CACHE": cache, "JAX_COMPILATION_CACHE_DIR": f"{cache}/xla"}
    return subprocess.Popen(
        [*command, "--pack-width", "3", *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(event: str, out: Path, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        if (out / "log.jsonl").exists() and f'"{event}"' in (out / "log.jsonl").read_text():
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("this system does not list the children of a process")
    return [int(child) for child in listed.read_text().split()]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_ctrl_c_ends_after_the_chunk_and_the_next_run_goes_on_to_the_same_bits(
    tmp_path: Path,
) -> None:
    path, out = write_sweep(tmp_path, **LONG), tmp_path / "out"
    with launch(path, out, "--workers", "2") as process:
        wait_for("started", out, process)
        workers = children(process.pid)
        for worker in workers:  # they would be done before the second launch has begun
            os.kill(worker, signal.SIGSTOP)
        assert_refused(
            tfc("run", path, "--out", out), "another `tfc run` or `tfc compact` is writing here"
        )
        process.send_signal(signal.SIGINT)
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        printed = process.communicate()[0]
    assert process.returncode == 130
    assert "Traceback" not in printed
    assert "`tfc run` goes on from here" in printed
    assert re.search(rf"{out}: \d interrupted \(tfc run goes on\)", printed)
    steps = [pack.steps_done for pack in started_packs(Folder(out))]
    assert any(0 < done < 20_000 for done in steps)
    assert all(done % 250 == 0 for done in steps)
    assert train(load_sweep(path), out) == {"done": 6}
    train(load_sweep(path), tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
def test_ctrl_c_twice_ends_now_and_leaves_no_process(tmp_path: Path) -> None:
    path, out = write_sweep(tmp_path, **LONG), tmp_path / "out"
    with launch(path, out, "--workers", "1") as process:
        wait_for("launched", out, process)  # its worker is still importing JAX
        workers = children(process.pid)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)  # two signals at once would be one
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert not [pid for pid in workers if is_alive(pid)]


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_pack_alone_and_retry_finishes_it(tmp_path: Path) -> None:
    path, out = write_sweep(tmp_path, **LONG), tmp_path / "out"
    with launch(path, out, "--workers", "1") as process:
        wait_for("started", out, process)
        (worker,) = children(process.pid)
        os.kill(worker, signal.SIGKILL)
        printed = process.communicate()[0]
    assert process.returncode == 1
    assert "3 done, 3 failed" in printed
    assert "tfc retry" in printed
    assert set(open_results(out).runs["status"]) == {"done", "failed"}
    answer = tfc("retry", out, "--workers", "0", "--quiet")
    assert answer.exit_code == 0
    assert answer.stdout == f"{out}: 6 done\n"
    train(load_sweep(path), tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")
