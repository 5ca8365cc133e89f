"""Which prompts training has met, as 64-bit keys: ten million of them in 80 MB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SeenKeys", "is_among"]

_FEWEST = 2**16  # new keys that wait to be sorted in


class SeenKeys:
    """A set of int64 keys that only grows: a sorted array, and new ones that wait until they are worth a merge."""

    def __init__(self, keys: NDArray[np.int64] | None = None) -> None:
        """Begins with these keys, in any order, or with none."""
        self._sorted = np.unique(np.zeros(0, dtype=np.int64) if keys is None else keys)
        self._waiting: list[NDArray[np.int64]] = []
        self._count = 0

    def update(self, keys: NDArray[np.int64]) -> None:
        """Adds keys, int64 [n], of which it may have some already."""
        self._waiting.append(np.unique(keys))
        self._count += len(keys)
        if self._count > max(_FEWEST, len(self._sorted) // 16):
            self.array()

    def array(self) -> NDArray[np.int64]:
        """All keys, sorted, none twice; not to be written to."""
        if self._waiting:
            new = np.unique(np.concatenate(self._waiting))
            self._waiting, self._count = [], 0
            new = new[~is_among(new, self._sorted)]
            self._sorted = np.concatenate([self._sorted, new])
            self._sorted.sort(kind="stable")  # two sorted runs: a merge
        return self._sorted

    def __len__(self) -> int:
        return len(self.array())


def is_among(keys: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keys are known, bool [n].

    Args:
        keys: Int64 [n].
        known: Int64, sorted.
    """
    if not len(known):
        return np.zeros(len(keys), dtype=np.bool_)
    places = np.searchsorted(known, keys)
    found: NDArray[np.bool_] = known[np.minimum(places, len(known) - 1)] == keys
    return found
