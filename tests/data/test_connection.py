"""Whether a download can work, asked in advance."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tfc_jax.data._connection import why_unreachable


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def open_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    # Bound but not listening: refuses, and no other process can take it meanwhile.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_host_that_answers_is_reachable(open_port: int) -> None:
    assert why_unreachable(f"http://127.0.0.1:{open_port}/file.gz") == ""


def test_a_host_that_refuses_is_named_with_the_reason(closed_port: int) -> None:
    assert "127.0.0.1: Connection refused" in why_unreachable(f"http://127.0.0.1:{closed_port}/")


def test_a_proxy_is_asked_instead_of_the_host(
    open_port: int, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{open_port}")
    assert why_unreachable("https://nowhere.invalid/file.gz") == ""
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{closed_port}")
    assert "Connection refused" in why_unreachable("https://nowhere.invalid/file.gz")


def test_a_host_that_needs_no_proxy_is_asked_itself(
    open_port: int, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert why_unreachable(f"http://127.0.0.1:{open_port}/") == ""


def test_a_name_server_that_never_answers_does_not_hold_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def look_up(*_: object) -> None:
        answered.wait(60)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", look_up)
    reason = why_unreachable("http://host.invalid/", timeout_s=0.05)
    answered.set()
    assert reason == "host.invalid did not answer within 0.05 s"
