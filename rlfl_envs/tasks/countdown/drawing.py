"""How problems are drawn: a target is taken apart until only numbers are left, for a thousand keys at once."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.errors import ConfigError
from rlfl_envs.keys import Keys, fingerprint, in_split, key_at, mix, uniform_integers
from rlfl_envs.tasks.countdown.config import CountdownConfig

__all__ = ["Problems", "draw_problems", "problem_fingerprints"]

_MAX_ATTEMPTS = 10_000  # a split that rejects this many problems in a row will reject them all
_TIMES = 10  # an intermediate value is at most so many times the largest number
_DRAWS = 4  # random numbers that one step of taking apart may use


class Problems(NamedTuple):
    """Some problems, one a row.

    Attributes:
        numbers: int64 [n, max_numbers], in the prompt's order; 0 where there are fewer.
        counts: int64 [n], how many numbers there are.
        targets: int64 [n].
    """

    numbers: NDArray[np.int64]
    counts: NDArray[np.int64]
    targets: NDArray[np.int64]


def problem_fingerprints(problems: Problems) -> Keys:
    """A hash of each problem, uint64 [n], the same for its numbers in any order."""
    codes = np.concatenate([problems.targets[:, None], -np.sort(-problems.numbers, axis=1)], axis=1)
    return fingerprint(codes, problems.counts + 1)


def draw_problems(keys: Keys, config: CountdownConfig) -> Problems:
    """Draws a problem of the split for each key, uint64 [n], attempt after attempt.

    Raises:
        ConfigError: The arguments leave (nearly) nothing.
    """
    n = len(keys)
    found = Problems(np.zeros((n, config.max_numbers), np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64))
    divisors = _divisors(_TIMES * max(config.largest, config.max_target))
    rows = np.arange(n)
    for attempt in range(_MAX_ATTEMPTS):
        problems, is_good = _take_apart(key_at(keys[rows], np.array([attempt])), config, divisors)
        is_good &= in_split(problem_fingerprints(problems), config.split)
        for array, values in zip(found, problems, strict=True):
            array[rows[is_good]] = values[is_good]
        rows = rows[~is_good]
        if not len(rows):
            return found
    raise ConfigError(
        f"split={config.split!r} holds none of {_MAX_ATTEMPTS} problems drawn; "
        "allowed here: 'all', or other numbers and targets."
    )


def _take_apart(keys: Keys, config: CountdownConfig, divisors: NDArray[np.int64]) -> tuple[Problems, NDArray[np.bool_]]:
    """Draws a target, and takes it apart until only numbers are left.

    A value of k numbers is split into values of i and of k - i numbers, i uniform, by one of the operators that allow
    it, each as likely. All values are positive integers.

    Returns:
        The problems, whatever the split; and which of them came out, bool [n]. A value may be one that cannot be split.
    """
    n, most = len(keys), config.max_numbers
    row = np.arange(n)
    counts = config.min_numbers + uniform_integers(mix(keys), most - config.min_numbers + 1)
    spread = config.max_target - config.min_target + 1
    targets = config.min_target + uniform_integers(key_at(keys, np.array([0])), spread)
    values, sizes = np.zeros((n, most), dtype=np.int64), np.zeros((n, most), dtype=np.int64)
    values[:, 0], sizes[:, 0] = targets, counts
    is_good = np.ones(n, dtype=np.bool_)
    for step in range(1, most):
        slot = np.argmax(sizes > 1, axis=1)
        size = sizes[row, slot]
        active = np.flatnonzero((size > 1) & is_good)
        if not len(active):
            break
        at, slot, size = active, slot[active], size[active]
        random = [key_at(keys[at], np.array([_DRAWS * step + draw])) for draw in range(_DRAWS)]
        second = 1 + _below(random[0], size - 1)
        left, right, is_split = _split(values[at, slot], size - second, second, random[1:], config, divisors)
        values[at, slot], sizes[at, slot] = left, size - second
        values[at, step], sizes[at, step] = right, second
        is_good[at] = is_split
    order = key_at(keys[:, None], np.arange(most) + _DRAWS * (most + 1))
    order[sizes == 0] = np.uint64(2**64 - 1)  # what is not there comes last
    numbers = np.take_along_axis(values, np.argsort(order, axis=1, kind="stable"), axis=1)
    is_good &= (numbers != targets[:, None]).all(axis=1)
    return Problems(numbers, counts, targets), is_good


def _split(
    values: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    random: list[Keys],
    config: CountdownConfig,
    divisors: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Splits values, [n], into a left side of `first` numbers and a right side of `second`.

    Returns:
        Both sides, and whether any operator allows it, [n] each.
    """
    most_left, most_right = (np.where(size == 1, config.largest, _TIMES * config.largest) for size in (first, second))
    # Of each operator, how many right sides there are, and the least of them: + - /, then the divisors.
    least_added = np.maximum(values - most_left, 1)
    added = np.minimum(values - 1, most_right) - least_added + 1
    subtracted = np.minimum(np.minimum(most_right, 2 * config.largest), most_left - values)
    divided = np.minimum(most_right, most_left // values) - 1  # from 2 on
    factors = divisors[values]
    is_factor = (factors > 1) & (factors < values[:, None]) & (factors <= most_right[:, None])
    is_factor &= values[:, None] // np.maximum(factors, 1) <= most_left[:, None]
    ways = np.maximum(np.stack([added, subtracted, divided, is_factor.sum(axis=1)], axis=1), 0)
    operator = _choose(ways > 0, random[0])
    way = _below(random[1], np.maximum(np.take_along_axis(ways, operator[:, None], axis=1)[:, 0], 1))
    factor = np.take_along_axis(factors, np.argmax(np.cumsum(is_factor, axis=1) > way[:, None], axis=1)[:, None], 1)
    factor = np.maximum(factor[:, 0], 1)
    right = np.choose(operator, [least_added + way, 1 + way, 2 + way, factor])
    left = np.choose(operator, [values - right, values + right, values * right, values // factor])
    return left, right, (ways > 0).any(axis=1)


def _choose(allowed: NDArray[np.bool_], keys: Keys) -> NDArray[np.int64]:
    """A column that is allowed in each row of bool [n, m], each as likely; 0 where none is."""
    wanted = _below(keys, np.maximum(allowed.sum(axis=1), 1))
    column: NDArray[np.int64] = np.argmax(np.cumsum(allowed, axis=1) > wanted[:, None], axis=1)
    return column


def _below(keys: Keys, high: NDArray[np.int64]) -> NDArray[np.int64]:
    """`uniform_integers` with a bound for each key."""
    return (((keys >> np.uint64(32)) * high.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


@lru_cache(maxsize=8)
def _divisors(largest: int) -> NDArray[np.int64]:
    """The divisors of each number 0..largest, a row each, 0 where there are no more."""
    pairs = [(multiple, each) for each in range(1, largest + 1) for multiple in range(each, largest + 1, each)]
    number, divisor = np.array(sorted(pairs)).T
    first = np.searchsorted(number, np.arange(largest + 1))
    place = np.arange(len(number)) - first[number]
    table = np.zeros((largest + 1, int(place.max()) + 1), dtype=np.int64)
    table[number, place] = divisor
    return table
