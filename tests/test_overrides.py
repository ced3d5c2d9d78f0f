"""`--set key=value`: one value replaced, as if the file said so."""

from pathlib import Path

import pytest

from tfc_jax.config import Sweep, load_sweep
from tfc_jax.errors import InputError

TEXT = """
name: mine
base: {width: 64, steps: 50}
grid: {depth: [3, 5]}
zip: [{momentum: [0, 0.9], learning_rate: [0.02, 0.002]}]
seeds: 2
record: {every: 5, probe_every: 7}
"""


def load(tmp_path: Path, *overrides: str, text: str = TEXT) -> Sweep:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return load_sweep(path, overrides=overrides)


def test_a_key_of_base_is_replaced(tmp_path: Path) -> None:
    sweep = load(tmp_path, "width=32", "steps=10", "bias=true", "n_train=null")
    assert {(run.width, run.steps, run.bias, run.n_train) for run in sweep.runs} == {
        (32, 10, True, None)
    }
    assert (sweep.steps, len(sweep.runs)) == (10, 8)


def test_base_is_made_if_there_is_none(tmp_path: Path) -> None:
    for text in ("name: a", "name: a\nbase:", "name: a\nbase: {}"):
        assert load(tmp_path, "depth=3", text=text).runs[0].depth == 3


def test_an_axis_becomes_a_single_value(tmp_path: Path) -> None:
    sweep = load(tmp_path, "depth=7")
    assert {run.depth for run in sweep.runs} == {7}
    assert len(sweep.runs) == 4


def test_the_rest_of_a_block_stays_an_axis(tmp_path: Path) -> None:
    sweep = load(tmp_path, "learning_rate=1e-3")
    assert {(run.momentum, run.learning_rate) for run in sweep.runs} == {(0.0, 1e-3), (0.9, 1e-3)}
    assert len(load(tmp_path, "learning_rate=1e-3", "momentum=0.5").runs) == 4


def test_a_seed_replaces_seeds_and_seeds_replace_a_seed_axis(tmp_path: Path) -> None:
    assert {run.seed for run in load(tmp_path, "seed=9").runs} == {9}
    assert {run.seed for run in load(tmp_path, "seeds=3").runs} == {0, 1, 2}
    assert {run.seed for run in load(tmp_path, "seeds=[4, 8]").runs} == {4, 8}
    text = "name: a\ngrid: {seed: [5, 6]}"
    assert {run.seed for run in load(tmp_path, "seeds=2", text=text).runs} == {0, 1}


def test_sections_and_records_are_replaced(tmp_path: Path) -> None:
    sweep = load(tmp_path, "name=other", "record.every={log: 3}", "description='a = b'")
    assert (sweep.name, sweep.description) == ("other", "a = b")
    assert (getattr(sweep.record.every, "log", None), sweep.record.probe_every) == (3, 7)
    assert load(tmp_path, "record.metrics=[]", text="name: a").record.metrics == ()


def test_the_text_of_the_file_is_kept_as_it_is(tmp_path: Path) -> None:
    assert load(tmp_path, "depth=7").text == TEXT


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("dpeth=3", ["--set dpeth=3: unknown key 'dpeth'.", "Did you mean 'depth'?"]),
        ("base=3", ["unknown key 'base'."]),
        ("record.evry=3", ["Did you mean 'record.every'?"]),
        ("depth", ["--set depth: not of the form key=value"]),
        ("depth=", ["not of the form key=value"]),
        ("=3", ["unknown key ''."]),
        ("depth=x", ["--set depth=x: base.depth: the text 'x' came."]),
        ("depth=[3, 5]", ["--set depth=[3, 5]: base.depth: a list of 2 values came."]),
        ("depth=[", ["--set depth=[: not YAML"]),
        ("depth={a: 1, a: 2}", ["key 'a' comes a second time"]),
        ("depth=2026-01-31", ["is a date in YAML"]),
        ("seeds=0", ["--set seeds=0: seeds: 0 came."]),
        ("record.every=0", ["--set record.every=0: record.every: 0 came."]),
        ("name=.x", ["--set name=.x: name: the text '.x' came."]),
    ],
)
def test_a_wrong_override_is_refused_by_itself(
    tmp_path: Path, override: str, parts: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path, override)
    for part in parts:
        assert part in str(error.value)


def test_the_same_key_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--set depth=5: 'depth' is set twice"):
        load(tmp_path, "depth=3", "depth=5")


def test_a_document_that_is_wrong_anyway_is_refused_for_its_own_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="base: 3 came"):
        load(tmp_path, "depth=3", text="name: a\nbase: 3")
    with pytest.raises(InputError, match="grid: 3 came"):
        load(tmp_path, "depth=3", text="name: a\ngrid: 3")
    with pytest.raises(InputError, match="zip: a list of 2 values came"):
        load(tmp_path, "depth=3", text="name: a\nzip: [[1, 2]]")
    with pytest.raises(InputError, match="record: 3 came"):
        load(tmp_path, "record.every=3", text="name: a\nrecord: 3")
