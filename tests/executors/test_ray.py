"""`tfc run --executor ray` on a Ray that it starts: the same tables, and nothing left behind."""

import importlib.util
import json
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.executors.commands import (
    descendants,
    ended,
    interrupt,
    left_of,
    start,
    tfc,
    until_logged,
)
from tests.sweeps import content, train, write_sweep
from tfc_jax import devices
from tfc_jax.config import load_sweep
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError, StorageError
from tfc_jax.executors import ray as on_ray
from tfc_jax.executors import ray_cluster
from tfc_jax.options import Options
from tfc_jax.results import open_results

REFINED: dict[str, Any] = {
    "grid": {"learning_rate": {"logspace": [0.01, 1.0, 3]}},
    "refine": {"axes": ["learning_rate"], "boundary": "final_loss < 2.2", "halvings": 1},
}
LONG: dict[str, Any] = {"base": {"steps": 60_000}}


@pytest.mark.slow
def test_tables_are_those_of_this_machine_bit_by_bit_and_no_secret_is_printed(
    tmp_path: Path,
) -> None:
    """Also those of a sweep that refines."""
    flags = ("--executor", "ray", "--pack-width", 3, "--workers", 1)
    sweeps = {
        "small": write_sweep(tmp_path),
        "refined": write_sweep(tmp_path, "refined", **REFINED),
    }
    code, said = tfc(tmp_path, "run", "small.yaml", "refined.yaml", *flags, "-v")
    assert code == 0, said
    for name, path in sweeps.items():
        here = tmp_path / "here" / name
        train(load_sweep(path), here, workers=1)
        far = tmp_path / "results" / name
        assert content(far) == content(here)
        assert not (far / "progress").exists()
        assert json.loads((far / "manifest.json").read_text())["flags"]["executor"] == "ray"
    assert "token" not in said.lower()
    assert "Traceback" not in said


@pytest.mark.slow
def test_ctrl_c_stops_after_the_running_chunk_and_leaves_no_process(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, **LONG)
    flags = ("--executor", "ray", "--pack-width", 3, "--workers", 1, "--out", "out")
    process = start(tmp_path, "run", path, *flags)
    until_logged(tmp_path / "out", "started", process)
    started = descendants(process.pid)
    assert len(started) > 4
    interrupt(process)
    code, said = ended(process)
    assert code == 130, said
    assert "Stopping after the running chunk" in said
    assert "stopped; `tfc run` goes on from here" in said
    assert "Traceback" not in said
    assert not left_of(started)
    assert 0 < open_results(tmp_path / "out").runs["steps_done"].max() < 60_000


@pytest.mark.slow
def test_nothing_is_left_of_a_ray_whose_launcher_was_killed(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, **LONG)
    flags = ("--executor", "ray", "--pack-width", 3, "--workers", 1, "--out", "out")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # for what a killed process leaves there
        process = start(tmp_path, "run", path, *flags, TMPDIR=short)
        until_logged(tmp_path / "out", "started", process)
        started = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not left_of(started, 180)  # two agents of Ray look for their node for a minute


@contextmanager
def listener() -> Iterator[str]:
    """An address at which something takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_where_nothing_answers_is_refused_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subprocess, "run", None)  # Ray, which takes its time, is not asked
    with listener() as silent:
        for address, why in [
            ("127.0.0.1:1", "Connection refused"),
            (silent, "no answer within"),
            ("a..b:6379", "that is no name of a machine"),
        ]:
            options = Options(executor="ray", address=address, connect_seconds=0.5)
            began = time.monotonic()
            with pytest.raises(InputError, match=why) as refusal, on_ray.opened(options):
                pass
            assert f"no Ray cluster can be joined at {address}" in str(refusal.value)
            assert time.monotonic() - began < 60  # a guard against hangs


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "not through Ray Client"),
        ("head", "Allowed: HOST:PORT"),
        (":6379", "Allowed: HOST:PORT"),
        ("head:port", "Allowed: HOST:PORT"),
        ("head:99999", "Allowed: HOST:PORT"),
        ("ray://me:secret@head:10001", "a URL with an @, not shown"),
        ("me:secret@head:6379", "a URL with an @, not shown"),
    ],
)
def test_what_is_no_address_is_refused(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        on_ray.opened(Options(address=address)).__enter__()
    assert "secret" not in str(refusal.value)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=said), on_ray.opened(Options()):
        pass


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (Devices("tpu", (0,), 4), "gives workers no TPU chips"),
        (Devices("gpu", (0, 1)), "--workers: 3 came, but this machine has 2 gpu devices"),
    ],
)
def test_devices_that_ray_would_not_give_to_workers_are_refused(
    here: Devices, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "find", lambda: here)
    with pytest.raises(InputError, match=said), on_ray.opened(Options(workers=3)):
        pass


def test_a_cluster_of_tpu_hosts_does_not_train_on_their_cpus_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_ray, "_count", lambda platform: 8 if platform == "cpu" else 0)
    monkeypatch.setattr(on_ray, "_has_tpus", lambda: True)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with pytest.raises(InputError, match="on which workers of Ray do not train"):
        on_ray._found(Options())
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert on_ray._found(Options()) == Devices("cpu", tuple(range(8)))


def test_a_head_is_lost_when_it_has_not_answered_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with listener() as address:
        head = ray_cluster.Head(address)
        now[0] = 100.0
        assert head.answers()
    now[0] += ray_cluster.HEAD_SECONDS
    assert not head.answers()
    now[0] += 0.1
    with pytest.raises(StorageError, match=r"is gone\. What is committed is safe"):
        head.answers()
    assert head.is_lost


def test_what_a_head_is_asked_waits_in_another_thread_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray ends the process of a thread that has waited for a minute."""
    back = threading.Event()
    with listener() as address:
        head = ray_cluster.Head(address)
        assert head.asked(lambda: 8) == 8
        for error in (ZeroDivisionError, TimeoutError):
            with pytest.raises(error, match="of Ray"):
                head.asked(partial(fail, error))
        monkeypatch.setattr(ray_cluster, "HEAD_SECONDS", 0.05)
        with pytest.raises(StorageError, match="is gone"):
            head.asked(back.wait)
    back.set()
    assert head.is_lost
    monkeypatch.setattr(ray_cluster, "HEAD_SECONDS", 60.0)
    assert head.asked(lambda: 8) is None


def fail(error: type[Exception]) -> int:
    raise error("of Ray")


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tfc_jax\[ray\]'"), on_ray.opened(Options()):
        pass


def test_the_folder_of_ray_leaves_room_for_its_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = ray_cluster._temporary_folder()
    try:
        assert len(str(folder)) + ray_cluster.IN_SESSION <= ray_cluster.LONGEST_SOCKET
        assert folder.stat().st_mode & 0o077 == 0
        assert not list(deep.iterdir())
    finally:
        folder.rmdir()
