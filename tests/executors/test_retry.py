"""`tfc retry` trains where the last launch did, and asks again for what names machines."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.executors.engines import Inline, OnInline, lost
from tests.sweeps import CPU, make_sweep
from tfc_jax import commands
from tfc_jax.cli import app
from tfc_jax.config import Sweep
from tfc_jax.console import SOME_FAILED
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import launch
from tfc_jax.layout import Folder
from tfc_jax.options import Options


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """Every executor is an engine that loses all packs; returns the options of each."""
    asked: list[Options] = []

    @contextmanager
    def open_inline(options: Options) -> Iterator[OnInline]:
        asked.append(options)
        yield OnInline(Inline(lost))

    monkeypatch.setattr(commands, "opened", open_inline)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return make_sweep(tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def fail(sweep: Sweep, out: Path, **options: Any) -> None:
    """Launches what loses every pack."""
    chosen = Options(pack_width=3, **options)
    given = (sweep, Folder(out), chosen, CPU, lambda event: None, Interrupt())
    assert launch(*given, OnInline(Inline(lost))) == {"failed": 6}


def retry(out: Path, *flags: str) -> Result:
    return CliRunner().invoke(app, ["retry", str(out), "--quiet", *flags])


def test_it_trains_where_the_last_launch_did(
    sweep: Sweep, out: Path, opened: list[Options]
) -> None:
    fail(sweep, out, executor="slurm")
    answer = retry(out)
    assert answer.exit_code == SOME_FAILED, answer.output
    assert [options.executor for options in opened] == ["slurm"]


@pytest.mark.parametrize(
    ("launched", "said"),
    [
        (
            {"executor": "slurm", "slurm": {"partition": "gpu", "comment": "of us"}},
            "its last launch had --executor slurm --slurm partition=gpu --slurm 'comment=of us'. ",
        ),
        (
            {"executor": "ray", "address": "head:6379"},
            "its last launch had --executor ray --address head:6379. ",
        ),
    ],
)
def test_what_names_machines_is_asked_for_again(
    sweep: Sweep, out: Path, opened: list[Options], launched: dict[str, Any], said: str
) -> None:
    """A stranger's results must not choose the cluster on which code runs."""
    fail(sweep, out, **launched)
    answer = retry(out)
    assert answer.exit_code == 2
    assert f"{said}Give that again, or --executor local." in answer.stderr
    assert not opened


def test_what_is_given_again_counts(sweep: Sweep, out: Path, opened: list[Options]) -> None:
    fail(sweep, out, executor="slurm", slurm={"partition": "gpu"})
    assert retry(out, "--slurm", "partition=long").exit_code == SOME_FAILED
    assert [(o.executor, o.slurm) for o in opened] == [("slurm", {"partition": "long"})]


def test_another_executor_counts(sweep: Sweep, out: Path, opened: list[Options]) -> None:
    fail(sweep, out, executor="ray", address="head:6379")
    assert retry(out, "--executor", "local").exit_code == SOME_FAILED
    assert [(o.executor, o.address) for o in opened] == [("local", None)]


def test_a_cluster_of_the_environment_is_wanted_again_and_not_stored(
    sweep: Sweep, out: Path, opened: list[Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "canary:6379")
    fail(sweep, out, executor="ray")
    assert "canary" not in Folder(out).manifest.read_text()
    monkeypatch.delenv("RAY_ADDRESS")
    answer = retry(out)
    assert "of the variable RAY_ADDRESS. Set that again, or give --address" in answer.stderr
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert retry(out).exit_code == SOME_FAILED
    assert [(o.executor, o.address) for o in opened] == [("ray", None)]


def test_what_is_in_the_place_of_the_manifest_is_named(sweep: Sweep, out: Path) -> None:
    fail(sweep, out)
    (out / "manifest.json").unlink()
    (out / "manifest.json").mkdir()
    answer = retry(out)
    assert answer.exit_code == 2
    assert "manifest.json: it is no file. Results hold plain files and folders" in answer.stderr
