"""Throughput and efficiency against the number of nodes: a table and a figure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from bench.simulation.cluster import Outcome
from bench.simulation.costs import Cluster, PackCosts, Storage

# Color, marker, size: what lies under another is seen around it.
LOOKS = (("#0072b2", "o", 5), ("#d55e00", "s", 8), ("#009e73", "^", 4))
HEADING = (
    f"{'storage':9} {'nodes':>5} {'packs':>6} {'hours':>7} {'packs/s':>8} {'efficient':>9} "
    f"{'trained':>8} {'stored':>7} {'compiled':>8} {'waited':>7} {'storage':>8} {'GB/s':>7} "
    f"{'calls/s':>8} {'died':>5} {'cut off':>7} {'fenced':>6} {'real s':>7}"
)


@dataclass(frozen=True)
class Point:
    """One simulated sweep.

    Attributes:
      real_s: that simulating it took.
    """

    packs: int
    costs: PackCosts
    cluster: Cluster
    storage: Storage
    outcome: Outcome
    real_s: float

    @property
    def packs_per_s(self) -> float:
        return self.packs / self.outcome.seconds

    @property
    def slot_s(self) -> float:
        """Seconds of all accelerators together."""
        return self.outcome.seconds * self.cluster.nodes * self.cluster.slots

    @property
    def efficiency(self) -> float:
        """Of the time of all accelerators, what training takes that nothing disturbs."""
        return self.packs * self.costs.train_s / self.slot_s

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        derived = {"packs_per_s": self.packs_per_s, "efficiency": self.efficiency}
        return asdict(self) | derived


def table(points: Sequence[Point], *, heading: bool = True) -> str:
    """Returns a line per point; shares are of the time of all accelerators."""
    return "\n".join([HEADING] * heading + list(map(_line, points)))


def _line(point: Point) -> str:
    outcome, spent = point.outcome, point.outcome.spent
    share = {
        "trained": spent.trained,
        "stored": spent.stored,
        "compiled": outcome.compiled_s,
        "waited": outcome.dispatch_s,
    }
    trained, stored, compiled, waited = (value / point.slot_s for value in share.values())
    return (
        f"{point.storage.name:9} {point.cluster.nodes:5} {point.packs:6} "
        f"{outcome.seconds / 3600:7.2f} {point.packs_per_s:8.4f} {point.efficiency:9.1%} "
        f"{trained:8.1%} {stored:7.2%} {compiled:8.1%} {waited:7.2%} "
        f"{outcome.storage_busy_s / outcome.seconds:8.2%} "
        f"{outcome.sent_bytes / outcome.seconds / 1e9:7.3f} "
        f"{sum(outcome.calls.values()) / outcome.seconds:8.1f} {outcome.failures:5} "
        f"{outcome.cut_off:7} {outcome.fenced:6} {point.real_s:7.1f}"
    )


def draw(points: Sequence[Point], path: Path) -> None:
    """Writes a PNG: throughput on the left, where the time goes on the right."""
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        names = list(dict.fromkeys(point.storage.name for point in points))
        for name, (color, marker, size) in zip(names, cycle(LOOKS), strict=False):
            look: Any = {"color": color, "marker": marker, "markersize": size, "label": name}
            own = [point for point in points if point.storage.name == name]
            nodes = [point.cluster.nodes for point in own]
            left.plot(nodes, [p.packs_per_s for p in own], **look)
            right.plot(nodes, [100 * p.efficiency for p in own], **look)
        first = points[0]
        ideal = [n * first.cluster.slots / first.costs.train_s for n in nodes]
        left.plot(nodes, ideal, "--", color="#999999", label="nothing but training", zorder=0)
        left.set(xscale="log", yscale="log", xlabel="nodes", ylabel="packs per second")
        right.set(xscale="log", ylim=(0, 102), xlabel="nodes", ylabel="efficiency, %")
        left.legend(frameon=False)
        for axes in (left, right):
            axes.spines["right"].set_visible(False)
            axes.xaxis.set_major_formatter("{x:,.0f}")
        left.yaxis.set_major_formatter("{x:g}")
        figure.savefig(path, dpi=150)
