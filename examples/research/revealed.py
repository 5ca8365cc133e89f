"""A task whose prompts show the beginning of a reference: what is left to write grows from level to level.

For docs/research/from-nothing.md (AdaBack, Amani et al. 2025, arXiv 2506.18110): the samplers of levels do the rest.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rlfl_envs import Outcome, Prompt, PromptError, Task, TaskConfig, Tokenizer, load_task, register_task
from rlfl_envs.keys import Keys, generators
from rlfl_envs.protocols import Automaton


@dataclass(frozen=True)
class RevealedConfig(TaskConfig):
    """The arguments of Revealed.

    Attributes:
        id: Of which id's prompts. It needs references, and an automaton for `mask="syntax"`.
        arguments: That id's own arguments.
        steps: How many levels there are.
        left: Which share of a reference's tokens is left to write, rounded down, and one at least: 1 in the whole task.
    """

    id: str = "rlfl/ArithmeticSteps-v0"
    arguments: dict[str, Any] = field(default_factory=dict)
    steps: int = 10
    left: float = 1.0

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """A tenth is left to write, two tenths, and so on, up to all."""
        return [{"left": (step + 1) / self.steps} for step in range(self.steps)]


class Shown(NamedTuple):
    """What a prompt carries: that of the id, what is revealed, and what the reference goes on with, where known."""

    prompt: Prompt
    revealed: str
    rest: str | None


class Revealed(Task):
    """Goes on with a reference of which a part is shown, and is judged as if it had written all of it."""

    Config: ClassVar[type[TaskConfig]] = RevealedConfig
    config: RevealedConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of RevealedConfig by name."""
        super().__init__(**kwargs)
        self.inner = load_task(self.config.id, split=self.config.split, **self.config.arguments)
        self.part_names = self.inner.part_names  # type: ignore[misc]
        self.reward_range = self.inner.reward_range
        self.syntax = Behind(cast("Automaton", self.inner.syntax))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The id's."""
        return self.inner.tokenizer

    def budgets(self) -> tuple[int, int]:
        """A prompt shows all but a token at most."""
        begins = self.tokenizer.bos_id is not None
        return self.inner.max_prompt_tokens - begins + self.inner.default_budget - 1, self.inner.default_budget

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a prompt, a reference of it, and shows its beginning."""
        return self._shown(self.inner.draw(rng), rng)

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """As the id draws them."""
        return [*map(self._shown, self.inner.prompts_from_keys(keys), generators(keys))]

    def _shown(self, prompt: Prompt, rng: np.random.Generator) -> Prompt:
        ids = self.tokenizer.encode(self.inner.reference_completion(prompt, rng) or "")
        shown = len(ids) - max(1, math.floor(len(ids) * self.config.left + 1e-9))
        revealed, rest = (self.tokenizer.decode(part) for part in (ids[:shown], ids[shown:]))
        return Prompt(prompt.text + revealed, Shown(prompt, revealed, rest))

    def parse_prompt(self, text: str) -> Prompt:
        """Takes the shortest beginning that is a prompt of the id; what follows is revealed."""
        for end in range(1, len(text) + 1):
            try:
                prompt = self.inner.parse_prompt(text[:end])
            except PromptError:
                continue
            return Prompt(text, Shown(prompt, text[end:], None))
        raise PromptError(f"prompt={text!r} is not allowed; allowed: a prompt of {self.config.id} and what follows it.")

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """As the id splits them."""
        return self.inner.in_split([prompt.data.prompt for prompt in prompts])

    def problem_key(self, prompt: Prompt) -> str:
        """The id's."""
        return self.inner.problem_key(prompt.data.prompt)

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Judges what was shown and written, together."""
        whole = [prompt.data.revealed + completion for prompt, completion in zip(prompts, completions, strict=True)]
        return self.inner.evaluate([prompt.data.prompt for prompt in prompts], whole)

    def illegal_outcome(self) -> Outcome:
        """The id's."""
        return self.inner.illegal_outcome()

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The rest of the reference."""
        return cast("str | None", prompt.data.rest)


class Behind:
    """The id's automaton, behind what is revealed."""

    def __init__(self, automaton: Automaton) -> None:
        """Takes the id's."""
        self._automaton = automaton
        self.alphabet = automaton.alphabet
        self.advance, self.is_final = automaton.advance, automaton.is_final
        self.characters_left = automaton.characters_left

    def start(self, prompt: Prompt) -> Hashable:
        """The state that the revealed text leads to."""
        state: Hashable | None = self._automaton.start(prompt.data.prompt)
        for character in prompt.data.revealed:
            assert state is not None  # a reference is well-formed
            state = self._automaton.advance(state, character)
        return state


register_task("research/RevealedSteps-v0", Revealed, arguments={"reward": "worked_out", "vocabulary": "number"})
