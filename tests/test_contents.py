"""What stands in a results folder, and what is nobody's concern in another."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tfc_jax import fsck
from tfc_jax.contents import LINK, NO_FOLDER, misplaced
from tfc_jax.errors import InputError
from tfc_jax.layout import Folder
from tfc_jax.results import open_results
from tfc_jax.status import read_status

READERS: list[Callable[[Path], object]] = [
    lambda root: fsck.check(Folder(root)),
    lambda root: read_status(Folder(root)),
    open_results,
]


@pytest.mark.parametrize("read", READERS)
def test_a_folder_of_other_things_is_no_damaged_results(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """Its links are somebody's own: nobody is told to remove them."""
    (tmp_path / "lib64").symlink_to(tmp_path)
    with pytest.raises(InputError, match="there are no results here"):
        read(tmp_path)


def test_what_would_be_read_as_results_is_looked_at_without_a_manifest_too(tmp_path: Path) -> None:
    for name in ("lib64", "runs", "manifest.json"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
        found = sorted(misplaced(tmp_path))
        assert (tmp_path / "runs", LINK) in found or name == "lib64"
        assert ((tmp_path / "lib64", LINK) in found) is (name == "manifest.json")


def test_a_file_in_the_place_of_a_folder_is_told_inside_of_folders_too(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "staging").write_text("no folder")
    assert list(misplaced(tmp_path)) == [(tmp_path / "checkpoints" / "staging", NO_FOLDER)]
