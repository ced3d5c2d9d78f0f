"""Which problems are measured, by whom, and what each number should be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.problem import Problem


@dataclass(frozen=True)
class Entry:
    """A contender as it takes part: where its class is, its processes and their threads.

    Attributes:
      place: MODULE:CLASS below `bench.contenders`, or anywhere.
      title: of its rows; `{row}` is replaced.
      cores: for each process the place of its core among those allowed; None is all of them, with
        one thread for each.
    """

    name: str
    place: str
    title: str
    cores: tuple[int | None, ...] = (0,)


@dataclass(frozen=True)
class Goal:
    """A ratio of two rows that should be at least `low`, or at most `high`.

    Attributes:
      unit: `cpu` compares work per processor second, `wall` work per second.
      better, than: titles of rows; the ratio is the speed of the first over that of the second.
      per: multiplies the ratio, where the two rows do not count the same work.
    """

    text: str
    better: str
    than: str
    low: float
    unit: str = "cpu"
    per: float = 1.0


@dataclass(frozen=True)
class Profile:
    """What one table and one figure show."""

    name: str
    problems: tuple[Problem, ...]
    entries: tuple[Entry, ...]
    unit: str  # of the figure: `cpu` or `wall`


ONE_CORE = (
    Entry("loop", "torch_loop:Loop", "PyTorch loop"),
    Entry("vmap", "torch_together:Vmap", "torch.func vmap"),
    Entry("compiled", "torch_together:CompiledVmap", "torch.func vmap, compiled"),
    Entry("baddbmm", "torch_together:Ensemble", "baddbmm ensemble"),
    Entry("scan_vmap", "jax_plain:ScanVmap", "jit(scan(vmap))"),
    Entry("map_scan", "jax_plain:MapScan", "jit(map(scan))"),
    Entry("ours", "ours:Ours", "tfc_jax, {row}"),
)
BOTH_CORES = (
    Entry("vmap_scan", "jax_plain:VmapScan", "jit(vmap(scan)), one process", cores=(None,)),
    Entry("workers", "ours:Bare", "tfc_jax, {row}", cores=(0, 1)),
)

WIDE = Problem("784-256x4-10", "images", depth=5, width=256)
NARROW = Problem("784-64x4-10", "images", depth=5, width=64, steps=25)
DIGITS = tuple(
    Problem(f"digits 9x{width}", "digits", depth=9, width=width, steps=steps, chunk=chunk)
    for width, steps, chunk in ((64, 25, 250), (128, 10, 250), (256, 5, 250))
)

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("images256", (WIDE,), ONE_CORE, unit="cpu"),
        Profile("images64", (NARROW,), ONE_CORE, unit="cpu"),
        Profile("digits", DIGITS, BOTH_CORES, unit="wall"),
    )
}


def tiny(profile: Profile) -> Profile:
    """The same contenders on networks so small that a table is made in a minute."""
    first = profile.problems[0]
    small = replace(first, title=f"tiny {first.title}", depth=3, width=16, runs=4)
    problem = replace(small, steps=3, chunk=3, batch_size=20, n_train=200)
    return replace(profile, name=f"quick_{profile.name}", problems=(problem,))


def goals(problem: Problem) -> Sequence[Goal]:
    """Returns what a problem's numbers should be."""
    return GOALS.get(problem.title, ())


_METRICS = ("tfc_jax, metrics every step", "tfc_jax, bare")
_SHARED: tuple[Goal, ...] = (
    Goal("bare / PyTorch loop", "tfc_jax, bare", "PyTorch loop", 2.3),
    Goal("bare / jit(scan(vmap))", "tfc_jax, bare", "jit(scan(vmap))", 1.4),
)
_RECORDS = (
    Goal(
        "metrics every 10 steps / bare",
        "tfc_jax, metrics every 10 steps",
        "tfc_jax, bare",
        1 / 1.05,
    ),
    Goal(
        "to Parquet / dropped",
        "tfc_jax, whole pack, to Parquet",
        "tfc_jax, whole pack, dropped",
        1 / 1.05,
    ),
)
_WORKERS = Goal(
    "two workers / one", "tfc_jax, two workers", "tfc_jax, one worker", 1.9, unit="wall"
)


def _against_vmap(low: float) -> Goal:
    return Goal(
        "two workers / jit(vmap(scan))",
        "tfc_jax, two workers",
        "jit(vmap(scan)), one process",
        low,
        unit="wall",
    )


GOALS: dict[str, tuple[Goal, ...]] = {
    WIDE.title: (
        *_SHARED,
        Goal("bare / matmul peak", "tfc_jax, bare", "matmul peak", 0.7, per=WIDE.step_flops),
        Goal("metrics every step / bare", *_METRICS, 1 / 1.3),
        *_RECORDS,
    ),
    NARROW.title: (*_SHARED, Goal("metrics every step / bare", *_METRICS, 1 / 1.6), *_RECORDS),
    **{
        problem.title: (_against_vmap(low), _WORKERS)
        for problem, low in zip(DIGITS, (2.0, 2.0, 1.6), strict=True)
    },
}
