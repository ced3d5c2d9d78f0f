"""`--executor slurm`: one array, a pack per element, the same tables; what sbatch is asked for."""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.executors.commands import descendants, ended, interrupt, left_of, start, until_logged
from tests.executors.slurms import Slurm, fly, slurm
from tests.sweeps import content, make_sweep, train, write_sweep
from tfc_jax import commands, execution
from tfc_jax.devices import Devices, cores
from tfc_jax.errors import InputError
from tfc_jax.executors import slurm as on_slurm
from tfc_jax.executors.fleet import Lost
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.results import open_results

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # submitit closes no process


@pytest.fixture
def faked(tmp_path: Path) -> Iterator[Slurm]:
    with slurm(tmp_path / "slurm") as faked:
        yield faked


def refused(**given: str) -> tuple[str, ...]:
    with (
        pytest.raises(InputError) as refusal,
        execution.opened(Options(executor="slurm", slurm=given)),
    ):
        pass
    return refusal.value.messages


@pytest.mark.slow
def test_tables_of_submitits_own_processes_are_those_of_this_machine(tmp_path: Path) -> None:
    """A sweep that refines, hence two launches of its elements."""
    sweep = make_sweep(
        tmp_path,
        grid={"learning_rate": {"logspace": [0.01, 1.0, 3]}},
        refine={"axes": ["learning_rate"], "boundary": "final_loss < 2.2", "halvings": 1},
    )
    counts = fly(sweep, tmp_path / "far", slurm={"cluster": "local"})
    assert train(sweep, tmp_path / "here") == counts
    assert content(tmp_path / "far") == content(tmp_path / "here")
    assert not (tmp_path / "far" / "progress").exists()


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_keeps_what_elements_of_this_machine_have_trained(
    tmp_path: Path,
) -> None:
    path = write_sweep(tmp_path, base={"steps": 60_000})
    flags = ("--executor", "slurm", "--slurm", "cluster=local", "--workers", 1, "--out", "out")
    process = start(tmp_path, "run", path, *flags)
    until_logged(tmp_path / "out", "started", process)
    started = descendants(process.pid)
    interrupt(process)
    code, said = ended(process)
    assert code == 130, said
    assert "stopped; `tfc run` goes on from here" in said
    assert not left_of(started)
    assert 0 < open_results(tmp_path / "out").runs["steps_done"].max() < 60_000


@pytest.mark.slow
def test_a_launch_is_one_array_with_a_pack_per_element(faked: Slurm, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    asked = {"partition": "gpu", "time": "90", "exclusive": "true", "mem": "4GB"}
    counts = fly(sweep, tmp_path / "far", slurm=asked, workers=1, schedule="mapped")
    assert counts == {"done": 6}
    train(sweep, tmp_path / "here", schedule="mapped")
    assert content(tmp_path / "far") == content(tmp_path / "here")
    assert faked.elements() == [f"{faked.first}_0", f"{faked.first}_1"]
    script = faked.script(str(faked.first))
    for line in ("partition=gpu", "time=90", "exclusive", "mem=4GB", "array=0-1%1"):
        assert f"#SBATCH --{line}\n" in script
    assert "export PJRT_NPROC=1\n" in script


@pytest.mark.slow
def test_more_packs_than_an_array_holds_are_several_arrays(faked: Slurm, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    assert fly(sweep, tmp_path / "far", slurm={"array_size": "1"}) == {"done": 6}
    assert faked.elements() == [str(faked.first), str(faked.first + 1)]


@pytest.mark.parametrize(
    ("array_size", "at_a_time", "rooms"),
    [
        (1000, 256, {0: 1000, 1: 255, 200: 56, 225: 0, 256: 0, 999: 0}),
        (100, 256, {0: 100, 1: 99, 80: 20, 88: 0, 100: 0}),
        (1000, 2, {0: 1000, 1: 1, 2: 0, 1000: 0}),
        (1, 256, {0: 1, 1: 0}),
    ],
)
def test_new_elements_follow_before_the_last_of_an_array_have_ended(
    array_size: int, at_a_time: int, rooms: dict[int, int]
) -> None:
    """Never more in the queue than an array holds, nor, once some have ended, than may run."""
    engine = on_slurm._Engine(on_slurm._Asked("slurm", array_size, {}), {}, at_a_time)
    assert {flying: engine.room(flying) for flying in rooms} == rooms


@pytest.mark.slow
def test_a_stop_lets_an_element_end_its_chunk_and_cancels_those_that_wait(
    faked: Slurm, tmp_path: Path
) -> None:
    sweep, interrupt = make_sweep(tmp_path, base={"steps": 60_000}), Interrupt()
    told = []

    def watch(event: dict[str, Any]) -> None:
        told.append(event["event"])
        if event["event"] == "started":
            interrupt.level = 1

    counts = fly(sweep, tmp_path / "out", watch, interrupt, workers=1)
    assert counts == {"running": 3, "pending": 3}
    assert told[-1] == "stopped"
    faked.until_over()
    assert faked.state(f"{faked.first}_1") == "CANCELLED"
    assert 0 < open_results(tmp_path / "out").runs["steps_done"].max() < 60_000


def test_what_sbatch_does_not_take_is_told_and_nothing_trains(faked: Slurm, tmp_path: Path) -> None:
    faked.refuse()
    with pytest.raises(InputError, match=r"sbatch does not take the jobs .*invalid partition"):
        fly(make_sweep(tmp_path), tmp_path / "out", slurm={"partition": "gup"})
    assert len(open_results(tmp_path / "out").runs) == 0


def test_nobody_says_how_many_devices_there_are(
    faked: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM may give one, or as many as it is asked for at most."""
    said: list[str] = []
    monkeypatch.setattr(commands, "echo", lambda line, err=False: said.append(line))
    sweep, options = make_sweep(tmp_path), Options(executor="slurm")
    plan = [(sweep, Folder(tmp_path / "out"))]
    commands.show_plans(plan, options, measure=False, as_json=False)
    assert " on at most 256 cpu workers, " in "".join(said)
    faked.refuse()
    with pytest.raises(InputError, match="sbatch does not take the jobs"):
        fly(sweep, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["n_devices"] is None


@pytest.mark.usefixtures("faked")
def test_a_key_that_sbatch_does_not_know_is_refused() -> None:
    first, second = refused(partitoin="gpu", nodes="2")
    assert "--slurm partitoin: unknown key. Did you mean 'partition'? Allowed: array_size" in first
    assert "--slurm nodes: unknown key." in second


@pytest.mark.usefixtures("faked")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"time": "1-00:00:00"}, "in minutes is allowed"),
        ({"time": "0"}, "in minutes is allowed"),
        ({"array_size": "all"}, "a whole number >= 1 is allowed"),
        ({"cluster": "lokal"}, "Did you mean 'local'?"),
        ({"cluster": "local", "gres": "gpu:1"}, "--slurm gres: not with cluster=local"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(given: dict[str, str], said: str) -> None:
    assert said in refused(**given)[0]


def test_where_no_slurm_is_it_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (said,) = refused()
    assert re.match("--executor slurm: sbatch, .* not found, so this is no machine from", said)


@pytest.mark.usefixtures("faked")
@pytest.mark.parametrize(
    ("given", "platform"),
    [
        ({}, "cpu"),
        ({"gres": "gpu:a100:1"}, "gpu"),
        ({"gpus_per_node": "1"}, "gpu"),
        ({"partition": "gpu"}, "cpu"),
    ],
)
def test_elements_train_on_what_is_asked_for(given: dict[str, str], platform: str) -> None:
    options = Options(executor="slurm", slurm=given, workers=7)
    with execution.opened(options) as executor:
        assert (executor.found.platform, len(executor.found.ids)) == (platform, 7)


def test_processes_of_this_machine_are_as_many_as_its_cores() -> None:
    with execution.opened(Options(executor="slurm", slurm={"cluster": "local"})) as executor:
        assert executor.found == Devices("cpu", tuple(range(len(cores()))))
        assert isinstance(executor, on_slurm.OnSlurm)
        engine = on_slurm._Engine(executor.asked, {}, len(executor.found.ids))
        assert engine.room(0) == len(cores())


def test_a_cluster_that_keeps_no_accounts_is_refused(faked: Slurm) -> None:
    faked.keep_no_accounts()
    (said,) = refused()
    assert "sacct does not say what becomes of jobs (Slurm accounting storage is disabled)" in said


class Job:
    """An element that counts how often it was asked, and has no result.

    Attributes:
      state: what SLURM says of it.
    """

    def __init__(self, number: int, state: str = "PENDING") -> None:
        self.job_id, self.asked, self.state = f"100_{number}", 0, state
        self.paths = SimpleNamespace(result_pickle=Path("nowhere"))
        self.watcher = SimpleNamespace(get_state=lambda job_id, mode: self.state)

    def done(self) -> bool:
        self.asked += 1
        return self.state in ("FAILED", "SUSPENDED")  # as submitit has it

    def stderr(self) -> str:
        return "first\nlast\n"

    def result(self) -> str:
        raise AssertionError("it waits for ever")


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        ("RUNNING", None),
        ("UNKNOWN", None),
        ("SUSPENDED", None),
        ("FAILED", on_slurm.RESULT_SECONDS),
        ("PREEMPTED", on_slurm.PREEMPTED_SECONDS),
    ],
)
def test_an_element_without_a_result_is_lost_when_none_has_come_for_a_while(
    state: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    engine, job = on_slurm._Engine(on_slurm._Asked("slurm", 1000, {}), {}, 256), Job(0, state)

    def after(waited: float) -> Sequence[Any]:
        now[0] = waited
        return engine.landed([job], 0.0)

    assert after(0.0) == after((seconds or 1e9) - 1.0) == []
    assert after((seconds or 1e9) + 1.0) == ([] if seconds is None else [job])
    if seconds is not None:
        with pytest.raises(Lost, match=rf"ended without a result \({state}: last\)"):
            engine.end_of(job)


@pytest.mark.slow
def test_an_element_in_which_python_fails_is_told_by_its_error(tmp_path: Path) -> None:
    """As where tfc_jax is not installed: submitit itself raises, not `remote.train`."""
    engine = on_slurm._Engine(on_slurm._Asked("local", 1, {"timeout_min": 1}), {}, 1)
    job = engine._executor(tmp_path).submit(int, "many")
    while not engine.landed([job], 0.1):
        assert job.state == "RUNNING"
    with pytest.raises(Lost, match=r"failed \(ValueError: invalid literal for int\(\).*'many'\)"):
        engine.end_of(job)


def test_an_element_that_runs_again_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    engine, job = on_slurm._Engine(on_slurm._Asked("slurm", 1000, {}), {}, 256), Job(0)
    for state in ("PREEMPTED", "RUNNING", "PREEMPTED"):
        job.state = state
        assert engine.landed([job], 0.0) == []
        now[0] += 0.9 * on_slurm.PREEMPTED_SECONDS


def test_of_many_elements_some_are_asked_at_a_time_in_turn() -> None:
    engine = on_slurm._Engine(on_slurm._Asked("slurm", 1000, {}), {}, 256)
    jobs = [Job(number) for number in range(200)]
    for _ in range(25):
        assert engine.landed(jobs, 0.0) == []
    asked = [job.asked for job in jobs]
    assert sum(asked) == 25 * on_slurm.LOOKS
    assert max(asked) - min(asked) <= 1


def test_many_elements_are_ended_by_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    engine = on_slurm._Engine(on_slurm._Asked("slurm", 1000, {}), {}, 256)
    engine.cancel([Job(number) for number in range(700)])
    assert [len(command) for command in commands] == [501, 201]
    assert commands[0][:2] == ["scancel", "100_0"]
    engine.cancel([])
    assert len(commands) == 2
