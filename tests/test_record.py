"""What is recorded: the section's rules, and which steps are measured."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfc_jax import record, registry
from tfc_jax.errors import InputError
from tfc_jax.record import PerDecade, Record, read_record
from tfc_jax.yaml_source import Problems, parse

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PROBE = registry.names("probes")[0]


def read(text: str) -> Record:
    problems = Problems()
    found = read_record(parse(text, "s", problems), problems)
    problems.raise_if_any()
    return found


def test_what_is_not_said_is_default() -> None:
    assert read("") == read("{}") == read_record(None, Problems()) == Record()
    assert read("every: 5") == Record(every=5)
    metrics = ("similarity", "gradients", "norms", "units")
    assert Record() == Record(1, 100, 512, metrics, ("generalization",))


def test_every_key_is_read() -> None:
    text = "{every: {log: 40}, probe_every: 7, probe_samples: 9, metrics: [], probes: all}"
    assert read(text) == Record(PerDecade(40), 7, 9, (), registry.names("probes"))
    assert read(f"probes: [{PROBE}]").probes == (PROBE,)
    assert read("metrics: all").metrics == registry.names("metrics")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("3", ["record: 3 came.", "every, probe_every, probe_samples, metrics, probes"]),
        ("evry: 3", ["unknown key 'evry' in record.", "Did you mean 'every'?"]),
        ("every: 0", ["record.every: 0 came.", "a whole number >= 1", "{log: n}"]),
        ("every: 1.5", ["record.every: 1.5 came."]),
        ("every: {lg: 3}", ["record.every: a mapping of lg came.", "{log: n}"]),
        ("every: {log: 3, lin: 2}", ["a mapping of log, lin came."]),
        ("every: {}", ["a mapping of nothing came."]),
        ("every: {log: 0}", ["record.every.log: 0 came.", ">= 1 and <= 1000"]),
        ("every: {log: 1001}", ["record.every.log: 1001 came."]),
        ("every: {log: [1]}", ["record.every.log: a list of 1 value came."]),
        ("probe_every: null", ["record.probe_every: null came."]),
        ("probe_samples: 1", ["record.probe_samples: 1 came.", "a whole number >= 2"]),
        ("metrics: similarity", ["record.metrics: the text 'similarity' came.", "all, or a list"]),
        ("probes: [generalisation]", ["unknown probe 'generalisation' in record.probes.", PROBE]),
        ("probes: [3]", ["unknown probe 3 in record.probes. Available:"]),
        (f"probes: [{PROBE}, {PROBE}]", [f"record.probes: '{PROBE}' comes twice."]),
    ],
)
def test_a_wrong_record_is_refused(text: str, parts: list[str]) -> None:
    with pytest.raises(InputError) as error:
        read(text)
    for part in parts:
        assert part in str(error.value)


def test_every_unknown_metric_is_named_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = {"metrics": ("gradients", "similarity")}
    monkeypatch.setattr(registry, "names", lambda folder: folders[folder])
    with pytest.raises(InputError) as error:
        read("metrics: [similarty, gradients, gradient]")
    assert error.value.messages == (
        "s:1: unknown metric 'similarty' in record.metrics. Did you mean 'similarity'? "
        "Available: gradients, similarity.",
        "s:1: unknown metric 'gradient' in record.metrics. Did you mean 'gradients'? "
        "Available: gradients, similarity.",
    )


def test_every_k_steps_starts_at_step_0() -> None:
    assert Record(every=3).measured_steps(0, 10) == [0, 3, 6, 9]
    assert Record(every=3).measured_steps(4, 9) == [6]
    assert Record(every=3).measured_steps(3, 4) == [3]
    assert Record(every=3).measured_steps(5, 5) == []


def test_records_per_decade_are_rounded_powers_and_step_0() -> None:
    # 10^(i/4): 1, 1.78, 3.16, 5.62, 10, 17.8, 31.6, 56.2, 100
    assert Record(every=PerDecade(4)).measured_steps(0, 101) == [0, 1, 2, 3, 6, 10, 18, 32, 56, 100]


def test_one_record_per_decade_is_every_power_of_ten() -> None:
    found = Record(every=PerDecade(1))
    assert found.measured_steps(0, 1001) == [0, 1, 10, 100, 1000]
    assert [step for step in range(1001) if found.measured(step)] == [0, 1, 10, 100, 1000]


def test_dense_records_take_every_step_and_no_step_twice() -> None:
    assert Record(every=PerDecade(100)).measured_steps(0, 20) == list(range(20))


schedules = st.one_of(st.integers(1, 30), st.integers(1, record.MAX_PER_DECADE).map(PerDecade)).map(
    lambda every: Record(every=every)
)


@untimed
@given(schedules, st.integers(0, 3000), st.integers(0, 300))
def test_a_span_of_steps_agrees_with_asking_step_by_step(
    found: Record, start: int, length: int
) -> None:
    stop = start + length
    assert found.measured_steps(start, stop) == [
        step for step in range(start, stop) if found.measured(step)
    ]


@untimed
@given(st.integers(1, record.MAX_PER_DECADE), st.integers(1, 10**6))
def test_a_step_is_measured_exactly_if_a_power_rounds_to_it(log: int, step: int) -> None:
    powers = {round(10 ** (i / log)) for i in range(7 * log)}
    assert Record(every=PerDecade(log)).measured(step) == (step in powers)
