"""The inputs of a problem as PyTorch tensors, with the threads that the benchmark allows."""

import os
from pathlib import Path

import torch

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
