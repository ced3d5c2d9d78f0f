"""Records of processes, as a lock has them."""

import os
import subprocess
import sys

HOST = os.uname().nodename


def alive() -> str:
    """This process."""
    return f"process {os.getpid()} on {HOST}"


def dead() -> str:
    """A process that has ended."""
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        check=True,
        capture_output=True,
        text=True,
    )
    return f"process {ended.stdout.strip()} on {HOST}"


def elsewhere() -> str:
    """Whether it lives cannot be seen from here."""
    return dead().replace(HOST, "elsewhere")
