"""Plain data: what may cross into a sandbox and out of it, how it is written as JSON, and when two of it are the same.

Plain are None, bool, int, float, str, bytes, and lists, tuples, sets, frozensets and dicts of them: those very types,
no subclasses.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

__all__ = ["decode", "encode", "same"]

_MAX_DEPTH = 50
_MAX_BITS = 14_000  # Python writes no integer of more than 4,300 digits
_SIMPLE = (int, str, bool, bytes, type(None))  # of which none holds another, and each is equal to itself
_GROUPS: dict[str, type] = {kind.__name__: kind for kind in (tuple, set, frozenset)}


def encode(value: object, size: int = 10_000_000) -> Any:
    """Writes plain data so that JSON keeps every type apart: a list as a list, a tuple as `{"tuple": [...]}`.

    Args:
        value: Any object.
        size: How many values and characters it may hold; what it holds twice counts twice.

    Raises:
        TypeError: The value is, or holds, something that is not plain.
        OverflowError: It is larger than `size`, deeper than 50 levels, or holds an integer of over 4,200 digits.
    """
    return _encode(value, [size], 0)


def _encode(value: Any, left: list[int], depth: int) -> Any:
    kind = type(value)
    left[0] -= 1 + len(value) if kind is str or kind is bytes else 1
    if left[0] < 0 or depth > _MAX_DEPTH:
        raise OverflowError("too large, or too deep")
    if kind is int:
        if value.bit_length() > _MAX_BITS:
            raise OverflowError("too long an integer")
        return value
    if kind is str or kind is bool or value is None:
        return value
    if kind is list or kind in _GROUPS.values():
        items = [_encode(item, left, depth + 1) for item in value]
        return items if kind is list else {kind.__name__: items}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is dict:
        pairs = value.items()
        return {"dict": [[_encode(key, left, depth + 1), _encode(item, left, depth + 1)] for key, item in pairs]}
    raise TypeError(f"{kind.__name__} is not plain")


def decode(written: Any) -> Any:
    """Reads what `encode` wrote."""
    if isinstance(written, list):
        return [decode(item) for item in written]
    if not isinstance(written, dict):
        return written
    ((kind, content),) = written.items()
    if kind == "float":
        return float(content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "dict":
        return {decode(key): decode(item) for key, item in content}
    return _GROUPS[kind](decode(item) for item in content)


def same(one: object, other: object) -> bool:
    """Whether two plain values are equal, types included: True is not 1, nor 1 1.0, nor [1] (1,); NaN is NaN."""
    return (type(one) is type(other) and one == other) if type(one) in _SIMPLE else _frozen(one) == _frozen(other)


def _frozen(value: object) -> Hashable:
    """Something hashable that is equal for the same values alone."""
    kind = type(value)
    if kind in _SIMPLE:
        return kind, value
    if isinstance(value, list | tuple):
        return kind, tuple(map(_frozen, value))
    if isinstance(value, set | frozenset):
        return kind, frozenset(map(_frozen, value))
    if isinstance(value, dict):
        return kind, frozenset((_frozen(key), _frozen(item)) for key, item in value.items())
    if isinstance(value, float) and math.isnan(value):
        return kind, "nan"
    assert isinstance(value, Hashable)
    return kind, value
