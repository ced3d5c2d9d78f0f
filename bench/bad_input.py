"""How long bad sweeps take to be refused: each kind is read a few times by the loader itself.

Nothing is imported meanwhile and nothing printed: what `tfc validate` adds is its start. The kinds
are those that would take long, or all memory, without a limit that is checked first.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tfc_jax.config import load_sweep
from tfc_jax.errors import InputError
from tfc_jax.keys import AXES

Case = tuple[str, list[str]]  # the sweep, and what is given to --set

NAME = "name: bench\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bad_input", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(f"{'kind':28}  {'n':>4}  {'median s':>9}  {'max s':>9}  refused with")
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in CASES.items():
            text, overrides = make()
            path = Path(folder) / "s.yaml"
            path.write_text(text)
            taken, said = zip(*(_refused(path, overrides) for _ in range(repeats)), strict=True)
            middle, most = statistics.median(taken), max(taken)
            print(f"{kind:28}  {repeats:4}  {middle:9.4f}  {most:9.4f}  {said[0]:.60}", flush=True)


def _refused(path: Path, overrides: list[str]) -> tuple[float, str]:
    """Returns seconds of processor time, and the first message."""
    begun = time.process_time()
    try:
        load_sweep(path, overrides=overrides)
    except InputError as error:
        return time.process_time() - begun, error.messages[0].removeprefix(f"{path}")
    raise SystemExit(f"a sweep was read that must be refused: {path.read_text()[:200]!r}")


def _aliases() -> Case:
    """Ten lines that stand for 10^10 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return NAME + "\n".join(lines), []


def _too_many_runs() -> Case:
    axes = ("init_scale", "learning_rate", "weight_decay")
    lines = [f"  {axis}: {{linspace: [0.1, 0.9, 1000000]}}\n" for axis in axes]
    return NAME + "grid:\n" + "".join(lines), []


def _edits() -> Case:
    """Misspelt keys, each of which gets its suggestion."""
    keys = (f"  {axis[:i]}{axis[i + 1 :]}x{i}: 3\n" for axis in AXES for i in range(len(axis)))
    return NAME + "base:\n" + "".join(keys), []


CASES: dict[str, Callable[[], Case]] = {
    "one wrong key": lambda: (NAME + "base: {widht: 3}\n", []),
    "one wrong --set": lambda: (NAME, ["widht=3"]),
    "aliases of aliases": _aliases,
    "nested lists": lambda: (NAME + "base: " + "[" * 100_000, []),
    "nested mappings": lambda: (NAME + "base: " + "{a: " * 100_000, []),
    "nested by indentation": lambda: (NAME + "".join(f"{' ' * i}a:\n" for i in range(1400)), []),
    "many values": lambda: (NAME + f"grid: {{width: [{'1,' * 400_000}]}}", []),
    "one MiB and more": lambda: (NAME + "#" * 2**21, []),
    "one number of a million digits": lambda: (NAME + "base: {depth: " + "9" * 10**6 + "}", []),
    "one word of a million letters": lambda: (NAME + "base: {" + "x" * 10**6 + ": 3}", []),
    "a grid of 10^18 runs": _too_many_runs,
    "a range of 10^15 values": lambda: (NAME + "grid: {depth: {range: [1, 1000000000000000]}}", []),
    "misspelt keys": _edits,
    "nested expression": lambda: (NAME + f"exclude: ['{'(' * 900}depth{')' * 900}']", []),
    "45,000 excludes": lambda: (NAME + f"exclude: [{'depth > 3, ' * 45_000}]", []),
    "a thousand --set": lambda: (NAME, [f"depht{i}={i}" for i in range(1000)]),
}


if __name__ == "__main__":
    main()
