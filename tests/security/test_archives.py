"""Archives of arrays: what they claim is checked before it is unpacked, and nothing is written."""

import io
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.security.conftest import snapshot
from tests.sweeps import ROOT
from tfc_jax import archives, data
from tfc_jax.archives import read_arrays
from tfc_jax.data import tiny_imagenet
from tfc_jax.errors import InputError
from tfc_jax.results import open_results

Write = Callable[[Path], object]
SMALL = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy(array: np.ndarray = SMALL) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(shape: str = "(2, 3)", dtype: str = "<f4", version: tuple[int, int] = (1, 0)) -> bytes:
    """The start of a .npy file that claims anything."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text


def members(content: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", kind) as archive:
            for name, raw in content.items():
                archive.writestr(name, raw)

    return write


class Touch:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self._path,)


def pickled(path: Path) -> None:
    np.savez(path, x_train=np.array([Touch(path.with_name("touched"))], object))


def encrypted(path: Path) -> None:
    members({"x_train.npy": npy()}, zipfile.ZIP_STORED)(path)
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


def overlapping(path: Path) -> None:
    """Many members that are the same bytes."""
    names = ("x_train", "y_train", "x_test")
    members({f"{name}.npy": npy(np.zeros(10**6)) for name in names})(path)
    raw = bytearray(path.read_bytes())
    at = -1
    while (at := raw.find(b"PK\x01\x02", at + 1)) >= 0:
        raw[at + 42 : at + 46] = bytes(4)
    path.write_bytes(raw)


def lying(path: Path) -> None:
    """A member whose entry says that it is small."""
    members({"x_train.npy": npy(np.zeros(10**7))})(path)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(raw)


BAD: dict[str, Write] = {
    "pickled objects": pickled,
    "objects without a pickle": members({"x_train.npy": header("(1,)", "|O") + bytes(8)}),
    "a shape beyond its content": members({"x_train.npy": header(f"({2 * 10**8},)") + bytes(24)}),
    "a shape of 10^18 numbers": members({"x_train.npy": header(f"({10**18},)") + bytes(24)}),
    "a shape short of its content": members({"x_train.npy": header("(1,)") + bytes(24)}),
    "a negative shape": members({"x_train.npy": header("(-1, -6)") + bytes(24)}),
    "code as a shape": members({"x_train.npy": header("__import__('os').abort()") + bytes(24)}),
    "a header without end": members({"x_train.npy": b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b"{"}),
    "an unknown version": members({"x_train.npy": header(version=(9, 0)) + bytes(24)}),
    "no header": members({"x_train.npy": b"text"}),
    "nothing": members({"x_train.npy": b""}),
    "a bomb": members({"x_train.npy": npy(np.zeros(3 * 10**7))}),
    "a password": encrypted,
    "overlapping members": overlapping,
    "a lying size": lying,
    "another compression": members({"x_train.npy": npy()}, zipfile.ZIP_LZMA),
    "no zip": lambda path: path.write_bytes(npy()),
    "a pickle alone": lambda path: path.write_bytes(b"\x80\x04cposix\nsystem\n."),
    "an empty file": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("write", BAD.values(), ids=BAD)
def test_an_archive_that_is_not_plain_arrays_is_refused_without_being_unpacked(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 2**26)  # 64 MiB stand for 1 GiB
    write(tmp_path / "x.npz")
    before = snapshot(tmp_path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r".") as caught:
        read_arrays(tmp_path / "x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 2**24
    with pytest.raises(InputError, match="cannot be read as an archive of plain arrays"):
        data.load(f"npz:{tmp_path / 'x.npz'}")
    assert snapshot(tmp_path) == before


def test_an_array_of_python_objects_is_refused_as_such(tmp_path: Path) -> None:
    """Before NumPy, which would refuse it too, sees it."""
    pickled(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="holds Python objects, which are not read"):
        read_arrays(tmp_path / "x.npz")
    assert not (tmp_path / "touched").exists()


def test_archives_that_people_make_are_read(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"a": SMALL, "b": np.zeros((0, 3), np.uint8), "c": SMALL.T}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        found = read_arrays(tmp_path / "x.npz")
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())
        assert read_arrays(tmp_path / "x.npz", ["b", "z"]).keys() == {"b"}


def test_one_archive_is_read_at_a_time_whatever_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that parse at once may end in a SystemError of CPython 3.11."""
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    read, at_once, most = archives._read, [0], [0]

    def watched(*arguments: Any) -> dict[str, np.ndarray]:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.005)
        found = read(*arguments)
        at_once[0] -= 1
        return found

    monkeypatch.setattr(archives, "_read", watched)
    with ThreadPoolExecutor(4) as pool:
        arrays = list(pool.map(read_arrays, [tmp_path / "a.npz"] * 12))
    assert (len(arrays), most) == (12, [1])


def test_members_that_lead_out_are_never_written(tmp_path: Path) -> None:
    names = ["../../out.npy", "/out.npy", "..\\out.npy", "C:\\out.npy", "a/../../out.npy"]
    (tmp_path / "in").mkdir()
    members(dict.fromkeys(names, npy()))(tmp_path / "in" / "x.npz")
    before = snapshot(tmp_path)
    assert len(read_arrays(tmp_path / "in" / "x.npz")) == len(names)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("write", BAD.values(), ids=BAD)
def test_final_weights_that_are_not_plain_arrays_are_refused(
    stranger: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 2**26)
    results = open_results(stranger)
    run = results.runs.iloc[0]
    write(stranger / "params" / f"{run['pack']}.npz")
    with pytest.raises(InputError, match=r"not the final weights.*from a copy"):
        results.params(run["run_id"])


@pytest.mark.parametrize("lane", [3, -4, 10**9])
def test_a_lane_that_is_not_there_is_refused(stranger: Path, lane: int) -> None:
    results = open_results(stranger)
    results.runs["lane"] = lane
    with pytest.raises(InputError, match="not the final weights"):
        results.params(results.runs["run_id"].iloc[0])


def test_nothing_in_the_project_unpacks_an_archive_onto_the_disk() -> None:
    unpacking = ("extractall", ".extract(", "unpack_archive", "import tarfile")
    for folder in ("tfc_jax", "analysis", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not [word for word in unpacking if word in path.read_text()], path


@pytest.mark.parametrize("name", ["../../out", "/etc/x", "a/b", "..", ".hidden", "-x", "a\0b", ""])
@pytest.mark.parametrize("place", ["wnids.txt", "val/val_annotations.txt"])
def test_names_in_the_lists_of_tiny_imagenet_lead_nowhere(
    tmp_path: Path, name: str, place: str
) -> None:
    for folder in ("train", "val/images"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("wnids.txt", "words.txt"):
        (tmp_path / file).write_text("n01\n")
    (tmp_path / "val/val_annotations.txt").write_text("a.JPEG\tn01\n")
    line = f"n01\n{name}\n" if place == "wnids.txt" else f"{name}\tn01\n"
    (tmp_path / place).write_text(line)
    problems = tiny_imagenet._archive_problems(tmp_path)
    if name or place != "wnids.txt":  # an empty line is no name
        assert "Unpack" in problems[0]
        assert "no plain file" in problems[0]


def test_downloads_are_those_whose_checksums_are_known() -> None:
    """TFDS compares SHA-256 and size of each file with its own record, redirected or not."""
    source = (ROOT / "tfc_jax" / "data" / "_tfds_child.py").read_text()
    assert "force_checksums_validation=True" in source
    assert "register_checksums" not in source
