"""Countdown: reach a target with the numbers given."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Outcome, OutcomeArrays, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.keys import Keys, in_split
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task
from rlfl_envs.tasks.countdown.automaton import CountdownAutomaton
from rlfl_envs.tasks.countdown.config import CountdownConfig
from rlfl_envs.tasks.countdown.drawing import Problems, draw_problems, problem_fingerprints
from rlfl_envs.tasks.countdown.reading import lexemes_of, read_expression
from rlfl_envs.tasks.countdown.solving import solve
from rlfl_envs.tasks.countdown.trees import MOST_NUMBERS
from rlfl_envs.tasks.countdown.viability import NumberTokens, SolutionAutomaton, Solutions
from rlfl_envs.tokenization import Tokenizer, number_tokenizer

__all__ = ["Countdown"]

LARGEST_DISTANCE = 1000.0  # what a distance is capped at; a text without a value has this one
MAX_TEXT = 4096  # characters; anything longer is malformed, so that judging takes bounded time
_SYMBOLS = "+-*/()=:"
_USED, _NEAR = 0.1, 0.2  # what using the numbers earns, and coming near with them
_PROMPT = re.compile(r"([0-9]{1,3}(?: [0-9]{1,3})*)=([0-9]{1,4}):")


class Problem(NamedTuple):
    """What judging a completion needs.

    Attributes:
        numbers: As text, in the prompt's order.
        target: The value that is wanted.
    """

    numbers: tuple[str, ...]
    target: int


class Countdown(Task):
    """Reach a target with the numbers given, by adding, subtracting, multiplying and dividing.

    Description:
        The numbers round of the television game, and the task on which small language models are taught to reason by
        reward alone (TinyZero, Pan et al. 2025). It takes search: four numbers make 7,680 expressions, of which two
        dozen are right for the median prompt. Every prompt has a solution by construction.

    Prompt:
        Numbers, `=`, the target and `:`, such as `19 36 55 7=65:`. A target is drawn, uniform over
        `min_target`..`max_target`, and taken apart: a value of k numbers is split into values of i and of k - i
        numbers, i uniform, by one of the operators that allow it, each as likely, until only numbers 1..`largest` are
        left. All values on the way are positive integers of at most ten times `largest`; nothing is multiplied or
        divided by 1. The numbers are shuffled; the target is never one of them.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 112, P = 8 (BOS, four numbers, `=`, the target, `:`) and C = 11 by
        default.

    Action:
        `Discrete(V)`. Vocabulary "number": PAD, BOS, EOS, one token per integer from 0 to `largest` or `max_target`,
        whichever is larger, and `+`, `-`, `*`, `/`, `(`, `)`, `=`, `:`. "characters": PAD, BOS, EOS, the ten digits,
        the same symbols and the space. Otherwise a Hugging Face tokenizer's tokens. With `max_numbers` up to 4 there
        are `judge_tokens` and `rewards="tokens"`: after which tokens a solution can follow.

    Reward:
        1 for a solution: an expression whose value is the target, with each number used exactly once (at most once
        where `use_all` is False). Values are exact fractions: `7/2*4` is 14, and an intermediate value may be a
        fraction, zero or negative, as in TinyZero but not on television. With `reward="plain"` any other well-formed
        expression earns used * (0.1 + 0.2 * near). `used` is how many of the given numbers are used, divided by how
        many numbers are written; with `use_all` by how many are given, if these are more. `near` is 1 -
        distance / target, at least 0; it is 0 where a number was not given, is used too often, or something is divided
        by zero. With `reward="strict"` it earns nothing. Spaces between numbers and symbols are ignored; a sign before
        a number is malformed. Parts: `distance` (of the value from the target, at most 1000), `used` (0..1),
        `well_formed` (0 or 1). Status: "ok", "numbers" (other numbers than it should use), "undefined" (divides by
        zero) or "malformed".

    Episode end:
        EOS, or the budget of C tokens, by default those of an expression of all numbers with `max_numbers` - 2 pairs of
        parentheses.

    Arguments:
        `min_numbers`, `max_numbers`, `largest`, `min_target`, `max_target`, `use_all`, `reward`, and the common
        `split`, `vocabulary`, `mask`, `max_completion_tokens`, `min_completion_tokens`, `level`. Level k has prompts of
        `min_numbers` + k numbers. The split goes by the target and the numbers in any order. With `mask="syntax"` only
        the numbers that are left are legal, and a completion is a well-formed expression that uses them as it should.
        The defaults have the sizes of TinyZero's published data (3 or 4 numbers up to 99, all to be used, targets up to
        100), which examples for TRL train on; `min_numbers=6`, `max_numbers=6`, `largest=100`, `max_target=1000` are
        its generator's defaults. There numbers and targets are drawn apart, and what can be solved is kept: more of
        their problems are solved by sums and differences than of these. `options={"prompt": text}` plays theirs.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Countdown-v0")
        >>> prompt = task.parse_prompt("19 36 55 7=65:")
        >>> for outcome in task.evaluate([prompt] * 4, ["55+36-19-7", "(19+36+55)/7*4", "19*36/(55-55)", "55+"]):
        ...     print(round(outcome.reward, 3), outcome.is_success, outcome.status)
        1.0 True ok
        0.08 False numbers
        0.075 False numbers
        0.0 False malformed

    Known exploits:
        None that pays much. Tried over 10,000 prompts of the default, with the mean reward and success: all numbers as
        they stand, with one choice of operators for all prompts (at most 0.22, 0.07); sorted, the largest - the second
        + the rest (0.27, 0.10); the number nearest to the target alone (0.07, 0); the target, which is not given (0,
        0); the prompt's own text (0, 0); the sum in forty parentheses (0.21, 0.06); random legal tokens under
        `mask="syntax"` (0.15, 0.02), without a mask (0.00, 0.00). With three numbers alone the best of these earns 0.29
        and solves 0.13, random legal tokens 0.17 and 0.03; with two numbers, a warm-up, the sum solves 0.34. Where
        `use_all` is False the nearest number alone earns 0.23. `reward="strict"` pays what is solved and no more.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[CountdownConfig]] = CountdownConfig
    part_names: ClassVar[tuple[str, ...]] = ("distance", "used", "well_formed")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "padding": Accepted("Parentheses around the whole are allowed.", success=1.0),
        "spaces": Accepted("Spaces between numbers and symbols are ignored.", success=1.0),
    }
    config: CountdownConfig
    syntax: CountdownAutomaton

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of CountdownConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        config = self.config
        self._by_number = config.vocabulary == "number"
        self.syntax = CountdownAutomaton(config.use_all, counts_numbers=self._by_number)
        self.instruction = (
            "Make the target, the number before the colon, of the numbers before the equals sign, with +, -, *, / and "
            f"brackets. Use each number {'exactly' if config.use_all else 'at most'} once. Write one expression, such "
            "as (3+5)*4, and nothing else."
        )
        numbers = ("numbers", np.int64, (config.max_numbers,))
        self._words = [text.strip() for text in self.tokenizer.token_texts] if self._by_number else []
        self._data_type = np.dtype([numbers, ("count", np.int64), ("target", np.int64)])
        draw_problems(np.zeros(1, dtype=np.uint64), config)  # raises where the arguments leave no problem
        if config.max_numbers <= MOST_NUMBERS:  # of more numbers there are too many trees
            # The mask leaves no parentheses around a single number, and a success must not need what it forbids.
            around_one = config.mask == "none"
            solutions = Solutions(config.min_numbers, config.max_numbers, config.use_all, around_one)
            self.successes = SolutionAutomaton(solutions)
            self.array_successes = (
                NumberTokens(solutions, self.tokenizer, self.max_completion_tokens) if self._by_number else None
            )

    # --- vocabulary and budgets ------------------------------------------------------------------------------------

    @property
    def characters(self) -> str:
        """Digits, symbols and the space."""
        return f"0123456789{_SYMBOLS} "

    @property
    def _largest_token(self) -> int:
        return max(self.config.largest, self.config.max_target)

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """An integer a token, and characters."""
        return {"number": lambda: number_tokenizer(tuple(_SYMBOLS), self._largest_token), **super().vocabularies()}

    def budgets(self) -> tuple[int, int]:
        """The longest prompt, and the longest solution; in characters unless a number is a token."""
        config, by_number = self.config, self.config.vocabulary == "number"
        count, digits = config.max_numbers, 1 if by_number else len(str(config.largest))
        spaces = 0 if by_number else count - 1
        prompt = count * digits + spaces + (1 if by_number else len(str(config.max_target))) + 2
        return prompt, count * digits + count - 1 + 2 * (count - 2)

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws one prompt; `prompts_from_keys` is what the environments use."""
        return self.unsplit.sample_prompts(rng, 1)[0]

    def problem_key(self, prompt: Prompt) -> str:
        """The target, and the numbers in order of size."""
        numbers, target = prompt.data
        return f"{target}: {' '.join(sorted(numbers, key=int))}"

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """By a hash of the target and the numbers in any order; bool [n]."""
        data = self._data_of(prompts)
        problems = Problems(data["numbers"], data["count"], data["target"])
        return in_split(problem_fingerprints(problems), self.config.split)

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """Returns the prompt of each key, uint64 [n]."""
        problems = draw_problems(keys, self.config)
        rows = zip(*(array.tolist() for array in problems), strict=True)
        return [_prompt(tuple(map(str, numbers[:count])), target) for numbers, count, target in rows]

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts as many numbers as may be drawn, as large as they may be, and such a target; solvable or not."""
        config = self.config
        match = _PROMPT.fullmatch(text)
        numbers, target = (match[1].split(" "), match[2]) if match else ([], "0")
        is_allowed = config.min_numbers <= len(numbers) <= config.max_numbers
        is_allowed &= all(1 <= int(number) <= config.largest for number in numbers)
        is_allowed &= config.min_target <= int(target) <= config.max_target
        if not is_allowed or any(number[0] == "0" for number in [*numbers, target]):
            counts = f"{config.min_numbers} to {config.max_numbers} numbers of 1..{config.largest}"
            targets = f"{config.min_target}..{config.max_target}"
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: {counts} and a target of {targets}, such as '3 25 7=46:'."
            )
        return _prompt(tuple(numbers), int(target))

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Reads each expression once, in exact fractions."""
        return [
            self._judge(prompt.data, lexemes_of(completion) if len(completion) <= MAX_TEXT else ())
            for prompt, completion in zip(prompts, completions, strict=True)
        ]

    def _judge(self, problem: Problem, lexemes: Sequence[str]) -> Outcome:
        numbers, target = problem
        reading = read_expression(lexemes, numbers)
        if reading is None:
            return self._malformed()
        value, written, matched = reading
        due = len(numbers) if self.config.use_all else 0
        used = matched / max(written, due)
        status = "numbers" if used < 1 else "undefined" if value is None else "ok"
        distance, near = LARGEST_DISTANCE, 0.0
        if value is not None:
            off = abs(value[0] - target * value[1]) / abs(value[1])
            distance, near = min(off, LARGEST_DISTANCE), max(0.0, 1 - off / target)
        is_success = status == "ok" and distance == 0
        reward = 1.0 if is_success else used * (_USED + _NEAR * near) if self.config.reward == "plain" else 0.0
        return Outcome(reward, is_success, {"distance": distance, "used": used, "well_formed": 1.0}, status)

    def _malformed(self, status: str = "malformed") -> Outcome:
        return Outcome(0.0, False, {"distance": LARGEST_DISTANCE, "used": 0.0, "well_formed": 0.0}, status)

    def illegal_outcome(self) -> Outcome:
        """As bad as malformed."""
        return self._malformed("illegal")

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """A solution, always the same; None where none is found, which happens for prompts that were not drawn."""
        numbers, target = prompt.data
        return solve(tuple(sorted(map(int, numbers))), target, self.config.use_all)

    def constant_completions(self) -> list[str]:
        """Each number alone, and some expressions of the commonest ones."""
        singles = [str(number) for number in range(1, self.config.largest + 1)]
        return [*singles, "2*3*4", "2+3+4", "2*3+4*5", "2+3+4+5"]

    # --- the array path: the number vocabulary ---------------------------------------------------------------------

    def arrays_from_keys(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """Returns the prompts' columns, int64 [n, P], and numbers, count and target of each."""
        if not self._by_number:
            return self.arrays_from_prompts(self.prompts_from_keys(keys))
        numbers, counts, targets = draw_problems(keys, self.config)
        data = np.zeros(len(keys), dtype=self._data_type)
        data["numbers"], data["count"], data["target"] = numbers, counts, targets
        tokenizer, row = self.tokenizer, np.arange(len(keys))
        assert tokenizer.bos_id is not None  # the number vocabulary has one
        zero, equals, colon = (tokenizer.encode(text)[0] for text in ("0", "=", ":"))
        columns = np.full((len(keys), self.max_prompt_tokens), tokenizer.pad_id, dtype=np.int64)
        columns[:, -3], columns[:, -2], columns[:, -1] = equals, targets + zero, colon
        at = self.max_prompt_tokens - 3 - counts
        which, place = np.nonzero(numbers)
        columns[which, at[which] + place] = numbers[which, place] + zero
        columns[row, at - 1] = tokenizer.bos_id
        return columns, data

    def arrays_from_prompts(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The same for given prompts."""
        return np.stack([self.encode_prompt(prompt) for prompt in prompts]), self._data_of(prompts)

    def _data_of(self, prompts: Sequence[Prompt]) -> NDArray[np.void]:
        data = np.zeros(len(prompts), dtype=self._data_type)
        for row, prompt in zip(data, prompts, strict=True):
            numbers, row["target"] = prompt.data
            row["numbers"][: len(numbers)], row["count"] = [*map(int, numbers)], len(numbers)
        return data

    def start_states(self, data: NDArray[np.void]) -> list[Hashable]:
        """The automaton's first states."""
        return [self.syntax.start_of(problem.numbers) for problem in _problems(data)]

    def evaluate_arrays(
        self, data: NDArray[np.void], completions: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> OutcomeArrays:
        """Judges token ids, [n, C]; in the number vocabulary a token is a lexeme, and no text is made."""
        rows: Iterable[list[int]] = (
            row[:length] for row, length in zip(completions.tolist(), lengths.tolist(), strict=True)
        )
        if self._by_number:
            words = ([self._words[token] for token in row] for row in rows)
            readable = (each if sum(map(len, each)) <= MAX_TEXT else [] for each in words)
        else:
            texts = self.tokenizer.decode_batch([*rows])
            readable = (lexemes_of(text) if len(text) <= MAX_TEXT else [] for text in texts)
        outcomes = [self._judge(problem, lexemes) for problem, lexemes in zip(_problems(data), readable, strict=True)]
        return OutcomeArrays.of(outcomes, self.part_names)


def _prompt(numbers: tuple[str, ...], target: int) -> Prompt:
    return Prompt(f"{' '.join(numbers)}={target}:", Problem(numbers, target))


def _problems(data: NDArray[np.void]) -> list[Problem]:
    rows = zip(data["numbers"].tolist(), data["count"].tolist(), data["target"].tolist(), strict=True)
    return [Problem(tuple(map(str, numbers[:count])), target) for numbers, count, target in rows]
