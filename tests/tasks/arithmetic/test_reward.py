"""Arithmetic: the paper's reward, its near misses and exploits."""

from __future__ import annotations

import itertools
import math
import re
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, Outcome, Prompt, Task, load_task
from tests.settings import ANSWER, GIVEN, STEPS
from tests.tasks.arithmetic.derivations import calculate, chains, combinations

MALFORMED = Outcome(2 / (1 + math.exp(50)), False, {"error": 500.0, "steps_correct": 0.0, "well_formed": 0.0}, "")


def paper_outcome(text: str, operators: int, value: int, is_signed: bool, is_strict: bool) -> Outcome:
    """The paper's reward, written down a second time: strip spaces, split on "=", evaluate, add up the errors.

    Args:
        text: The completion.
        operators: How many its first statement must have.
        value: v.
        is_signed: Whether integers may be negative.
        is_strict: Whether a chain that stops early is malformed.
    """
    integer = "-?(0|[1-9][0-9]*)" if is_signed else "(0|[1-9][0-9]*)"
    operator = "[-+*]" if is_signed else "[+*]"
    if re.search("[0-9] +[0-9]", text):
        return MALFORMED
    statements = text.replace(" ", "").split("=")
    if not all(re.fullmatch(f"{integer}({operator}{integer})*", statement) for statement in statements):
        return MALFORMED
    counts = [len(re.findall(r"(?<=[0-9])[-+*]", statement)) for statement in statements]
    if counts != [operators - i for i in range(len(counts))] or (is_strict and counts[-1] != 0):
        return MALFORMED
    values = [calculate(statement) for statement in statements]
    error = min(sum(abs(value - other) for other in values), 500)
    parts = {
        "error": float(error),
        "steps_correct": sum(other == value for other in values) / (operators + 1),
        "well_formed": 1.0,
    }
    return Outcome(2 / (1 + math.exp(error / 10)), counts[-1] == 0 and values[-1] == value, parts, "ok")


def assert_same(ours: Outcome, theirs: Outcome) -> None:
    """Equal rewards to 1e-9; equal parts and success."""
    assert ours.reward == pytest.approx(theirs.reward, rel=1e-9, abs=1e-9)
    assert ours.is_success == theirs.is_success
    assert ours.parts == theirs.parts
    assert ours.status == (theirs.status or "malformed")


def expected(task: Task, prompt: Prompt, completion: str) -> Outcome:
    """`paper_outcome` for a task's prompt."""
    problem = prompt.text.partition("=")[0]
    operators = len(re.findall(r"(?<=[0-9])[-+*]", problem)) - 1 if task.config.work == "required" else 0
    is_strict = task.config.reward == "strict"
    return paper_outcome(completion, operators, calculate(problem), "-" in task.config.operators, is_strict)


TASKS = {
    f"{id}-{operators}-{reward}": load_task(id, operators=operators, reward=reward)
    for id in (GIVEN, STEPS, ANSWER)
    for operators in ("+", "+*", "+-*")
    for reward in ("paper", "strict")
}


@st.composite
def spoilt_chains(draw: st.DrawFn, operators: int, is_signed: bool) -> str:
    """A text of the grammar with a character or two inserted, dropped or replaced."""
    text = draw(chains(operators, is_signed))
    for _ in range(draw(st.integers(1, 2))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 1))
        text = (
            text[:at] + draw(st.sampled_from([*"0123456789+-*= \n٣.xé(", "**", "00", "  ", ""])) + text[at + length :]
        )
    return text


@pytest.mark.parametrize("name", TASKS)
@given(data=st.data())
@settings(max_examples=100)
def test_reward_is_the_papers(name: str, data: st.DataObject) -> None:
    """To 1e-9 on every text, of the grammar or not, whatever the integers; with success, parts and status."""
    task = TASKS[name]
    prompt = task.sample_prompts(np.random.default_rng(data.draw(st.integers(0, 1000))), 1)[0]
    operators, is_signed = prompt.data.operators, "-" in task.config.operators
    kind = data.draw(st.sampled_from([chains, spoilt_chains]))
    texts = st.one_of(kind(operators, is_signed), st.text("0123456789+-*= ", max_size=30))
    completion = data.draw(texts)
    assert_same(task.evaluate([prompt], [completion])[0], expected(task, prompt, completion))


@pytest.mark.parametrize("name", TASKS)
@given(data=st.data())
@settings(max_examples=60)
def test_what_leaves_the_grammar_is_malformed(name: str, data: st.DataObject) -> None:
    """A text with any character that is not in the grammar earns the lowest reward."""
    task = TASKS[name]
    prompt = task.sample_prompts(np.random.default_rng(0), 1)[0]
    text = data.draw(st.text("0123456789+*= ", max_size=12))
    stranger = data.draw(st.characters(exclude_characters="0123456789+-*= "))
    at = data.draw(st.integers(0, len(text)))
    (outcome,) = task.evaluate([prompt], [text[:at] + stranger + text[at:]])
    assert_same(outcome, MALFORMED)
    assert outcome.reward == task.reward_range[0]


@pytest.mark.parametrize("scale", [0.001, 1, 2.5, 1e6])
def test_reward_scale_divides_the_error(scale: float) -> None:
    """Also where it is so small that the exponential would overflow."""
    task = load_task(ANSWER, reward_scale=scale)
    prompt = task.parse_prompt("2+3+4=")
    for answer in (9, 8, 19, 509, 10**9):
        error = min(abs(answer - 9), 500)
        (outcome,) = task.evaluate([prompt], [str(answer)])
        assert outcome.reward == pytest.approx(2 / (1 + math.exp(min(error / scale, 700))), rel=1e-9)
        assert outcome.reward > 0


BAD = 0.0  # malformed: 3.9e-22
E = {error: 2 / (1 + math.exp(error / 10)) for error in range(1, 500)}

NEAR_MISSES = [
    # id, prompt, completion, reward under "paper", under "strict", success
    (STEPS, "2+3+4=", "5+4=9", 1, 1, True),
    (STEPS, "2+3+4=", "2+7=9", 1, 1, True),
    (STEPS, "2+3+4=", "9+0=9", 1, 1, True),  # adds nothing, yet is right
    (STEPS, "2+3+4=", "3*3=9", 1, 1, True),  # an operator that the problem has not
    (STEPS, "2+3+4=", " 5 + 4 = 9 ", 1, 1, True),
    (STEPS, "2+3+4=", "5+4=8", E[1], E[1], False),
    (STEPS, "2+3+4=", "5+3=9", E[1], E[1], True),  # success asks for the last value alone
    (STEPS, "2+3+4=", "5+3=8", E[2], E[2], False),
    (STEPS, "2+3+4=", "5+4=", BAD, BAD, False),  # trailing "="
    (STEPS, "2+3+4=", "5+4", 1, BAD, False),  # stops early: the paper's hole
    (STEPS, "2+3+4=", "99+0", E[90], BAD, False),
    (STEPS, "2+3+4=", "9", BAD, BAD, False),  # skips a step
    (STEPS, "2+3+4=", "5+4=9=9", BAD, BAD, False),  # too many statements
    (STEPS, "2+3+4=", "5+4=9+0", BAD, BAD, False),  # too many operators
    (STEPS, "2+3+4=", "2+3+4=9", BAD, BAD, False),  # repeats the problem
    (STEPS, "2+3+4=", "=9", BAD, BAD, False),  # an empty statement
    (STEPS, "2+3+4=", "5+4==9", BAD, BAD, False),
    (STEPS, "2+3+4=", "", BAD, BAD, False),
    (STEPS, "2+3+4=", " ", BAD, BAD, False),
    (STEPS, "2+3+4=", "05+4=9", BAD, BAD, False),  # leading zeros
    (STEPS, "2+3+4=", "5+4=09", BAD, BAD, False),
    (STEPS, "2+3+4=", "5+4=00", BAD, BAD, False),
    (STEPS, "2+3+4=", "5 4=9", BAD, BAD, False),  # adjacent integers
    (STEPS, "2+3+4=", "5+4=0 9", BAD, BAD, False),
    (STEPS, "2+3+4=", "+5+4=9", BAD, BAD, False),  # signs
    (STEPS, "2+3+4=", "5+-4=9", BAD, BAD, False),
    (STEPS, "2+3+4=", "5-4=9", BAD, BAD, False),
    (STEPS, "2+3+4=", "5++4=9", BAD, BAD, False),
    (STEPS, "2+3+4=", "5**4=9", BAD, BAD, False),  # powers
    (STEPS, "2+3+4=", "5+٤=9", BAD, BAD, False),  # digits of other scripts
    (STEPS, "2+3+4=", "5+4=9\n", BAD, BAD, False),
    (STEPS, "2+3+4=", "5+4=9.0", BAD, BAD, False),
    (STEPS, "2+3+4=", "5+4=9 ", 1, 1, True),
    (STEPS, "2+3+4=", "99*99=9", BAD, BAD, True),  # the error is capped at 500: no better than malformed
    (STEPS, "2+3+4=", "9" * 30 + "*" + "9" * 30 + "=9", BAD, BAD, True),
    (STEPS, "5+4=", "9", 1, 1, True),
    (STEPS, "5+4=", "5+4", BAD, BAD, False),
    (GIVEN, "2+3+4=5+4=", "9", 1, 1, True),
    (GIVEN, "2+3+4=5+4=", "8", E[1], E[1], False),
    (GIVEN, "2+3+4=5+4=", "0", E[9], E[9], False),
    (GIVEN, "2+3+4=5+4=", "5+4", BAD, BAD, False),
    (GIVEN, "2+3+4=5+4=", "9=9", BAD, BAD, False),
    (GIVEN, "2+3+4=5+4=", "", BAD, BAD, False),
    (ANSWER, "2+3+4=", "9", 1, 1, True),
    (ANSWER, "2+3+4=", "12", E[3], E[3], False),
    (ANSWER, "2+3+4=", "508", E[499], E[499], False),
    (ANSWER, "2+3+4=", "509", BAD, BAD, False),
    (ANSWER, "2+3+4=", "10000000000", BAD, BAD, False),
    (ANSWER, "2+3+4=", "09", BAD, BAD, False),
    (ANSWER, "2+3+4=", "-9", BAD, BAD, False),
    (ANSWER, "2+3+4=", "5+4=9", BAD, BAD, False),
    (ANSWER, "2+3+4=", "3*3", BAD, BAD, False),
]


@pytest.mark.parametrize("reward", ["paper", "strict"])
@pytest.mark.parametrize(("id", "prompt", "completion", "paper", "strict", "success"), NEAR_MISSES)
def test_near_misses_and_exploits(
    id: str, prompt: str, completion: str, paper: float, strict: float, success: bool, reward: str
) -> None:
    """What each of these earns, under both rewards."""
    task = load_task(id, reward=reward)
    (outcome,) = task.evaluate([task.parse_prompt(prompt)], [completion])
    due = paper if reward == "paper" else strict
    assert outcome.reward == pytest.approx(due, abs=1e-9)
    assert outcome.is_success == success
    is_capped = due == BAD and outcome.parts["well_formed"] == 1
    assert outcome.status == ("malformed" if due == BAD and not is_capped else "ok")


@pytest.mark.parametrize(
    ("prompt", "completion", "reward", "success"),
    [
        ("2-5+4=", "-3+4=1", 1, True),
        ("2-5+4=", "2-1=1", 1, True),
        ("2-5+4=", "2+-1=1", 1, True),
        ("2-5+4=", "2--1=1", E[2], True),
        ("2-5+4=", "- 3 + 4 = 1", 1, True),
        ("2-5+4=", "-3+4=-1", E[2], False),
        ("2-5=", "-3", 1, True),
        ("2-5=", "3", E[6], False),
        ("2-5=", "--3", BAD, False),
        ("2-5=", "-03", BAD, False),
        ("2-5=", "-", BAD, False),
        ("2-5=", "-0", E[3], False),
        ("2*3-7=", "6-7=-1", 1, True),
        ("2*3-7=", "2*-4=-1", E[7], True),
    ],
)
def test_signs(prompt: str, completion: str, reward: float, success: bool) -> None:
    """With "-" among the operators integers are signed."""
    task = load_task(STEPS, operators="+-*")
    (outcome,) = task.evaluate([task.parse_prompt(prompt)], [completion])
    assert outcome.reward == pytest.approx(reward, abs=1e-9)
    assert outcome.is_success == success


@pytest.mark.parametrize(
    ("completion", "error", "steps_correct", "success"),
    [
        ("3+3+4=6+4=10", 0, 1, True),
        ("1+5+4=1+9=10", 0, 1, True),
        (" 1+2 + 7=3+7=10", 0, 1, True),
        ("10+0+0=10+0=10", 7 + 3 + 4, 2 / 3, False),  # of the right total, but not what adding 1+2 gives
        ("3+3+4=6+4=9", 1, 2 / 3, False),
        ("3+3+5=6+5=11", 1, 2 / 3, False),  # the slip is told of once, where it was made
        ("3+3+4=5+5=10", 2, 2 / 3, False),  # the last statement follows from "5+5"
        ("3+4+3=7+3=10", 2, 2 / 3, False),
        ("0+0+0=0+0=0", 10, 2 / 3, False),
        ("3+3+4=6+4", 500, 0, False),
        ("3+3+4=2*5=10", 500, 0, False),
        ("3+3+4=6+4=" + "9" * 30, 500, 2 / 3, False),
    ],
)
def test_worked_out(completion: str, error: float, steps_correct: float, success: bool) -> None:
    """Statements are judged by the one before them: how far they are from adding two of its neighbours."""
    task = load_task(STEPS, reward="worked_out")
    (outcome,) = task.evaluate([task.parse_prompt("1+2+3+4=")], [completion])
    assert outcome.parts["error"] == error
    assert outcome.parts["steps_correct"] == pytest.approx(steps_correct)
    assert outcome.reward == pytest.approx(2 / (1 + math.exp(error / 10)), abs=1e-9)
    assert outcome.is_success == success


@given(data=st.data())
@settings(max_examples=100)
def test_worked_out_is_combining(data: st.DataObject) -> None:
    """Success, full reward and `combinations` of every statement are the same thing."""
    task = load_task(STEPS, reward="worked_out")
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    (prompt,) = task.sample_prompts(rng, 1)
    statements = str(task.reference_completion(prompt, rng)).split("=")
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(statements) - 1))
        terms = statements[at].split("+")
        terms[data.draw(st.integers(0, len(terms) - 1))] = str(data.draw(st.integers(0, 40)))
        statements[at] = "+".join(terms)
    (outcome,) = task.evaluate([prompt], ["=".join(statements)])
    follows = [
        after in combinations(before) for before, after in itertools.pairwise([prompt.text.rstrip("="), *statements])
    ]
    assert outcome.is_success == (outcome.reward == 1) == all(follows)
    assert outcome.parts["steps_correct"] == pytest.approx(np.mean(follows))


@pytest.mark.parametrize("arguments", [{"operators": "+*"}, {"operators": "-"}, {"work": "given"}])
def test_worked_out_is_of_whole_sums(arguments: dict[str, Any]) -> None:
    """Products and differences have an order of their own, and one-token answers no statements between."""
    with pytest.raises(ConfigError, match=r"needs work='required' and operators='\+', not work='"):
        load_task(STEPS, reward="worked_out", **arguments)


def test_parts() -> None:
    """The error is capped at 500; steps_correct counts the statements due, well_formed whether there is one."""
    task = load_task(STEPS)
    prompt = task.parse_prompt("1+2+3+4=")
    table = {
        "3+3+4=6+4=10": (0, 1, 1),
        "3+3+4=6+4": (0, 2 / 3, 1),
        "3+3+4=6+5=10": (1, 2 / 3, 1),
        "0+0+0=99+99=10": (10 + 188, 1 / 3, 1),
        "99*99+0=6+4=10": (500, 2 / 3, 1),
        "3+3+4=6+4=": (500, 0, 0),
    }
    for completion, (error, correct, well_formed) in table.items():
        parts = task.evaluate([prompt], [completion])[0].parts
        assert parts == pytest.approx({"error": error, "steps_correct": correct, "well_formed": well_formed})


@pytest.mark.timing
@pytest.mark.parametrize(
    "completion",
    ["9" * 4096, "9*" * 2047 + "9", "1+" * 2047 + "1", "1=" * 2047 + "1", " " * 4096, "-" * 4096, "9 " * 2048],
    ids=lambda text: text[:2],
)
def test_parser_takes_linear_time(completion: str) -> None:
    """At the cap of 4,096 characters a text takes milliseconds, twice as long as half of it; beyond it nothing."""
    task = load_task(STEPS, operators="+-*")
    prompt = task.parse_prompt("2+3+4=")

    def seconds(text: str) -> float:
        times = []
        for _ in range(5):
            begun = time.process_time()
            for _ in range(4):
                task.evaluate([prompt], [text])
            times.append((time.process_time() - begun) / 4)
        return min(times)

    whole, half = seconds(completion), seconds(completion[:2048])
    assert whole < 0.02
    assert whole < 5 * half + 1e-3
    assert seconds(completion + completion) < 1e-3 + half
