"""A results folder that anybody may have written: one sentence, nothing outside it, nothing run."""

import io
import json
import os
import shutil
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.security.conftest import change_json, change_parquet, snapshot, tfc, with_column
from tests.sweeps import write_sweep
from tfc_jax import commands, untrusted
from tfc_jax import replay as replaying
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.results import open_results
from tfc_jax.untrusted import reading

Damage = Callable[[Path], object]
Commands = tuple[tuple[str, ...], ...]
OUTSIDE = "the content of a file outside"
TYPES: dict[str, Any] = {
    "lists": pa.list_(pa.int64()), "structs": pa.struct([("a", pa.int64())]),
    "dates": pa.timestamp("ns"), "binary": pa.binary(), "decimals": pa.decimal128(9, 2),
    "durations": pa.duration("s"), "maps": pa.map_(pa.string(), pa.int64()),
}  # fmt: skip


def manifest(**changes: Any) -> Damage:
    return lambda root: change_json(root / "manifest.json", lambda content: content | changes)


def flags(**changes: Any) -> Damage:
    def change(content: Any) -> Any:
        return content | {"flags": content["flags"] | changes}

    return lambda root: change_json(root / "manifest.json", change)


def raw(name: str, content: bytes) -> Damage:
    return lambda root: (root / name).write_bytes(content)


def log(*lines: str) -> Damage:
    return lambda root: (root / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))


def sparse(name: str, size: int) -> Damage:
    return lambda root: os.truncate(_made(root / name), size)


def _made(path: Path) -> Path:
    path.touch()
    return path


def flipped(content: bytes) -> bytes:
    """Bits within the first page that the footer names; a file of `runs` has others too."""
    chunk = pq.read_metadata(io.BytesIO(content)).row_group(0).column(0)
    at = (chunk.dictionary_page_offset or chunk.data_page_offset) + 36
    return content[:at] + b"\xa5" * 8 + content[at + 8 :]


def table(name: str, change: Callable[[pa.Table], pa.Table]) -> Damage:
    def damage(root: Path) -> None:
        for part in sorted((root / name).glob("*.parquet")):
            change_parquet(part, change)

    return damage


def filled(column: str, value: Any, kind: Any = None, name: str = "runs") -> Damage:
    """All values of a column are one."""
    return table(name, lambda t: with_column(t, column, pa.array([value] * len(t), kind)))


def dropped(column: str, name: str = "runs") -> Damage:
    return table(name, lambda t: t.drop_columns([column]))


def described(metadata: dict[str, str], name: str = "runs") -> Damage:
    return table(name, lambda t: t.replace_schema_metadata(metadata))


def part_bytes(name: str, change: Callable[[bytes], bytes]) -> Damage:
    def damage(root: Path) -> None:
        for part in sorted((root / name).glob("*.parquet")):
            part.write_bytes(change(part.read_bytes()))

    return damage


def named(name: str, new: str) -> Damage:
    """One more file of a table, under a name that no launch gives."""

    def damage(root: Path) -> None:
        part = sorted(p for p in (root / name).glob("*.parquet") if "empty" not in p.name)[0]
        shutil.copy(part, root / name / new)

    return damage


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    """Something else stands where a file or folder was."""

    def damage(root: Path) -> None:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)

    return damage


def linked(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def bound(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def many_rows(root: Path) -> None:
    """A few KB that stand for 10^7 rows."""
    part = sorted((root / "runs").glob("[0-9a-f]*.parquet"))[0]
    one = pq.read_table(part, partitioning=None).slice(0, 1)
    indices = pa.array([0]).take(pa.array([0] * 10**6))
    pq.write_table(one.select(["run_id", "pack", "status", "steps_done"]).take(indices), part)


ODD: tuple[Any, ...] = ([3], {}, "x y", -1, 1e308)
OTHER_KINDS: tuple[Any, ...] = (3, [], None, [[3]], {"a": {"b": {}}})
DEEP = b"[" * 10**5 + b"]" * 10**5
PACKS = ("../../outside/x", "../params", "*", "[0-9a-f]*", "/etc/passwd", "", "x" * 10**6, "A" * 12)
FILES = ("manifest.json", "sweep.yaml", "log.jsonl", "schedules.json", "analysis.parquet")
FOLDERS = ("runs", "steps", "params", "checkpoints")
NAMES = (*FILES, *FOLDERS, ".lock", ".runs.parquet", "report.html")
KINDS = {
    "a link to a file": linked("../outside/secret"),
    "a link to a folder": linked("../outside"),
    "a link to nothing": linked("../outside/nothing"),
    "a link to itself": linked("."),
    "a device": linked("/dev/zero"),
    "a pipe": os.mkfifo,
    "a socket": bound,
}
REFUSED: dict[str, Damage] = {
    f"{kind} as {name}": instead(name, make) for kind, make in KINDS.items() for name in NAMES
}
LOG = '{"time": 1, "event": "%s"%s}'
DAMAGED: dict[str, Damage] = {
    **{f"pack {pack[:20]!r}": filled("pack", pack) for pack in PACKS},
    **{f"run_id {text[:20]!r}": filled("run_id", text) for text in (*PACKS[:4], "x" * 10**6)},
    **{f"{key} of {kind}": filled(key, None, TYPES[kind])
       for key in ("depth", "pack", "anything") for kind in TYPES},
    **{f"{key} is null": filled(key, None, pa.string() if key in ("run_id", "pack") else pa.int64())
       for key in ("run_id", "pack", "lane", "steps_done", "depth", "seed", "pack_width")},
    **{f"no {key}": dropped(key) for key in ("run_id", "pack", "lane", "steps_done", "status",
       "prior_loss", "built_width", "pack_width", "schedule", "depth", "dataset_sha256")},
    **{f"{key} is {value}": filled(key, value) for key in ("steps_done", "lane", "depth", "seed",
       "pack_width", "built_width", "first_bad_step") for value in (-1, 2**62)},
    **{f"{key} is {value}": filled(key, value) for key in ("prior_loss", "wall_s", "final_loss")
       for value in (float("nan"), float("inf"), -1e300)},
    **{f"{key} is a huge text": filled(key, "<x>" * 10**6) for key in ("dataset", "device_kind")},
    "a column of dates": filled("anything", None, TYPES["dates"]),
    "a status of no run": filled("status", "owned"),
    "a schedule of no pack": filled("schedule", "owned"),
    "numbers as texts": filled("steps_done", "60"),
    "texts as numbers": filled("status", 3),
    "rows twice": table("runs", lambda t: pa.concat_tables([t, t])),
    "no rows": table("runs", lambda t: t.slice(0, 0)),
    "10^6 rows of one pack": many_rows,
    "a column twice": table("runs", lambda t: t.append_column("depth", t["depth"])),
    "hostile pandas metadata": described({"pandas": '{"index_columns": [{"kind": "range"}]}'}),
    "pandas metadata that are no JSON": described({"pandas": "{"}, "steps"),
    "column metadata that are no JSON": described({"tfc_jax": "{"}),
    "column metadata that are deep": described({"tfc_jax": DEEP.decode()}),
    "column metadata of another kind": described({"tfc_jax": '[{"name": 3}, 4]'}, "steps"),
    "column metadata that are a number": described({"tfc_jax": "3"}, "layers"),
    "a foreign Arrow schema": described({"ARROW:schema": "AAAA"}),
    **{f"{name} cut short": part_bytes(name, lambda b: b[: len(b) // 2])
       for name in ("runs", "steps", "layers")},
    **{f"{name} zeroed": part_bytes(name, lambda b: bytes(len(b)))
       for name in ("runs", "steps", "layers")},
    **{f"{name} empty": part_bytes(name, lambda b: b"") for name in ("runs", "steps", "layers")},
    **{f"{name} with bits flipped": part_bytes(name, flipped)
       for name in ("runs", "steps", "layers")},
    **{f"{name} with a foreign footer": part_bytes(name, lambda b: b[:-12] + b"\xff" * 8 + b"PAR1")
       for name in ("runs", "steps")},
    **{f"steps with {key} {value}": filled(key, value, name="steps")
       for key in ("step", "loss", "run_id") for value in (-1, "text", None)},
    "steps without step": dropped("step", "steps"),
    "steps without loss": dropped("loss", "steps"),
    "layers without layer": dropped("layer", "layers"),
    "layers of negative layers": filled("layer", -5, pa.int32(), name="layers"),
    "steps of lists": filled("loss", None, pa.list_(pa.float32()), name="steps"),
    **{f"a part called {name!r}": named("steps", name) for name in
       ("x.parquet", "-.parquet", "*.parquet", "[.parquet", "a-b-c.parquet", "é\n.parquet")},
    "a folder as a part": lambda root: (root / "steps" / f"{'0' * 12}-x.parquet").mkdir(),
    "a folder as a row": lambda root: (root / "runs" / "x.parquet").mkdir(),
    **{f"a folder as {name}": instead(name, Path.mkdir) for name in FILES},
    **{f"a file as {name}": instead(name, Path.touch) for name in ("runs", "steps", "params")},
    **{f"no {name}": instead(name, lambda path: None) for name in
       ("manifest.json", "sweep.yaml", "runs", "steps", "layers", "params", "checkpoints")},
    **{f"{name} of {what}": raw(name, content)
       for name in FILES for what, content in {
           "nothing": b"", "a list": b"[]", "a number": b"3\n", "no UTF-8": b"\xff\xfe\n",
           "zeros": bytes(100), "brackets": DEEP, "NaN": b"NaN\n", "digits": b"9" * 10**5,
           "no object": b'{"a": [}', "much": b'{"a": "' + b"x" * 2**23 + b'"}',
       }.items()},
    **{f"{name} of 1 TB": sparse(name, 2**40) for name in FILES},
    **{f"a manifest with {key} {value!r}": manifest(**{key: value})
       for key in ("flags", "record", "earlier", "name", "steps", "description", "versions", "git")
       for value in OTHER_KINDS},
    **{f"flags with {key} {value!r}": flags(**{key: value})
       for key in ("set", "filter", "limit", "max_memory", "deterministic", "executor", "address",
                   "slurm")
       for value in ODD},
    "flags that are deep": flags(set=json.loads("[" * 200 + "]" * 200)),
    "a sweep with a tag": raw("sweep.yaml", b"!!python/object/apply:os.abort []"),
    "a sweep that is a bomb": raw("sweep.yaml", b"a: &a [1]\n" + b"".join(
        b"%c: &%c [*%c,*%c,*%c,*%c]\n" % (i + 1, i + 1, i, i, i, i) for i in range(97, 121))),
    "a sweep of 10^18 runs": raw("sweep.yaml", b"name: x\ngrid:\n  learning_rate: {linspace: "
                                 b"[0.1, 0.2, 1000000000]}\nseeds: 1000000000\n"),
    "a sweep of other runs": raw("sweep.yaml", b"name: x\nbase: {depth: 2}\n"),
    **{f"a log of {line!r:.40}": log(line) for line in (
        "{}", "3", "null", '{"event": 3}', '{"time": "x", "event": "step"}', LOG % ("launched", ""),
        LOG % ("step", ', "pack": 3, "step": 1'), LOG % ("step", ', "pack": "x", "step": 1e400'),
        LOG % ("step", ', "pack": "x", "step": -5'), LOG % ("failed", ""), LOG % ("started", ""),
        LOG % ("failed", ', "pack": [], "error": {}'), '{"time": NaN, "event": "launched"}',
        '{"time": 1e300, "event": "launched"}', '{"time": -1, "event": "launched"}', "[" * 10**5,
        LOG % ("launched", ', "committed_steps": 1' + "0" * 999))},
}  # fmt: skip
COMMANDS = (
    ("status", "STRANGER"), ("status", "STRANGER", "--json"), ("ls", "STRANGER"),
    ("ls", "STRANGER", "--filter", "depth > 2", "--json"), ("show", "STRANGER", "RUN"),
    ("show", "STRANGER", "RUN", "--json"), ("show", "STRANGER", "--columns"),
    ("plan", "SWEEP", "--out", "STRANGER"), ("run", "SWEEP", "--out", "STRANGER", "-n"),
    ("retry", "STRANGER"), ("replay", "STRANGER", "RUN"),
)  # fmt: skip
FSCK = (("fsck", "STRANGER"), ("fsck", "STRANGER", "--json"))
SLOW = (("report", "STRANGER", "--out", "OUT"),)


@pytest.fixture
def home(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the stranger's results, a sweep and what no command may touch.

    Nothing is trained: what a command would train it has planned by then.
    """
    home = stranger.parent
    (home / "outside").mkdir()
    (home / "outside" / "secret").write_text(OUTSIDE)
    for name in ("steps", "params"):
        part = next(p for p in (stranger / name).iterdir() if "empty" not in p.name)
        shutil.copy(part, home / "outside" / part.name.replace(part.name[:12], "x"))
    write_sweep(home, record={"metrics": ["similarity"]})
    monkeypatch.setattr(commands, "train", lambda *_, **__: None)
    monkeypatch.setattr(replaying, "_train", lambda *_: None)
    monkeypatch.chdir(home)
    return home


def spoken(home: Path, command: tuple[str, ...], run_id: str) -> str:
    """What a command says of damage; it ends as commands do, and touches nothing but its output."""
    words = {"STRANGER": "stranger", "RUN": run_id, "SWEEP": "small.yaml", "OUT": "report.html"}
    before = snapshot(home)
    answer = tfc(*(words.get(word, word) for word in command))
    assert answer.exception is None or isinstance(answer.exception, SystemExit), command
    assert answer.exit_code in (0, 1, 2), (command, answer.output)
    assert "Traceback" not in answer.output, command
    assert OUTSIDE not in answer.output, command
    assert all(c.isprintable() or c == "\n" for c in answer.output), command
    if answer.exit_code == 2:
        assert 1 <= len(answer.stderr.splitlines()) <= 200, (command, answer.stderr)
    (home / "report.html").unlink(missing_ok=True)
    assert snapshot(home) == before, command
    return ("", answer.stdout, answer.stderr)[answer.exit_code]


def some(request: pytest.FixtureRequest, commands: Commands, slow: Commands = ()) -> Commands:
    """All commands in the long set; in the short one two, others for each damage."""
    if request.config.getoption("--long-faults"):
        return (*commands, *slow)
    start = zlib.crc32(request.node.name.encode())
    return tuple(commands[(start + i) % len(commands)] for i in range(2))


def run_id_of(trained: Path) -> str:
    return str(open_results(trained).runs["run_id"].iloc[0])


@pytest.mark.parametrize("damage", REFUSED.values(), ids=REFUSED)
def test_what_leads_out_of_the_folder_or_is_no_file_is_refused(
    home: Path, trained: Path, damage: Damage, request: pytest.FixtureRequest
) -> None:
    damage(home / "stranger")
    for command in some(request, (*COMMANDS, *SLOW)):
        assert "Results hold plain files and folders alone" in spoken(
            home, command, run_id_of(trained)
        )
    for command in FSCK:
        assert "was not looked at further" in spoken(home, command, run_id_of(trained))


def test_a_link_to_a_results_folder_is_followed(home: Path, trained: Path) -> None:
    (home / "link").symlink_to("stranger")
    assert tfc("status", home / "link").exit_code == 0
    assert tfc("ls", home / "link").exit_code == 0


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damage_ends_in_a_sentence_and_touches_nothing_else(
    home: Path, trained: Path, damage: Damage, request: pytest.FixtureRequest
) -> None:
    damage(home / "stranger")
    for command in some(request, (*FSCK, *COMMANDS), SLOW):
        spoken(home, command, run_id_of(trained))


SENTENCES = {
    "depth of lists": (("ls",), "column 'depth' holds list"),
    "a column of dates": (("ls",), "column 'anything' holds timestamp"),
    "10^6 rows of one pack": (("ls",), "rows came, of one pack"),
    "column metadata that are deep": (("show", "--columns"), "do not describe columns"),
    "flags with set [3]": (("status",), "flags.set.0: "),
    "manifest.json of brackets": (("status",), "not JSON"),
    "manifest.json of 1 TB": (("status",), "larger than 4194304 bytes"),
    "schedules.json of 1 TB": (("plan",), "larger than 4194304 bytes"),
    "log.jsonl of 1 TB": (("status",), "larger than 1073741824 bytes"),
    "flags that are deep": (("status",), "nested more than 32 deep"),
    "pack '*'": (("status",), "12 hex digits"),
    "steps_done is null": (("plan",), "steps_done is null, so it is damaged"),
    "depth is -1": (("plan",), "the runs table: depth: "),
    "runs with bits flipped": (("ls",), "its footer and pages are not those that were written"),
}


@pytest.mark.parametrize("damage", SENTENCES)
def test_likely_damage_has_a_sentence_of_its_own(home: Path, damage: str) -> None:
    (command, *more), sentence = SENTENCES[damage]
    DAMAGED[damage](home / "stranger")
    folder = ("small.yaml", "--out", "stranger") if command == "plan" else ("stranger",)
    answer = tfc(command, *folder, *more)
    assert answer.exit_code == 2
    assert sentence in answer.stderr


def test_a_replay_refuses_an_endless_log_before_it_trains(
    home: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "_train", lambda *_: pytest.fail("it trains"))
    DAMAGED["log.jsonl of 1 TB"](home / "stranger")
    said = spoken(home, ("replay", "STRANGER", "RUN"), run_id_of(trained))
    assert "larger than 1073741824 bytes" in said


def test_the_untouched_folder_is_read_by_every_command(home: Path, trained: Path) -> None:
    for command in (*FSCK, *COMMANDS[:-1], *SLOW):
        assert spoken(home, command, run_id_of(trained)) == ""


@pytest.mark.parametrize("pack", [*PACKS, None, 3, "0" * 11, "0" * 13, "0" * 12 + "\n"])
def test_the_id_of_a_pack_names_no_other_file(tmp_path: Path, pack: Any) -> None:
    folder = Folder(tmp_path)
    for ask in (
        folder.checkpoints_of,
        folder.stages_of,
        folder.weights_of,
        lambda pack: folder.checkpoint(pack, 1),
        lambda pack: folder.parts_of("steps", pack),
    ):
        with pytest.raises(InputError, match="Allowed: 12 hex digits"):
            ask(pack)


def test_a_copy_of_the_runs_of_another_folder_is_not_even_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = home / "stranger" / ".runs.parquet"
    assert copy.exists()
    copied = pq.read_metadata(copy).metadata[b"tfc_jax_files"]
    rows = pq.read_table(copy).drop_columns(["depth"])
    rows = with_column(rows, "depth", pa.array([[3]] * len(rows)))
    pq.write_table(rows.replace_schema_metadata({"tfc_jax_files": copied}), copy)
    assert len(open_results(home / "stranger").runs) == 6


def test_what_pandas_would_do_for_a_file_is_not_done(home: Path) -> None:
    """Metadata can make pandas build an index, or parse a column as something else."""
    told = {
        "pandas": json.dumps({"index_columns": ["run_id"], "columns": [], "column_indexes": []})
    }
    described(told)(home / "stranger")
    described(told, "steps")(home / "stranger")
    analysis = pa.table({"run_id": open_results(home / "stranger").runs["run_id"]})
    analysis = with_column(analysis, "anything", pa.array(range(len(analysis))))
    pq.write_table(analysis.replace_schema_metadata(told), home / "stranger" / "analysis.parquet")
    results = open_results(home / "stranger")
    assert {"run_id", "anything"} < {*results.runs.columns}
    assert isinstance(results.steps().index, pd.RangeIndex)


def test_faults_of_ours_keep_their_cause_and_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        with reading(Path("x")):
            raise ZeroDivisionError("a\nfault")

    with pytest.raises(InputError, match="ZeroDivisionError: a fault") as caught:
        broken()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    monkeypatch.setenv("TFC_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        broken()


def test_a_document_is_read_up_to_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for depth, is_read in ((untrusted.MAX_JSON_DEPTH, True), (untrusted.MAX_JSON_DEPTH + 1, False)):
        path.write_text('{"a":' * depth + "3" + "}" * depth)
        if is_read:
            untrusted.read_json(path)
        else:
            with pytest.raises(InputError, match="nested"):
                untrusted.read_json(path)
