"""The accelerator's benchmark runs on a CPU, tiny."""

from argparse import Namespace
from pathlib import Path

import jax.numpy as jnp
import pytest

from bench import gpu
from bench.draw import write_images


@pytest.mark.slow
def test_the_benchmark_of_accelerators_measures_everything_it_promises(tmp_path: Path) -> None:
    write_images(gpu.TINY, tmp_path)
    keys = {"momentum": 0.9, "momentum_dtype": "bfloat16"}
    found = gpu.measure(gpu.TINY, tmp_path, Namespace(quick=True, chunks=1, keys=keys))
    limits, bare = found["limits"], found["bare"]
    assert limits["larger_floor_s"] >= max(limits["memory_floor_s"], limits["arithmetic_floor_s"])
    assert bare["of_larger_floor"] == limits["larger_floor_s"] / bare["step_s"] > 0
    assert bare["run_steps_per_s"] == pytest.approx(gpu.TINY.runs / bare["step_s"])
    assert found["every step"]["planned_bytes"] > bare["planned_bytes"] > 1e6
    assert found["to Parquet"]["idle_share"] < 1
    assert found["to Parquet"]["bytes"] > 1e4
    assert found["times_one_run_alone"] > 0
    assert found["keys"] == keys


@pytest.mark.parametrize("name", gpu.PRODUCTS)
def test_the_products_whose_speed_is_measured_are_those_of_a_layer(name: str) -> None:
    h, w, d = jnp.ones((2, 3, 4)), jnp.ones((2, 4, 5)), jnp.ones((2, 3, 5))
    operands, shape = {
        "forward": ((h, w), (2, 3, 5)),
        "weight gradient": ((h, d), (2, 4, 5)),
        "feature gradient": ((d, w), (2, 3, 4)),
    }[name]
    assert jnp.einsum(gpu.PRODUCTS[name], *operands).shape == shape
