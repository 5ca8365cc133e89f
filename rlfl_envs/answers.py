"""Tasks with one answer: a completion is read, then compared with what is due."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.task import Task

__all__ = ["AnswerTask"]


class AnswerTask(Task):
    """A task whose completion is one answer.

    A subclass implements `read_answer` and `grade` instead of `evaluate`. What cannot be read, or is longer than
    `max_answer_characters`, earns the lowest reward with status "malformed".

    Attributes:
        max_answer_characters: Longer completions are not looked at, so that judging takes bounded time.
    """

    part_names: ClassVar[tuple[str, ...]] = ("well_formed",)
    max_answer_characters: ClassVar[int] = 4096

    @abstractmethod
    def read_answer(self, completion: str) -> Any | None:
        """Reads a completion; None where it is malformed. Never raises."""

    @abstractmethod
    def grade(self, prompt: Prompt, answer: Any) -> float | Outcome:
        """Judges what was read.

        Returns:
            A grade from 0 to 1, which is scaled to `reward_range` and of which 1 is success; or a whole outcome, for a
            task with parts of its own.
        """

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Reads and grades each completion."""
        return [self._judge(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def _judge(self, prompt: Prompt, completion: str) -> Outcome:
        is_short = len(completion) <= self.max_answer_characters
        answer = self.read_answer(completion) if is_short else None
        low, high = self.reward_range
        nothing = dict.fromkeys(self.part_names, 0.0)
        if answer is None:
            return Outcome(low, False, nothing, "malformed")
        grade = self.grade(prompt, answer)
        if isinstance(grade, Outcome):
            return grade
        return Outcome(low + (high - low) * grade, grade == 1.0, nothing | {"well_formed": 1.0})
