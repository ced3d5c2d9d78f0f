"""One place for names, types, units and meanings of columns."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.sweeps import RECORD, fake_plugins
from tfc_jax import registry
from tfc_jax.keys import KEYS
from tfc_jax.record import Record
from tfc_jax.schema import KEY_COLUMNS, Column, arrow_schema, result_columns, run_columns

EVERYTHING = Record(metrics=registry.names("metrics"), probes=registry.names("probes"))


def declared() -> Iterator[tuple[str, Column]]:
    """Every column of every table that a sweep can write."""
    for table, columns in {"runs": run_columns(EVERYTHING), **result_columns(EVERYTHING)}.items():
        for column in columns:
            yield table, column


def test_every_column_has_a_meaning_and_a_known_table() -> None:
    for table, column in declared():
        assert column.meaning, column
        assert column.table == table
        assert table in KEY_COLUMNS


def test_no_table_has_a_name_twice() -> None:
    for table in KEY_COLUMNS:
        names = [c.name for c in KEY_COLUMNS[table]]
        names += [c.name for where, c in declared() if where == table]
        assert len(names) == len(set(names)), table


def test_values_are_float32_apart_from_the_runs_table_and_labels() -> None:
    kinds = {c.name: c.dtype for table, c in declared() if table != "runs"}
    assert kinds.pop("sample_class") == "int32"
    assert set(kinds.values()) == {"float32"}


def test_key_columns_are_never_null_and_stand_first() -> None:
    for table, keys in KEY_COLUMNS.items():
        schema = arrow_schema(table, ())
        assert schema.names == [key.name for key in keys]
        assert not any(field.nullable for field in schema)


def test_runs_hold_every_key_in_a_type_that_holds_its_values() -> None:
    kinds = {
        name: str(arrow_schema("runs", run_columns(EVERYTHING)).field(name).type) for name in KEYS
    }
    assert kinds["dataset"] == kinds["init"] == "string"
    assert kinds["learning_rate"] == kinds["structured_gamma"] == "double"
    assert kinds["seed"] == kinds["n_train"] == "int64"
    assert kinds["bias"] == "bool"


def test_runs_hold_the_last_value_of_what_is_probed() -> None:
    names = {column.name for column in run_columns(EVERYTHING)}
    assert {"final_loss", "final_accuracy", "final_test_loss", "final_test_accuracy"} <= names
    unprobed = {c.name for c in run_columns(dataclasses.replace(EVERYTHING, probes=()))}
    assert names - unprobed == {f"final_{c.name}" for c in result_columns(EVERYTHING)["probe"]}


def test_a_table_that_nothing_is_recorded_for_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_plugins(monkeypatch)
    assert set(result_columns(RECORD)) == {"steps", "layers", "probe"}
    bare = Record(metrics=(), probes=())
    assert set(result_columns(bare)) == {"steps"}
    assert [c.name for c in result_columns(bare)["steps"]] == ["loss", "accuracy", "prior_entropy"]
