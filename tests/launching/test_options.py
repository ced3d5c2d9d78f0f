"""What options mean for the environment of a worker."""

from pathlib import Path

import pytest

from tfc_jax.options import Options, worker_settings


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
