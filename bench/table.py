"""The table on the terminal."""

from rich.console import Console
from rich.table import Table

from bench.session import Measured, tolerance
from bench.summary import Line, Outcome, Spread, lines, outcomes

NOTE = (
    "Run-steps (updates of one network) per second: median [quartiles] of repeats taken in turn. "
    "All contenders gather and scale every batch from one training set in memory, and keep the "
    "loss of every step; only tfc_jax draws its batch order while it is timed. Cores: CPU seconds "
    "per second; where they are fewer than a row's processes could use, others used the machine, "
    "and wall times say nothing. Of memory copy: were a step's weights read from memory and "
    "written there. TurbaNet is not here: it needs Python 3.12."
)


def show(console: Console, measured: Measured) -> None:
    """Prints what was measured of one problem."""
    problem = measured.problem
    console.print(
        f"\n[bold]{problem.title}[/]: {problem.runs} networks of {problem.params:,} weights, batch "
        f"{problem.batch_size}, {problem.step_flops / 1e6:.0f} MFLOP a run-step, float32"
    )
    console.print(_table(lines(measured)))
    for name, reason in measured.unavailable.items():
        console.print(f"{name}: not measured, {reason}", markup=False)
    for outcome in outcomes(measured):
        console.print(_sentence(outcome), markup=False)
    console.print(
        f"Losses agree: largest difference {measured.difference:.1e} of their size"
        f"{' (' + ' against '.join(measured.between) + ')' if measured.between else ''}, allowed "
        f"{tolerance(problem):.1e} (beyond: {max(measured.parted.values())} networks, in which a "
        f"ReLU switched). Load {min(measured.loads):.1f} to {max(measured.loads):.1f}.",
        markup=False,
    )


def _table(found: list[Line]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("per CPU second", "per second", "cores", "of matmul peak", "of memory copy"):
        table.add_column(heading, justify="right")
    for line in found:
        table.add_row(
            line.title,
            _spread(line.per_cpu),
            _spread(line.per_wall),
            f"{line.cores:.2f}",
            _share(line.of_peak),
            _share(line.of_copy),
        )
    return table


def _spread(spread: Spread) -> str:
    return f"{spread.median:,.0f} \\[{spread.low:,.0f}, {spread.high:,.0f}]"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _sentence(outcome: Outcome) -> str:
    spread, goal = outcome.ratio, outcome.goal
    verdict = "reached" if outcome.holds else "NOT reached"
    clock = {"cpu": "CPU time", "wall": "wall time"}[goal.unit]
    return (
        f"{goal.text}: {spread.median:.2f} times [{spread.low:.2f}, {spread.high:.2f}] by {clock}; "
        f"at least {goal.low:.2f}: {verdict}"
    )
