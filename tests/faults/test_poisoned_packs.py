"""A run that turns NaN or infinite: its neighbours keep every bit, and it is never the best."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.faults.tally import Tally, Tries
from tfc_jax import registry
from tfc_jax.chunk import Chunk
from tfc_jax.engine import PackEngine
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.program import Program
from tfc_jax.record import Record
from tfc_jax.sampling import Data
from tfc_jax.timetable import Schedule
from tfc_jax.train import Carry, Trainer

N, D, K, LANES, STEPS, ROOM = 40, 6, 3, 4, 24, 8
RUN = Run(depth=3, width=5, batch_size=8, learning_rate=0.05)
# Neighbours differ in what a lane may differ in.
RUNS = tuple(replace(RUN, seed=i, init_scale=0.8 + 0.1 * i, momentum=0.3 * i) for i in range(LANES))
SCHEDULES: tuple[Schedule, ...] = ("mapped", "lockstep")
METRICS, PROBES = registry.names("metrics"), registry.names("probes")
RECORD = Record(every=2, probe_every=ROOM, probe_samples=16, metrics=METRICS, probes=PROBES)
# With these a network of this size leaves float32 within 24 steps whatever its seed.
KEYS: tuple[dict[str, Any], ...] = (
    {"learning_rate": 1e30},
    {"learning_rate": 3e38},
    {"init_scale": 1e25},
    {"init_scale": 3e38},
    {"weight_decay": 1e20},
    {"momentum": 1e20},
)
VALUES = (np.nan, np.inf, -np.inf, np.float32(3.4e38))


@dataclass(frozen=True)
class Poison:
    """What goes wrong in one lane: its keys, or one of its weights at a step."""

    lane: int
    keys: tuple[tuple[str, Any], ...] = ()
    step: int = 0
    value: float = 0.0
    layer: int = 0


def poisons(count: int) -> Iterator[Poison]:
    rng = np.random.default_rng(7)
    for i in range(count):
        lane = int(rng.integers(LANES))
        if i % 2:
            yield Poison(lane, keys=tuple(KEYS[i // 2 % len(KEYS)].items()))
        else:
            value = float(VALUES[i // 2 % len(VALUES)])
            step, layer = int(rng.integers(STEPS)), int(rng.integers(RUN.depth))
            yield Poison(lane, step=step, value=value, layer=layer)


@cache
def program(schedule: Schedule) -> Program:
    trainer = Trainer(Network(RUN, (D,), K, K), has_momentum=True, metrics=METRICS)
    return Program(trainer, schedule, ROOM, ROOM // 2, True, PROBES, 16)


@cache
def data() -> Data:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2 * N, D), dtype=np.uint8)
    y = (x[:, :K].argmax(axis=1)).astype(np.int32)
    offset, multiplier = np.full(D, 128, np.float32), np.full(D, 1 / 64, np.float32)
    return Data(*map(jnp.asarray, (x[:N], y[:N], x[N:], y[N:], offset, multiplier)))


def poisoned(carry: Carry, poison: Poison) -> Carry:
    """Puts the value into one weight of the lane."""

    def put(path: Any, leaf: np.ndarray) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        leaf = np.array(leaf)
        if name == f"params/layers/{poison.layer}/kernel":
            leaf[poison.lane].flat[0] = poison.value
        return leaf

    return jax.tree_util.tree_map_with_path(put, carry)


def train(schedule: Schedule, poison: Poison | None = None) -> tuple[dict[str, np.ndarray], Carry]:
    """Every column, each with one entry per lane, and the last state."""
    runs, step = list(RUNS), poison.step if poison else 0
    if poison:
        runs[poison.lane] = replace(runs[poison.lane], **dict(poison.keys))
    engine = PackEngine(program(schedule), RECORD, tuple(runs), LANES, data())
    carry, chunks = engine.init(), list[Chunk]()
    chunks += engine.train(carry, 0, step, want_carry=lambda _: False) if step else []
    carry = chunks[-1].carry if chunks else engine.fetch_carry(carry)
    if poison and not poison.keys:
        carry = poisoned(carry, poison)
    chunks += engine.train(carry, step, STEPS, want_carry=lambda _: False)
    rows: dict[str, list[np.ndarray]] = {}
    for chunk in chunks:
        probe = {f"probe {name}": a[:, None] for name, a in (chunk.probe or {}).items()}
        for name, a in (chunk.every_step | chunk.measured | probe).items():
            rows.setdefault(name, []).append(np.ma.filled(a, 0.0))
    return {name: np.concatenate(parts, axis=1) for name, parts in rows.items()}, chunks[-1].carry


@cache
def harmless(schedule: Schedule) -> tuple[dict[str, np.ndarray], Carry]:
    return train(schedule)


def same_bits(a: Any, b: Any, lane: int) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x[lane].tobytes() == y[lane].tobytes() for x, y in pairs)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_poisoned_run_among_others(schedule: Schedule, tries: Tries, tally: Tally) -> None:
    """Of every metric and probe, at every step, and in the state that a checkpoint would hold."""
    columns, state = harmless(schedule)
    assert {"probe train_loss", "feature_cos", "grad_norm"} <= columns.keys()
    assert all(np.isfinite(columns["loss"][lane]).all() for lane in range(LANES))
    for poison in poisons(tries(50, 500)):
        found, last = train(schedule, poison)
        tally.tried += 1
        assert found.keys() == columns.keys()
        for lane in set(range(LANES)) - {poison.lane}:
            tally.wrong += not (same_bits(found, columns, lane) and same_bits(last, state, lane))
        is_bad = ~np.isfinite(found["loss"][poison.lane])
        first = int(is_bad.argmax()) if is_bad.any() else -1
        tally.wrong += int(last.first_bad_step[poison.lane]) != first
        if poison.keys or not np.isfinite(poison.value):  # else the units that read it may be dead
            tally.wrong += not is_bad.any()
        if not poison.keys and not np.isfinite(poison.value):
            tally.wrong += first != poison.step
    assert tally.tried >= 50
    assert not tally.bad
