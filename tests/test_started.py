"""Packs of earlier launches where they are many: the sweep's own runs, found by their ids."""

from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.sweeps import AXES, make_sweep, train
from tfc_jax import started
from tfc_jax.layout import Folder
from tfc_jax.pack import Pack
from tfc_jax.plan import make_plan
from tfc_jax.results import Results
from tfc_jax.started import started_packs


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 runs in 2 packs."""
    folder = tmp_path_factory.mktemp("started")
    train(make_sweep(folder), folder / "out")
    return folder / "out"


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started, "CHECKED_WHOLE", 0)


SWEEPS: dict[str, dict[str, Any]] = {
    "the same": {},
    "fewer runs": {"grid": AXES | {"init_scale": [0.8]}},
    "more runs": {"seeds": 2},
    "other runs": {"grid": AXES | {"init_scale": [2.0]}},
    "some others": {"grid": AXES | {"learning_rate": [0.05, 0.3]}},
    "more steps": {"base": {"steps": 80}},
}


@pytest.mark.parametrize("sections", SWEEPS.values(), ids=SWEEPS)
def test_plans_of_many_packs_are_those_of_few(
    out: Path, tmp_path: Path, sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, plans = make_sweep(tmp_path, **sections), []
    for checked_whole in (0, 100):
        monkeypatch.setattr(started, "CHECKED_WHOLE", checked_whole)
        packs = make_plan(
            sweep, platform="cpu", width=3, started=list(started_packs(Folder(out), sweep))
        ).packs
        plans.append([described(pack) for pack in packs])
    assert plans[0] == plans[1]
    wanted = {run.identity for run in sweep.runs}
    assert wanted <= {identity for pack in plans[0] for identity in pack[1]}


def described(pack: Pack) -> tuple[tuple[object, ...], list[Hashable]]:
    told = (pack.id, pack.width, pack.schedule, pack.steps_done, pack.failed, pack.settled)
    return told, [run.identity for run in pack.runs]


@pytest.mark.usefixtures("many")
def test_packs_have_the_runs_of_the_sweep_themselves(out: Path, tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    own = {id(run) for run in sweep.runs}
    assert {id(run) for pack in started_packs(Folder(out), sweep) for run in pack.runs} == own


@pytest.mark.usefixtures("many")
def test_keys_are_read_only_where_the_sweep_does_not_have_a_run(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, original = Counter[str](), pq.ParquetFile.read

    def noting(file: pq.ParquetFile, columns: list[str], **options: object) -> object:
        read.update(columns)
        return original(file, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read", noting)
    list(started_packs(Folder(out), make_sweep(tmp_path)))
    assert read["run_id"]
    assert not read["init_scale"]
    fewer = make_sweep(tmp_path, grid=AXES | {"init_scale": [0.8]})
    assert {run.init_scale for p in started_packs(Folder(out), fewer) for run in p.runs} == {0.8, 1}
    assert read["init_scale"]


@pytest.mark.usefixtures("many")
def test_a_launch_over_many_packs_trains_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    assert train(make_sweep(tmp_path, seeds=2), tmp_path / "out") == {"done": 12}
    before = Results(Folder(tmp_path / "out")).runs
    assert train(make_sweep(tmp_path, seeds=3), tmp_path / "out") == {"done": 18}
    after = Results(Folder(tmp_path / "out")).runs.set_index("run_id")
    assert after["wall_s"][before["run_id"]].tolist() == before["wall_s"].tolist()
