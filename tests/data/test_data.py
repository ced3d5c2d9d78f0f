"""The contract that every data set keeps, and how one is found by its name."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfc_jax import data, registry
from tfc_jax.errors import InputError


def test_every_data_set_that_is_here_keeps_the_contract(
    check_contract: Callable[[str], None],
) -> None:
    names = [found.name for found in data.state() if found.available]
    assert "digits" in names
    for name in names:
        check_contract(name)


NAMES = (
    *("checkerboard", "cifar10", "cifar100", "digits", "fashion_mnist", "gaussian_blobs", "mnist"),
    *("sine_mixture", "single_index", "tiny_imagenet"),
)


def test_a_sweep_may_use_known_names_and_families() -> None:
    assert sorted(data.available()) == sorted((*NAMES, "npz:PATH", "tfds:NAME"))
    assert all(data.is_known(name) for name in data.available())
    assert not data.is_known("mnits")
    assert not data.is_known("npz:")
    assert not data.is_known("tfds:")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"'mnits'\. Did you mean 'mnist'\? Available: checkerboard"
    ):
        data.load("mnits")
    with pytest.raises(InputError, match="unknown dataset 'mnits'"):
        data.prepare("mnits")


def test_the_state_says_where_each_data_set_is_or_how_to_get_it() -> None:
    states = {found.name: found for found in data.state()}
    assert list(states) == list(NAMES)
    for found in states.values():
        assert found.where
        assert bool(found.remedy) is not found.available
    assert states["digits"].where == "embedded in scikit-learn"


def test_preparing_what_is_embedded_does_nothing() -> None:
    assert data.prepare("digits") == data.State("digits", True, "embedded in scikit-learn")


NEW_FAMILY = """
import numpy as np
from tfc_jax.data import Dataset

NAMES = ("stripes",)

def load_raw(name):
    x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1], np.int32)
    return Dataset(name, x, y, x, y, ("even", "odd"), 1)
"""


def test_a_new_data_set_is_one_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stripes.py").write_text(NEW_FAMILY)
    files = (*registry.names("data"), "stripes")
    monkeypatch.setattr(data, "__path__", [*data.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "names", lambda package: files)
    monkeypatch.setitem(sys.modules, "tfc_jax.data.stripes", None)
    del sys.modules["tfc_jax.data.stripes"]
    assert data.load("stripes", n_train=3).y_train.tolist() == [0, 1, 0]
    assert "stripes" in data.available()
    assert data.State("stripes", True, "built in") in data.state()


def test_naming_data_sets_imports_neither_jax_nor_what_reads_them(
    python: Callable[..., list[tuple[str, str]]],
) -> None:
    heavy = "jax sklearn pandas tensorflow tensorflow_datasets urllib.request"
    code = f"""
import sys
from tfc_jax import data
data.available(), data.is_known("mnist"), data.state()
print(*[name for name in {heavy!r}.split() if name in sys.modules])
"""
    assert python(code) == [("\n", "")]


def test_the_fingerprint_is_the_same_in_another_process(
    python: Callable[..., list[tuple[str, str]]],
) -> None:
    code = "from tfc_jax import data; print(data.load('digits').sha256)"
    assert python(code) == [(data.load("digits").sha256 + "\n", "")]


def test_selected_arrays_stay_of_the_type_that_the_device_gets() -> None:
    dataset = data.load("digits", classes=3, n_train=20)
    assert dataset.x_train.dtype == np.uint8
    assert dataset.y_train.dtype == np.int32


def test_a_difficulty_is_refused_where_there_is_no_such_knob() -> None:
    with pytest.raises(InputError) as caught:
        data.load("digits", difficulty=2)
    assert str(caught.value) == (
        "difficulty: 2 came, but 'digits' has no such knob. Leave difficulty out. "
        "Data sets with it: checkerboard, gaussian_blobs, single_index."
    )
    with pytest.raises(InputError, match=r"0\.5 came, but 'npz:x' has no"):
        data.load("npz:x", difficulty=0.5)


def test_parts_are_taken_of_the_difficulty_that_was_asked() -> None:
    whole = data.load("gaussian_blobs", difficulty=0.7)
    part = data.load("gaussian_blobs", difficulty=0.7, classes=3, n_train=50)
    rows = np.flatnonzero(whole.y_train < 3)[:50]
    np.testing.assert_array_equal(part.x_train, whole.x_train[rows])
    assert part.n_classes == 3
