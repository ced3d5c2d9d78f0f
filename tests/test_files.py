"""Files that are whole or absent, and stay."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tfc_jax import files


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were made durable, in order."""
    done: list[Path] = []
    original = files.sync_folder

    def sync(folder: Path) -> None:
        done.append(folder)
        original(folder)

    monkeypatch.setattr(files, "sync_folder", sync)
    return done


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(
    tmp_path: Path, synced: list[Path]
) -> None:
    files.write_whole(tmp_path / "a", b"old")
    files.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert synced == [tmp_path, tmp_path]


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    files.write_whole(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_content_is_durable_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[..., None]:
        original = getattr(os, name)

        def noted(*args: object) -> None:
            order.append(name)
            original(*args)

        return noted

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name))
    files.write_whole(tmp_path / "a", b"new")
    assert order == ["fsync", "replace", "fsync"]


def test_every_new_folder_is_made_durable_in_its_parent(tmp_path: Path, synced: list[Path]) -> None:
    files.make_folder(tmp_path / "results" / "sweep" / "steps")
    assert (tmp_path / "results" / "sweep" / "steps").is_dir()
    assert synced == [tmp_path, tmp_path / "results", tmp_path / "results" / "sweep"]
    files.make_folder(tmp_path / "results" / "sweep" / "steps")
    assert len(synced) == 3


def test_a_relative_folder_is_made_below_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.make_folder(Path("results/sweep"))
    assert (tmp_path / "results" / "sweep").is_dir()


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()
