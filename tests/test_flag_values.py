"""What flags take, at the ends of what is allowed."""

from collections.abc import Callable

import pytest
import typer

from tfc_jax.flag_values import number, whole


@pytest.mark.parametrize(
    ("read", "least", "most", "below", "above"),
    [
        (whole(1, 65536), "1", "65536", "0", "65537"),
        (number(0.5, 3600), "0.5", "3600", "0.49", "3600.1"),
        (number(0, 86_400), "0", "86400", "-1e-9", "86401"),
    ],
)
def test_both_ends_are_allowed_and_nothing_beyond(
    read: Callable[[object], float], least: str, most: str, below: str, above: str
) -> None:
    assert [read(least), read(most)] == [float(least), float(most)]
    for text in (below, above, "nan", "", "1e"):
        with pytest.raises(typer.BadParameter, match=f"'{text}' came. Allowed: a .*number >= "):
            read(text)


def test_a_limit_that_nobody_meets_is_told_to_those_alone_who_do() -> None:
    with pytest.raises(typer.BadParameter, match=r"a whole number >= 1\.$"):
        whole(1)("0")
    with pytest.raises(typer.BadParameter, match=r">= 1 and <= 2147483647\.$"):
        whole(1)("2147483648")
