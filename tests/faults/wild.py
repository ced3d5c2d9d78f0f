"""Sweeps that were valid before something happened to them."""

import random
import re
from collections.abc import Callable

SWEEPS = (
    "name: a\nbase: {depth: 3, width: 16, steps: 40}\ngrid:\n  init_scale: [0.6, 1.2]\nseeds: 2\n",
    "name: b\ngrid:\n  depth: {range: [3, 7, 2]}\n  label_noise: {linspace: [0, 0.5, 3]}\n"
    "zip:\n  - {momentum: [0.0, 0.9], learning_rate: [2e-2, 2e-3]}\n"
    'exclude: ["depth == 5 and momentum > 0.5"]\n',
    "name: c\ndescription: >\n  Two lines\n  of text.\nbase: &b\n  bias: true\n  norm: batch\n"
    "grid: {activation: [relu, tanh], seed: [3, 5]}\n",
    "name: d\ngrid:\n  init_scale: {logspace: [0.5, 2, 3]}\nrefine:\n  axes: [init_scale]\n"
    "  boundary: \"final_loss < 2.2 or status == 'diverged'\"\n  halvings: 2\nseeds: [0, 7]\n",
    "name: e\nbase:\n  dataset: digits\n  architecture: mlp\n  batch_size: 100\nrecord:\n"
    "  every: {log: 10}\n  probe_every: 20\n  metrics: [norms, units]\n  probes: all\n",
    "name: f\nbase: {intervention: rescale, intervene_at: 5, intervene_value: 0.5}\n"
    "grid: {width: [8, 16], n_train: [200, null]}\nseeds: {range: [0, 2]}\n",
)
HOSTILE = (
    *("0", "-1", "1e999", "-1e999", ".nan", "-.inf", "9" * 30, "9" * 5000, "0x" + "f" * 300),
    *("4294967296", "1_000", "0o777", "1.5", "-0.0", "1e-39", "3.5e38", "true", "null", "~", "no"),
    *("''", "'3'", "[]", "{}", "[[]]", "{a: b}", "[1, 1]", "[[1, 2], 3]", "{range: [0, 1e9]}"),
    *("{range: [0, 1, 1e-300]}", "{linspace: [1, 2, 1000000000]}", "{logspace: [0, 1, 3]}"),
    *("{range: [0, 10, 0]}", "{linspace: [1, 1, 3]}", "{range: 3}", "{rang: [1, 2]}", "{log: 0}"),
    *("*b", "&b", "*nobody", "&c [*c]", "!!int x", "!!python/name:os.system", "!x", "1e-9"),
    *("2026-01-31", "12:30:45", "<<", "=", "?", "- ", ": ", "|", ">", "@", "`", "%YAML 1.1", "---"),
    *("...", "\t", "#", "'", '"', "{", "}", "[", "]", ",", "\\", '"\\ud800"', '"\\U00110000"'),
    *('"\\0"', '"\\e[31m"', "\u202e", "\ufeff", "\u2028", "\x85", "\x07", "\x00", "\U0010ffff"),
    *("name", "base", "grid", "zip", "exclude", "seeds", "refine", "record", "steps", "depth"),
    *("dataset: npz:../../x", "dataset: tfds:../x", "target_params: 100", "every: 1000000000000"),
    *("'depth > 3 and '", "'not ' * 9", "'depth ** 9'", "'depth in [1]'", "'a.b'", "'f()'"),
    *("'" + "(" * 300 + "'", "[" * 40, "{a: " * 40, "- " * 40, "x" * 3000, "base:\n  depth: 3"),
)  # fmt: skip
TOKEN = re.compile(r"[A-Za-z_]+|[-+.\deE]+|[\[\]{},:>&*'\"-]")
Change = Callable[[str, random.Random], str]


def mutated(chance: random.Random) -> bytes:
    """Returns a valid sweep after one to six accidents."""
    text = chance.choice(SWEEPS)
    for _ in range(chance.choice((1, 1, 1, 1, 2, 5))):
        text = chance.choice(CHANGES)(text, chance)
    raw = text.encode("utf-8", "surrogatepass")
    return flipped(raw, chance) if chance.random() < 0.1 else raw


def expression(chance: random.Random) -> str:
    """Returns a filter after an accident or two."""
    text = chance.choice(("depth > 3 and seed < 4", "not bias or init == 'relu'", "1 <= depth"))
    for _ in range(chance.choice((1, 1, 2))):
        text = chance.choice((_other_token, _hostile_token, _lost_character))(text, chance)
    return text


def override(chance: random.Random) -> str:
    """Returns the argument of a `--set` after an accident."""
    text = chance.choice(("depth=7", "seeds=[1, 2]", "record.every={log: 3}", "name=x"))
    return chance.choice((_hostile_token, _lost_character))(text, chance)


def flipped(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + bytes([chance.randrange(256)]) + raw[at + chance.randrange(2) :]


def _other_token(text: str, chance: random.Random) -> str:
    """Puts one token of the text in the place of another."""
    found = list(TOKEN.finditer(text))
    if not found:
        return text
    at, other = chance.choice(found), chance.choice(found)
    return text[: at.start()] + other[0] + text[at.end() :]


def _hostile_token(text: str, chance: random.Random) -> str:
    found = list(TOKEN.finditer(text))
    hostile = chance.choice(HOSTILE)
    if not found:
        return text + hostile
    at = chance.choice(found)
    end = at.end() if chance.random() < 0.7 else at.start()
    return text[: at.start()] + hostile + text[end:]


def _hostile_value(text: str, chance: random.Random) -> str:
    """Gives one key of the text another value."""
    found = list(re.finditer(r": *([^\n{}:]*?)(?=[,}\n]|$)", text))
    if not found:
        return text
    at = chance.choice(found)
    return f"{text[: at.start()]}: {chance.choice(HOSTILE)}{text[at.end() :]}"


def _lost_character(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + text[at + 1 :]


def _moved_line(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [text]
    line = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.randrange(3)):
        lines.insert(chance.randrange(len(lines) + 1), line)
    return "".join(lines)


def _indented(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    lines[at] = " " * chance.randrange(9) + lines[at].lstrip()
    return "\n".join(lines)


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def _joined(text: str, chance: random.Random) -> str:
    return text + chance.choice(SWEEPS)[chance.randrange(20) :]


CHANGES: tuple[Change, ...] = (
    _other_token,
    _hostile_token,
    _hostile_token,
    _hostile_value,
    _hostile_value,
    _lost_character,
    _moved_line,
    _indented,
    _cut,
    _joined,
)
