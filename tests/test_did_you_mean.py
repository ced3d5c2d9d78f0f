"""Names with one slip of a finger: the one that was meant is suggested."""

import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tfc_jax import record, refine_section, registry
from tfc_jax.config import load_sweep
from tfc_jax.errors import InputError, nearest
from tfc_jax.keys import AXES, KEYS
from tfc_jax.sections import SECTIONS

LETTERS = string.ascii_lowercase + "_"
NAMES: dict[str, Sequence[str]] = {
    "sections": SECTIONS,
    "keys": tuple(KEYS),
    "axes": AXES,
    "record": record.NAMES,
    "refine": refine_section.PARTS,
    **{folder: registry.names(folder) for folder in ("models", "metrics", "probes")},
}


def edits(word: str) -> Iterator[str]:
    """Every deletion, transposition, insertion and substitution."""
    for i in range(len(word) + 1):
        left, right = word[:i], word[i:]
        yield left + right[1:]
        yield left + right[1:2] + right[:1] + right[2:]
        for letter in LETTERS:
            yield left + letter + right
            yield left + letter + right[1:]


@pytest.mark.parametrize("of", NAMES)
def test_single_edits_of_every_name_suggest_that_name(of: str) -> None:
    names = NAMES[of]
    cases = {(edit, name) for name in names for edit in edits(name) if edit and edit not in names}
    right = sum(nearest(edit, names) == f" Did you mean '{name}'?" for edit, name in cases)
    assert len(cases) > 1000
    assert right / len(cases) >= 0.95


@pytest.mark.parametrize("word", ["", "xyz", "foo", "lr", "qwertyuiop", "42", "a" * 10_000])
def test_a_word_that_is_far_from_every_key_suggests_none(word: str) -> None:
    assert nearest(word, KEYS) == ""


def test_the_name_that_was_meant_comes_before_all_that_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "slip.yaml"
    path.write_text("name: slip\nbase: {widht: 3}\n")
    with pytest.raises(InputError, match=r"'widht' in base\. Did you mean 'width'\? Allowed: "):
        load_sweep(path)
