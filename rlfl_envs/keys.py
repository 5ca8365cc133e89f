"""Randomness by key: a prompt is a pure function of one 64-bit number.

A stream of prompts is then a seed and a counter, so that any episode of any environment can be recomputed on its own,
in any order and in one NumPy call for a thousand environments. The generator is SplitMix64 used in counter mode
(Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA; the finaliser is Stafford's Mix13).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

__all__ = [
    "Keys",
    "fingerprint",
    "follower",
    "generators",
    "in_split",
    "key_at",
    "mix",
    "text_in_split",
    "uniform_integers",
    "weighted_integers",
]

Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TEST_SHARE = np.uint64(10)  # one problem in ten is held out
_WORTHWHILE = 32  # keys from which hashing them together is faster than one by one


def mix(values: Keys) -> Keys:
    """Scrambles 64-bit numbers (a bijection). Takes and returns uint64 arrays of any shape but ()."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def key_at(stream: Keys, position: NDArray[np.int64]) -> Keys:
    """Returns the key of draw number `position` (>= 0) in each stream; arrays broadcast."""
    return mix(stream + (position.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def follower(keys: Keys) -> Keys:
    """Returns the key that comes after each key in its stream, whatever that is: `mix` can be undone."""
    return mix(_unmix(keys) + _GOLDEN)


def _unmix(values: Keys) -> Keys:
    values = values ^ (values >> np.uint64(31)) ^ (values >> np.uint64(62))
    values = values * _inverse(0x94D049BB133111EB)
    values = values ^ (values >> np.uint64(27)) ^ (values >> np.uint64(54))
    values = values * _inverse(0xBF58476D1CE4E5B9)
    values = values ^ (values >> np.uint64(30)) ^ (values >> np.uint64(60))
    return values - _GOLDEN


def _inverse(factor: int) -> np.uint64:
    return np.uint64(pow(factor, -1, 2**64))


def uniform_integers(keys: Keys, high: int) -> NDArray[np.int64]:
    """Turns each key into an integer 0..high-1, 1 <= high < 2**31 (bias below high / 2**32)."""
    return (((keys >> np.uint64(32)) * np.uint64(high)) >> np.uint64(32)).astype(np.int64)


def weighted_integers(keys: Keys, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turns each key into an index of `weights`, [m], 0 or more and not all 0, with a probability in proportion."""
    shares = (mix(keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    bounds = np.cumsum(weights)
    return np.searchsorted(bounds[:-1] / bounds[-1], shares, side="right").astype(np.int64)


def generators(keys: Keys) -> Iterator[np.random.Generator]:
    """Yields `np.random.default_rng(key)` for each key, uint64 [n]; many at once ten times as fast."""
    if len(keys) < _WORTHWHILE:
        yield from map(np.random.default_rng, keys.tolist())
        return
    for words in _seed_words(keys):
        # NumPy documents that seeds may come so; its stubs leave it out.
        yield np.random.Generator(np.random.PCG64(_Words(words)))  # type: ignore[arg-type]


class _Words(ISeedSequence):
    """A SeedSequence that has been asked already."""

    def __init__(self, words: Keys) -> None:
        self._words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Keys:
        return self._words


def _seed_words(keys: Keys) -> Keys:
    """The four words that `SeedSequence(key)` gives a PCG64, uint64 [n, 4].

    The hash is O'Neill's `seed_seq_fe` (2015), which NumPy promises to keep: 32-bit words are mixed into a pool of
    four, each into each other one, and the pool is then read twice.
    """
    constant, factor = 0x43B0D7E5, 0x931E8875

    def hashed(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        nonlocal constant
        words = words ^ np.uint32(constant)
        constant = constant * factor % 2**32
        words = words * np.uint32(constant)
        return words ^ (words >> np.uint32(16))

    zero = np.zeros(len(keys), dtype=np.uint32)
    low, high = keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.uint32)
    pool = [hashed(words) for words in (low, high, zero, zero)]
    for source, target in permutations(range(4), 2):
        mixed = pool[target] * np.uint32(0xCA01F9DD) - hashed(pool[source]) * np.uint32(0x4973F715)
        pool[target] = mixed ^ (mixed >> np.uint32(16))
    constant, factor = 0x8B51F9DD, 0x58F38DED
    words = np.stack([hashed(words) for words in pool * 2], axis=1).astype(np.uint64)
    return words[:, ::2] | words[:, 1::2] << np.uint64(32)


def fingerprint(codes: NDArray[np.int64], length: NDArray[np.int64] | None = None) -> Keys:
    """Hashes each row of codes, the same on every platform and in every version.

    Args:
        codes: int64 [n, m], one problem a row.
        length: int64 [n], how many codes of each row count; all of them by default.

    Returns:
        uint64 [n].
    """
    digest = np.zeros(len(codes), dtype=np.uint64)
    for column in range(codes.shape[1]):
        longer = mix(digest ^ (codes[:, column].astype(np.uint64) + np.uint64(1)) * _GOLDEN)
        digest = longer if length is None else np.where(column < length, longer, digest)
    return digest


def in_split(fingerprints: Keys, split: str) -> NDArray[np.bool_]:
    """Says which problems belong to a split ("train", "test" or "all"); bool, the shape of fingerprints."""
    if split == "all":
        return np.ones(fingerprints.shape, dtype=np.bool_)
    held_out: NDArray[np.bool_] = fingerprints % _TEST_SHARE == 0
    return held_out if split == "test" else ~held_out


def text_in_split(text: str, split: str) -> bool:
    """`in_split` for a problem written as text."""
    if split == "all":
        return True
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    is_held_out = int.from_bytes(digest, "little") % int(_TEST_SHARE) == 0
    return is_held_out == (split == "test")
