"""Every command that the README shows works as shown.

Blocks run in order in a copy of the project. A block after one of these comments is not run:
`<!-- needs: network -->`, `<!-- needs: accelerator -->`, `<!-- needs: minutes -->`. `make TARGET`
would build another environment, so of these only the recipes are resolved (`make -n`).
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from analysis.claims import read_claims
from analysis.drawing import figure_names
from tfc_jax import data, registry
from tfc_jax.config import load_sweep
from tfc_jax.keys import INTERVENTIONS, KEYS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAPER = ROOT / "sweeps" / "paper"
CONDITIONS = ROOT / "sweeps" / "conditions"
NEEDS = {"network", "accelerator", "minutes"}
NOT_COPIED = shutil.ignore_patterns(".*", "results", "build", "*.egg-info", "__pycache__")
BLOCK = re.compile(
    r"(?:<!-- needs: (?P<needs>\w+) -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block: the line of its first text line, its language, what it needs, its text."""

    line: int
    language: str
    needs: str
    text: str

    @property
    def command(self) -> list[str]:
        if self.language == "python":
            return [sys.executable, "-c", self.text]
        return ["bash", "-euo", "pipefail", "-c", "\n".join(map(dry_make, self.shell_lines))]

    @property
    def shell_lines(self) -> list[str]:
        lines = self.text.splitlines()
        if self.language == "console":  # prompts mark commands; the rest is what they print
            return [line[2:] for line in lines if line.startswith("$ ")]
        return lines


def dry_make(line: str) -> str:
    return re.sub(r"^(\s*)make\b", r"\1make -n", line)


def blocks(text: str) -> list[Block]:
    return [
        Block(
            line=text.count("\n", 0, match.start("text")) + 1,
            language=match["language"],
            needs=match["needs"] or "",
            text=match["text"],
        )
        for match in BLOCK.finditer(text)
    ]


def readme_blocks() -> list[Block]:
    if not README.exists():
        pytest.skip("README.md is not written yet")
    return blocks(README.read_text())


def run(block: Block, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    answer = subprocess.run(
        block.command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    shown = (
        f"README.md:{block.line}\n{block.text}\n{answer.stdout[-2000:]}\n{answer.stderr[-4000:]}"
    )
    assert answer.returncode == 0, shown


@pytest.mark.slow
def test_every_command_of_the_readme_works_in_order(tmp_path: Path) -> None:
    commands = [b for b in readme_blocks() if b.language in {"bash", "console", "python"}]
    assert commands, "README.md shows no command"
    folder = tmp_path / "tfc_jax"
    shutil.copytree(ROOT, folder, ignore=NOT_COPIED)
    (folder / ".venv").symlink_to(sys.prefix)
    for block in commands:
        if not block.needs:
            run(block, folder)


def test_every_sweep_of_the_readme_is_valid(tmp_path: Path) -> None:
    for block in readme_blocks():
        if block.language == "yaml":
            path = tmp_path / f"README_line_{block.line}.yaml"
            path.write_text(block.text)
            assert load_sweep(path).runs


def test_the_readme_names_everything_that_a_sweep_can_name() -> None:
    text = README.read_text()
    plugins = [
        name for folder in ("models", "metrics", "probes") for name in registry.names(folder)
    ]
    inits = KEYS["init"].allowed.split(", ")
    for name in (*plugins, *data.available(), *inits, *INTERVENTIONS):
        assert f"`{name}`" in text, name


def test_the_readme_has_a_row_for_every_figure_and_every_claim() -> None:
    rows = re.findall(r"^\| `?([A-Za-z0-9_]+)`? \|", README.read_text(), re.M)
    wanted = [*figure_names(), *(claim.id for claim in read_claims())]
    assert [row for row in rows if row in set(wanted)] == wanted


def test_the_conditions_name_every_architecture_initialisation_and_intervention() -> None:
    runs = [run for path in CONDITIONS.glob("*.yaml") for run in load_sweep(path).runs]
    assert {run.architecture for run in runs} == set(registry.names("models"))
    assert {run.init for run in runs} == set(KEYS["init"].allowed.split(", "))
    assert {run.intervention for run in runs} == set(INTERVENTIONS)
    built_in = {state.name for state in data.state() if state.where.startswith(("built", "embed"))}
    assert {run.dataset for run in runs} == built_in


def test_no_block_is_left_out_for_an_unknown_reason() -> None:
    found = {block.needs for block in readme_blocks()}
    assert found <= NEEDS | {""}
    assert len(re.findall(r"<!-- needs:", README.read_text())) == sum(
        bool(block.needs) for block in readme_blocks()
    )


@pytest.mark.parametrize(
    "target",
    ["figures", "test", "check", "docs", "readme", "tutorial", "bench", "bench-metrics", "clean"],
)
def test_make_knows_its_targets(target: str) -> None:
    answer = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ".venv" in answer.stdout


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("profile", "folder"), [("default", "figures"), ("smoke", "smoke"), ("paper", "paper")]
)
def test_a_profile_has_its_own_sweeps_and_the_same_code_draws_it(profile: str, folder: str) -> None:
    recipe = make("-n", "figures", f"PROFILE={profile}").stdout
    assert f"tfc run sweeps/{folder}/*.yaml\n" in recipe
    assert f"-m analysis.build --profile {profile}\n" in recipe
    assert ("data prepare" in recipe) == (profile == "paper")


def test_the_paper_profile_prepares_every_data_set_that_its_sweeps_name() -> None:
    named = {run.dataset for path in PAPER.glob("*.yaml") for run in load_sweep(path).runs}
    prepared = re.search(r"^IMAGES := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert prepared
    built_in = {state.name for state in data.state() if state.where.startswith(("built", "embed"))}
    assert named - built_in <= set(prepared[1].split())


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    answer = make("figures", "PROFILE=papr")
    assert answer.returncode == 2
    assert "there are default, smoke and paper" in answer.stderr


def test_blocks_are_read_with_their_line_language_and_need() -> None:
    text = (
        "a\n\n<!-- needs: network -->\n```bash\ngit pull\n```\n\n"
        "```console\n$ make test\n3 passed\n```\n```text\nno command\n```\n"
    )
    pull, test, _ = blocks(text)
    assert pull == Block(line=5, language="bash", needs="network", text="git pull\n")
    assert (test.line, test.needs) == (9, "")
    assert test.command[-1] == "make -n test"
