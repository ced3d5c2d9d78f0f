"""Compares tfc_jax with other ways to train many small networks, on CPU cores: `make bench`.

Every contender is a process of its own, prepared first and then timed in turn with the others, so
that a slower minute of the machine falls on all. Writes PROFILE.json and PROFILE.png.

`images256` and `images64` need one core: everything has one thread on the same core. `digits` needs
two: plain JAX with two threads in one process against two workers with one thread each.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import figure, table
from bench.processes import cores
from bench.profiles import PROFILES, Profile, tiny
from bench.session import Say, measure
from bench.summary import as_json
from tfc_jax.manifest import git_commit

RESULTS = Path(__file__).parent / "results"
REPEATS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    console = Console(width=None if Console().is_terminal else 120)
    options.out.mkdir(parents=True, exist_ok=True)
    commit = git_commit()  # before results are written, which may be tracked
    for name in options.profiles or PROFILES:
        profile = tiny(PROFILES[name]) if options.quick else PROFILES[name]
        run(profile, options, console, commit)
    console.print(f"\n{table.NOTE}", markup=False)


def run(
    profile: Profile, options: argparse.Namespace, console: Console, commit: str | None
) -> None:
    """Measures a profile, shows it, writes its files."""
    entries = [e for e in profile.entries if not options.only or e.name in options.only]
    if not entries:
        return
    start, found = time.perf_counter(), []
    for problem in profile.problems:
        with tempfile.TemporaryDirectory(prefix="tfc_bench.") as folder:
            found.append(measure(problem, entries, options.repeats, Path(folder), _saying(console)))
        table.show(console, found[-1])
    content = (
        {"git": commit}
        | _about(time.perf_counter() - start)
        | {
            "note": table.NOTE,
            "problems": {m.problem.title: as_json(m) for m in found},
        }
    )
    path = options.out / f"{profile.name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    figure.draw(found, profile.unit, path.with_suffix(".png"))
    console.print(f"wrote {path} and {path.with_suffix('.png').name}", markup=False)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = dict.fromkeys(entry.name for p in PROFILES.values() for entry in p.entries)
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "profiles", nargs="*", metavar="PROFILE", help=f"{', '.join(PROFILES)}; default: all"
    )
    parser.add_argument("--only", nargs="+", choices=names, help="contenders; default: all")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--quick", action="store_true", help="tiny networks: does it run at all?")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args(arguments)
    unknown = set(options.profiles) - PROFILES.keys()
    if unknown:
        parser.error(f"{', '.join(unknown)} came; profiles are {', '.join(PROFILES)}")
    return options


def _saying(console: Console) -> Say:
    return lambda text: console.print(text, style="dim", markup=False, highlight=False)


def _about(seconds: float) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(cores()),
        "system": platform.system(),
        "python": platform.python_version(),
        "seconds": round(seconds),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return "; ".join(sorted(models)) or platform.processor()


if __name__ == "__main__":
    main()
