"""How much memory a device has, as `tfc plan` asks for it."""

import os
from pathlib import Path

import pytest

from tfc_jax import memory
from tfc_jax.devices import Devices

GPUS = Devices("gpu", (0, 1))


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, and no other."""
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "nvidia-smi"
    program.touch(0o755)
    return program


def test_of_several_gpus_the_smallest_counts(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho 143771\necho 81559\n")
    assert memory.of_device(GPUS) == 81559 * 2**20


@pytest.mark.parametrize("said", ["exit 9", "echo '[N/A]'", ""])
def test_nothing_is_known_of_a_gpu_that_does_not_tell(nvidia_smi: Path, said: str) -> None:
    nvidia_smi.write_text(f"#!/bin/sh\n{said}\n")
    assert memory.of_device(GPUS) is None
    nvidia_smi.unlink()
    assert memory.of_device(GPUS) is None


def test_a_cpu_has_the_memory_of_its_machine_and_a_tpu_tells_none() -> None:
    pages = os.sysconf("SC_PHYS_PAGES")
    assert memory.of_device(Devices("cpu", (0,))) == pages * os.sysconf("SC_PAGE_SIZE")
    assert memory.of_device(Devices("tpu", (0,))) is None
