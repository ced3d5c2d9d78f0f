"""Valid sweeps after accidents: each is read or refused in sentences, none raises, none hangs."""

import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults import wild
from tests.faults.tally import Tally, Tries
from tfc_jax import axis_values, grid, refine_section, sections
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.errors import LONGEST, InputError

BATCH = 100  # cases of one seed
PATIENCE = 60  # seconds for a batch: a guard against hangs, no measurement
FEW_RUNS = 2000  # allowed here, so that a huge sweep is one of thousands


class Hang(BaseException):
    """Nothing that is meant for errors may catch it."""


@contextmanager
def patience() -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(path: Path, chance: random.Random) -> str:
    """Reads one wild sweep; returns what came of it.

    Raises:
      AssertionError: a message that is none.
    """
    path.write_bytes(wild.mutated(chance))
    overrides = [wild.override(chance)] if chance.random() < 0.1 else []
    where = wild.expression(chance) if chance.random() < 0.1 else None
    try:
        sweep = load_sweep(path, overrides=overrides, where=where, limit=4)
    except InputError as error:
        check(error.messages, str(path))
        return "refused"
    assert isinstance(sweep, Sweep)
    assert len(sweep.runs) >= 1
    return "read"


def check(messages: tuple[str, ...], path: str) -> None:
    """Each is one printable line that says where; raises AssertionError otherwise."""
    assert messages
    for message in messages:
        assert message.isprintable()
        assert 10 < len(message) <= LONGEST
        assert message.startswith((path, "--set", "--filter")) or "left out" in message


def test_wild_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: Tries, tally: Tally
) -> None:
    for module in (axis_values, grid, refine_section, sections):
        monkeypatch.setattr(module, "MAX_RUNS", FEW_RUNS)
    counts: Counter[str] = Counter()
    bad: list[str] = []
    path = tmp_path / "s.yaml"

    @settings(
        max_examples=tries(200, 10_000),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**63))
    def batch(seed: int) -> None:
        chance = random.Random(seed)
        with patience():
            for _ in range(BATCH):
                try:
                    counts[outcome(path, chance)] += 1
                except AssertionError as error:
                    bad.append(f"{path.read_bytes()!r}: {error}")
                    tally.wrong += 1
                except Exception as error:
                    bad.append(f"{path.read_bytes()!r}: {error!r}")
                    tally.tracebacks += 1

    batch()
    tally.tried = counts.total() + len(bad)
    assert not bad[:5]
    assert tally.tried >= tries(20_000, 1_000_000)
    assert min(counts["read"], counts["refused"]) > tally.tried / 50, counts


def test_the_guard_against_hangs_ends_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def soon(seconds: int) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01 if seconds else 0)

    monkeypatch.setattr(signal, "alarm", soon)
    with pytest.raises(Hang), patience():
        signal.pause()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0), "it would end the whole process"
