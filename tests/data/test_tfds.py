"""Image data sets through TensorFlow Datasets, from the original files, without a network."""

import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfc_jax import data
from tfc_jax.data import Dataset, _cache
from tfc_jax.errors import InputError

Python = Callable[..., list[tuple[str, str]]]
# What a machine sees on which it is not installed: no finder knows it.
WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] != "tensorflow":
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
"""
CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is prepared, and whose network leads nowhere."""
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:1")  # nothing listens there
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "")
    return tmp_path


@pytest.fixture(scope="module", params=["mnist", "fashion_mnist"])
def prepared(
    request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A data set that TFDS itself has prepared from the original files."""
    folder = tmp_path_factory.mktemp(request.param)
    seed(shared, folder / "tfds", request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFC_CACHE", str(folder / "cache"))
        patch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
        if request.param == "mnist":
            # By its long name first, so that both ways are taken: what TFDS prepares is shared.
            data.prepare("tfds:mnist")
        data.prepare(request.param)
        yield request.param


def seed(shared: Path, data_dir: Path, name: str) -> None:
    """Puts the original files into TFDS's download cache."""
    program = [sys.executable, str(shared / "seed_tfds.py"), str(shared / "data"), str(data_dir)]
    subprocess.run([*program, "--datasets", name], check=True, capture_output=True)


def original(shared: Path, name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the IDX files: a header of 16 or 8 bytes, then one byte per value."""
    folder = shared / "data" / name
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    return x, np.frombuffer(labels, np.uint8, offset=8)


def as_lines(x: np.ndarray, y: np.ndarray) -> list[bytes]:
    return [label.tobytes() + image.tobytes() for image, label in zip(x, y, strict=True)]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_what_is_not_prepared_is_refused_at_once_with_the_remedy(nothing: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"not prepared .* Run: tfc data prepare {name}"):
        data.load(name)
    found = next(found for found in data.state() if found.name == name)
    assert (found.available, found.remedy) == (False, f"tfc data prepare {name}")


def test_refusing_imports_nothing_that_could_wait_for_a_network(
    nothing: Path, python: Python
) -> None:
    code = """
import sys
from tfc_jax import data
try:
    data.load("mnist")
except data.InputError as error:
    print(type(error).__name__, "tensorflow_datasets" in sys.modules)
"""
    assert python(code) == [("InputError False\n", "")]


def test_preparing_without_a_network_says_so_in_one_sentence_per_problem(nothing: Path) -> None:
    with pytest.raises(InputError, match="4 files are to be downloaded, but there is no conn"):
        data.prepare("mnist")
    assert not (nothing / "cache").exists()


def test_preparing_without_tensorflow_names_the_extra(nothing: Path, python: Python) -> None:
    code = """
from tfc_jax import data
try:
    data.prepare("mnist")
except data.InputError as error:
    print(*error.messages, sep="\\n")
"""
    ((output, errors),) = python(WITHOUT_TENSORFLOW + code)
    first, second = output.splitlines()
    assert "preparing needs TensorFlow" in first
    assert "pip install 'tfc_jax[data]'" in first
    assert "no connection" in second
    assert errors == ""


def test_a_damaged_download_is_refused_and_named(nothing: Path, shared: Path) -> None:
    seed(shared, nothing / "tfds", "mnist")
    victim = next((nothing / "tfds" / "downloads" / "mnist").glob("*train-labels*.gz"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(InputError) as caught:
        data.prepare("mnist")
    (message,) = caught.value.messages
    assert f"{victim} is not the original file" in message


def test_a_preparation_in_another_format_is_neither_used_nor_touched(nothing: Path) -> None:
    folder = nothing / "tfds" / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": "tfrecord"}')
    with pytest.raises(InputError, match="not prepared on this machine"):
        data.load("mnist")
    with pytest.raises(InputError, match=r"another format .* Set TFDS_DATA_DIR to another folder"):
        data.prepare("mnist")
    assert (folder / "dataset_info.json").exists()


def test_a_failure_of_tfds_is_reported_with_its_log(
    nothing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfc_jax.data import _download

    monkeypatch.setattr(_download, "_download_problems", lambda *_: [])
    (nothing / "tfds").touch()  # not a folder: nothing can be written there
    with pytest.raises(InputError, match=r"TensorFlow Datasets failed: .*prepare-mnist\.log"):
        data.prepare("mnist")
    assert "Traceback" in (nothing / "cache" / "prepare-mnist.log").read_text()


def test_preparing_keeps_intact_arrays_and_asks_no_network(
    nothing: Path, make_dataset: Callable[..., Dataset]
) -> None:
    _cache.write(make_dataset(name="mnist"))
    assert data.prepare("mnist").where == str(_cache.folder("mnist"))


def test_cifar100_is_the_original_archive_with_100_fine_and_20_coarse_classes() -> None:
    import tensorflow_datasets as tfds

    builder = tfds.builder("cifar100")
    ((url, original),) = builder.url_infos.items()
    # The archive and its SHA-256 as Krizhevsky's page and TFDS's list of checksums have them.
    assert url == "https://www.cs.toronto.edu/~kriz/cifar-100-binary" + ".tar" + ".gz"
    assert original.checksum.startswith("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1")
    features = builder.info.features
    assert features["image"].shape == (32, 32, 3)
    assert (features["label"].num_classes, features["coarse_label"].num_classes) == (100, 20)


def test_labels_of_cifar100_are_the_fine_ones() -> None:
    import tensorflow_datasets as tfds

    from tfc_jax.data import _tfds

    images = np.random.default_rng(6).integers(0, 256, (1001, 32, 32, 3), np.uint8)

    class Source(list[dict[str, object]]):
        def __getitems__(self, rows: range) -> list[dict[str, object]]:
            return [self[row] for row in rows]

    source = Source(
        {"id": b"", "image": image, "label": i % 100, "coarse_label": i % 20}
        for i, image in enumerate(images)
    )
    info = tfds.builder("cifar100").info
    builder = SimpleNamespace(info=info, as_data_source=lambda split, file_format: source)
    x, y = _tfds.read_split(builder, "train")
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(y, np.arange(1001) % 100)


only_mnist = pytest.mark.parametrize("prepared", ["mnist"], indirect=True)


@pytest.mark.slow
class TestOriginals:
    """TFDS's own preparation, and what becomes of the original images."""

    def test_every_image_arrives_with_its_label(self, prepared: str, shared: Path) -> None:
        dataset = data.load(prepared)
        for part, x, y, n in (
            ("train", dataset.x_train, dataset.y_train, 60_000),
            ("t10k", dataset.x_test, dataset.y_test, 10_000),
        ):
            assert x.shape == (n, 28, 28, 1)
            assert x.dtype == np.uint8
            # TFDS shuffles, so the two orders differ; the pairs of image and label may not.
            ours = sorted(as_lines(x, y.astype(np.uint8)))
            assert ours == sorted(as_lines(*original(shared, prepared, part)))

    def test_the_contract_holds(self, prepared: str, check_contract: Callable[[str], None]) -> None:
        check_contract(prepared)
        assert data.load(prepared).class_names == CLASS_NAMES[prepared]
        # Both are balanced: 6,000 of each class in Fashion-MNIST, 5,421 to 6,742 in MNIST.
        prior = data.prior_loss(data.load(prepared), "cross_entropy")
        assert np.log(10) - 0.002 < prior <= np.log(10) * (1 + 1e-15)

    @only_mnist
    def test_the_long_name_gives_the_same_arrays_from_files_of_their_own(
        self, prepared: str
    ) -> None:
        short, long = data.load(prepared), data.load(f"tfds:{prepared}")
        assert long.sha256 == short.sha256
        assert (long.name, long.class_names) == ("tfds:mnist", short.class_names)
        names = sorted(path.name for path in _cache.folder(prepared).parent.iterdir())
        assert names == ["mnist", "tfds+mnist"]

    @only_mnist
    def test_preparing_again_changes_nothing(self, prepared: str) -> None:
        before = _cache.folder(prepared).stat()
        state = data.prepare(prepared)
        assert state == data.State(prepared, True, str(_cache.folder(prepared)))
        assert _cache.folder(prepared).stat().st_ino == before.st_ino

    @only_mnist
    def test_a_damaged_cache_is_refused_until_prepared_again(self, prepared: str) -> None:
        before = data.load(prepared).sha256
        with (_cache.folder(prepared) / "x_train.npy").open("r+b") as file:
            file.truncate(1_000_000)
        with pytest.raises(InputError, match=f"tfc data prepare {prepared}"):
            data.load(prepared)
        data.prepare(prepared)
        assert data.load(prepared).sha256 == before

    @only_mnist
    def test_processes_convert_without_tensorflow_or_a_word_even_at_once(
        self, prepared: str, python: Python, tmp_path: Path
    ) -> None:
        code = f"""
from tfc_jax import data
print(data.load({prepared!r}).sha256)
"""
        expected = data.load(prepared).sha256 + "\n"
        code = WITHOUT_TENSORFLOW + code
        assert python(code, copies=2, TFC_CACHE=str(tmp_path)) == [(expected, "")] * 2
        assert [path.name for path in (tmp_path / "data").iterdir()] == [prepared]

    @only_mnist
    def test_damaged_records_are_refused_and_nothing_is_cached(
        self, prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = next(p for p in (data_dir() / prepared).iterdir())
        copy = Path(shutil.copytree(source, tmp_path / "tfds" / prepared / source.name))
        records = next(copy.glob("*-train.array_record*"))
        content = bytearray(records.read_bytes())
        content[len(content) // 2] ^= 1
        records.write_bytes(content)
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
        monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))
        with pytest.raises(InputError, match=f"Delete it and run: tfc data prepare {prepared}"):
            data.load(prepared)
        assert not _cache.folder(prepared).exists()


def data_dir() -> Path:
    from tfc_jax.data import _tfds

    return _tfds.data_dir()
