"""Host arrays of one chunk of a pack: what the engine hands to the store."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfc_jax.timetable import Span


@dataclass(frozen=True)
class Chunk:
    """Records of one chunk, without padding lanes.

    Attributes:
      span: the steps it covers.
      every_step: (R, C) per column.
      measured: (R, M) or (R, M, L) per column, M = len(span.measured); masked where a column is
        not defined on a layer.
      probe: (R,) or (R, L, ...) per column, measured after the last step; None when none was due.
      carry: the state after the chunk (host arrays) when one was asked for, else None.
    """

    span: Span
    every_step: dict[str, np.ndarray]
    measured: dict[str, np.ndarray]
    probe: dict[str, np.ndarray] | None
    carry: Any
