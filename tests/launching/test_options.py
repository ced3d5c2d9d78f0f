"""What options mean for the environment of a worker."""

import os
from pathlib import Path

import pytest

from tfc_jax.devices import Devices
from tfc_jax.options import Options, prepare_process, worker_settings


def test_half_an_entry_of_the_compile_cache_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "xla"))
    (tmp_path / "xla").mkdir()
    for name in ("whole-cache", "whole-atime", "half-cache"):
        (tmp_path / "xla" / name).touch()
    worker_settings(Options())
    assert sorted(p.name for p in (tmp_path / "xla").iterdir()) == ["whole-atime", "whole-cache"]


def test_workers_share_a_compile_cache_unless_the_user_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFC_CACHE", str(tmp_path))
    name = "JAX_COMPILATION_CACHE_DIR"
    monkeypatch.setenv(name, str(tmp_path / "own"))
    assert worker_settings(Options())[name] == str(tmp_path / "own")
    monkeypatch.delenv(name)
    assert worker_settings(Options())[name] == str(tmp_path / "xla")


def test_deterministic_kernels_are_asked_of_xla_beside_other_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    flags = worker_settings(Options(deterministic=True))["XLA_FLAGS"]
    assert flags == "--xla_a=1 --xla_gpu_deterministic_ops=true"
    assert "XLA_FLAGS" not in worker_settings(Options())


def test_training_in_this_process_takes_one_gpu_of_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """JAX would take most of the memory of all of them."""
    environment = {"CUDA_VISIBLE_DEVICES": "2,3", "XLA_FLAGS": "--xla_a=1"}
    monkeypatch.setattr(os, "environ", environment)
    prepare_process(Options(), Devices("gpu", (2, 3)))
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    prepare_process(Options(workers=0, deterministic=True), Devices("gpu", (2, 3)))
    assert environment["CUDA_VISIBLE_DEVICES"] == "2"
    assert environment["XLA_FLAGS"] == "--xla_a=1 --xla_gpu_deterministic_ops=true"
