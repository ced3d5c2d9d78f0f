"""What else is done with results while, or after, workers elsewhere write them."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.executors.engines import Inline, Train, as_a_worker, fly, shortened
from tests.sweeps import content, train
from tfc_jax import folder_tables, fsck
from tfc_jax.compact import compact
from tfc_jax.config import Sweep
from tfc_jax.executors import channel, remote
from tfc_jax.layout import Folder
from tfc_jax.results import open_results


class Killed(BaseException):
    """Nobody catches it."""


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    with as_a_worker():
        yield


def killed_in_the_second_pack() -> Train:
    """Its worker and the launcher end together, after a commit, and clear nothing away."""
    begun, said = list[str](), channel.Post.say

    def say(post: channel.Post, event: dict[str, Any]) -> None:
        said(post, event)
        if event["event"] == "step" and event["step"] >= 40 and len(begun) == 2:
            raise Killed

    def train_it(order: str) -> str:
        begun.append(order)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(channel.Post, "say", say)
            return remote.train(order)

    return train_it


def files_of(folder: Folder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def test_what_a_killed_launch_left_is_compacted_and_gone_on_with(
    sweep: Sweep, tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = Folder(tmp_path / "out"), list[str]()
    engine = Inline(killed_in_the_second_pack())
    monkeypatch.setattr(channel, "_drop", lambda path: None)
    with pytest.raises(Killed):
        fly(sweep, folder.root, engine, commit_seconds=0.0)
    monkeypatch.undo()
    first, second = (json.loads(order.task)["pack"] for order in engine.orders)
    assert folder.stages_of(second)
    whole = len(folder.parts_of("steps", first))

    compact(folder, told.append)
    assert told == [f"pack {second} is left as it is: `tfc run` has to go on with it first."]
    assert len(folder.parts_of("steps", first)) < whole
    before = files_of(folder)
    assert json.loads(remote.train(engine.orders[1].to_json()))["event"] == "refused"
    assert files_of(folder) == before

    assert train(sweep, folder.root) == {"done": 6}
    compact(folder, pytest.fail)
    assert content(folder.root) == content(reference)
    assert fsck.check(folder).findings == ()


def test_the_runs_table_is_gathered_while_packs_train_elsewhere(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a pack that has only begun are in the copy, and are read anew once they change."""
    monkeypatch.setattr(folder_tables, "MOST_LACKED", 1)
    folder, gather = Folder(tmp_path / "out"), folder_tables.gather_runs
    gathered, read = list[Counter[int]](), list[Counter[int]]()

    def note(place: Folder) -> None:
        gather(place)
        gathered.append(Counter(pq.read_table(place.gathered)["steps_done"].to_pylist()))

    def train_and_begin_the_next(order: str) -> str:
        later = engine.orders[len(engine.ends) + 1 :]
        for following in later:
            remote.train(shortened(following.to_json(), 20))
        end = remote.train(order)
        read.append(Counter(open_results(folder.root).runs["steps_done"].tolist()))
        return end

    monkeypatch.setattr(folder_tables, "gather_runs", note)
    engine = Inline(train_and_begin_the_next, at_a_time=2)
    assert fly(sweep, folder.root, engine, pack_width=2) == {"done": 6}
    assert read == [{60: 2, 20: 2}, {60: 4, 20: 2}, {60: 6}]
    assert gathered == [*read, {60: 6}]  # the last one as the launch ends
