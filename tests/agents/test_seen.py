"""The set of keys that training has met: an array, which merges what is new when it is worth it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_agents.run import seen
from rlfl_agents.run.seen import SeenKeys, is_among

_KEYS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=20)


@given(st.lists(_KEYS, max_size=8))
def test_it_is_a_set(batches: list[list[int]]) -> None:
    """However the keys come, and whenever they are merged; sorted, none twice."""
    expected: set[int] = set()
    keys = SeenKeys(np.array(batches[0] if batches else [], dtype=np.int64))
    expected.update(batches[0] if batches else [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen, "_FEWEST", 10)
        for batch in batches:
            keys.update(np.array(batch, dtype=np.int64))
            expected.update(batch)
    assert keys.array().tolist() == sorted(expected)
    assert keys.array().dtype == np.int64
    assert len(keys) == len(expected)


@given(_KEYS, _KEYS)
def test_membership(known: list[int], asked: list[int]) -> None:
    """As of sets."""
    found = is_among(np.array(asked, dtype=np.int64), np.array(sorted(known), dtype=np.int64))
    assert found.tolist() == [key in set(known) for key in asked]


def test_a_key_takes_eight_bytes() -> None:
    """And no more than a sixteenth of them waits, so that ten million take well under 200 MB."""
    rng = np.random.default_rng(0)
    keys = SeenKeys()
    for _ in range(100):
        keys.update(rng.integers(-(2**63), 2**63 - 1, size=10_000))
        waiting = sum(len(each) for each in keys._waiting)
        assert waiting <= max(seen._FEWEST, len(keys._sorted) // 16)
    assert keys.array().nbytes == 8 * len(keys) == 8 * 10**6


def test_what_was_given_out_stays_as_it_was() -> None:
    """A checkpoint that is being written holds the array, while training goes on."""
    keys = SeenKeys(np.arange(3))
    before = keys.array()
    keys.update(np.array([-5, 7]))
    assert keys.array().tolist() == [-5, 0, 1, 2, 7]
    assert before.tolist() == [0, 1, 2]
