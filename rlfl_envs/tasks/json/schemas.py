"""Schemas: drawing them, their leaves, and values that fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlfl_envs.tasks.json.documents import written

__all__ = ["Leaf", "draw_schema", "leaves", "some_value"]

NAMES = (
    "age", "area", "city", "code", "color", "count", "day", "depth", "grade", "height", "item", "kind", "level",
    "mode", "month", "name", "page", "price", "rank", "score", "size", "state", "unit", "year",
)  # fmt: skip
GROUPS = ("box", "home", "order", "owner", "part", "team")
CHOICES = (
    "blue", "cold", "dry", "east", "fast", "green", "high", "hot", "late", "left", "long", "low", "new", "north",
    "old", "open", "red", "right", "short", "slow", "small", "soft", "south", "warm", "west", "wet", "wide",
)  # fmt: skip

_PLAIN = ("boolean", "integer", "number", "string")  # types that need no bounds


@dataclass(frozen=True, slots=True)
class Leaf:
    """A property that has no properties.

    Attributes:
        path: The names that lead to it.
        schema: Its schema, written.
        is_required: Whether it has to be there.
    """

    path: tuple[str, ...]
    schema: str
    is_required: bool


def draw_schema(size: int, rng: np.random.Generator) -> dict[str, Any]:
    """Draws a schema of so many leaves: from 3 on with lists among them, from 4 on with an object in the object."""
    names = [NAMES[i] for i in rng.permutation(len(NAMES))[:size]]
    properties = {name: _draw_leaf(size, rng) for name in names}
    if size >= 4:
        inner = {name: properties.pop(name) for name in names[-2:]}
        properties[GROUPS[int(rng.integers(len(GROUPS)))]] = _object(inner, rng)
    return _object(properties, rng)


def _object(properties: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    required = [name for name in properties if "properties" in properties[name] or rng.random() < 0.7]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _draw_leaf(size: int, rng: np.random.Generator) -> dict[str, Any]:
    kind = int(rng.integers(3 + (size >= 2) + (size >= 3)))
    low = int(rng.integers(100))
    integer = {"type": "integer", "minimum": low, "maximum": low + int(rng.integers(1, 100))}
    if kind == 0:
        return integer
    if kind == 1:
        return {"enum": [CHOICES[i] for i in rng.permutation(len(CHOICES))[: rng.integers(2, 5)]]}
    if kind == 2:
        return {"type": "boolean"}
    low = int(rng.integers(1, 4))
    if kind == 3:
        return {"type": "string", "minLength": low, "maxLength": low + int(rng.integers(4))}
    return {"type": "array", "items": integer, "minItems": low, "maxItems": low + int(rng.integers(2))}


def leaves(schema: Any, path: tuple[str, ...] = (), is_required: bool = True) -> Iterator[Leaf]:
    """The leaves of a schema, in order.

    Raises:
        ValueError: It is none of those that could be drawn.
    """
    if not isinstance(schema, dict):
        raise ValueError(f"no schema: {schema!r}")
    if "properties" not in schema:
        _check_leaf(schema)
        yield Leaf(path, written(schema), is_required)
        return
    properties, required = schema["properties"], schema.get("required")
    is_object = list(schema) == ["type", "properties", "required", "additionalProperties"]
    is_closed = schema["type"] == "object" and schema.get("additionalProperties") is False
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise ValueError(f"no object's schema: {written(schema)}")
    is_known = set(map(str, required)) <= {*properties}
    if not (is_object and is_closed and is_known and len(path) < 2 and all(map(_is_name, properties))):
        raise ValueError(f"no object's schema: {written(schema)}")
    for name, inner in properties.items():
        yield from leaves(inner, (*path, name), is_required and name in required)


def _is_name(name: str) -> bool:
    return name.isascii() and name.isalpha()


def _check_leaf(schema: dict[str, Any]) -> None:
    kind: Any = schema.get("type")
    bounds: dict[Any, tuple[str, str]] = {
        "integer": ("minimum", "maximum"),
        "string": ("minLength", "maxLength"),
        "array": ("minItems", "maxItems"),
    }
    if [*schema] == ["type"]:
        is_right = kind in _PLAIN
    elif [*schema] == ["enum"]:
        is_right = isinstance(schema["enum"], list) and len(schema["enum"]) > 0
        is_right = is_right and all(isinstance(choice, str) for choice in schema["enum"])
    elif kind in bounds:
        low, high = _whole(schema, bounds[kind][0]), _whole(schema, bounds[kind][1])
        is_right = low <= high
        is_right = is_right and (kind == "integer" or 0 <= low <= high <= 16)
        is_right = is_right and {*schema} == {"type", *bounds[kind], *(["items"] if kind == "array" else [])}
        if is_right and kind == "array":
            _check_leaf(schema["items"] if isinstance(schema["items"], dict) else {})
            is_right = schema["items"].get("type") == "integer"
    else:
        is_right = False
    if not is_right:
        raise ValueError(f"no schema of a value: {written(schema)}")


def _whole(schema: dict[str, Any], name: str) -> int:
    number = schema.get(name)
    if type(number) is not int:
        raise ValueError(f"no bound {name}: {written(schema)}")
    return number


def some_value(schema: dict[str, Any], rng: np.random.Generator | None) -> Any:
    """A value that fits a leaf's schema: any, or without a generator the least."""
    kind = schema.get("type", "enum")
    if kind == "enum":
        return schema["enum"][int(rng.integers(len(schema["enum"]))) if rng else 0]
    if kind == "boolean":
        return bool(rng.integers(2)) if rng else True
    if kind == "number":
        return _between(0, 199, rng) / 2
    if kind == "integer":
        return _between(schema.get("minimum", 0), schema.get("maximum", 99), rng)
    if kind == "string" and len(schema) == 1:
        return CHOICES[int(rng.integers(len(CHOICES)))] if rng else CHOICES[0]
    if kind == "string":
        length = _between(schema["minLength"], schema["maxLength"], rng)
        return "".join(chr(97 + int(rng.integers(26))) if rng else "a" for _ in range(length))
    count = _between(schema["minItems"], schema["maxItems"], rng)
    return [some_value(schema["items"], rng) for _ in range(count)]


def _between(low: int, high: int, rng: np.random.Generator | None) -> int:
    return int(rng.integers(low, high + 1)) if rng else low
