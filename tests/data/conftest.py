"""What the tests of data sets share: folders of their own, small data sets, the original files."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tfc_jax import data
from tfc_jax.data import Dataset

REPOSITORY = Path(__file__).parents[2]
MakeDataset = Callable[..., Dataset]


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's own data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tfds")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of original files; not part of the repository."""
    folder = Path(os.environ.get("TFC_SHARED") or REPOSITORY.parent / "shared")
    if not (folder / "data" / "mnist").is_dir():
        pytest.skip(f"the original MNIST files are not in {folder}; set TFC_SHARED to their folder")
    return folder


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    """Builds a small classification data set; keywords replace fields."""

    def make(**fields: object) -> Dataset:
        rng = np.random.default_rng(3)
        default = {
            "name": "small",
            "x_train": rng.integers(0, 256, (12, 2, 2, 1), np.uint8),
            "y_train": np.arange(12, dtype=np.int32) % 4,
            "x_test": rng.integers(0, 256, (8, 2, 2, 1), np.uint8),
            "y_test": np.arange(8, dtype=np.int32) % 4,
            "class_names": ("a", "b", "c", "d"),
            "max_value": 255,
        }
        return Dataset(**(default | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_regression(make_dataset: MakeDataset) -> MakeDataset:
    """Builds a small regression data set with flat inputs and two outputs."""

    def make(**fields: object) -> Dataset:
        rng = np.random.default_rng(4)
        default = {
            "x_train": rng.normal(size=(12, 3)).astype(np.float32),
            "y_train": rng.normal(size=(12, 2)).astype(np.float32),
            "x_test": rng.normal(size=(8, 3)).astype(np.float32),
            "y_test": rng.normal(size=(8, 2)).astype(np.float32),
            "class_names": (),
            "max_value": 1,
        }
        return make_dataset(**(default | fields))

    return make


@pytest.fixture(scope="session")
def python() -> Callable[..., list[tuple[str, str]]]:
    """Runs `python -c CODE` in the repository, in several copies at once if asked.

    Returns (stdout, stderr) of each. Keywords change the environment.
    """

    def run(code: str, copies: int = 1, **environment: str) -> list[tuple[str, str]]:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=REPOSITORY,
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(copies)
        ]
        return [process.communicate() for process in processes]

    return run


@pytest.fixture(scope="session")
def check_contract() -> Callable[[str], None]:
    """Asserts what holds for every named data set."""

    def check(name: str) -> None:
        dataset = data.load(name)
        assert dataset.name == name
        assert data.is_known(name)
        assert data.load(name).sha256 == dataset.sha256
        if dataset.x_train.dtype == np.uint8:
            assert dataset.x_train.max() == dataset.max_value
        if dataset.n_classes:
            check_labels(dataset)

    def check_labels(dataset: Dataset) -> None:
        assert set(dataset.y_train) == set(dataset.y_test) == set(range(dataset.n_classes))
        assert dataset.label_prior_K.sum() == pytest.approx(1, rel=1e-12)
        # Sorted data would start with one or two classes; a mixed start has many: of K classes,
        # 100 draws at random meet 64 when K is 100, 79 when it is 200, all when it is 10.
        assert len(set(dataset.y_train[:100])) > min(dataset.n_classes, 100) // 2

    return check
