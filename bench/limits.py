"""What the machine could do at best, measured in the process whose steps are compared with it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bench.problem import Problem

MATMUL_FLOPS, PROBE_FLOPS = 6e10, 2e9  # of a repeat, and to choose the fastest shape
COPY_BYTES = 2**28


@dataclass(frozen=True)
class Matmul:
    """Products of one shape in a row, in XLA, operands in the cache."""

    shape: str
    call: Callable[[int], Array]
    flops: float

    def run(self, flops: float = MATMUL_FLOPS) -> float:
        """Computes about so many FLOPs; returns how many."""
        n = max(int(flops / self.flops), 1)
        jax.block_until_ready(self.call(n))
        return n * self.flops


def fastest_matmul(problem: Problem) -> Matmul:
    """Returns the fastest of the products of which a step of this problem consists."""
    return min(_products(problem), key=_seconds_per_flop)


def _products(problem: Problem) -> Iterator[Matmul]:
    n = problem.batch_size
    for fan_in, fan_out in sorted(set(problem.layers[:-1])):
        yield _matmul("forward", (n, fan_in), (fan_in, fan_out), "nio->no")
        yield _matmul("weight gradient", (n, fan_in), (n, fan_out), "ni->io")
        yield _matmul("feature gradient", (n, fan_out), (fan_in, fan_out), "no->ni")


def _matmul(name: str, left: tuple[int, int], right: tuple[int, int], kind: str) -> Matmul:
    keys = jax.random.split(jax.random.key(0))
    operands = [jax.random.normal(*of) for of in zip(keys, (left, right), strict=True)]
    contracted = {"nio->no": ((1,), (0,)), "ni->io": ((0,), (0,)), "no->ni": ((1,), (1,))}[kind]

    @jax.jit
    def repeated(n: Array, a: Array, b: Array) -> Array:
        def body(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            changed = state[0].at[0, 0].set(i.astype(a.dtype))  # else it is computed only once
            return changed, jax.lax.dot_general(changed, b, (contracted, ((), ())))

        shape = jax.eval_shape(lambda: body(n, (a, a))[1])
        return jax.lax.fori_loop(0, n, body, (a, jnp.zeros_like(shape)))[1]

    flops = 2.0 * np.prod(left) * (right[0] if kind == "no->ni" else right[1])
    return Matmul(f"{name} {left} {right}", lambda n: repeated(jnp.int32(n), *operands), flops)


def _seconds_per_flop(matmul: Matmul) -> float:
    matmul.run(matmul.flops)  # compiles
    start = time.process_time()
    flops = matmul.run(PROBE_FLOPS)
    return (time.process_time() - start) / flops


@dataclass
class Copy:
    """Copies of an array that no cache holds."""

    source: np.ndarray = field(default_factory=lambda: np.ones(COPY_BYTES // 8))
    target: np.ndarray = field(default_factory=lambda: np.ones(COPY_BYTES // 8))

    def run(self) -> float:
        """Copies once; returns the bytes read and written."""
        np.copyto(self.target, self.source)
        return 2.0 * self.source.nbytes
