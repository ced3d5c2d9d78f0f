"""A machine that would train something else, or nothing, says so by name before it trains."""

import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.executors.tasks import task
from tests.objects.store import Local, fresh_place, running
from tfc_jax import data
from tfc_jax.executors import node, remote
from tfc_jax.executors.channel import Channel, Post
from tfc_jax.keys import Run
from tfc_jax.layout import Folder

NODE = f"node {platform.node()}: "


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    with Channel.opened(Folder(tmp_path)) as channel:
        yield Post(channel.path, "probe")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "mine.npz"
    write(path, 0)
    return path


def write(path: Path, first: int) -> None:
    x, y = np.full((6, 4), 7, np.uint8), np.arange(6) % 2
    x[0, 0] = first
    np.savez(path, allow_pickle=False, x_train=x, y_train=y, x_test=x, y_test=y)


def wanted(archive: Path) -> list[dict[str, object]]:
    digest = data.load(f"npz:{archive}").sha256
    one = replace(
        task("1", "a"), runs=(Run(steps=1, dataset=f"npz:{archive}"),), dataset_sha256=digest
    )
    return node.wanted_data([one, one])


def test_the_same_machine_fits(post: Post, archive: Path) -> None:
    needed = wanted(archive)
    assert len(needed) == 1
    assert node.misfits(post, "", node.tools(), needed) == []
    assert [path.name for path in post.path.iterdir()] == ["orders"]


def test_every_tool_of_another_version_is_named(post: Post) -> None:
    launcher = node.tools() | {"jax": "0.0.1", "code of tfc_jax": "0123456789ab"}
    here = node.tools()
    assert node.misfits(post, "", launcher, []) == [
        f"{NODE}jax {here['jax']} is installed there, but 0.0.1 where the launch was started. "
        f"Install the same version on both.",
        f"{NODE}code of tfc_jax {here['code of tfc_jax']} is installed there, but 0123456789ab "
        f"where the launch was started. Install the same version on both.",
    ]


def test_a_tool_that_is_not_there_is_named(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "DISTRIBUTIONS", ("tfc_jax", "jaks"))
    (said,) = node.misfits(post, "", node.tools() | {"jaks": "1.0"}, [])
    assert said.startswith(f"{NODE}jaks nothing is installed there, but 1.0")


def test_another_character_in_the_code_of_this_package_is_another_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "HERE", tmp_path)
    codes = set()
    for text in ("a = 1\n", "a = 2\n"):
        (tmp_path / "a.py").write_text(text)
        node._code.cache_clear()
        codes.add(node.tools()["code of tfc_jax"])
    node._code.cache_clear()
    assert len(codes) == 2


def test_a_data_set_that_is_absent_or_another_is_named(post: Post, archive: Path) -> None:
    needed = wanted(archive)
    write(archive, 1)
    data.loaded.cache_clear()
    (said,) = node.misfits(post, "", node.tools(), needed)
    assert said.startswith(f"{NODE}npz:{archive} has other content there (SHA-256 ")
    archive.unlink()
    data.loaded.cache_clear()
    (said,) = node.misfits(post, "", node.tools(), needed)
    assert said.startswith(f"{NODE}npz:{archive} cannot be loaded there: ")


def test_a_machine_that_cannot_use_the_object_store_is_named(
    post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "s3://bucket/results"
    (said,) = node.misfits(Post(tmp_path / "elsewhere", "probe"), url, {}, [])
    assert "Set TFC_CACHE, for the launch, to a folder on a file system that all nodes" in said
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (said,) = node.misfits(post, url, node.tools(), [])
    assert said.startswith(f"{NODE}it cannot store results there: {url}: no valid credentials")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Local]:
    """An object store that may be killed."""
    with running(tmp_path / "store") as server:
        yield server


@pytest.fixture
def url(store: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setattr(node, "_usable", set[str]())
    monkeypatch.setenv("TFC_STORE_SECONDS", "0.3")
    return fresh_place(monkeypatch, store, tmp_path / "cache", "x").url


def test_a_store_that_cannot_be_reached_keeps_no_machine_from_a_pack_but_from_a_launch(
    post: Post, store: Local, url: str
) -> None:
    of_a_pack, here = Post(post.path, "0123456789ab"), node.tools()
    store.kill()
    (said,) = node.misfits(post, url, here, [])
    assert said.startswith(f"{NODE}it cannot store results there: {url}: the object store cannot")
    order = remote.Order("", str(post.path), os.getcwd(), {}, False, None, url, here, [])
    assert remote.look(order.to_json()) == [said]
    assert node.misfits(of_a_pack, url, here, []) == []
    store.start("forbid")  # which the process has not learned yet
    for asks in (post, of_a_pack):
        (said,) = node.misfits(asks, url, here, [])
        assert said.startswith(f"{NODE}it cannot store results there: {url}: permission denied")


def test_a_store_that_was_not_usable_is_asked_again_one_that_was_is_not(
    post: Post, store: Local, url: str
) -> None:
    here = node.tools()
    for fault in ("forbid", "ignore"):
        store.kill()
        store.start(fault)
        assert len(node.misfits(post, url, here, [])) == 1
    store.kill()
    store.start()
    assert node.misfits(post, url, here, []) == []
    store.kill()
    assert node.misfits(post, url, here, []) == []
    store.start()


def test_a_bucket_that_is_missing_keeps_a_machine_from_a_pack(post: Post, url: str) -> None:
    of_a_pack = Post(post.path, "0123456789ab")
    (said,) = node.misfits(of_a_pack, "s3://absent/x", node.tools(), [])
    assert "there is no bucket absent" in said


def test_results_that_are_not_seen_or_not_writable_are_named(
    post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (said,) = node.misfits(Post(tmp_path / "elsewhere", "probe"), "", {}, [])
    assert said.startswith(f"{NODE}it does not see {tmp_path / 'elsewhere'}, where this launch")

    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    (said,) = node.misfits(post, "", {}, [])
    assert said.startswith(f"{NODE}it cannot write in {post.path} (Permission denied).")
