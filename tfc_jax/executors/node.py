"""Whether a machine can train the packs of a launch as the launcher's would: looked at there.

Imports no JAX, so that a machine is looked at in a second or two.
"""

import hashlib
import logging
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tfc_jax import data
from tfc_jax.errors import InputError
from tfc_jax.executors.channel import Post
from tfc_jax.task import Task

# Where these differ, so may numbers; and what a task says to one it may not say to another.
DISTRIBUTIONS = ("tfc_jax", "jax", "jaxlib", "flax", "optax", "numpy")
HERE = Path(__file__).parents[1]
LOOKING = "probe"  # instead of a pack, for a machine that is asked before any begins

logger = logging.getLogger(__name__)
_usable: set[str] = set()  # stores that this process has tried


def tools() -> dict[str, str]:
    """Returns the versions of what trains here, and a hash of the code of this package."""
    python = ".".join(platform.python_version_tuple()[:2])
    libraries = {library: _version(library) for library in DISTRIBUTIONS}
    return {"Python": python, **libraries, "code of tfc_jax": _code()}


def wanted_data(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Returns the data sets that tasks need, each once, with their hashes; JSON-able."""
    wanted = {}
    for task in tasks:
        run = task.runs[0]
        key = (run.dataset, run.n_train, run.classes, run.difficulty)
        wanted[key] = task.dataset_sha256
    names = ("name", "n_train", "classes", "difficulty", "sha256")
    return [dict(zip(names, (*key, digest), strict=True)) for key, digest in wanted.items()]


def misfits(
    post: Post, url: str, launcher: Mapping[str, str], wanted: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Returns why this machine must not train, one sentence each that names it.

    Args:
      post: into the results folder, or the copy of it that the launcher writes; of the pack that
        is about to begin, or LOOKING.
      url: of results in an object store, else empty.
      launcher: what `tools` returned where the launch was planned.
      wanted: of `wanted_data`.
    """
    found = list(_misfits_of_folder(post, url))
    if not found:
        store = _misfits_of_store(url, is_first=post.pack == LOOKING)
        found = [*_misfits_of_tools(launcher), *_misfits_of(wanted), *store]
    return [f"{name()}: {one}" for one in found]


def name() -> str:
    """Returns how messages call this machine."""
    return f"node {platform.node()}"


def _misfits_of_folder(post: Post, url: str) -> Iterator[str]:
    if not post.is_seen and url:
        yield (
            "it does not see the folder through which the launch speaks to its workers. Set "
            "TFC_CACHE, for the launch, to a folder on a file system that all nodes share."
        )
        return
    if not post.is_seen:
        yield (
            f"it does not see {post.path}, where this launch stores its results. Give an --out on "
            f"a file system that all nodes share."
        )
        return
    probe = post.path / f"probe-{platform.node()}-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        yield (
            f"it cannot write in {post.path} ({error.strerror or error}). Give an --out in which "
            f"all nodes may write."
        )


def _misfits_of_tools(launcher: Mapping[str, str]) -> Iterator[str]:
    for tool, here in tools().items():
        if here != launcher[tool]:
            yield (
                f"{tool} {here} is installed there, but {launcher[tool]} where the launch was "
                f"started. Install the same version on both."
            )


def _misfits_of(wanted: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in wanted:
        try:
            parts = (one[part] for part in ("name", "n_train", "classes", "difficulty"))
            digest = data.loaded(*parts).sha256
        except Exception as error:  # whatever is wrong with files that only that node has
            yield f"{one['name']} cannot be loaded there: {' '.join(str(error).split())}"
            continue
        if one["sha256"] not in ("", digest):
            yield (
                f"{one['name']} has other content there (SHA-256 {digest[:12]}, not "
                f"{one['sha256'][:12]}). Copy the data set of the launcher's machine."
            )


def _misfits_of_store(url: str, *, is_first: bool) -> Iterator[str]:
    """Asked in a process until the answer is yes; keys and options are those of its environment.

    An outage is no reason where packs may be half done elsewhere: it ends nobody's launch. The pack
    asks again when it is compiled, and fails alone if the outage lasts so long.
    """
    if not url or url in _usable:
        return
    from tfc_jax.objects.bucket import Bucket
    from tfc_jax.objects.place import place_at
    from tfc_jax.objects.probe import check_conditions
    from tfc_jax.objects.refusals import Outage

    try:
        check_conditions(Bucket(place_at(url)))
    except InputError as error:
        if is_first or not isinstance(error, Outage):
            yield f"it cannot store results there: {error}"
            return
        logger.warning("%s: %s", name(), error)
    else:
        _usable.add(url)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "nothing"


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(HERE.rglob("*.py")):
        digest.update(f"{path.relative_to(HERE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
