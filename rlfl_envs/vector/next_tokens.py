"""What may come next in each environment, and what can still succeed: masks, and verdicts on tokens."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from rlfl_envs.env_arguments import check_candidates
from rlfl_envs.episode import Prompt
from rlfl_envs.masks import BatchMasks, Verdicts
from rlfl_envs.task import Task
from rlfl_envs.tokenization import Tokenizer
from rlfl_envs.vector.each_env import EachEnv

__all__ = ["NextTokens"]


class NextTokens(EachEnv):
    """What environments that step as one say of the tokens that may come next."""

    task: Task
    tokenizer: Tokenizer
    prompt_length: int
    _masks: BatchMasks
    _verdicts: Verdicts | None  # made when they are first asked
    _columns: NDArray[np.int64]  # [N, P + C]
    _data: NDArray[Any]  # [N], the prompts as the task's arrays have them
    _lengths: NDArray[np.int64]  # [N], completion tokens without EOS
    _has_begun: NDArray[np.bool_]
    _finished: NDArray[np.bool_]

    @abstractmethod
    def prompt(self, row: int) -> Prompt:
        """The prompt that environment `row` plays."""

    @property
    def mask_table(self) -> NDArray[np.int8]:
        """Every row of masks met so far, each different one once: int8 [R, V], read-only.

        It grows, and its rows keep their numbers while the episodes of a reset of all environments are played. When
        other episodes begin (autoreset, or a reset of some environments), a table of more than 8 MiB may be cleared of
        rows that no environment needs any more; `mask_epoch` then grows.
        """
        return self._masks.table.rows

    @property
    def mask_rows(self) -> NDArray[np.int32]:
        """Which row of `mask_table` each environment's mask is, int32 [N]."""
        return self._masks.rows.copy()

    @property
    def mask_epoch(self) -> int:
        """Which table `mask_rows` are numbers of: how often it was cleared."""
        return self._masks.table.epoch

    def action_masks(self) -> NDArray[np.bool_]:
        """Which tokens may come next, bool [N, V].

        Raises:
            gymnasium.error.ResetNeeded: An environment was never reset.
        """
        if not self._has_begun.all():
            raise ResetNeeded("An environment has no episode yet: call reset() before action_masks().")
        return self.mask_table[self._masks.rows].astype(np.bool_)

    def judge_tokens(self, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a success can still follow each of k tokens that each episode may write next. Nothing moves.

        In vocabularies whose tokens differ in length, a budget that is nearly used up may be thought too short. A
        success that is shorter than `min_completion_tokens` is thought possible as long as its EOS is not due: what
        makes it longer is not looked for.

        Args:
            candidates: integers [N, k], token ids.

        Returns:
            bool [N, k]; False where the episode is over, and for what a mask forbids.

        Raises:
            ConfigError: The task is no `ViableTask`.
            ActionError: A candidate is no token id, or their shape is not [N, k].
            gymnasium.error.ResetNeeded: An environment was never reset.
        """
        if not self._has_begun.all():
            raise ResetNeeded("An environment has no episode yet: call reset() before judge_tokens().")
        candidates = check_candidates(candidates, (self.num_envs,), self.tokenizer.vocab_size)
        if self._verdicts is None:
            self._verdicts = Verdicts(self.task, self.num_envs)
        written = self._columns[:, self.prompt_length :]
        right = self._verdicts.judge(candidates, self._data, self.prompt, written, self._lengths)
        legal = self._masks.table.rows[self._masks.rows[:, None], candidates] != 0
        found: NDArray[np.bool_] = right & legal & ~self._finished[:, None]
        return found
