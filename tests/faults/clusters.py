"""Ray clusters of several nodes on this machine, each a set of processes that can be killed."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.executors.commands import descendants
from tests.faults import launches

# A node that does not answer for a second is lost; Ray's own patience is 20 times as long.
_IMPATIENT = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 5,
}
_TOKEN = secrets.token_hex(32)  # Ray reads the first of a process alone


class Nodes:
    """A head that trains nothing, and nodes of one CPU each."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(shutdown_at_exit=False)
        self._add(num_cpus=0, temp_dir=str(folder), _system_config=_IMPATIENT)

    @property
    def address(self) -> str:
        address: str = self._cluster.address
        return address

    @property
    def nodes(self) -> list[Any]:
        return sorted(self._cluster.worker_nodes, key=lambda node: str(node.node_id))

    @property
    def busy(self) -> list[Any]:
        """Those on which a pack trains: Ray gives a process the name of what it runs."""
        return [node for node in self.nodes if "ray::train" in map(_name, _processes(node))]

    def add(self, **environment: str) -> Any:
        """Adds a node, whose processes have these variables."""
        return self._add(num_cpus=1, env_vars=environment or None)

    def kill(self, node: Any) -> None:
        """Kills all processes of a node."""
        with _to_the_last(node):
            self._cluster.remove_node(node, allow_graceful=False)

    def kill_head(self) -> None:
        """Kills the process that all nodes and launches report to."""
        self._cluster.head_node.kill_gcs_server(check_alive=False)

    def close(self) -> None:
        for node in [*self.nodes, self._cluster.head_node]:
            with _to_the_last(node):
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)

    def _add(self, **arguments: Any) -> Any:
        return self._cluster.add_node(
            node_ip_address="127.0.0.1", include_dashboard=False, **arguments
        )


@contextmanager
def _to_the_last(node: Any) -> Iterator[None]:
    """Ray kills a node's own processes, and lets those that they started end by themselves."""
    started = _processes(node)
    yield
    launches.send(signal.SIGKILL, *started)


def _processes(node: Any) -> set[int]:
    (raylet,) = node.all_processes["raylet"]
    return descendants(raylet.process.pid)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:  # it has just ended
        return ""


@contextmanager
def nodes() -> Iterator[Nodes]:
    """A cluster on loopback that lets in who has its token; Ray is imported within."""
    folder = Path(tempfile.mkdtemp(prefix="tfc-nodes-", dir="/tmp"))
    token = folder / "token"
    token.write_text(_TOKEN)
    (folder / "ray").mkdir()  # where Ray notes the address of a cluster: it only makes its own
    more = {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    before = {name: os.environ.get(name) for name in more}
    os.environ |= more
    try:
        cluster = Nodes(folder / "r")
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
