"""YAML: core types only, every value with its line, limits before anything grows."""

import math
import os
from pathlib import Path

import pytest

from tfc_jax import yaml_source
from tfc_jax.errors import InputError
from tfc_jax.yaml_source import Problems, Value, parse, read


def test_the_limits_are_those_that_are_promised() -> None:
    limits = ("MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "MAX_ALIASES")
    assert [getattr(yaml_source, name) for name in limits] == [2**20, 32, 100_000, 100]


def parsed(text: str) -> Value:
    problems = Problems()
    value = parse(text, "s.yaml", problems)
    problems.raise_if_any()
    return value


def messages(text: str) -> tuple[str, ...]:
    with pytest.raises(InputError) as error:
        parsed(text)
    return error.value.messages


def plain(value: Value) -> object:
    if isinstance(value.data, list):
        return [plain(item) for item in value.data]
    if isinstance(value.data, dict):
        return {key: plain(item) for key, item in value.data.items()}
    return value.data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2e-2", 0.02),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3", -3),
        ("0x10", 16),
        ("0o17", 15),
        ("010", 10),
        ("true", True),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("'3'", "3"),
        ("!!str 3", "3"),
        ("!!float 3", 3.0),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        (".inf", math.inf),
        ("", None),
        ("# nothing", None),
    ],
)
def test_scalars_are_read_as_yaml_1_2(text: str, value: object) -> None:
    assert plain(parsed(text)) == value
    assert type(plain(parsed(text))) is type(value)


def test_a_value_knows_the_line_of_its_key_and_an_item_its_own() -> None:
    root = parsed("a: 1\nb:\n\n  - 5\n  - 6\nc:\n  d: 7\n")
    assert root.data["a"].where == "s.yaml:1"
    assert root.data["b"].where == "s.yaml:2"
    assert [item.line for item in root.data["b"].data] == [4, 5]
    assert root.data["c"].data["d"].where == "s.yaml:7"


def test_an_alias_stands_where_it_is_used() -> None:
    root = parsed("a: &x [1, 2]\nb: *x\n")
    assert root.data["b"].line == 2
    assert root.data["b"].data is root.data["a"].data


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    text, root = read(path, Problems())
    assert plain(root) == {"a": 1, "b": 2}
    assert root.data["b"].where == f"{path}:2"
    assert text.startswith("a: 1")


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\na: 2", 2, "key 'a' comes a second time (first in line 1)"),
        ("b: {c: 1, c: 2}", 1, "key 'c' comes a second time"),
        ("a: 1\n\tb: 2", 2, "Indent with spaces"),
        ("a: b: c", 1, "put quotes around text with a colon"),
        ("a: @b", 1, "Put quotes around the text"),
        ("a: [1", 1, "not YAML"),
        ("a: 'b", 1, "not YAML"),
        ("a: 1\n---\nb: 2", 2, "Keep one sweep in a file"),
        ("a: *nowhere", 1, "undefined alias"),
        ("1: a", 1, "a key that is not text came"),
        ("? [a, b]\n: 1", 1, "a key that is not text came"),
        ("null: a", 1, "a key that is not text came"),
        ("a: 1\nday: 2026-01-31", 2, "2026-01-31 is a date in YAML. Put quotes around it"),
        ("a: {b: 1}\nc:\n  <<: {b: 1}", 3, "merge keys"),
        ("a: !!python/object:os.system x", 1, "python/object:os.system is not read"),
        ("a: !mine 3", 1, "the YAML tag !mine is not read"),
        ("a: !!binary aGk=", 1, "is not read"),
        ("a: !!set {b}", 1, "is not read"),
        ("a: !!int b", 1, "'b' is not a int of YAML"),
        ("a: !!int ''", 1, "'' is not a int of YAML"),
        ("a: !!bool b", 1, "'b' is not a bool of YAML"),
        ("a: " + "9" * 5000, 1, "is not a int of YAML"),
        ("a: &x [1, *x]", 1, "an alias inside the value"),
        ("a: 1\nb: \x00", 2, "a control character"),
        ('a: 1\nb: "\\U00110000"', 2, "an escape that stands for no character"),
        ('a: 1\nb: "\\UFFFFFFFF"', 2, "an escape that stands for no character"),
        ('a: 1\nb: "\\ud800"', 2, "half a character"),
        ('a: 1\n"\\udfff": b', 2, "half a character"),
        ("a: 1\n%b", 2, "a YAML directive"),
    ],
)
def test_what_is_not_a_plain_document_is_refused_with_its_line(
    text: str, line: int, part: str
) -> None:
    (message,) = messages(text)
    assert message.startswith(f"s.yaml:{line}: ")
    assert part in message


def test_all_refused_values_are_reported_together() -> None:
    assert len(messages("a: 1\na: 2\nb: !x 1\nc: 2020-01-01\n2: 3")) == 4


def test_a_directive_cannot_change_what_numbers_are() -> None:
    assert "directive" in messages("%YAML 1.1\n---\na: yes")[0]


def test_control_characters_are_refused() -> None:
    assert "not YAML" in messages("a: \x00")[0]


def test_nesting_stops_at_the_limit() -> None:
    deepest = yaml_source.MAX_DEPTH
    assert parsed("[" * (deepest - 1) + "1" + "]" * (deepest - 1)).data
    for depth in (deepest + 1, 100_000):
        assert "nested deeper than 32" in messages("[" * depth + "]" * depth)[0]


def test_the_number_of_values_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_source, "MAX_NODES", 5)
    assert plain(parsed("[1, 2, 3, 4]")) == [1, 2, 3, 4]  # and the list itself
    assert "more than 5 values" in messages("[1, 2, 3, 4, 5]")[0]


def test_the_number_of_aliases_stops_at_the_limit() -> None:
    most = yaml_source.MAX_ALIASES
    assert len(parsed(f"a: &x 1\nb: [{'*x, ' * most}]").data["b"].data) == most
    assert "aliases" in messages(f"a: &x 1\nb: [{'*x, ' * (most + 1)}]")[0]


def test_nested_aliases_share_one_value_instead_of_multiplying() -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 11)]
    root = parsed("\n".join(["l0: &l0 1", *levels]))  # 9^10 leaves if written out
    assert root.data["l10"].data[0] is root.data["l10"].data[8]


def test_an_anchor_may_be_used_again() -> None:
    assert plain(parsed("a: &x 1\nb: &x 2\nc: *x")) == {"a": 1, "b": 2, "c": 2}


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    for path, part in [(tmp_path / "no.yaml", "no such file"), (tmp_path, "no file")]:
        with pytest.raises(InputError) as error:
            read(path, Problems())
        assert str(path) in str(error.value)
        assert part in str(error.value)


def test_a_file_that_is_not_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(InputError, match=r"s\.yaml:2: not UTF-8"):
        read(path, Problems())


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"#" * yaml_source.MAX_BYTES)
    assert read(path, Problems())[1].data is None
    path.write_bytes(b"#" * (yaml_source.MAX_BYTES + 1))
    with pytest.raises(InputError, match="larger than"):
        read(path, Problems())


def test_problems_are_raised_in_the_order_of_their_lines() -> None:
    problems = Problems()
    for line, text in [(7, "late"), (2, "early"), (7, "later")]:
        problems.add(Value(None, "s.yaml", line), text)
    with pytest.raises(InputError) as error:
        problems.raise_if_any()
    assert error.value.messages == ("s.yaml:2: early", "s.yaml:7: late", "s.yaml:7: later")


def test_many_problems_are_counted_instead_of_listed() -> None:
    problems = Problems()
    for line in range(50 + 7):
        problems.add(Value(None, "s.yaml", line), "wrong")
    with pytest.raises(InputError) as error:
        problems.raise_if_any()
    assert len(error.value.messages) == 50 + 1
    assert error.value.messages[-1] == "7 more such messages are left out."


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, kind: str) -> None:
    path = {"folder": tmp_path, "pipe": tmp_path / "pipe", "device": Path("/dev/zero")}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError, match="this is no file"):
        read(path, Problems())


def test_a_message_is_one_short_line_of_printable_characters() -> None:
    (message,) = InputError("a\nb\x1b[31m\u202e\udc80" + "c" * 10_000 + "Do this.").messages
    assert message.startswith("a\\nb\\x1b[31m\\u202e\\udc80ccc")
    assert message.endswith("Do this.")
    assert message.isprintable()
    assert len(message) < 2000


def test_no_problems_raise_nothing() -> None:
    problems = Problems()
    problems.raise_if_any()
    assert parse("3", "--set x=3", problems, lines=False).where == "--set x=3"
