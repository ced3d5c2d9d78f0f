"""No text of a file reaches the terminal with a control character in it."""

import ast
import io
import json
import logging
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.security.conftest import change_json, change_parquet, tfc, with_column
from tests.sweeps import ROOT
from tfc_jax import terminal
from tfc_jax.console import print_table, tell_warnings
from tfc_jax.escapes import visible, visible_lines
from tfc_jax.live import View
from tfc_jax.progress import Display
from tfc_jax.results import open_results
from tfc_jax.status import PackState, Status

# Reverse, the title of the window, a CSI of one byte, DEL, right-to-left, back over the line.
EVIL = "\x1b[7m\x1b]0;title\x07\x9b2J\x7f\u202e\u2066\r\x08\u2028\ud800"
ESCAPED = r"\x1b[7m\x1b]0;title\x07\x9b2J\x7f\u202e\u2066\r\x08\u2028\ud800"
IN_FILES = EVIL.removesuffix("\ud800")  # UTF-8 has no lone surrogates
# All that may write to a terminal; process.py only flushes it and closes it.
SPEAKERS = {"console.py", "terminal.py", "process.py"}


def assert_plain(text: str) -> None:
    strange = {c for c in text if not (c.isprintable() or c == "\n")}
    assert not strange, text


def test_control_characters_become_visible() -> None:
    assert visible(EVIL) == ESCAPED
    assert visible("a\nb\tc") == r"a\nb\tc"
    assert visible_lines("a\nb\tc") == "a\nb\\tc"
    assert visible("Phase ± 1 °, 数 ✓") == "Phase ± 1 °, 数 ✓"


def test_nothing_that_is_hidden_or_turns_text_round_stays() -> None:
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for c in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            assert c not in visible(c)
        if unicodedata.bidirectional(c) in turning:
            assert c not in visible(c)


def test_only_the_console_writes_to_the_terminal() -> None:
    direct = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("tfc_jax", "analysis")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name not in SPEAKERS
        for line in speaks(path)
    ]
    assert not direct, "say it with tfc_jax.console.echo, or a tfc_jax.terminal.Terminal"


def speaks(path: Path) -> Iterator[int]:
    """Yields the lines that print: by typer, rich, print, or the streams of sys."""
    named = {"print", "typer.echo", "typer.secho", "rich.print", "Console", "rich.console.Console"}
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=function) if ast.unparse(function) in named:
                yield node.lineno
            case ast.Attribute(value=ast.Name("sys"), attr="stdout" | "stderr"):
                yield node.lineno
            case ast.Attribute(value=ast.Name("typer"), attr="echo" | "secho"):
                yield node.lineno


@pytest.mark.parametrize(
    "line",
    ["print(1)", "typer.echo(1)", "partial(typer.echo)", "sys.stderr.write('')", "x = Console()"],
)
def test_a_module_that_prints_itself_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(f"import sys\n{line}\n")
    assert list(speaks(tmp_path / "module.py"))[:1] == [2]


def on_terminal(*shown: Any) -> str:
    """What a terminal gets, which rich colours itself."""
    file = io.StringIO()
    console = terminal.Terminal(file=file, force_terminal=True, width=400, height=40)
    for one in shown:
        console.print(one, markup=False, highlight=False)
    return file.getvalue()


def assert_harmless(said: str) -> None:
    """ESC may only begin what rich writes itself: colours and bold."""
    assert ESCAPED[:12] in said, said
    assert not set("\x07\x9b\x7f\u202e\u2066\x08\u2028\ud800") & set(said)
    assert "\x1b]" not in said
    assert "\x1b[7m" not in said


def test_rich_shows_escapes_of_texts_too() -> None:
    assert_harmless(on_terminal(EVIL))


def test_the_live_view_shows_escapes(trained: Path) -> None:
    packs = (PackState(EVIL, EVIL, 1, 1, "training", 0),)
    counts = dict.fromkeys(("done", "diverged", "running", "failed", "pending"), 1)
    state = Status(
        EVIL, counts, {"running": 0, "done": 0}, 0, 10, 1, 10, True, 1.0, 1.0, 1.0, (EVIL,), packs,
        (),
    )  # fmt: skip
    assert_harmless(on_terminal(View(state, EVIL)))
    assert_plain(state.as_text())
    assert json.loads(json.dumps(state.as_dict()))["name"] == EVIL


def test_the_progress_of_a_launch_shows_escapes() -> None:
    for force in (True, False):
        file = io.StringIO()
        console = terminal.Terminal(file=file, force_terminal=force, width=400)
        with Display(console, quiet=False) as display:
            display({"event": "failed", "pack": EVIL, "error": EVIL})
        assert_harmless(file.getvalue())


def test_a_table_shows_escapes_and_no_endless_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([EVIL], [[EVIL], ["[bold]x"], ["x" * 10**7]])
    said = capsys.readouterr().out
    assert_plain(said)
    assert "[bold]x" in said
    assert "(10,000,000 characters)" in said
    assert len(said) < 10_000


def test_warnings_show_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        tell_warnings()
        logging.getLogger("tfc_jax").warning("%s set aside", EVIL)
        said = capsys.readouterr().err
        assert ESCAPED + " set aside" in said
        assert_plain(said)
    finally:
        logging.captureWarnings(False)
        root.handlers = before


@pytest.fixture
def escaped(stranger: Path) -> Path:
    """Results with escapes in every text that a command may show."""

    def manifest(content: Any) -> Any:
        flags = content["flags"] | {"filter": f'dataset != "{IN_FILES}"'}
        told = dict.fromkeys(("description", "git", "platform", "machine", "name"), EVIL)
        return (
            content | told | {"flags": flags, "versions": {EVIL: EVIL}, "earlier": [{EVIL: EVIL}]}
        )

    def runs(table: pa.Table) -> pa.Table:
        texts = pa.array([f"{IN_FILES}{i}" for i in range(len(table))])
        for name in ("dataset", "program", "tfc_version", "device_kind", "init", IN_FILES):
            table = with_column(table, name, texts)
        meaning = json.dumps([{"name": EVIL, "unit": EVIL, "meaning": EVIL}])
        return table.replace_schema_metadata({"tfc_jax": meaning})

    change_json(stranger / "manifest.json", manifest)
    for part in (stranger / "runs").glob("*.parquet"):
        change_parquet(part, runs)
    (stranger / EVIL[:20]).mkdir()
    (stranger / "steps" / IN_FILES).touch()
    pack = next(iter(open_results(stranger).runs["pack"]))
    failed = {"time": 1.0, "event": "failed", "pack": pack, "error": EVIL}
    with (stranger / "log.jsonl").open("a") as log:
        log.write(json.dumps(failed) + "\n" + json.dumps(failed | {"pack": EVIL}) + "\n")
    return stranger


COMMANDS = (
    ("status",), ("status", "--json"), ("ls",), ("ls", "--json"),
    ("ls", "--filter", "dataset == 3"),
    ("ls", "--filter", "datasett == 'x'"), ("show",), ("show", "--columns"),
    ("show", "--columns", "--json"), ("show", "RUN"), ("show", "RUN", "--json"), ("show", EVIL),
    ("replay", "RUN"), ("replay", EVIL), ("report",), ("retry",), ("status", EVIL),
    ("ls", f"-{EVIL}"), ("fsck",), ("fsck", "--json"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_on_a_folder_full_of_escapes(escaped: Path, command: tuple[str, ...]) -> None:
    run_id = str(open_results(escaped).runs["run_id"].iloc[0])
    name, *rest = (run_id if word == "RUN" else word for word in command)
    answer = tfc(name, escaped, *rest)
    assert answer.exit_code in (0, int(name == "fsck"), 2), answer.output
    assert "Traceback" not in answer.output
    assert_plain(answer.output)
    if "--json" in rest and answer.exit_code != 2:
        assert_plain(str(answer.stdout))
        assert json.loads(answer.stdout)


SWEEPS = (
    {"name": EVIL}, {"description": 3, EVIL: 1}, {"base": {EVIL: 1}}, {"base": {"depth": EVIL}},
    {"base": {"dataset": EVIL}}, {"base": {"dataset": f"npz:{EVIL}"}}, {"grid": {EVIL: [1]}},
    {"grid": {"depth": [EVIL]}}, {"exclude": [EVIL]}, {"record": {EVIL: 1}},
    {"record": {"metrics": [EVIL]}}, {"zip": [{EVIL: [1]}]}, {"seeds": EVIL}, {"refine": {EVIL: 1}},
)  # fmt: skip


@pytest.mark.parametrize("sections", SWEEPS, ids=range(len(SWEEPS)))
@pytest.mark.parametrize("command", ["validate", "plan", "run", "bench"])
def test_commands_on_a_sweep_full_of_escapes(
    tmp_path: Path, sections: dict[str, Any], command: str
) -> None:
    answer = tfc(command, _write(tmp_path, sections))
    assert answer.exit_code == 2, answer.output
    assert_plain(answer.output)


def _write(folder: Path, sections: dict[str, Any]) -> Path:
    path = folder / f"{IN_FILES[:6]}.yaml"
    path.write_text(json.dumps({"name": "small", "base": {"dataset": "digits"}} | sections))
    return path


@pytest.mark.parametrize(
    "raw", [f"name: {IN_FILES}", f"name: x{IN_FILES[0]}", "name: &\x1b a", "\x85"]
)
def test_a_sweep_that_is_no_yaml_shows_escapes(tmp_path: Path, raw: str) -> None:
    (tmp_path / "x.yaml").write_text(raw)
    answer = tfc("validate", tmp_path / "x.yaml")
    assert answer.exit_code == 2
    assert_plain(answer.output)


def test_a_fault_of_ours_is_shown_as_text(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = ['schema']\n"
        "from tfc_jax import cli, config\n"
        f"def broken(): raise RuntimeError({EVIL[:-1]!r})\n"
        "config.json_schema = broken\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert_plain(done.stderr)


def test_the_folder_of_results_is_named_as_text(tmp_path: Path) -> None:
    assert_plain(tfc("status", tmp_path / EVIL[:9]).output)
