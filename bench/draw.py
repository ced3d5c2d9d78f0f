"""Writes data set, batches and initial weights of a problem: `python -m bench.draw PROBLEM FOLDER`.

Batches and weights are those that tfc_jax draws for these seeds, so that all contenders can be
compared loss by loss. A process of its own: the benchmark's own process imports no JAX.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench import sweep
from bench.problem import Problem
from tfc_jax.carry import to_arrays
from tfc_jax.data import affine, loaded
from tfc_jax.sampling import batch_indices
from tfc_jax.worker import prepare

SEED = 0
N_TEST = 100
NOISE = 128  # of 256 grey levels; the rest tells the class


def main() -> None:
    problem, folder = Problem.from_json(sys.argv[1]), Path(sys.argv[2])
    write_images(problem, folder)
    run = sweep.runs(problem, folder, problem.steps)[0]
    dataset = loaded(run.dataset, None, None, None)
    inputs = {
        "x": dataset.x_train.reshape(len(dataset.x_train), -1),
        "y": dataset.y_train,
        "multiplier": affine(dataset, run.scaling)[1],
        "indices": _indices(problem, len(dataset.x_train)),
    }
    _save(folder / "inputs.npz", inputs | _weights(problem, folder))


def write_images(problem: Problem, folder: Path) -> None:
    """Writes the data set that tfc_jax reads, if it is made here."""
    if problem.dataset == "images":
        _save(folder / "images.npz", images(problem.n_train))


def images(n_train: int) -> dict[str, np.ndarray]:
    """Returns a data set of the size and type of MNIST: ten grey patterns under noise."""
    rng = np.random.default_rng(SEED)
    patterns_KxD = rng.integers(0, 256 - NOISE, (10, 784), np.uint8)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y_N = rng.integers(0, 10, n, np.int32)
        return patterns_KxD[y_N] + rng.integers(0, NOISE, (n, 784), np.uint8), y_N

    (x_train, y_train), (x_test, y_test) = part(n_train), part(N_TEST)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _save(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def _indices(problem: Problem, n: int) -> np.ndarray:
    @jax.jit
    def draw(seed: jax.Array) -> jax.Array:
        return batch_indices(seed, jnp.int32(0), problem.steps, n, problem.batch_size)

    return np.stack([np.asarray(draw(np.uint32(seed))) for seed in range(problem.runs)])


def _weights(problem: Problem, folder: Path) -> dict[str, np.ndarray]:
    packs = [  # a pack's last lanes may be padding
        {name: array[: len(task.runs)] for name, array in to_arrays(engine.init().params).items()}
        for task in sweep.tasks(problem, folder, sweep.BARE, problem.steps)
        for engine in [prepare(task)[0]]
    ]
    return {
        f"weight_{layer}": np.concatenate([p[f"layers/{layer - 1}/kernel"] for p in packs])
        for layer in range(1, problem.depth + 1)
    }


if __name__ == "__main__":
    main()
