"""What recording costs: each metric family at every step, relative to a bare training step.

One CPU core, plain SGD on random data of 64 inputs and 10 classes. All variants are compiled
first and then timed in turn, so that a slower minute of the machine falls on all of them; the
processor time of the process is counted, not the wall clock, and the median of ratios reported.
"""

import os

os.environ |= {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": "1"}  # before JAX starts: one thread

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tfc_jax import registry
from tfc_jax.keys import Run
from tfc_jax.sampling import Batch
from tfc_jax.network import Network
from tfc_jax.train import Carry, Trainer

N_INPUTS, N_CLASSES, BATCH_SIZE = 64, 10, 100
Step = Callable[[Carry, Hyper, Batch], tuple[Carry, Any]]
Chunk = Callable[[Carry, Hyper, Batch], Any]


def main() -> None:
    options = _options()
    families = registry.names("metrics")
    recorded: dict[str, tuple[str, ...]] = {"snapshot alone": (), "all": families}
    recorded |= {name: (name,) for name in families}
    for depth in options.depth:
        for width in options.width:
            run = Run(depth=depth, width=width, init_scale=0.8, batch_size=BATCH_SIZE)
            variants: dict[str, Step] = {"bare step": _trainer(run, ()).step}
            for name, metrics in recorded.items():
                variants[name] = _trainer(run, metrics).measured_step
            for schedule in options.schedule:
                print(f"\ndepth {depth}, width {width}, {options.runs} runs, {schedule}")
                _report(variants, run, schedule, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, nargs="*", default=[9])
    parser.add_argument("--width", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--schedule", nargs="*", default=["mapped", "lockstep"])
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=15)
    return parser.parse_args()


def _trainer(run: Run, metrics: tuple[str, ...]) -> Trainer:
    return Trainer(run, N_INPUTS, N_CLASSES, N_CLASSES, has_momentum=False, metrics=metrics)


def _report(
    variants: dict[str, Step], run: Run, schedule: str, options: argparse.Namespace
) -> None:
    arguments = _arguments(run, options.runs, options.steps)
    compiled, compile_s = {}, {}
    for name, step in variants.items():
        start = time.perf_counter()
        compiled[name] = jax.jit(_chunk(step, schedule)).lower(*arguments).compile()
        compile_s[name] = time.perf_counter() - start
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.repeats + 1):
        for name, chunk in compiled.items():
            seconds[name].append(_processor_seconds(chunk, arguments))
    bare = seconds["bare step"][1:]  # the first round warms up
    for name, values in seconds.items():
        per_step = statistics.median(values[1:]) / options.runs / options.steps
        extra = statistics.median(a / b - 1 for a, b in zip(values[1:], bare, strict=True))
        print(f"{name:16} {1e6 * per_step:9.1f} us {extra:+7.1%}  compile {compile_s[name]:5.1f} s")


def _arguments(run: Run, n_runs: int, n_steps: int) -> tuple[Carry, Hyper, Batch]:
    ones_R = jnp.ones(n_runs)
    hyper_R = Hyper(
        seed=jnp.arange(n_runs, dtype=jnp.uint32),
        init_scale=run.init_scale * ones_R,
        learning_rate=run.learning_rate * ones_R,
        momentum=0 * ones_R,
        weight_decay=0 * ones_R,
        label_noise=0 * ones_R,
    )
    x_key, y_key = jax.random.split(jax.random.key(0))
    shape = (n_steps, run.batch_size)
    batches = Batch(
        x=jax.random.uniform(x_key, (*shape, N_INPUTS)),
        y=jax.random.randint(y_key, shape, 0, N_CLASSES),
    )
    return jax.jit(jax.vmap(_trainer(run, ()).init))(hyper_R), hyper_R, batches


def _chunk(step: Step, schedule: str) -> Chunk:
    """All steps of all runs: run after run (mapped) or all runs step by step (lockstep)."""

    def mapped(carry_R: Carry, hyper_R: Hyper, batches: Batch) -> Any:
        def one(lane: tuple[Carry, Hyper]) -> Any:
            return jax.lax.scan(lambda carry, batch: step(carry, lane[1], batch), lane[0], batches)

        return jax.lax.map(one, (carry_R, hyper_R))

    def lockstep(carry_R: Carry, hyper_R: Hyper, batches: Batch) -> Any:
        together = jax.vmap(step, in_axes=(0, 0, None))
        return jax.lax.scan(lambda carry, batch: together(carry, hyper_R, batch), carry_R, batches)

    return mapped if schedule == "mapped" else lockstep


def _processor_seconds(chunk: Chunk, arguments: tuple[Any, ...]) -> float:
    start = time.process_time()
    jax.block_until_ready(chunk(*arguments))
    return time.process_time() - start


if __name__ == "__main__":
    main()
