"""The cut into packs: a function of sweep, pack width and what was started; and what it costs."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sweeps import make_sweep
from tfc_jax import memory, registry, timetable
from tfc_jax.config import Sweep, load_sweep
from tfc_jax.devices import Devices
from tfc_jax.errors import InputError
from tfc_jax.estimate import READABLE, program_rows, summary
from tfc_jax.launch import plan_sweep
from tfc_jax.layout import Folder
from tfc_jax.options import Options
from tfc_jax.pack import LANE_BUDGET_BYTES, SCHEDULES, WIDTH_LIMITS, Pack, pack_id
from tfc_jax.plan import Plan, StartedPack, make_plan
from tfc_jax.pricing import values_stored
from tfc_jax.progress import _title

WIDTHS = WIDTH_LIMITS["cpu"]


def started(pack: Pack, steps_done: int = 60, **fields: Any) -> StartedPack:
    """A pack as an earlier launch would have stored it."""
    old = StartedPack(
        runs=pack.runs,
        width=pack.width,
        schedule=pack.schedule,
        steps_done=steps_done,
        failed=False,
        settled=True,
        dataset_sha256=pack.program.dataset.sha256,
    )
    return replace(old, **fields)


def cut(sweep: Sweep, old: Sequence[StartedPack] = (), **options: Any) -> Plan:
    return make_plan(sweep, platform="cpu", started=old, **({"width": 3} | options))


def cuts(found: Plan) -> list[list[str]]:
    return [[run.run_id for run in pack.runs] for pack in found.packs]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Two depths, four seeds: eight runs in two programs."""
    return make_sweep(tmp_path, grid={"depth": [2, 3]}, seeds=4)


def test_runs_of_a_program_are_cut_in_order_into_packs_of_the_width(sweep: Sweep) -> None:
    found = cut(sweep)
    ids = [run.run_id for run in sweep.runs]
    assert cuts(found) == [ids[0:3], ids[3:4], ids[4:7], ids[7:8]]
    assert {pack.width for pack in found.packs} == {3}  # the rest is padded
    assert found.packs[0].id == pack_id(ids[0:3])
    assert len({pack.id for pack in found.packs}) == 4
    assert [len(packs) for packs in found.programs.values()] == [2, 2]


def test_a_pack_is_named_by_its_runs_in_order() -> None:
    assert len({pack_id(ids) for ids in (["a"], ["a", "b"], ["b", "a"], ["ab"])}) == 4


def test_the_cut_does_not_depend_on_devices_workers_or_their_number(
    sweep: Sweep, tmp_path: Path
) -> None:
    found = [
        cuts(plan_sweep(sweep, Folder(tmp_path / "out"), Options(workers=n), Devices("cpu", ids)))
        for n, ids in [(None, (0,)), (0, (0, 1)), (7, tuple(range(64)))]
    ]
    assert found[0] == found[1] == found[2]


def test_traced_keys_share_a_program_and_static_ones_do_not(tmp_path: Path) -> None:
    grid = {"init_scale": [0.5, 1.0], "label_noise": [0.0, 0.1], "weight_decay": [0.0, 1e-3]}
    assert len(cut(make_sweep(tmp_path, grid=grid), width=8).packs) == 1
    assert len(cut(make_sweep(tmp_path, grid={"activation": ["relu", "tanh"]})).programs) == 2


def test_plain_sgd_and_momentum_are_two_programs(tmp_path: Path) -> None:
    found = cut(make_sweep(tmp_path, grid={"momentum": [0.0, 0.5, 0.9]}))
    assert [len(pack.runs) for pack in found.packs] == [1, 2]


@pytest.mark.parametrize("width", [2, 5, 16])
def test_started_packs_keep_their_cut_width_and_schedule(sweep: Sweep, width: int) -> None:
    first, *_ = cut(sweep).packs
    again = cut(sweep, [started(first, 20)], width=width, schedule="lockstep")
    kept = again.packs[0]
    assert (kept.id, kept.runs, kept.width) == (first.id, first.runs, 3)
    assert (kept.schedule, kept.steps_done) == ("mapped", 20)
    assert all(p.width == width and p.schedule == "lockstep" for p in again.packs[1:])
    ids = [run_id for pack in cuts(again) for run_id in pack]
    assert sorted(ids) == sorted(run.run_id for run in sweep.runs)


def test_more_seeds_make_only_new_packs(sweep: Sweep, tmp_path: Path) -> None:
    before = cut(sweep)
    more = make_sweep(tmp_path, grid={"depth": [2, 3]}, seeds=6)
    after = cut(more, [started(pack) for pack in before.packs])
    assert cuts(after)[:4] == cuts(before)
    assert [len(pack.runs) for pack in after.unfinished] == [2, 2]
    assert {run.seed for pack in after.unfinished for run in pack.runs} == {4, 5}


def test_a_value_in_the_middle_of_an_axis_makes_only_new_packs(
    sweep: Sweep, tmp_path: Path
) -> None:
    before = cut(sweep)
    more = make_sweep(tmp_path, grid={"depth": [2, 5, 3], "init_scale": [0.5, 1.0]}, seeds=4)
    after = cut(more, [started(pack) for pack in before.packs])
    assert cuts(after)[:4] == cuts(before)
    new = {run.run_id for pack in after.unfinished for run in pack.runs}
    assert new == {run.run_id for run in more.runs} - {run.run_id for run in sweep.runs}


def test_a_smaller_sweep_leaves_out_packs_without_a_wanted_run(
    sweep: Sweep, tmp_path: Path
) -> None:
    before = cut(sweep)
    fewer = make_sweep(tmp_path, grid={"depth": [3]}, seeds=1)
    after = cut(fewer, [started(pack) for pack in before.packs])
    assert cuts(after) == [cuts(before)[2]]


def test_more_steps_make_finished_packs_unfinished_and_fewer_do_not(
    sweep: Sweep, tmp_path: Path
) -> None:
    done = [started(pack, 60) for pack in cut(sweep).packs]
    assert cut(sweep, done).unfinished == ()
    longer = make_sweep(tmp_path, grid={"depth": [2, 3]}, seeds=4, base={"steps": 61})
    assert len(cut(longer, done).unfinished) == 4
    shorter = make_sweep(tmp_path, grid={"depth": [2, 3]}, seeds=4, base={"steps": 59})
    assert cut(shorter, done).unfinished == ()


def test_packs_whose_rows_do_not_say_done_are_unfinished_whatever_their_steps(
    sweep: Sweep,
) -> None:
    old = [started(pack, 60, settled=n > 0) for n, pack in enumerate(cut(sweep).packs)]
    found = cut(sweep, old)
    assert found.unfinished == found.packs[:1]


def test_failed_packs_wait_for_a_retry(sweep: Sweep) -> None:
    old = [started(pack, 20, failed=n == 0) for n, pack in enumerate(cut(sweep).packs)]
    found = cut(sweep, old)
    assert [pack.failed for pack in found.packs] == [True, False, False, False]
    assert found.packs[0] not in found.unfinished


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("width", [16, 256, 4096])
def test_the_default_width_fills_the_declared_budget(
    tmp_path: Path, platform: str, width: int
) -> None:
    sweep = make_sweep(tmp_path, base={"width": width, "momentum": 0.5}, grid={}, seeds=1)
    pack = make_plan(sweep, platform=platform).packs[0]
    low, high = WIDTH_LIMITS[platform]
    lane = pack.program.lane_bytes(sweep.record)
    budget = LANE_BUDGET_BYTES[platform]
    lanes = pack.program.width(sweep.record, platform, None, n_runs=10**6)
    assert lanes & (lanes - 1) == 0
    assert low <= lanes <= high
    assert lanes == low or lanes * lane <= budget
    assert lanes == high or 2 * lanes * lane > budget
    assert pack.width == (1 if platform == "tpu" else lanes)  # few runs share the chips of a TPU
    assert pack.schedule == SCHEDULES[platform]


def test_a_lane_holds_parameters_gradients_momentum_activations_and_records(
    tmp_path: Path,
) -> None:
    sweep = make_sweep(tmp_path, base={"momentum": 0.5}, grid={}, seeds=1)
    program = cut(sweep).packs[0].program
    n_params = 64 * 16 + 16 * 16 + 16 * 10
    activations = 20 * (64 + 16 + 16 + 10)
    records = 3 * timetable.chunk_steps(sweep.record) + 3  # loss, accuracy, prior_entropy
    records += 4  # of a probe
    assert program.sizes.n_params == n_params
    indices = 20 * timetable.chunk_steps(sweep.record)
    assert program.state_bytes(sweep.record) == 4 * (2 * n_params + records)
    assert program.work_bytes(sweep.record) == 4 * (n_params + activations + indices)
    mapped, lockstep = (cut(sweep, width=8, schedule=s).packs[0] for s in ("mapped", "lockstep"))
    one_at_a_time = lockstep.device_bytes(sweep.record) - mapped.device_bytes(sweep.record)
    assert one_at_a_time == 7 * program.work_bytes(sweep.record)


def test_max_memory_narrows_new_packs(sweep: Sweep) -> None:
    program = cut(sweep).packs[0].program
    allowed = program.shared_bytes + 5 * program.lane_bytes(sweep.record)
    found = cut(sweep, width=None, max_memory=allowed)
    widths = {pack.width for pack in found.packs}
    assert max(widths) <= 4 < WIDTHS[1]
    assert all(pack.device_bytes(sweep.record) <= allowed for pack in found.packs)


def test_too_little_memory_is_refused_with_what_is_needed(sweep: Sweep) -> None:
    with pytest.raises(InputError, match=r"l.yaml: --max-memory: 9.54e-07 GiB is al.*--pack-width"):
        cut(sweep, width=None, max_memory=2**10)
    with pytest.raises(InputError, match="--max-memory"):
        cut(sweep, width=2**15, schedule="lockstep", max_memory=2**28)


def test_everything_that_does_not_fit_its_data_is_said_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2)).astype(np.float32), rng.normal(size=30).astype(np.float32)
    np.savez(tmp_path / "line.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    line = f"npz:{tmp_path}/line.npz"
    sweep = make_sweep(
        tmp_path,
        base={"n_train": None, "batch_size": 40, "label_noise": 0.1},
        grid={"dataset": [line, "digits", f"npz:{tmp_path}/absent.npz"]},
        zip=[{"loss": ["mse", "cross_entropy"]}],
    )
    with pytest.raises(InputError) as error:
        cut(sweep)
    text = "\n".join(error.value.messages)
    for part in (
        "batch_size: 40 came, but",
        "has 30 training samples here. Use a batch_size of at most 30.",
        "loss: cross_entropy came, but",
        "label_noise:",
        "absent.npz",
    ):
        assert part in text
    assert len(set(error.value.messages)) == len(error.value.messages)


def test_what_does_not_fit_is_said_of_the_file_and_the_line_that_sets_it(tmp_path: Path) -> None:
    path = tmp_path / "vgg.yaml"
    path.write_text("name: vgg\nbase:\n  architecture: vgg11\n  dataset: digits\n  depth: 4\n")

    def said(*overrides: str) -> list[str]:
        with pytest.raises(InputError) as refused:
            make_plan(load_sweep(path, overrides=overrides), platform="cpu")
        return list(refused.value.messages)

    wrong = "came, but vgg11 has 11 layers: write depth: 11."
    assert f"{path}:5: depth: 4 {wrong}" in said()
    assert f"{path}: --set depth=5: depth: 5 {wrong}" in said("depth=5")
    (of_a_default,) = said("architecture=mlp", "dataset=sine_mixture")
    assert of_a_default.startswith(f"{path}: loss: cross_entropy came, but sine_mixture")


def test_structured_initialisation_needs_one_dimensional_inputs(tmp_path: Path) -> None:
    base = {"init": "structured", "bias": True}
    with pytest.raises(InputError, match="structured needs one-dimensional inputs"):
        cut(make_sweep(tmp_path, base=base))


def test_a_width_that_target_params_finds_must_not_contradict_the_norm(tmp_path: Path) -> None:
    def refused(norm: str, target: int) -> str:
        base = {"dataset": "checkerboard", "depth": 2, "target_params": target, "norm": norm}
        base |= {"width": 128}  # the default, which target_params asks for
        try:
            cut(make_sweep(tmp_path, base=base, grid={}))
        except InputError as error:
            return str(error)
        return ""

    # Width H has 2 H + 2 H weights, and a norm 2 H scales and shifts: 12 is width 2, 4 is width 1.
    assert refused("layer", 12) == refused("none", 4) == ""
    for part in ("target_params: 8 came", "checkerboard the width 1,", "it needs width >= 2."):
        assert part in refused("layer", 8)


def test_plans_and_progress_show_the_width_that_is_built(tmp_path: Path) -> None:
    base = {"dataset": "checkerboard", "target_params": 2000, "width": 128}
    found = cut(make_sweep(tmp_path, base=base, grid={"depth": [3, 6]}, seeds=1))
    # (2 + 2) H + (depth - 2) H^2 weights: 2,021 and 2,024, nearer than at the next widths.
    expected = ["checkerboard mlp 3x43", "checkerboard mlp 6x22"]
    assert [row["what"] for row in program_rows(found, 1, measure=False)] == expected
    assert [_title(pack).split("  ")[-1] for pack in found.packs] == expected


def test_absurd_sizes_are_shown_in_units_that_can_be_read_but_not_to_programs(
    tmp_path: Path,
) -> None:
    sweep = make_sweep(tmp_path, base={"width": 300_000, "steps": 10**6}, grid={}, seeds=1)
    found = cut(sweep)
    (fixed,) = program_rows(found, 1, measure=False)
    assert re.fullmatch(r"[\d,.]+", fixed["MiB/pack"])
    assert fixed["time"].endswith(" h")
    assert fixed["disk"].endswith(" MiB")
    (row,) = program_rows(found, 1, measure=False, units=READABLE)
    assert row["memory/pack"].endswith(" TiB")
    assert row["time"].endswith(" days")
    assert row["disk"].endswith(" TiB")
    assert " TiB of results" in summary(found, 1)


def test_a_run_that_is_larger_than_the_device_is_said(sweep: Sweep) -> None:
    found = cut(sweep, width=8)
    alone = cut(sweep, width=1).packs[-1].device_bytes(sweep.record)  # the deeper of two networks
    assert not list(memory.warnings(found, alone))
    assert not list(memory.warnings(found, None))
    (line,) = memory.warnings(found, alone - 1)
    for part in ("Memory: this machine has", "digits mlp 3x16", "even with one run at a time"):
        assert part in line
    done = cut(sweep, [started(pack) for pack in found.packs])
    assert not list(memory.warnings(done, 1))
    assert (memory.of_device(Devices("cpu", (0,))) or 0) >= 2**28
    assert memory.of_device(Devices("tpu", (0,))) is None


def test_changed_data_are_refused_and_untouched_packs_do_not_matter(sweep: Sweep) -> None:
    old = started(cut(sweep).packs[0], 20, dataset_sha256="0" * 64)
    with pytest.raises(InputError, match=r"digits: its content is not what pack .* --fresh"):
        cut(sweep, [old])


def test_work_is_counted_from_the_last_commit_on(sweep: Sweep) -> None:
    pack, record = cut(sweep).packs[0], replace(sweep.record, probes=())
    half = replace(pack, steps_done=30)
    assert half.flops(record, 60) == pytest.approx(pack.flops(record, 60) / 2)
    assert replace(pack, steps_done=60).flops(record, 60) == 0
    assert pack.flops(record, 60) == 3 * 60 * pack.program.step_flops


def test_measured_steps_cost_what_their_families_declare(sweep: Sweep) -> None:
    pack, families = cut(sweep).packs[0], ("norms", "units")
    record = replace(sweep.record, metrics=families)  # every 2
    shares = sum(registry.module("metrics", name).COST for name in families)
    step = 3 * pack.program.step_flops
    assert pack.training_flops(record, 60) == pytest.approx(step * (60 + 30 * shares))
    half = replace(pack, steps_done=30)
    assert half.training_flops(record, 60) == pytest.approx(step * (30 + 15 * shares))
    assert pack.training_flops(replace(record, metrics=()), 60) == step * 60


def test_stored_values_are_counted_as_they_are_written(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    network = cut(sweep).packs[0].program.network
    # three columns of every step; four of a probe at steps 0, 20, 40, 60
    assert values_stored(sweep.record, 60, network) == 3 * 60 + 4 * 4


def test_what_an_architecture_needs_is_said_before_its_network_is_built(tmp_path: Path) -> None:
    base = {"dataset": "checkerboard", "target_params": 500, "width": 128, "n_train": None}
    several = make_sweep(tmp_path, base=base, grid={"architecture": ["cnn", "mlp", "vit"]})
    with pytest.raises(InputError) as refused:
        make_plan(several, platform="cpu")
    *found, hint = refused.value.messages
    assert [message.split()[2] for message in found] == ["cnn", "vit", "none"]
    assert "one zip block with architecture" in hint
    alone = make_sweep(tmp_path, base=base | {"architecture": "cnn"})
    with pytest.raises(InputError) as refused:
        make_plan(alone, platform="cpu")
    assert len(refused.value.messages) == 1


def tpu(sweep: Sweep, **options: Any) -> Plan:
    return make_plan(sweep, platform="tpu", **options)


def test_on_a_tpu_a_full_pack_has_eight_slices_however_many_chips_there_are(
    tmp_path: Path,
) -> None:
    sweep = make_sweep(tmp_path, seeds=4)  # 24 runs
    for n_chips in (1, 4, 8):
        host = Devices("tpu", (0,), n_chips)
        found = plan_sweep(sweep, Folder(tmp_path / "out"), Options(pack_width=2), host)
        cut = [(len(pack.runs), pack.width, pack.n_slices) for pack in found.packs]
        assert cut == [(16, 2, 8), (8, 2, 4)]
    assert [len(pack.runs) for pack in tpu(sweep, width=30000).packs] == [24]


def test_few_runs_are_spread_over_all_chips_of_a_tpu(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, seeds=4)
    (pack,) = tpu(sweep).packs
    assert (pack.width, pack.n_slices) == (4, 6)
    (one,) = tpu(make_sweep(tmp_path, grid={}, seeds=1)).packs
    assert (one.width, one.n_slices) == (1, 1)
    program, record = pack.program, sweep.record
    assert program.width(record, "tpu", None, 10**6) == WIDTH_LIMITS["tpu"][1]
    assert program.width(record, "gpu", None, 10) == WIDTH_LIMITS["gpu"][1]


def test_packs_of_a_tpu_that_a_crash_kept_from_starting_keep_their_width(tmp_path: Path) -> None:
    """It depends on all runs of the program, not on those that are missing."""
    sweep = make_sweep(tmp_path, seeds=12)  # 72 runs
    program, record = tpu(sweep).packs[0].program, sweep.record
    allowed = program.shared_bytes + 5 * program.lane_bytes(record)
    before = tpu(sweep, max_memory=allowed).packs
    assert [(len(pack.runs), pack.width) for pack in before] == [(32, 4), (32, 4), (8, 4)]
    begun = [started(pack, 20) for pack in before[:2]]
    after = tpu(sweep, started=begun, max_memory=allowed).packs
    assert [(pack.id, pack.width) for pack in after] == [(pack.id, 4) for pack in before]


def test_no_pack_has_more_rows_than_a_file_of_runs_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfc_jax.plan.WIDEST_PACK", 10)  # of the files of the runs table
    found = tpu(make_sweep(tmp_path, grid={}, seeds=12), width=3)
    assert [len(pack.runs) for pack in found.packs] == [10, 2]


def test_chips_shorten_the_time_of_packs_that_have_slices_for_them(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, seeds=3)  # 18 runs: slices of 4, the last of 2
    (pack,) = tpu(sweep, width=4).packs
    asked = sweep.record, 60, "tpu"
    times = [pack.seconds(*asked, n) / pack.seconds(*asked) for n in (1, 2, 4, 8)]
    assert times == pytest.approx([1, 3 / 5, 2 / 5, 1 / 5])
    shares = [pack.probe_seconds(*asked, n) / pack.probe_seconds(*asked) for n in (2, 8)]
    assert shares == pytest.approx([3 / 5, 1 / 5])
    assert pack.device_bytes(sweep.record) == replace(pack, runs=pack.runs[:4]).device_bytes(
        sweep.record
    )
    fast, slow = (program_rows(tpu(sweep), 1, measure=False, n_chips=n) for n in (8, 1))
    assert fast[0]["probes"] == slow[0]["probes"]
