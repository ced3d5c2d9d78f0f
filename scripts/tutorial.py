"""Executes docs/tutorial.ipynb from nothing, in an empty folder, and stores what it shows.

Usage: python scripts/tutorial.py [TARGET.ipynb]     default: in place. Needs the extra `dev`.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

SOURCE = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
CELL_SECONDS = 600


def execute(source: Path, target: Path) -> None:
    """Runs all cells of a notebook; raises at the first that fails."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `tfc`
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            resources=resources,
            record_timing=False,
            coalesce_streams=True,  # whatever the timing of prints
            extra_arguments=["--log-level=ERROR"],
        )
        client.execute()
    notebook.metadata.language_info = {"name": "python"}  # not the version of whoever ran it
    nbformat.write(notebook, target)


if __name__ == "__main__":
    execute(SOURCE, Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE)
