"""Results to analyse: the sweeps of the smoke profile, trained; and synthetic ones, written."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from analysis.phases import write_analysis
from tests.sweeps import ROOT, train
from tfc_jax.config import load_sweep
from tfc_jax.results import Results, open_results

SMOKE = ROOT / "sweeps" / "smoke"

Floats = npt.NDArray[np.float64]
Config = Mapping[str, Any]
Curve = Callable[[Config], tuple[Floats, float]]
WriteResults = Callable[..., Results]

PACK = "0" * 12
PRIOR = float(np.log(10))
DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "depth": 5,
    "width": 128,
    "norm": "none",
    "momentum": 0.0,
    "learning_rate": 0.02,
    "init_scale": 0.8,
    "weight_decay": 0.0,
    "label_noise": 0.0,
    "status": "done",
    "first_bad_step": None,
    "prior_loss": PRIOR,
    "bayes_loss": 0.0,
    "final_accuracy": 0.9,
    "pack": PACK,
}


def plateau(end: float, length: int, seed: int = 0, noise: float = 0.004) -> Floats:
    """A loss that stays at the prior loss, then bends down; 1 % are gained at step `end`."""
    step = np.arange(length)
    gain = 0.01 * PRIOR * np.exp(np.minimum((step - end) / max(end / 12, 4), 50))
    batch_noise = np.random.default_rng(seed).normal(0, noise, length)
    return np.maximum(PRIOR - gain, 0.4) + batch_noise


def similarities(end: float, steps_M: Floats, depth: int, seed: int) -> pd.DataFrame:
    """Layers 1..depth whose features grow alike until `end` and part again."""
    rng = np.random.default_rng(seed)
    hump_M = 0.1 * np.exp(-(((steps_M - 1.1 * end) / (0.6 * end + 1)) ** 2))
    frames = []
    for layer in range(1, depth + 1):
        cos_M = np.minimum(0.9 - 0.35 / layer + hump_M, 0.995) + rng.normal(0, 0.003, len(steps_M))
        values = {
            "feature_cos": cos_M,
            "feature_cos_between": cos_M - 0.01,
            "grad_cos_within": 9 * hump_M + 0.05 * layer / depth,
            "grad_cos_between": -0.1 * layer / depth - 0.2 * hump_M,
        }
        frames.append(pd.DataFrame({"step": steps_M.astype(int), "layer": layer, **values}))
    return pd.concat(frames)


def _write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def _runs_table(runs: Sequence[Config]) -> pd.DataFrame:
    """Whole numbers that may be null, as the reader's own tables have them."""
    frame = pd.DataFrame(runs)
    return frame.astype({c: "Int64" for c in ("first_bad_step", "n_train") if c in frame.columns})


@pytest.fixture(scope="session")
def write_results() -> WriteResults:
    """Writes one run per config into a results folder and opens it."""

    def write(
        path: Path, configs: Sequence[Config], curve: Curve, *, every: int = 10, layers: bool = True
    ) -> Results:
        runs, steps, records = [], [], []
        for i, config in enumerate(configs):
            run = {**DEFAULTS, "run_id": f"{i:012x}", **config}
            loss, end = curve(run)
            length = {"steps": len(loss), "steps_done": len(loss), "final_loss": loss[-1]}
            runs.append({**length, **run})
            rows = pd.DataFrame({"step": np.arange(len(loss)), "loss": loss.astype("float32")})
            steps.append(rows.assign(run_id=run["run_id"]))
            measured = np.arange(0, len(loss), every, dtype=float)
            record = similarities(end, measured, run["depth"], i)
            records.append(record.assign(run_id=run["run_id"]))
        part = f"{PACK}-000000000-{max(len(s) for s in steps):09d}.parquet"
        _write(_runs_table(runs), path / f"runs/{PACK}.parquet")
        _write(pd.concat(steps), path / "steps" / part)
        if layers:
            _write(pd.concat(records), path / "layers" / part)
        return open_results(path)

    return write


@pytest.fixture(scope="session")
def plateau_of() -> Callable[..., Floats]:
    """The synthetic loss curve: end, length, seed."""
    return plateau


@pytest.fixture(scope="session")
def one_curve() -> Callable[[Floats], Curve]:
    """Makes every run of a sweep have the same given losses."""
    return lambda loss: lambda run: (loss, 100.0)


def _two_phase(run: Config) -> tuple[Floats, float]:
    end = 500 + 30 * run["seed"]
    return plateau(end, 1200, run["seed"]), end


def _depth(run: Config) -> tuple[Floats, float]:
    end = 20 * 3 ** (run["depth"] - 3) + 2 * run["seed"]
    return plateau(end, 900, run["seed"]), end


def _operations(run: Config) -> tuple[Floats, float]:
    end = 400 + 20 * run["seed"]
    end *= (1 - run["momentum"]) * 0.8 / run["init_scale"] * (1 + 400 * run["weight_decay"])
    end = 5 if run["norm"] == "batch" else end
    return plateau(end, 900, run["seed"]), end


def _phase_diagram(run: Config) -> tuple[Floats, float]:
    end = 3 / run["learning_rate"] * 3 ** (run["depth"] - 4) / run["init_scale"] ** 4
    loss = plateau(end, 600, run["seed"])
    if run["learning_rate"] * run["init_scale"] > 0.5 + 0.02 * run["seed"]:
        loss[5:] = np.nan
    return loss, end


@pytest.fixture(scope="session")
def smoke_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Every sweep of the smoke profile, trained and analysed once, by the name a figure gives it.

    Test processes share one folder: the first trains, the others find that all is done.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    root.mkdir(exist_ok=True)
    found = {}
    with FileLock(root / ".trained"):
        for path in sorted(SMOKE.glob("*.yaml")):
            out = root / f"smoke_{path.stem}"
            counts = train(load_sweep(path), out, width=None)
            assert set(counts) <= {"done", "diverged"}, f"{path.name}: {dict(counts)}"
            if not (out / "analysis.parquet").exists():
                write_analysis(open_results(out))
            found[path.stem] = open_results(out)
    return found


@pytest.fixture(scope="session")
def figure_results(
    tmp_path_factory: pytest.TempPathFactory, write_results: WriteResults
) -> dict[str, Results]:
    """Results for the sweep of every figure, small, with censored and diverged runs."""
    root = tmp_path_factory.mktemp("results")
    operations: list[Config] = [
        {},
        {"norm": "batch"},
        {"momentum": 0.9},
        {"momentum": 0.9, "learning_rate": 0.002},
        {"init_scale": 1.2},
        {"weight_decay": 0.003},
    ]
    cells = [
        {"depth": depth, "init_scale": scale, "learning_rate": rate}
        for depth in (4, 6)
        for scale in (0.5, 0.8, 1.2, 2.0)
        for rate in (1e-3, 1e-2, 1e-1, 1.0)
    ]
    sweeps: dict[str, tuple[Sequence[Config], int, Curve]] = {
        "two_phase": ([{"depth": 5}], 6, _two_phase),
        "depth": ([{"depth": d} for d in (3, 4, 5, 6, 7)], 5, _depth),
        "operations": (operations, 6, _operations),
        "phase_diagram": (cells, 4, _phase_diagram),
    }
    for name, (configs, seeds, curve) in sweeps.items():
        runs = [{**config, "seed": seed} for config in configs for seed in range(seeds)]
        write_results(root / name, runs, curve, every=25)
    return {name: open_results(root / name) for name in sweeps}
