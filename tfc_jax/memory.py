"""Whether one run alone fits in a device's memory; `tfc plan` says so where it does not.

A launch does not refuse it: the estimate is a formula, and a device that runs out of memory is
answered with fewer lanes at a time (out_of_memory.py). With one lane the pack then fails.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

from tfc_jax.devices import Devices
from tfc_jax.pack import Pack, prices
from tfc_jax.plan import Plan
from tfc_jax.wording import size


def of_device(found: Devices) -> float | None:
    """Returns the bytes of the smallest device, of a CPU the machine's; None if nothing says it."""
    if found.platform == "cpu":
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return _smallest_gpu() if found.platform == "gpu" else None


def warnings(plan: Plan, limit: float | None) -> Iterator[str]:
    """Yields a line about the largest of the unfinished packs that are too large with one run.

    Args:
      limit: bytes of one device; None: nothing is said.
    """
    todo = plan.unfinished
    needs = prices(lambda pack: _alone(pack).device_bytes(plan.sweep.record), todo)
    if limit is not None and needs and max(needs) > limit:
        worst = todo[needs.index(max(needs))]
        place = "this machine" if plan.platform == "cpu" else f"a {plan.platform} here"
        yield (
            f"Memory: {place} has {size(limit)}, but pack {worst.id} "
            f"({worst.program.title}) needs about {size(max(needs))} even with one run at a time. "
            f"It would fail: make a run smaller (batch_size, width, n_train, record.metrics)."
        )


def _alone(pack: Pack) -> Pack:
    return replace(pack, width=1, runs=pack.runs[:1])


def _smallest_gpu() -> float | None:
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = [float(line) * 2**20 for line in answer.stdout.split("\n") if line.strip().isdigit()]
    return min(found, default=None)
