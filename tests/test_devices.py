"""Which devices are found, and which of them a worker sees."""

import os
import subprocess
import sys

import pytest

from tfc_jax import devices
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.executors.local import worker_environment

Patch = pytest.MonkeyPatch
LISTED = "GPU 0: NVIDIA H200 (UUID: GPU-a)\nGPU 1: NVIDIA H200 (UUID: GPU-b)\n"
CUT = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-a)
  MIG 3g.40gb     Device  0: (UUID: MIG-c)
  MIG 1g.10gb     Device  1: (UUID: MIG-GPU-a/13/0)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-b)
"""


def no_answer(*_: object, **__: object) -> None:
    raise subprocess.CalledProcessError(9, "nvidia-smi")


@pytest.fixture
def bare(monkeypatch: Patch) -> Patch:
    """A machine with neither GPU nor TPU nor plugin, nothing asked for."""
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    monkeypatch.setattr(devices, "cores", lambda: (0, 3))
    return monkeypatch


@pytest.fixture
def two_gpus(bare: Patch) -> Patch:
    bare.setattr(devices, "find_spec", lambda name: name if name == "jax_cuda12_plugin" else None)
    driver_says(bare, LISTED)
    return bare


def driver_says(patch: Patch, listed: str) -> None:
    answer = subprocess.CompletedProcess([], 0, stdout=listed)
    patch.setattr(subprocess, "run", lambda *_, **__: answer)


def test_a_machine_without_accelerator_gives_its_cores(bare: Patch) -> None:
    assert devices.find() == Devices("cpu", (0, 3))


def test_cores_are_those_this_process_may_use() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes to cores")
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(allowed)})
        assert devices.cores() == (max(allowed),)
    finally:
        os.sched_setaffinity(0, allowed)
    assert devices.cores() == tuple(sorted(allowed))


def test_gpus_are_those_the_driver_lists(two_gpus: Patch) -> None:
    assert devices.find() == Devices("gpu", (0, 1))


def test_of_a_gpu_that_is_cut_each_instance_is_a_device(two_gpus: Patch) -> None:
    driver_says(two_gpus, CUT)
    assert devices.find() == Devices("gpu", ("MIG-c", "MIG-GPU-a/13/0", "GPU-b"))


def test_gpus_without_a_jax_plugin_do_not_count(two_gpus: Patch) -> None:
    two_gpus.setattr(devices, "find_spec", lambda name: None)
    assert devices.find().platform == "cpu"


@pytest.mark.parametrize(
    ("visible", "ids"),
    [
        ("1", (1,)),
        ("1, 0", (1, 0)),
        ("GPU-a,MIG-b", ("GPU-a", "MIG-b")),
        ("1,-1,0", (1,)),
        ("0,1,0", (0, 1)),  # two workers would fight for its memory
    ],
)
def test_only_visible_gpus_are_used(
    two_gpus: Patch, visible: str, ids: tuple[int | str, ...]
) -> None:
    two_gpus.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.find() == Devices("gpu", ids)


def test_an_index_that_the_driver_does_not_list_is_refused(two_gpus: Patch) -> None:
    two_gpus.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES: 2 came") as error:
        devices.find()
    assert "Use indices below 2" in str(error.value)


def test_indices_are_believed_where_the_driver_does_not_answer(two_gpus: Patch) -> None:
    two_gpus.setattr(subprocess, "run", no_answer)
    two_gpus.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert devices.find() == Devices("gpu", (3,))


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_are_not_used(two_gpus: Patch, visible: str) -> None:
    two_gpus.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.find().platform == "cpu"


def test_a_driver_that_does_not_answer_means_no_gpu(two_gpus: Patch) -> None:
    two_gpus.setattr(subprocess, "run", no_answer)
    assert devices.find().platform == "cpu"


def test_all_chips_of_a_tpu_host_are_one_device(bare: Patch) -> None:
    bare.setattr(devices, "_tpu_chips", lambda: 4)
    assert devices.find() == Devices("tpu", (0,), 4)


def test_jax_platforms_decides(two_gpus: Patch) -> None:
    two_gpus.setenv("JAX_PLATFORMS", "cpu")
    assert devices.find().platform == "cpu"
    two_gpus.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert devices.find().platform == "gpu"


@pytest.mark.parametrize("asked", ["cuda", "gpu", "tpu", "rocm"])
def test_a_platform_that_is_asked_for_and_absent_is_refused(bare: Patch, asked: str) -> None:
    bare.setenv("JAX_PLATFORMS", asked)
    with pytest.raises(InputError, match=f"JAX_PLATFORMS: '{asked}' came") as error:
        devices.find()
    assert "tfc doctor" in str(error.value)


def test_a_worker_sees_its_own_device_alone() -> None:
    assert worker_environment("gpu", 3)["CUDA_VISIBLE_DEVICES"] == "3"
    assert worker_environment("gpu", "MIG-b")["CUDA_VISIBLE_DEVICES"] == "MIG-b"
    cpu = worker_environment("cpu", 5)
    assert (cpu["TFC_CORE"], cpu["PJRT_NPROC"], cpu["JAX_PLATFORMS"]) == ("5", "1", "cpu")
    assert worker_environment("tpu", 0) == {"JAX_PLATFORMS": "tpu,cpu", "TFC_CHIPS": "8"}


def test_a_worker_can_be_imported_before_jax_has_looked_for_devices() -> None:
    """Threads started at import would not be pinned to the worker's core."""
    code = (
        "import tfc_jax.worker, jax\n"
        "jax.config.update('jax_num_cpu_devices', 3)  # refused once there is a backend\n"
        "print(len(jax.devices()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert answer.stdout.split() == ["3"]
