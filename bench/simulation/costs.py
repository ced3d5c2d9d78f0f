"""What machines, storage and packs take: measured, declared by the planner, or assumed."""

import math
from dataclasses import dataclass

from tfc_jax.config import Sweep
from tfc_jax.pack import Pack
from tfc_jax.plan import make_plan
from tfc_jax.pricing import FLOAT_BYTES, SPEEDS, STORED_BYTES_PER_VALUE, values_stored


@dataclass(frozen=True)
class Storage:
    """What all nodes share and store in, as they see it.

    Attributes:
      call_s: from the call of one node to its answer, while nobody else asks.
      calls_per_s: that it answers in all.
      entries_per_call: entries of a folder that one call of a listing brings.
      bytes_per_s: that it takes in all.
      node_bytes_per_s: that one node can send.
    """

    name: str
    call_s: float
    calls_per_s: float
    entries_per_call: float
    bytes_per_s: float
    node_bytes_per_s: float


# Round numbers of their kind, not of a product: change them to those of yours.
STORAGES = {
    storage.name: storage
    for storage in (
        Storage("nfs", 1e-3, 5e3, 100, 1e9, 1.2e9),  # one server of a group, 10 Gbit/s
        Storage("parallel", 5e-4, 5e4, 1000, 5e10, 1.2e10),  # Lustre, GPFS and the like
        # A bucket as each node sees it over HTTPS; S3 takes 3,500 writes a second under a prefix.
        Storage("objects", 3e-2, 3.5e3, 1000, 1e12, 1.2e9),
        Storage("free", 0.0, math.inf, math.inf, math.inf, math.inf),
    )
}


@dataclass(frozen=True)
class Cluster:
    """Nodes, and what goes wrong with them.

    Attributes:
      slots: packs that a node trains at a time: its accelerators.
      dispatch_s: of the launcher, to hand out one pack: it does one after another.
      compile_s: of a program, in each process that trains it first.
      node_mtbf_s: mean time between two failures of one node; inf is never.
      detect_s: until the launcher knows that a node is gone.
      repair_s: until the node is back.
      partitions: share of failures in which a node is only cut off from the launcher, and goes on.
      slow_share, slow_factor: so many nodes take so many times as long.
      spread: standard deviation of the logarithm of what all others take. Without it, nodes that
        began together commit together for ever.
    """

    nodes: int
    slots: int = 1
    dispatch_s: float = 0.005
    compile_s: float = SPEEDS["gpu"].compile_s
    node_mtbf_s: float = math.inf
    detect_s: float = 30.0
    repair_s: float = 600.0
    partitions: float = 0.2
    slow_share: float = 0.0
    slow_factor: float = 2.0
    spread: float = 0.0


@dataclass(frozen=True)
class PackCosts:
    """What one pack of the sweep in question takes.

    Attributes:
      train_s: of all its steps, on a node that is not slow.
      row_bytes: of its Parquet.
      checkpoint_bytes, weight_bytes: of each such file.
    """

    train_s: float
    row_bytes: float
    checkpoint_bytes: float
    weight_bytes: float

    @property
    def waiting_bytes(self) -> float:
        """Of all rows in memory before they are compressed: enough of them end a group."""
        return self.row_bytes * FLOAT_BYTES / STORED_BYTES_PER_VALUE

    @classmethod
    def of(cls, pack: Pack, sweep: Sweep, platform: str) -> "PackCosts":
        """By the planner's own formulas."""
        values = values_stored(sweep.record, sweep.steps, pack.program.network)
        return cls(
            train_s=pack.seconds(sweep.record, sweep.steps, platform),
            row_bytes=len(pack.runs) * values * STORED_BYTES_PER_VALUE,
            checkpoint_bytes=pack.checkpoint_bytes,
            weight_bytes=pack.weight_bytes,
        )


def costs_of(sweep: Sweep, platform: str, width: int | None = None) -> PackCosts:
    """Returns the costs of the first pack of a sweep."""
    packs = make_plan(sweep, platform=platform, width=width).packs
    return PackCosts.of(packs[0], sweep, platform)
