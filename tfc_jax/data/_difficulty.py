"""Checks of the value that a sweep gives to a family's `difficulty`."""

from tfc_jax.errors import InputError


def within(name: str, difficulty: float, lowest: float, highest: float, meaning: str) -> float:
    """Returns `difficulty` if it is in [lowest, highest].

    Args:
      meaning: what it is and what is allowed, a sentence for the message.
    Raises:
      InputError: it is outside, or NaN.
    """
    if not lowest <= difficulty <= highest:
        raise InputError(f"difficulty: {difficulty:g} came for '{name}'. {meaning}")
    return difficulty


def whole_within(name: str, difficulty: float, lowest: int, highest: int, meaning: str) -> int:
    """Like `within`, for whole numbers; 4.0 is one."""
    number = within(name, difficulty, lowest, highest, meaning)
    if number != int(number):
        raise InputError(f"difficulty: {difficulty:g} came for '{name}'. {meaning}")
    return int(number)
