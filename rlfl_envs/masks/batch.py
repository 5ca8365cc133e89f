"""The masks of many episodes side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.masks.base import MaskTable, TokenMask
from rlfl_envs.masks.dense import NO_ROW, DenseMasks

__all__ = ["BatchMasks"]


class BatchMasks:
    """Where N episodes are in their mask, and which rows of its table these places have.

    Attributes:
        table: The mask's table.
        rows: int32 [N], the number of each episode's row.
    """

    def __init__(self, mask: TokenMask, num_envs: int) -> None:
        """Takes the mask; every episode has yet to begin."""
        self._mask = mask
        self._states = np.zeros(num_envs, dtype=np.int64)
        self._dense, self._partial = DenseMasks(mask.table), DenseMasks(mask.table)
        self.table: MaskTable = mask.table
        self.rows = np.zeros(num_envs, dtype=np.int32)

    def begin(
        self, begun: NDArray[np.intp], others: NDArray[np.intp], starts: Callable[[TokenMask], Sequence[int]]
    ) -> None:
        """Begins episodes; the mask may forget what the ones before them needed.

        Args:
            begun: int64 [n], which episodes.
            others: int64 [m], the episodes that go on.
            starts: Asks the mask for the first states, [n]; not called where the mask reads no syntax.
        """
        if self._mask.is_constant:
            return
        epoch = self.table.epoch
        self._states[others] = self._mask.keep(self._states[others])
        self._states[begun] = starts(self._mask) if self._mask.reads_syntax else 0
        new = begun if self.table.epoch == epoch else np.concatenate([begun, others])
        self.rows[new] = self._mask.row_numbers(self._states[new])

    def follow(self, episodes: NDArray[np.intp], tokens: NDArray[np.int64]) -> None:
        """Appends legal tokens that do not end, int64 [n], to episodes, int64 [n]."""
        if not self._mask.is_constant:
            self._states[episodes] = states = self._mask.next_states(self._states[episodes], tokens)
            self.rows[episodes] = self._mask.row_numbers(states)

    def are_legal(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each episode's token, int64 [N], may come next: bool [N]."""
        legal: NDArray[np.bool_] = self.table.rows[self.rows, tokens] != 0
        return legal

    def dense(self, present: NDArray[np.bool_] | None = None) -> NDArray[np.int8]:
        """The masks as one array, int8 [N, V], to be read only; 0 for those that are not present, bool [N]."""
        if present is None or present.all():
            return self._dense.show(self.rows)
        return self._partial.show(np.where(present, self.rows, np.int32(NO_ROW)))
