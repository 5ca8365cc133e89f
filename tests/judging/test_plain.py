"""Plain data: written as JSON and read back it is the same, and the same means types, too."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs.judging.plain import decode, encode, same

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
_KEYS = st.recursive(_SCALARS, lambda keys: st.tuples(keys, keys) | st.frozensets(keys, max_size=3), max_leaves=4)
PLAIN = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(_KEYS, max_size=3)
        | st.dictionaries(_KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_there_and_back(value: Any) -> None:
    """By way of JSON's strict form, with the order of dicts."""
    back = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert same(back, value)
    assert repr(back) == repr(value) or "{" in repr(value)  # where a set is in it, its order is free
    if isinstance(value, dict):
        assert same([*back], [*value])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        ("", b""),
        ([1], (1,)),
        ({1}, frozenset({1})),
        ({1}, {True}),
        ({"a": 1}, {"a": 1.0}),
        ({1: "a"}, {True: "a"}),
        ([[1]], [[True]]),
        ([1, 2], [2, 1]),
        (math.nan, None),
        (math.nan, 0.0),
        (None, 0),
    ],
    ids=repr,
)
def test_what_is_not_the_same(one: Any, other: Any) -> None:
    """Though Python calls most of these equal."""
    assert not same(one, other)
    assert not same([one], [other])


@pytest.mark.parametrize("value", [math.nan, [math.nan], {"a": {math.nan}}, -math.inf, {True: 1, 2: [()]}], ids=repr)
def test_what_is_the_same(value: Any) -> None:
    """NaN is NaN, whichever object it is; the order of a dict does not matter; nor does the sign of zero."""
    assert same(value, decode(encode(value)))
    assert same({1: 2, 3: 4}, {3: 4, 1: 2})
    assert same(0.0, -0.0)


@pytest.mark.parametrize(
    "value",
    [1j, print, object(), [range(3)], Counter("a"), OrderedDict(), type, bytearray()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain(value: Any) -> None:
    """Objects of other types, subclasses of plain ones among them."""
    with pytest.raises(TypeError, match="is not plain"):
        encode(value)


def test_size_is_limited() -> None:
    """Of values and characters, wherever they are; of integers; and of depth, so that nothing runs out of stack."""
    assert encode(["ab", 1], 5) == ["ab", 1]
    with pytest.raises(OverflowError):
        encode(["ab", 1], 4)
    with pytest.raises(OverflowError):
        encode(10**5000)
    bomb: list[Any] = [1]
    for _ in range(40):
        bomb = [bomb, bomb]
    with pytest.raises(OverflowError):
        encode(bomb, 1000)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(OverflowError):
        encode(deep)
