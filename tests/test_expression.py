"""Expressions: the same truth as Python where Python's is meant, and nothing else of Python."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfc_jax import expression
from tfc_jax.errors import InputError
from tfc_jax.expression import parse

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("depth", "width", "rate", "activation", "bias", "n_train")
ROW: dict[str, Any] = {
    "depth": 5,
    "width": 64,
    "rate": 0.1,
    "activation": "relu",
    "bias": True,
    "n_train": None,
}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("depth == 5", True),
        ("depth != 5", False),
        ("depth > 4 and width < 64", False),
        ("depth > 4 or width < 64", True),
        ("not depth > 4", False),
        ("4 < depth <= 5", True),
        ("3 < depth < 5", False),
        ("depth < width", True),
        ("rate >= 0.1", True),
        ("rate == 1e-1", True),
        ("depth > -1", True),
        ("depth > +1", True),
        ("depth in [3, 5]", True),
        ("depth not in [3, 5]", False),
        ("activation == 'relu'", True),
        ('activation in ["tanh", "abs"]', False),
        ("activation < 'tanh'", True),
        ("bias", True),
        ("not bias", False),
        ("bias == true", True),
        ("bias != False", True),
        ("depth == 4 or true", True),
        ("n_train == null", True),
        ("n_train != None", False),
        ("n_train < 5", False),
        ("n_train >= 5", False),
        ("not n_train < 5", True),
        ("n_train != 5", True),
        ("n_train == 5", False),
        ("n_train in [null, 5]", True),
        ("n_train not in [4, 5]", True),
        ("depth == null", False),
        ("depth == 5 or depth == 6 and width == 1", True),
        ("(depth == 5 or depth == 6) and width == 1", False),
        ("  depth\n == 5 ", True),
    ],
)
def test_an_expression_means_what_it_says(text: str, truth: bool) -> None:
    parsed = parse(text, NAMES)
    assert parsed.matches(ROW) is truth
    assert parsed.matches(ROW.__getitem__) is truth
    assert parsed.mask({name: [value] * 2 for name, value in ROW.items()}).tolist() == [truth] * 2


def test_an_expression_knows_which_names_it_uses() -> None:
    assert parse("depth > 3 and (not bias or rate < width)", NAMES).names == {
        "depth",
        "bias",
        "rate",
        "width",
    }


def test_a_run_can_be_matched_by_its_attributes() -> None:
    run = SimpleNamespace(depth=9)
    assert parse("depth > 5", NAMES).matches(lambda name: getattr(run, name))


# A random condition over integer names, as text and as the Python function that it means.
Twin = tuple[str, Callable[[dict[str, int]], bool]]
INTEGERS = ("depth", "width")
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _chain(name: str, steps: list[tuple[str, int]]) -> Twin:
    """`name < 3 <= 5`: every comparison of neighbours must hold."""
    text = " ".join([name, *(f"{op} {number}" for op, number in steps)])

    def holds(row: dict[str, int]) -> bool:
        sides = [row[name], *(number for _, number in steps)]
        pairs = zip(itertools.pairwise(sides), steps, strict=True)
        return all(COMPARE[op](a, b) for (a, b), (op, _) in pairs)

    return text, holds


def _both(a: Twin, b: Twin, word: str) -> Twin:
    if word == "and":
        return f"({a[0]}) and ({b[0]})", lambda row: a[1](row) and b[1](row)
    return f"({a[0]}) or ({b[0]})", lambda row: a[1](row) or b[1](row)


numbers = st.integers(-3, 3)
chains = st.builds(
    _chain,
    st.sampled_from(INTEGERS),
    st.lists(st.tuples(st.sampled_from(list(COMPARE)), numbers), min_size=1, max_size=3),
)
members = st.builds(
    lambda name, options: (f"{name} in {options}", lambda row: row[name] in options),
    st.sampled_from(INTEGERS),
    st.lists(numbers, min_size=1, max_size=3),
)
conditions = st.recursive(
    st.one_of(chains, members),
    lambda inner: st.one_of(
        st.builds(_both, inner, inner, st.sampled_from(["and", "or"])),
        inner.map(lambda twin: (f"not ({twin[0]})", lambda row: not twin[1](row))),
    ),
    max_leaves=6,
)


@untimed
@given(conditions, st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5))
def test_a_mask_agrees_with_its_brute_force_twin(twin: Twin, rows: list[tuple[int, int]]) -> None:
    text, holds = twin
    parsed = parse(text, INTEGERS)
    table = [dict(zip(INTEGERS, row, strict=True)) for row in rows]
    truth = [holds(row) for row in table]
    assert [parsed.matches(row) for row in table] == truth
    assert parsed.mask(pd.DataFrame(table)).tolist() == truth


@untimed
@given(st.floats(allow_nan=False, allow_infinity=False, width=64), st.text(max_size=20))
def test_numbers_and_text_survive_being_written(number: float, text: str) -> None:
    if number == 0 or 2.0**-126 <= abs(number) < 2.0**127:
        assert parse(f"rate == {number!r}", NAMES).matches({"rate": number})
    if len(repr(text)) < expression.MAX_LENGTH:
        assert parse(f"activation == {text!r}", NAMES).matches({"activation": text})


def test_frames_of_every_column_type_give_the_same_mask() -> None:
    values = [1, 2, None, 4]
    frames = [
        pd.DataFrame({"depth": pd.array(values, dtype=dtype)})
        for dtype in ("Int64", "Float32", "float32", "object", "int64[pyarrow]")
    ]
    for frame in frames:
        assert parse("depth > 1", NAMES).mask(frame).tolist() == [False, True, False, True]
        assert parse("depth == null", NAMES).mask(frame).tolist() == [False, False, True, False]
        assert parse("depth != 2", NAMES).mask(frame).tolist() == [True, False, True, True]


@pytest.mark.parametrize("dtype", ["object", "category", "string", "string[pyarrow]"])
def test_frames_of_every_text_type_give_the_same_mask(dtype: str) -> None:
    frame = pd.DataFrame({"activation": pd.Series(["relu", None, "tanh"], dtype=dtype)})
    assert parse("activation == 'relu'", NAMES).mask(frame).tolist() == [True, False, False]
    assert parse("activation > 'relu'", NAMES).mask(frame).tolist() == [False, False, True]
    assert parse("activation != 'relu'", NAMES).mask(frame).tolist() == [False, True, True]


@pytest.mark.parametrize("dtype", ["object", "boolean"])
def test_frames_of_truth_values_give_the_same_mask(dtype: str) -> None:
    frame = pd.DataFrame({"bias": pd.Series([True, None, False], dtype=dtype)})
    assert parse("bias", NAMES).mask(frame).tolist() == [True, False, False]
    assert parse("bias == false", NAMES).mask(frame).tolist() == [False, False, True]


def test_a_number_is_compared_in_the_precision_of_its_column() -> None:
    column = np.array([0.1, 0.2], np.float32)  # float32(0.1) is not the float64 0.1
    assert parse("rate == 0.1", NAMES).mask({"rate": column}).tolist() == [True, False]
    assert parse("rate <= 0.1", NAMES).mask({"rate": column}).tolist() == [True, False]
    assert parse("rate < 3e38", NAMES).mask({"rate": column}).tolist() == [True, True]


def test_whole_numbers_of_any_type_compare_with_any_literal() -> None:
    column = np.array([0, 255], np.uint8)
    assert parse("depth > -1", NAMES).mask({"depth": column}).tolist() == [True, True]
    assert parse("depth < 300", NAMES).mask({"depth": column}).tolist() == [True, True]
    assert parse("depth < 0.5", NAMES).mask({"depth": column}).tolist() == [True, False]


def test_an_empty_frame_has_an_empty_mask() -> None:
    for dtype in ("float32", "object"):
        frame = pd.DataFrame({"depth": pd.Series([], dtype=dtype)})
        assert parse("not depth > 1", NAMES).mask(frame).shape == (0,)


def test_arrays_over_axes_broadcast() -> None:
    frame = {"depth": np.array([1, 2, 3])[:, None], "width": np.array([2, 3])}
    mask = parse("depth < width", NAMES).mask(frame)
    assert mask.tolist() == [[True, True], [False, True], [False, False]]


REFUSED = [
    (
        "dept > 3",
        "unknown name 'dept'. Did you mean 'depth'? Text needs quotes: \"dept\". "
        "Names: activation, bias, depth",
    ),
    ("activation == relu", "unknown name 'relu'. Text needs quotes: \"relu\". Names: "),
    ("depth = 3", "not an expression at column 7. Write == to compare."),
    ("depth > 3 && bias", "Write and, or, not."),
    ("depth >", "not an expression"),
    ("", "not an expression"),
    ("(depth > 3", "not an expression"),
    ("depth > 3; bias", "not an expression"),
    ("3in [3]", "not an expression"),
    ("activation == '\\d'", "not an expression"),
    ("depth \x00 3", "not an expression"),
    ("depth + 1 > 3", "'depth + 1' is not in the grammar"),
    ("abs(depth) > 3", "unknown name 'abs'"),
    ("depth.real > 3", "'depth.real' is not in the grammar"),
    ("depth[0] > 3", "'depth[0]' is not in the grammar"),
    ("__import__('os') == 1", "unknown name '__import__'"),
    ("().__class__ == depth", "is not in the grammar"),
    ("(lambda: depth) == 1", "is not in the grammar"),
    ("[x for x in [depth]] == 1", "unknown name 'x'"),
    ("(y := depth) > 3", "unknown name 'y'"),
    ("(depth := 3) > 2", "is not in the grammar"),
    ("f'{depth}' == 'a'", "is not in the grammar"),
    ("depth == 3j", "3j is not in the grammar"),
    ("activation == b'relu'", "b'relu' is not in the grammar"),
    ("depth == ...", "Ellipsis is not in the grammar"),
    ("depth if bias else width", "is not in the grammar"),
    ("depth is 3", "Write == or !="),
    ("depth == -bias", "is not in the grammar"),
    ("depth in 3", "`in` needs a list of values, such as [3, 5]"),
    ("depth in (3, 5)", "`in` needs a list"),
    ("depth in []", "`in` needs a list"),
    ("depth in [width]", "holds values, not names"),
    ("depth in [3, *[5]]", "is not in the grammar"),
    ("depth in [3, [5]]", "is not in the grammar"),
    ("1 < 2", "it names nothing"),
    ("true", "it names nothing"),
    ("depth < 1e999", "inf is a number that float32 cannot hold"),
    ("depth < 1e-60", "1e-60 is a number that float32 cannot hold"),
    (f"depth < {10**30}", "is a number that float32 cannot hold"),
    ("depth > 3" + " and bias" * 1000, "longer than 2000 characters"),
    ("not " * 100 + "bias", "nested deeper than 64"),
    ("(" * 900 + "bias" + ")" * 900, "not an expression"),
    ("depth == 1 == 'a'", "1 (a number) does not compare with 'a' (text)"),
    ("depth == 3 and 4", "4 (a number) is no condition"),
    ("bias or 'a'", "'a' (text) is no condition"),
    ("true < depth", "true (true or false)"),
]


@pytest.mark.parametrize(("text", "part"), REFUSED)
def test_what_is_not_in_the_grammar_is_refused_and_never_run(text: str, part: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text, NAMES).matches(ROW)
    assert part in str(error.value)
    assert str(error.value).startswith("in ")


def test_all_unknown_names_are_reported_together() -> None:
    with pytest.raises(InputError) as error:
        parse("dept > 3 and wdth < 4 and depth > 1", NAMES)
    assert len(error.value.messages) == 2


MISMATCHES = [
    ("depth > 'a'", "depth (a number) does not compare with 'a' (text)"),
    ("depth == '5'", "depth (a number) does not compare with '5' (text)"),
    ("depth in [5, '6']", "depth (a number) does not compare with '6' (text)"),
    ("activation == 3", "activation (text) does not compare with 3 (a number)"),
    ("activation == depth", "activation (text) does not compare with depth (a number)"),
    ("bias == 1", "bias (true or false) does not compare with 1 (a number)"),
    ("bias < true", "a truth value has no order. Use == or !="),
    ("depth and bias", "depth (a number) is no condition. Compare it with something"),
    ("not activation", "activation (text) is no condition"),
]


@pytest.mark.parametrize(("text", "part"), MISMATCHES)
def test_different_kinds_do_not_compare(text: str, part: str) -> None:
    kinds: dict[str, Any] = {"depth": "number", "activation": "text", "bias": "truth"}
    with pytest.raises(InputError) as early:
        parse(text, kinds)
    with pytest.raises(InputError) as late:
        parse(text, NAMES).mask({name: [value] for name, value in ROW.items()})
    assert part in str(early.value)
    assert part in str(late.value)


def test_a_column_of_several_kinds_is_refused() -> None:
    for values in ([1, "a"], [True, 1], [pd.Timestamp("2026-01-31")], [[1], [2, 3]]):
        frame = {"depth": np.array([*values, None], object)}
        with pytest.raises(InputError, match="depth holds values"):
            parse("depth == 1", NAMES).mask(frame)


def test_a_column_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="there is no column width"):
        parse("depth < width", NAMES).mask(pd.DataFrame({"depth": [1]}))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("depth > 5", [{"depth"}]),
        ("depth > 5 and seed < 4", [{"depth"}, {"seed"}]),
        ("(depth > 5 and seed < 4) and true", [{"depth"}, {"seed"}, set()]),
        ("depth > 5 and (seed < 4 or depth == 7)", [{"depth"}, {"seed", "depth"}]),
        ("not (depth > 5 and seed < 4)", [{"depth", "seed"}]),
        ("depth > 5 or seed < 4 and true", [{"depth", "seed"}]),
    ],
)
def test_conjuncts_hold_together_where_the_expression_does(
    text: str, named: list[set[str]]
) -> None:
    parsed = parse(text, {"depth", "seed"})
    assert [set(part.names) for part in parsed.conjuncts] == named
    depth, seed = np.meshgrid(np.arange(4, 9), np.arange(6))
    frame = {"depth": depth, "seed": seed}
    together = np.ones(depth.shape, bool)
    for part in parsed.conjuncts:
        together &= part.mask(frame)
    np.testing.assert_array_equal(together, parsed.mask(frame))
