"""What a launch refuses, and that it has changed nothing then; --fresh among it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps import make_sweep, read_rows, train
from tfc_jax import devices
from tfc_jax.config import Sweep
from tfc_jax.errors import InputError

DONE = Counter(done=6)


def files(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_another_record_is_refused_with_the_remedy(out: Path, tmp_path: Path) -> None:
    before = files(out)
    records: list[dict[str, Any]] = [{"every": 5}, {"probes": []}, {"probe_samples": 32}]
    for record in records:
        with pytest.raises(InputError) as error:
            train(make_sweep(tmp_path, record=record), out)
        assert f"record.{next(iter(record))}" in str(error.value)
        assert "--out" in str(error.value)
        assert "--fresh" in str(error.value)
    assert files(out) == before


def test_bad_input_leaves_no_trace(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, base={"n_train": None, "batch_size": 2000})
    with pytest.raises(InputError, match="batch_size"):
        train(sweep, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_more_workers_than_gpus_are_refused(tmp_path: Path, sweep: Sweep) -> None:
    with pytest.raises(InputError, match=r"--workers: 3 came.*2 gpu devices"):
        train(sweep, tmp_path / "out", workers=3, found=devices.Devices("gpu", (0, 1)))
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"cannot be written here.*--out"):
            train(sweep, place)


def test_fresh_starts_over_with_another_record(out: Path, tmp_path: Path) -> None:
    (out / "report.html").touch()
    assert train(make_sweep(tmp_path, record={"every": 5}), out, fresh=True) == DONE
    assert not (out / "report.html").exists()
    assert len(read_rows(out / "steps")) == 6 * 60


def test_fresh_deletes_nothing_before_bad_input_is_refused(out: Path, tmp_path: Path) -> None:
    before = files(out)
    sweep = make_sweep(tmp_path, base={"n_train": None, "batch_size": 2000})
    with pytest.raises(InputError, match="batch_size"):
        train(sweep, out, fresh=True)
    assert files(out) == before


def test_fresh_deletes_nothing_that_is_not_ours(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        train(sweep, tmp_path / "thesis", fresh=True)
    assert list((tmp_path / "thesis").iterdir()) == [tmp_path / "thesis" / "chapter.tex"]
