"""How much of a sweep fits into a page."""

import pytest

from analysis.report.detail import LADDER, Detail, Extent, chosen, evenly

SMALL = Extent([3], 2, [100], [True])
LARGE = Extent([9] * 20, 16, [3000] * 10, [True] * 10)


def test_everything_is_shown_where_there_is_room() -> None:
    assert chosen([SMALL, LARGE], 1e9) == [LADDER[0], LADDER[0]]


def test_the_largest_sweep_gives_first_and_the_sum_fits() -> None:
    budget = 0.2 * LARGE.size(LADDER[0])
    small, large = chosen([SMALL, LARGE], budget)
    assert small == LADDER[0]
    assert large != LADDER[0]
    assert SMALL.size(small) + LARGE.size(large) <= budget


def test_with_no_room_the_least_is_chosen() -> None:
    assert chosen([SMALL, LARGE], 0) == [LADDER[-1], LADDER[-1]]


def test_every_step_down_the_ladder_shows_less() -> None:
    sizes = [LARGE.size(detail) for detail in LADDER]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


def test_a_size_counts_curves_layers_and_points() -> None:
    extent = Extent([2, 4], 3, [50, 10], [True, False])
    # 50 points in 2 + 4 layers and 10 points of 2 networks; median and quartiles and two runs
    points = 50 * 6 + 10 * 2
    assert extent.size(Detail(200, 2, True)) == pytest.approx(7.5 * points * 5)
    # one layer each, one metric, 25 points, the median alone
    assert extent.size(Detail(25, 0, False, metrics=1, layers=1)) == pytest.approx(7.5 * 50)


def test_what_is_kept_is_even_and_has_both_ends() -> None:
    assert evenly(range(1, 10), 5) == [1, 3, 5, 7, 9]
    assert evenly(range(1, 4), 5) == [1, 2, 3]
    assert evenly(range(1, 10), None) == list(range(1, 10))


@pytest.mark.parametrize(("depth", "middle"), [(3, 2), (4, 2), (9, 5)])
def test_a_single_layer_is_the_middle_one(depth: int, middle: int) -> None:
    assert evenly(range(1, depth + 1), 1) == [middle]
