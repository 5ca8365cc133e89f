"""Copy: repeat the prompt. The task in which a broken algorithm shows within seconds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from rlfl_envs.arguments import check_value
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task, TaskConfig

__all__ = ["Copy", "CopyConfig"]


@dataclass(frozen=True)
class CopyConfig(TaskConfig):
    """The arguments of Copy.

    Attributes:
        alphabet: The characters a prompt is made of, none twice.
        length: How many characters a prompt has, 1..1024.
        reward: "plain", the share of right characters; or "success", a quarter of that where not all are.
    """

    alphabet: str = "abcdefgh"
    length: int = 4
    reward: Literal["plain", "success"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        distinct = len(set(self.alphabet)) == len(self.alphabet) >= 2
        check_value("alphabet", self.alphabet, distinct, "two characters or more, none twice")
        check_value("length", self.length, 1 <= self.length <= 1024, "1..1024")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Prompts of one character, of two, and so on."""
        return [{"length": length} for length in range(1, self.length + 1)]


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
        character, divided by the longer of the two lengths. Success: the completion equals the prompt.
        `reward="success"` pays a quarter of the share without success. Parts: `right_characters` (a count).

    Episode end:
        EOS, or the budget of C tokens, by default one for each of `length` characters. So a right answer needs no EOS,
        except at the lower levels, whose prompts are shorter.

    Arguments:
        `alphabet`, `length`, `reward`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Level k has prompts of k + 1 characters. With `mask="syntax"` a completion is
        as long as the prompt. With any
        arguments there are `judge_tokens` and `rewards="tokens"`.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Copy-v0", alphabet="ab", length=4)
        >>> prompt = task.parse_prompt("abba")
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 3, ["abba", "abbb", ""])]
        [1.0, 0.75, 0.0]

    Known exploits:
        A constant answer of `length` characters earns 1 / len(alphabet) on average. Half of the
        characters earn half of the reward; `reward="success"` pays an eighth for them.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[CopyConfig]] = CopyConfig
    part_names: ClassVar[tuple[str, ...]] = ("right_characters",)
    config: CopyConfig
    instruction = "Repeat the text exactly as it is. Write nothing else."

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of CopyConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        self.syntax = CopyAutomaton(self.config.alphabet)
        self.successes = SameAutomaton(self.config.alphabet)

    @property
    def accepted_findings(self) -> Mapping[str, Accepted]:
        """The prompt is the answer; what the share of characters pays."""
        return _KNOWN | _KNOWN_OF_PLAIN if self.config.reward == "plain" else _KNOWN

    @property
    def characters(self) -> str:
        """The alphabet."""
        return self.config.alphabet

    def budgets(self) -> tuple[int, int]:
        """As many tokens as the characters can take, in the prompt and in its copy."""
        most = self.most_tokens(self.config.length, self.config.alphabet)
        return most, most

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a string, each character uniform."""
        alphabet = self.config.alphabet
        return Prompt("".join([alphabet[i] for i in rng.integers(len(alphabet), size=self.config.length)]))

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any string of `length` characters of the alphabet."""
        lengths = [level["length"] for level in self.levels] or [self.config.length]
        if len(text) not in lengths or not set(self.config.alphabet).issuperset(text):
            count = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else lengths[0]
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: {count} characters of {self.config.alphabet!r}."
            )
        return Prompt(text)

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Counts the positions that agree."""
        outcomes = []
        for prompt, completion in zip(prompts, completions, strict=True):
            right = sum(map(str.__eq__, prompt.text, completion))
            reward = right / max(len(prompt.text), len(completion))
            outcomes.append(Outcome(reward, completion == prompt.text, {"right_characters": float(right)}))
        return outcomes if self.config.reward == "plain" else [outcome.paid_for_success() for outcome in outcomes]

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The prompt itself."""
        return prompt.text

    def constant_completions(self) -> list[str]:
        """One character all along."""
        return [character * self.config.length for character in self.config.alphabet]


_KNOWN = {"copying the prompt": Accepted("It is what the task asks for.", unearned=0.8, success=1.0)}
_KNOWN_OF_PLAIN = {
    "another prompt's answer": Accepted("Each character counts; of many prompts one is alike.", unearned=0.6),
    "trained attacker": Accepted("Each character counts; half of them are learned before all are.", unearned=0.8),
}


class CopyAutomaton:
    """Well-formed is any string of the prompt's length; a state is the number of characters that are missing."""

    def __init__(self, alphabet: str) -> None:
        """Takes the task's alphabet."""
        self.alphabet = alphabet

    def start(self, prompt: Prompt) -> Hashable:
        """All of the prompt's."""
        return len(prompt.text)

    def advance(self, state: Any, character: str) -> Hashable | None:
        """One character more, as long as one is missing."""
        return state - 1 if state else None

    def is_final(self, state: Any) -> bool:
        """Whether none is missing."""
        return not state

    def characters_left(self, state: Any) -> int:
        """How many characters are missing."""
        return int(state)


class SameAutomaton:
    """The prompt itself; a state is what is missing of it."""

    def __init__(self, alphabet: str) -> None:
        """Takes the task's alphabet."""
        self.alphabet = alphabet

    def start(self, prompt: Prompt) -> Hashable:
        """All of it."""
        return prompt.text

    def advance(self, state: Any, character: str) -> Hashable | None:
        """The next character of the prompt."""
        return state[1:] if state.startswith(character) else None

    def is_final(self, state: Any) -> bool:
        """Whether nothing is missing."""
        return not state

    def characters_left(self, state: Any) -> int:
        """How much is missing."""
        return len(state)
