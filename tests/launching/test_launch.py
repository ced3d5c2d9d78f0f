"""A launch trains what is missing and nothing else, alone in its folder."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.sweeps import AXES, content, make_sweep, read_rows, train, write_sweep
from tfc_jax import devices, launch, manifest, worker
from tfc_jax.api import run
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.errors import InputError
from tfc_jax.executors import local
from tfc_jax.executors.local import Interrupt
from tfc_jax.launch import started_packs
from tfc_jax.layout import Folder
from tfc_jax.manifest import launched_sweep
from tfc_jax.pack import pack_id
from tfc_jax.results import open_results
from tfc_jax.status import read_status
from tfc_jax.store import PackStore

Events = list[dict[str, Any]]
DONE = Counter(done=6)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of the small sweep: 6 runs in 2 packs, 60 steps."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(make_sweep(folder), folder / "out") == DONE
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished results."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return make_sweep(tmp_path)


def files(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


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
    monkeypatch.setattr(manifest, "_git_commit", lambda: "another commit")
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
    monkeypatch.setattr(manifest, "_git_commit", lambda: "another commit")
    given: dict[str, Any] = {"set": [], "filter": "init_scale < 0.9", "limit": None}
    path = write_sweep(tmp_path, description="about less")
    assert train(load_sweep(path, where=given["filter"]), out, given=given) == Counter(done=3)
    after = json.loads((out / "manifest.json").read_text())
    assert after["flags"] == before["flags"] | given
    assert after == before | {"description": "about less", "flags": after["flags"]}
    assert len(launched_sweep(Folder(out)).runs) == 3
    assert read_status(Folder(out)).counts["done"] == 3


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


def fail_once(patch: pytest.MonkeyPatch, sweep: Sweep) -> None:
    """The first pack fails after its first commit; the others train as ever."""
    original = worker.train_pack
    failed: list[Any] = []

    def train_pack(task: Any, report: Any, should_stop: Any) -> bool:
        if sweep.runs[0] not in task.runs or failed:
            return original(task, report, should_stop)
        failed.append(task)
        original(task, report, lambda: True)
        raise MemoryError("no\nroom")

    patch.setattr(worker, "train_pack", train_pack)


def test_a_failed_pack_leaves_the_others_alone_and_a_retry_finishes_it(
    finished: Path, tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, sweep)
    events = Events()
    counts = train(sweep, tmp_path / "out", on_event=events.append)
    assert counts == Counter(failed=3, done=3)
    failure = next(event for event in events if event["event"] == "failed")
    assert failure["error"] == "MemoryError: no"
    assert "train_pack" in "".join(failure["traceback"])
    assert read_status(Folder(tmp_path / "out")).errors == (
        f"pack {failure['pack']}: MemoryError: no",
    )
    assert train(sweep, tmp_path / "out") == counts  # `tfc run` leaves it
    assert train(sweep, tmp_path / "out", retry=True) == DONE
    assert content(tmp_path / "out") == content(finished)


def test_fail_fast_stops_at_the_first_failure(
    tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(monkeypatch, sweep)
    counts = train(sweep, tmp_path / "out", fail_fast=True)
    assert counts == Counter(failed=3, pending=3)


def test_another_record_is_refused_with_the_remedy(out: Path, tmp_path: Path) -> None:
    before = files(out)
    records: list[dict[str, Any]] = [{"every": 5}, {"probes": []}, {"probe_samples": 32}]
    for record in records:
        with pytest.raises(InputError) as error:
            train(make_sweep(tmp_path, record=record), out)
        assert f"record.{next(iter(record))}" in str(error.value)
        assert "--out" in str(error.value)
        assert "--fresh" in str(error.value)
    assert files(out) == before


def write_line(path: Path, slope: float) -> None:
    x = np.linspace(-1, 1, 30, dtype=np.float32)[:, None]
    np.savez(path, x_train=x, y_train=slope * x, x_test=x, y_test=slope * x)


def test_another_content_of_a_data_set_is_refused(tmp_path: Path) -> None:
    write_line(tmp_path / "line.npz", 1.0)
    base = {"dataset": f"npz:{tmp_path}/line.npz", "loss": "mse", "n_train": None, "steps": 20}
    sweep = make_sweep(tmp_path, base=base)
    assert train(sweep, tmp_path / "out") == DONE
    write_line(tmp_path / "line.npz", 2.0)
    with pytest.raises(InputError, match="its content is not what pack"):
        train(make_sweep(tmp_path, base=base | {"steps": 40}), tmp_path / "out")


def test_a_regression_has_null_accuracy_in_all_its_tables(tmp_path: Path) -> None:
    write_line(tmp_path / "line.npz", 1.0)
    base = {"dataset": f"npz:{tmp_path}/line.npz", "loss": "mse", "n_train": None, "steps": 20}
    assert train(make_sweep(tmp_path, base=base), tmp_path / "out") == DONE
    steps = read_rows(tmp_path / "out" / "steps")
    assert steps["accuracy"].null_count == steps.num_rows == 6 * 20
    assert steps["loss"].null_count == 0
    assert open_results(tmp_path / "out").runs["final_accuracy"].isna().all()


def test_bad_input_leaves_no_trace(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, base={"n_train": None, "batch_size": 2000})
    with pytest.raises(InputError, match="batch_size"):
        train(sweep, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_more_workers_than_gpus_are_refused(tmp_path: Path, sweep: Sweep) -> None:
    with pytest.raises(InputError, match=r"--workers: 3 came.*2 gpu devices"):
        train(sweep, tmp_path / "out", workers=3, found=devices.Devices("gpu", (0, 1)))
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"cannot be written here.*--out"):
            train(sweep, place)


def test_fresh_starts_over_with_another_record(out: Path, tmp_path: Path) -> None:
    (out / "report.html").touch()
    assert train(make_sweep(tmp_path, record={"every": 5}), out, fresh=True) == DONE
    assert not (out / "report.html").exists()
    assert len(read_rows(out / "steps")) == 6 * 60


def test_fresh_deletes_nothing_before_bad_input_is_refused(out: Path, tmp_path: Path) -> None:
    before = files(out)
    sweep = make_sweep(tmp_path, base={"n_train": None, "batch_size": 2000})
    with pytest.raises(InputError, match="batch_size"):
        train(sweep, out, fresh=True)
    assert files(out) == before


def test_fresh_deletes_nothing_that_is_not_ours(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        train(sweep, tmp_path / "thesis", fresh=True)
    assert list((tmp_path / "thesis").iterdir()) == [tmp_path / "thesis" / "chapter.tex"]


@contextmanager
def locked(out: Path, owner: str) -> Iterator[None]:
    """Someone else holds the folder."""
    out.mkdir(exist_ok=True)
    with open(out / ".lock", "a+") as lock:
        lock.truncate(0)
        lock.write(owner)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def alive() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}"


def dead() -> str:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True,
                           capture_output=True, text=True)  # fmt: skip
    return f"process {ended.stdout.strip()} on {os.uname().nodename}"


@pytest.mark.parametrize("owner", ["", "process 1 on elsewhere"])
def test_a_folder_has_one_writer(out: Path, sweep: Sweep, owner: str) -> None:
    with locked(out, owner or alive()):
        before = files(out)
        for fresh in (False, True):
            with pytest.raises(InputError, match=r"another `tfc run` is writing here \(process"):
                train(sweep, out, fresh=fresh)
        assert files(out) == before
    assert train(sweep, out) == DONE


def test_the_workers_of_a_killed_launcher_are_waited_for(out: Path, sweep: Sweep) -> None:
    end = threading.Event()
    with locked(out, dead()):  # by its workers, which inherited the lock
        held = threading.Thread(target=hold_until, args=(out / ".lock", end))
        held.start()
    timer = threading.Timer(0.3, end.set)
    timer.start()
    assert train(sweep, out) == DONE
    held.join()
    assert end.is_set()


def hold_until(path: Path, end: threading.Event) -> None:
    with open(path, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        end.wait()


def test_workers_that_outlive_their_launcher_for_long_are_not_waited_for(
    out: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "ORPHAN_SECONDS", 0.1)
    with locked(out, dead()), pytest.raises(InputError, match="another `tfc run` is writing"):
        train(sweep, out)


def test_a_launch_that_waited_cuts_what_is_missing_then(
    tmp_path: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another launch, with another pack width, comes between a plan and its execution."""
    original = launch.sole_writer

    @contextmanager
    def late(folder: Folder) -> Iterator[int]:
        with monkeypatch.context() as patch:
            patch.setattr(launch, "sole_writer", original)
            train(sweep, folder.root, width=2)
        with original(folder) as lock:
            yield lock

    monkeypatch.setattr(launch, "sole_writer", late)
    assert train(sweep, tmp_path / "out", width=3) == DONE
    assert len(open_results(tmp_path / "out").runs) == 6
    assert len(read_rows(tmp_path / "out" / "steps")) == 6 * 60


def test_a_log_line_that_a_crash_cut_short_spoils_no_other(out: Path, sweep: Sweep) -> None:
    with open(out / "log.jsonl", "a") as log:
        log.write('{"time": 1, "eve')
    assert read_status(Folder(out)).counts["done"] == 6
    train(sweep, out)
    lines = (out / "log.jsonl").read_text().splitlines()
    assert lines.count('{"time": 1, "eve') == 1
    assert [json.loads(line)["event"] for line in lines[-2:]] == ["launched", "ended"]
    assert read_status(Folder(out)).last_event_s is not None


def test_the_log_tells_what_happened(finished: Path) -> None:
    events = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "step"]
    assert kinds == ["launched", "started", "finished", "started", "finished", "ended"]
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)


def test_half_an_entry_of_the_compile_cache_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    (tmp_path / "xla").mkdir()
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (tmp_path / "xla" / name).touch()
    launch.worker_settings(launch.Options())
    assert sorted(p.name for p in (tmp_path / "xla").iterdir()) == ["whole-atime", "whole-cache"]


def test_workers_share_a_compile_cache_unless_the_user_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFC_CACHE", str(tmp_path))
    name = "JAX_COMPILATION_CACHE_DIR"
    monkeypatch.setenv(name, str(tmp_path / "own"))
    assert launch.worker_settings(launch.Options())[name] == str(tmp_path / "own")
    monkeypatch.delenv(name)
    assert launch.worker_settings(launch.Options())[name] == str(tmp_path / "xla")


def test_deterministic_kernels_are_asked_of_xla_beside_other_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    flags = launch.worker_settings(launch.Options(deterministic=True))["XLA_FLAGS"]
    assert flags == "--xla_a=1 --xla_gpu_deterministic_ops=true"
    assert "XLA_FLAGS" not in launch.worker_settings(launch.Options())


def listen(lines: str) -> list[dict[str, Any] | None]:
    """What the pool hears from a worker that says `lines` and ends."""
    nothing: Any = None
    pool: Any = local._Pool(nothing, nothing, nothing, nothing)
    pool._listen(SimpleNamespace(process=SimpleNamespace(stdout=io.StringIO(lines))))
    return [pool.events.get_nowait()[1] for _ in range(pool.events.qsize())]


def test_a_worker_killed_in_the_middle_of_a_line_is_noticed() -> None:
    assert listen('{"event": "step"}\n{"event": "fini') == [{"event": "step"}, None]


def test_python_trains_and_opens_in_one_call(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(write_sweep(tmp_path), workers=0, pack_width=3)
    assert found.path == Path("results/small")
    assert content(tmp_path / "results" / "small") == content(finished)
