"""The `refine` section is refused at its line, in a sentence that helps, all errors at once."""

from pathlib import Path
from typing import Any

import pytest

from tfc_jax.config import Sweep, load_sweep
from tfc_jax.errors import InputError
from tfc_jax.refine import Refine

SWEEP = """name: a
grid:
  depth: [3, 4]
  init_scale: {logspace: [0.5, 2, 4]}
  learning_rate: [0.01, 0.02, 0.04]
  momentum: [0, 0.5]
  label_noise: [0.4, 0.2]
  activation: [relu, tanh]
  n_train: [null, 1000]
zip:
  - weight_decay: [0.1, 0.2]
"""
LINE = SWEEP.count("\n") + 2
GOOD = {"axes": "[init_scale]", "boundary": "final_loss < 2", "halvings": "1"}


def load(folder: Path, section: str, sweep: str = SWEEP, **options: Any) -> Sweep:
    path = folder / "s.yaml"
    path.write_text(sweep + section)
    return load_sweep(path, **options)


def section(**parts: str) -> str:
    lines = [f"  {name}: {value}" for name, value in {**GOOD, **parts}.items() if value]
    return "\n".join(["refine:", *lines])


def refused(folder: Path, text: str, sweep: str = SWEEP) -> list[str]:
    with pytest.raises(InputError) as error:
        load(folder, text, sweep)
    return list(error.value.messages)


def the_refine(sweep: Sweep) -> Refine:
    assert sweep.refine
    return sweep.refine


def test_a_section_is_read(tmp_path: Path) -> None:
    refine = the_refine(load(tmp_path, section(axes="[learning_rate, init_scale]")))
    rate, scale = refine.axes
    assert (rate.name, rate.values, rate.is_log) == ("learning_rate", (0.01, 0.02, 0.04), False)
    assert (scale.name, scale.is_log, len(scale.values)) == ("init_scale", True, 4)
    assert (refine.boundary.text, refine.halvings) == ("final_loss < 2", 1)


@pytest.mark.parametrize("text", ["", "refine:"])
def test_nothing_is_refined_without_a_section(tmp_path: Path, text: str) -> None:
    sweep = load(tmp_path, text)
    assert sweep.refine is None
    assert (sweep.round, sweep.more) == (0, 0)


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("refine: 3", -1, ["refine: 3 came.", "a mapping of axes, boundary, halvings"]),
        (section(rounds="2"), 3, ["unknown key 'rounds' in refine.", "Allowed: axes, boundary"]),
        (section(axis="2"), 3, ["unknown key 'axis' in refine.", "Did you mean 'axes'?"]),
        (section(axes=""), -1, ["refine.axes is missing.", "such as axes: [init_scale"]),
        (section(boundary=""), -1, ["refine.boundary is missing.", "final_loss < 2.2"]),
        (section(halvings=""), -1, ["refine.halvings is missing.", "halvings: 2"]),
        (section(axes="init_scale"), 0, ["the text 'init_scale' came.", "a list of keys of grid"]),
        (section(axes="[]"), 0, ["refine.axes: an empty list came."]),
        (section(axes="[7]"), 0, ["refine.axes: 7 came.", "names of keys of grid"]),
        (section(axes="[init_scal]"), 0, ["is no axis of grid.", "Did you mean 'init_scale'?"]),
        (section(axes="[width]"), 0, ["'width' is no axis of grid.", "Axes of grid: depth, init_"]),
        (section(axes="[weight_decay]"), 0, ["weight_decay is an axis, but not of grid."]),
        (section(axes="[seed]"), 0, ["the seeds of a cell are its runs."]),
        (section(axes="[init_scale, init_scale]"), 0, ["init_scale comes twice."]),
        (section(axes="[activation]"), 0, ["activation is not a number everywhere"]),
        (section(axes="[n_train]"), 0, ["n_train is not a number everywhere"]),
        (section(axes="[label_noise]"), 0, ["at least two values in grid, in ascending order"]),
        (section(axes="[depth]"), 0, ["depth would be tried at 2.75:", "a whole number >= 1"]),
        (section(axes="[momentum]"), 0, ["would be tried at -0.125:", "further inside"]),
        (section(boundary="3"), 1, ["refine.boundary: 3 came. Allowed: an expression"]),
        (section(boundary="final_los < 3"), 1, ["'final_los'. Did you mean 'final_loss'?"]),
        (section(boundary="wall_s < 3"), 1, ["unknown name 'wall_s'."]),
        (section(boundary="status < 3"), 1, ["status (text) does not compare with 3 (a number)"]),
        (section(halvings="-1"), 2, ["refine.halvings: -1 came.", ">= 0 and <= 8"]),
        (section(halvings="9"), 2, ["refine.halvings: 9 came."]),
        (section(halvings="two"), 2, ["refine.halvings: the text 'two' came."]),
    ],
)
def test_a_wrong_section_is_refused_at_its_line(
    tmp_path: Path, text: str, line: int, parts: list[str]
) -> None:
    (message,) = refused(tmp_path, text)
    assert message.startswith(f"{tmp_path}/s.yaml:{LINE + line}: ")
    for part in parts:
        assert part in message


def test_everything_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    text = section(axes="[depth, widht]", boundary="los < 2", halvings="x", more="1")
    assert len(refused(tmp_path, text, SWEEP.replace("relu", "rellu"))) == 6


def test_an_axis_that_is_wrong_itself_is_refused_once(tmp_path: Path) -> None:
    sweep = SWEEP.replace("logspace: [0.5, 2, 4]", "logspace: [0.5, 2]")
    (message,) = refused(tmp_path, section(), sweep)
    assert "grid.init_scale: logspace came with 2 numbers" in message


def test_values_too_close_to_be_halved_are_refused(tmp_path: Path) -> None:
    sweep = SWEEP.replace("[0.01, 0.02, 0.04]", "[1.0, 1.00001, 1.00002]")
    (message,) = refused(tmp_path, section(axes="[learning_rate]", halvings="3"), sweep)
    assert "learning_rate has values so close that some of their halves are equal" in message


def test_what_later_rounds_would_contradict_is_refused_before_the_first(tmp_path: Path) -> None:
    sweep = "name: a\nbase: {optimizer: sgd}\ngrid: {intervene_value: [0.5, 0.9]}\nzip:\n"
    sweep += "  - {intervention: [enable_momentum], intervene_at: [3]}\n"
    (message,) = refused(tmp_path, section(axes="[intervene_value]", halvings="2"), sweep)
    assert message.startswith(f"{tmp_path}/s.yaml:5: refine: momentum is a share below 1")
    assert load(tmp_path, section(axes="[intervene_value]", halvings="0"), sweep).more == 0


def test_a_sweep_that_may_grow_too_large_is_refused(tmp_path: Path) -> None:
    axes = section(axes="[init_scale, learning_rate]", halvings="8")
    (message,) = refused(tmp_path, axes)
    assert "x 87381 (refine, at most); at most 2,000,000 are allowed" in message


def test_setting_an_axis_takes_it_out_of_refine(tmp_path: Path) -> None:
    text = section(axes="[init_scale, learning_rate]")
    one = the_refine(load(tmp_path, text, overrides=["init_scale=1"]))
    assert [line.name for line in one.axes] == ["learning_rate"]
    assert load(tmp_path, text, overrides=["init_scale=1", "learning_rate=1"]).refine is None


def test_boundary_and_halvings_can_be_set(tmp_path: Path) -> None:
    given = ["refine.halvings=3", "refine.boundary='final_accuracy > 0.5'"]
    refine = the_refine(load(tmp_path, section(), overrides=given))
    assert (refine.halvings, refine.boundary.text) == (3, "final_accuracy > 0.5")
