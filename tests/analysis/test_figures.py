"""One contract for every file of analysis/figures.

Each is drawn from the sweeps of the smoke profile, trained by the code itself. A sweep is the same
question in every profile, under the same file name, so the same code draws all three.
"""

import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from ruamel.yaml import YAML

from analysis import style
from analysis.drawing import figure_module, figure_names, title_and_caption
from tfc_jax.config import load_sweep
from tfc_jax.pack import program_key
from tfc_jax.results import Results

PROJECT = Path(__file__).parents[2]
NAMES = figure_names()
PROFILES = {"figures": "", "smoke": "smoke_", "paper": "paper_"}
# Two minutes on two cores: half a minute of steps, and compiling at about 8 core-seconds a program
SMOKE_RUN_STEPS, SMOKE_PROGRAMS = 150_000, 24
Drawn = tuple[str, Figure, bytes, bytes]


def test_all_twenty_figures_are_there() -> None:
    assert set(NAMES) == {
        "two_phase", "depth", "salient", "layer_profile", "theory_strip",
        "operations", "phase_diagram", "survival", "architectures", "robustness",
        "gradients", "common_direction", "diagnosis", "generalization", "activations",
        "interventions", "three_collapses", "variability", "staircase", "class_film",
    }  # fmt: skip


@pytest.mark.parametrize("folder", PROFILES)
@pytest.mark.parametrize("name", NAMES)
def test_every_sweep_of_a_figure_has_a_file_of_its_name_in_every_profile(
    name: str, folder: str
) -> None:
    sweeps = figure_module(name).SWEEPS
    assert sweeps
    for sweep in sweeps:
        content = YAML(typ="safe").load((PROJECT / f"sweeps/{folder}/{sweep}.yaml").read_text())
        assert content["name"] == PROFILES[folder] + sweep


def test_every_profile_asks_the_same_questions() -> None:
    stems = [{p.stem for p in (PROJECT / "sweeps" / folder).glob("*.yaml")} for folder in PROFILES]
    assert stems[0] == stems[1] == stems[2]


def test_the_smoke_profile_is_small() -> None:
    sweeps = [load_sweep(path) for path in (PROJECT / "sweeps" / "smoke").glob("*.yaml")]
    assert sum(len(sweep.runs) * sweep.steps for sweep in sweeps) <= SMOKE_RUN_STEPS
    programs = {(program_key(run), repr(sweep.record)) for sweep in sweeps for run in sweep.runs}
    assert len(programs) <= SMOKE_PROGRAMS


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_title_and_a_caption_that_names_our_definitions(name: str) -> None:
    title, caption = title_and_caption(figure_module(name))
    assert 10 < len(title) < 100
    assert not title.endswith(".")
    assert "(ours" in " ".join(caption)


def draw(name: str, smoke_results: dict[str, Results]) -> tuple[Figure, bytes, bytes]:
    """Returns the figure, its PNG and its PDF."""
    module = figure_module(name)
    with style.theme():
        figure = module.draw({sweep: smoke_results[sweep] for sweep in module.SWEEPS})
        return figure, style.render(figure, "png"), style.render(figure, "pdf")


@pytest.fixture(scope="module", params=NAMES)
def drawn(request: pytest.FixtureRequest, smoke_results: dict[str, Results]) -> Drawn:
    """Every figure, drawn once from the smoke profile: its name, itself, PNG, PDF."""
    return request.param, *draw(request.param, smoke_results)


def test_drawing_twice_gives_the_same_bytes_without_a_date(
    drawn: Drawn, smoke_results: dict[str, Results]
) -> None:
    name, figure, png, pdf = drawn
    assert isinstance(figure, Figure)
    assert draw(name, smoke_results)[1:] == (png, pdf)
    assert b"CreationDate" not in pdf


def test_nothing_touches_the_edge_of_a_figure(drawn: Drawn) -> None:
    image = imread(io.BytesIO(drawn[2]))[..., :3]
    for border in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (border == 1).all()


def test_every_axis_says_what_it_shows_and_no_text_is_small(drawn: Drawn) -> None:
    figure = drawn[1]
    assert any(axes.get_xlabel() for axes in figure.axes)
    labels = [text for axes in figure.axes for text in axes.texts]
    labels += [text for axes in figure.axes for text in axes.get_xticklabels()]
    for axes in figure.axes:
        labels += [t for t in (axes.title, axes.xaxis.label, axes.yaxis.label) if t.get_text()]
    assert labels
    assert min(float(text.get_fontsize()) for text in labels) >= 9
    assert 8 <= figure.get_figwidth() <= 10
