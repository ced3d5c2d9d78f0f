"""Axes and their product, against plain loops over the same values."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfc_jax.axis_values import MAX_REFUSALS, MAX_RUNS, read_values
from tfc_jax.errors import InputError
from tfc_jax.expression import parse
from tfc_jax.grid import Axis, Grid, read_axis, size_problem
from tfc_jax.keys import KEYS, KINDS
from tfc_jax.yaml_source import Problems
from tfc_jax.yaml_source import parse as parse_yaml

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
BASE = {name: key.default for name, key in KEYS.items()}


def values(key: str, text: str) -> list[Any]:
    problems = Problems()
    found = read_values(KEYS[key], parse_yaml(text, "s", problems), key, problems)
    problems.raise_if_any()
    return found


def axis(text: str) -> Axis:
    problems = Problems()
    found = read_axis(parse_yaml(text, "s", problems).data, "zip.", problems)
    problems.raise_if_any()
    return found


def message(read: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        read()
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("depth", "[3, 5]", [3, 5]),
        ("learning_rate", "[1, 2e-2]", [1.0, 0.02]),
        ("n_train", "[100, null]", [100, None]),
        ("bias", "[false, true]", [False, True]),
        ("depth", "{range: [3, 6]}", [3, 4, 5]),
        ("depth", "{range: [3, 10, 2]}", [3, 5, 7, 9]),
        ("depth", "{range: [3, 9, 2]}", [3, 5, 7]),
        ("depth", "{range: [5, 2, -1]}", [5, 4, 3]),
        ("depth", "{range: [3.0, 5.0]}", [3, 4]),
        ("label_noise", "{range: [0, 0.5, 0.1]}", [0.0, 0.1, 0.2, 0.3, 0.4]),
        ("learning_rate", "{range: [1e-3, 4e-3, 1e-3]}", [0.001, 0.002, 0.003]),
        ("depth", "{linspace: [3, 9, 4]}", [3, 5, 7, 9]),
        ("label_noise", "{linspace: [0, 1, 4]}", [0.0, 0.333333, 0.666667, 1.0]),
        ("label_noise", "{linspace: [0.3, 0, 4]}", [0.3, 0.2, 0.1, 0.0]),
        ("width", "{logspace: [32, 512, 5]}", [32, 64, 128, 256, 512]),
        ("learning_rate", "{logspace: [1e-3, 1, 4]}", [0.001, 0.01, 0.1, 1.0]),
        ("init_scale", "{logspace: [0.6, 1.2, 3]}", [0.6, 0.848528, 1.2]),
        ("seed", "{range: [4294967290, 4294967296, 3]}", [4294967290, 4294967293]),
    ],
)
def test_value_lists_and_ranges(key: str, text: str, expected: list) -> None:
    found = values(key, text)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_end_points_are_kept_to_the_last_digit() -> None:
    # Rounding to 6 digits would move them, and the end points are what was asked for.
    for space in ("linspace", "logspace"):
        found = values("init_scale", f"{{{space}: [0.12345678, 0.87654321, 3]}}")
        assert (found[0], found[-1]) == (0.12345678, 0.87654321)


@untimed
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-7, 7).filter(bool))
def test_a_range_of_whole_numbers_is_that_of_python(start: int, stop: int, step: int) -> None:
    expected = list(range(start, stop, step))
    text = f"{{range: [{start}, {stop}, {step}]}}"
    if not expected:
        assert "an empty range came" in message(lambda: values("depth", text))
    elif min(expected) >= 1:
        assert values("depth", text) == expected


@untimed
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 20), st.sampled_from([10, 100]))
def test_a_range_of_decimals_is_one_of_whole_numbers_divided(
    start: int, length: int, step: int, scale: int
) -> None:
    # Exact decimal arithmetic: every value is the float nearest to its decimal.
    text = f"{{range: [{start / scale}, {(start + length) / scale}, {step / scale}]}}"
    expected = [i / scale for i in range(start, start + length, step)]
    assert values("init_scale", text) == expected


positive = st.floats(1e-6, 1e6)


@untimed
@given(positive, positive, st.integers(2, 40), st.sampled_from(["linspace", "logspace"]))
def test_points_between_the_ends_have_six_digits_and_the_right_place(
    start: float, stop: float, count: int, space: str
) -> None:
    found = values("init_scale", f"{{{space}: [{start!r}, {stop!r}, {count}]}}")
    points: Any = {"linspace": np.linspace, "logspace": np.geomspace}
    assert len(found) == count
    assert (found[0], found[-1]) == (start, stop)
    # Half a unit of the sixth digit is at most 5e-6 of the value.
    np.testing.assert_allclose(found, points[space](start, stop, count), rtol=5.001e-6)
    assert all(float(f"{value:.6g}") == value for value in found[1:-1])


@pytest.mark.parametrize(
    ("key", "text", "parts"),
    [
        ("depth", "3", ["3 came.", "Allowed: a list, {range", "One value belongs in base."]),
        ("depth", "null", ["null came."]),
        ("depth", "[]", ["an empty list came."]),
        ("depth", "[[3, 5]]", ["a list of 2 values came inside the list."]),
        ("depth", "[{range: [3, 5]}]", ["a mapping of 1 key came inside the list."]),
        ("depth", "{rnge: [3, 5]}", ["a mapping of rnge came.", "Did you mean 'range'?"]),
        ("depth", "{}", ["a mapping of nothing came."]),
        ("depth", "{range: [3, 5], linspace: [1, 2, 3]}", ["a mapping of range, linspace came."]),
        ("depth", "{range: 5}", ["range needs a list of finite numbers."]),
        ("depth", "{range: [3]}", ["range came with 1 numbers."]),
        ("depth", "{range: [3, 5, 1, 1]}", ["range came with 4 numbers."]),
        ("depth", "{range: [3, true]}", ["range needs a list of finite numbers."]),
        ("depth", "{range: ['3', 5]}", ["range needs a list of finite numbers."]),
        ("depth", "{range: [3, .inf]}", ["range needs a list of finite numbers."]),
        ("depth", "{range: [.nan, 3]}", ["range needs a list of finite numbers."]),
        ("depth", "{range: [3, 5, 0]}", ["a range with step 0 came."]),
        ("depth", "{range: [5, 3]}", ["an empty range came"]),
        ("depth", "{range: [3, 3]}", ["an empty range came"]),
        ("depth", "{range: [3, 5, -1]}", ["an empty range came"]),
        ("depth", "{range: [0, 3]}", ["depth: 0 came.", "a whole number >= 1"]),
        ("depth", "{range: [1, 3, 0.5]}", ["depth: 1.5 came."]),
        ("depth", "{linspace: [3, 8, 3]}", ["depth: 5.5 came."]),
        ("depth", "{linspace: [3, 8]}", ["linspace came with 2 numbers."]),
        ("depth", "{linspace: [3, 8, 1]}", ["1 points came.", ">= 2"]),
        ("depth", "{linspace: [3, 8, 2.0]}", ["2.0 points came."]),
        ("init_scale", "{logspace: [-1, 1, 3]}", ["end points above 0, not exponents."]),
        ("init_scale", "{logspace: [0, 1, 3]}", ["end points above 0, not exponents."]),
        ("seed", "{range: [0, 1000000000000]}", ["1,000,000,000,000 values came.", "2,000,000"]),
        ("init_scale", "{linspace: [1, 2, 999999999]}", ["999,999,999 values came."]),
        ("init_scale", "{logspace: [1, 2, 999999999]}", ["999,999,999 values came."]),
        ("activation", "{range: [0, 2]}", ["activation: 0 came.", "relu, leaky_relu"]),
    ],
)
def test_a_list_or_range_that_makes_no_axis_is_refused(
    key: str, text: str, parts: list[str]
) -> None:
    for part in parts:
        assert part in message(lambda: values(key, text))


def test_many_refused_values_are_counted_instead_of_listed() -> None:
    lines = message(lambda: values("label_noise", "{range: [2, 102]}")).splitlines()
    assert len(lines) == MAX_REFUSALS + 1
    assert "97 more values are refused likewise" in lines[-1]


def test_the_keys_of_a_block_move_together() -> None:
    assert axis("{depth: [3, 5], width: [64, 32]}").rows == [(3, 64), (5, 32)]


def test_a_value_may_come_twice_in_a_block_but_a_row_may_not() -> None:
    assert len(axis("{depth: [3, 3], width: [64, 32]}").rows) == 2
    text = "{depth: [3, 5, 3], width: [64, 32, 64]}"
    assert "zip.depth 3, zip.width 64 comes twice" in message(lambda: axis(text))


@pytest.mark.parametrize(
    "text",
    [
        "depth: [3, 3]",
        "learning_rate: [1, 1.0]",
        "weight_decay: [0, -0.0]",
        "init_scale: [0.1, 0.100000001]",  # both are 0.1 in float32, which has 24 binary digits
        "init_scale: {linspace: [1, 1.00001, 20]}",  # six digits make ten different values
        "activation: [relu, tanh, relu]",
        "n_train: [null, null]",
    ],
)
def test_values_that_would_train_the_same_network_twice_are_refused(text: str) -> None:
    how = " (as float32)" if "." in text or "weight" in text else ""
    assert f"comes twice{how}. " in message(lambda: axis(text))


def test_unequal_lengths_are_refused_with_their_counts() -> None:
    text = "{depth: [3, 5], width: [64, 32, 16]}"
    expected = "zip: the keys of a block move together, but depth has 2, width has 3 values."
    assert expected in message(lambda: axis(text))


def test_the_last_axis_moves_fastest() -> None:
    axes = (
        Axis(("depth",), [(3,), (5,)]),
        Axis(("width", "bias"), [(8, True), (4, False)]),
        Axis(("seed",), [(0,), (1,)]),
    )
    product = Grid(BASE, axes)
    found = [(r.depth, r.width, r.bias, r.seed) for r in product.runs(product.kept([]))]
    assert found == [
        (depth, width, bias, seed)
        for depth, (width, bias), seed in itertools.product([3, 5], [(8, True), (4, False)], [0, 1])
    ]


def test_a_grid_without_axes_is_one_run_of_the_base() -> None:
    product = Grid({**BASE, "depth": 9}, ())
    assert [run.changed() for run in product.runs(product.kept([]))] == [{"depth": 9}]


def test_an_axis_overrides_the_base() -> None:
    product = Grid({**BASE, "depth": 9}, (Axis(("depth",), [(3,)]),))
    assert [run.depth for run in product.runs(product.kept([]))] == [3]


small = st.lists(st.integers(1, 4), min_size=1, max_size=4, unique=True)
EXCLUDES = ("depth < width", "seed in [1, 2] and depth != 3", "width == 2 or bias", "n_train > 1")


@untimed
@given(small, small, small, st.lists(st.sampled_from(EXCLUDES), max_size=3))
def test_excluding_over_axes_agrees_with_excluding_run_by_run(
    depths: Sequence[int], widths: Sequence[int], seeds: Sequence[int], texts: list[str]
) -> None:
    lists = {"depth": depths, "width": widths, "seed": seeds}
    product = Grid(BASE, tuple(Axis((name,), [(v,) for v in vs]) for name, vs in lists.items()))
    conditions = [parse(text, KINDS) for text in texts]
    found = [(r.depth, r.width, r.seed) for r in product.runs(product.kept(conditions))]
    expected = [
        point
        for point in itertools.product(depths, widths, seeds)
        if not any(c.matches(BASE | dict(zip(lists, point, strict=True))) for c in conditions)
    ]
    assert found == expected


def test_the_size_is_a_product_known_before_expansion() -> None:
    assert size_problem([(("seed",), MAX_RUNS), (("depth",), 1)]) is None
    problem = size_problem([(("seed",), MAX_RUNS), (("depth", "width"), 2)])
    assert problem is not None
    assert "4,000,000 runs = 2000000 (seed) x 2 (depth, width); at most 2,000,000" in problem
    assert "split the sweep" in problem


def test_the_values_of_all_keys_are_limited_too() -> None:
    keys = ("init_scale", "learning_rate")
    assert size_problem([(keys, MAX_RUNS)]) is None
    assert "values of axes" in (size_problem([((*keys, "momentum"), MAX_RUNS)]) or "")


def test_a_contradiction_is_counted_shown_and_comes_with_its_remedy() -> None:
    axes = (
        Axis(("optimizer",), [("sgd",), ("adam",)]),
        Axis(("momentum",), [(0.0,), (0.9,)]),
        Axis(("seed",), [(0,), (1,), (2,)]),
    )
    product = Grid(BASE, axes)
    ((condition, sentence),) = product.contradictions(product.kept([]))
    assert condition.names == {"optimizer", "momentum"}
    assert "Met in 3 of 12 runs, such as optimizer adam, momentum 0.9." in sentence
    remedy = sentence.partition('add to exclude: "')[2].rstrip('".')
    keep = product.kept([parse(remedy, KINDS)])
    assert np.count_nonzero(keep) == 9
    assert not list(product.contradictions(keep))


def test_of_a_contradiction_in_all_runs_a_key_is_to_be_changed() -> None:
    """To leave all runs out would leave no sweep."""
    product = Grid(BASE, (Axis(("optimizer",), [("adam",)]), Axis(("momentum",), [(0.9,)])))
    ((_, sentence),) = product.contradictions(product.kept([]))
    assert sentence.endswith("momentum 0.9. Change optimizer or momentum.")


def test_a_hundred_thousand_runs_are_distinct_and_share_their_values() -> None:
    lists = {"depth": range(2, 12), "init_scale": np.linspace(0.5, 2, 100).tolist()}
    axes = [Axis((name,), [(v,) for v in vs]) for name, vs in lists.items()]
    product = Grid(BASE, (*axes, Axis(("seed",), [(seed,) for seed in range(100)])))
    runs = list(product.runs(product.kept([])))
    assert len(runs) == math.prod(product.shape) == 100_000
    assert len({run.run_id for run in runs}) == 100_000
    assert runs[0].init_scale is runs[99].init_scale
    assert len({id(run.init_scale) for run in runs}) == 100
