"""What is wrong with an object store is told in one line, before anything is trained."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.objects.store import Local, fresh_place, running
from tests.sweeps import write_sweep
from tfc_jax.cli import app
from tfc_jax.errors import InputError
from tfc_jax.objects.bucket import Bucket, patience
from tfc_jax.objects.place import Place, place_at
from tfc_jax.objects.refusals import Outage, told


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Local]:
    """A server that may be killed."""
    with running(tmp_path / "own") as server:
        yield server


@pytest.fixture
def its_place(own: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    monkeypatch.setenv("TFC_STORE_SECONDS", "0.3")
    return fresh_place(monkeypatch, own, tmp_path / "cache", "x")


def refusal(url: str, folder: Path) -> str:
    """What `tfc run` says, on one line, before it trains."""
    answer = CliRunner().invoke(
        app, ["run", str(write_sweep(folder)), "--out", url, "--workers", "0", "--pack-width", "3"]
    )
    assert answer.exit_code == 2, answer.output
    assert "Traceback" not in answer.output
    assert answer.stderr.count("\n") == 1
    assert not list(folder.glob("cache/**/runs/*-*"))
    return answer.stderr


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (("ignore",), "does not keep to creating an object only if there is none"),
        (("forbid",), "permission denied. The credentials need to list, read, write and delete"),
        (("hang:1",), "the object store cannot be used"),
    ],
)
def test_a_store_that_cannot_be_used(
    own: Local, its_place: Place, tmp_path: Path, faults: tuple[str, ...], told: str
) -> None:
    own.kill()
    own.start(*faults)
    assert told in refusal(its_place.url, tmp_path)
    left = [key for key in own.objects(its_place) if not key.startswith(".probe")]
    assert not left


def test_a_store_that_replaces_whatever_is_there(
    its_place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def overwrite(self: Bucket, key: str, content: bytes, version: object) -> object:
        self.put(key, content)
        return version

    monkeypatch.setattr(Bucket, "replace", overwrite)
    told = refusal(its_place.url, tmp_path)
    assert "does not keep to replacing an object only if it is the version that was read" in told


def test_an_address_where_nobody_answers(own: Local, its_place: Place, tmp_path: Path) -> None:
    own.kill()
    told = refusal(its_place.url, tmp_path)
    where = f"http://127.0.0.1:{own.port}: HTTP error: error sending request"
    assert told.startswith(f"{its_place.url}: the object store cannot be used ({where})")
    assert "TFC_STORE_SECONDS (0.3)" in told
    own.start()


def test_a_bucket_that_is_not_there(its_place: Place, tmp_path: Path) -> None:
    assert "there is no bucket absent" in refusal("s3://absent/x", tmp_path)


def test_no_credentials(its_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # Where a cloud tells its machines their credentials; here nobody does.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    assert "no valid credentials" in refusal(its_place.url, tmp_path)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_the_credentials(
    its_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    assert "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refusal(its_place.url, tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ENDPOINT_URL", "127.0.0.1:9000", "no address of a store"),
        ("AWS_ENDPOINT_URL", "", "no address of a store"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:90 00", "no address of a store"),
        ("AWS_ENDPOINT_URL", "http://me:hidden@127.0.0.1:9000", "without a user or a key"),
        ("AWS_ACCESS_KEY_ID", "hidden\n", "there is a blank, a line end"),
        ("AWS_SECRET_ACCESS_KEY", "hid\x00den", "there is a blank, a line end"),
    ],
)
def test_variables_on_which_the_library_would_panic(
    its_place: Place, name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, name: value})
    with pytest.raises(InputError, match=f"{name}: .*{said}") as refused:
        Bucket(its_place)
    assert "hid" not in str(refused.value)


def test_variables_of_other_meaning_are_left_alone(
    its_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "regional")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a/b+c=")
    assert Bucket(its_place).get("y") is None


@pytest.mark.parametrize(
    ("scheme", "variable"),
    [("gs", "GOOGLE_APPLICATION_CREDENTIALS"), ("az", "AZURE_STORAGE_ACCOUNT_NAME")],
)
def test_other_stores_have_other_credentials(
    scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFC_STORE_SECONDS", "0.3")
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")  # no cloud's machine
    with pytest.raises(InputError, match=f"no valid credentials.*{variable}"):
        Bucket(place_at(f"{scheme}://bucket/x")).get("y")


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("HTTP error: error sending request", True),
        ("Server returned non-2xx status code: 503 Service Unavailable: ", True),
        ("Server returned non-2xx status code: 429 Too Many Requests: ", True),
        ("Server returned non-2xx status code: 408 Request Timeout: ", True),
        ("Server returned non-2xx status code: 400 Bad Request: ", False),
        ("Server returned non-2xx status code: 403 Forbidden: ", False),
        ("Server returned non-2xx status code: 501 Not Implemented: ", False),
        ("HTTP error: builder error", False),
    ],
)
def test_what_may_pass_by_itself_is_an_outage(said: str, passes: bool) -> None:
    error = OSError(f"Generic S3 error: Error performing PUT http://host/x in 1ms - {said}")
    assert isinstance(told(error, "s3://bucket/x", 20.0), Outage) == passes


def test_without_the_package_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InputError, match=r"pip install 'tfc_jax\[objects\]'"):
        Bucket(place_at("s3://bucket/x"))


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "1e9"])
def test_a_patience_of_nonsense(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFC_STORE_SECONDS", text)
    with pytest.raises(InputError, match="TFC_STORE_SECONDS"):
        patience()


def test_an_address_of_plain_http_is_said_to_want_leave(
    its_place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    assert "If nobody can, set AWS_ALLOW_HTTP=true" in refusal(its_place.url, tmp_path)
