"""Declared speeds and prices, and how many values a record holds."""

from dataclasses import dataclass

from tfc_jax import registry, timetable
from tfc_jax.network import Network
from tfc_jax.record import Record
from tfc_jax.schema import (
    MOST_UNITS,
    SHOWN_OF_REGRESSION,
    SHOWN_PER_CLASS,
    result_columns,
)

FLOAT_BYTES = 4
STORED_BYTES_PER_VALUE = 3.0


@dataclass(frozen=True)
class Speed:
    """Declared speed of one device: time = step_s + depth * layer_s + arithmetic / flops_per_s."""

    step_s: float
    layer_s: float
    flops_per_s: float
    compile_s: float  # of one program; each worker compiles the programs it meets


# The CPU's was measured on one core (AVX-512, digits, widths 32 to 256); the others are guesses.
SPEEDS = {
    "cpu": Speed(1e-5, 5e-6, 1.5e11, 6.0),
    "gpu": Speed(1e-4, 5e-5, 2e13, 30.0),
    "tpu": Speed(1e-4, 5e-5, 4e13, 30.0),
}


def metrics_cost(record: Record) -> float:
    """Share of a bare step that the metrics add to a measured one, by their own declarations.

    Measured where bench/metrics.py says; narrower networks pay more of a step, wider ones less.
    """
    return sum(registry.module("metrics", name).COST for name in record.metrics)


def n_looks(record: Record, steps: int) -> int:
    """Looks at the probe set over the first `steps` steps, that at step 0 included."""
    return steps // record.probe_every + 1 if record.probes else 0


def values_stored(record: Record, steps: int, network: Network) -> float:
    """Values that one run writes over `steps` steps."""
    columns = {table: len(c) for table, c in result_columns(record).items()}
    measured = len(record.measured_steps(0, steps)) if record.metrics else 0
    return (
        columns["steps"] * steps
        + columns.get("layers", 0) * network.run.depth * measured
        + values_per_look(record, network) * n_looks(record, steps)
    )


def values_per_look(record: Record, network: Network) -> int:
    """Values of one look of one run at the probe set; null columns count too."""
    depth, n_classes = network.run.depth, network.n_classes
    # The middle layer's own width is not known here: that of an average one.
    n_units = network.sizes.n_units // (depth - 1) if depth > 1 else network.n_outputs
    rows = {
        "probe": 1,
        "probe_layers": depth,
        "classes": depth * n_classes**2,
        "features": min(n_units, MOST_UNITS) * (SHOWN_PER_CLASS * n_classes or SHOWN_OF_REGRESSION),
    }
    columns = result_columns(record)
    return sum(n * len(columns.get(table, ())) for table, n in rows.items())


def values_per_chunk(record: Record, depth: int) -> int:
    """Float values in the output buffers of one lane."""
    columns = {table: len(c) for table, c in result_columns(record).items()}
    per_record = columns.get("layers", 0) * depth + columns["steps"]
    return columns["steps"] * timetable.chunk_steps(record) + per_record * timetable.chunk_records(
        record
    )
