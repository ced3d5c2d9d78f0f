"""What sbatch, srun, sacct, scancel and scontrol do, on this machine: run as `fake_slurm.py NAME`.

A job is a supervisor, which runs its elements as groups of processes and keeps their state in files
of the folder FAKE_SLURM: `JOB_ELEMENT.state`, `.pid` of the process that srun became, `.requeue` if
it is to run again after its end. The first job has the number FAKE_SLURM_FIRST.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
FOLDER = Path(os.environ.get("FAKE_SLURM", "."))


def install(folder: Path) -> Path:
    """Makes the commands; returns the folder in which they are, for PATH."""
    bin_ = folder / "bin"
    bin_.mkdir(parents=True)
    for name in COMMANDS:
        command = bin_ / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" {name} "$@"\n')
        command.chmod(0o755)
    return bin_


def sbatch(script: str) -> None:
    """Submits a job; prints its number."""
    if (FOLDER / "refuse").exists():
        sys.stderr.write("sbatch: error: invalid partition specified: gup\n")
        raise SystemExit(1)
    job = str(len(list(FOLDER.glob("*.sh"))) + int(os.environ["FAKE_SLURM_FIRST"]))
    text = Path(script).read_text()
    (FOLDER / f"{job}.sh").write_text(text)
    array = re.search(r"--array=0-(\d+)%(\d+)", text)
    elements = [f"{job}_{i}" for i in range(int(array[1]) + 1)] if array else [job]
    for element in elements:
        _set(element, "PENDING")
    if os.fork() == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        (FOLDER / f"{job}.supervisor").write_text(str(os.getpid()))
        _supervise(job, elements, int(array[2]) if array else 1)
        os._exit(0)
    sys.stdout.write(f"Submitted batch job {job}\n")


def _supervise(job: str, elements: list[str], at_a_time: int) -> None:
    waiting, running = list(elements), dict[str, "subprocess.Popen[bytes]"]()
    while waiting or running:
        while waiting and len(running) < at_a_time:
            element = waiting.pop(0)
            if _state(element) == "PENDING":
                running[element] = _start(job, element)
                _set(element, "RUNNING")
        for element, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[element]
            again = FOLDER / f"{element}.requeue"
            if again.exists():
                again.unlink()
                _set(element, "PENDING")
                waiting.append(element)
            elif _state(element) == "RUNNING":
                _set(element, "COMPLETED" if process.returncode == 0 else "FAILED")
        time.sleep(0.05)


def _start(job: str, element: str) -> "subprocess.Popen[bytes]":
    number = {"SLURM_JOB_ID": element, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    if "_" in element:
        number |= {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": element.split("_")[1]}
    command = ["bash", str(FOLDER / f"{job}.sh")]
    process = subprocess.Popen(command, env=os.environ | number, start_new_session=True)
    (FOLDER / f"{element}.group").write_text(str(process.pid))
    return process


def srun(*arguments: str) -> None:
    """Becomes the command that it is to run."""
    element = os.environ["SLURM_JOB_ID"]
    left, streams = list(arguments), {}
    while left[0].startswith("--"):
        flag = left.pop(0)
        if flag in ("--output", "--error"):
            streams[flag] = left.pop(0)
    for flag, stream in (("--output", 1), ("--error", 2)):
        path = streams[flag].replace("%t", "0").replace("%j", element)
        job, _, index = element.partition("_")
        path = path.replace("%A", job).replace("%a", index)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    (FOLDER / f"{element}.pid").write_text(str(os.getpid()))
    os.execvp(left[0], left)  # noqa: S606 - the process that is signalled is the command's own


def sacct(*arguments: str) -> None:
    """Prints the state of jobs."""
    if (FOLDER / "no-accounts").exists():
        sys.stderr.write("Slurm accounting storage is disabled\n")
        raise SystemExit(1)
    sys.stdout.write("JobID|State|NodeList\n")
    jobs = [arguments[i + 1] for i, flag in enumerate(arguments) if flag == "-j"]
    for path in sorted(FOLDER.glob("*.state")):
        if path.stem.split("_")[0] in jobs:
            sys.stdout.write(f"{path.stem}|{path.read_text()}|here\n")


def scancel(*jobs: str) -> None:
    """Ends jobs, or elements of some."""
    for path in FOLDER.glob("*.state"):
        if path.stem in jobs or path.stem.split("_")[0] in jobs:
            _set(path.stem, "CANCELLED")
            kill(path.stem)


def scontrol(what: str, element: str) -> None:
    """Runs an element again after its end."""
    assert what == "requeue", what
    (FOLDER / f"{element}.requeue").touch()


def kill(element: str, folder: Path | None = None) -> None:
    """Kills all processes of an element, as where its machine is lost."""
    group = (folder or FOLDER) / f"{element}.group"
    if group.exists():
        try:
            os.killpg(int(group.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            return


def _state(element: str) -> str:
    return (FOLDER / f"{element}.state").read_text()


def _set(element: str, state: str) -> None:
    beside = FOLDER / f".{element}.{os.getpid()}"
    beside.write_text(state)
    beside.rename(FOLDER / f"{element}.state")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
