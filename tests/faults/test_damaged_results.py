"""A results folder that is not as it was written: every command says so in a sentence."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.refusals import content, refuse, shows_traceback, tfc
from tests.faults.tally import Tally
from tests.sweeps import make_sweep, train
from tfc_jax import fsck
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.results import open_results

Harm = Callable[[Path], object]
ALL = ("status", "ls", "show", "columns", "report", "retry", "replay", "plan", "run")
READERS = ("status", "ls", "show", "report", "retry", "replay", "plan", "run")  # of runs
LAUNCHES = ("status", "retry", "replay")  # what goes by sweep.yaml
PLANS = ("plan", "run", "retry")
MANIFEST = (*LAUNCHES, "plan", "run")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(make_sweep(folder), folder / "out")
    return folder


@pytest.fixture
def out(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the results, and their sweep beside it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return Path("out")


def command(name: str, out: Path) -> list[object]:
    run_id = "0123456789ab"
    plan = ["--out", out, "--pack-width", "3", "--workers", "0"]
    return {
        "status": ["status", out],
        "ls": ["ls", out],
        "show": ["show", out, run_id],
        "columns": ["show", out, "--columns"],
        "report": ["report", out],
        "retry": ["retry", out, "--workers", "0"],
        "replay": ["replay", out, run_id],
        "plan": ["plan", "small.yaml", *plan],
        "run": ["run", "small.yaml", *plan],
    }[name]


def written(name: str, raw: bytes) -> Harm:
    return lambda out: (out / name).write_bytes(raw)


def manifest(**changes: object) -> Harm:
    def harm(out: Path) -> None:
        path = out / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return harm


def flag(**changes: object) -> Harm:
    def harm(out: Path) -> None:
        flags = json.loads((out / "manifest.json").read_text())["flags"]
        manifest(flags=flags | changes)(out)

    return harm


def folder_at(name: str) -> Harm:
    def harm(out: Path) -> None:
        (out / name).unlink(missing_ok=True)
        (out / name).mkdir()

    return harm


def pipe_at(name: str) -> Harm:
    def harm(out: Path) -> None:
        (out / name).unlink(missing_ok=True)
        os.mkfifo(out / name)

    return harm


def file_at(name: str) -> Harm:
    def harm(out: Path) -> None:
        shutil.rmtree(out / name)
        (out / name).write_text("no folder")

    return harm


def part(out: Path, table: str) -> Path:
    return next(p for p in sorted((out / table).glob("*.parquet")) if p.name != "empty.parquet")


def cut(table: str, size: int) -> Harm:
    def harm(out: Path) -> None:
        path = part(out, table)
        path.write_bytes(path.read_bytes()[:size])

    return harm


def flipped(table: str) -> Harm:
    """Flips a bit of the last page."""

    def harm(out: Path) -> None:
        path = part(out, table)
        group = pq.ParquetFile(path).metadata.row_group(0)
        column = group.column(group.num_columns - 1)
        raw = bytearray(path.read_bytes())
        raw[column.data_page_offset + column.total_compressed_size - 1] ^= 1
        path.write_bytes(raw)

    return harm


def table(name: str, change: Callable[[pa.Table], pa.Table]) -> Harm:
    """Writes a part again, with sound pages and other content."""

    def harm(out: Path) -> None:
        path = part(out, name)
        changed = change(pq.read_table(path, partitioning=None))
        pq.write_table(changed, path, write_page_checksum=True)

    return harm


def column(name: str, values: list[object], kind: pa.DataType | None = None) -> Harm:
    """Puts other values into a column of the runs table."""

    def change(rows: pa.Table) -> pa.Table:
        at = rows.column_names.index(name)
        return rows.set_column(at, name, pa.array(values, kind or rows.schema.field(at).type))

    return table("runs", change)


def runs_pipe(out: Path) -> None:
    pipe_at(f"runs/{part(out, 'runs').name}")(out)


def runs_folder(out: Path) -> None:
    folder_at(f"runs/{part(out, 'runs').name}")(out)


GARBAGE = b"PAR1 this is not what it seems PAR1"
CASES: list[tuple[str, Harm, tuple[str, ...], str]] = [
    ("no manifest", lambda out: (out / "manifest.json").unlink(), LAUNCHES, "no manifest.json"),
    *(
        (f"manifest {raw[:20]!r}", written("manifest.json", raw), MANIFEST, "manifest.json")
        for raw in (b"", b"{", b"[]", b"null", b"3", b"{}", b"\xff\xfe", b"\0" * 9, b"[" * 100_000)
    ),
    ("manifest without flags", manifest(flags=None), MANIFEST, "manifest.json"),
    ("manifest without record", manifest(record=3), MANIFEST, "manifest.json"),
    ("manifest with earlier text", manifest(earlier="x"), MANIFEST, "manifest.json"),
    ("a flag that is no list", flag(set="depth=3"), MANIFEST, "flags.set"),
    ("a flag of numbers", flag(set=[1]), MANIFEST, "flags.set"),
    ("a limit that is text", flag(limit="3"), MANIFEST, "flags.limit"),
    ("a limit of none", flag(limit=-3), LAUNCHES, "--limit: -3 came."),
    ("a filter of nothing", flag(filter="depth >"), LAUNCHES, "--filter: in 'depth >'"),
    ("a flag of an unknown key", flag(set=["dept=3"]), LAUNCHES, "Did you mean 'depth'?"),
    ("a tag in a flag", flag(set=["depth=!!python/object:os.system x"]), LAUNCHES, "not read"),
    ("manifest is a folder", folder_at("manifest.json"), ALL, "it is no file"),
    ("manifest is a pipe", pipe_at("manifest.json"), ALL, "it is no file"),
    ("no sweep", lambda out: (out / "sweep.yaml").unlink(), LAUNCHES, "sweep.yaml"),
    ("an empty sweep", written("sweep.yaml", b""), LAUNCHES, "sweep.yaml:1: nothing came."),
    ("a sweep cut short", written("sweep.yaml", b'{"name": "a'), LAUNCHES, "sweep.yaml:1: not"),
    ("a sweep of bytes", written("sweep.yaml", b"\xff"), LAUNCHES, "copy of the sweep is damaged"),
    ("sweep is a folder", folder_at("sweep.yaml"), ALL, "it is no file"),
    ("sweep is a pipe", pipe_at("sweep.yaml"), ALL, "it is no file"),
    ("log is a folder", folder_at("log.jsonl"), ALL, "it is no file"),
    ("workers.log is a folder", folder_at("workers.log"), ALL, "it is no file"),
    ("the lock is a folder", folder_at(".lock"), ALL, "it is no file"),
    ("the copy of runs is a pipe", pipe_at(".runs.parquet"), ALL, "it is no file"),
    ("analysis is a folder", folder_at("analysis.parquet"), ALL, "it is no file"),
    ("schedules is a folder", folder_at("schedules.json"), ALL, "schedules.json"),
    *(
        (f"schedules {raw[:20]!r}", written("schedules.json", raw), PLANS, "schedules.json")
        for raw in (b"", b"[]", b"3", b'{"cpu": 3}', b'{"mars": {}}', b"\xff", b"[" * 100_000)
    ),
    ("runs is a file", file_at("runs"), ALL, "it is no folder"),
    ("steps is a file", file_at("steps"), ALL, "it is no folder"),
    ("checkpoints is a file", file_at("checkpoints"), ALL, "it is no folder"),
    ("params is a file", file_at("params"), ALL, "it is no folder"),
    ("a part of runs is a pipe", runs_pipe, ALL, "it is no file"),
    ("a part of runs is a folder", runs_folder, ALL, "it is no file"),
    ("an empty part of runs", cut("runs", 0), READERS, "is damaged"),
    ("a part of runs cut short", cut("runs", 900), READERS, "is damaged"),
    ("a part of runs without its end", cut("runs", -5), READERS, "is damaged"),
    ("a flipped bit in runs", flipped("runs"), READERS[1:], "footer and pages"),
    ("garbage in runs", lambda out: part(out, "runs").write_bytes(GARBAGE), READERS, "is damaged"),
    ("other columns in runs", table("runs", lambda t: t.select(["depth"])), READERS, "'run_id'"),
    ("runs without status", table("runs", lambda t: t.drop(["status"])), READERS, "'status'"),
    ("run_ids that are numbers", column("run_id", [1, 2, 3], pa.int64()), READERS, "holds int64"),
    ("depth that is text", column("depth", ["3"] * 3, pa.string()), READERS[1:], "holds string"),
    ("a status of null", column("status", ["done", None, "done"]), READERS, "status is null"),
    ("a status of its own", column("status", ["done", "x", "done"]), READERS, "status is 'x'"),
    ("a pack of null", column("pack", [None] * 3), READERS, "pack is null"),
    ("steps below 0", column("steps_done", [-5] * 3), READERS, "steps_done reaches from -5"),
    ("a width of 0", column("pack_width", [0] * 3), READERS[1:], "pack_width reaches from 0"),
    ("a width of 2^60", column("pack_width", [2**60] * 3), READERS[1:], "pack_width reaches from"),
    ("a lane of -1", column("lane", [-1, 0, 1]), READERS[1:], "lane reaches from -1"),
    ("a schedule of its own", column("schedule", ["x"] * 3), READERS[1:], "schedule is 'x'"),
    ("a run_id twice", column("run_id", ["a", "a", "b"]), READERS[1:], "a run_id comes twice"),
    ("a depth of -3", column("depth", [-3] * 3), PLANS, "-3 came."),
    ("an unknown activation", column("activation", ["x"] * 3), PLANS, "the text 'x' came."),
    ("an unknown architecture", column("architecture", ["../x"] * 3), PLANS, "'../x' came."),
    ("a seed of 2^40", column("seed", [2**40, 1, 2]), PLANS, "1099511627776 came."),
    ("a part of steps cut short", cut("steps", 900), ("status", "report"), "is damaged"),
    ("a flipped bit in steps", flipped("steps"), ("report",), "CRC"),
    (
        "steps without their step",
        table("steps", lambda t: t.drop_columns(["step"])),
        ("status", "report"),
        "is damaged",
    ),
    ("an analysis of garbage", written("analysis.parquet", GARBAGE), READERS[1:], "analysis.pa"),
    (
        "an analysis without run_id",
        lambda out: pq.write_table(pa.table({"a": [1]}), out / "analysis.parquet"),
        READERS[1:],
        "analysis.parquet",
    ),
    (
        "an analysis with a run twice",
        lambda out: pq.write_table(pa.table({"run_id": ["a", "a"]}), out / "analysis.parquet"),
        READERS[1:],
        "analysis.parquet",
    ),
]  # fmt: skip


@pytest.mark.slow
def test_damaged_results(out: Path, finished: Path, tally: Tally) -> None:
    wrong = []
    for case, harm, commands, part_of_message in CASES:
        shutil.rmtree(out)
        shutil.copytree(finished / "out", out)
        harm(out)
        before = content(Path())
        for name in commands:
            answer = tfc(*command(name, out))
            found = refuse(tally, f"{case}: {name}", answer, [part_of_message])
            wrong.append(found or (f"{case}: {name} wrote" if content(Path()) != before else ""))
    assert not list(filter(None, wrong))
    assert tally.tried == sum(len(commands) for _, _, commands, _ in CASES) > 300
    assert not tally.bad


@pytest.mark.slow
def test_fsck_of_damaged_results(out: Path, finished: Path, tally: Tally) -> None:
    """All of them are damage to it, and no files are written."""
    wrong = []
    for case, harm, *_ in CASES:
        shutil.rmtree(out)
        shutil.copytree(finished / "out", out)
        harm(out)
        before = content(Path())
        answer = tfc("fsck", out)
        tally.tried += 1
        tally.tracebacks += shows_traceback(answer)
        if answer.exit_code != 1 or content(Path()) != before:
            wrong.append(f"{case}: {answer.exit_code}: {answer.output[-300:]}")
    tally.wrong = len(wrong)
    assert not wrong
    assert tally.tried == len(CASES) > 70
    assert not tally.bad


def test_fsck_goes_on_after_the_first_damaged_file(out: Path) -> None:
    for harm in (written("manifest.json", b"{"), folder_at("workers.log"), flipped("steps"),
                 column("status", ["done", "x", "done"]), written("analysis.parquet", b"PAR1"),
                 written("schedules.json", b"3")):  # fmt: skip
        harm(out)
    found = {finding.path.relative_to(out).parts[0] for finding in fsck.check(Folder(out)).damage}
    files = {"manifest.json", "workers.log", "analysis.parquet", "schedules.json"}
    assert found == files | {"steps", "runs"}


def test_damage_of_what_is_only_a_help(out: Path, tally: Tally) -> None:
    """A log or a copy of the runs table that is cut short or foreign: no command minds."""
    foreign = [
        b"",
        b"\xff\n",
        b"[]\n3\nnull\n",
        b'{"event": 3, "time": "x"}\n',
        b"[" * 10**5 + b"\n",
    ]
    foreign += [b'{"event": "step", "time": 1e999, "pack": 3, "step": "x"}\n']
    foreign += [b'{"event": "failed", "time": 3, "pack": "x"}\n{"event": "step", "time": 3}\n']
    for name in ("log.jsonl", ".runs.parquet"):
        for raw in foreign:
            written(name, raw)(out)
            for reader in ("status", "ls", "columns"):
                answer = tfc(*command(reader, out))
                tally.tried += 1
                tally.tracebacks += shows_traceback(answer)
                tally.wrong += answer.exit_code != 0
    assert tally.tried == 2 * 7 * 3
    assert not tally.bad


def test_weights_that_cannot_be_read(out: Path, tally: Tally) -> None:
    (path, *_) = sorted(Folder(out).params.glob("*.npz"))
    run_id = pq.read_table(out / "runs" / f"{path.stem}.parquet", partitioning=None)["run_id"][0]
    whole = path.read_bytes()
    for raw in (b"", b"PK", whole[:100], whole[:-30], b"\x80\x04K\x01.", b"\0" * 1000):
        path.write_bytes(raw)
        tally.tried += 1
        with pytest.raises(InputError, match="is damaged"):
            open_results(out).params(str(run_id))
    assert tally.tried == 6
