"""Copy: repeat the prompt. The task in which a broken algorithm shows within seconds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rlfl_envs.errors import PromptError
from rlfl_envs.task import Outcome, Prompt, Task, TaskConfig, check_value
from rlfl_envs.tokenization import character_tokenizer, load_tokenizer

__all__ = ["Copy", "CopyConfig"]


@dataclass(frozen=True)
class CopyConfig(TaskConfig):
    """The arguments of Copy.

    Attributes:
        alphabet: The characters a prompt is made of, none twice.
        length: How many characters a prompt has, 1..1024.
    """

    alphabet: str = "abcdefgh"
    length: int = 4

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        distinct = len(set(self.alphabet)) == len(self.alphabet) >= 2
        check_value("alphabet", self.alphabet, distinct, "two characters or more, none twice")
        check_value("length", self.length, 1 <= self.length <= 1024, "1..1024")


class Copy(Task):
    """Repeat the prompt.

    Description:
        The prompt is a random string; the completion should be the same string. The first thing to try a new algorithm
        on: it needs several tokens, different answers to different prompts, and has a graded reward.

    Prompt:
        `length` characters, each uniform over `alphabet`, such as `hdba`.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 11, P = 5 (BOS and four characters) and C = 4 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per character of the alphabet; with `vocabulary` a Hugging Face
        tokenizer's name or path, its tokens.

    Reward:
        The share of right characters, in [0, 1]: the number of positions at which completion and prompt have the same
        character, divided by the longer of the two lengths. Parts: `right_characters` (a count).

    Episode end:
        EOS, or the budget of C tokens, which by default is the prompt's own length, so that a right answer needs no
        EOS.

    Arguments:
        `alphabet`, `length`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Copy-v0", alphabet="ab", length=4)
        >>> prompt = task.parse_prompt("abba")
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 3, ["abba", "abbb", ""])]
        [1.0, 0.75, 0.0]

    Known exploits:
        None known. A constant answer earns the share of the commonest character: 1 / len(alphabet) on average.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[CopyConfig]] = CopyConfig
    part_names: ClassVar[tuple[str, ...]] = ("right_characters",)
    config: CopyConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of CopyConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        is_character = self.config.vocabulary == "characters"
        self.tokenizer = (
            character_tokenizer(self.config.alphabet) if is_character else load_tokenizer(self.config.vocabulary)
        )
        self.reward_range = (0.0, 1.0)
        # A character outside ASCII can take up to four tokens of a byte-level vocabulary.
        per_character = 1 if is_character else max(len(character.encode()) for character in self.config.alphabet)
        self.default_budget = self.config.length * per_character
        self.max_prompt_tokens = self.default_budget + (self.tokenizer.bos_id is not None)
        self.syntax = CopyAutomaton(self.config.alphabet, self.config.length)

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a string, each character uniform."""
        alphabet = self.config.alphabet
        return Prompt("".join([alphabet[i] for i in rng.integers(len(alphabet), size=self.config.length)]))

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any string of `length` characters of the alphabet."""
        if len(text) != self.config.length or not set(self.config.alphabet).issuperset(text):
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: {self.config.length} of {self.config.alphabet!r}."
            )
        return Prompt(text)

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Counts the positions that agree."""
        outcomes = []
        for prompt, completion in zip(prompts, completions, strict=True):
            right = sum(map(str.__eq__, prompt.text, completion))
            reward = right / max(len(prompt.text), len(completion))
            outcomes.append(Outcome(reward, completion == prompt.text, {"right_characters": float(right)}))
        return outcomes

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The prompt itself."""
        return prompt.text

    def constant_completions(self) -> list[str]:
        """One character all along."""
        return [character * self.config.length for character in self.config.alphabet]


class CopyAutomaton:
    """Well-formed is any string of the prompt's length; a state is the number of characters so far."""

    def __init__(self, alphabet: str, length: int) -> None:
        """Takes the task's alphabet and length."""
        self.alphabet = alphabet
        self._length = length

    def start(self, prompt: Prompt) -> Hashable:
        """No character yet."""
        return 0

    def advance(self, state: Any, character: str) -> Hashable | None:
        """One character more, up to the length."""
        return state + 1 if state < self._length else None

    def is_final(self, state: Any) -> bool:
        """Whether the length is reached."""
        return bool(state == self._length)

    def characters_left(self, state: Any) -> int:
        """How many characters are missing."""
        return self._length - int(state)
