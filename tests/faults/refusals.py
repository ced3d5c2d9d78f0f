"""Commands in this process, and what is asked of one that was given bad input."""

from collections.abc import Sequence
from pathlib import Path

from typer.testing import CliRunner, Result

from tests.faults.tally import Tally
from tfc_jax.cli import app


def tfc(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def content(folder: Path) -> dict[Path, bytes | str]:
    """Everything below a folder; of what is no file, its kind."""
    return {
        path: path.read_bytes() if path.is_file() else "folder" if path.is_dir() else "other"
        for path in sorted(folder.rglob("*"))
    }


def faults_of(answer: Result, parts: Sequence[str], start: str = "") -> list[str]:
    """What a refusal lacks: its code, its sentence, that nothing else was shown."""
    lines = answer.stderr.splitlines()
    found = [f"{part!r} is missing in {answer.stderr[:500]!r}" for part in parts
             if part not in answer.stderr]  # fmt: skip
    if answer.exit_code != 2:
        found.append(f"it ended with {answer.exit_code}: {answer.output[-500:]!r}")
    if not lines or not any(line.startswith(start) for line in lines):
        found.append(f"no line starts with {start!r}: {answer.stderr[:300]!r}")
    if any(len(line) > 2100 or not line.isprintable() for line in lines):
        found.append(f"a line is too long or not printable: {answer.stderr[:300]!r}")
    return found


def shows_traceback(answer: Result) -> bool:
    is_exit = answer.exception is None or isinstance(answer.exception, SystemExit)
    return not is_exit or "Traceback" in answer.output


def refuse(tally: Tally, case: str, answer: Result, parts: Sequence[str], start: str = "") -> str:
    """Counts one refusal; returns what is wrong with it, or nothing."""
    tally.tried += 1
    if shows_traceback(answer):
        tally.tracebacks += 1
        return f"{case[:80]!r}: {answer.exception!r}"
    wrong = faults_of(answer, parts, start)
    tally.wrong += bool(wrong)
    return f"{case[:80]!r}: {'; '.join(wrong)}" if wrong else ""
