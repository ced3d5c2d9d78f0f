"""Where chunks begin and end: every step once, none measured that is not due."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfc_jax.record import PerDecade, Record
from tfc_jax.timetable import LONGEST_CHUNK, Span, chunk_records, chunk_steps, next_probe, spans

untimed = settings(deadline=None)
records = st.builds(
    Record,
    every=st.one_of(st.integers(1, 600), st.builds(PerDecade, st.integers(1, 1000))),
    probe_every=st.integers(1, 600),
    metrics=st.sampled_from([(), ("norms",)]),
    probes=st.sampled_from([(), ("generalization",)]),
)
steps = st.integers(0, 5000)


@given(records, steps, st.integers(0, 1500))
@untimed
def test_chunks_cover_every_step_once(record: Record, start: int, n_steps: int) -> None:
    chunks = list(spans(record, start, start + n_steps))
    covered = [step for span in chunks for step in range(span.start, span.stop)]
    assert covered == list(range(start, start + n_steps))
    assert all(0 < span.stop - span.start <= chunk_steps(record) for span in chunks)


@given(records, steps, st.integers(0, 1500))
@untimed
def test_a_chunk_ends_wherever_a_probe_is_due(record: Record, start: int, n_steps: int) -> None:
    stops = {span.stop for span in spans(record, start, start + n_steps)}
    due = range(0, start + n_steps + 1, record.probe_every)
    assert not record.probes or stops >= {step for step in due if step > start}


def test_without_probes_chunks_are_as_long_as_they_may_be() -> None:
    record = Record(probe_every=40, probes=())
    stops = [span.stop for span in spans(record, 5, 2 * LONGEST_CHUNK + 7)]
    assert stops == [5 + LONGEST_CHUNK, 5 + 2 * LONGEST_CHUNK, 2 * LONGEST_CHUNK + 7]


@given(records, steps, st.integers(0, 1500))
@untimed
def test_the_measured_steps_are_those_of_the_record(
    record: Record, start: int, n_steps: int
) -> None:
    chunks = list(spans(record, start, start + n_steps))
    measured = [step for span in chunks for step in span.measured]
    due = [step for step in range(start, start + n_steps) if record.measured(step)]
    assert measured == (due if record.metrics else [])


@given(records, steps, st.integers(1, 1500))
@untimed
def test_lead_measured_steps_and_gaps_add_up(record: Record, start: int, n_steps: int) -> None:
    for span in spans(record, start, start + n_steps):
        walked, step = [], span.start + span.lead
        for gap in span.gaps:
            walked.append(step)
            step += 1 + gap
        assert tuple(walked) == span.measured
        assert step == span.stop
        assert min((span.lead, *span.gaps)) >= 0


@given(records, steps)
@untimed
def test_no_chunk_holds_more_records_than_there_is_room_for(record: Record, start: int) -> None:
    most = max(len(span.measured) for span in spans(record, start, start + 1000))
    assert most <= chunk_records(record)


@pytest.mark.parametrize("probes", [(), ("generalization",)])
def test_the_first_chunk_is_the_densest_for_every_logarithmic_record(
    probes: tuple[str, ...],
) -> None:
    for log in range(1, 1001):
        record = Record(every=PerDecade(log), probes=probes)
        measured = record.measured_steps(0, 3000)
        room = chunk_records(record)
        # Of room + 1 measured steps in a row, the last is out of the first one's chunk.
        spread = zip(measured, measured[room:], strict=False)
        assert all(last - first >= chunk_steps(record) for first, last in spread), log


def test_chunks_go_on_where_they_were_interrupted() -> None:
    record = Record(every=7, probe_every=40)
    whole = list(spans(record, 0, 200))
    for i, span in enumerate(whole):
        assert list(spans(record, span.start, 200)) == whole[i:]


def test_the_next_probe_is_later() -> None:
    record = Record(probe_every=40)
    assert [next_probe(record, step) for step in (0, 39, 40, 41)] == [40, 40, 80, 80]


def test_a_chunk_by_hand() -> None:
    record = Record(every=3, probe_every=10)
    assert list(spans(record, 4, 13)) == [Span(4, 10, (6, 9)), Span(10, 13, (12,))]
    first, second = spans(record, 4, 13)
    assert (first.lead, first.gaps) == (2, (2, 0))
    assert (second.lead, second.gaps) == (2, (0,))
    unmeasured = Span(0, 5, ())
    assert (unmeasured.lead, unmeasured.gaps) == (5, ())


cuts = st.sets(st.integers(0, 6500), max_size=6)


@given(records, steps, st.integers(0, 1500), cuts)
@untimed
def test_a_chunk_ends_before_every_cut_and_no_other_rule_is_broken(
    record: Record, start: int, n_steps: int, cuts: set[int]
) -> None:
    stop = start + n_steps
    chunks = list(spans(record, start, stop, cuts))
    covered = [step for span in chunks for step in range(span.start, span.stop)]
    assert covered == list(range(start, stop))
    assert all(0 < span.stop - span.start <= chunk_steps(record) for span in chunks)
    assert {cut for cut in cuts if start <= cut < stop} <= {span.start for span in chunks}
    uncut = list(spans(record, start, stop))
    assert [s for span in chunks for s in span.measured] == [s for a in uncut for s in a.measured]
    assert not record.probes or {a.stop for a in uncut if a.stop % record.probe_every == 0} <= {
        span.stop for span in chunks
    }


@given(records, steps, cuts)
@untimed
def test_cut_chunks_have_room_for_their_records(record: Record, start: int, cuts: set[int]) -> None:
    found = spans(record, start, start + 1000, cuts)
    assert max(len(span.measured) for span in found) <= chunk_records(record)


def test_cut_chunks_go_on_where_they_were_interrupted() -> None:
    record, cuts = Record(every=7, probe_every=40), {3, 60, 61, 120}
    whole = list(spans(record, 0, 200, cuts))
    for i, span in enumerate(whole):
        assert list(spans(record, span.start, 200, cuts)) == whole[i:]


def test_a_cut_by_hand() -> None:
    record = Record(every=3, probe_every=10)
    found = list(spans(record, 4, 13, {4, 6, 13, 20}))
    assert found == [Span(4, 6, ()), Span(6, 10, (6, 9)), Span(10, 13, (12,))]
    alone = list(spans(record, 4, 8, {5, 6}))
    assert [(span.start, span.stop) for span in alone] == [(4, 5), (5, 6), (6, 8)]
