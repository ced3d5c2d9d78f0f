"""The traced keys of a run as arrays: what differs between the lanes of one compiled program."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tfc_jax.keys import INTERVENTIONS, Run

_INTEGERS = {"seed": np.uint32, "intervention": np.int32, "intervene_at": np.int32}
_INTEGERS |= {"intervene_layer": np.int32}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyper:
    """The traced keys of one run, each (); in a pack every leaf has a leading axis of runs.

    Attributes:
      intervention: place in `keys.INTERVENTIONS`; 0 is none.
      intervene_at: step before which the intervention happens; -1 is never.
      intervene_layer: layer 1..L-1, or 0 for all hidden layers.
      intervene_value: 0 where the intervention needs no number.
    """

    seed: Array
    init_scale: Array
    learning_rate: Array
    momentum: Array
    weight_decay: Array
    label_noise: Array
    residual_alpha: Array
    intervention: Array
    intervene_at: Array
    intervene_layer: Array
    intervene_value: Array

    @classmethod
    def of(cls, run: Run, dtype: Any = np.float32) -> "Hyper":
        """Returns the traced keys of one run; numbers that are not whole have this dtype.

        NumPy arrays: a worker may be asked before it has pinned itself and started JAX.
        """
        return jax.tree.map(lambda a: a[0], cls.stacked([run], dtype))

    @classmethod
    def stacked(cls, runs: Sequence[Run], dtype: Any = np.float32) -> "Hyper":
        """Returns the traced keys of several runs, each (R,)."""
        rows = [_numbers(run) for run in runs]
        columns: dict[str, Any] = {
            field.name: np.array(
                [row[field.name] for row in rows], _INTEGERS.get(field.name, dtype)
            )
            for field in fields(cls)
        }
        return cls(**columns)

    def momentum_at(self, step: Array) -> Array:
        """Momentum of the update from `step` to `step` + 1.

        The buffer is v_t = m_t v_{t-1} + g_t. With m_t = 0 it holds the last gradient, so the
        first update after momentum is turned on takes a share of the gradient of the step before.
        """
        enabled = self.intervention == INTERVENTIONS.index("enable_momentum")
        return jnp.where(enabled & (step >= self.intervene_at), self.intervene_value, self.momentum)


def _numbers(run: Run) -> dict[str, Any]:
    numbers: dict[str, Any] = {field.name: getattr(run, field.name) for field in fields(Hyper)}
    numbers["intervention"] = INTERVENTIONS.index(run.intervention)
    numbers["intervene_at"] = -1 if run.intervene_at is None else run.intervene_at
    numbers["intervene_layer"] = run.intervene_layer != 0 and run.intervened_layers[0]
    numbers["intervene_value"] = run.intervene_value or 0.0
    return numbers
