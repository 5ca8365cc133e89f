"""Whether a success can still follow: what `judge_tokens` says of tokens that episodes may write next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.errors import ConfigError
from rlfl_envs.masks.automaton import SyntaxMask
from rlfl_envs.masks.batch import BatchMasks
from rlfl_envs.masks.reader import Masked
from rlfl_envs.protocols import ArrayAutomaton, ArrayViableTask, Grammar, ViableTask
from rlfl_envs.task import Task

__all__ = ["Verdicts"]

Rows = NDArray[np.intp]


class Verdicts:
    """Reads along with N episodes, and judges tokens that they may write next.

    It reads only when it is asked, what was written since. Where a token left no success possible, all that follow it
    are wrong as well.
    """

    def __init__(self, task: Task, num_envs: int) -> None:
        """Takes the task.

        Raises:
            ConfigError: The task cannot tell whether a success can still follow.
        """
        if not isinstance(task, ViableTask):
            others = f" With other arguments it can. {task.on_verdicts}" if task.on_verdicts else ""
            raise ConfigError(
                f"{task.name} cannot judge single tokens: it has no automaton of its successes (see "
                f"rlfl_envs.ViableTask).{others}"
            )
        machine = task.array_successes if isinstance(task, ArrayViableTask) else None
        self._reader: _Reader = _ByAutomaton(task, num_envs) if machine is None else _ByArrays(machine, num_envs)
        self._read = np.full(num_envs, -1, dtype=np.int64)  # how many tokens; -1 before the prompt
        self.is_viable = np.zeros(num_envs, dtype=np.bool_)  # what was read

    def forget(self, rows: Rows) -> None:
        """Other episodes begin in these rows, int64 [n]."""
        self._read[rows] = -1

    def judge(
        self,
        candidates: NDArray[np.int64],
        data: NDArray[Any],
        prompt: Callable[[int], Prompt],
        completions: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Whether a success can still follow, bool [N, k].

        Args:
            candidates: int64 [N, k], tokens.
            data: [N], the prompts as the task's arrays have them.
            prompt: Gives a row's prompt.
            completions: int64 [N, C], what is written so far.
            lengths: int64 [N], how much of it there is.
        """
        fresh = np.flatnonzero(self._read < 0)
        if len(fresh):
            self._reader.begin(fresh, data, prompt)
            self._read[fresh], self.is_viable[fresh] = 0, True
        while len(behind := np.flatnonzero(self._read < lengths)):
            tokens = completions[behind, self._read[behind]]
            self._read[behind] += 1
            self.is_viable[behind] &= self._reader.judge(behind, tokens[:, None])[:, 0]
            goes_on = self.is_viable[behind]
            if goes_on.any():  # arrays of a task need not know how to follow no episode at all
                self._reader.follow(behind[goes_on], tokens[goes_on])
        verdicts = self._reader.judge(np.arange(len(candidates)), candidates)
        right: NDArray[np.bool_] = verdicts & self.is_viable[:, None]
        return right


class _Reader(Protocol):
    """How episodes are read."""

    def begin(self, rows: Rows, data: NDArray[Any], prompt: Callable[[int], Prompt]) -> None:
        """Begins the episodes of these rows."""

    def judge(self, rows: Rows, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a success can follow each of k tokens in these rows: bool [n, k]."""

    def follow(self, rows: Rows, tokens: NDArray[np.int64]) -> None:
        """Reads one more token in each of these rows."""


class _ByAutomaton:
    """By the automaton of successes, made a mask: what it forbids, no success can follow."""

    def __init__(self, task: Task, num_envs: int) -> None:
        assert isinstance(task, ViableTask)
        self._automaton = task.successes
        syntax = task.syntax if task.config.mask == "syntax" and not task.tokenizer.closed else None
        if syntax is not None and not isinstance(syntax, Grammar):
            self._automaton = Masked(task.successes, syntax)  # both count tokens, but not alike
        budget, least = task.max_completion_tokens, task.config.min_completion_tokens
        mask = SyntaxMask(self._automaton, task.tokenizer, budget, least, never_empty=False)
        self._masks = BatchMasks(mask, num_envs)
        self._has_begun = np.zeros(num_envs, dtype=np.bool_)

    def begin(self, rows: Rows, data: NDArray[Any], prompt: Callable[[int], Prompt]) -> None:
        starts = [self._automaton.start(prompt(row)) for row in rows.tolist()]
        self._has_begun[rows] = False
        others = np.flatnonzero(self._has_begun)
        self._masks.begin(rows, others, lambda mask: [*map(mask.start_at, starts)])
        self._has_begun[rows] = True

    def judge(self, rows: Rows, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        legal: NDArray[np.bool_] = self._masks.table.rows[self._masks.rows[rows, None], candidates] != 0
        return legal

    def follow(self, rows: Rows, tokens: NDArray[np.int64]) -> None:
        self._masks.follow(rows, tokens)


class _ByArrays:
    """By the task's own arrays."""

    def __init__(self, machine: ArrayAutomaton, num_envs: int) -> None:
        self._machine = machine
        self._num_envs = num_envs
        self._states: NDArray[Any] | None = None

    def begin(self, rows: Rows, data: NDArray[Any], prompt: Callable[[int], Prompt]) -> None:
        started = self._machine.start(data[rows])
        if self._states is None:
            self._states = np.zeros(self._num_envs, dtype=started.dtype)
        self._states[rows] = started

    def judge(self, rows: Rows, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        assert self._states is not None
        return self._machine.judge(self._states[rows], candidates)

    def follow(self, rows: Rows, tokens: NDArray[np.int64]) -> None:
        assert self._states is not None
        self._states[rows] = self._machine.advance(self._states[rows], tokens)
