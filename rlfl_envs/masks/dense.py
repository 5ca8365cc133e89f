"""Masks as arrays with a column for each token, as Gymnasium's infos have them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.masks.base import MaskTable

__all__ = ["NO_ROW", "DenseMasks"]

NO_ROW = -1
"""The number of a row of zeros, which no table has."""

_SMALL = 2**20  # bytes; less is made anew in no time
_MOST_BUFFERS = 3
_SCATTER = 64  # writing a byte here and there takes as long as writing so many in a row


@dataclass(slots=True)
class _Buffer:
    """Memory that arrays are lent from, one after the other.

    Attributes:
        masks: int8 [N, V].
        numbers: int32 [N], which rows of the table stand there.
        lent: The array that shows it, for as long as anybody holds it or a view of it.
    """

    masks: NDArray[np.int8]
    numbers: NDArray[np.int32]
    lent: weakref.ref[NDArray[np.int8]] | None = None

    @property
    def is_free(self) -> bool:
        """Whether nobody looks at it."""
        return self.lent is None or self.lent() is None

    def lend(self) -> NDArray[np.int8]:
        """Shows it, read-only."""
        array = np.asarray(self.masks.data.toreadonly())  # views of an array made so keep this array alive
        self.lent = weakref.ref(array)
        return array


class DenseMasks:
    """Makes arrays int8 [N, V] of N row numbers.

    Such an array may have 50 MB, and new memory takes several times as long as writing to it. So the memory of an array
    that nobody holds any more, neither it nor a view of it, is lent again, and in it only what differs is written. An
    array that somebody holds never changes.
    """

    def __init__(self, table: MaskTable) -> None:
        """Shows rows of this table."""
        self._table = table
        self._epoch = table.epoch
        self._buffers: list[_Buffer] = []

    def show(self, numbers: NDArray[np.int32]) -> NDArray[np.int8]:
        """The rows of these numbers, int32 [N], or zeros for `NO_ROW`: int8 [N, V], to be read only.

        Where all are the same row, it is a view of that row.
        """
        rows = self._table.rows
        shape = (len(numbers), rows.shape[1])
        if numbers[0] != NO_ROW and (numbers == numbers[0]).all():
            return np.broadcast_to(rows[numbers[0]], shape)
        if shape[0] * shape[1] <= _SMALL:
            return _rows(rows, numbers)
        buffer = self._free_buffer(shape)
        self._write(buffer, numbers)
        return buffer.lend()

    def _free_buffer(self, shape: tuple[int, int]) -> _Buffer:
        if self._epoch != self._table.epoch:
            self._epoch = self._table.epoch
            self._buffers.clear()
        for buffer in self._buffers:
            if buffer.is_free and buffer.masks.shape == shape:
                return buffer
        buffer = _Buffer(np.zeros(shape, dtype=np.int8), np.full(shape[0], NO_ROW, dtype=np.int32))
        self._buffers = [*self._buffers[1 - _MOST_BUFFERS :], buffer]
        return buffer

    def _write(self, buffer: _Buffer, numbers: NDArray[np.int32]) -> None:
        """Writes the rows that are others than before."""
        rows = self._table.rows
        changed = np.flatnonzero(buffer.numbers != numbers)
        columns = np.flatnonzero(self._table.columns)
        if len(columns) * _SCATTER <= rows.shape[1]:  # few tokens are ever legal
            places = changed[:, None] * rows.shape[1] + columns
            buffer.masks.reshape(-1)[places] = _rows(rows[:, columns], numbers[changed])
        else:
            for place, number in zip(changed.tolist(), numbers[changed].tolist(), strict=True):
                buffer.masks[place] = 0 if number == NO_ROW else rows[number]
        buffer.numbers[:] = numbers

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the memory out: what was lent stays with the original."""
        return self.__dict__ | {"_buffers": []}


def _rows(rows: NDArray[np.int8], numbers: NDArray[np.int32]) -> NDArray[np.int8]:
    found: NDArray[np.int8] = rows[numbers]
    found[numbers == NO_ROW] = 0
    return found
