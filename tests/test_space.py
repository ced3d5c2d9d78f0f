"""What is still to be written against what is free."""

import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sweeps import CPU, make_sweep, train
from tfc_jax import estimate, space
from tfc_jax.errors import InputError
from tfc_jax.launch import plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.plan import Plan, make_plan

Usage = namedtuple("Usage", "total used free")
SetFree = Callable[[float], None]
NOWHERE = Folder(Path("nowhere"))


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> SetFree:
    def set_to(free: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**60, 0, int(free)))

    return set_to


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(make_sweep(tmp_path), platform="cpu", width=3)


def done(plan: Plan, steps: int) -> Plan:
    packs = tuple(replace(pack, steps_done=steps) for pack in plan.packs)
    return Plan(plan.sweep, plan.platform, packs)


def test_a_sweep_that_surely_does_not_fit_is_refused_and_leaves_no_trace(
    tmp_path: Path, plan: Plan, set_free: SetFree
) -> None:
    set_free(space.left_bytes(plan, NOWHERE) * 0.49)
    with pytest.raises(InputError, match=r"still to be written, but .* free.*--out.*--limit"):
        train(plan.sweep, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()
    set_free(space.left_bytes(plan, NOWHERE) * 0.51)
    assert train(plan.sweep, tmp_path / "deep" / "out") == {"done": 6}


def test_only_what_is_left_counts(plan: Plan) -> None:
    whole = space.left_bytes(plan, NOWHERE)
    half = space.left_bytes(done(plan, 30), NOWHERE)
    assert space.left_bytes(done(plan, 60), NOWHERE) == 0
    assert 0 < half < whole
    record, steps = plan.sweep.record, plan.sweep.steps
    assert whole == sum(pack.disk_bytes(record, steps) for pack in plan.packs)


def test_what_a_longer_launch_adds_to_the_folder_is_what_its_plan_says(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said, grown = [], []
    for steps in (60, 80, 100):
        sweep = make_sweep(tmp_path, base={"steps": steps})
        before = size_of(out)
        said.append(space.left_bytes(plan_sweep(sweep, Folder(out), Options(), CPU), Folder(out)))
        train(sweep, out, width=6)
        grown.append(size_of(out) - before)
    # The second launch leaves a second checkpoint, the third one takes the place of the first.
    assert space.LEAST_SHARE < grown[1] / said[1] < 1.5
    assert said[2] < said[1] / 10
    assert grown[2] < grown[1] / 2


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_finished_sweep_is_never_too_large(tmp_path: Path, plan: Plan, set_free: SetFree) -> None:
    train(plan.sweep, tmp_path / "out")
    set_free(0)
    assert train(plan.sweep, tmp_path / "out") == {"done": 6}


def test_what_fresh_deletes_is_free_then(tmp_path: Path, plan: Plan, set_free: SetFree) -> None:
    train(plan.sweep, tmp_path / "out")
    size = size_of(tmp_path / "out")
    set_free(0)
    space.check_fits(
        plan, Folder(tmp_path / "out"), fresh=size > space.left_bytes(plan, NOWHERE) / 2
    )
    with pytest.raises(InputError, match="still to be written"):
        space.check_fits(plan, Folder(tmp_path / "out"), fresh=False)


def test_a_plan_says_what_is_free_and_when_that_may_be_too_little(
    tmp_path: Path, plan: Plan, set_free: SetFree
) -> None:
    folder = Folder(tmp_path / "absent" / "out")
    set_free(3.4 * 2**30)
    assert "MiB still to be written, 3.4 GiB free." in space.as_text(plan, folder)
    assert "may not fit" not in space.as_text(plan, folder)
    set_free(space.left_bytes(plan, NOWHERE) * 0.9)
    assert "may not fit" in space.as_text(plan, folder)


def test_what_stands_on_the_disk_in_the_end_is_what_was_estimated(
    tmp_path: Path, plan: Plan
) -> None:
    sweep = make_sweep(tmp_path, base={"steps": 600}, record={"metrics": "all", "every": 1})
    planned = make_plan(sweep, platform="cpu", width=6)
    train(sweep, tmp_path / "out", width=6)
    folders = ("steps", "layers", "probe", "checkpoints", "params")
    files = [p for f in folders for p in (tmp_path / "out" / f).glob("*-*")]
    files += (tmp_path / "out" / "params").glob("*.npz")
    written = sum(path.stat().st_size for path in files)
    assert space.LEAST_SHARE < written / space.left_bytes(planned, NOWHERE) < 1.5
    assert estimate.HEADINGS[-1] == "disk"


def test_what_fresh_does_not_delete_makes_no_room(
    tmp_path: Path, plan: Plan, set_free: SetFree
) -> None:
    folder, set_to = Folder(tmp_path / "out"), space.left_bytes(plan, NOWHERE) * 0.4
    set_free(set_to)
    for name in ("notes.bin", "params/notes.bin"):
        (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / name).write_bytes(bytes(10**7))
    with pytest.raises(InputError, match="still to be written"):
        space.check_fits(plan, folder, fresh=True)
    (folder.params / "0123456789ab.npz").write_bytes(bytes(10**7))
    space.check_fits(plan, folder, fresh=True)
