"""Keys: the same numbers on every machine and in every version, evenly spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs.keys import fingerprint, follower, generators, in_split, key_at, mix, text_in_split, uniform_integers

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def test_mix_is_splitmix64() -> None:
    """The published sequence of the generator seeded with 1234567."""
    with np.errstate(over="ignore"):
        states = np.uint64(1234567) + np.arange(5, dtype=np.uint64) * GOLDEN
    assert mix(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**9))
def test_a_key_says_which_comes_next(stream: int, position: int) -> None:
    """From a key alone the next of its stream follows, of every stream at every position."""
    streams = np.array([stream], dtype=np.uint64)
    after = follower(key_at(streams, np.array([position])))
    assert after.tolist() == key_at(streams, np.array([position + 1])).tolist()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3), st.sampled_from([1, 40]))
def test_many_generators_are_those_of_numpy(keys: list[int], times: int) -> None:
    """Each key has the generator that NumPy makes of it, also where many are made at once."""
    made = generators(np.array(keys * times, dtype=np.uint64))
    for key, rng in zip(keys * times, made, strict=True):
        assert rng.bit_generator.state == np.random.default_rng(key).bit_generator.state


def test_golden_values() -> None:
    """Prompts stand on these; if one changes, every id needs a new version."""
    streams = np.array([0, 1, 2**64 - 1], dtype=np.uint64)
    assert key_at(streams, np.array([0, 1, 10**6])).tolist() == [
        7960286522194355700,
        17911839290282890590,
        16815778042921076531,
    ]
    assert uniform_integers(mix(np.arange(8, dtype=np.uint64)), 11).tolist() == [9, 6, 6, 1, 4, 4, 8, 4]
    codes = np.array([[2, 0, 3], [2, 0, 4]])
    assert fingerprint(codes).tolist() == [2555836080173061084, 14169668987459275470]
    assert fingerprint(codes, np.array([2, 2])).tolist() == [12882257545531480927] * 2
    held_out = [text for text in (f"{i}+{j}" for i in range(10) for j in range(10)) if text_in_split(text, "test")]
    assert held_out == ["0+4", "2+4", "3+3", "3+9", "6+7", "7+5", "9+5"]


@given(stream=st.integers(0, 2**64 - 1), positions=st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_key_at_is_elementwise(stream: int, positions: list[int]) -> None:
    """A key depends on its stream and its position alone, not on what it is computed with."""
    streams = np.array([stream], dtype=np.uint64)
    together = key_at(streams, np.array(positions))
    assert together.tolist() == [int(key_at(streams, np.array([position]))[0]) for position in positions]
    assert len(set(together.tolist())) == len(set(positions))


@pytest.mark.parametrize("high", [1, 2, 3, 10, 11, 1000, 2**31 - 1])
def test_uniform_integers(high: int) -> None:
    """All of 0..high-1, equally often."""
    numbers = uniform_integers(key_at(np.array([3], dtype=np.uint64), np.arange(60_000)), high)
    assert numbers.dtype == np.int64
    assert numbers.min() >= 0
    assert numbers.max() < high
    bins = min(high, 50)
    counts = np.bincount(numbers * bins // high, minlength=bins)
    edges = -(-np.arange(bins + 1) * high // bins)  # how many of the integers fall into each bin
    expected = 60_000 * np.diff(edges) / high
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < bins - 1 + 5 * np.sqrt(2 * bins) + 1


def test_streams_are_independent() -> None:
    """Neighbouring streams and positions have no common keys, and no correlation."""
    keys = key_at(np.arange(300, dtype=np.uint64)[:, None], np.arange(300))
    assert len(np.unique(keys)) == keys.size
    numbers = uniform_integers(keys, 1000).astype(float)
    for one, other in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


def test_fingerprint_tells_problems_apart() -> None:
    """Order and length count; columns beyond the length do not."""
    problems = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (0, 0, 0), (2, 1, 0), (0, 1, 2)]
    codes = np.full((len(problems), 5), 9)
    for row, problem in zip(codes, problems, strict=True):
        row[: len(problem)] = problem
    lengths = np.array([len(problem) for problem in problems])
    first = fingerprint(codes, lengths)
    assert len(np.unique(first)) == len(problems)
    assert fingerprint(np.where(codes == 9, 4, codes)[:, :3], lengths).tolist() == first.tolist()


def test_splits() -> None:
    """A tenth is "test"; "train" is the rest; "all" is everything. The same for text."""
    fingerprints = mix(np.arange(20_000, dtype=np.uint64))
    test, train = in_split(fingerprints, "test"), in_split(fingerprints, "train")
    assert (test ^ train).all()
    assert in_split(fingerprints, "all").all()
    assert 0.09 < test.mean() < 0.11
    texts = [f"problem {i}" for i in range(20_000)]
    held_out = [text_in_split(text, "test") for text in texts]
    assert [not text_in_split(text, "train") for text in texts] == held_out
    assert all(text_in_split(text, "all") for text in texts)
    assert 0.09 < np.mean(held_out) < 0.11
