"""What one key of a sweep may hold, and the sentence that says so when it holds something else."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

from tfc_jax.errors import nearest

Kind = Literal["number", "text", "truth", "null"]

INT32_MAX = 2**31 - 1
FLOAT32_MIN, FLOAT32_MAX = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # normal numbers
BELOW_ONE = 1 - 2.0**-24  # the largest float32 below 1


def _in_float32(value: float) -> float:
    """Refuses what float32 would turn into 0 or infinity; -0.0 becomes 0.0."""
    if value and not FLOAT32_MIN <= abs(value) <= FLOAT32_MAX:
        raise ValueError("which float32 cannot hold (1.2e-38 to 3.4e+38)")
    return value + 0.0


Whole = Annotated[int, Field(strict=True)]
Count = Annotated[Whole, Field(ge=1, le=INT32_MAX)]
_FINITE = Field(strict=True, allow_inf_nan=False)
_FLOAT32 = AfterValidator(_in_float32)  # last: a limit after it is lost to the JSON Schema
Positive = Annotated[float, _FINITE, Field(gt=0), _FLOAT32]
NotNegative = Annotated[float, _FINITE, Field(ge=0), _FLOAT32]
Share = Annotated[float, _FINITE, Field(ge=0, le=1), _FLOAT32]
ShareBelowOne = Annotated[float, _FINITE, Field(ge=0, le=BELOW_ONE), _FLOAT32]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]


@dataclass(frozen=True)
class Info:
    """What the type of a key does not say."""

    unit: str
    doc: str
    traced: bool = False


def one_of(
    names: tuple[str, ...], is_known: Callable[[str], bool]
) -> tuple[AfterValidator, WithJsonSchema]:
    """Returns the annotations of a name from an open list, such as the files of a folder.

    Args:
      names: what a message and an editor offer; one with a colon ("npz:PATH") stands for a whole
        family and becomes a pattern with that title.
    """

    def check(name: str) -> str:
        if not is_known(name):
            raise ValueError("")
        return name

    enum = [name for name in names if ":" not in name]
    families = [name for name in names if ":" in name]
    options: list[dict[str, Any]] = [{"type": "string", "enum": enum}]
    options += [
        {"type": "string", "pattern": f"^{name.split(':')[0]}:.", "title": name}
        for name in families
    ]
    return AfterValidator(check), WithJsonSchema({"anyOf": options} if families else options[0])


@dataclass(frozen=True)
class Key:
    """One key of a sweep.

    Attributes:
      adapter: says which values are allowed, and coerces (an int becomes a float).
      traced: the key is an array over the runs of one program.
      unit: "" for names and pure numbers.
    """

    name: str
    adapter: TypeAdapter[Any]
    default: Any
    traced: bool
    unit: str
    doc: str

    def checked(self, value: object) -> Any:
        """Returns the value as runs hold it.

        Raises:
          ValueError: what came, what is allowed, what to do.
        """
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            reason = str(error.errors()[0].get("ctx", {}).get("error", ""))
        why = f", {reason}" if reason else ""
        message = f"{shown(value)} came{why}.{self._hint(value)} Allowed: {self.allowed}."
        raise ValueError(message)

    def accepts(self, value: object) -> bool:
        """Whether `checked` returns."""
        try:
            self.adapter.validate_python(value)
        except ValidationError:
            return False
        return True

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of one value, with its meaning and unit."""
        doc = self.doc + (f" Unit: {self.unit}." if self.unit else "")
        return {**self.adapter.json_schema(), "description": doc, "default": self.default}

    @property
    def kind(self) -> Kind:
        """What an expression may compare the key with (null apart)."""
        kinds: dict[str, Kind] = {"boolean": "truth", "string": "text"}
        return kinds.get(self._options[0]["type"], "number")

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        return " or ".join(_in_words(option) for option in self._options)

    @property
    def _options(self) -> list[dict[str, Any]]:
        return list(self.json_schema.get("anyOf", [self.json_schema]))

    def _hint(self, value: object) -> str:
        """What to do about a refused value, with a leading space, or nothing."""
        if isinstance(value, list):
            return " A list is an axis: it belongs under grid or zip."
        if isinstance(value, str) and self.kind == "text":
            return nearest(value, [n for option in self._options for n in option.get("enum", [])])
        if isinstance(value, str) and self.accepts(_number_in(value)):
            return " Remove the quotes."
        if isinstance(value, float) and value.is_integer() and self.accepts(int(value)):
            return f" Write {int(value)}."
        return ""


def shown(value: object) -> str:
    """Returns a value as messages show it: short, and text never mistaken for a number."""
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:37] + '...'!r}"
    if isinstance(value, list | dict):
        what, unit = ("list", "value") if isinstance(value, list) else ("mapping", "key")
        return f"a {what} of {len(value)} {unit}{'s' * (len(value) != 1)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a whole number of more than 38 digits"
    return json.dumps(value)


def _in_words(schema: dict[str, Any]) -> str:
    """Returns e.g. "a whole number >= 1" for one option of a key's JSON Schema."""
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if "pattern" in schema:
        return schema["title"]
    fixed = {"null": "null", "boolean": "true, false"}
    if schema["type"] in fixed:
        return fixed[schema["type"]]
    signs = [("exclusiveMinimum", ">"), ("minimum", ">="), ("maximum", "<=")]
    # Nobody meets the limit of int32; leaving it out keeps messages short.
    limits = [
        ("<", 1) if schema[name] == BELOW_ONE else (sign, schema[name])
        for name, sign in signs
        if schema.get(name, INT32_MAX) != INT32_MAX
    ]
    number = "a whole number" if schema["type"] == "integer" else "a number"
    return " ".join([number, " and ".join(f"{sign} {limit:.12g}" for sign, limit in limits)])


def _number_in(text: str) -> object:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
