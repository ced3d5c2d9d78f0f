"""What every contender of the benchmark computes: one set of networks, data and batches."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Problem:
    """R multilayer perceptrons without biases, He normal, plain SGD, each with its own batches.

    Attributes:
      title: what tables call it.
      dataset: `images` (made here: N x 784 uint8) or `digits` (scikit-learn's: 64 inputs).
      n_train: N of `images`; `digits` is whole.
      depth: L linear layers.
      runs: R networks, which differ in their seed.
      steps: T steps of a repeat of the contenders that hold all R networks at once. The losses of
        the first T steps are compared.
      learning_rate: low, so that losses fall but rounding errors hardly grow.
      chunk: steps of a repeat of the engine, which trains a pack of a few networks at a time.
    """

    title: str
    dataset: str
    depth: int
    width: int
    runs: int = 64
    steps: int = 10
    chunk: int = 250
    n_train: int = 60_000
    batch_size: int = 100
    learning_rate: float = 0.002

    @classmethod
    def from_json(cls, text: str) -> "Problem":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of the L layers."""
        n_inputs = {"images": 784, "digits": 64}[self.dataset]
        return list(pairwise([n_inputs, *[self.width] * (self.depth - 1), 10]))

    @property
    def params(self) -> int:
        """Trained numbers of one network."""
        return sum(fan_in * fan_out for fan_in, fan_out in self.layers)

    @property
    def step_flops(self) -> int:
        """Arithmetic of a step's matrix products; no gradient is needed of the inputs."""
        fan_in, fan_out = self.layers[0]
        return self.batch_size * (6 * self.params - 2 * fan_in * fan_out)

    @property
    def step_bytes(self) -> int:
        """Traffic of a step whose weights come from memory and go back there."""
        return 2 * 4 * self.params


@dataclass(frozen=True)
class Inputs:
    """What `bench.draw` wrote for a problem, for contenders that are not tfc_jax.

    Attributes:
      folder: where it wrote it.
    """

    folder: Path

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "inputs.npz", allow_pickle=False) as archive:
            return dict(archive)

    @property
    def x_NxD(self) -> np.ndarray:  # noqa: N802
        """Training inputs as stored, uint8: contenders gather rows and then scale them."""
        return self._arrays["x"]

    @property
    def y_N(self) -> np.ndarray:  # noqa: N802
        """Labels, int32."""
        return self._arrays["y"]

    @property
    def multiplier(self) -> float:
        """What makes network inputs of stored ones."""
        return float(self._arrays["multiplier"])

    @property
    def indices_RxTxB(self) -> np.ndarray:  # noqa: N802
        """Which rows every step of every network trains on, int32."""
        return self._arrays["indices"]

    @property
    def weights(self) -> list[np.ndarray]:
        """Initial W_1..W_L, each (R, fan_in, fan_out) float32."""
        names = sorted((n for n in self._arrays if n.startswith("weight_")), key=_number)
        return [self._arrays[name] for name in names]


def _number(name: str) -> int:
    return int(name.removeprefix("weight_"))
