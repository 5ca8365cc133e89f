"""Brackets: close what the prompt opens. A small task whose answer has to be worked out, and differs in length."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value
from rlfl_envs.episode import UNEARNED, Outcome, OutcomeArrays, Prompt
from rlfl_envs.errors import ConfigError, PromptError
from rlfl_envs.keys import Keys, fingerprint, in_split, key_at, mix, uniform_integers
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task, TaskConfig

__all__ = ["Brackets", "BracketsConfig"]

OPENING, CLOSING = "([{<", ")]}>"  # by kind
_CHARACTERS = "()[]{}<>"  # by 2 * kind, plus 1 if it closes
_MAX_STACKS = 10_000  # each is a state of the mask
_MAX_ATTEMPTS = 10_000  # a split that rejects this many prompts in a row will reject them all


@dataclass(frozen=True)
class BracketsConfig(TaskConfig):
    """The arguments of Brackets.

    Attributes:
        kinds: How many kinds of brackets there are, 1..4: `()`, `[]`, `{}` and `<>`, in this order.
        depth: How many brackets may be open at once, 1..length.
        length: How many brackets a prompt has at most, 1..1024.
        reward: "plain", the share of brackets closed; or "success", a quarter of that where some are left open.
    """

    kinds: int = 3
    depth: int = 4
    length: int = 8
    reward: Literal["plain", "success"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("kinds", self.kinds, 1 <= self.kinds <= len(OPENING), f"1..{len(OPENING)}")
        check_value("length", self.length, 1 <= self.length <= 1024, "1..1024")
        check_value("depth", self.depth, 1 <= self.depth <= self.length, f"1..{self.length}, the length")
        stacks = sum(self.kinds**height for height in range(self.depth + 1))
        is_small = self.mask == "none" or stacks <= _MAX_STACKS
        check_value("mask", self.mask, is_small, f"'none' where more than {_MAX_STACKS} stacks of brackets can be open")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Prompts that are one bracket deep, two, and so on."""
        return [{"depth": depth} for depth in range(1, self.depth + 1)]


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
        are left open is uniform over 1..`depth`. Bracket by bracket, a fair coin decides whether one is opened or
        closed, where both can still end with that number; kinds are uniform.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 9, P = 9 (BOS and eight brackets) and C = 4 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per bracket; with `vocabulary` a Hugging Face tokenizer's name or
        path, its tokens.

    Reward:
        closed / (closed + left), in [0, 1]. The completion is read up to its first wrong character: a closing bracket
        that does not match the last open one, an opening bracket more than `depth` deep, or no bracket. `closed` counts
        the brackets of the prompt that are closed by then, `left` those still open, the completion's own among them.
        `left` is 1 if nothing is open at a wrong character. So the reward is the share of closing brackets that are
        right from the beginning, and 1 is for balanced texts alone; any will do: `[` can be completed by `]`, but also
        by `()]`. `reward="success"` pays a quarter of that to texts that are not balanced. Parts: `closed`, `left`
        (counts). Status: "ok", or "mismatch" where it goes wrong.

    Episode end:
        EOS, or the budget of C tokens, by default `depth`. Only the prompts that leave `depth` brackets open need no
        EOS.

    Arguments:
        `kinds`, `depth`, `length`, `reward`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Level k is up to k + 1 brackets deep. With `mask="syntax"` only brackets that
        fit are legal, and the budget is kept: by default random answers always succeed, so nothing is left to learn. It
        needs a depth of at most 12 with two kinds, 8 with three, 6 with four. With any arguments there are
        `judge_tokens` and `rewards="tokens"`.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Brackets-v0")
        >>> prompt = task.parse_prompt("([]{")
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 4, ["})", "()})", "}]", ")}"])]
        [1.0, 1.0, 0.5, 0.0]

    Known exploits:
        None known. Brackets closed in the wrong order earn nothing, more of them opened lower the reward. The first
        bracket of a constant answer is right for 1 prompt in `kinds`; by default a single bracket earns 0.17 and
        succeeds at 0.08.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[BracketsConfig]] = BracketsConfig
    part_names: ClassVar[tuple[str, ...]] = ("closed", "left")
    instruction = (
        "Close the brackets that are still open, the last one first, each by a bracket of its own kind. Write only the "
        "brackets that are missing."
    )
    config: BracketsConfig
    syntax: BracketsAutomaton
    successes: BracketsAutomaton

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of BracketsConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        config = self.config
        self.syntax = self.successes = BracketsAutomaton(config.kinds, config.depth)
        self._is_character = config.vocabulary == "characters"
        self._first_token = len(self.tokenizer.special_ids)  # where characters are tokens; they stand in their order
        self._problem = np.dtype(
            [("stack", np.int8, (config.depth,)), ("height", np.int64)]
        )  # kinds left open, the first first

    @property
    def accepted_findings(self) -> Mapping[str, Accepted]:
        """Other ends may be right, too; what the share of brackets pays."""
        return _KNOWN | _KNOWN_OF_PLAIN if self.config.reward == "plain" else _KNOWN

    @property
    def characters(self) -> str:
        """The brackets."""
        return self.syntax.alphabet

    def budgets(self) -> tuple[int, int]:
        """A token a bracket; as many are left open as may be."""
        return self.config.length, self.config.depth

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws one prompt; `prompts_from_keys` is what the environments use."""
        return self.unsplit.sample_prompts(rng, 1)[0]

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """By a hash of the brackets; bool [n]."""
        codes = np.zeros((len(prompts), self.config.length), dtype=np.int64)
        for row, prompt in zip(codes, prompts, strict=True):
            row[: len(prompt.text)] = [_CHARACTERS.index(character) for character in prompt.text]
        sizes = np.array([len(prompt.text) for prompt in prompts], dtype=np.int64)
        return in_split(fingerprint(codes, sizes), self.config.split)

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """Returns the prompt of each key, uint64 [n]."""
        codes, sizes, data = self._draw(keys)
        texts = ["".join([_CHARACTERS[code] for code in row[:size]]) for row, size in zip(codes, sizes, strict=True)]
        return [Prompt(text, due) for text, due in zip(texts, self.start_states(data), strict=True)]

    def _draw(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]:
        """Draws a prompt of the split for each key, attempt after attempt.

        Returns:
            The prompts' brackets, 2 * kind + (1 if it closes), int64 [n, length]; how many there are, int64 [n]; and
            what they leave open, [n].

        Raises:
            ConfigError: The split holds (nearly) nothing.
        """
        n = len(keys)
        codes, sizes = np.zeros((n, self.config.length), dtype=np.int64), np.zeros(n, dtype=np.int64)
        data = np.zeros(n, dtype=self._problem)
        rows = np.arange(n)
        for attempt in range(_MAX_ATTEMPTS):
            codes[rows], sizes[rows], data[rows] = self._walk(key_at(keys[rows], np.array([attempt])))
            rows = rows[~in_split(fingerprint(codes[rows], sizes[rows]), self.config.split)]
            if not len(rows):
                return codes, sizes, data
        raise ConfigError(f"split={self.config.split!r} holds none of {_MAX_ATTEMPTS} prompts drawn; allowed: 'all'.")

    def _walk(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]:
        """Draws how many brackets stay open, then walks there; what it returns is `_draw`'s, whatever the split."""
        config, rows = self.config, np.arange(len(keys))
        target = 1 + uniform_integers(mix(keys), config.depth)
        sizes = config.length - (config.length - target) % 2
        codes, data = np.zeros((len(keys), config.length), dtype=np.int64), np.zeros(len(keys), dtype=self._problem)
        stack, height = data["stack"], data["height"]
        for column in range(config.length):
            number = uniform_integers(key_at(keys, np.array([column])), 2 * config.kinds)
            remaining = sizes - column
            may_close = (height > 0) & (target - height < remaining)
            may_open = (height < config.depth) & (height - target < remaining)
            opens = may_open & ((number % 2 == 1) | ~may_close)
            top = np.where(opens, height, height - 1)
            kind = np.where(opens, number // 2, stack[rows, top])
            codes[:, column] = 2 * kind + ~opens
            is_there = remaining > 0
            stack[rows[opens & is_there], top[opens & is_there]] = kind[opens & is_there]
            height += np.where(is_there, np.where(opens, 1, -1), 0)
        return codes, sizes, data

    def start_states(self, data: NDArray[np.void]) -> list[str]:
        """The automaton's first states: each prompt's closing brackets due, the next one first."""
        stacks = zip(data["stack"].tolist(), data["height"].tolist(), strict=True)
        return ["".join([CLOSING[kind] for kind in stack[:height][::-1]]) for stack, height in stacks]

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any beginning of a Dyck word, at most `length` long and `depth` deep, that leaves a bracket open."""
        due, is_wrong, _ = self.syntax.read("", text) if len(text) <= self.config.length else ("", True, 0)
        if is_wrong or not due:
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: up to {self.config.length} of {self.syntax.alphabet!r}, "
                f"at most {self.config.depth} deep, of which one or more are left open and none is closed wrongly."
            )
        return Prompt(text, due)

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Reads each completion as far as it goes well."""
        outcomes = []
        for prompt, completion in zip(prompts, completions, strict=True):
            due, is_wrong, lowest = self.syntax.read(prompt.data, completion)
            closed, left = len(prompt.data) - lowest, max(len(due), int(is_wrong))
            parts = {"closed": float(closed), "left": float(left)}
            outcomes.append(Outcome(closed / (closed + left), left == 0, parts, "mismatch" if is_wrong else "ok"))
        return outcomes if self.config.reward == "plain" else [outcome.paid_for_success() for outcome in outcomes]

    def arrays_from_keys(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """Returns the prompts' columns, int64 [n, P], and what each leaves open."""
        if not self._is_character:
            return self.arrays_from_prompts(self.prompts_from_keys(keys))
        codes, sizes, data = self._draw(keys)
        columns = np.full((len(keys), self.max_prompt_tokens), self.tokenizer.pad_id, dtype=np.int64)
        assert self.tokenizer.bos_id is not None  # the characters' vocabulary has one
        begin = self.max_prompt_tokens - sizes
        row, i = np.nonzero(np.arange(self.config.length) < sizes[:, None])
        columns[row, begin[row] + i] = codes[row, i] + self._first_token
        columns[np.arange(len(keys)), begin - 1] = self.tokenizer.bos_id
        return columns, data

    def arrays_from_prompts(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The same for given prompts."""
        data = np.zeros(len(prompts), dtype=self._problem)
        for row, prompt in zip(data, prompts, strict=True):
            row["height"] = len(prompt.data)
            row["stack"][: len(prompt.data)] = [CLOSING.index(bracket) for bracket in reversed(prompt.data)]
        return np.stack([self.encode_prompt(prompt) for prompt in prompts]), data

    def evaluate_arrays(
        self, data: NDArray[np.void], completions: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> OutcomeArrays:
        """Judges token ids, [n, C]: the automaton's `read`, for all rows at once."""
        if not self._is_character:
            texts = self.tokenizer.decode_rows(completions, lengths)
            prompts = [Prompt("", due) for due in self.start_states(data)]
            return OutcomeArrays.of(self.evaluate(prompts, texts), self.part_names)
        n, stack, height = np.arange(len(data)), data["stack"].copy(), data["height"].copy()
        lowest, is_wrong = height.copy(), np.zeros(len(data), dtype=np.bool_)
        for column in range(completions.shape[1]):
            code = completions[:, column] - self._first_token
            opens, kind = code % 2 == 0, code // 2
            fits = np.where(opens, height < self.config.depth, (height > 0) & (stack[n, height - 1] == kind))
            goes_on = (column < lengths) & ~is_wrong
            is_wrong |= goes_on & ~fits
            pushed = np.flatnonzero(goes_on & fits & opens)
            stack[pushed, height[pushed]] = kind[pushed]
            height += np.where(goes_on & fits, np.where(opens, 1, -1), 0)
            lowest = np.minimum(lowest, height)
        closed, left = data["height"] - lowest, np.maximum(height, is_wrong)
        rest = 1.0 if self.config.reward == "plain" else UNEARNED
        return OutcomeArrays(
            reward=closed / (closed + left) * np.where(left == 0, 1.0, rest),
            is_success=left == 0,
            parts={"closed": closed.astype(np.float64), "left": left.astype(np.float64)},
            status=np.where(is_wrong, "mismatch", "ok").astype(object),
        )

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The shortest: what is due, and nothing else."""
        due: str = prompt.data
        return due

    def constant_completions(self) -> list[str]:
        """One closing bracket, once or more often."""
        counts = range(1, self.config.depth + 1)
        return [bracket * count for bracket in CLOSING[: self.config.kinds] for count in counts]


_ALIKE = "The same brackets may be left open."
_KNOWN = {
    "padding": Accepted("A pair of brackets around the right ones may be an end, too.", success=0.2),
    "another prompt's answer": Accepted(_ALIKE, success=0.3),
    "a reworded prompt's answer": Accepted(_ALIKE, success=0.5),
}
_KNOWN_OF_PLAIN = {
    "another prompt's answer": Accepted("Each bracket counts; of many prompts one is alike.", 0.45, 0.3),
    "a reworded prompt's answer": Accepted(_ALIKE, 0.4, 0.5),
    "enumeration": Accepted("What follows a wrong bracket does not count.", unearned=0.45),
    "long texts": Accepted("What follows a wrong bracket does not count.", unearned=0.45),
}


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
        due, lowest = [*reversed(state)], len(state)  # the next one last
        for character in text:
            closing = self._closing.get(character)
            if closing is not None and len(due) < self._depth:
                due.append(closing)
            elif due and due[-1] == character:
                due.pop()
                lowest = min(lowest, len(due))
            else:
                return "".join(reversed(due)), True, lowest
        return "".join(reversed(due)), False, lowest
