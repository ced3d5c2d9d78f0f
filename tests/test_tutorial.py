"""The tutorial runs from nothing, and what it shows is what it stored."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.sweeps import ROOT

STORED = ROOT / "docs" / "tutorial.ipynb"
VERDICT = re.compile(r"^depth (\d+): (SUPPORTED|NOT SUPPORTED|OPPOSITE|INCONCLUSIVE)$", re.M)


def code_cells(path: Path) -> list[Any]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cells: list[Any]) -> str:
    return "".join(out.get("text", "") for cell in cells for out in cell.outputs)


def test_the_tutorial_is_stored_as_it_was_executed_in_order_without_an_error() -> None:
    cells = code_cells(STORED)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [out for cell in cells for out in cell.outputs]
    assert not [out for out in shown if out.output_type == "error" or out.get("name") == "stderr"]
    assert any("image/png" in out.get("data", {}) for out in shown)
    assert dict(VERDICT.findall(printed(cells))).keys() == {"5", "7"}


@pytest.mark.slow
def test_the_tutorial_runs_from_nothing_and_comes_to_a_verdict_again(tmp_path: Path) -> None:
    target = tmp_path / "again.ipynb"
    answer = subprocess.run(
        [sys.executable, ROOT / "scripts" / "tutorial.py", target],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    stored, again = code_cells(STORED), code_cells(target)
    assert [cell.source for cell in again] == [cell.source for cell in stored]
    for old, new in zip(stored, again, strict=True):
        assert [out.output_type for out in new.outputs] == [out.output_type for out in old.outputs]
    # Other processors round differently, so numbers and verdicts near a threshold may differ.
    assert dict(VERDICT.findall(printed(again))).keys() == {"5", "7"}
