"""What the compiler makes of a step: its products, and no copy of a weight.

Counted in the optimized program of a chunk on the CPU, mapped, whose widths are those of nothing
else in it: every array of a weight's shape is a weight, its gradient or its update.
"""

import re
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from tfc_jax import timetable
from tfc_jax.engine import PackEngine
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.program import Program
from tfc_jax.record import Record
from tfc_jax.sampling import Data
from tfc_jax.train import Trainer

N_INPUTS, N_CLASSES, WIDTH, DEPTH = 307, 3, 131, 4  # so wide that _product.py transposes
HIDDEN = {(N_INPUTS, WIDTH), (WIDTH, WIDTH)}  # the last one's gradient is turned: _product.py
BARE = Record(metrics=())


def compiled(record: Record, **keys: object) -> str:
    run = Run(depth=DEPTH, width=WIDTH, batch_size=11, **keys)  # type: ignore[arg-type]
    network = Network(run, (N_INPUTS,), N_CLASSES, N_CLASSES)
    program = Program(
        trainer=Trainer(network, has_momentum=run.has_momentum, metrics=record.metrics),
        schedule="mapped",
        chunk_steps=timetable.chunk_steps(record),
        chunk_records=timetable.chunk_records(record),
        has_bare_steps=record.every != 1 or not record.metrics,
        probes=(),
        probe_samples=1,
    )
    x, y = np.zeros((37, N_INPUTS), np.uint8), np.zeros(37, np.int32)
    per_input = jnp.ones(N_INPUTS)
    data = Data(x, y, x, y, per_input, per_input)  # type: ignore[arg-type]
    runs = tuple(replace(run, seed=seed) for seed in range(2))
    engine = PackEngine(program, record, runs, len(runs), data)
    return str(engine._lowered_chunk.compile().as_text())


def results(program: str, operation: str) -> list[tuple[int, ...]]:
    """Shapes of the results of an operation, wherever it stands in the program."""
    found = re.findall(rf" = \w+\[([\d,]*)\](?:\{{[^}}]*\}})? {operation}\(", program)
    return [tuple(map(int, shape.split(","))) if shape else () for shape in found]


def test_a_bare_step_has_three_products_per_layer_less_the_gradient_in_the_inputs() -> None:
    assert len(results(compiled(BARE), "dot")) == 3 * DEPTH - 1


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("keys", [{}, {"momentum": 0.9}, {"optimizer": "adam"}])
def test_no_step_copies_or_transposes_a_weight(every: int, keys: dict[str, object]) -> None:
    for record in (BARE, Record(every=every)):
        program = compiled(record, **keys)
        for operation in ("copy", "transpose"):
            assert not HIDDEN.intersection(results(program, operation)), (record, operation)


def test_a_measured_step_adds_no_product_of_the_size_of_a_weight_gradient() -> None:
    program = compiled(Record(every=1))
    weight_sized = [shape for shape in results(program, "dot") if shape in HIDDEN]
    assert len(weight_sized) == DEPTH - 1
