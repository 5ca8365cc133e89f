"""Results of experiments: one `results.jsonl` for each experiment, one JSON object a line.

A line has `schema`, the words and numbers that name the run (such as `variant` and `seed`), its `settings` as far as
they are not the defaults, and what was measured. Lines are only ever added, so that a killed process can leave half a
line at the end and nothing else; half a line counts as none.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlfl_envs import ConfigError

__all__ = ["SCHEMA", "append_result", "changed_settings", "find_results", "read_results"]

SCHEMA = 2
"""The version of this format. It grows when a key changes its meaning, or a setting its default."""


def read_results(path: Path) -> list[dict[str, Any]]:
    """Reads all results of an experiment, in the order in which they were added; none where there is no file.

    Args:
        path: A `results.jsonl`.

    Raises:
        ConfigError: A line is no JSON object of this schema or an older one.
    """
    if not path.exists():
        return []
    results = []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            result = json.loads(line, parse_constant=_refuse)
            schema = result["schema"]
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"Line {number} of {str(path)!r} is no result: a JSON object with a schema.") from error
        if schema not in range(1, SCHEMA + 1):
            raise ConfigError(f"Line {number} of {str(path)!r} has schema={schema!r}; allowed: 1 to {SCHEMA}.")
        results.append(result)
    return results


def find_results(path: Path, **key: Any) -> list[dict[str, Any]]:
    """The results whose entries equal these, by seed: `find_results(path, variant="PPO")` has all seeds of PPO."""
    key = json.loads(json.dumps(key))  # as it is read: a tuple is a list
    found = [result for result in read_results(path) if all(result.get(name) == key[name] for name in key)]
    return sorted(found, key=lambda result: result.get("seed", 0))


def append_result(path: Path, result: Mapping[str, Any]) -> None:
    """Adds a result, with the schema in front. Several processes may add to one file at a time.

    Args:
        path: A `results.jsonl`; it is made, with its folder, where it is missing.
        result: JSON-able. NaN, which is no JSON, is written as null.

    Raises:
        OSError: It could not be written.
        ValueError: It has an infinite number.
    """
    line = json.dumps({"schema": SCHEMA, **_without_nan(result)}, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, or its process ends
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def changed_settings(config: Any) -> dict[str, Any]:
    """The settings of a dataclass that are not their defaults, JSON-able."""
    return {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != _default(field)
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
