"""How much of a sweep goes into a page, and in what order less of it does."""

from collections.abc import Sequence
from dataclasses import dataclass

BYTES = 7.5  # of one number in JSON: four digits, point, comma, sometimes a sign or an exponent


@dataclass(frozen=True)
class Detail:
    """The most of each that is embedded; None: all.

    Attributes:
      points: recorded steps of a curve.
      runs: single runs of each condition, the lowest seeds; 0: medians alone.
      bands: the quartiles beside the medians.
    """

    points: int
    runs: int
    bands: bool
    metrics: int | None = None
    layers: int | None = None
    conditions: int | None = None


LADDER = (
    Detail(200, 16, True),
    Detail(200, 4, True),
    Detail(120, 4, True),
    Detail(120, 2, True, metrics=20),
    Detail(90, 2, True, metrics=14, conditions=64),
    Detail(80, 1, True, metrics=14, layers=7, conditions=64),
    Detail(60, 1, True, metrics=12, layers=5, conditions=48),
    Detail(60, 1, False, metrics=10, layers=5, conditions=48),
    Detail(50, 0, False, metrics=8, layers=3, conditions=36),
    Detail(40, 0, False, metrics=6, layers=1, conditions=24),
    Detail(25, 0, False, metrics=4, layers=1, conditions=12),
)


@dataclass(frozen=True)
class Extent:
    """What a sweep has: its layers by condition, its seeds, and of each metric the records."""

    depths: Sequence[int]
    runs_per_condition: int
    metric_steps: Sequence[int]
    metric_has_layers: Sequence[bool]

    def size(self, detail: Detail) -> float:
        """Bytes that the curves of this sweep take at this detail, about."""
        depths = self.depths[: detail.conditions]
        layers = sum(min(depth, detail.layers or depth) for depth in depths)
        curves = min(self.runs_per_condition, detail.runs) + (3 if detail.bands else 1)
        metrics = list(zip(self.metric_steps, self.metric_has_layers, strict=True))
        points = sum(
            min(steps, detail.points) * (layers if layered else len(depths))
            for steps, layered in metrics[: detail.metrics]
        )
        return BYTES * points * curves


def chosen(extents: Sequence[Extent], budget: float) -> list[Detail]:
    """Returns the most detailed choice whose sum is at most about `budget` bytes.

    The sweep that takes most gives first, one rung of the ladder at a time; so small sweeps are
    shown whole. The last rung is taken however little is left.
    """
    rungs = [0] * len(extents)
    sizes = [extent.size(LADDER[0]) for extent in extents]
    while sum(sizes) > budget:
        able = [i for i in range(len(extents)) if rungs[i] < len(LADDER) - 1]
        if not able:
            break
        most = max(able, key=lambda i: sizes[i])
        rungs[most] += 1
        sizes[most] = extents[most].size(LADDER[rungs[most]])
    return [LADDER[rung] for rung in rungs]


def evenly(items: Sequence[int], most: int | None) -> list[int]:
    """Returns at most so many of the items, evenly spaced, both ends among them.

    One item is the middle one, ceil(n/2), which stands for a network where one layer must.
    """
    if most is None or len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-(-len(items) // 2) - 1]]
    at = [round(i * (len(items) - 1) / (most - 1)) for i in range(most)]
    return [items[i] for i in at]
