"""Packs as tasks of Ray, on a cluster that is joined by its address or on this machine alone.

Ray decides which machine takes a pack, and gives a pack whose machine is lost to another one, which
goes on from the last commit. All that Ray carries is an order (remote.py) and a last event.
"""

import importlib.util
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfc_jax import devices
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError, StorageError
from tfc_jax.event_log import OnEvent
from tfc_jax.executors import fleet, remote
from tfc_jax.executors.fleet import Lost
from tfc_jax.executors.local import Interrupt
from tfc_jax.lock import Lock
from tfc_jax.options import Options, joined
from tfc_jax.task import Task

RETRIES = 5  # machines that a pack may lose, or processes that it may take down
AHEAD = 2  # packs that Ray holds for each that it can train now
HEAD_SECONDS = 20.0  # without an answer after which the head counts as lost
LOOK_SECONDS = 60.0  # how long a node may take to load its data sets
START_SECONDS = 30.0  # how long a Python process may take to import Ray and join a cluster
# With which each client of gRPC begins: that it speaks HTTP/2, and its settings, here none.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
STORE_BYTES = 80 * 2**20  # Ray's least, where nothing is stored
LONGEST_SOCKET, IN_SESSION = 107, 70  # characters: of a path, and of Ray's names in its folder

_RESOURCE = {"cpu": "CPU", "gpu": "GPU"}  # as Ray calls them

_JOIN = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except BaseException as error:
    sys.exit(f"{type(error).__name__}: {error}".strip().splitlines()[0])
"""


@contextmanager
def opened(options: Options) -> Iterator["OnRay"]:
    """Joins a cluster, or starts one that nobody else can reach; ends what it started.

    Raises:
      InputError: Ray is not installed, nothing answers at the address, or there are no devices.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("--executor ray: Ray is not installed. Run: pip install 'tfc_jax[ray]'")
    address = joined(options.address)
    with _joined(address, options) if address else _started(options):
        yield OnRay(options, _found(options))


@dataclass(frozen=True)
class OnRay:
    """The cluster that this process has joined.

    Attributes:
      found: its GPUs, or its CPUs if it has none, when it was joined.
    """

    options: Options
    found: Devices

    def execute(
        self, tasks: Sequence[Task], lock: Lock, on_event: OnEvent, interrupt: Interrupt
    ) -> None:
        """Trains one task of Ray per pack; machines that join later take part."""
        engine = _Engine(self.found.platform, self.options.workers)
        fleet.execute(engine, tasks, self.found, lock, on_event, interrupt, self.options)


class _Engine:
    """Ray, as `fleet` speaks to it."""

    def __init__(self, platform: str, workers: int | None) -> None:
        import ray

        self._ray, self._platform, self._workers = ray, platform, workers
        self._head = _Head(ray.get_runtime_context().gcs_address)
        devices = {"num_cpus": 1, "num_gpus": 1 if platform == "gpu" else 0}
        # A worker on a GPU holds its memory while it lives: it lives for one pack (max_calls).
        calls = {"max_calls": 1} if platform == "gpu" else {}
        self._train = ray.remote(**devices, **calls, max_retries=RETRIES)(remote.train)
        self._look = ray.remote(num_cpus=0, max_retries=1)(remote.look)

    def room(self, flying: int) -> int:
        """Bounded by --workers, or by what the cluster has now."""
        if not self._head.answers():
            return 0
        return (self._workers or AHEAD * max(_count(self._platform), 1)) - flying

    def submit(self, orders: Sequence[remote.Order]) -> list[Any]:
        return [self._train.remote(order.to_json()) for order in orders]

    def landed(self, flying: Sequence[Any], seconds: float) -> Sequence[Any]:
        if not flying:
            return ()
        if not self._head.answers():
            time.sleep(seconds)
            return ()
        ended: Sequence[Any]
        ended, _ = self._ray.wait(list(flying), num_returns=1, timeout=seconds)
        return ended

    def end_of(self, handle: Any) -> str:
        try:
            end: str = self._ray.get(handle)
        except (self._ray.exceptions.RayError, ImportError) as error:
            raise Lost(f"Ray gave it up: {_line(error)}. Run tfc retry") from error
        return end

    def cancel(self, handles: Sequence[Any]) -> None:
        for handle in () if self._head.is_lost else handles:
            self._ray.cancel(handle, force=True)

    def misfits(self, order: remote.Order, interrupt: Interrupt) -> list[str]:
        """Asks all nodes at once, also those whose CPUs are taken."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {}
        for node in _nodes(self._platform):
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answer = self._look.options(scheduling_strategy=place).remote(order.to_json())
            asked[answer] = node["NodeManagerHostname"]
        left, seconds = list(asked), 0.0
        while left and seconds < LOOK_SECONDS and not interrupt.level:
            _, left = self._ray.wait(left, num_returns=len(left), timeout=1.0)
            seconds += 1.0
        why = [one for answer in asked if answer not in left for one in self._answer(asked, answer)]
        if not interrupt.level:
            why += [f"node {asked[a]}: no answer within {LOOK_SECONDS:g} s." for a in left]
        self.cancel(left)
        return why

    def _answer(self, asked: Mapping[Any, str], answer: Any) -> list[str]:
        exceptions = self._ray.exceptions
        try:
            why: list[str] = self._ray.get(answer)
        except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError):
            return []  # it left meanwhile
        except (exceptions.RayError, ImportError) as error:
            return [f"node {asked[answer]}: tfc_jax does not run there: {_line(error)}."]
        return why


@dataclass
class _Head:
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
            self.is_lost = True
            raise StorageError(
                f"The head of the Ray cluster at {self.address} is gone. What is committed is "
                f"safe: start the cluster again, then run this again."
            )
        return False


def _takes_connections(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except OSError:
        return False
    return True


def _nodes(platform: str) -> list[dict[str, Any]]:
    """The nodes that can train."""
    import ray

    name = _RESOURCE[platform]
    return [node for node in ray.nodes() if node["Alive"] and name in node["Resources"]]


def _count(platform: str) -> int:
    """How many packs the cluster can train at a time."""
    import ray

    return int(ray.cluster_resources().get(_RESOURCE[platform], 0))


def _has_tpus() -> bool:
    import ray

    return bool(ray.cluster_resources().get("TPU", 0))


def _found(options: Options) -> Devices:
    """What trains: as on one machine, GPUs if there are any, unless JAX_PLATFORMS says otherwise.

    Raises:
      InputError: there is nothing that trains.
    """
    asked = devices.PLATFORMS.get(os.environ.get("JAX_PLATFORMS", "").split(",")[0], "")
    platform = "gpu" if asked in ("", "gpu") and _count("gpu") else "cpu"
    if asked != "cpu" and platform == "cpu" and _has_tpus():
        raise InputError(
            "--executor ray: the cluster has TPU chips, on which workers of Ray do not train. "
            "Leave --executor out on a TPU host: one worker shares each pack among all its chips. "
            "Or set JAX_PLATFORMS=cpu to train on the CPUs of the cluster."
        )
    if asked not in ("", platform) or not _count(platform):
        raise InputError(
            f"--executor ray: the cluster has no {asked or platform} for workers. Add a node that "
            f"has, or leave JAX_PLATFORMS unset."
        )
    n = _count(platform)
    return Devices(platform, tuple(range(min(n, options.workers or n))))


@contextmanager
def _joined(address: str, options: Options) -> Iterator[None]:
    """Connects to a cluster that others run; leaves it running."""
    _check_address(address)
    _check_answers(address, options.connect_seconds)
    with _quiet({}):
        import ray

        with _own_signals():
            ray.init(address=address, **_SILENT)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _started(options: Options) -> Iterator[None]:
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
    devices.check_workers(options.workers, here)
    n = options.workers or len(here.ids)
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
            f"--address: {address} came, but launches join a cluster on one of its machines, not "
            f"through Ray Client. Run `tfc` there, and give HOST:PORT of the head node."
        )
    host, colon, port = address.rpartition(":")
    if address != "auto" and not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise InputError(
            f"--address: '{address}' came. Allowed: HOST:PORT of the head node, or auto for the "
            f"cluster that runs on this machine."
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


def _line(error: BaseException) -> str:
    """What an error of Ray says, without its stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(".: ")
