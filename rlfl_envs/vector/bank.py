"""Where a vector environment's prompts come from: drawn ahead, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import OutcomeArrays, Prompt
from rlfl_envs.keys import Keys, key_at
from rlfl_envs.levels import Levels
from rlfl_envs.protocols import ArrayTask
from rlfl_envs.task import Task

__all__ = ["PromptBank", "TextBatch"]


class PromptBank:
    """Draws prompts a few episodes ahead, so that the handful that a step starts costs a share of one large draw."""

    def __init__(self, batch: ArrayTask, levels: Levels, num_envs: int, lookahead: int) -> None:
        """Takes where prompts come from, at which levels, for how many environments and how far ahead."""
        self._batch = batch
        self._levels = levels
        self._room = self._lookahead = lookahead
        columns, data = batch.arrays_from_keys(np.zeros(1, dtype=np.uint64))
        self._columns = np.zeros((num_envs, lookahead, columns.shape[1]), dtype=np.int64)
        self.data = np.zeros((num_envs, lookahead), dtype=data.dtype)
        self._streams = np.zeros(num_envs, dtype=np.uint64)
        self._first = np.full(num_envs, -lookahead)  # the episode in slot 0 of each row

    def forget(self) -> None:
        """Says that the levels have changed: other prompts are wanted than those drawn ahead."""
        self._lookahead = self._room if self._levels.are_whole else 1  # levels may change with every reset
        self._first[:] = -self._room

    def take(
        self, rows: NDArray[np.intp], streams: Keys, episodes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Returns the prompts of rows: each row's stream at its episode number (both given for all environments)."""
        offset = episodes - self._first
        is_missing = (offset < 0) | (offset >= self._lookahead) | (streams != self._streams)
        if is_missing[rows].any():
            # While at it, all rows that have used up half of theirs.
            self._fill(
                np.flatnonzero(is_missing | (offset > self._lookahead // 2)) if self._lookahead > 1 else rows,
                streams,
                episodes,
            )
        slots = (episodes - self._first)[rows]
        return self._columns[rows, slots], self.data[rows, slots]

    def _fill(self, rows: NDArray[np.intp], streams: Keys, episodes: NDArray[np.int64]) -> None:
        shape = len(rows), self._lookahead
        keys = key_at(streams[rows, None], episodes[rows, None] + np.arange(self._lookahead)).reshape(-1)
        if self._levels.are_whole:
            unique, inverse = np.unique(keys, return_inverse=True)  # a group shares its prompts
            columns, data = self._batch.arrays_from_keys(unique)
        else:
            environments = np.repeat(rows, self._lookahead)
            wanted = np.rec.fromarrays([keys, self._levels.of(keys, environments)])
            _, first, inverse = np.unique(wanted, return_index=True, return_inverse=True)
            prompts = self._levels.prompts(keys[first], environments[first])
            columns, data = self._batch.arrays_from_prompts(prompts)
        inverse = inverse.reshape(shape)
        ahead = np.s_[rows, : self._lookahead]
        self._columns[ahead], self.data[ahead] = columns[inverse], data[inverse]
        self._streams[rows], self._first[rows] = streams[rows], episodes[rows]


class TextBatch:
    """The array interface for a task that has no arrays: one object per prompt."""

    def __init__(self, task: Task) -> None:
        """Takes the task."""
        self._task = task

    def arrays_from_keys(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The columns of each key's prompt, int64 [n, P], and the prompts, object [n]."""
        return self.arrays_from_prompts(self._task.prompts_from_keys(keys))

    def arrays_from_prompts(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The same for prompts that exist already."""
        data = np.empty(len(prompts), dtype=object)
        data[:] = prompts
        return np.stack([self._task.encode_prompt(prompt) for prompt in prompts]), data

    def evaluate_arrays(
        self, data: NDArray[Any], completions: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> OutcomeArrays:
        """Decodes and judges completions, int64 [n, C], up to their lengths, int64 [n]."""
        outcomes = self._task.evaluate(data.tolist(), self._task.tokenizer.decode_rows(completions, lengths))
        return OutcomeArrays.of(outcomes, self._task.part_names)
