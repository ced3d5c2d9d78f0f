"""What recording costs: each metric family at every step, relative to a bare training step.

"every 10" measures the defaults at one step in ten, in nested loops as programs do. A family's
`COST` is what it adds at 9 layers of width 128, mapped.

One CPU core, plain SGD on random data of 64 inputs and 10 classes. All variants are compiled
first, warmed up by one chunk (families with a memory look longer at their first step), and then
timed in turn, so that a slower minute of the machine falls on all of them; the processor time of
the process is counted, not the wall clock, and the median of ratios reported.
"""

import os

os.environ |= {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": "1"}  # before JAX starts: one thread

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from tfc_jax import registry
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.record import Record
from tfc_jax.sampling import Batch
from tfc_jax.train import Carry, Trainer

N_INPUTS, N_CLASSES, BATCH_SIZE = 64, 10, 100
EVERY = 10
Step = Callable[[Carry, Hyper, Batch], tuple[Carry, Any]]
Steps = Callable[[Carry, Hyper, Batch, Array], tuple[Carry, Any]]  # from a position in batches on
Chunk = Callable[[Carry, Hyper, Batch], tuple[Carry, Any]]
Arguments = tuple[Carry, Hyper, Batch]


def main() -> None:
    options = _options()
    families = registry.names("metrics")
    recorded: dict[str, tuple[str, ...]] = {"snapshot alone": (), "defaults": Record().metrics}
    recorded |= {name: (name,) for name in families} | {"all": families}
    for depth in options.depth:
        for width in options.width:
            run = Run(depth=depth, width=width, init_scale=0.8, batch_size=BATCH_SIZE)
            trainers = {name: _trainer(run, metrics) for name, metrics in recorded.items()}
            for schedule in options.schedule:
                print(f"\ndepth {depth}, width {width}, {options.runs} runs, {schedule}")
                _report(trainers, schedule, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, nargs="*", default=[9])
    parser.add_argument("--width", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--schedule", nargs="*", default=["mapped", "lockstep"])
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help=f"of a chunk; multiple of {EVERY}")
    parser.add_argument("--repeats", type=int, default=15)
    return parser.parse_args()


def _trainer(run: Run, metrics: tuple[str, ...]) -> Trainer:
    network = Network(run, (N_INPUTS,), N_CLASSES, N_CLASSES)
    return Trainer(network, has_momentum=False, metrics=metrics)


def _report(trainers: dict[str, Trainer], schedule: str, options: argparse.Namespace) -> None:
    bare, defaults = trainers["snapshot alone"], trainers["defaults"]
    every_step = jnp.arange(options.steps)
    variants = {"bare step": (bare, _one(bare.step), every_step)}
    variants |= {name: (t, _one(t.measured_step), every_step) for name, t in trainers.items()}
    variants[f"every {EVERY}"] = (defaults, _one_in_ten(defaults), every_step[::EVERY])
    compiled, compile_s, arguments = {}, {}, {}
    for name, (trainer, steps, positions) in variants.items():
        carry_R, *rest = _arguments(trainer, options.runs, options.steps)
        start = time.perf_counter()
        chunk = jax.jit(_chunk(steps, positions, schedule))
        compiled[name] = chunk.lower(carry_R, *rest).compile()
        compile_s[name] = time.perf_counter() - start
        arguments[name] = (compiled[name](carry_R, *rest)[0], *rest)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.repeats):
        for name, run_chunk in compiled.items():
            seconds[name].append(_processor_seconds(run_chunk, arguments[name]))
    for name, values in seconds.items():
        per_step = statistics.median(values) / options.runs / options.steps
        ratios = (a / b - 1 for a, b in zip(values, seconds["bare step"], strict=True))
        extra = statistics.median(ratios)
        print(f"{name:17} {1e6 * per_step:9.1f} us {extra:+7.1%}  compile {compile_s[name]:5.1f} s")


def _arguments(trainer: Trainer, n_runs: int, n_steps: int) -> Arguments:
    run = trainer.network.run
    hyper_R = Hyper.stacked([replace(run, seed=seed) for seed in range(n_runs)])
    x_key, y_key = jax.random.split(jax.random.key(0))
    shape = (n_steps, run.batch_size)
    batches = Batch(
        x=jax.random.uniform(x_key, (*shape, N_INPUTS)),
        y=jax.random.randint(y_key, shape, 0, N_CLASSES),
    )
    return jax.jit(jax.vmap(trainer.init))(hyper_R), hyper_R, batches


def _one(step: Step) -> Steps:
    def one(carry: Carry, hyper: Hyper, batches: Batch, position: Array) -> tuple[Carry, Any]:
        return step(carry, hyper, Batch(batches.x[position], batches.y[position]))

    return one


def _one_in_ten(trainer: Trainer) -> Steps:
    """A measured step, then bare ones."""
    measured, bare = _one(trainer.measured_step), _one(trainer.step)

    def ten(carry: Carry, hyper: Hyper, batches: Batch, position: Array) -> tuple[Carry, Any]:
        carry, first = measured(carry, hyper, batches, position)
        others = position + jnp.arange(1, EVERY)
        carry, rows = jax.lax.scan(lambda c, at: bare(c, hyper, batches, at), carry, others)
        return carry, (first, rows)

    return ten


def _chunk(steps: Steps, positions: Array, schedule: str) -> Chunk:
    """All steps of all runs: run after run (mapped) or all runs step by step (lockstep)."""

    def mapped(carry_R: Carry, hyper_R: Hyper, batches: Batch) -> tuple[Carry, Any]:
        def one(lane: tuple[Carry, Hyper]) -> Any:
            carry, hyper = lane
            return jax.lax.scan(lambda c, at: steps(c, hyper, batches, at), carry, positions)

        return jax.lax.map(one, (carry_R, hyper_R))

    def lockstep(carry_R: Carry, hyper_R: Hyper, batches: Batch) -> tuple[Carry, Any]:
        together = jax.vmap(steps, in_axes=(0, 0, None, None))
        return jax.lax.scan(lambda c, at: together(c, hyper_R, batches, at), carry_R, positions)

    return mapped if schedule == "mapped" else lockstep


def _processor_seconds(chunk: Chunk, arguments: Arguments) -> float:
    start = time.process_time()
    jax.block_until_ready(chunk(*arguments))
    return time.process_time() - start


if __name__ == "__main__":
    main()
