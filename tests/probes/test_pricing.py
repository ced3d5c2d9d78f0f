"""What probes cost in a plan: arithmetic by their own formulas, values as they are written."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.sweeps import make_sweep
from tfc_jax import registry
from tfc_jax.config import Sweep
from tfc_jax.estimate import program_rows
from tfc_jax.plan import Plan, make_plan
from tfc_jax.pricing import values_per_look, values_stored
from tfc_jax.schema import MOST_UNITS, result_columns

L, H, K = 4, 16, 10


def planned(sweep: Sweep) -> Plan:
    return make_plan(sweep, platform="cpu", width=2)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Two runs of 60 steps, with a look at 64 samples every 20."""
    return make_sweep(tmp_path, base={"depth": L, "width": H}, grid={}, seeds=2)


def test_every_look_of_every_run_is_priced(sweep: Sweep) -> None:
    pack = planned(sweep).packs[0]
    price = registry.module("probes", "generalization").flops(64, pack.program.sizes)
    assert pack.probe_flops(sweep.record, 60) == 2 * 4 * price  # at 0, 20, 40, 60
    assert pack.probe_flops(sweep.record, 59) == 2 * 3 * price
    assert replace(pack, steps_done=20).probe_flops(sweep.record, 60) == 2 * 2 * price
    assert replace(pack, steps_done=60).probe_flops(sweep.record, 60) == 0
    training = pack.training_flops(sweep.record, 60)
    assert pack.flops(sweep.record, 60) == pytest.approx(training + 2 * 4 * price)


def test_looks_beyond_the_end_cost_nothing(sweep: Sweep) -> None:
    assert replace(planned(sweep).packs[0], steps_done=80).probe_flops(sweep.record, 60) == 0


def test_no_more_samples_are_priced_than_there_are(sweep: Sweep) -> None:
    pack = planned(sweep).packs[0]
    all_200, more = (replace(sweep.record, probe_samples=n) for n in (200, 1000))
    assert pack.probe_flops(all_200, 60) == pack.probe_flops(more, 60)


def test_time_grows_by_what_the_probes_take(sweep: Sweep) -> None:
    pack, bare = planned(sweep).packs[0], replace(sweep.record, probes=())
    probes = pack.probe_seconds(sweep.record, 60, "cpu")
    assert probes > 0
    without = pack.seconds(bare, 60, "cpu")
    assert pack.seconds(sweep.record, 60, "cpu") == pytest.approx(without + probes)


def test_the_table_of_a_plan_shows_the_probes_share(sweep: Sweep) -> None:
    def shown(record: dict) -> str:
        asked = replace(sweep, record=replace(sweep.record, **record))
        return str(program_rows(planned(asked), 1, measure=False)[0]["probes"])

    everything = {"probes": registry.names("probes"), "probe_every": 1}
    assert shown({"probes": ()}) == "0 %"
    assert int(shown(everything).removesuffix(" %")) > 50


def test_a_look_holds_its_columns_times_its_rows(sweep: Sweep) -> None:
    network = planned(sweep).packs[0].program.network
    rows = {"probe": 1, "probe_layers": L, "classes": L * K**2, "features": H * 2 * K}
    for name in registry.names("probes"):
        record = replace(sweep.record, probes=(name,))
        columns = result_columns(record)
        expected = sum(rows[t] * len(columns.get(t, ())) for t in rows)
        assert values_per_look(record, network) == expected > 0
        per_step = 3 * 60
        assert values_stored(record, 60, network) == per_step + 4 * expected


def test_networks_without_hidden_units_and_regressions_have_their_rows(sweep: Sweep) -> None:
    network, record = planned(sweep).packs[0].program.network, sweep.record
    record = replace(record, probes=("salient",))
    flat = replace(network, run=replace(network.run, depth=1))
    assert values_per_look(record, flat) == 3 * K * 2 * K
    regression = replace(network, n_outputs=1, n_classes=0)
    assert values_per_look(record, regression) == 3 * H * 20
    wide = replace(network, run=replace(network.run, width=MOST_UNITS + 1))
    assert values_per_look(record, wide) == 3 * MOST_UNITS * 2 * K
