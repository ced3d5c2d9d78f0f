"""Ray clusters: joined by their address, or started on this machine; and whether the head lives."""

import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tfc_jax import devices
from tfc_jax.errors import InputError, StorageError, without_secrets

T = TypeVar("T")

RETRIES = 5  # machines that a pack may lose, or processes that it may take down
HEAD_SECONDS = 20.0  # without an answer after which the head counts as lost
START_SECONDS = 30.0  # how long a Python process may take to import Ray and join a cluster
# With which each client of gRPC begins: that it speaks HTTP/2, and its settings, here none.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
STORE_BYTES = 80 * 2**20  # Ray's least, where nothing is stored
LONGEST_SOCKET, IN_SESSION = 107, 70  # characters: of a path, and of Ray's names in its folder

_JOIN = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except BaseException as error:
    sys.exit(f"{type(error).__name__}: {error}".strip().splitlines()[0])
"""


@contextmanager
def joined_to(address: str, connect_seconds: float) -> Iterator[None]:
    """Connects to a cluster that others run; leaves it running."""
    _check_address(address)
    _check_answers(address, connect_seconds)
    with _quiet({}):
        import ray

        with _own_signals():
            ray.init(address=address, **_SILENT)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def started_here(workers: int | None) -> Iterator[None]:
    """Starts Ray on loopback, without a dashboard, for those who hold a token made just now.

    Only processes of this user can read the token; Ray would keep one in the home folder.
    """
    if "ray" in sys.modules:
        raise InputError(
            "--executor ray: this process has imported Ray before, too late to start it safely. "
            "Give the address of a cluster that runs."
        )
    here = devices.find()
    if here.platform == "tpu":
        raise InputError(
            "--executor ray: a Ray that is started here gives workers no TPU chips. Leave "
            "--executor out: one worker shares each pack among all chips of this machine."
        )
    devices.check_workers(workers, here)
    n = workers or len(here.ids)
    folder = _temporary_folder()
    try:
        token = folder / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        private = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else it listens on all interfaces
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        if here.platform == "gpu":  # Ray hands these out, one each
            private["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, here.ids[:n]))
        with _quiet(private):
            import ray

            with _own_signals():
                ray.init(
                    address="local",
                    num_cpus=n,
                    num_gpus=n if here.platform == "gpu" else 0,
                    include_dashboard=False,
                    object_store_memory=STORE_BYTES,
                    _temp_dir=str(folder / "r"),
                    **_SILENT,
                )
            try:
                yield
            finally:
                ray.shutdown(wait_for_processes=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # Ray's processes may still be closing logs


_SILENT: dict[str, Any] = {
    "log_to_driver": False,
    "configure_logging": False,
    "logging_level": logging.ERROR,
}


def _temporary_folder() -> Path:
    """A folder for this user alone, whose path leaves room for the names of Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="tfc-ray-"))
    if len(str(folder)) + IN_SESSION <= LONGEST_SOCKET:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="tfc-ray-", dir="/tmp"))


@contextmanager
def _quiet(more: Mapping[str, str]) -> Iterator[None]:
    """Ray reads these when it is imported; its processes inherit them."""
    wanted = {
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # else it prints the logs of nodes that are lost
        "RAY_SCHEDULER_EVENTS": "0",
        "RAY_task_oom_retries": str(RETRIES),  # else a pack that no node has room for never ends
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns
    } | dict(more)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM while it starts; it is ours again afterwards."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _check_address(address: str) -> None:
    if "://" in address:
        raise InputError(
            f"--address: {without_secrets(address)} came, but launches join a cluster on one of "
            f"its machines, not through Ray Client. Run `tfc` there, and give HOST:PORT of the "
            f"head node."
        )
    host, colon, port = address.rpartition(":")
    is_port = port.isdecimal() and int(port) < 2**16
    if address != "auto" and not (host and colon and is_port and "@" not in host):
        raise InputError(
            f"--address: {without_secrets(address)} came. Allowed: HOST:PORT of the head node, or "
            f"auto for the cluster that runs on this machine."
        )


def _check_answers(address: str, seconds: float) -> None:
    """Asks in another process first: Ray may wait for minutes, or end a process that asks.

    Raises:
      InputError: no cluster answers in time, or not to us.
    """
    if address != "auto":
        _check_speaks(address, seconds)
    limit = seconds + START_SECONDS
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _JOIN, address],
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _unreachable(address, f"Ray got no answer within {limit:g} s") from error
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or [f"Ray ended with {asked.returncode}"]
        raise _unreachable(address, said[-1])


def _check_speaks(address: str, seconds: float) -> None:
    """A cluster answers the first words of a connection at once; Ray would wait much longer.

    Raises:
      InputError: there is nobody, or nothing comes.
    """
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=seconds) as peer,
            suppress(ConnectionError),  # one that wants TLS hangs up; Ray knows how to ask it
        ):
            peer.sendall(HELLO)
            peer.recv(1)
    except TimeoutError as error:
        raise _unreachable(address, f"no answer within {seconds:g} s") from error
    except OSError as error:
        raise _unreachable(address, str(error.strerror or error)) from error
    except UnicodeError as error:
        raise _unreachable(address, "that is no name of a machine") from error


def _unreachable(address: str, why: str) -> InputError:
    return InputError(
        f"--address or RAY_ADDRESS: no Ray cluster can be joined at {address} ({why}). See whether "
        f"it runs and whether this machine is one of its nodes, or leave both out to train here."
    )


@dataclass
class Head:
    """The process without which Ray's calls wait for a minute, and then end this process."""

    address: str
    is_lost: bool = False
    _heard: float = field(default_factory=time.monotonic)

    def answers(self) -> bool:
        """Asks whether it takes connections.

        Raises:
          StorageError: it has not for a while.
        """
        now = time.monotonic()
        if _takes_connections(self.address):
            self._heard = now
            return True
        if now - self._heard > HEAD_SECONDS:
            raise self._lost()
        return False

    def asked(self, question: Callable[[], T]) -> T | None:
        """Returns what a call of Ray does that the head answers; None if it takes no connections.

        Another thread makes the call. One that is never answered ends in it, unheard.

        Raises:
          StorageError: no answer comes, or it has taken no connections for a while.
          Exception: what the call raises.
        """
        if not self.answers():
            return None
        answer: Future[T] = Future()

        def ask() -> None:
            try:
                answer.set_result(question())
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=ask, daemon=True).start()
        if not wait([answer], HEAD_SECONDS).done:
            raise self._lost()
        return answer.result()

    def _lost(self) -> StorageError:
        self.is_lost = True
        return StorageError(
            f"The head of the Ray cluster at {self.address} is gone. What is committed is safe: "
            f"start the cluster again, then run this again."
        )


def _takes_connections(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except OSError:
        return False
    return True
