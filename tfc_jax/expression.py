"""The expressions of `exclude`, `--filter` and `where=`: parsed against a list, never evaluated.

    depth > 5 and (activation == "relu" or not bias) and 0.1 <= init_scale < 1 and seed in [0, 3]

Comparisons (also chained), `in [..]`, `not in [..]`, and, or, not, parentheses; names, numbers,
quoted text, true, false, null. What compares with what, and what null does: comparison.py.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from tfc_jax.comparison import (
    Column,
    Mask,
    Mismatch,
    as_column,
    check_pair,
    check_truth,
    equal,
    ordered,
)
from tfc_jax.errors import InputError, nearest
from tfc_jax.keytypes import FLOAT32_MAX, FLOAT32_MIN, Kind

MAX_LENGTH = 2000
MAX_DEPTH = 64
INT64_END = 2**63

Getter = Callable[[str], object]

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_GRAMMAR = (
    "Allowed: names, numbers, quoted text, true, false, null; ==, !=, <, <=, >, >=, in [..], "
    "not in [..]; and, or, not, parentheses"
)


_Columns = Mapping[str, Column]
_Condition = Callable[[_Columns], Mask]


@dataclass(frozen=True)
class _Operand:
    """One side of a comparison; its kind is None until data says it."""

    label: str
    kind: Kind | None
    read: Callable[[_Columns], Column]


@dataclass(frozen=True)
class Expression:
    """A parsed condition over named values."""

    text: str
    names: frozenset[str]
    _condition: _Condition
    conjuncts: tuple["Expression", ...] = ()  # the condition is that all of these hold

    def matches(self, row: Mapping[str, object] | Getter) -> bool:
        """Whether the condition holds for one row: a mapping, or a function of the name."""
        get = row.__getitem__ if isinstance(row, Mapping) else row
        return bool(self.mask({name: get(name) for name in self.names}))

    def mask(self, frame: Any) -> Mask:
        """Returns where the condition holds.

        Args:
          frame: a data frame, or a mapping from name to an array; shapes broadcast.
        Raises:
          InputError: a comparison of different kinds, or a column that is not there.
        """
        missing = sorted(name for name in self.names if name not in frame)
        if missing:
            self._refuse(f"there is no column {', '.join(missing)}")
        try:
            return self._condition({name: as_column(name, frame[name]) for name in self.names})
        except Mismatch as error:
            self._refuse(str(error))

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"in {_quoted(self.text)}: {what}.")


def parse(text: str, names: Collection[str] | Mapping[str, Kind] | None) -> Expression:
    """Returns the parsed expression.

    Args:
      names: what may be named, anything if None; as a mapping, it also says of which kind, so that
        a comparison of different kinds is refused here and not only by `matches` and `mask`.
    Raises:
      InputError: all unknown names, else the first thing the grammar does not have.
    """
    reader = _Reader(text, names)
    tree = reader.tree()
    used = reader.used_names(tree)
    parts = [Expression(text, _names(p), reader.condition(p)) for p in _conjuncts(tree)]
    return Expression(text, used, reader.condition(tree), tuple(parts))


class _Reader:
    """Turns one text into conditions; its methods follow the grammar from `or` to operands."""

    def __init__(self, text: str, names: Collection[str] | Mapping[str, Kind] | None) -> None:
        self.text, self.names = text, names

    def tree(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH:
            self._refuse(f"longer than {MAX_LENGTH} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Python only warns of `3in [3]` or "\d"
                tree = ast.parse(self.text.strip().replace("\n", " "), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
            offset = getattr(error, "offset", None)
            where = f" at column {offset}" if offset else ""
            self._refuse(f"not an expression{where}.{_remedy(self.text)} {_GRAMMAR}")
        if _depth(tree) > MAX_DEPTH:
            self._refuse(f"nested deeper than {MAX_DEPTH}")
        return tree

    def used_names(self, tree: ast.expr) -> frozenset[str]:
        used = _names(tree)
        known = used if self.names is None else self.names
        unknown = [
            f"in {_quoted(self.text)}: unknown name '{name}'.{nearest(name, known)}"
            f' Text needs quotes: "{name}". Names: {", ".join(sorted(known))}.'
            for name in sorted(used)
            if name not in known
        ]
        if unknown:
            raise InputError(unknown)
        if not used:
            self._refuse("it names nothing, so it is the same for every row. Compare a name")
        return used

    def condition(self, node: ast.expr) -> _Condition:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return _fold(np.logical_and, [self.condition(value) for value in values])
            case ast.BoolOp(values=values):
                return _fold(np.logical_or, [self.condition(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                negated = self.condition(inner)
                return lambda columns: np.logical_not(negated(columns))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                sides = zip([left, *rights], ops, rights)  # noqa: B905 - the first is one longer
                return _fold(np.logical_and, [self._comparison(*side) for side in sides])
            case _:
                return self._truth(node)

    def _truth(self, node: ast.expr) -> _Condition:
        operand = self._operand(node)

        def holds(columns: _Columns) -> Mask:
            column = operand.read(columns)
            check_truth(operand.label, column.kind)
            holds: Mask = np.asarray(column.values, bool) & ~column.null
            return holds

        if operand.kind:
            self._checked(check_truth, operand.label, operand.kind)
        return holds

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Condition:
        if isinstance(op, ast.In | ast.NotIn):
            return self._membership(left, right, negated=isinstance(op, ast.NotIn))
        if isinstance(op, ast.Is | ast.IsNot):
            self._refuse("`is` is not in the grammar. Write == or !=")
        a, b = self._operand(left), self._operand(right)
        order = _ORDER.get(type(op))
        compare = ordered(order) if order else equal
        negated = isinstance(op, ast.NotEq)

        def holds(columns: _Columns) -> Mask:
            x, y = a.read(columns), b.read(columns)
            check_pair(a.label, x.kind, b.label, y.kind, is_order=order is not None)
            return compare(x, y) ^ negated

        if a.kind and b.kind:
            self._checked(check_pair, a.label, a.kind, b.label, b.kind, is_order=order is not None)
        return holds

    def _membership(self, left: ast.expr, right: ast.expr, *, negated: bool) -> _Condition:
        if not isinstance(right, ast.List) or not right.elts:
            self._refuse("`in` needs a list of values, such as [3, 5]")
        named = [item.id for item in right.elts if isinstance(item, ast.Name)]
        if not _WORDS.keys() >= set(named):
            self._refuse("a list after `in` holds values, not names")
        holds = _fold(np.logical_or, [self._comparison(left, ast.Eq(), i) for i in right.elts])
        return lambda columns: holds(columns) ^ negated

    def _operand(self, node: ast.expr) -> _Operand:
        match node:
            case ast.Name(id=name) if name not in _WORDS:
                kind = self.names[name] if isinstance(self.names, Mapping) else None
                return _Operand(name, kind, lambda columns: columns[name])
            case ast.Name(id=word):
                return self._constant(word, _WORDS[word])
            case ast.Constant(value=value):
                return self._constant(repr(value), value)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=ast.Constant(value=value)):
                if isinstance(value, int | float) and not isinstance(value, bool):
                    signed = -value if isinstance(op, ast.USub) else value
                    return self._constant(repr(signed), signed)
        self._refuse(f"'{ast.unparse(node)}' is not in the grammar. {_GRAMMAR}")

    def _constant(self, label: str, value: object) -> _Operand:
        if not isinstance(value, str | int | float | None):
            self._refuse(f"{label} is not in the grammar. {_GRAMMAR}")
        if isinstance(value, int | float) and not _is_comparable(value):
            self._refuse(f"{label[:40]} is a number that float32 cannot hold (1.2e-38 to 3.4e+38)")
        # A bare Python number compares in the column's own precision: 0.1 is 0.1 in float32 too.
        column = as_column(label, value)._replace(values=value)
        return _Operand(label, column.kind, lambda columns: column)

    def _checked(self, check: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        try:
            check(*args, **kwargs)
        except Mismatch as error:
            self._refuse(str(error))

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"in {_quoted(self.text)}: {what}.")


def _fold(combine: Callable[[Mask, Mask], Mask], parts: list[_Condition]) -> _Condition:
    first, *rest = parts

    def holds(columns: _Columns) -> Mask:
        result = first(columns)
        for part in rest:
            result = combine(result, part(columns))
        return result

    return holds


def _remedy(text: str) -> str:
    if re.search(r"(?<![=!<>])=(?!=)", text):
        return " Write == to compare."
    return " Write and, or, not." if re.search(r"[&|!](?!=)", text) else ""


def _is_comparable(number: float) -> bool:
    """Whether columns of any type compare with it: none would round it to 0 or infinity."""
    if isinstance(number, int):
        return abs(number) < INT64_END
    return number == 0 or FLOAT32_MIN <= abs(number) <= FLOAT32_MAX


def _names(tree: ast.expr) -> frozenset[str]:
    found = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return frozenset(name for name in found if name not in _WORDS)


def _conjuncts(tree: ast.expr) -> list[ast.expr]:
    """The operands of the outermost `and`, which alone need each be looked at where they can be."""
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        return [part for value in tree.values for part in _conjuncts(value)]
    return [tree]


def _depth(node: ast.AST) -> int:
    level, depth = [node], 0
    while level:
        level, depth = [child for n in level for child in ast.iter_child_nodes(n)], depth + 1
    return depth


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
