"""Cells lie without gap or overlap, and know their neighbours across levels."""

import itertools
import random

import pytest

from tfc_jax.cells import Cell, Line, on_boundary

LOG = Line("learning_rate", (0.01, 0.1, 1.0), is_log=True)
UNEVEN = Line("momentum", (0.1, 0.2, 0.6), is_log=False)


def test_borders_lie_half_way_in_the_coordinate_of_the_axis() -> None:
    root = 10**0.5
    assert [LOG.box(0, i) for i in range(3)] == [
        pytest.approx((0.01 / root, 0.01 * root)),
        pytest.approx((0.1 / root, 0.1 * root)),
        pytest.approx((1.0 / root, 1.0 * root)),
    ]
    expected = [(0.05, 0.15), (0.15, 0.4), (0.4, 0.8)]
    assert [UNEVEN.box(0, i) for i in range(3)] == [pytest.approx(box) for box in expected]


@pytest.mark.parametrize("line", [LOG, UNEVEN])
def test_halves_fill_their_cell_and_stand_in_its_quarters(line: Line) -> None:
    for level, i in [(0, 0), (0, 2), (1, 3), (2, 5)]:
        (low, middle), (also_middle, high) = (
            line.box(level + 1, 2 * i),
            line.box(level + 1, 2 * i + 1),
        )
        assert (low, high) == pytest.approx(line.box(level, i))
        assert middle == pytest.approx(also_middle)
        assert low < line.point(level + 1, 2 * i) < middle < line.point(level + 1, 2 * i + 1) < high


def test_points_are_those_of_the_grid_and_then_middles_of_six_digits() -> None:
    assert [LOG.point(0, i) for i in range(3)] == [0.01, 0.1, 1.0]
    assert LOG.point(1, 2) == float(f"{10**-1.25:.6g}")
    assert UNEVEN.point(1, 2) == 0.2125
    assert len(LOG.points(2)) == 3 + 6 + 12


def test_children_are_all_combinations_of_halves() -> None:
    assert list(Cell(1, (3, 0)).children()) == [
        Cell(2, index) for index in [(6, 0), (6, 1), (7, 0), (7, 1)]
    ]


def borders(cell: Cell, finest: int) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in cell.window(finest)]


def touch(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> bool:
    """Whether two boxes share a border: they meet along one axis and overlap along the others."""
    pairs = list(zip(a, b, strict=True))
    meets = [x[0] == y[1] or x[1] == y[0] for x, y in pairs]
    overlap = [x[0] < y[1] and y[0] < x[1] for x, y in pairs]
    return any(m and all(overlap[:i] + overlap[i + 1 :]) for i, m in enumerate(meets))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2)])
def test_the_boundary_is_that_of_comparing_all_pairs_whatever_their_levels(
    shape: tuple[int, ...],
) -> None:
    dice = random.Random(len(shape))
    for _ in range(20):
        cells = [Cell(0, index) for index in itertools.product(*map(range, shape))]
        for _ in range(3):
            chosen = dice.choice(cells)
            cells.remove(chosen)
            cells += chosen.children()
        cells = dice.sample(cells, len(cells) - 2)  # two places are not covered
        sides = [dice.choice([True, True, False, None]) for _ in cells]
        boxes = [borders(cell, 3) for cell in cells]
        expected = [
            any({a, b} == {True, False} and touch(x, y) for y, b in zip(boxes, sides, strict=True))
            for x, a in zip(boxes, sides, strict=True)
        ]
        assert on_boundary(cells, sides, shape) == expected


def test_no_cells_have_no_boundary() -> None:
    assert on_boundary([], [], (2, 2)) == []
