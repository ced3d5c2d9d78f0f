"""Wrong command lines: code 2, a sentence that names the flag, no traceback, no trace."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import Result

from tests.faults import bad_flags
from tests.faults.refusals import content, shows_traceback, tfc
from tests.faults.tally import Tally

COMMANDS = {"plan": [], "run": bad_flags.RUN, "bench": bad_flags.BENCH}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, as `bad_flags` says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("name: a\nbase: {dataset: digits, steps: 4}\n")
    (tmp_path / "file").write_text("x")
    for name in ("folder", "empty"):
        (tmp_path / name).mkdir()
    return tmp_path


def lacks(answer: Result, parts: Sequence[str]) -> list[str]:
    """What a refusal lacks, the frame apart that typer draws around its own."""
    said = " ".join(answer.stderr.translate(str.maketrans("│╭╮╰╯─", " " * 6)).split())
    found = [part for part in parts if part not in said]
    return [*found, *([f"code {answer.exit_code}"] if answer.exit_code != 2 else [])]


def wrong_of(tally: Tally, folder: Path, given: Sequence[str], parts: Sequence[str]) -> str:
    """Gives a command; returns what is wrong with its refusal, or nothing."""
    before = content(folder)
    answer = tfc(*given)
    tally.tried += 1
    tally.tracebacks += shows_traceback(answer)
    missing = lacks(answer, parts)
    missing += ["something was written"] if content(folder) != before else []
    tally.wrong += bool(missing)
    return f"{[x[:40] for x in given]}: {missing}: {answer.output[:600]}" if missing else ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_flag(here: Path, tally: Tally, command: str) -> None:
    wrong = []
    for text, parts in bad_flags.FLAGS + COMMANDS[command]:
        given = text.split(" ")  # an empty argument stays one
        wrong.append(wrong_of(tally, here, [command, "s.yaml", *given], parts))
    assert not list(filter(None, wrong))
    assert tally.tried >= 39
    assert not tally.bad


def test_a_wrong_command_line(here: Path, tally: Tally) -> None:
    wrong = [wrong_of(tally, here, given, parts) for given, parts in bad_flags.OTHERS]
    assert not list(filter(None, wrong))
    assert tally.tried > 60
    assert not tally.bad


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written(here: Path, tally: Tally) -> None:
    (here / "folder").chmod(0o500)
    wrong = wrong_of(tally, here, ["run", "s.yaml", "--out", "folder/x"], ["Give another --out."])
    assert not wrong
