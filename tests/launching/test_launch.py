"""A launch trains what is missing and nothing else, alone in its folder."""

import json
import shutil
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from tests.sweeps import AXES, content, make_sweep, train, write_sweep
from tfc_jax import launch, manifest
from tfc_jax.api import run
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.manifest import launched_sweep
from tfc_jax.pack import pack_id
from tfc_jax.progress import Display
from tfc_jax.results import open_results
from tfc_jax.started import started_packs
from tfc_jax.status import read_status
from tfc_jax.store import PackStore

Events = list[dict[str, Any]]
DONE = Counter(done=6)


def tables(out: Path) -> dict[Path, int]:
    """Data files and final weights, with the time at which they were written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("*/*.[pn]*")}


def test_a_launch_stores_every_run_and_says_what_it_was(finished: Path) -> None:
    found = open_results(finished)
    assert set(found.runs["status"]) == {"done"}
    assert len(found.steps()) == 6 * 60
    assert set(found.probe()["step"]) == {0, 20, 40, 60}
    assert {pack.width for pack in started_packs(Folder(finished))} == {3}
    stored = json.loads((finished / "manifest.json").read_text())
    assert stored["name"] == "small"
    assert stored["platform"] == "cpu"
    assert stored["versions"]["jax"] == found.runs["jax_version"].iloc[0]
    assert stored["schema"]["steps"][0]["name"] == "loss"
    assert launched_sweep(Folder(finished)).runs


def test_a_finished_sweep_is_not_touched_again(out: Path, sweep: Sweep) -> None:
    before, events = tables(out), Events()
    assert train(sweep, out, on_event=events.append) == DONE
    assert [event["event"] for event in events] == ["planned"]
    assert tables(out) == before


def test_a_launch_leaves_a_copy_of_its_runs_table_however_it_ends(
    out: Path, tmp_path: Path, sweep: Sweep
) -> None:
    (out / ".runs.parquet").unlink()
    assert train(sweep, out) == DONE
    assert pq.read_metadata(out / ".runs.parquet").num_rows == 6
    interrupt = Interrupt()

    def stop(event: dict[str, Any]) -> None:
        interrupt.level = int(event["event"] != "planned")

    assert train(sweep, tmp_path / "new", on_event=stop, interrupt=interrupt)["running"] == 3
    assert pq.read_metadata(tmp_path / "new" / ".runs.parquet").num_rows == 3


def test_the_manifest_names_the_code_that_trained_the_numbers(
    out: Path, tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (out / "manifest.json").read_bytes()
    monkeypatch.setattr(manifest, "git_commit", lambda: "another commit")
    assert train(sweep, out, given={"set": [], "filter": None, "limit": None}) == DONE
    assert (out / "manifest.json").read_bytes() == before
    assert train(make_sweep(tmp_path, base={"steps": 80}), out) == DONE
    first, now = json.loads(before), json.loads((out / "manifest.json").read_text())
    assert now["git"] == "another commit"
    assert [one["git"] for one in now["earlier"]] == [first["git"]]
    assert now["earlier"][0]["versions"] == first["versions"]


def test_a_launch_that_trains_nothing_still_stores_what_was_asked_for(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((out / "manifest.json").read_text())
    monkeypatch.setattr(manifest, "git_commit", lambda: "another commit")
    given: dict[str, Any] = {"set": [], "filter": "init_scale < 0.9", "limit": None}
    path = write_sweep(tmp_path, description="about less")
    assert train(load_sweep(path, where=given["filter"]), out, given=given) == Counter(done=3)
    after = json.loads((out / "manifest.json").read_text())
    assert after["flags"] == before["flags"] | given
    assert after == before | {"description": "about less", "flags": after["flags"]}
    assert len(launched_sweep(Folder(out)).runs) == 3
    assert read_status(Folder(out)).counts["done"] == 3


def test_results_that_get_another_name_are_said_once(
    out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("small", "other", "other"):
        assert train(make_sweep(tmp_path, name=name), out) == DONE
    (line,) = caplog.messages
    assert f"{out}: the results here had the name small, and have other from now on." in line
    assert launched_sweep(Folder(out)).name == "other"


@pytest.mark.parametrize(
    ("sections", "n_new"),
    [
        ({"grid": AXES | {"learning_rate": [0.05, 0.1, 0.2, 0.8]}}, 2),
        ({"grid": AXES | {"seed": [7, 0]}}, 6),
    ],
)
def test_another_value_or_seed_trains_only_new_runs(
    out: Path, tmp_path: Path, sections: dict[str, Any], n_new: int
) -> None:
    before, rows = tables(out), content(out)
    assert train(make_sweep(tmp_path, **sections), out) == Counter(done=6 + n_new)
    after = tables(out)
    assert {path: after[path] for path in before} == before
    old = open_results(out).runs["run_id"].isin(open_results(out).runs["run_id"])
    assert old.sum() == 6 + n_new
    for path in set(after) - set(before):  # what is new aside, all is as it was
        path.unlink()
    assert content(out) == rows


def test_runs_of_a_folder_without_rows_are_pending(tmp_path: Path, sweep: Sweep) -> None:
    assert launch.count_by_status(sweep, Folder(tmp_path)) == Counter(pending=6)


def test_more_steps_continue_to_the_bits_of_one_longer_launch(out: Path, tmp_path: Path) -> None:
    longer, events = make_sweep(tmp_path, base={"steps": 90}), Events()
    assert launch.count_by_status(longer, Folder(out)) == Counter(pending=6)
    assert train(longer, out, on_event=events.append) == DONE
    assert {event["step"] for event in events if event["event"] == "started"} == {60}
    assert train(longer, tmp_path / "whole") == DONE
    assert content(out) == content(tmp_path / "whole")


def test_an_interrupted_launch_goes_on_to_the_same_bits(
    finished: Path, tmp_path: Path, sweep: Sweep
) -> None:
    interrupt, events = Interrupt(), Events()

    def stop(event: dict[str, Any]) -> None:
        events.append(event)
        interrupt.level = 1

    counts = train(sweep, tmp_path / "out", on_event=stop, interrupt=interrupt)
    assert counts == Counter(pending=6)  # before the first pack

    def stop_in_the_first_chunk(event: dict[str, Any]) -> None:
        events.append(event)
        interrupt.level = int(event["event"] != "planned")

    interrupt = Interrupt()
    counts = train(sweep, tmp_path / "out", on_event=stop_in_the_first_chunk, interrupt=interrupt)
    assert counts == Counter(running=3, pending=3)
    assert [event["event"] for event in events[-3:]] == ["started", "step", "stopped"]
    assert set(open_results(tmp_path / "out").runs["steps_done"]) == {20}
    assert train(sweep, tmp_path / "out") == DONE
    assert content(tmp_path / "out") == content(finished)


def stored_at(out: Path, status: str, steps_done: int) -> None:
    """Rewrites the rows of every pack, as a crash right after the last checkpoint leaves them."""
    for pack in started_packs(Folder(out)):
        rows = open_results(out).runs
        facts = {name: rows[name].iloc[0] for name in ("schedule", "pack_width", "program")}
        facts["dataset_sha256"] = pack.dataset_sha256
        record = launched_sweep(Folder(out)).record
        name = pack_id(run.run_id for run in pack.runs)
        store = PackStore(Folder(out), name, pack.runs, record, facts)
        store.recover()
        store.write_runs(status, steps_done, 1.0)


def test_packs_that_have_all_steps_but_no_end_are_ended(
    out: Path, finished: Path, sweep: Sweep
) -> None:
    stored_at(out, "running", 60)
    shutil.rmtree(out / "params")
    (out / "params").mkdir()
    assert train(sweep, out) == DONE
    assert content(out) == content(finished)


def test_fewer_steps_than_are_committed_end_an_interrupted_run(out: Path, tmp_path: Path) -> None:
    stored_at(out, "running", 60)
    assert train(make_sweep(tmp_path, base={"steps": 50}), out) == DONE


def test_failed_packs_that_have_all_steps_are_ended_by_a_retry(
    out: Path, finished: Path, sweep: Sweep
) -> None:
    stored_at(out, "failed", 60)
    assert train(sweep, out) == Counter(failed=6)
    assert train(sweep, out, retry=True) == DONE
    assert content(out) == content(finished)


def test_a_pack_of_one_chunk_has_no_rate_to_show(tmp_path: Path) -> None:
    """A rate counts from the end of the first chunk, which waits for much else."""
    text = StringIO()
    with Display(Console(file=text, width=200), quiet=False) as display:
        train(make_sweep(tmp_path, base={"steps": 2}), tmp_path / "out", on_event=display)
    lines = [line for line in text.getvalue().splitlines() if "done (" in line]
    assert len(lines) == 2
    assert all("step 2/2  done (" in line for line in lines)
    assert "run-steps/s" not in text.getvalue()


def test_python_trains_and_opens_in_one_call(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(write_sweep(tmp_path), workers=0, pack_width=3)
    assert found.path == Path("results/small")
    assert content(tmp_path / "results" / "small") == content(finished)
