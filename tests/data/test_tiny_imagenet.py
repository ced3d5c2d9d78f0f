"""Tiny ImageNet from a small archive of the same layout."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfc_jax import data
from tfc_jax.cache import cache_root
from tfc_jax.data import Dataset, _cache, tiny_imagenet
from tfc_jax.errors import InputError

NAME = "tiny_imagenet"
# In the order of wnids.txt, which is not the alphabetical one; the colour says the class.
COLOUR = {"n03": (200, 30, 40), "n01": (20, 180, 60), "n02": (90, 90, 90)}
WORDS = {"n00": "no class", "n01": "goldfish, Carassius auratus", "n02": "a\u00e7ai", "n03": "bee"}
N_TRAIN, N_VALIDATION = 4, 2  # of each class


def write_archive(here: Path) -> None:
    (here / "val" / "images").mkdir(parents=True)
    (here / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in COLOUR))
    (here / "words.txt").write_text("".join(f"{w}\t{words}\n" for w, words in WORDS.items()))
    annotations: list[str] = []
    for wnid in COLOUR:
        (here / "train" / wnid / "images").mkdir(parents=True)
        for i in range(N_TRAIN):
            write_image(here / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", wnid, i)
    for i in range(N_VALIDATION):
        for wnid in COLOUR:
            file = f"val_{len(annotations)}.JPEG"
            write_image(here / "val" / "images" / file, wnid, i)
            annotations.append(f"{file}\t{wnid}\t0\t0\t62\t62\n")
    (here / "val" / "val_annotations.txt").write_text("".join(annotations))


def write_image(path: Path, wnid: str, i: int) -> None:
    """An even colour, 8 brighter in each next image; the grey class has grey files, not RGB."""
    mode = "L" if wnid == "n02" else "RGB"
    values = tuple(channel + 8 * i for channel in COLOUR[wnid])
    Image.new(mode, (64, 64), values[0] if mode == "L" else values).save(path, "JPEG", quality=95)


def counts_of_the_fake(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tiny_imagenet, "N_CLASSES", len(COLOUR))
    patch.setattr(tiny_imagenet, "N_TRAIN", len(COLOUR) * N_TRAIN)
    patch.setattr(tiny_imagenet, "N_VALIDATION", len(COLOUR) * N_VALIDATION)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small archive, unpacked where it belongs and not prepared."""
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    counts_of_the_fake(monkeypatch)
    here = tmp_path / "tfds" / "downloads" / "manual" / "tiny-imagenet-200"
    write_archive(here)
    return here


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """The small archive, prepared; then it is removed, for the cache must do."""
    folder = tmp_path_factory.mktemp(NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFC_CACHE", str(folder / "cache"))
        patch.setenv("TFDS_DATA_DIR", str(folder / "tfds"))
        counts_of_the_fake(patch)
        write_archive(tiny_imagenet.archive())
        state = data.prepare(NAME)
        assert state == data.State(NAME, True, str(_cache.folder(NAME)))
        shutil.rmtree(folder / "tfds")
        yield data.load(NAME)


def expected_rows(n: int) -> list[tuple[int, ...]]:
    """Label and colour of n images of each class, sorted."""
    by_name = sorted(COLOUR)
    return sorted(
        (label, *(channel + 8 * i for channel in COLOUR[wnid]))
        for label, wnid in enumerate(by_name)
        for i in range(n)
    )


@pytest.mark.slow
class TestPrepared:
    """What becomes of the images."""

    def test_every_image_arrives_as_rgb_with_its_label(self, prepared: Dataset) -> None:
        for x, y, n in (
            (prepared.x_train, prepared.y_train, N_TRAIN),
            (prepared.x_test, prepared.y_test, N_VALIDATION),
        ):
            assert x.shape == (3 * n, 64, 64, 3)
            assert x.dtype == np.uint8
            colours = x.astype(np.float64).mean(axis=(1, 2))
            ours = np.array(
                sorted((int(label), *colour) for label, colour in zip(y, colours, strict=True))
            )
            expected = np.array(expected_rows(n))
            np.testing.assert_array_equal(ours[:, 0], expected[:, 0])
            # JPEG at quality 95 moves an even colour by 2 or so; images are 8 or more apart.
            np.testing.assert_allclose(ours[:, 1:], expected[:, 1:], rtol=0, atol=3)

    def test_grey_images_have_three_equal_channels(self, prepared: Dataset) -> None:
        grey = prepared.x_train[prepared.y_train == 1]
        np.testing.assert_array_equal(grey, grey[..., :1] + np.zeros((1, 1, 1, 3), np.uint8))

    def test_classes_are_named_by_the_words_in_the_order_of_their_ids(
        self, prepared: Dataset
    ) -> None:
        assert prepared.class_names == (WORDS["n01"], WORDS["n02"], WORDS["n03"])

    def test_training_images_are_shuffled(self, prepared: Dataset) -> None:
        assert sorted(prepared.y_train) != prepared.y_train.tolist()

    def test_nothing_but_the_arrays_and_the_log_is_left(self, prepared: Dataset) -> None:
        left = sorted(path.name for path in cache_root().iterdir())
        assert left == ["data", f"prepare-{NAME}.log"]

    def test_a_file_that_is_no_image_is_refused_with_the_log(self, archive: Path) -> None:
        (archive / "val" / "images" / "val_0.JPEG").write_bytes(b"no image")
        with pytest.raises(
            InputError, match=r"failed: .*DecodeImage.* whole output is in .*tiny_imagenet\.log"
        ):
            data.prepare(NAME)
        assert not _cache.folder(NAME).exists()


def test_a_missing_archive_is_asked_for_with_its_name_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    place = tmp_path / "downloads" / "manual" / "tiny-imagenet-200"
    asked = f"Get tiny-imagenet-200.zip .* unpack it, so that {place}/wnids.txt exists"
    with pytest.raises(InputError, match=f"tfc data prepare {NAME}: wnids.txt, .*{asked}"):
        data.prepare(NAME)
    with pytest.raises(InputError, match=f"not prepared .* {asked}.* tfc data prepare {NAME}"):
        data.load(NAME)
    assert not (tmp_path / "cache").exists()


def test_an_archive_that_is_there_needs_only_preparing(archive: Path) -> None:
    (found,) = (found for found in data.state() if found.name == NAME)
    assert (found.available, found.remedy) == (False, f"tfc data prepare {NAME}")


@pytest.mark.parametrize(
    ("victim", "sentence"),
    [
        ("train/n01/images/n01_2.JPEG", "holds 11 training images instead of 12"),
        ("val/images/val_3.JPEG", "holds 5 validation images instead of 6"),
        ("words.txt", "words.txt missing in"),
    ],
)
def test_an_archive_that_is_not_complete_is_refused(
    archive: Path, victim: str, sentence: str
) -> None:
    (archive / victim).unlink()
    with pytest.raises(InputError, match=f"{sentence}.*npack") as caught:
        data.prepare(NAME)
    assert len(caught.value.messages) == 1


@pytest.mark.parametrize(
    ("file", "text", "strange"),
    [
        ("words.txt", "n01\ta\nn02\tb\n", "n03"),
        ("val/val_annotations.txt", "a.JPEG\tn01\n" * 5 + "a.JPEG\tn77\n", "n77"),
    ],
)
def test_lists_that_disagree_are_refused_and_the_class_named(
    archive: Path, file: str, text: str, strange: str
) -> None:
    (archive / file).write_text(text)
    with pytest.raises(InputError, match=f"do not agree on {strange}"):
        data.prepare(NAME)


def test_intact_arrays_need_no_archive(
    make_dataset: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFC_CACHE", str(tmp_path))
    _cache.write(make_dataset(name=NAME))
    assert data.prepare(NAME) == data.State(NAME, True, str(_cache.folder(NAME)))
