"""YAML in, plain values out, each with the place it stands at. Safe: core types only, limits first.

ruamel.yaml reads YAML 1.2, where `1e-3` is a number and `no` is text.
"""

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from tfc_jax.errors import InputError, quoted

MAX_BYTES = 2**20
MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_ALIASES = 100
_BEYOND_UNICODE = re.compile(r"\\U(?!00(0|10))[0-9A-Fa-f]{8}")
SAVE = " Save the file as UTF-8."
MAX_MESSAGES = 50  # of one file; the others are counted


@dataclass(frozen=True, slots=True)
class Value:
    """A value and where it stands.

    Attributes:
      data: None, bool, int, float, str, a list of values, or a dict from str to value.
      source: the file's path, or e.g. "--set depth=3".
      line: 1 for the first; of a mapping's value, the line of its key; 0 where lines say nothing.
    """

    data: Any
    source: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class Problems:
    """What is wrong with the input, gathered so that all of it is reported together."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def add(self, place: Value, message: str) -> None:
        self._found.append((place.line, f"{place.where}: {message}"))

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_if_any(self) -> None:
        """Raises an InputError of the messages, in order of their lines."""
        if self._found:
            messages = [message for _, message in sorted(self._found, key=itemgetter(0))]
            more = len(messages) - MAX_MESSAGES
            rest = [f"{more} more such messages are left out."] if more > 0 else []
            raise InputError(messages[:MAX_MESSAGES] + rest)


def read(path: str | Path, problems: Problems) -> tuple[str, Value]:
    """Returns the text of a YAML file, and its content as `parse` returns it.

    Raises:
      InputError: no such file, or not UTF-8 text; and what `parse` raises.
    """
    text = _text(Path(path))
    return text, parse(text, str(path), problems)


def parse(text: str, source: str, problems: Problems, *, lines: bool = True) -> Value:
    """Returns the content of a YAML text, without the values that it refuses (a key twice, ...).

    An empty text is null.

    Raises:
      InputError: not YAML, or beyond the limits.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):
            where = f"{source}:{number}" if lines else source
            raise InputError(f"{where}: a YAML directive (a line that starts with %). Remove it.")
    reader = YAML(typ="safe", pure=True)
    reader.Composer, reader.max_depth = _LimitedComposer, MAX_DEPTH
    try:
        node = reader.compose(text)
    except MarkedYAMLError as error:
        raise InputError(_syntax_message(error, source, lines)) from None
    except ReaderError as error:
        where = f"{source}:{_line_of(text, error.position)}" if lines else source
        raise InputError(
            f"{where}: not YAML: a control character or half a character came. Remove it."
        ) from None
    except (ValueError, OverflowError):
        found = _BEYOND_UNICODE.search(text)
        where = f"{source}:{_line_of(text, found.start() if found else 0)}" if lines else source
        what = "an escape that stands for no character (beyond \\U0010FFFF). Remove it."
        raise InputError(f"{where}: not YAML: {what}") from None
    if node is None:
        return Value(None, source, int(lines))
    converter = _Converter(source, lines, reader.constructor, problems)
    return converter.value(node) or Value(None, source, int(lines))


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _text(path: Path) -> str:
    give = "Give the path of a sweep (YAML)."
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe may never end, nor even begin
            raise InputError(f"{path}: this is no file. {give}")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. {give}") from None
    except (OSError, ValueError) as error:  # a name with NUL, or one that the system cannot encode
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}). {give}") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes. Write long lists as ranges.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8 text.{SAVE}") from None


def _syntax_message(error: MarkedYAMLError, source: str, lines: bool) -> str:
    mark = error.problem_mark or error.context_mark
    if "maximum depth" in str(error.problem):
        error = MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH}")
    where = f"{source}:{mark.line + 1}" if lines and mark else source
    context = f" {error.context}" if error.context else ""
    return f"{where}: not YAML: {error.problem}{context}.{_remedy(str(error.problem))}"


def _remedy(problem: str) -> str:
    remedies = {
        "\\t": " Indent with spaces.",
        "mapping values": " Check the indentation, and put quotes around text with a colon.",
        "could not find expected ':'": " Write key: value.",
        "cannot start": " Put quotes around the text.",
        "another document": " Keep one sweep in a file.",
        "nested deeper": " A sweep needs 5 levels.",
    }
    return next((remedy for sign, remedy in remedies.items() if sign in problem), "")


class _LimitedComposer(Composer):
    """Stops before a small file can grow into a large tree."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # the later anchor wins, as YAML says
        self.n_nodes = 0
        self.n_aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.n_nodes += 1
        if self.n_nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES} values")
        return super().compose_node(parent, index)

    def return_alias(self, a: Any) -> Any:
        self.n_aliases += 1
        if self.n_aliases > MAX_ALIASES:
            self._refuse(f"more than {MAX_ALIASES} aliases")
        return super().return_alias(a)

    def _refuse(self, what: str) -> NoReturn:
        mark = self.parser.peek_event().start_mark
        raise MarkedYAMLError(problem=what, problem_mark=mark)


class _Converter:
    """Node graph to values; every node once, so shared nodes stay shared."""

    def __init__(self, source: str, lines: bool, constructor: Any, problems: Problems) -> None:
        self.source, self.lines, self.problems = source, lines, problems
        self._done: dict[int, Value | None] = {}
        self._open: set[int] = set()
        self._scalars: dict[str, Callable[[Any], Any]] = {
            f"tag:yaml.org,2002:{name}": getattr(constructor, f"construct_yaml_{name}")
            for name in ("null", "bool", "int", "float", "str")
        }

    def value(self, node: Node) -> Value | None:
        """Returns the value of a node; None if it is refused, with the problem noted once."""
        place = self._place(node)
        if id(node) in self._open:
            what = "an alias inside the value that it repeats. Write it out."
            self.problems.add(place, what)
            return None
        if id(node) not in self._done:
            self._open.add(id(node))
            try:
                self._done[id(node)] = replace(place, data=self._data(node))
            except ValueError as error:
                self._done[id(node)] = None
                self.problems.add(place, f"{error}.")
            self._open.remove(id(node))
        return self._done[id(node)]

    def _place(self, node: Node) -> Value:
        return Value(None, self.source, node.start_mark.line + 1 if self.lines else 0)

    def _data(self, node: Node) -> Any:
        match node:
            case ScalarNode(tag=tag) if tag in self._scalars:
                return self._scalar(node, self._scalars[tag])
            case SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [value for item in node.value if (value := self.value(item))]
            case MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node)
        raise ValueError(_foreign(node))

    def _scalar(self, node: ScalarNode, construct: Callable[[Any], Any]) -> Any:
        try:
            value = construct(node)
        except (ValueError, LookupError):  # `!!int ''` too
            kind = str(node.tag).rpartition(":")[2]
            raise ValueError(f"{quoted(node.value)} is not a {kind} of YAML") from None
        if isinstance(value, str) and not _is_encodable(value):
            raise ValueError(f"{quoted(value)} holds half a character (a surrogate). Remove it")
        return value

    def _mapping(self, node: MappingNode) -> dict[str, Value]:
        pairs: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key, value = self.value(key_node), self.value(value_node)
            if key and not isinstance(key.data, str):
                self.problems.add(key, "a key that is not text came. Put quotes around it.")
            elif key and key.data in pairs:
                first = pairs[key.data].line
                what = f"key {quoted(key.data)} comes a second time (first in line {first})"
                self.problems.add(key, f"{what}. Keep one of them.")
            elif key and value:
                pairs[key.data] = replace(value, line=key.line)
        return pairs


def _is_encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _foreign(node: Node) -> str:
    """Says what a node outside YAML's core types is, and what to do about it."""
    kind = str(node.tag).rpartition(":")[2]
    if kind == "timestamp":
        return f"{node.value[:40]} is a date in YAML. Put quotes around it"
    if kind == "merge":
        return "YAML merge keys (<<) are not read. Write the keys out"
    return (
        f"the YAML tag {str(node.tag)[:80]} is not read. Allowed: plain values, lists and mappings"
    )
