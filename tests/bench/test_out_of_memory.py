"""What the accelerator's check of a full device says of two launches, here of tiny networks."""

from pathlib import Path

import pytest

from bench import out_of_memory as check


def test_a_launch_that_lacks_nothing_is_told_from_one_that_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"depth": 2, "width": 8, "batch_size": 20, "n_train": 200, "steps": 10}
    monkeypatch.setattr(check, "SWEEP", check.SWEEP | {"base": base, "seeds": 4})
    monkeypatch.setattr(check, "RUNS", 4)
    monkeypatch.setattr(check, "STEPS", 10)
    found = check.measure(tmp_path, 0.05)
    assert found == {
        "device": "cpu",
        "halved": [],
        "pack_width": 4,
        "failed": 0,
        "lost": 0,
        "doubled": 0,
        "apart": 0.0,
    }
