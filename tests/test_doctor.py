"""`tfc doctor` says what is there, what is not, and how to get it."""

import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from tfc_jax import data, doctor

Usage = namedtuple("Usage", "total used free")


def test_every_declared_dependency_is_listed_with_its_version() -> None:
    states = {row.what: row.state for row in doctor.versions()}
    assert states["jax"] == metadata.version("jax")
    assert {"python", "tfc_jax", "jinja2", "tensorflow-datasets"} <= states.keys()
    assert "torch" not in states  # of an extra


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "requires", lambda _: ["no-such-package>=1", "torch; extra == 'x'"]
    )
    row = next(row for row in doctor.versions() if row.what == "no-such-package")
    assert (row.state, row.remedy) == ("not installed", "pip install no-such-package")


def test_devices_are_those_jax_lists_in_its_own_process() -> None:
    row = doctor.device()  # the tests set JAX_PLATFORMS=cpu
    assert (row.state, row.remedy) == ("1 cpu", "")


def test_a_device_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LIST_DEVICES", "import time; time.sleep(60)")
    row = doctor.device(timeout_s=0.2)
    assert row.state == "no answer from JAX within 0.2 s"
    assert "another process" in row.remedy


def test_a_jax_that_fails_to_start_is_reported_with_its_last_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_LIST_DEVICES", "raise RuntimeError('no plugin')")
    row = doctor.device()
    assert row.state == "JAX does not start: RuntimeError: no plugin"
    assert row.remedy


@pytest.mark.parametrize(
    ("node", "platforms", "extra"),
    [
        ("nvidia0", {"cpu"}, "tfc_jax[cuda]"),
        ("accel0", {"cpu"}, "tfc_jax[tpu]"),
        ("nvidia0", {"gpu"}, ""),
        ("null", {"cpu"}, ""),
    ],
)
def test_hardware_that_jax_does_not_see_gets_the_extra_that_serves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, platforms: set[str], extra: str
) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    (tmp_path / node).touch()
    remedy = doctor._unused_accelerator(platforms, dev=tmp_path)
    assert extra in remedy
    assert bool(remedy) == bool(extra)


@pytest.mark.parametrize(("free_gb", "warned"), [(4.9, True), (5.1, False)])
def test_little_disk_space_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: float, warned: bool
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, int(free_gb * 1e9)))
    row = doctor.disk(tmp_path / "not" / "yet" / "there")
    assert row.state.startswith(f"{free_gb} GB free")
    assert bool(row.remedy) == warned


def test_an_absent_data_set_shows_where_it_would_be_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = [
        data.State("digits", True, "scikit-learn"),
        data.State("mnist", False, "folder", "tfc data prepare mnist"),
    ]
    monkeypatch.setattr(data, "state", lambda: states)
    assert doctor.data_sets() == [
        doctor.Row("data digits", "ready: scikit-learn"),
        doctor.Row("data mnist", "absent: folder", "tfc data prepare mnist"),
    ]


def test_the_caller_need_not_import_jax() -> None:
    code = "from tfc_jax import doctor; doctor.collect(); import sys; print('jax' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert answer.stdout.split() == [b"False"]
