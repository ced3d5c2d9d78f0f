"""Packs of runs: two schedules, any neighbours, any chunks: the same numbers of every run."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.compilations import compilations
from tfc_jax.carry import from_arrays, to_arrays
from tfc_jax.chunk import Chunk
from tfc_jax.engine import PackEngine
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.losses import accuracy, data_loss
from tfc_jax.network import Network
from tfc_jax.program import Program
from tfc_jax.record import PerDecade, Record
from tfc_jax.sampling import Batch, Data, batch_indices, noisy_labels
from tfc_jax.snapshot import OnLayers
from tfc_jax.timetable import Schedule, Span
from tfc_jax.train import Carry, Trainer

N, D, K, B = 60, 6, 3, 8  # 7 batches an epoch
WIDTH, ROOM = 4, 16  # lanes; steps and records of a chunk
SCHEDULES: tuple[Schedule, ...] = ("mapped", "lockstep")
STATIC = Run(depth=3, width=5, batch_size=B, norm="batch")
A = replace(STATIC, momentum=0.9, learning_rate=0.02, label_noise=0.2)
OTHERS = (
    replace(A, seed=1),
    replace(A, seed=2, learning_rate=0.05, weight_decay=0.01),
    replace(A, seed=2**32 - 1, init_scale=0.5, momentum=0.5),
)
PACK = (A, *OTHERS[:2])
EVERY_3 = Record(every=3, probe_every=10, probe_samples=20)
LOGARITHMIC = replace(EVERY_3, every=PerDecade(4))

on_both = pytest.mark.parametrize("schedule", SCHEDULES)


@pytest.fixture(scope="module", autouse=True)
def squares() -> Iterator[None]:
    """A metric family with a column of the step and one of the layers."""
    family = ModuleType("tfc_jax.metrics.squares")

    def compute(snapshot: Any) -> dict[str, Any]:
        weights = jnp.stack([jnp.sum(w**2) for w in snapshot.weights])
        return {
            "weights": weights,
            "logits": jnp.sum(snapshot.features[-1] ** 2),
            "upper": OnLayers(weights[1:], (2, 3)),
        }

    family.compute = compute  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, family.__name__, family)
        yield


@cache
def data() -> Data:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2 * N, D), dtype=np.uint8)
    y = (x[:, :K].argmax(axis=1)).astype(np.int32)
    offset, multiplier = np.full(D, 128, np.float32), np.full(D, 1 / 64, np.float32)
    return Data(*map(jnp.asarray, (x[:N], y[:N], x[N:], y[N:], offset, multiplier)))


@cache
def program(schedule: Schedule, has_bare_steps: bool = True) -> Program:
    trainer = Trainer(Network(STATIC, (D,), K, K), has_momentum=True, metrics=("squares",))
    return Program(trainer, schedule, ROOM, ROOM, has_bare_steps, ("generalization",), 20)


def pack(schedule: Schedule, runs: tuple[Run, ...] = PACK, record: Record = EVERY_3) -> PackEngine:
    return PackEngine(program(schedule), record, runs, WIDTH, data())


@dataclass
class Trained:
    """Everything that came out of some chunks; the state after each of them."""

    columns: dict[str, np.ndarray]
    states: dict[int, Carry]

    def of_run(self, i: int) -> dict[str, np.ndarray]:
        return {name: column[i] for name, column in self.columns.items()}

    def state_of_run(self, i: int, step: int) -> Carry:
        return jax.tree.map(lambda a: a[i], self.states[step])


def hyper_of(engine: PackEngine, lane: int) -> Hyper:
    return jax.tree.map(lambda a: a[lane], engine._hyper)


def train(
    engine: PackEngine, start: int, stop: int, carry: Carry | None = None, cut: int | None = None
) -> Trained:
    """Trains steps start..stop-1; with `cut`, in two calls."""
    ends = [end for end in (cut, stop) if end is not None]
    chunks: list[Chunk] = []
    carry = engine.init() if carry is None else carry
    for begin, end in zip([start, *ends], ends, strict=False):
        chunks += engine.train(carry, begin, end, want_carry=lambda _: True)
        carry = chunks[-1].carry
    rows: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        probe = {name: a[:, None] for name, a in (chunk.probe or {}).items()}
        for name, a in (chunk.every_step | chunk.measured | probe).items():
            rows.setdefault(name, []).append(a)
    columns = {name: np.concatenate(parts, axis=1) for name, parts in rows.items()}
    return Trained(columns, {chunk.span.stop: chunk.carry for chunk in chunks})


def same_bits(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def tail(whole: Trained, part: Trained) -> dict[str, np.ndarray]:
    """The last rows of `whole`, as many as `part` has."""
    return {
        name: a[:, a.shape[1] - part.columns[name].shape[1] :]
        for name, a in whole.columns.items()
        if name in part.columns
    }


@cache
def reference(schedule: Schedule) -> Trained:
    return train(pack(schedule), 0, 24)


@cache
def loop(lane: int) -> list[dict[str, np.ndarray]]:
    """The same run without a program: its own steps, one after the other, in Python."""
    engine = pack("mapped")
    trainer, hyper = engine.program.trainer, hyper_of(engine, lane)
    indices = np.asarray(batch_indices(hyper.seed, jnp.int32(0), 24, N, B))
    labels = noisy_labels(hyper.seed, data().y_train, hyper.label_noise, K)
    carry, step = jax.jit(trainer.init)(hyper), jax.jit(trainer.measured_step)
    rows = []
    for rows_B in indices:
        batch = Batch(data().scaled(data().x_train[rows_B]), labels[rows_B])
        carry, row = step(carry, hyper, batch)
        rows.append(jax.device_get(row))
    return rows


@on_both
def test_a_chunk_trained_alone_has_the_bits_of_the_same_chunk_in_a_row(schedule: Schedule) -> None:
    engine = pack(schedule)
    first, _ = engine.train(engine.init(), 0, 20, want_carry=lambda _: True)
    carry, alone = engine.train_chunk(engine.init(), first.span)
    assert alone.probe is None
    assert same_bits(alone.every_step, first.every_step)
    assert same_bits(alone.measured, first.measured)
    assert same_bits(engine.fetch_carry(carry), first.carry)


@on_both
def test_a_pack_is_what_a_loop_over_steps_gives(schedule: Schedule) -> None:
    found, rows = reference(schedule).of_run(2), loop(2)
    # Sums may be ordered differently from program to program, and training amplifies roundings.
    for name in ("loss", "accuracy", "prior_entropy"):
        assert np.allclose(found[name], [row[name] for row in rows], rtol=1e-5, atol=1e-6)
    for name in ("weights", "logits"):
        assert np.allclose(found[name], [row[name] for row in rows[::3]], rtol=1e-5, atol=1e-6)
    assert found["weights"].shape == (8, STATIC.depth)


def test_the_schedules_agree_to_rounding() -> None:
    mapped, lockstep = (reference(schedule) for schedule in SCHEDULES)
    assert mapped.columns.keys() == lockstep.columns.keys()
    for name, column in mapped.columns.items():
        # As above.
        assert np.allclose(column, lockstep.columns[name], rtol=1e-5, atol=1e-6), name


@on_both
def test_other_neighbours_and_another_lane_leave_a_run_as_it_was(schedule: Schedule) -> None:
    alone = train(pack(schedule, (A,)), 0, 24)
    for lane, runs in enumerate([(A, *OTHERS), (OTHERS[2], A), (*OTHERS[:2], A)]):
        packed = train(pack(schedule, runs), 0, 24)
        assert same_bits(packed.of_run(lane), alone.of_run(0))
        assert same_bits(packed.state_of_run(lane, 24), alone.state_of_run(0, 24))


@on_both
def test_a_diverging_neighbour_changes_no_bit(schedule: Schedule) -> None:
    diverging = replace(A, learning_rate=1e30)  # at 1e6 its units may only die, which is finite
    packed = train(pack(schedule, (PACK[0], diverging, PACK[2])), 0, 24)
    assert np.isnan(packed.columns["loss"][1]).any()
    bad = packed.states[24].first_bad_step
    assert bad[1] == np.argmin(np.isfinite(packed.columns["loss"][1]))
    for lane in (0, 2):
        assert bad[lane] == -1
        assert same_bits(packed.of_run(lane), reference(schedule).of_run(lane))


@on_both
@pytest.mark.parametrize("record", [EVERY_3, LOGARITHMIC], ids=["every 3", "log 4"])
def test_resuming_at_any_chunk_is_going_on(schedule: Schedule, record: Record) -> None:
    engine = pack(schedule, record=record)
    whole = train(engine, 0, 34)
    assert list(whole.states) == [10, 20, 30, 34]
    for step in (10, 20, 30):
        stored = to_arrays(whole.states[step])
        resumed = train(engine, step, 34, from_arrays(engine.init(), stored))
        assert same_bits(resumed.columns, tail(whole, resumed))
        assert same_bits(resumed.states[34], whole.states[34])


@on_both
@pytest.mark.parametrize("record", [EVERY_3, LOGARITHMIC], ids=["every 3", "log 4"])
@pytest.mark.parametrize("cut", [1, 7, 12])
def test_where_a_chunk_ends_changes_no_bit(schedule: Schedule, record: Record, cut: int) -> None:
    engine = pack(schedule, record=record)
    whole, parts = train(engine, 0, 24), train(engine, 0, 24, cut=cut)
    assert same_bits(parts.columns, whole.columns)
    assert same_bits(parts.states[24], whole.states[24])


@on_both
def test_one_executable_serves_full_short_and_resumed_chunks_and_all_runs(
    schedule: Schedule,
) -> None:
    fresh = replace(program(schedule))  # other tests have compiled nothing for it
    engine, other = (
        replace(pack(schedule, runs, record), program=fresh)
        for runs, record in ((PACK, EVERY_3), (OTHERS, LOGARITHMIC))
    )
    first = train(engine, 0, 20)
    with compilations() as found:
        train(engine, 0, 13)
        train(engine, 20, 24, from_arrays(engine.init(), to_arrays(first.states[20])))
        train(other, 0, 10)
    assert found == []


def test_measuring_every_step_needs_no_bare_steps() -> None:
    record = replace(EVERY_3, every=1)
    only = PackEngine(program("mapped", has_bare_steps=False), record, PACK, WIDTH, data())
    every, third = train(only, 0, 24).columns, reference("mapped").columns
    assert every["weights"].shape == (3, 24, STATIC.depth)
    for name in ("weights", "logits"):
        # As for the loop over steps.
        assert np.allclose(every[name][:, ::3], third[name], rtol=1e-5, atol=1e-6)
    assert np.allclose(every["loss"], third["loss"], rtol=1e-5, atol=1e-6)


@on_both
def test_a_probe_evaluates_the_first_samples_without_training(schedule: Schedule) -> None:
    engine, lane = pack(schedule), 1
    state = reference(schedule).state_of_run(lane, 20)
    evaluate = jax.jit(partial(engine.program.trainer.net.apply, train=False))
    hyper = hyper_of(engine, lane)
    labels = noisy_labels(hyper.seed, data().y_train, hyper.label_noise, K)
    found = reference(schedule).of_run(lane)
    parts = {"train": (data().x_train, labels), "test": (data().x_test, data().y_test)}
    for part, (x, y) in parts.items():
        z, _ = evaluate(state.params, state.model_state, data().scaled(x[:20]))
        loss = float(data_loss("cross_entropy", z, y[:20]))
        assert found[f"{part}_loss"][1] == pytest.approx(loss, rel=1e-5)  # as above
        # A division by a known number may be compiled to a product with its reciprocal.
        assert found[f"{part}_accuracy"][1] == pytest.approx(float(accuracy(z, y[:20])), rel=1e-6)


@on_both
def test_a_column_of_some_layers_is_masked_on_the_others(schedule: Schedule) -> None:
    (chunk,) = pack(schedule).train(pack(schedule).init(), 0, 10, lambda _: False)
    upper, weights = chunk.measured["upper"], chunk.measured["weights"]
    assert upper.shape == weights.shape == (3, 4, STATIC.depth)
    assert np.ma.getmaskarray(upper)[..., 0].all()
    assert not np.ma.getmaskarray(upper)[..., 1:].any()
    assert np.array_equal(np.asarray(upper)[..., 1:], weights[..., 1:])


def test_a_pack_without_probes_has_none() -> None:
    engine = pack("mapped")
    bare = replace(engine, program=replace(engine.program, probes=()))
    assert bare.probe(bare.init()) is None


def test_the_state_comes_where_it_is_asked_for_and_at_the_end() -> None:
    asked: list[Span] = []

    def want(span: Span) -> bool:
        asked.append(span)
        return span.stop == 20

    engine = pack("mapped")
    chunks = list(engine.train(engine.init(), 0, 34, want))
    assert [chunk.span.stop for chunk in chunks] == [10, 20, 30, 34]
    assert [chunk.carry is not None for chunk in chunks] == [False, True, False, True]
    assert [chunk.probe is not None for chunk in chunks] == [True, True, True, False]
    assert chunks[1].carry.step.tolist()[:3] == [20, 20, 20]


def test_a_request_to_stop_ends_with_the_running_chunk_and_its_state() -> None:
    engine = pack("mapped")
    answers = iter([False, True])
    chunks = list(engine.train(engine.init(), 0, 34, lambda _: False, lambda: next(answers)))
    assert [chunk.span.stop for chunk in chunks] == [10, 20]
    assert same_bits(chunks[-1].carry, train(engine, 0, 34).states[20])


def test_padding_lanes_are_not_handed_out() -> None:
    engine = pack("mapped", (A,))
    (chunk,) = engine.train(engine.init(), 0, 10, lambda _: False)
    tables = (chunk.every_step, chunk.measured, chunk.probe)
    assert all(len(column) == 1 for column in jax.tree.leaves(tables))
    assert len(chunk.carry.step) == WIDTH


def test_a_state_of_another_program_is_refused() -> None:
    state = to_arrays(reference("mapped").states[20])
    network = Network(replace(STATIC, width=7), (D,), K, K)
    other = replace(pack("mapped").program.trainer, network=network)
    like = jax.eval_shape(jax.vmap(other.init), pack("mapped")._hyper)
    with pytest.raises(ValueError, match="of another program: model_state/norms/0/mean, "):
        from_arrays(like, state)


def test_names_of_stored_arrays_say_what_they_are() -> None:
    names = to_arrays(reference("mapped").states[20])
    assert {"params/layers/0/kernel", "model_state/norms/1/mean", "step"} <= names.keys()


def test_memory_counts_data_and_state() -> None:
    n, d = 2000, 500  # so large that temporaries cannot make up for either
    network = Network(Run(depth=1, batch_size=B), (d,), K, K)
    trainer = Trainer(network, has_momentum=False, metrics=())
    bare = Program(trainer, "mapped", ROOM, 1, True, (), 2)
    rows = Data(
        jnp.zeros((n, d), jnp.uint8),
        jnp.zeros(n, jnp.int32),
        *(data().x_test, data().y_test),
        *(jnp.zeros(d), jnp.ones(d)),
    )
    engine = PackEngine(bare, replace(EVERY_3, metrics=()), (A,), WIDTH, rows)
    held = rows.x_train.nbytes + sum(a.nbytes for a in jax.tree.leaves(engine.init()))
    assert held < engine.memory_bytes() < 2 * held
