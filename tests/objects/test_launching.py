"""`tfc run` on results in an object store, and the commands that read them."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.executors.engines import Inline, OnInline
from tests.objects.packs import before_requests
from tests.objects.store import BUCKET, Local
from tests.sweeps import CPU, content, make_sweep, train, write_sweep
from tfc_jax import api
from tfc_jax.cli import app
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError
from tfc_jax.execution import Here
from tfc_jax.executors import inline
from tfc_jax.executors.local import Interrupt
from tfc_jax.layout import Folder
from tfc_jax.objects import launching
from tfc_jax.objects.bucket import Bucket
from tfc_jax.objects.launching import launch_at
from tfc_jax.objects.place import Place, place_at
from tfc_jax.objects.reading import without_data
from tfc_jax.options import Options
from tfc_jax.results import open_results
from tfc_jax.status import Reader

QUICK = ("--workers", "0", "--pack-width", "3", "--quiet")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return make_sweep(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> Path:
    """What a launch in a folder leaves."""
    out = tmp_path_factory.mktemp("folder") / "out"
    train(sweep, out)
    return out


def train_at(
    place: Place, sweep: Sweep, events: list[dict[str, Any]] | None = None, **options: Any
) -> Counter[str]:
    chosen = replace(Options(workers=0, pack_width=3), **options)
    on_event = (events if events is not None else []).append
    return launch_at(
        place, sweep, chosen, Here(chosen, CPU), on_event, Interrupt(), lambda line: None
    )


def tfc(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_launch_leaves_what_one_in_a_folder_leaves(
    local: Local, place: Place, sweep: Sweep, folder: Path, tmp_path: Path
) -> None:
    assert train_at(place, sweep) == {"done": 6}
    copied = local.as_folder(place, tmp_path / "copied")
    assert content(copied) == content(folder)
    names = {path.relative_to(copied).as_posix() for path in copied.rglob("*") if path.is_file()}
    wanted = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wanted = {name for name in wanted if not name.startswith("checkpoints/")}
    assert names - {".lease"} == wanted - {".lock", ".runs.parquet"}
    assert json.loads((copied / ".lease").read_text())["state"] == "free"
    assert '"ended"' in (copied / "log.jsonl").read_text()
    events: list[dict[str, Any]] = []
    assert train_at(place, sweep, events) == {"done": 6}
    assert [event["event"] for event in events] == ["planned"]


def test_another_machine_finishes_what_is_missing(
    local: Local, place: Place, sweep: Sweep, folder: Path, tmp_path: Path
) -> None:
    interrupt = Interrupt()

    def stop(event: dict[str, Any]) -> None:
        interrupt.level = event["event"] == "finished"

    chosen = Options(workers=0, pack_width=3)
    counts = launch_at(place, sweep, chosen, Here(chosen, CPU), stop, interrupt, lambda line: None)
    assert counts == {"done": 3, "pending": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFC_CACHE", str(tmp_path / "another machine"))
        assert train_at(place, sweep) == {"done": 6}
        other = place.work
    assert train_at(place, sweep) == {"done": 6}  # the first one learns what the other did
    assert content(local.as_folder(place, tmp_path / "copied")) == content(folder)
    assert not list(other.glob("steps/*-*.parquet"))


def test_workers_may_be_on_machines_that_share_nothing_with_the_launcher(
    local: Local,
    place: Place,
    sweep: Sweep,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execute = inline.execute

    def elsewhere(*arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TFC_CACHE", str(tmp_path / "another machine"))
            execute(*arguments)

    monkeypatch.setattr(inline, "execute", elsewhere)
    assert train_at(place, sweep) == {"done": 6}
    assert content(local.as_folder(place, tmp_path / "copied")) == content(folder)


def test_packs_that_an_engine_carries_are_stored_there_too(
    local: Local,
    place: Place,
    sweep: Sweep,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray and SLURM do no more for a launch than this one does."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in a worker, since JAX has started here
    engine, chosen = Inline(), Options(pack_width=3)
    there = OnInline(engine)
    counts = launch_at(place, sweep, chosen, there, lambda event: None, Interrupt(), pytest.fail)
    assert counts == {"done": 6}
    assert {order.url for order in engine.orders} == {place.url}
    assert content(local.as_folder(place, tmp_path / "copied")) == content(folder)


def test_a_sweep_that_refines_trains_all_its_rounds(
    local: Local, place: Place, tmp_path: Path
) -> None:
    refine = {"axes": ["learning_rate"], "boundary": "final_loss < 2.2", "halvings": 1}
    grid = {"learning_rate": {"logspace": [0.01, 1.0, 3]}}
    sweep = make_sweep(tmp_path, grid=grid, refine=refine)
    train(sweep, tmp_path / "folder")
    train_at(place, sweep)
    assert content(local.as_folder(place, tmp_path / "copied")) == content(tmp_path / "folder")
    cells = [open_results(where).table("cells") for where in (place.url, tmp_path / "folder")]
    assert len(cells[0]) > 0
    assert cells[0].equals(cells[1])


def test_python_runs_and_reads_it(place: Place, sweep: Sweep, folder: Path) -> None:
    results = api.run(sweep, place.url, workers=0, pack_width=3)
    there, here = open_results(place.url), open_results(folder)
    assert results.name == there.name == place.name
    steps = [r.steps("init_scale == 1.0", config=["learning_rate"]) for r in (there, here)]
    order = ["run_id", "step"]
    first, second = (s.sort_values(order).reset_index(drop=True) for s in steps)
    assert first.equals(second)
    run_id = here.runs["run_id"][0]
    weights, wanted = there.params(run_id), here.params(run_id)
    assert all((weights[name] == wanted[name]).all() for name in wanted)


def test_reading_some_runs_copies_their_packs_alone(place: Place, sweep: Sweep) -> None:
    train_at(place, sweep)
    results = open_results(place.url)
    run = results.runs.iloc[0]
    results.steps(f"run_id == '{run['run_id']}'")
    copied = [path.name for path in place.seen.rglob("*-*.parquet")]
    assert copied
    assert all(name.startswith(run["pack"]) for name in copied)
    assert not (place.seen / "params").exists()


def test_a_second_reading_asks_for_lists_alone(
    place: Place, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_at(place, sweep)
    assert len(open_results(place.url).runs) == 6
    calls = before_requests(monkeypatch, lambda number: None)
    assert len(open_results(place.url).runs) == 6
    assert calls[0] <= 8  # the top, runs, an empty part of each table


@pytest.mark.slow
def test_commands_read_it(place: Place, sweep: Sweep, tmp_path: Path) -> None:
    train_at(place, sweep)
    url = place.url
    assert "6 done" in tfc("status", url).stdout
    assert json.loads(tfc("status", url, "--json").stdout)["counts"]["done"] == 6
    assert "6 done" in tfc("status", url, "--watch").stdout
    listed = json.loads(tfc("ls", url, "--json").stdout)
    assert len(listed) == 6
    shown = tfc("show", url, listed[0]["run_id"][:8]).stdout
    assert listed[0]["run_id"] in shown
    assert "final_loss" in shown
    assert "accuracy" in tfc("show", url, "--columns").stdout
    planned = tfc("plan", sweep.path, "--out", url)
    assert "6 runs of 60 steps" in planned.stdout
    assert "Disk" not in planned.stdout
    page = tmp_path / "page.html"
    assert tfc("report", url, "--out", page).exit_code == 0
    assert page.stat().st_size > 10_000
    answer = tfc("report", url)
    assert answer.exit_code == 2
    assert "give --out FILE.html" in answer.stderr


@pytest.mark.slow
def test_replay_and_fsck_read_all_that_they_need(
    local: Local, place: Place, sweep: Sweep, tmp_path: Path
) -> None:
    train_at(place, sweep)
    run_id = json.loads(tfc("ls", place.url, "--json").stdout)[0]["run_id"]
    answer = tfc("replay", place.url, run_id)
    assert answer.exit_code == 0, answer.output
    assert "0 of" in answer.stdout
    answer = tfc("fsck", place.url)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.startswith(f"{place.url}: 2 packs")
    assert "no damage" in answer.stdout
    part = next(path for key, path in local.objects(place).items() if key.startswith("steps/"))
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(bytes(raw))
    answer = tfc("fsck", place.url)
    assert answer.exit_code == 1
    assert f"{place.url}/steps/" in answer.stdout


def test_run_and_retry_take_a_url(place: Place, tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    answer = tfc("run", path, "--out", place.url, *QUICK)
    assert answer.exit_code == 0, answer.output
    assert answer.stdout == f"{place.url}: 6 done\n"
    answer = tfc("retry", place.url, "--workers", "0", "-q")
    assert answer.stdout == f"{place.url}: 6 done\n"


def test_fresh_deletes_what_launches_wrote_and_nothing_else(
    local: Local, place: Place, sweep: Sweep
) -> None:
    train_at(place, sweep)
    other = local.root / BUCKET / f"of-tests%2F{place.name}%2Fnotes.txt"
    other.write_text("mine")
    before = set(local.objects(place))
    events: list[dict[str, Any]] = []
    assert train_at(place, sweep, events, fresh=True) == {"done": 6}
    assert "finished" in {event["event"] for event in events}
    assert other.read_text() == "mine"
    tokens = {key for key in before if key.startswith("checkpoints/") and key.endswith(".npz")}
    assert not tokens & set(local.objects(place))


def test_fresh_leaves_no_row_that_a_writer_of_before_still_publishes(
    place: Place, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_at(place, sweep)
    bucket, delete = Bucket(place), Bucket.delete
    key = bucket.listed("runs")[0].key

    def late(bucket: Bucket, keys: Sequence[str]) -> None:
        delete(bucket, keys)
        if key in keys:
            bucket.create(key, b"of before")
            monkeypatch.setattr(Bucket, "delete", delete)

    monkeypatch.setattr(Bucket, "delete", late)
    launching.clear(bucket)
    assert not [entry.key for entry in bucket.listed() if entry.key != ".lease"]


def test_a_prefix_with_other_objects_is_refused(local: Local, place: Place, sweep: Sweep) -> None:
    (local.root / BUCKET / f"of-tests%2F{place.name}%2Fnotes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"no results are here, but other objects \(notes.txt\)"):
        train_at(place, sweep)


def test_bad_input_leaves_no_object(local: Local, place: Place, sweep: Sweep) -> None:
    train_at(place, sweep)
    before = {key: path.read_bytes() for key, path in local.objects(place).items()}
    other = replace(sweep, record=replace(sweep.record, every=5))
    with pytest.raises(InputError, match=r"record\.every differs"):
        train_at(place, other)
    assert {key: path.read_bytes() for key, path in local.objects(place).items()} == before


def test_objects_of_a_pack_that_nobody_knows_are_refused(
    local: Local, place: Place, sweep: Sweep
) -> None:
    train_at(place, sweep)
    pack = open_results(place.url).runs["pack"][0]
    local.objects(place)[f"runs/{pack}.parquet"].unlink()
    with pytest.raises(InputError, match=f"objects of pack {pack}, which is neither"):
        train_at(place, sweep, pack_width=2)
    events: list[dict[str, Any]] = []
    assert train_at(place, sweep, events) == {"done": 6}, events  # as it was, it is taken up again


def test_watching_sees_what_was_committed_since(place: Place, tmp_path: Path) -> None:
    path = write_sweep(tmp_path)
    assert tfc("run", path, "--limit", 3, "--out", place.url, *QUICK).exit_code == 0
    reader = Reader(Folder(without_data(place.seen)))
    assert reader.read().counts["done"] == 3
    assert len(open_results(place.url).steps()) == 3 * 60
    assert tfc("run", path, "--out", place.url, *QUICK).exit_code == 0
    state = reader.read()
    assert state.counts["done"] == 6
    assert state.curves == ()  # rows of an earlier hour would tell a wrong story


@pytest.mark.parametrize(
    "url",
    [
        "s3://someone:secret@bucket/x",
        "s3://bucket/x?key=secret",
        "s3://bucket/x#secret",
        "s3://bucket/../x",
        "s3://bucket/.hidden",
        "s3://bucket",
        "s3://bucket/a b",
        "http://bucket/x",
        "file:///x",
        "s3:/bucket/x",
        "s3:/someone:secret@bucket/x",
        "s3://bucket/x?key=a@secret",
        "S3:/bucket/x",
    ],
)
def test_a_url_holds_a_bucket_and_a_prefix_alone(url: str) -> None:
    for refused in (tfc("status", url), tfc("run", "absent.yaml", "--out", url)):
        assert refused.exit_code == 2
        assert "no results can be there" in refused.output
        assert "secret" not in refused.output
    with pytest.raises(InputError, match="no results can be there"):
        place_at(url)


def test_a_url_that_was_made_a_path_is_refused(sweep: Sweep) -> None:
    path = Path("s3://someone:secret@bucket/x")
    for ask in (lambda: open_results(path), lambda: api.run(sweep, path)):
        with pytest.raises(InputError, match="a URL came as a Path") as refusal:
            ask()
        assert "secret" not in str(refusal.value)


def test_there_are_no_results_before_a_launch(place: Place) -> None:
    with pytest.raises(InputError, match="there are no results here"):
        open_results(place.url)
    answer = tfc("status", place.url)
    assert answer.exit_code == 2
    assert f"{place.url}: there are no results here" in answer.stderr


@pytest.mark.slow
def test_no_key_of_the_environment_is_printed_or_stored(
    local: Local, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, f"canary-{name.lower()}")
    path = write_sweep(tmp_path)
    said = [tfc("run", path, "--out", place.url, "--workers", "1", "-v")]
    assert said[0].exit_code == 0, said[0].output
    said += [tfc("status", place.url), tfc("ls", place.url), tfc("fsck", place.url)]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TFC_STORE_SECONDS", "0.2")
    said += [tfc("status", place.url), tfc("run", path, "--out", place.url, "--workers", "0")]
    assert said[-1].exit_code == 2
    assert not [answer for answer in said if "canary" in answer.output]
    files = [p for p in Path(os.environ["TFC_CACHE"]).rglob("*") if p.is_file()]
    files += local.objects(place).values()
    assert len(files) > 20
    assert not [path for path in files if b"canary" in path.read_bytes()]
