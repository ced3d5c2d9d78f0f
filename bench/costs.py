"""What a process took: seconds on the clock, seconds of processor time, and its peak memory."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.wall_s:7.2f}  {self.cpu_s:7.2f}  {self.peak_mb:7.0f}"


HEADINGS = f"{'wall s':>7}  {'CPU s':>7}  {'peak MB':>7}"


def cost(arguments: Sequence[str], folder: Path) -> Cost:
    """Runs a process in a folder; ends this one if that fails."""
    begun = os.times().elapsed
    process = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} ended with exit code {process.returncode}.")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(os.times().elapsed - begun, cpu_s, usage.ru_maxrss * 1024 / 1e6)
