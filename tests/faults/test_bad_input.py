"""Bad input through the command line: code 2, a sentence that helps, no traceback, no trace."""

import json
import os
import string
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.bad_sweeps import HOSTILE, TABLE
from tests.faults.refusals import content, refuse, tfc
from tests.faults.tally import Tally
from tfc_jax import axis_values, grid
from tfc_jax.cells import Cell, Line
from tfc_jax.config import load_sweep
from tfc_jax.errors import LONGEST, InputError

ROOT = Path(__file__).parents[2]
COMMANDS = ("validate", "plan", "run")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_wrong_sweep(here: Path, tally: Tally) -> None:
    wrong = []
    for i, (text, line, parts) in enumerate(TABLE):
        (here / "s.yaml").write_text(text, newline="")
        before = content(here)
        answer = tfc(COMMANDS[i % len(COMMANDS)], "s.yaml")
        wrong.append(refuse(tally, text, answer, parts, f"s.yaml:{line}: "))
        assert content(here) == before
        assert answer.stderr.count("\n") == 1, "one mistake, one message"
        assert answer.stderr.rstrip().endswith((".", '"')), answer.stderr
    assert not list(filter(None, wrong))
    assert tally.tried == len(TABLE) > 100
    assert not tally.bad


def test_a_hostile_sweep(here: Path, tally: Tally) -> None:
    wrong = []
    for text, line, parts in HOSTILE:
        (here / "s.yaml").write_bytes(text.encode())
        before = content(here)
        answer = tfc("run", "s.yaml")
        wrong.append(refuse(tally, text, answer, parts, f"s.yaml:{line}: " if line else "s.yaml: "))
        assert content(here) == before
    assert not list(filter(None, wrong))
    assert tally.tried == len(HOSTILE) > 80
    assert not tally.bad


def test_bytes_that_are_no_text(here: Path, tally: Tally) -> None:
    for raw in (
        b"name: a\nbase: \xff",
        b"name: a\n\xed\xa0\x80: 3",
        "name: a\n\u00e4".encode("utf-16"),
    ):
        (here / "s.yaml").write_bytes(raw)
        assert not refuse(tally, repr(raw), tfc("run", "s.yaml"), ["UTF-8"], "s.yaml:")
    assert tally.tried == 3


def test_a_file_without_end_is_not_read_to_its_end(here: Path, tally: Tally) -> None:
    (here / "s.yaml").touch()
    os.truncate(here / "s.yaml", 2**42)  # bytes that no memory holds, and no disk: it is sparse
    answer = tfc("validate", "s.yaml")
    assert not refuse(tally, "4 TiB", answer, ["larger than 1048576 bytes"], "s.yaml: ")


def test_a_path_that_is_no_sweep(here: Path, tally: Tally) -> None:
    os.mkfifo(here / "pipe")
    (here / "folder").mkdir()
    (here / "loop").symlink_to("loop")
    before = content(here)
    wrong = [
        refuse(tally, path[:40], tfc(command, path), [part, "Give the path of a sweep"], path[:40])
        for path, part in [
            ("absent.yaml", "no such file"),
            ("folder", "this is no file"),
            ("pipe", "this is no file"),
            ("/dev/zero", "this is no file"),
            ("/dev/null", "this is no file"),
            ("folder/absent/s.yaml", "no such file"),
            ("/dev/null/s.yaml", "cannot be read"),
            ("loop", "cannot be read"),
            ("a" * 300, "cannot be read"),
            ("a\nb", "no such file"),
        ]
        if path != "a\nb"
        for command in COMMANDS
    ]
    assert "a\\nb: no such file" in tfc("run", "a\nb").stderr
    assert not list(filter(None, wrong))
    assert content(here) == before
    assert not tally.bad


def refusal(path: Path, text: str) -> InputError:
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_sweep(path)
    return error.value


@pytest.mark.parametrize(
    "sections",
    [
        "grid:\n  init_scale: {linspace: [1, 2, 1000000]}\n"
        "  learning_rate: {logspace: [1, 2, 1000000]}\n  weight_decay: {range: [0, 1000000]}\n",
        "zip:\n  - {init_scale: {linspace: [1, 2, 1000000]}}\n"
        "  - {depth: {range: [1, 1000001]}, momentum: {linspace: [0, 0.5, 1000000]}}\n"
        "seeds: 1000000\n",
        "grid:\n  init_scale: {linspace: [1, 2, 1000]}\n  seed: {range: [0, 2000000]}\n",
    ],
)
def test_a_grid_of_too_many_runs_is_refused_without_a_value_of_it_being_made(
    here: Path, monkeypatch: pytest.MonkeyPatch, sections: str
) -> None:
    (here / "s.yaml").write_text(f"name: a\n{sections}")
    monkeypatch.setattr("tfc_jax.sections.read_axis", lambda *_: pytest.fail("an axis was made"))
    monkeypatch.setattr(axis_values._Lazy, "__getitem__", lambda *_: pytest.fail("a value"))
    monkeypatch.setattr(grid.Grid, "kept", lambda *_: pytest.fail("the product was made"))
    with pytest.raises(InputError, match=r"runs = .* at most 2,000,000 are allowed"):
        load_sweep("s.yaml")


def test_a_refined_grid_of_too_many_cells_is_refused_without_a_cell_being_made(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = "init_scale: {linspace: [1, 9, 101]}, learning_rate: {linspace: [1, 9, 101]}"
    rest = 'refine: {axes: [init_scale, learning_rate], boundary: "final_loss < 2", halvings: 6}'
    (here / "s.yaml").write_text(f"name: a\ngrid: {{{axes}}}\n{rest}\nseeds: 100\n")
    monkeypatch.setattr(Cell, "children", lambda *_: pytest.fail("a cell was made"))
    monkeypatch.setattr(grid.Grid, "kept", lambda *_: pytest.fail("a run was made"))
    with pytest.raises(InputError, match=r"runs = .* x 5461 \(refine, at most\)"):
        load_sweep("s.yaml")


def test_the_halves_of_too_many_cells_are_not_even_compared(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = 'refine: {axes: [init_scale], boundary: "final_loss < 2", halvings: 8}'
    text = f"name: a\ngrid: {{init_scale: {{linspace: [1, 9, 10000]}}}}\n{rest}"
    (here / "s.yaml").write_text(text)
    monkeypatch.setattr(Line, "points", lambda *_: pytest.fail("points were made"))
    with pytest.raises(InputError, match="5,110,000 runs"):
        load_sweep("s.yaml")


@pytest.mark.parametrize("name", ["a", "_", "0", "A.b-c_9", "a" * 64, "a..b", "9-.", "CON"])
def test_a_name_of_the_allow_list_is_taken(here: Path, name: str) -> None:
    (here / "s.yaml").write_text(f"name: '{name}'\n")
    assert load_sweep("s.yaml").name == name


def test_every_other_character_and_every_other_start_is_refused_in_a_name(here: Path) -> None:
    inside = set(string.ascii_letters + string.digits + "._-")
    others = [chr(code) for code in range(0x20, 0x7F)] + list(
        "\u00e4\u0663\u0131\u2024\uff0f\u00a0"
    )
    first = {c for c in others if _takes(here, f"{c}a")}
    later = {c for c in others if _takes(here, f"a{c}")}
    assert later == inside
    assert first == inside - {".", "-"}
    assert not any(_takes(here, name) for name in ("", "a" * 65, "a\n", "..", ".", "a/../b"))


def _takes(here: Path, name: str) -> bool:
    (here / "s.yaml").write_text(json.dumps({"name": name}), encoding="utf-8")
    try:
        return load_sweep("s.yaml").name == name
    except InputError:
        return False


def test_all_errors_are_reported_together_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = (
        "name: .a\nbase:\n  depth: x\n  depth: 3\n  widht: 1\ngrid:\n  init_scale: [0]\n"
        'exclude: ["a > 1", "depth >"]\nseeds: 0\nrecord: {every: x, evry: 1}\n'
    )
    messages = refusal(tmp_path / "s.yaml", text).messages
    lines = [int(message.split(":")[1]) for message in messages]
    assert lines == [1, 3, 4, 5, 7, 8, 8, 9, 10, 10]


def test_a_missing_name_is_reported_beside_other_errors(tmp_path: Path) -> None:
    messages = refusal(tmp_path / "s.yaml", "base: {depth: 0}\nmore: 3").messages
    assert ["name is missing" in message for message in messages] == [True, False, False]


def test_filter_and_limit_are_refused_by_their_own_names(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: a\ngrid: {depth: [3, 5]}")
    for where, limit, part in [
        ("dept > 3", None, "--filter: in 'dept > 3': unknown name 'dept'. Did you mean 'depth'?"),
        ("depth > 9", None, f"--filter: no run of {path} fits 'depth > 9'."),
        (None, 0, "--limit: 0 came. Allowed: a whole number >= 1."),
    ]:
        with pytest.raises(InputError) as error:
            load_sweep(path, where=where, limit=limit)
        assert part in str(error.value)


def test_wrong_input_is_refused_without_importing_jax(tmp_path: Path) -> None:
    for i, (text, _, _) in enumerate(TABLE):
        (tmp_path / f"{i}.yaml").write_text(text, encoding="utf-8")
    program = (
        "import json, sys; from pathlib import Path\n"
        "from tfc_jax.config import load_sweep; from tfc_jax.errors import InputError\n"
        "refused = 0\n"
        "for path in Path(sys.argv[1]).glob('*.yaml'):\n"
        "    try: load_sweep(path)\n"
        "    except InputError: refused += 1\n"
        "print(json.dumps([refused, [m for m in sys.modules if m.split('.')[0] in\n"
        "    ('jax', 'jaxlib', 'flax', 'pandas', 'pyarrow', 'tensorflow')]]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [len(TABLE), []]


def test_a_long_message_loses_its_middle() -> None:
    (message,) = InputError(f"begun {'x' * 10**6} ended").messages
    assert len(message) <= LONGEST
    assert message.startswith("begun x")
    assert message.endswith("x ended")
