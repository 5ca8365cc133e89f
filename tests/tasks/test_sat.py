"""Sat: what assignments earn, what is drawn, what is solved, and which formulas count as the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, Prompt, PromptError, baselines, check_task, load_task
from rlfl_envs.masks import make_mask
from rlfl_envs.tasks.sat.formulas import draw_formulas, formula_fingerprints
from rlfl_envs.tasks.sat.solver import solve
from tests.settings import SAT

TASK = load_task(SAT)
# (1 or not 2 or 3) and (not 1 or 2 or 4) and (not 3 or not 4 or 2) and (1 or 2 or 3)
PROMPT = TASK.parse_prompt("p cnf 4 4\n 1 -2 3 0\n -1 2 4 0\n -3 -4 2 0\n 1 2 3 0\nv")

Clauses = Sequence[tuple[int, ...]]


def satisfies(literals: Sequence[int], clauses: Clauses) -> bool:
    """Whether each clause has one of the literals."""
    return all(any(literal in literals for literal in clause) for clause in clauses)


def is_satisfiable(clauses: Clauses, variables: int) -> bool:
    """Found by trying every assignment."""
    signs = product((1, -1), repeat=variables)
    return any(satisfies([sign * (i + 1) for i, sign in enumerate(each)], clauses) for each in signs)


@pytest.mark.parametrize(
    ("completion", "satisfied", "status"),
    [
        (" 1 2 3 4", 4, "ok"),
        (" 4 3 2 1", 4, "ok"),  # in any order
        (" 2 3", 4, "ok"),  # what is left out is not needed
        (" 1 -2 3 4", 3, "ok"),
        (" -1 -2 -3 -4", 3, "ok"),
        (" 2", 3, "ok"),
        (" 4", 1, "ok"),
        ("", 0, "ok"),
        (" 1 2 3 4 4", None, "malformed"),
        (" 1 2 3 -3", None, "malformed"),
        (" 1 2 3 5", None, "malformed"),
        (" 1 2 3 4 0", None, "malformed"),
        ("1 2 3 4", None, "malformed"),
        (" 1  2 3 4", None, "malformed"),
        (" 1 2 3 4 ", None, "malformed"),
        (" 1 2 3 4\n", None, "malformed"),
        (" +1 2 3 4", None, "malformed"),
        (" 01 2 3 4", None, "malformed"),
        (" --1 2 3 4", None, "malformed"),
        (" ١ 2 3 4", None, "malformed"),
        (" 1_0", None, "malformed"),
        (" 1" * 100_000, None, "malformed"),
        (" " + "1" * 100_000, None, "malformed"),
        ("v 1 2 3 4", None, "malformed"),
        (PROMPT.text, None, "malformed"),
    ],
)
def test_rewards(completion: str, satisfied: int | None, status: str) -> None:
    """Solutions, whole or in part; near misses; and what is no assignment."""
    (outcome,) = TASK.evaluate([PROMPT], [completion])
    assert outcome.reward == (-1 if satisfied is None else max(-1, 1 - 8 * (4 - satisfied) / 4))
    assert (outcome.is_success, outcome.status) == (satisfied == 4, status)
    assert outcome.parts == {"satisfied": (satisfied or 0) / 4, "well_formed": float(status == "ok")}
    (strict,) = load_task(SAT, reward="strict").evaluate([PROMPT], [completion])
    assert strict.reward == float(outcome.is_success)


def test_a_miss_costs_its_share() -> None:
    """One clause of 34 costs 8/34."""
    task = load_task(SAT, min_variables=8)
    (prompt,) = task.sample_prompts(np.random.default_rng(0), 1)
    assert len(prompt.data.clauses) == 34
    rewards = {
        outcome.reward
        for signs in product((1, -1), repeat=8)
        for outcome in task.evaluate([prompt], ["".join(f" {sign * (i + 1)}" for i, sign in enumerate(signs))])
    }
    assert {1.0, 1 - 8 / 34} <= rewards
    assert rewards <= {1 - 8 * missed / 34 for missed in range(9)} | {-1.0}


@given(st.data())
@settings(max_examples=150)
def test_the_solver_is_right(data: st.DataObject) -> None:
    """Of any small formula it finds an assignment that satisfies it, exactly where there is one."""
    variables = data.draw(st.integers(3, 6))
    triples = st.lists(st.integers(1, variables), min_size=3, max_size=3, unique=True)
    clause = st.builds(lambda t, s: tuple(a * b for a, b in zip(t, s, strict=True)), triples, st.tuples(*[SIGNS] * 3))
    clauses = data.draw(st.lists(clause, max_size=50))
    found = solve(clauses, variables)
    assert (found is not None) == is_satisfiable(clauses, variables)
    if found is not None:
        assert [*map(abs, found)] == [*range(1, variables + 1)]
        assert satisfies(found, clauses)


SIGNS = st.sampled_from([1, -1])


@pytest.mark.parametrize("level", range(5))
def test_what_is_drawn(level: int) -> None:
    """At every level: as many variables as it says, 4.26 clauses for each, none twice, satisfiable."""
    task, rng = TASK.at_level(level), np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 800)
    for prompt in prompts:
        variables, clauses = prompt.data
        assert (variables, len(clauses)) == (level + 4, round(4.26 * (level + 4)))
        assert len({frozenset(clause) for clause in clauses}) == len(clauses)
        assert all(len({*map(abs, clause)}) == 3 for clause in clauses)
    references = [task.reference_completion(prompt, rng) or "" for prompt in prompts]
    assert all(outcome.is_success and outcome.reward == 1 for outcome in task.evaluate(prompts, references))


@pytest.mark.parametrize("level", range(5))
def test_a_level_as_an_argument(level: int) -> None:
    """The arrays of a task of one level have the columns of the whole task, those of its prompts."""
    task = load_task(SAT, level=level)
    keys = np.arange(50, dtype=np.uint64)
    columns, _ = task.arrays_from_keys(keys)
    assert columns.shape == (50, TASK.max_prompt_tokens)
    np.testing.assert_array_equal(columns, [task.encode_prompt(prompt) for prompt in task.prompts_from_keys(keys)])


def test_formulas_are_those_of_the_first_version() -> None:
    """What keys stand for has not changed, in either split and of any size; nor what tells formulas apart."""
    digest, keys = hashlib.blake2b(digest_size=8), np.arange(500, dtype=np.uint64)
    for arguments in ({}, {"split": "test"}, {"split": "all", "max_variables": 30}):
        formulas = draw_formulas(keys, load_task(SAT, **arguments).config)
        for array in (*formulas, formula_fingerprints(formulas)):
            digest.update(array.tobytes())
    assert digest.hexdigest() == "820fa860295db7a5"


def test_prompts_are_written_as_they_are_read() -> None:
    """The text of each prompt says its clauses, one a line, whether all prompts have as many or not."""
    task = load_task(SAT, split="all", max_variables=30)
    for prompt in task.prompts_from_keys(np.arange(200, dtype=np.uint64)):
        variables, clauses = prompt.data
        lines = "".join(f" {a} {b} {c} 0\n" for a, b, c in clauses)
        assert prompt.text == f"p cnf {variables} {len(clauses)}\n{lines}v"
        assert task.parse_prompt(prompt.text).data == prompt.data


def test_thirty_variables() -> None:
    """The largest formulas are drawn and solved, too."""
    task = load_task(SAT, min_variables=30, max_variables=30)
    prompts = task.sample_prompts(np.random.default_rng(0), 10)
    references = [task.reference_completion(prompt, np.random.default_rng(0)) or "" for prompt in prompts]
    assert all(outcome.is_success for outcome in task.evaluate(prompts, references))


def test_literals_do_not_give_the_assignment_away() -> None:
    """The literals that the one solution makes true occur as often as the others, where there is only one."""
    task = load_task(SAT, min_variables=12, max_variables=12)
    true = total = 0
    for prompt in task.sample_prompts(np.random.default_rng(0), 1500):
        found = solve(prompt.data.clauses, 12)
        assert found is not None
        others = [[*prompt.data.clauses, (-literal,)] for literal in found]
        if all(solve(clauses, 12) is None for clauses in others):  # the only solution, so the one that is hidden
            counts = Counter(literal for clause in prompt.data.clauses for literal in clause)
            true += sum(counts[literal] for literal in found)
            total += sum(counts.values())
    assert total > 5000
    assert abs(true / total - 0.5) < 0.03  # 4/7 where all signs that satisfy a clause are as likely


def renamed(prompt: Prompt, rng: np.random.Generator) -> Prompt:
    """The same formula with other names, other signs and another order."""
    variables, clauses = prompt.data
    names, signs = rng.permutation(variables) + 1, rng.choice([-1, 1], size=variables)
    others = [
        rng.permutation([np.sign(literal) * signs[abs(literal) - 1] * names[abs(literal) - 1] for literal in clause])
        for clause in clauses
    ]
    body = "".join(" " + " ".join(map(str, others[i])) + " 0\n" for i in rng.permutation(len(others)))
    return TASK.parse_prompt(f"p cnf {variables} {len(clauses)}\n{body}v")


def test_a_formula_by_other_names_is_the_same_problem() -> None:
    """Names, signs and order change nothing about where a formula belongs; another formula has another key."""
    rng = np.random.default_rng(0)
    prompts = load_task(SAT, split="all").sample_prompts(rng, 300)
    for prompt in prompts:
        for _ in range(3):
            other = renamed(prompt, rng)
            assert TASK.problem_key(other) == TASK.problem_key(prompt)
            assert TASK.in_split([other]).tolist() == TASK.in_split([prompt]).tolist()
    assert len({TASK.problem_key(prompt) for prompt in prompts}) > 295


def test_one_sign_makes_another_problem() -> None:
    """Of formulas that differ in one sign nearly all have other keys."""
    prompts = load_task(SAT, split="all", min_variables=6).sample_prompts(np.random.default_rng(0), 100)
    same = 0
    for prompt in prompts:
        first, second, third = prompt.data.clauses[0]
        text = prompt.text.replace(f" {first} {second} {third} 0", f" {-first} {second} {third} 0", 1)
        same += TASK.problem_key(TASK.parse_prompt(text)) == TASK.problem_key(prompt)
    assert same <= 5


def test_splits_share_nothing() -> None:
    """One problem in ten is held out, and none is in both splits."""
    keys = {}
    for split in ("train", "test"):
        task = load_task(SAT, split=split)
        keys[split] = {task.problem_key(prompt) for prompt in task.sample_prompts(np.random.default_rng(0), 2000)}
    assert not keys["train"] & keys["test"]
    whole = load_task(SAT, split="all").sample_prompts(np.random.default_rng(0), 3000)
    assert 0.07 < 1 - TASK.in_split(whole).mean() < 0.13


@pytest.mark.parametrize(
    "arguments",
    [
        {"mask": "syntax", "max_variables": 12},
        {"vocabulary": "characters", "mask": "syntax", "max_variables": 11, "min_variables": 9},
        {"reward": "strict", "clauses_per_variable": 2.0},
        {"min_variables": 27, "max_variables": 30, "mask": "syntax"},
    ],
    ids=str,
)
def test_the_contract(arguments: dict[str, Any]) -> None:
    """With other sizes and vocabularies, too, arrays and text agree and references are legal."""
    check_task(load_task(SAT, **arguments), num_prompts=32)


@pytest.mark.parametrize("vocabulary", ["literal", "characters"])
def test_the_mask_allows_whole_assignments_alone(vocabulary: str) -> None:
    """Under "syntax" exactly the sixteen assignments of four variables, in order, can be written and ended."""
    task = load_task(SAT, vocabulary=vocabulary, max_variables=12, mask="syntax")
    mask, tokenizer = make_mask(task), task.tokenizer
    waiting, found = [(mask.start(PROMPT), "")], set()
    while waiting:
        state, text = waiting.pop()
        for token in np.flatnonzero(mask.row(state)).tolist():
            if token in tokenizer.eos_ids:
                found.add(text)
            else:
                waiting.append((mask.next_state(state, token), text + tokenizer.token_texts[token]))
    signs = product((1, -1), repeat=4)
    assert found == {"".join(f" {sign * (i + 1)}" for i, sign in enumerate(each)) for each in signs}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p cnf 4 1\n 1 -2 3 0\n",
        "p cnf 4 1\n1 -2 3 0\nv",
        "p cnf 4 2\n 1 -2 3 0\nv",  # another count
        "p cnf 3 1\n 1 -2 3 0\nv",  # too few variables
        "p cnf 9 1\n 1 -2 3 0\nv",  # too many
        "p cnf 4 1\n 1 -2 5 0\nv",  # out of range
        "p cnf 4 1\n 1 -2 2 0\nv",  # a variable twice
        "p cnf 4 1\n 1 -2 0\nv",
        "p cnf 4 1\n 1 -2 3 4 0\nv",
        "p cnf 4 35\n" + " 1 -2 3 0\n" * 35 + "v",
        "p cnf 4 1\n" + " 1 -2 3 0\n" * 100_000 + "v",
    ],
    ids=range(12),
)
def test_wrong_prompts(text: str) -> None:
    """Other forms, counts and variables: the message says what is allowed."""
    with pytest.raises(PromptError, match="4 to 8 variables and at most 34 clauses of three of them"):
        TASK.parse_prompt(text)


def test_a_formula_that_cannot_be_satisfied() -> None:
    """Other code may bring one; it has no reference, and its best assignments earn what they satisfy."""
    signs = product(("", "-"), repeat=3)
    body = "".join(f" {a}1 {b}2 {c}3 0\n" for a, b, c in signs)
    prompt = TASK.parse_prompt(f"p cnf 4 8\n{body}v")
    assert TASK.reference_completion(prompt, np.random.default_rng(0)) is None
    assert TASK.evaluate([prompt], [" 1 2 3"])[0].reward == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_variables": 3}, "min_variables=3 is not allowed; allowed: 4..30."),
        ({"max_variables": 31}, "max_variables=31 is not allowed; allowed: 4..30, from min_variables on."),
        ({"clauses_per_variable": 5.5}, "clauses_per_variable=5.5 is not allowed; allowed: 1 to 5."),
        ({"reward": "exact"}, "reward='exact' is not allowed; allowed: 'plain', 'strict'."),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(SAT, **arguments)
    assert str(error.value) == message


def test_nothing_cheap_succeeds() -> None:
    """Random assignments earn 0 on average and rarely succeed; no constant does better; references earn all."""
    found = {baseline.name: baseline for baseline in baselines(load_task(SAT, mask="syntax"), num_prompts=2000)}
    assert abs(found["random legal tokens"].reward) < 0.05
    assert found["random legal tokens"].success < 0.08
    assert found["best constant answer"].success < 0.08
    assert found["best constant answer"].reward < 0.05
    assert found["reference"].success == found["reference"].reward == 1
