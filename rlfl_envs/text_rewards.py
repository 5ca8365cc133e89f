"""What the tokens of whole texts earn, for code that samples texts by itself and steps no environment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.credit import make_credit
from rlfl_envs.errors import TokenizationError
from rlfl_envs.task import Task
from rlfl_envs.vector import TokenVectorEnv

__all__ = ["TextRewards"]


class TextRewards:
    """Says what each token of whole texts earns: what the environment pays that writes the same tokens.

    It plays them in a `TokenVectorEnv` of its own, so that a text's rewards add up to that environment's return without
    a discount. With rewards="end" and "shaped" that is the task's reward; with "tokens" the largest one for a success,
    and else a share for each token before the first wrong one.

    Example:
        >>> import rlfl_envs
        >>> rewards = rlfl_envs.TextRewards(rlfl_envs.load_task("rlfl/Copy-v0"), "tokens")
        >>> [each.tolist() for each in rewards(["abba", "abba"], ["abba", "abc"])]
        [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.0]]
    """

    def __init__(self, task: Task, rewards: str = "tokens") -> None:
        """Takes the task, and when rewards are paid, as `TokenEnv` does.

        Raises:
            ConfigError: `task` is something else, such as an id; `rewards` is not allowed; or the task cannot judge
                single tokens.
        """
        check_value("task", task, isinstance(task, Task), "a Task, as load_task makes it")
        make_credit(rewards, task, 1)
        self._task, self._rewards = task, rewards
        self._envs: TokenVectorEnv | None = None
        nothing = ~task.tokenizer.ordinary
        nothing[list(task.tokenizer.eos_ids)] = False
        self._illegal = int(np.argmax(nothing)) if nothing.any() else None

    def __call__(self, prompts: Sequence[str], completions: Sequence[str | Sequence[int]]) -> list[NDArray[np.float64]]:
        """Plays completions.

        Args:
            prompts: n texts, as `Task.parse_prompt` takes them.
            completions: n texts, which are written in the tokens that the task's vocabulary encodes them in, and end
                with EOS where they take fewer than C; or n lists of token ids, which end likewise. What comes after C
                tokens, or after EOS, is not read; a character that the vocabulary does not have is a wrong token.

        Returns:
            Of each the rewards of its tokens, float64 [tokens], EOS among them, up to where the episode ended.

        Raises:
            PromptError: A prompt is none of the task's.
            ConfigError: There are not as many prompts as completions, or a number is no token id.
        """
        allowed = f"{len(completions)} prompts, one for each completion"
        check_value("prompts", prompts, len(prompts) == len(completions), allowed)
        if not len(prompts):
            return []
        if self._envs is None or self._envs.num_envs != len(prompts):
            self._envs = TokenVectorEnv(self._task, len(prompts), rewards=self._rewards, autoreset_mode="Disabled")
        envs, budget = self._envs, self._task.max_completion_tokens
        envs.reset(seed=0, options={"prompt": [*prompts], "action_mask": False})
        tokens = np.full((len(prompts), budget), self._task.tokenizer.eos_id, dtype=np.int64)
        for row, completion in zip(tokens, completions, strict=True):
            written = self._written(completion)[:budget]
            row[: len(written)] = written
        paid, lengths = np.zeros(tokens.shape), np.full(len(prompts), budget)
        for step, actions in enumerate(tokens.T):
            _, paid[:, step], terminated, _, _ = envs.step(actions)
            lengths[terminated] = np.minimum(lengths[terminated], step + 1)
            if terminated.all():
                break
        return [row[:length] for row, length in zip(paid, lengths.tolist(), strict=True)]

    def _written(self, completion: str | Sequence[int]) -> list[int]:
        """The tokens of a completion; where the vocabulary cannot write all of it, of what it can, and an illegal one.

        An illegal token is never right, and earns what the environment pays for one.
        """
        if not isinstance(completion, str):
            ids = completion.tolist() if hasattr(completion, "tolist") else completion  # of an array or a tensor
            vocab_size = self._task.tokenizer.vocab_size
            are_known = isinstance(ids, Sequence) and all(is_integer(each) and 0 <= each < vocab_size for each in ids)
            check_value("completions", completion, are_known, f"texts, or lists of token ids 0..{vocab_size - 1}")
            return [*ids]
        try:
            return self._task.tokenizer.encode(completion)
        except TokenizationError:
            end = self._task.tokenizer.eos_id if self._illegal is None else self._illegal
            return [*self._task.tokenizer.encode_beginning(completion), end]
