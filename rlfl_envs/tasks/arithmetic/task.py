"""Arithmetic: sums (and products, and differences) worked out step by step, as in Padula & Soemers (2024), section 4.2.

One class, three ids: the last value of a worked derivation (`work="given"`), the whole derivation (`"required"`), the
bare answer (`"skipped"`). Expressions and derivations are drawn as NumPy arrays, one row a key, because that serves
one environment and a thousand alike; completions are judged by a small parser of text, with an array path beside it
for sums in the number vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import UNEARNED, Outcome, OutcomeArrays, Prompt
from rlfl_envs.errors import PromptError, RLFLError
from rlfl_envs.keys import Keys
from rlfl_envs.task import Task
from rlfl_envs.tasks.arithmetic.automaton import ArithmeticAutomaton
from rlfl_envs.tasks.arithmetic.config import INSTRUCTIONS, LARGEST_TOKEN, ArithmeticConfig
from rlfl_envs.tasks.arithmetic.expressions import SYMBOLS, Expressions, Statements, read_expression
from rlfl_envs.tasks.arithmetic.known import accepted_findings
from rlfl_envs.tasks.arithmetic.statements import (
    MAX_TEXT,
    Problem,
    distance_from_adding,
    parse_statements,
    sum_templates,
    terms_of,
)
from rlfl_envs.tasks.arithmetic.viability import NumberTokens, ValueAutomaton, WorkedOutAutomaton
from rlfl_envs.tokenization import Tokenizer, number_tokenizer

__all__ = ["Arithmetic"]

LARGEST_ERROR = 500  # where the paper caps the error; a malformed text has this one
LARGEST_STEP = 10**9  # of a derivation in other vocabularies; keeps products within int64


class Arithmetic(Task):
    r"""Work out an expression, rewarded by how far every step is from its value.

    Description:
        An expression is worked out by combining one operator at a time, products before sums, in random order, until
        one integer is left: `2+3+4=5+4=9`. The model writes the last value (`rlfl/Arithmetic-v0`), every step
        (`rlfl/ArithmeticSteps-v0`) or the bare answer (`rlfl/ArithmeticAnswer-v0`). The first is the experiment of the
        paper, Padula & Soemers (2024), section 4.2. It found that PPO converges to answering the mean sum for every
        prompt; batch entropy is its remedy.

    Prompt:
        Uniform integers 0..`max_operand` and operators are appended in turn. The text is cut to `expression_length`
        characters, and loses a trailing operator. It is drawn again if it has no operator, if its absolute value
        exceeds `max_value`, or if a step of its derivation exceeds 99 (10**9 outside the vocabulary "number").
        With `work="given"` the prompt is its derivation up to the last `=`, such as `2+3+4=5+4=`; otherwise `2+3+4=`.
        With the same seed all three ids draw the same expressions.

    Observation:
        `MultiDiscrete([V] * (P + C))`. By default V = 106; P = 29 and C = 1 (given), P = 11 and C = 19 (required), P =
        11 and C = 1 (skipped).

    Action:
        `Discrete(V)`. Vocabulary "number": PAD, BOS, EOS, one token per integer 0..99, `+`, `*`, `=`, and `-` where
        the operators have it.
        "characters": PAD, BOS, EOS, the ten digits and the same symbols. Otherwise a Hugging Face tokenizer's tokens.

    Reward:
        2 / (1 + exp(error / `reward_scale`)), at most 1. Prompt and completion together are a chain of statements,
        separated by `=`; the first is the problem with value v. error = sum over the later statements of |v - value|,
        capped at 500. It is 500 outright where a statement is malformed (it does not match `\d+([+*]\d+)*`, has a
        leading zero, or two integers stand side by side; with "-" integers are signed) or where statement i does not
        have exactly i operators fewer than the problem. With `work="skipped"` the completion is one bare integer and
        error = |v - value|. Spaces around operators are ignored. Parts: `error` (0..500), `steps_correct` (share of
        the statements due that have value v, 0..1), `well_formed` (0 or 1). Status: "ok" or "malformed".
        Success: the chain goes on to a bare integer, and this is v; steps before it may be wrong. With
        `reward="strict"` a chain that stops early is malformed. `reward="success"` does the same, and pays a quarter
        without success. `reward="worked_out"` is strict, too, but does not compare values with v. A statement is right,
        also for `steps_correct`, if it adds two neighbouring terms of the one before. Its error is the sum of the
        terms' differences from the nearest right statement; `*` is malformed. Success: all statements are right.

    Episode end:
        EOS, or the budget of C tokens, by default the longest reference completion: a one-token answer ends by
        "length", without EOS.

    Arguments:
        `work` (set by the id), `operators`, `max_operand`, `expression_length`, `max_value`, `reward_scale`, `reward`,
        `split_by`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`, `min_completion_tokens`,
        `level`. Level k cuts expressions to 2k + 3 characters, the last one to `expression_length`; kinds of prompts go
        by the number of operands. The split goes by the expression, whatever the id; with `split_by="final_statement"`
        by the prompt's last statement. With any arguments there are `judge_tokens` and `rewards="tokens"`: after which
        tokens a success can follow.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/ArithmeticSteps-v0")
        >>> prompt = task.parse_prompt("2+3+4=")
        >>> for outcome in task.evaluate([prompt] * 3, ["5+4=9", "5+4=8", "9"]):
        ...     print(round(outcome.reward, 4), outcome.is_success, outcome.status)
        1.0 True ok
        0.95 False ok
        0.0 False malformed

    Known exploits:
        A chain that stops early earns full reward under `reward="paper"`: `2+3+4=5+4` and then EOS gets 1.0. It is no
        success, and `reward="strict"` gives it the reward of a malformed one. A step that works out nothing, as in
        `2+3+4=9+0=9`, is legal arithmetic: it earns full reward and is a success under both. A policy trained so learns
        to keep the total, and no more. `reward="worked_out"` pays 0.62 for it, and success asks for a real derivation.
        An error of 1 already earns 0.95: exactness is a weak signal.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[ArithmeticConfig]] = ArithmeticConfig
    part_names: ClassVar[tuple[str, ...]] = ("error", "steps_correct", "well_formed")
    config: ArithmeticConfig
    syntax: ArithmeticAutomaton
    successes: ValueAutomaton | WorkedOutAutomaton

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of ArithmeticConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        config = self.config
        self.instruction, self.is_signed = INSTRUCTIONS[config.work], "-" in config.operators
        self._symbols = "+*=-" if self.is_signed else "+*="
        self._by_number = config.vocabulary == "number"
        # Reward by integer error: one table, so that the text path and the array path agree to the last bit.
        self._rewards = np.array(
            [2 / (1 + math.exp(min(error / config.reward_scale, 700))) for error in range(LARGEST_ERROR + 1)]
        )
        self._unearned = self._rewards * (UNEARNED if config.reward == "success" else 1.0)  # without success
        self.reward_range = (float(self._unearned[-1]), 1.0)
        self._expressions = Expressions(
            operators=config.operators,
            max_operand=config.max_operand,
            length=config.expression_length,
            max_value=config.max_value,
            largest_step=LARGEST_TOKEN if self._by_number else LARGEST_STEP,
            split=config.split,
            split_by=config.split_by,
        )
        self._max_operators = self._expressions.max_operators
        self.accepted_findings = accepted_findings(config)
        self.syntax = ArithmeticAutomaton(
            self.is_signed, may_stop_early=config.reward == "paper", may_multiply=config.reward != "worked_out"
        )
        self.successes = WorkedOutAutomaton() if config.reward == "worked_out" else ValueAutomaton(self.is_signed)
        self._data_type = np.dtype([("value", np.int64), ("operators", np.int64)])
        if config.reward == "worked_out":
            self._data_type = np.dtype([*self._data_type.descr, ("terms", np.int64, (self._max_operators + 1,))])
        templates = sum_templates(self._max_operators, self.max_completion_tokens)
        self._statement_ends, self._is_number, self._statement_of = templates
        self.kinds = [f"{count} operands" for count in range(2, self._max_operators + 2)]
        self._expressions.draw(np.zeros(1, dtype=np.uint64))  # raises where the arguments reject every expression

    @property
    def characters(self) -> str:
        """Digits and symbols."""
        return "0123456789" + self._symbols

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """An integer a token, the paper's "complete" vocabulary, and characters."""
        return {"number": lambda: number_tokenizer(self._symbols, LARGEST_TOKEN), **super().vocabularies()}

    def budgets(self) -> tuple[int, int]:
        """The longest prompt and the longest reference, in characters unless an integer is a token."""
        lengths = [self._longest_statement(done) for done in range(self._max_operators + 1)]
        if self.config.work == "given":
            prompt, completion = sum(lengths[:-1]) + len(lengths) - 1, lengths[-1]
        elif self.config.work == "required":
            prompt, completion = lengths[0] + 1, sum(lengths[1:]) + len(lengths) - 2
        else:
            prompt, completion = lengths[0] + 1, lengths[-1]
        return prompt, completion

    @cached_property
    def array_successes(self) -> NumberTokens | None:
        """`successes` in the number vocabulary, where an integer is a token; None in others."""
        if not self._by_number:
            return None
        most = self._max_operators if self.config.reward == "worked_out" else None
        return NumberTokens(self.tokenizer, LARGEST_TOKEN, self._symbols, self.max_completion_tokens, most)

    def _longest_statement(self, done: int) -> int:
        """The most tokens of the statement after `done` combinations; each shortens a text by a character at least."""
        if self._by_number:
            return 2 * (self._max_operators - done) + 1 + (self.is_signed and done > 0)
        characters = self.config.expression_length - done
        is_last = done == self._max_operators
        return min(characters, len(str(self.config.max_value)) + self.is_signed) if is_last else characters

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws one prompt; `prompts_from_keys` is what the environments use."""
        return self.unsplit.sample_prompts(rng, 1)[0]

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """By a hash of the expression, or of the last statement; bool [n]."""
        derivations = [prompt.text.removesuffix("=").split("=") for prompt in prompts]
        return np.array([self._expressions.holds(derivation) for derivation in derivations], dtype=np.bool_)

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """Returns the prompt of each key, uint64 [n]."""
        statements, data = self._prompt_statements(keys)
        prompts = []
        for row, entries in enumerate(data.tolist()):
            parts = [statement.text(row) for statement in statements if statement.counts[row] >= 0]
            prompts.append(Prompt("=".join(parts) + "=", _read_problem(*entries)))
        return prompts

    def problem_key(self, prompt: Prompt) -> str:
        """What the split goes by: the expression, or the final sum, in which 34+9 and 9+34 are the same."""
        if self.config.split_by == "expression":
            return prompt.text.partition("=")[0]
        statement = read_expression(prompt.text.split("=")[-2])
        (first, second), operator = statement.operands[0].tolist(), SYMBOLS[statement.operators[0, 0]]
        return f"{second}{operator}{first}" if operator != "-" and first > second else f"{first}{operator}{second}"

    def novelty_key(self, prompt: Prompt) -> str:
        """The final sum, such as "5+4", where the work is given; the expression otherwise."""
        return prompt.text.split("=")[-2 if self.config.work == "given" else 0]

    def kinds_of(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        """By how many operands the expression has; int64 [n]."""
        counts = [len(re.findall("[0-9]+", prompt.text.partition("=")[0])) for prompt in prompts]
        return np.array(counts, dtype=np.int64) - 2

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts `expression=`, and with `work="given"` any right derivation up to its last "="; drops spaces.

        Raises:
            PromptError: The text is no such thing, or does not fit the vocabulary or the budget.
        """
        statements = None if len(text) > MAX_TEXT else parse_statements(text.removesuffix("="), self.is_signed)
        if (
            statements is None
            or not text.endswith("=")
            or not set(self.config.operators).issuperset({*text.partition("=")[0]} & {*SYMBOLS})
            or not set(self.config.operators + "+").issuperset({*text} & {*SYMBOLS})
        ):
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: an expression with {self.config.operators!r}, then '='."
            )
        value, operators = statements[0]
        counts = [count for _, count in statements]
        due = [operators - i for i in range(len(statements))]
        is_given = self.config.work == "given"
        wanted = operators if is_given else 1
        if operators < 1 or counts != due or len(statements) != wanted or any(v != value for v, _ in statements):
            what = "a derivation such as '2+3+4=5+4='" if is_given else "one expression such as '2+3+4='"
            raise PromptError(f"prompt={text!r} is not allowed; allowed for work={self.config.work!r}: {what}.")
        if abs(value) > self.config.max_value or (value < 0 and not self.is_signed):
            raise PromptError(f"prompt={text!r} has value {value}; allowed: up to max_value={self.config.max_value}.")
        text = text.replace(" ", "")
        terms = terms_of(text.removesuffix("=")) if self.config.reward == "worked_out" else ()
        prompt = Prompt(text, Problem(value, operators - 1 if self.config.work == "required" else 0, terms))
        try:
            self.encode_prompt(prompt)
        except RLFLError as error:
            raise PromptError(str(error)) from error
        if operators > self._max_operators:  # tokens of several characters, or a level, leave room for more
            raise PromptError(f"prompt={text!r} has {operators} operators; allowed: at most {self._max_operators}.")
        return prompt

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The value; with `work="required"` a random derivation, or None where none is found in the vocabulary."""
        if self.config.work != "required":
            return str(prompt.data.value)
        if any(int(number) > LARGEST_STEP for number in re.findall("[0-9]+", prompt.text)):
            return None
        # Some orders leave the vocabulary where others do not: take the first of 64 random ones that stays in it, and
        # where there is none, of 64 more, a few times.
        expression = read_expression(prompt.text.partition("=")[0])
        copies = Statements(*(np.repeat(part, 64, axis=0) for part in expression))
        for _ in range(32):
            statements, fits = self._expressions.derive(rng.integers(0, 2**64, size=64, dtype=np.uint64), copies)
            if fits.any():
                row = int(np.argmax(fits))
                return "=".join(statement.text(row) for statement in statements[1:])
        return None

    def constant_completions(self) -> list[str]:
        """Every value, bare, and for derivations also as a first step such as "20+0+0" that stops there."""
        values = range(self.config.max_value + 1)
        tails = range(self._max_operators if self.config.work == "required" else 1)
        return [f"{value}{'+0' * zeros}" for value in values for zeros in tails]

    def _prompt_statements(self, keys: Keys) -> tuple[list[Statements], NDArray[np.void]]:
        """Draws the statements of each key's prompt, and what judging needs."""
        expressions, values, derivation_keys = self._expressions.draw(keys)
        data = np.empty(len(keys), dtype=self._data_type)
        data["value"] = values
        if self.config.reward == "worked_out":
            live = np.arange(self._max_operators + 1) <= expressions.counts[:, None]
            data["terms"] = np.where(live, expressions.operands, 0)
        data["operators"] = expressions.counts - 1 if self.config.work == "required" else 0
        if self.config.work != "given":
            return [expressions], data
        statements, _ = self._expressions.derive(derivation_keys, expressions)
        # Up to the last "=": without the last value.
        return [s._replace(counts=np.where(s.counts == 0, -1, s.counts)) for s in statements], data

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Judges completions by the paper's formula; see the class docstring."""
        return [self._judge(prompt.data, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def _judge(self, problem: Problem, completion: str) -> Outcome:
        statements = parse_statements(completion, self.is_signed) or []
        due = [problem.operators - i for i in range(problem.operators + 1)]
        is_whole = len(statements) == len(due)
        counts = [operators for _, operators in statements]
        if not statements or counts != due[: len(counts)] or (self.config.reward != "paper" and not is_whole):
            return self._malformed()
        errors = [abs(problem.value - value) for value, _ in statements]
        is_success = is_whole and errors[-1] == 0
        if self.config.reward == "worked_out":
            if "*" in completion:
                return self._malformed()
            chain = [problem.terms, *map(terms_of, completion.split("="))]
            errors = [distance_from_adding(before, after) for before, after in pairwise(chain)]
            is_success = not any(errors)
        error = min(sum(errors), LARGEST_ERROR)
        parts = {"error": float(error), "steps_correct": errors.count(0) / len(due), "well_formed": 1.0}
        return Outcome(float((self._rewards if is_success else self._unearned)[error]), is_success, parts)

    def _malformed(self, status: str = "malformed") -> Outcome:
        return Outcome(
            self.reward_range[0],
            False,
            {"error": float(LARGEST_ERROR), "steps_correct": 0.0, "well_formed": 0.0},
            status,
        )

    def illegal_outcome(self) -> Outcome:
        """As bad as malformed."""
        return self._malformed("illegal")

    # --- the array path: the number vocabulary ---------------------------------------------------------------------

    def arrays_from_keys(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """Returns the prompts' columns, int64 [n, P], and (value, operators) of each."""
        if not self._by_number or self.is_signed:
            prompts = self.prompts_from_keys(keys)
            return self.arrays_from_prompts(prompts)
        statements, data = self._prompt_statements(keys)
        tokenizer, n = self.tokenizer, len(keys)
        assert tokenizer.bos_id is not None  # the number vocabulary has one
        zero, plus, times, equals = (tokenizer.encode(text)[0] for text in ("0", "+", "*", "="))
        symbols = np.array([plus, plus, times])
        columns = np.full((n, self.max_prompt_tokens), tokenizer.pad_id, dtype=np.int64)
        # Columns from `end` on are written; each statement goes before the later ones.
        end = np.full(n, self.max_prompt_tokens)
        for operands, operators, counts in reversed(statements):
            width = 2 * operands.shape[1]
            size = 2 * (counts + 1)  # integers, operators and "="; none where the row has no such statement
            block = np.full((n, width), equals, dtype=np.int64)
            block[:, 0::2], block[:, 1:-1:2] = operands + zero, symbols[operators]
            block[np.arange(width) == size[:, None] - 1] = equals
            row, column = np.nonzero(np.arange(width) < size[:, None])
            columns[row, (end - size)[row] + column] = block[row, column]
            end = end - size
        columns[np.arange(n), end - 1] = tokenizer.bos_id
        return columns, data

    def arrays_from_prompts(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The same for given prompts."""
        columns = np.stack([self.encode_prompt(prompt) for prompt in prompts])
        data = np.zeros(len(prompts), dtype=self._data_type)
        for row, (value, operators, terms) in enumerate(prompt.data for prompt in prompts):
            data["value"][row], data["operators"][row] = value, operators
            if terms:
                data["terms"][row, : len(terms)] = terms
        return columns, data

    def start_states(self, data: NDArray[np.void]) -> list[Hashable]:
        """The automaton's first states."""
        return [self.syntax.start_of(operators) for operators in data["operators"].tolist()]

    def evaluate_arrays(
        self, data: NDArray[np.void], completions: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> OutcomeArrays:
        """Judges token ids, [n, C]: sums of number tokens at once, anything else through the text path."""
        if not self._by_number or self.is_signed or self.config.reward == "worked_out":
            return self._evaluate_rows(data, completions, lengths, range(len(data)))
        zero = len(self.tokenizer.special_ids)
        times, equals = zero + LARGEST_TOKEN + 2, zero + LARGEST_TOKEN + 3
        k, value = data["operators"], data["value"]
        columns = np.arange(completions.shape[1])
        within = lengths[:, None] > columns
        is_number = within & (completions < zero + LARGEST_TOKEN + 1)
        of = self._statement_of[k]
        is_equals = np.ones_like(is_number)
        is_equals[:, :-1] = of[:, :-1] != of[:, 1:]
        statements = self._statement_ends[k, lengths]
        expected = self._is_number[k]
        as_expected = (is_number == expected) & ((completions == equals) == (is_equals & ~expected))
        well_formed = (statements > 0) & (as_expected | ~within).all(axis=1)
        if self.config.reward != "paper":
            well_formed &= statements == k + 1
        sums = np.zeros((len(data), self._max_operators + 1), dtype=np.int64)
        numbers = np.where(is_number, completions - zero, 0)
        np.add.at(sums, (np.arange(len(data))[:, None], of), numbers)
        due = np.arange(sums.shape[1]) < statements[:, None]
        error = np.minimum((np.abs(sums - value[:, None]) * due).sum(axis=1), LARGEST_ERROR)
        error[~well_formed] = LARGEST_ERROR
        correct = ((sums == value[:, None]) & due).sum(axis=1)
        last = sums[np.arange(len(data)), np.maximum(statements - 1, 0)]
        is_success = well_formed & (statements == k + 1) & (last == value)
        outcome = OutcomeArrays(
            reward=np.where(is_success, self._rewards[error], self._unearned[error]),
            is_success=is_success,
            parts={
                "error": error.astype(np.float64),
                "steps_correct": np.where(well_formed, correct / (k + 1), 0.0),
                "well_formed": well_formed.astype(np.float64),
            },
            status=np.where(well_formed, "ok", "malformed").astype(object),
        )
        has_product = well_formed & (within & (completions == times)).any(axis=1)
        if has_product.any():
            rows = np.flatnonzero(has_product).tolist()
            outcome.put(has_product, self._evaluate_rows(data, completions, lengths, rows))
        return outcome

    def _evaluate_rows(
        self, data: NDArray[np.void], completions: NDArray[np.int64], lengths: NDArray[np.int64], rows: Iterable[int]
    ) -> OutcomeArrays:
        rows = list(rows)
        outcomes = [
            self._judge(
                _read_problem(*data[row].item()), self.tokenizer.decode(completions[row, : lengths[row]].tolist())
            )
            for row in rows
        ]
        return OutcomeArrays.of(outcomes, self.part_names)


def _read_problem(value: int, operators: int, *terms: NDArray[np.int64]) -> Problem:
    """One row of what `arrays_from_keys` returns; its terms are padded."""
    return Problem(value, operators, *(tuple(padded[: operators + 2].tolist()) for padded in terms))
