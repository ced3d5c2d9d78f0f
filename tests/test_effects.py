"""What is recorded in vain is said, and what is said is true of every network."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.sweeps import make_sweep, write_sweep
from tfc_jax import effects, registry
from tfc_jax.cli import app
from tfc_jax.executors import inline
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.plan import make_plan
from tfc_jax.program import Program
from tfc_jax.progress import Display
from tfc_jax.record import PLUGINS
from tfc_jax.sampling import Batch, Data
from tfc_jax.train import Records, Trainer

N, K = 6, 3
Asked = dict[str, tuple[str, ...]]
EVERYTHING = {kind: registry.names(kind) for kind in PLUGINS}
DECLARING = {
    kind: tuple(name for name in names if hasattr(registry.module(kind, name), "lacks"))
    for kind, names in EVERYTHING.items()
}
IMAGES = [(name, (8, 8, 1)) for name in registry.names("models")]
ONE_TOKEN = [("vit", (5, 5, 1)), ("rnn", (1, 8, 1))]


def network(name: str, shape: tuple[int, ...], **fields: Any) -> Network:
    example = registry.module("models", name).EXAMPLE
    run = replace(Run(architecture=name, batch_size=4), **(example | fields))
    n_classes = K if run.loss == "cross_entropy" else 0
    return Network(run, shape, K, n_classes)


def given(network: Network, asked: Asked) -> set[str]:
    """Metrics and probes that have a column, by tracing a step and a look of the real engine."""
    hyper, n_inputs = Hyper.of(network.run), int(np.prod(network.input_shape))
    x = jnp.zeros((N, n_inputs))
    y = jnp.zeros(N, jnp.int32) if network.n_classes else jnp.zeros((N, K))
    data = Data(x, y, x, y, offset=jnp.float32(0), multiplier=jnp.float32(1))
    trainer = Trainer(network, has_momentum=False, metrics=asked["metrics"])
    batch = Batch(x[: network.run.batch_size], y[: network.run.batch_size])
    program = Program(trainer, "mapped", 1, 1, False, asked["probes"], N)

    def both() -> tuple[Records, Records]:
        carry = trainer.init(hyper)
        step = trainer.measured_step(carry, hyper, batch)[1]
        return step, program._one_probe(carry, hyper, data=data)

    found = jax.eval_shape(both)
    return {
        f"{kind} {name}"
        for kind, has in zip(PLUGINS, found, strict=True)
        for name in asked[kind]
        if has.keys() & columns(kind, name)
    }


def columns(kind: str, name: str) -> set[str]:
    return {column.name for column in registry.module(kind, name).COLUMNS}


def declared(network: Network, asked: Asked) -> set[str]:
    """The same, by what metrics and probes declare of a network."""
    traits = effects.traits_of(network)
    modules = {
        f"{kind} {name}": registry.module(kind, name) for kind in PLUGINS for name in asked[kind]
    }
    return {label for label, m in modules.items() if not (hasattr(m, "lacks") and m.lacks(traits))}


@pytest.mark.parametrize(("name", "shape"), IMAGES + ONE_TOKEN)
def test_what_is_declared_missing_is_what_the_engine_leaves_out(
    name: str, shape: tuple[int, ...]
) -> None:
    asked = EVERYTHING if name == "rnn" else DECLARING  # all of them take long to trace
    built = network(name, shape)
    assert given(built, asked) == declared(built, asked)


@pytest.mark.parametrize("fields", [{"loss": "mse"}, {"depth": 1}])
def test_the_same_holds_for_a_regression_and_without_a_hidden_layer(fields: dict[str, Any]) -> None:
    plain, built = (network("mlp", (8, 8, 1), **keys) for keys in ({}, fields))
    assert given(built, DECLARING) == declared(built, DECLARING) < declared(plain, DECLARING)


def noted(tmp_path: Path, **sections: Any) -> list[str]:
    return effects.notes(make_plan(make_sweep(tmp_path, **sections), platform="cpu"))


def test_a_family_that_some_programs_cannot_give_is_told_with_these_programs(
    tmp_path: Path,
) -> None:
    architectures = {"architecture": ["mlp", "vit"]}
    record = {"metrics": ["norms", "weight_gradients"], "probes": ["rank"]}
    (note,) = noted(tmp_path, base={"norm": "layer"}, grid=architectures, record=record)
    assert note == (
        "record.metrics: weight_gradients gives nothing for digits vit 3x16: no "
        "layer reads the whole feature of the layer below."
    )


def test_many_programs_are_counted_and_all_are_not_listed(tmp_path: Path) -> None:
    depths, norm = {"depth": [3, 4, 5, 6, 7]}, {"norm": "layer"}
    record = {"metrics": ["weight_gradients"]}
    mixed = depths | {"architecture": ["mlp", "vit"]}
    (note,) = noted(tmp_path, base=norm, grid=mixed, record=record)
    assert "digits vit 5x16 and 2 others: no layer" in note
    (note,) = noted(tmp_path, base=norm | {"architecture": "vit"}, grid=depths, record=record)
    assert "for any program of this sweep: no layer" in note
    assert note.endswith(" Leave it out.")


def test_probes_of_classes_give_nothing_for_a_regression(tmp_path: Path) -> None:
    base = {"dataset": "sine_mixture", "n_train": None, "loss": "mse", "depth": 1}
    found = noted(tmp_path, base=base, record={"metrics": ["norms"], "probes": "all"})
    assert [note.split(" gives ")[0] for note in found] == [
        "record.probes: classes",
        "record.probes: neural_collapse",
        "record.probes: rank_bound",
    ]


def test_keys_that_decide_about_nothing_are_told(tmp_path: Path) -> None:
    assert noted(tmp_path, record={"metrics": [], "probes": []}) == [
        "record.every has no effect: record.metrics is empty.",
        "record.probe_every has no effect: record.probes is empty.",
        "record.probe_samples has no effect: record.probes is empty.",
    ]
    assert not noted(tmp_path, record={"metrics": ["norms"], "probes": ["rank"]})


@pytest.mark.parametrize("command", [["plan"], ["plan", "--json"], ["run", "--workers", "0"]])
def test_plan_and_run_say_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(inline, "execute", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    path = write_sweep(
        tmp_path, base={"architecture": "vit", "norm": "layer"}, record={"metrics": "all"}
    )
    answer = CliRunner().invoke(app, [*command, str(path)])
    assert answer.exit_code == (command[0] == "run")  # nothing is trained here
    assert answer.output.count("weight_gradients gives nothing for any program") == 1
    if "--json" in command:
        assert json.loads(answer.stdout)


def test_nothing_is_noted_twice_over_the_rounds_of_a_sweep(tmp_path: Path) -> None:
    text = StringIO()
    display = Display(Console(file=text, width=200), quiet=False)
    planned = make_plan(make_sweep(tmp_path, record={"metrics": []}), platform="cpu")
    for _ in range(2):
        display({"event": "planned", "plan": planned})
    assert text.getvalue().count("record.every has no effect") == 1
