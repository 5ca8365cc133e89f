"""Brackets: close what the prompt opens. A small task whose answer has to be worked out, and differs in length."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rlfl_envs.errors import PromptError
from rlfl_envs.task import Outcome, Prompt, Task, TaskConfig, check_value
from rlfl_envs.tokenization import character_tokenizer, load_tokenizer

__all__ = ["Brackets", "BracketsConfig"]

OPENING, CLOSING = "([{<", ")]}>"  # by kind


@dataclass(frozen=True)
class BracketsConfig(TaskConfig):
    """The arguments of Brackets.

    Attributes:
        kinds: How many kinds of brackets there are, 1..4: `()`, `[]`, `{}` and `<>`, in this order.
        depth: How many brackets may be open at once, 1..length.
        length: How many brackets a prompt has at most, 1..1024.
    """

    kinds: int = 3
    depth: int = 4
    length: int = 8

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("kinds", self.kinds, 1 <= self.kinds <= len(OPENING), f"1..{len(OPENING)}")
        check_value("length", self.length, 1 <= self.length <= 1024, "1..1024")
        check_value("depth", self.depth, 1 <= self.depth <= self.length, f"1..{self.length}, the length")


class Brackets(Task):
    """Close every bracket that the prompt leaves open.

    Description:
        The prompt is the beginning of a Dyck word, a text in which each bracket is closed by one of its kind and what
        is opened last is closed first; the completion should be an end. It takes a stack: the next bracket to close is
        the last one that is still open, which may stand anywhere in the prompt. How many there are differs, so that a
        policy has to know when to end. With its depth bounded this is the language Dyck-(k, m) of Hewitt et al. (2020),
        "RNNs can generate bounded hierarchical languages with optimal memory".

    Prompt:
        `length` brackets, or one fewer, such as `([]{()}[`, of which the `(` and the last `[` are left open. How many
        are is uniform over 1..`depth`. Bracket by bracket, a fair coin says whether one is opened or closed wherever
        both still lead there; kinds are uniform.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 9, P = 9 (BOS and eight brackets) and C = 4 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per bracket; with `vocabulary` a Hugging Face tokenizer's name or
        path, its tokens.

    Reward:
        closed / (closed + left), in [0, 1], counted where the completion ends or first goes wrong: `closed` brackets of
        the prompt are closed, `left` brackets are open, the completion's own among them. A completion goes wrong with a
        character that closes nothing, or not what was opened last, opens a bracket more than `depth` deep or is none.
        One that goes wrong when all is closed has `left` = 1. So the reward is the share of closing brackets that are
        right from the beginning, and 1 is for balanced texts alone; any will do: `[` can be completed by `]`, but also
        by `()]`. Parts: `closed`, `left` (counts). Status: "ok", or "mismatch" where it goes wrong.

    Episode end:
        EOS, or the budget of C tokens, by default `depth`. Only the prompts that leave `depth` brackets open need no
        EOS.

    Arguments:
        `kinds`, `depth`, `length`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`. With `mask="syntax"` only the brackets that fit are legal, which leaves little to learn
        but not to open new ones for longer than the budget allows.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Brackets-v0")
        >>> prompt = task.parse_prompt("([]{")
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 4, ["})", "()})", "}]", ")}"])]
        [1.0, 1.0, 0.5, 0.0]

    Known exploits:
        None known. Brackets closed in the wrong order earn nothing, more of them opened lower the reward. A constant
        answer earns 1 / `kinds` for the first bracket and less for every further one.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[BracketsConfig]] = BracketsConfig
    part_names: ClassVar[tuple[str, ...]] = ("closed", "left")
    config: BracketsConfig
    automaton: BracketsAutomaton

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of BracketsConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        config = self.config
        self.automaton = BracketsAutomaton(config.kinds, config.depth)
        is_character = config.vocabulary == "characters"
        self.tokenizer = (
            character_tokenizer(self.automaton.alphabet) if is_character else load_tokenizer(config.vocabulary)
        )
        self.reward_range = (0.0, 1.0)
        self.default_budget = config.depth
        self.max_prompt_tokens = config.length + (self.tokenizer.bos_id is not None)

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws how many brackets stay open, then walks there."""
        config = self.config
        target = int(rng.integers(1, config.depth + 1))
        remaining = config.length - (config.length - target) % 2
        text, due = "", ""
        for number in rng.integers(2 * config.kinds, size=remaining).tolist():
            may_close = due and target - len(due) < remaining
            may_open = len(due) < config.depth and len(due) - target < remaining
            if may_open and (number % 2 or not may_close):
                text, due = text + OPENING[number // 2], CLOSING[number // 2] + due
            else:
                text, due = text + due[0], due[1:]
            remaining -= 1
        return Prompt(text, due)

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any beginning of a Dyck word, at most `length` long and `depth` deep, that leaves a bracket open."""
        due, is_wrong, _ = self.automaton.read("", text) if len(text) <= self.config.length else ("", True, 0)
        if is_wrong or not due:
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: up to {self.config.length} of {self.automaton.alphabet!r}, "
                f"at most {self.config.depth} deep, of which one or more are left open and none is closed wrongly."
            )
        return Prompt(text, due)

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Reads each completion as far as it goes well."""
        outcomes = []
        for prompt, completion in zip(prompts, completions, strict=True):
            due, is_wrong, lowest = self.automaton.read(prompt.data, completion)
            closed, left = len(prompt.data) - lowest, max(len(due), int(is_wrong))
            parts = {"closed": float(closed), "left": float(left)}
            outcomes.append(Outcome(closed / (closed + left), left == 0, parts, "mismatch" if is_wrong else "ok"))
        return outcomes

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The shortest: what is due, and nothing else."""
        due: str = prompt.data
        return due

    def constant_completions(self) -> list[str]:
        """One closing bracket, once or more often."""
        counts = range(1, self.config.depth + 1)
        return [bracket * count for bracket in CLOSING[: self.config.kinds] for count in counts]


class BracketsAutomaton:
    """Well-formed is what closes all that is open. A state is the text of closing brackets due, the next one first."""

    def __init__(self, kinds: int, depth: int) -> None:
        """Takes the task's arguments."""
        self._closing = dict(zip(OPENING[:kinds], CLOSING[:kinds], strict=True))  # by what opens it
        self.alphabet = "".join(opening + closing for opening, closing in self._closing.items())
        self._depth = depth

    def start(self, prompt: Prompt) -> Hashable:
        """What the prompt leaves due."""
        state: str = prompt.data
        return state

    def advance(self, state: Any, character: str) -> str | None:
        """Opens one bracket more, or closes the one opened last."""
        if character in self._closing:
            return self._closing[character] + state if len(state) < self._depth else None
        return state[1:] if state.startswith(character) else None

    def is_final(self, state: Any) -> bool:
        """Whether all is closed."""
        return not state

    def characters_left(self, state: Any) -> int:
        """How many brackets are due."""
        return len(state)

    def read(self, state: str, text: str) -> tuple[str, bool, int]:
        """Reads a text as far as it goes well.

        Returns:
            The state reached, whether the text goes wrong there, and how few brackets were due at the least.
        """
        lowest = len(state)
        for character in text:
            following = self.advance(state, character)
            if following is None:
                return state, True, lowest
            state, lowest = following, min(lowest, len(following))
        return state, False, lowest
