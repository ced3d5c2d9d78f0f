"""Names of groups of runs."""

import pandas as pd

from analysis.conditions import departures, describe, operations, varied


def test_a_description_uses_the_words_of_the_sweep() -> None:
    assert describe({"depth": 9, "init_scale": 0.8}) == "depth 9, init_scale 0.8"


def test_keys_vary_if_any_run_differs_and_the_seed_never_does() -> None:
    runs = pd.DataFrame({"depth": [5, 5], "n_train": [None, 100], "seed": [0, 1], "width": [8, 8]})
    assert varied(runs, ["depth", "n_train", "seed", "width", "absent"]) == ["n_train"]


def test_departures_are_named_against_the_most_common_values() -> None:
    runs = pd.DataFrame(
        {
            "momentum": [0.0, 0.9, 0.9, 0.0],
            "learning_rate": [0.02, 0.02, 0.002, 0.02],
            "norm": ["none", "none", "none", "batch"],
        }
    )
    runs = pd.concat([runs, runs.iloc[[0]]], ignore_index=True)
    names = departures(runs, ["norm", "momentum", "learning_rate"]).tolist()
    assert names == [
        "plain",
        "momentum 0.9",
        "momentum 0.9, learning_rate 0.002",
        "norm batch",
        "plain",
    ]


def test_null_is_a_value_from_which_one_can_depart() -> None:
    classes = pd.array([None, None, None, 2, None], dtype="Int64")
    runs = pd.DataFrame({"classes": classes, "loss": ["a", "a", "b", "a", "a"]})
    names = departures(runs, ["classes", "loss"]).tolist()
    assert names == ["plain", "plain", "loss b", "classes 2", "plain"]


def test_departing_towards_null_is_named() -> None:
    runs = pd.DataFrame({"difficulty": [0.2, None, 0.2]})
    assert departures(runs, ["difficulty"]).tolist() == ["plain", "difficulty null", "plain"]


def test_operations_come_plain_first_then_by_key_and_value() -> None:
    plain = {
        "norm": "none",
        "momentum": 0.0,
        "learning_rate": 0.1,
        "init_scale": 0.8,
        "weight_decay": 0.0,
    }
    changes: list[dict[str, object]] = [
        {"weight_decay": 0.1},
        {"init_scale": 1.2},
        {"init_scale": 1.0},
        {"momentum": 0.9, "learning_rate": 0.01},
        {"momentum": 0.9},
        {"norm": "batch"},
        {},
    ]
    groups = operations(pd.DataFrame([{**plain, **change} for change in changes]))
    assert list(groups) == [
        "plain",
        "norm batch",
        "momentum 0.9",
        "momentum 0.9, learning_rate 0.01",
        "init_scale 1",
        "init_scale 1.2",
        "weight_decay 0.1",
    ]
    assert groups["init_scale 1"].index.tolist() == [2]


def test_departures_are_named_against_a_plain_condition_that_is_given() -> None:
    runs = pd.DataFrame({"optimizer": ["sgd", "sgd", "adam"], "width": [50, 50, 50]})
    names = departures(runs, ["optimizer"], {"optimizer": "adam"})
    assert names.tolist() == ["optimizer sgd", "optimizer sgd", "plain"]
