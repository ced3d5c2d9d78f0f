"""What CI runs sees to the browser that the report page is tested in."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sweeps import ROOT

TOOLS = ("bash", "dirname", "env")  # all that the script needs besides those below


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The only folder of programs: the tools, and some that say how they were called."""
    for name in TOOLS:
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    write(tmp_path / "make", 'echo "make $*"')
    write(tmp_path / "id", "echo 0")
    return tmp_path


def write(program: Path, line: str) -> None:
    program.write_text(f"#!{shutil.which('bash')}\n{line}\n")
    program.chmod(0o755)


def ci(programs: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(programs), "HOME": os.environ.get("HOME", "/")}
    command = [str(programs / "bash"), str(ROOT / ".ci" / "run")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("browser", ["chromium", "chromium-browser"])
def test_a_browser_that_is_there_is_left_alone(programs: Path, browser: str) -> None:
    write(programs / browser, "exit 1")
    write(programs / "apt-get", 'echo "apt-get $*"')
    assert ci(programs).stdout == "make check\n"


def test_a_browser_that_is_missing_is_installed_before_anything_is_checked(programs: Path) -> None:
    write(programs / "apt-get", 'echo "apt-get $*"')
    said = ci(programs).stdout.splitlines()
    assert [line.split()[:2] for line in said] == [
        ["apt-get", "update"],
        ["apt-get", "install"],
        ["make", "check"],
    ]
    assert said[1].endswith(" chromium")


def test_without_the_right_to_install_nothing_is_checked_and_the_remedy_is_said(
    programs: Path,
) -> None:
    write(programs / "apt-get", 'echo "apt-get $*"')
    write(programs / "id", "echo 1000")
    answer = ci(programs)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "apt-get install chromium" in answer.stderr


def test_a_failed_installation_checks_nothing(programs: Path) -> None:
    write(programs / "apt-get", "exit 100")
    answer = ci(programs)
    assert (answer.returncode, answer.stdout) == (100, "")
