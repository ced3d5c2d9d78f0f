"""The detector of phase one against chains that our own engine trains, whose end is known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from analysis.phases import analyse
from tfc_jax.hyper import Hyper
from tfc_jax.keys import Run
from tfc_jax.network import Network
from tfc_jax.sampling import Batch
from tfc_jax.theory import chain_steps, chain_time, phase_one_product
from tfc_jax.train import Carry, Trainer

CHAINS = [(2, 1e-3, 1.0), (3, 0.1, 1.0), (4, 0.05, 1.0), (3, 0.05, 0.5), (5, 0.2, 1.0)]


def half_squared_losses(
    depth: int, start: float, target: float, learning_rate: float, n_steps: int
) -> np.ndarray:
    """Losses of a linear network of width 1 on (-1, -target), (1, target): (n_steps,)."""
    # Our squared error has no half: half the rate on it is the rate on half of it.
    run = Run(
        depth=depth, width=1, activation="identity", loss="mse", learning_rate=learning_rate / 2
    )
    trainer = Trainer(Network(run, (1,), 1, 0), has_momentum=False, metrics=())
    with jax.enable_x64():
        hyper = Hyper.of(run, np.float64)
        x = jnp.array([[-1.0], [1.0]])
        carry = trainer.init(hyper)
        carry = replace(carry, params=jax.tree.map(lambda a: jnp.full_like(a, start), carry.params))

        def step(carry: Carry, _: None) -> tuple[Carry, Array]:
            carry, row = trainer.step(carry, hyper, Batch(x, target * x))
            loss: Any = row["loss"]
            return carry, loss / 2

        return np.asarray(jax.jit(lambda: jax.lax.scan(step, carry, length=n_steps)[1])())


@pytest.mark.parametrize(("depth", "start", "target"), CHAINS)
def test_phase_one_of_a_trained_chain_ends_where_mathematics_says(
    write_results: Any, tmp_path: Path, depth: int, start: float, target: float
) -> None:
    end = phase_one_product(target) ** (1 / depth)
    rate = chain_time(depth, start, end, target) / 4000
    loss = half_squared_losses(depth, start, target, rate, 6000)
    prior = target**2 / 2

    def curve(config: Mapping[str, Any]) -> tuple[np.ndarray, float]:
        return loss, 4000.0

    results = write_results(tmp_path, [{"prior_loss": prior}], curve, layers=False)
    expected = chain_steps(depth, start, rate, target)
    assert expected == pytest.approx(4000, rel=0.01)
    (found,) = analyse(results)["phase1_end"]
    assert found == pytest.approx(expected, rel=0.01)
    # The loss itself is below from the next whole step on; a hundredth of a step is what the
    # correction for Euler's lag leaves (test_theory_chains). Smoothing over 50 steps adds the rest.
    crossed = int(np.argmax(loss < 0.99 * prior))
    assert -0.01 < crossed - expected < 1.01
