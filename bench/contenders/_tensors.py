"""What all contenders in PyTorch share: their inputs, threads, and the row that they time."""

import os
from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from bench.child import Contender
from bench.problem import Inputs

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.set_num_interop_threads(1)


class Tensors:
    """Data, batches and initial weights of a problem.

    Attributes:
      x_NxD, y_N: the training set, raw.
      rows_RxTxB: which rows every step of every network trains on.
      weights: initial W_1..W_L, each (R, fan_in, fan_out).
    """

    def __init__(self, folder: Path) -> None:
        inputs = Inputs(folder)
        self.x_NxD = torch.from_numpy(inputs.x_NxD)
        self.y_N = torch.from_numpy(inputs.y_N).long()
        self.rows_RxTxB = torch.from_numpy(inputs.indices_RxTxB).long()
        self.weights = [torch.from_numpy(w) for w in inputs.weights]
        self.multiplier = inputs.multiplier

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the scaled inputs and the labels of these rows, of any shape."""
        return self.x_NxD[rows].float().mul_(self.multiplier), self.y_N[rows]


class Trainer(Contender):
    """One row, `all`: T steps of all R networks."""

    rows = ("all",)

    @abstractmethod
    def advance(self) -> torch.Tensor:
        """Trains all networks for T steps; returns the losses (R, T) before each."""

    def losses(self) -> dict[str, np.ndarray]:
        return {"all": self.advance().numpy()}

    def repeat(self, row: str) -> float:
        self.advance()
        return self.problem.runs * self.problem.steps

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    @cached_property
    def tensors(self) -> Tensors:
        """Read once."""
        return Tensors(self.folder)
