"""Sat: satisfy every clause of a formula."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Outcome, OutcomeArrays, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.keys import Keys, in_split
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task
from rlfl_envs.tasks.sat.automaton import SatAutomaton, State
from rlfl_envs.tasks.sat.config import MOST_VARIABLES, SatConfig
from rlfl_envs.tasks.sat.formulas import Formulas, draw_formulas, formula_fingerprints
from rlfl_envs.tasks.sat.solver import solve
from rlfl_envs.tasks.sat.viability import MOST_VARIABLES as MOST_JUDGED
from rlfl_envs.tasks.sat.viability import AssignmentAutomaton, LiteralTokens
from rlfl_envs.tokenization import Tokenizer, word_tokenizer

__all__ = ["Sat"]

MAX_TEXT = 4096  # characters; anything longer is malformed, so that judging takes bounded time
_NUMBERS = range(1, MOST_VARIABLES + 1)
_HEAD, _NEWLINE, _END, _ANSWER = "p cnf", "\n", " 0\n", "v"
# The text of each literal, negative ones from the end, at each of a clause's three places; none of literal 0.
_WRITTEN = np.array(
    [["", "", ""], *([f" {n}", f" {n}", f" {n}{_END}"] for n in [*_NUMBERS, *(-n for n in reversed(_NUMBERS))])],
    dtype=object,
)
_WORD = re.compile(r" -?[1-9][0-9]{0,2}")
_ANSWER_FORM = re.compile(rf"(?:{_WORD.pattern})*")
_PROMPT = re.compile(rf"p cnf ([1-9][0-9]?) ([1-9][0-9]{{0,2}})\n((?:(?:{_WORD.pattern}){{3}} 0\n)+)v")


class Problem(NamedTuple):
    """What judging a completion needs.

    Attributes:
        variables: How many there are.
        clauses: Of each its three literals.
    """

    variables: int
    clauses: tuple[tuple[int, int, int], ...]


class Sat(Task):
    r"""Find values for variables that make every clause of a formula true.

    Description:
        Satisfiability, the first problem that was shown to be NP-complete (Cook 1971): right answers are easy to check
        and hard to find. A formula has clauses of three literals, 4.26 for each variable, which is where random
        formulas go from satisfiable to not, and are hardest. Every prompt can be satisfied by construction.

    Prompt:
        DIMACS, with a space before each literal, and the `v` that begins a solver's answer:
        `p cnf 4 17\n 1 -2 3 0\n ... 0\nv`. An assignment is hidden: each value is a fair coin. Clauses that it
        satisfies are drawn, none twice: three variables, uniform, and signs with weight q^t where t of the literals are
        true, q = 0.618. With that q (Jia, Moore & Strain 2005, "Generating hard satisfiable formulas by hiding
        solutions deceptively") how often a literal occurs tells nothing about the hidden assignment.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 49, P = 142 and C = 8 by default.

    Action:
        `Discrete(V)`. Vocabulary "literal": PAD, BOS, EOS, then `p cnf`, a newline, ` 0` with a newline, `v`, the
        positive integers and the negated variables, each with its space. "characters": PAD, BOS, EOS, and a token per
        character. Otherwise a Hugging Face tokenizer's tokens. With `max_variables` up to 10 there are `judge_tokens`
        and `rewards="tokens"`: after which tokens a satisfying assignment can follow.

    Reward:
        1 - 8 * unsatisfied / clauses, at least -1: a random assignment satisfies 7/8 of the clauses, so that it earns 0
        on average. The completion is literals, each after a space, such as ` 1 -2 3 4`; it need not be in order, and
        variables may be left out, which then satisfy nothing. Anything else, or a variable twice, is malformed and
        earns -1. With `reward="strict"` it is 1 where all clauses are satisfied and else 0. Success: all are. Parts:
        `satisfied` (a share, 0..1), `well_formed` (0 or 1). Status: "ok" or "malformed".

    Episode end:
        EOS, or the budget of C tokens, by default a literal for each of `max_variables`.

    Arguments:
        `min_variables`, `max_variables`, `clauses_per_variable`, `reward`, and the common `split`, `vocabulary`,
        `mask`, `max_completion_tokens`, `min_completion_tokens`, `level`. Level k has formulas of `min_variables` + k
        variables. The split goes by what the formula is but for the names of variables, which of their values is called
        true, and the order of clauses and literals. With `mask="syntax"` a literal of each variable is written, in
        order.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Sat-v0")
        >>> prompt = task.parse_prompt("p cnf 4 2\n 1 -2 3 0\n -1 2 4 0\nv")
        >>> for outcome in task.evaluate([prompt] * 3, [" 1 2", " 1 -2 3 -4", " 1 1"]):
        ...     print(outcome.reward, outcome.is_success, outcome.status)
        1.0 True ok
        -1.0 False ok
        -1.0 False malformed

    Known exploits:
        None that ignores the formula. Tried over 10,000 prompts of the default, with the mean reward and
        success: all variables true (0.01, 0.04), a random assignment (0.00, 0.05), the first literal of each variable
        (0.06, 0.04), random legal tokens under `mask="syntax"` (0.01, 0.05), without a mask (-1, 0); the first clause,
        the prompt, no text, an answer twice (-0.9 and less, 0). Level 0 is the easiest to guess: 0.09 of random
        assignments succeed. Counting pays, since it satisfies many clauses: the sign that each variable has most often
        earns 0.46 and succeeds at 0.14 (0.19 with four variables, 0.003 with twenty). An assignment that misses one
        clause of 34 still earns 0.76: `reward="strict"` pays nothing for it.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[SatConfig]] = SatConfig
    part_names: ClassVar[tuple[str, ...]] = ("satisfied", "well_formed")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "a reworded prompt's answer": Accepted("Two formulas that differ in two literals share solutions.", 0.3, 1.0),
        "another prompt's answer": Accepted("Each clause that is satisfied counts.", 0.35),
        "truncation": Accepted("A variable that no clause needs may be left out.", success=0.2),
        "mutation": Accepted("Another assignment may satisfy the formula, too.", success=0.2),
    }
    config: SatConfig
    syntax: SatAutomaton
    instruction = (
        "Give each variable a truth value so that every clause has a true literal. Write the variables' numbers in a "
        "row, each after a space and with a minus where it is false, such as: 1 -2 3 -4. Write nothing else."
    )

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of SatConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        self._by_literal = self.config.vocabulary == "literal"
        self.reward_range = (-1.0, 1.0) if self.config.reward == "plain" else (0.0, 1.0)
        self.syntax = SatAutomaton(counts_literals=self._by_literal)
        self._most_clauses = self.config.clauses_of(self.config.max_variables)
        literals = ("literals", np.int64, (self._most_clauses, 3))
        self._data_type = np.dtype([literals, ("variables", np.int64), ("clauses", np.int64)])
        # The literal of each token, 0 where it is none; and the token of each literal, negated ones from the end.
        texts = self.tokenizer.token_texts if self._by_literal else []
        self._literal_of = np.array([int(text) if _WORD.fullmatch(text) else 0 for text in texts], dtype=np.int64)
        self._token_of = np.zeros(2 * np.abs(self._literal_of).max(initial=0) + 1, dtype=np.int64)
        tokens = np.flatnonzero(self._literal_of)
        self._token_of[self._literal_of[tokens]] = tokens
        most = self.config.max_variables
        if most <= MOST_JUDGED:  # of more variables there are too many partial assignments
            in_order = self.config.mask == "syntax"  # a success must not need what the mask forbids
            self.successes = AssignmentAutomaton(in_order)
            self.array_successes = (
                LiteralTokens(self.tokenizer, self._literal_of, most, self.max_completion_tokens, in_order)
                if self._by_literal
                else None
            )

    # --- vocabulary and budgets ------------------------------------------------------------------------------------

    @property
    def characters(self) -> str:
        """Digits, the minus, and what else a prompt has."""
        return "0123456789- \npcnfv"

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """A literal a token, and characters."""
        variables, clauses = self.config.max_variables, self.config.clauses_of(self.config.max_variables)
        return {"literal": lambda: _literal_tokenizer(variables, clauses), **super().vocabularies()}

    def budgets(self) -> tuple[int, int]:
        """Those of the most variables: literals and ends of clauses, or their characters."""
        variables, clauses = self.config.max_variables, self.config.clauses_of(self.config.max_variables)
        if self.config.vocabulary == "literal":
            return 5 + 4 * clauses, variables
        width = len(f" -{variables}")
        return len(f"p cnf {variables} {clauses}\nv") + clauses * (3 * width + len(_END)), variables * width

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws one prompt; `prompts_from_keys` is what the environments use."""
        return self.unsplit.sample_prompts(rng, 1)[0]

    def problem_key(self, prompt: Prompt) -> str:
        """A hash of the formula but for names, signs and order."""
        return f"{int(self._fingerprints([prompt])[0]):016x}"

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """By that hash; bool [n]."""
        return in_split(self._fingerprints(prompts), self.config.split)

    def _fingerprints(self, prompts: Sequence[Prompt]) -> Keys:
        data = self._data_of(prompts)
        return formula_fingerprints(Formulas(data["literals"], data["variables"], data["clauses"]))

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """Returns the prompt of each key, uint64 [n]."""
        return [*_prompts(draw_formulas(keys, self.config))]

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any formula of so many variables and at most as many clauses, satisfiable or not."""
        config = self.config
        match = _PROMPT.fullmatch(text) if len(text) <= 20 * (self._most_clauses + 1) else None
        if match:
            lines = [[*map(int, line.split())] for line in match[3].splitlines()]
            problem = Problem(int(match[1]), tuple([(a, b, c) for a, b, c, _ in lines]))
            is_allowed = config.min_variables <= problem.variables <= config.max_variables
            is_allowed &= len(problem.clauses) == int(match[2]) <= self._most_clauses
            is_allowed &= all(
                len({*map(abs, clause)}) == 3 and max(map(abs, clause)) <= problem.variables
                for clause in problem.clauses
            )
            if is_allowed:
                return Prompt(text, problem)
        raise PromptError(
            f"prompt={text!r} is not allowed; allowed: {config.min_variables} to {config.max_variables} variables and "
            f"at most {self._most_clauses} clauses of three of them, such as 'p cnf 4 1\\n 1 -2 3 0\\nv'."
        )

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Counts the clauses that have a literal written."""
        return [self._judge(prompt.data, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def _judge(self, problem: Problem, completion: str) -> Outcome:
        is_readable = len(completion) <= MAX_TEXT and _ANSWER_FORM.fullmatch(completion)
        literals = [*map(int, completion.split())] if is_readable else []
        named = {*map(abs, literals)}
        if not is_readable or len(named) < len(literals) or max(named, default=0) > problem.variables:
            return self._malformed()
        true = frozenset(literals)
        satisfied = sum([not true.isdisjoint(clause) for clause in problem.clauses])
        reward = _reward(np.array([satisfied]), np.array([len(problem.clauses)]), self.config.reward)
        is_success = satisfied == len(problem.clauses)
        return Outcome(
            float(reward[0]), is_success, {"satisfied": satisfied / len(problem.clauses), "well_formed": 1.0}
        )

    def _malformed(self, status: str = "malformed") -> Outcome:
        return Outcome(self.reward_range[0], False, {"satisfied": 0.0, "well_formed": 0.0}, status)

    def illegal_outcome(self) -> Outcome:
        """As bad as malformed."""
        return self._malformed("illegal")

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """A satisfying assignment, always the same; None where a prompt that was not drawn has none."""
        problem = prompt.data
        found = solve(problem.clauses, problem.variables)
        return None if found is None else "".join([f" {literal}" for literal in found])

    def constant_completions(self) -> list[str]:
        """All true, all false, and each the other way from one variable to the next."""
        variables = range(1, self.config.max_variables + 1)
        least = self.config.min_variables
        signs = [(1, 1), (-1, -1), (1, -1), (-1, 1)]
        whole = ["".join([f" {pair[variable % 2] * variable}" for variable in variables]) for pair in signs]
        return [*whole, *("".join([f" {pair[v % 2] * v}" for v in variables[:least]]) for pair in signs)]

    # --- the array path --------------------------------------------------------------------------------------------

    def arrays_from_keys(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """Returns the prompts' columns, int64 [n, P], and literals, variables and clauses of each."""
        if not self._by_literal:
            return self.arrays_from_prompts(self.prompts_from_keys(keys))
        formulas = draw_formulas(keys, self.config)
        data = np.zeros(len(keys), dtype=self._data_type)
        data["literals"], data["variables"], data["clauses"] = formulas
        tokenizer, n, pad = self.tokenizer, len(keys), self.tokenizer.pad_id
        assert tokenizer.bos_id is not None  # this vocabulary has one
        head, newline, end, answer = (tokenizer.encode(text)[0] for text in (_HEAD, _NEWLINE, _END, _ANSWER))
        body = np.full((n, self._most_clauses, 4), end, dtype=np.int64)
        body[:, :, :3] = self._token_of[formulas.literals]
        begin = np.full((n, 5), tokenizer.bos_id, dtype=np.int64)
        begin[:, 1], begin[:, 4] = head, newline
        begin[:, 2:4] = self._token_of[np.stack([formulas.variables, formulas.clauses], axis=1)]
        text = np.concatenate([begin, body.reshape(n, -1), np.full((n, 1), answer)], axis=1)
        blank = 4 * (self._most_clauses - formulas.clauses)[:, None]  # the text without missing clauses, to the right
        source = np.arange(text.shape[1]) - blank
        is_last = np.arange(text.shape[1]) == text.shape[1] - 1
        columns = np.take_along_axis(text, np.where(is_last, text.shape[1] - 1, np.maximum(source, 0)), axis=1)
        missing = self.max_prompt_tokens - text.shape[1]  # a level has the columns of the whole task
        columns = np.pad(np.where(source < 0, pad, columns), ((0, 0), (missing, 0)), constant_values=pad)
        return columns, data

    def arrays_from_prompts(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The same for given prompts."""
        return np.stack([self.encode_prompt(prompt) for prompt in prompts]), self._data_of(prompts)

    def _data_of(self, prompts: Sequence[Prompt]) -> NDArray[np.void]:
        data = np.zeros(len(prompts), dtype=self._data_type)
        for row, prompt in zip(data, prompts, strict=True):
            row["variables"], row["clauses"] = prompt.data.variables, len(prompt.data.clauses)
            row["literals"][: len(prompt.data.clauses)] = prompt.data.clauses
        return data

    def start_states(self, data: NDArray[np.void]) -> list[Hashable]:
        """The automaton's first states."""
        return [State(variables) for variables in data["variables"].tolist()]

    def evaluate_arrays(
        self, data: NDArray[np.void], completions: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> OutcomeArrays:
        """Judges token ids, [n, C]; at once where a token is a literal."""
        if not self._by_literal:
            rows = zip(completions.tolist(), lengths.tolist(), strict=True)
            texts = self.tokenizer.decode_batch([row[:length] for row, length in rows])
            return OutcomeArrays.of(self.evaluate([Prompt("", _problem(row)) for row in data], texts), self.part_names)
        n, size = len(data), len(self._token_of)
        within = np.arange(completions.shape[1]) < lengths[:, None]
        literals = np.where(within, self._literal_of[completions], 0)
        variable = np.abs(literals)
        row = np.arange(n)[:, None]
        times, values = np.zeros((n, size), dtype=np.int64), np.zeros((n, size), dtype=np.int64)
        np.add.at(times, (row, variable), literals != 0)
        np.add.at(values, (row, variable), np.sign(literals))
        well_formed = ((literals != 0) | ~within).all(axis=1) & (times <= 1).all(axis=1)
        well_formed &= variable.max(axis=1) <= data["variables"]
        clauses = data["literals"]
        of_literals = np.take_along_axis(values, np.abs(clauses).reshape(n, -1), axis=1).reshape(clauses.shape)
        satisfied = ((of_literals == np.sign(clauses)) & (clauses != 0)).any(axis=2).sum(axis=1)
        reward = _reward(satisfied, data["clauses"], self.config.reward)
        return OutcomeArrays(
            reward=np.where(well_formed, reward, self.reward_range[0]),
            is_success=well_formed & (satisfied == data["clauses"]),
            parts={
                "satisfied": np.where(well_formed, satisfied / data["clauses"], 0.0),
                "well_formed": well_formed.astype(np.float64),
            },
            status=np.where(well_formed, "ok", "malformed").astype(object),
        )


def _reward(satisfied: NDArray[np.int64], clauses: NDArray[np.int64], reward: str) -> NDArray[np.float64]:
    """What well-formed answers earn, [n]."""
    missed = clauses - satisfied
    return np.where(missed > 0, 0.0, 1.0) if reward == "strict" else np.maximum(1 - 8 * missed / clauses, -1.0)


def _prompts(formulas: Formulas) -> Iterator[Prompt]:
    """Writes formulas as prompts; literals become text by a table, for one at a time would take longer than to draw."""
    n = len(formulas.literals)
    literals = formulas.literals.reshape(n, -1).tolist()
    bodies = _WRITTEN[formulas.literals, np.arange(3)].reshape(n, -1).tolist()
    rows = zip(literals, bodies, formulas.variables.tolist(), formulas.clauses.tolist(), strict=True)
    for row, body, variables, clauses in rows:
        places = iter(row[: 3 * clauses])
        text = f"{_HEAD} {variables} {clauses}{_NEWLINE}{''.join(body)}{_ANSWER}"
        yield Prompt(text, Problem(variables, tuple(zip(places, places, places, strict=True))))


def _problem(row: np.void) -> Problem:
    return Problem(int(row["variables"]), tuple(map(tuple, row["literals"][: row["clauses"]].tolist())))


def _literal_tokenizer(variables: int, largest: int) -> Tokenizer:
    """A token for each positive integer up to the largest, each negated variable, and the rest of a prompt.

    There are at least as many clauses as variables.
    """
    numbers = [*range(1, largest + 1), *range(-1, -variables - 1, -1)]
    words = [_HEAD, _NEWLINE, _END, _ANSWER, *(f" {number}" for number in numbers)]
    return word_tokenizer(words, rf"{_HEAD}|{_END}|{_WORD.pattern}|{_NEWLINE}|{_ANSWER}")
