"""Image sets of TFDS's catalogue by their name there: which are taken, which refused, and why."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfc_jax import data
from tfc_jax.cache import cache_root
from tfc_jax.data import _cache
from tfc_jax.data._tfds_builder import split_for_test, unsuitable
from tfc_jax.errors import InputError

IMAGE, LABEL = tfds.features.Image(shape=(8, 8, 3)), tfds.features.ClassLabel(num_classes=4)
GOOD = {"image": IMAGE, "label": LABEL}


@pytest.fixture(autouse=True)
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is prepared, and whose network leads nowhere."""
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:1")  # nothing listens there
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["mnist:3.0.1", "../mnist", "/etc", "emnist/..", "a/b/c", "emnist/", "MNIST", "m nist", "*"],
)
def test_what_could_be_a_path_a_version_or_a_pattern_is_no_name(name: str) -> None:
    for use in (data.load, data.prepare):
        with pytest.raises(InputError, match="Write tfds:NAME or tfds:NAME/CONFIG"):
            use(f"tfds:{name}")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mnits", "knows no 'mnits'. Did you mean 'mnist'?"),
        ("emnist", "'emnist' needs one of its configurations, but none came. Write tfds:emnist/"),
        ("emnist/leters", "but 'leters' came. Did you mean 'letters'?"),
        ("mnist/letters", "'mnist' has no configurations, but 'letters' came. Write tfds:mnist."),
        ("oxford_flowers102", "images have no fixed size: their shape is (None, None, 3)."),
        ("imdb_reviews/plain_text", "no image called `image`, only label, text."),
        ("lfw", "no class label called `label`, only image, label."),
    ],
)
def test_a_set_that_cannot_be_loaded_is_refused_before_any_download(
    nothing: Path, name: str, sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        data.prepare(f"tfds:{name}")
    (message,) = caught.value.messages
    assert message.startswith(f"tfc data prepare tfds:{name}: ")
    assert sentence in message
    assert not list(nothing.iterdir())


@pytest.mark.parametrize(
    ("name", "files"),
    [("kmnist", "4 files are"), ("svhn_cropped", "3 files are"), ("emnist/letters", "1 file is")],
)
def test_a_set_of_labelled_images_of_one_size_lacks_nothing_but_the_network(
    name: str, files: str
) -> None:
    with pytest.raises(InputError) as caught:
        data.prepare(f"tfds:{name}")
    (message,) = caught.value.messages
    assert f"{files} to be downloaded, but there is no connection" in message
    assert str(_cache.folder(f"tfds:{name}")) in message


def test_what_is_not_prepared_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"not prepared .* Run: tfc data prepare tfds:kmnist"):
        data.load("tfds:kmnist")


@pytest.mark.parametrize(
    ("name", "folder"), [("tfds:mnist", "tfds+mnist"), ("tfds:a_b/c.d-e", "tfds+a_b+c.d-e")]
)
def test_arrays_lie_in_a_folder_without_colons_or_slashes(name: str, folder: str) -> None:
    assert _cache.folder(name) == cache_root() / "data" / folder


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ({"label": LABEL}, "no image called `image`, only label."),
        ({**GOOD, "image": tfds.features.Tensor(shape=(8, 8, 3), dtype=np.uint8)}, "no image call"),
        ({**GOOD, "image": tfds.features.Image(shape=(8, None, 3))}, "no fixed size"),
        ({**GOOD, "image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16)}, "are uint16"),
        ({"image": IMAGE}, "no class label called `label`, only image."),
        ({**GOOD, "label": tfds.features.Text()}, "no class label called `label`"),
    ],
)
def test_features_that_are_no_labelled_images_of_one_size_have_one_problem(
    features: dict[str, object], problem: str
) -> None:
    (sentence,) = unsuitable(features, ["train", "test"])
    assert problem in sentence


@pytest.mark.parametrize("splits", [["train"], ["test"], ["train", "extra"], ["validation"]])
def test_a_training_and_a_test_split_are_needed(splits: list[str]) -> None:
    (sentence,) = unsuitable(GOOD, splits)
    assert sentence == (
        f"it has the splits {', '.join(splits)}; needed are train, and test or validation."
    )


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ([], "validation"),
        (["train", "validation"], "validation"),
        (["extra", "validation", "test", "train"], "test"),
    ],
)
def test_the_test_set_is_the_split_test_else_validation(splits: list[str], expected: str) -> None:
    assert unsuitable(GOOD, splits) == []
    assert split_for_test(splits) == expected


# TFDS's own writer, of the format that is read here; images whose colour tells their label.
PREPARE = """
import sys
import numpy as np
import tensorflow_datasets as tfds

def prepare(config, splits, shape=(4, 4, 1)):
    features = tfds.features.FeaturesDict({
        "image": tfds.features.Image(shape=shape),
        "coarse_label": tfds.features.ClassLabel(names=["all"]),
        "label": tfds.features.ClassLabel(names=["black", "dark", "grey"]),
    })
    examples = {
        split: [
            (i, {"image": np.full((4, 4, 1), 10 * (i % 3), np.uint8), "coarse_label": 0,
                 "label": i % 3})
            for i in range(n)
        ]
        for split, n in splits.items()
    }
    tfds.dataset_builders.AdhocBuilder(
        name="stripes", config=config, version="1.0.0", features=features,
        split_datasets=examples, data_dir=sys.argv[1], file_format="array_record",
    ).download_and_prepare()

prepare("thin", {"train": 12, "validation": 6})
prepare("lone", {"train": 12})
prepare("uneven", {"train": 12, "test": 6}, (None, None, 1))
"""


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets that TFDS has prepared, which are in no catalogue."""
    folder = tmp_path_factory.mktemp("stripes")
    program = [sys.executable, "-c", PREPARE, str(folder)]
    subprocess.run(program, check=True, capture_output=True)
    return folder


@pytest.mark.slow
class TestPreparedByTfds:
    """What is read of files that TFDS itself has written."""

    @pytest.fixture(autouse=True)
    def here(self, stripes: Path, nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TFDS_DATA_DIR", str(stripes))

    def test_a_configuration_arrives_with_its_validation_split_as_test_set(self) -> None:
        dataset = data.load("tfds:stripes/thin")
        assert dataset.class_names == ("black", "dark", "grey")
        for x, y, n in (
            (dataset.x_train, dataset.y_train, 12),
            (dataset.x_test, dataset.y_test, 6),
        ):
            assert x.shape == (n, 4, 4, 1)
            np.testing.assert_array_equal(np.bincount(y), n // 3)
            np.testing.assert_array_equal(x, np.broadcast_to(10 * y[:, None, None, None], x.shape))
        assert _cache.is_intact("tfds:stripes/thin")

    def test_preparing_converts_what_is_there_and_asks_no_network(self) -> None:
        state = data.prepare("tfds:stripes/thin")
        assert state == data.State(
            "tfds:stripes/thin", True, str(cache_root() / "data" / "tfds+stripes+thin")
        )

    @pytest.mark.parametrize(
        ("config", "sentence"),
        [
            ("lone", "it has the splits train; needed are train, and test or validation"),
            ("uneven", r"no fixed size: their shape is \(None, None, 1\)"),
        ],
    )
    def test_what_is_unsuitable_is_refused_and_not_cached(self, config: str, sentence: str) -> None:
        name = f"tfds:stripes/{config}"
        with pytest.raises(InputError, match=f"dataset '{name}': .*{sentence}"):
            data.load(name)
        assert not _cache.folder(name).exists()
