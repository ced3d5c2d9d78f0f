"""Interventions in packs: what all arms share until then, and what the step itself sees."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.sweeps import BASE, CPU, content, make_sweep
from tests.sweeps import train as train_sweep
from tfc_jax.carry import from_arrays, to_arrays
from tfc_jax.chunk import Chunk
from tfc_jax.engine import PackEngine
from tfc_jax.hyper import Hyper
from tfc_jax.keys import INTERVENTIONS, Run
from tfc_jax.launch import plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.losses import data_loss
from tfc_jax.network import Network
from tfc_jax.options import Options
from tfc_jax.program import Program
from tfc_jax.record import Record
from tfc_jax.results import open_results
from tfc_jax.sampling import Data, batch_indices
from tfc_jax.slices import Slices, _concatenated, fitting
from tfc_jax.timetable import Schedule
from tfc_jax.train import Carry, Trainer

N, D, K, B = 60, 6, 3, 8
DEPTH, MIDDLE, LANES, ROOM, AT, STEPS = 3, 2, 8, 16, 12, 24
SCHEDULES: tuple[Schedule, ...] = ("mapped", "lockstep")
STATIC = Run(depth=DEPTH, width=5, batch_size=B)
# At this seed a unit of the middle layer is dead by then: every arm has something to do.
CONTROL = replace(STATIC, seed=2, learning_rate=0.05, weight_decay=0.01, intervene_at=AT)
VALUES = {"rescale": 0.5, "enable_momentum": 0.9}
ARMS = tuple(
    replace(CONTROL, intervention=name, intervene_value=VALUES.get(name))  # type: ignore[arg-type]
    for name in INTERVENTIONS
)
NAMES = dict(zip(INTERVENTIONS, range(len(ARMS)), strict=True))
RECORD = Record(every=3, probe_every=10, probe_samples=20)

on_both = pytest.mark.parametrize("schedule", SCHEDULES)


@cache
def data() -> Data:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2 * N, D), dtype=np.uint8)
    y = (x[:, :K].argmax(axis=1)).astype(np.int32)
    offset, multiplier = np.full(D, 128, np.float32), np.full(D, 1 / 64, np.float32)
    return Data(*map(jnp.asarray, (x[:N], y[:N], x[N:], y[N:], offset, multiplier)))


@cache
def program(schedule: Schedule) -> Program:
    trainer = Trainer(Network(STATIC, (D,), K, K), has_momentum=True, metrics=("norms",))
    return Program(trainer, schedule, ROOM, ROOM, True, ("generalization",), 20)


@dataclass
class Trained:
    """Everything that came out of some chunks; the state after each of them."""

    columns: dict[str, np.ndarray]
    states: dict[int, Carry]

    def of_run(self, i: int) -> dict[str, np.ndarray]:
        return {name: column[i] for name, column in self.columns.items()}

    def state_of_run(self, i: int, step: int = STEPS) -> Carry:
        return jax.tree.map(lambda a: a[i], self.states[step])


def pack(schedule: Schedule, *runs: Run) -> PackEngine:
    return PackEngine(program(schedule), RECORD, runs, LANES, data())


def train(engine: Any, start: int = 0, carry: Any = None, cut: int = 0) -> Trained:
    """Trains to the last step; with `cut`, in two calls."""
    chunks: list[Chunk] = []
    carry = engine.init() if carry is None else carry
    for begin, end in ((start, cut), (cut or start, STEPS)) if cut else ((start, STEPS),):
        chunks += engine.train(carry, begin, end, want_carry=lambda _: True)
        carry = chunks[-1].carry
    rows: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        probe = {name: a[:, None] for name, a in (chunk.probe or {}).items()}
        for name, a in (chunk.every_step | chunk.measured | probe).items():
            rows.setdefault(name, []).append(a)
    columns = {name: np.concatenate(parts, axis=1) for name, parts in rows.items()}
    return Trained(columns, {chunk.span.stop: chunk.carry for chunk in chunks})


@cache
def together(schedule: Schedule) -> Trained:
    """All arms in one pack."""
    return train(pack(schedule, *ARMS))


def same_bits(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def until(trained: Trained, lane: int) -> dict[str, np.ndarray]:
    """The rows of a run before step AT: every step, every third, and the probe at step 10."""
    lengths = {STEPS: AT, STEPS // 3: AT // 3, STEPS // 10: 1}
    rows = trained.of_run(lane)
    return {name: a[: lengths[len(a)]] for name, a in rows.items()}


@on_both
def test_all_arms_are_the_same_run_until_their_step(schedule: Schedule) -> None:
    found = together(schedule)
    assert list(found.states) == [10, AT, 20, STEPS]
    for lane in range(len(ARMS)):
        assert same_bits(until(found, lane), until(found, 0))
        assert same_bits(found.state_of_run(lane, AT), found.state_of_run(0, AT))


@on_both
def test_every_arm_but_the_control_goes_another_way_from_its_step_on(schedule: Schedule) -> None:
    losses = together(schedule).columns["loss"]
    for name, lane in NAMES.items():
        first = np.flatnonzero(losses[lane] != losses[0])[:1].tolist()
        # Momentum acts in the update of that step, so the next one is the first to see it; a unit
        # that is dead by the fixed samples may be dead in a batch as well.
        expected = {"none": [], "enable_momentum": [AT + 1]}.get(name, [AT])
        assert first == expected, name


@on_both
def test_the_measurement_of_the_step_sees_the_new_weights(schedule: Schedule) -> None:
    norms = together(schedule).columns["weight_norm"]
    control, scaled = norms[NAMES["none"]], norms[NAMES["rescale"]]
    at = AT // 3
    others = [layer for layer in range(DEPTH) if layer != MIDDLE - 1]
    # A power of two commutes with roundings.
    assert scaled[at, MIDDLE - 1] == 0.5 * control[at, MIDDLE - 1]
    assert np.array_equal(scaled[at, others], control[at, others])
    assert np.array_equal(scaled[:at], control[:at])


@on_both
@pytest.mark.parametrize("name", INTERVENTIONS)
def test_an_arm_alone_or_in_another_lane_is_the_same_run(schedule: Schedule, name: str) -> None:
    run, lane = ARMS[NAMES[name]], NAMES[name]
    # Neighbours with other steps of theirs cut the chunks elsewhere.
    early, late = replace(ARMS[-1], intervene_at=7), replace(ARMS[3], intervene_at=17)
    for at, runs in ((0, (run,)), (2, (early, late, run)), (1, (ARMS[0], run))):
        found = train(pack(schedule, *runs))
        assert same_bits(found.of_run(at), together(schedule).of_run(lane))
        assert same_bits(found.state_of_run(at), together(schedule).state_of_run(lane))


@on_both
@pytest.mark.parametrize("step", [10, AT, 20])
def test_resuming_before_at_or_after_the_step_is_going_on(schedule: Schedule, step: int) -> None:
    whole, engine = together(schedule), pack(schedule, *ARMS)
    stored = to_arrays(whole.states[step])
    resumed = train(engine, step, from_arrays(engine.init(), stored))
    for name, a in resumed.columns.items():
        assert same_bits(a, whole.columns[name][:, -a.shape[1] :])
    assert resumed.columns.keys() >= {"loss", "weight_norm"}
    assert same_bits(resumed.states[STEPS], whole.states[STEPS])


@on_both
@pytest.mark.parametrize("end", [AT, AT + 1, 7])
def test_a_run_that_is_made_longer_is_the_longer_run(schedule: Schedule, end: int) -> None:
    parts = train(pack(schedule, *ARMS), cut=end)
    assert same_bits(parts.columns, together(schedule).columns)
    assert same_bits(parts.states[STEPS], together(schedule).states[STEPS])


@on_both
def test_an_intervention_before_the_first_step_acts_on_the_initial_weights(
    schedule: Schedule,
) -> None:
    run = replace(ARMS[NAMES["rescale"]], intervene_at=0)
    norms = train(pack(schedule, CONTROL, run)).columns["weight_norm"]
    assert norms[1, 0, MIDDLE - 1] == 0.5 * norms[0, 0, MIDDLE - 1]


@on_both
def test_diverged_neighbours_come_through_and_change_no_bit(schedule: Schedule) -> None:
    wild = [replace(run, learning_rate=1e30) for run in ARMS]
    lane = NAMES["sham"]
    found = train(pack(schedule, *wild, ARMS[lane]))
    assert (found.states[AT].first_bad_step[:-1] >= 0).all()
    assert same_bits(found.of_run(len(wild)), together(schedule).of_run(lane))
    assert same_bits(found.state_of_run(len(wild)), together(schedule).state_of_run(lane))


@on_both
def test_one_executable_serves_all_arms_layers_and_steps(schedule: Schedule) -> None:
    engine = replace(pack(schedule, *ARMS), program=replace(program(schedule)))
    train(engine)
    others = (replace(ARMS[3], intervene_at=3), replace(ARMS[-1], intervene_layer=0))
    train(replace(engine, runs=others))
    assert engine.program.intervene._cache_size() == 1  # type: ignore[attr-defined]
    assert engine.program.chunk._cache_size() == 1  # type: ignore[attr-defined]


def by_hand(run: Run, buffer_is_kept: bool = True) -> list[float]:
    """Losses of SGD whose momentum is 0 before step AT and 0.9 from then on."""
    net, hyper = program("mapped").trainer.net, Hyper.of(run)
    indices = np.asarray(batch_indices(hyper.seed, jnp.int32(0), STEPS, N, B))
    x, y = data().scaled(data().x_train), data().y_train

    @jax.jit
    def gradient(params: Any, rows: Any) -> Any:
        def loss(params: Any) -> Any:
            logits = net.apply(params, {}, x[rows], train=True)[0]
            return data_loss("cross_entropy", logits, y[rows])

        return jax.value_and_grad(loss)(params)

    params = jax.jit(net.init)(hyper)[0]
    velocity, losses = jax.tree.map(jnp.zeros_like, params), []
    for step, rows in enumerate(indices):
        loss, grads = gradient(params, rows)
        share = 0.9 if step >= AT and (buffer_is_kept or step > AT) else 0.0
        velocity = jax.tree.map(
            lambda v, g, w, m=share: m * v + g + run.weight_decay * w, velocity, grads, params
        )
        params = jax.tree.map(lambda w, v: w - run.learning_rate * v, params, velocity)
        losses.append(float(loss))
    return losses


@on_both
def test_momentum_begins_with_the_gradient_of_the_step_before(schedule: Schedule) -> None:
    losses = together(schedule).columns["loss"][NAMES["enable_momentum"]]
    expected, reset = by_hand(CONTROL), by_hand(CONTROL, buffer_is_kept=False)
    # Sums may be ordered differently from program to program, and training amplifies roundings.
    assert np.allclose(losses, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(losses, reset, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_sweep_of_all_arms_trains_end_to_end_in_packs_of_any_width(tmp_path: Path) -> None:
    base = BASE | {"depth": 5, "intervene_at": 20}
    arms = [{"intervention": [*INTERVENTIONS], "intervene_value": [*map(VALUES.get, NAMES)]}]
    sweep = make_sweep(
        tmp_path,
        base=base,
        grid={},
        zip=arms,
        seeds=2,
        record={"every": 2, "metrics": ["norms"], "probes": ["generalization"]},
    )
    plan = plan_sweep(sweep, Folder(tmp_path / "out"), Options(pack_width=16), CPU)
    assert len(plan.programs) == len(plan.packs) == 1
    for width, folder in ((16, "one"), (3, "many")):
        assert train_sweep(sweep, tmp_path / folder, width=width) == {"done": 14}
    place = ("wall_s", "pack", "lane", "pack_width")
    one, many = (content(tmp_path / folder, without=place) for folder in ("one", "many"))
    assert one == many
    results = open_results(tmp_path / "one")
    steps = results.steps(columns=["loss"]).merge(results.runs, on="run_id")
    losses = steps.pivot(index=["seed", "step"], columns="intervention", values="loss_x")
    before, after = (
        losses[losses.index.get_level_values("step") < 20],
        losses.xs(59, level="step"),
    )
    assert (before.nunique(axis=1) == 1).all()
    assert (after.nunique(axis=1) >= 6).all()
    norms = results.layers("step == 20 and layer == 3", columns=["weight_norm"])
    by_arm = norms.merge(results.runs, on="run_id").pivot(
        index="seed", columns="intervention", values="weight_norm"
    )
    assert (by_arm["rescale"] == 0.5 * by_arm["none"]).all()
    # Other directions, as much energy: |W|^2 is a sum of 256 squares in float32.
    shorter = by_arm["sham"] / by_arm["remove_common_direction"]
    assert np.allclose(shorter, 1, rtol=256 * np.finfo(np.float32).eps)


@on_both
def test_slices_of_a_pack_are_the_same_runs_as_packs_of_that_width(schedule: Schedule) -> None:
    """Each arm cuts the chunks of the whole pack; a resume takes what stood in other lanes."""
    arms = (*ARMS[:3], replace(ARMS[3], intervene_at=7))
    narrow = replace(pack(schedule, *arms), width=3)
    slices = fitting(narrow)
    assert isinstance(slices, Slices)
    whole = train(slices)
    for lane, run in enumerate(arms):
        alone = train(replace(narrow, runs=(run,)))
        assert same_bits(whole.of_run(lane), alone.of_run(0))
        assert same_bits(whole.state_of_run(lane), alone.state_of_run(0))
    wide = train(pack(schedule, *arms), cut=20).states[20]
    resumed = train(slices, 20, slices.restored(to_arrays(wide)))
    from_slices = train(slices, 20, slices.restored(to_arrays(whole.states[20])))
    # Rounding of 4 updates by two executables.
    assert np.allclose(resumed.columns["loss"], from_slices.columns["loss"], rtol=1e-5)
    back = pack(schedule, *arms).restored(to_arrays(whole.states[20]))
    assert same_bits(jax.tree.map(lambda a: a[:4], back), whole.states[20])


def test_layers_without_a_column_stay_masked_where_slices_are_joined() -> None:
    halves = [np.ma.masked_equal(np.array([[0.0, first]]), 0) for first in (1.0, 2.0)]
    joined = _concatenated(halves)
    assert np.ma.getmaskarray(joined).tolist() == [[True, False]] * 2
    assert not isinstance(_concatenated([np.ones(1), np.ones(2)]), np.ma.MaskedArray)
