"""Arithmetic: the paper's reward, its near misses and exploits, what is drawn, and the array path."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, KindTask, Outcome, OutcomeArrays, Prompt, PromptError, Task, load_task
from tests.settings import ANSWER, GIVEN, STEPS, sweep

MALFORMED = Outcome(2 / (1 + math.exp(50)), False, {"error": 500.0, "steps_correct": 0.0, "well_formed": 0.0}, "")


def calculate(statement: str) -> int:
    """The value of a statement, by Python; only digits, operators and spaces ever get here."""
    assert re.fullmatch(r"[-+*0-9]+", statement)
    return int(eval(statement, {"__builtins__": {}}))  # noqa: S307 - the regular expression has allowed it


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

# --- the reward ----------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(st.integers(0, 30), st.integers(0, 999), st.integers(0, 10**30))


@st.composite
def chains(draw: st.DrawFn, operators: int, is_signed: bool) -> str:
    """A text of the grammar: mostly the right number of operators in each statement, spaces here and there."""
    statements = []
    symbols = "+-*" if is_signed else "+*"
    for i in range(draw(st.integers(1, operators + 2))):
        count = max(operators - i, 0) if draw(st.integers(0, 9)) else draw(st.integers(0, 4))
        text = ""
        for j in range(count + 1):
            sign = "-" if is_signed and draw(st.integers(0, 5)) == 0 else ""
            gap = " " * draw(st.sampled_from([0, 0, 0, 1, 2]))
            text += (draw(st.sampled_from(symbols)) if j else "") + gap + sign + str(draw(NUMBERS))
        statements.append(text)
    return "=".join(statements)


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


# --- prompts -------------------------------------------------------------------------------------------------------

DISTRIBUTIONS: list[dict[str, Any]] = [
    {},
    {"operators": "+*"},
    {"operators": "+-*"},
    {"operators": "-"},
    {"operators": "*", "split": "test"},
    {"max_operand": 99, "operators": "+-"},
    {"max_operand": 3, "expression_length": 7, "max_value": 8},
    {"vocabulary": "characters", "max_operand": 500, "max_value": 2000, "expression_length": 14, "operators": "+*-"},
    {"vocabulary": "characters", "max_operand": 123456, "max_value": 10**6, "expression_length": 20},
    {"expression_length": 3},
    {"expression_length": 16, "max_operand": 5, "operators": "*+"},
]


def distribution_id(arguments: dict[str, Any]) -> str:
    """Names a distribution in a test's id."""
    return "-".join(map(str, arguments.values())) or "default"


each_distribution = pytest.mark.parametrize("arguments", DISTRIBUTIONS, ids=distribution_id)


@each_distribution
def test_expressions(arguments: dict[str, Any]) -> None:
    """Their form, length, operands, operators and value are what the card says."""
    task = load_task(STEPS, **arguments)
    config = task.config
    for prompt in task.sample_prompts(np.random.default_rng(0), 2000):
        expression = prompt.text.removesuffix("=")
        assert re.fullmatch(rf"(0|[1-9]\d*)([{re.escape(config.operators)}](0|[1-9]\d*))+", expression)
        assert all(int(number) <= config.max_operand for number in re.findall(r"\d+", expression))
        assert len(expression) in (config.expression_length, config.expression_length - 1)
        assert abs(calculate(expression)) <= config.max_value
        assert prompt.data.value == calculate(expression)
        assert prompt.data.operators == len(re.findall(r"[-+*]", expression)) - 1


def simulate(rng: np.random.Generator, operators: str, max_operand: int, length: int, max_value: int) -> str:
    """The paper's recipe, one expression at a time."""
    while True:
        text = ""
        while len(text) < length:
            text += str(rng.integers(max_operand + 1)) + str(rng.choice([*operators]))
        text = text[:length].rstrip("+-*")
        if re.search("[-+*]", text) and abs(calculate(text)) <= max_value:
            return text


@pytest.mark.parametrize(("operators", "max_operand"), [("+", 10), ("+-", 10), ("+", 99)])
def test_distribution_is_the_papers(operators: str, max_operand: int) -> None:
    """Values, lengths and operands are distributed as in a simulation of the recipe."""
    task = load_task(
        STEPS, operators=operators, max_operand=max_operand, split="all", vocabulary="characters", max_value=99
    )
    n, rng = 4000, np.random.default_rng(0)
    drawn = [prompt.text.removesuffix("=") for prompt in task.sample_prompts(rng, n)]
    simulated = [simulate(rng, operators, max_operand, 10, 99) for _ in range(n)]
    for measure in (
        calculate,
        len,
        lambda text: len(re.findall("[-+]", text)),
        lambda text: int(re.findall(r"\d+", text)[0]),
        lambda text: int(re.findall(r"\d+", text)[-1]),
        lambda text: text.count("-"),
    ):
        ours, theirs = (np.array([measure(text) for text in texts], dtype=float) for texts in (drawn, simulated))
        # Means within 4.5 standard errors, and the largest gap of the two distribution functions within the
        # Kolmogorov-Smirnov bound at 1e-5.
        assert abs(ours.mean() - theirs.mean()) <= 4.5 * (theirs.std() + 1e-9) * math.sqrt(2 / n)
        grid = np.unique(theirs)
        gaps = [abs((ours <= x).mean() - (theirs <= x).mean()) for x in grid]
        assert max(gaps) < math.sqrt(-math.log(1e-5 / 2) / n)


def combinations(statement: str) -> set[str]:
    """Every statement that combining one operator of this one gives, products before sums."""
    factors = re.split(r"(?<=\d)([-+*])", statement)
    numbers, symbols = factors[0::2], factors[1::2]
    results = set()
    for i, symbol in enumerate(symbols):
        if "*" in symbols:
            if symbol == "*":
                product = str(int(numbers[i]) * int(numbers[i + 1]))
                parts = [*numbers[:i], product, *numbers[i + 2 :]]
                rest = [*symbols[:i], *symbols[i + 1 :]]
                results.add(parts[0] + "".join(s + p for s, p in zip(rest, parts[1:], strict=True)))
            continue
        terms = [int(numbers[0]), *(int(s + n) for s, n in zip(symbols, numbers[1:], strict=True))]
        terms[i : i + 2] = [terms[i] + terms[i + 1]]
        signs = ["-" if s == "-" else "+" for s in symbols]
        signs[max(i - 1, 0) : i + 1] = ["-" if terms[i] < 0 else "+"] if i else []
        results.add(str(terms[0]) + "".join(s + str(abs(t)) for s, t in zip(signs, terms[1:], strict=True)))
    return results


@each_distribution
def test_derivations(arguments: dict[str, Any]) -> None:
    """Each statement has the same value and one operator fewer: one operator was combined, products first."""
    given, required = load_task(GIVEN, **arguments), load_task(STEPS, **arguments)
    rng = np.random.default_rng(3)
    chains = [p.text + given.reference_completion(p, rng) for p in given.sample_prompts(rng, 300)]
    prompts = required.sample_prompts(rng, 100)
    references = [required.reference_completion(prompt, rng) for prompt in prompts]
    assert None not in references
    chains += [prompt.text + str(reference) for prompt, reference in zip(prompts, references, strict=True)]
    largest = 99 if given.config.vocabulary == "number" else 10**9
    for chain in chains:
        statements = chain.split("=")
        for statement, following in itertools.pairwise(statements):
            assert following in combinations(statement), chain
        assert calculate(statements[-1]) == calculate(statements[0])
        assert re.fullmatch(r"-?\d+", statements[-1])
        assert max(map(int, re.findall(r"\d+", chain))) <= largest


def test_derivations_combine_any_operator() -> None:
    """References of one prompt take every order: 3! for three sums."""
    task = load_task(STEPS)
    rng = np.random.default_rng(0)
    references = Counter(task.reference_completion(task.parse_prompt("1+2+4+8="), rng) for _ in range(600))
    assert len(references) == 6
    assert min(references.values()) > 60


@each_distribution
def test_references_and_prompts_fit(arguments: dict[str, Any]) -> None:
    """P and C have room for every prompt and reference, and no more than a token or two to spare."""
    for id in (GIVEN, STEPS, ANSWER):
        task = load_task(id, **arguments)
        rng = np.random.default_rng(0)
        prompts = task.sample_prompts(rng, 400)
        longest = max(len(task.tokenizer.encode(prompt.text)) + 1 for prompt in prompts)
        references = [len(task.tokenizer.encode(task.reference_completion(prompt, rng) or "")) for prompt in prompts]
        assert longest <= task.max_prompt_tokens
        assert max(references) <= task.max_completion_tokens


def test_budgets_of_the_card() -> None:
    """P and C of the default ids, as documented."""
    sizes = {
        id: (load_task(id).max_prompt_tokens, load_task(id).max_completion_tokens) for id in (GIVEN, STEPS, ANSWER)
    }
    assert sizes == {GIVEN: (29, 1), STEPS: (11, 19), ANSWER: (11, 1)}
    assert load_task(GIVEN).tokenizer.vocab_size == 106


@each_distribution
def test_one_key_one_expression(arguments: dict[str, Any]) -> None:
    """The three ids draw the same expression from the same key, so that they can be compared prompt by prompt."""
    keys = np.random.default_rng(0).integers(0, 2**64, size=200, dtype=np.uint64)
    tasks = [load_task(id, **arguments) for id in (GIVEN, STEPS, ANSWER)]
    given, steps, answer = ([task.problem_key(p) for p in task.prompts_from_keys(keys)] for task in tasks)
    assert given == steps == answer
    one_by_one = [tasks[0].prompts_from_keys(keys[i : i + 1])[0] for i in range(50)]
    assert one_by_one == tasks[0].prompts_from_keys(keys)[:50]


@pytest.mark.parametrize("operators", ["+", "+-*"])
def test_splits(operators: str) -> None:
    """A tenth of the expressions is "test", never drawn in "train", whichever the id; "all" has both and no more."""
    drawn = {
        (id, split): Counter(task.problem_key(prompt) for prompt in task.sample_prompts(np.random.default_rng(0), 6000))
        for id in (GIVEN, STEPS, ANSWER)
        for split in ("train", "test", "all")
        for task in [load_task(id, split=split, operators=operators, max_operand=5, expression_length=5)]
    }
    train, test, whole = (
        set().union(*(drawn[id, split] for id in (GIVEN, STEPS, ANSWER))) for split in ("train", "test", "all")
    )
    assert not train & test
    assert len(whole) > 200
    assert len(whole - train - test) < 0.02 * len(whole)  # rare ones that were not met
    assert 0.05 < len(test) / len(train | test) < 0.16
    # By frequency too, so that "all" is about nine parts of "train" and one of "test".
    assert 0.05 < sum(n for text, n in drawn[STEPS, "all"].items() if text in test) / 6000 < 0.16


def unordered(statement: str) -> str:
    """Of a sum or product, the smaller operand first."""
    first, operator, second = re.fullmatch(r"(-?\d+)([-+*])(-?\d+)", statement).groups()
    return statement if operator == "-" or int(first) <= int(second) else f"{second}{operator}{first}"


@pytest.mark.parametrize("operators", ["+", "+-*"])
def test_split_by_final_statement(operators: str) -> None:
    """Held-out prompts end in a statement that no training prompt ends in, either way round; expressions are shared."""
    ends, expressions = {}, {}
    for split in ("train", "test"):
        task = load_task(GIVEN, split=split, split_by="final_statement", operators=operators, expression_length=5)
        prompts = task.sample_prompts(np.random.default_rng(0), 4000)
        ends[split] = {unordered(prompt.text.split("=")[-2]) for prompt in prompts}
        expressions[split] = {prompt.text.split("=")[0] for prompt in prompts}
        assert ends[split] == {task.problem_key(prompt) for prompt in prompts}
        assert all(re.fullmatch(r"-?\d+[-+*]\d+", text) for text in ends[split])
    assert not ends["train"] & ends["test"]
    assert expressions["train"] & expressions["test"]
    assert 0.04 < len(ends["test"]) / len(ends["train"] | ends["test"]) < 0.18


def test_split_by_final_statement_needs_it_in_the_prompt() -> None:
    """Where the prompt is the expression alone, its derivation is the model's to choose."""
    with pytest.raises(ConfigError, match="split_by='final_statement' needs work='given'"):
        load_task(STEPS, split_by="final_statement")


# --- prompts that others bring --------------------------------------------------------------------------------------


@each_distribution
def test_drawn_prompts_parse(arguments: dict[str, Any]) -> None:
    """parse_prompt gives back every prompt that is drawn, and a spaced one without its spaces."""
    for id in (GIVEN, STEPS, ANSWER):
        task = load_task(id, **arguments)
        for prompt in task.sample_prompts(np.random.default_rng(0), 300):
            assert task.parse_prompt(prompt.text) == prompt
            assert task.parse_prompt(re.sub("([-+*=])", r" \1 ", prompt.text).strip()) == prompt


WRONG_PROMPTS = [
    (STEPS, {}, "", "prompt='' is not allowed; allowed: an expression with '+', then '='."),
    (STEPS, {}, "2+3", "prompt='2+3' is not allowed; allowed: an expression with '+', then '='."),
    (STEPS, {}, "2+=", "prompt='2+=' is not allowed; allowed: an expression with '+', then '='."),
    (STEPS, {}, "2*3=", "prompt='2*3=' is not allowed; allowed: an expression with '+', then '='."),
    (STEPS, {}, "2-3=", "prompt='2-3=' is not allowed; allowed: an expression with '+', then '='."),
    (STEPS, {}, "1 2+3=", "prompt='1 2+3=' is not allowed; allowed: an expression with '+', then '='."),
    (STEPS, {"operators": "-*"}, "2+3=", "prompt='2+3=' is not allowed; allowed: an expression with '-*', then '='."),
    (
        STEPS,
        {},
        "9=",
        "prompt='9=' is not allowed; allowed for work='required': one expression such as '2+3+4='.",
    ),
    (
        ANSWER,
        {},
        "2+3+4=5+4=",
        "prompt='2+3+4=5+4=' is not allowed; allowed for work='skipped': one expression such as '2+3+4='.",
    ),
    (
        GIVEN,
        {},
        "2+3+4=",
        "prompt='2+3+4=' is not allowed; allowed for work='given': a derivation such as '2+3+4=5+4='.",
    ),
    (
        GIVEN,
        {},
        "2+3+4=5+5=",
        "prompt='2+3+4=5+5=' is not allowed; allowed for work='given': a derivation such as '2+3+4=5+4='.",
    ),
    (STEPS, {}, "60+70=", "prompt='60+70=' has value 130; allowed: up to max_value=99."),
    (STEPS, {"operators": "-"}, "0-100=", "prompt='0-100=' has value -100; allowed: up to max_value=99."),
    (STEPS, {}, "1+1+1+1+1+1=", "prompt='1+1+1+1+1+1=' has 13 tokens; allowed: at most 11."),
]


@pytest.mark.parametrize(("id", "arguments", "text", "message"), WRONG_PROMPTS)
def test_wrong_prompts(id: str, arguments: dict[str, Any], text: str, message: str) -> None:
    """They raise, and the message names the value and what is allowed."""
    with pytest.raises(PromptError) as error:
        load_task(id, **arguments).parse_prompt(text)
    assert str(error.value) == message


EXPRESSIONS = st.lists(
    st.tuples(
        st.sampled_from("+++-*"), st.sampled_from(["", "", "", "-"]), st.integers(0, 12) | st.integers(0, 10**25)
    ),
    min_size=2,
    max_size=6,
).map(lambda terms: "".join(f"{symbol}{sign}{number}" for symbol, sign, number in terms)[1:] + "=")


@sweep(
    [
        (STEPS, {}),
        (GIVEN, {}),
        (STEPS, {"operators": "+*-"}),
        (STEPS, {"operators": "+*-", "vocabulary": "characters", "expression_length": 60}),
    ]
)
@given(text=st.one_of(st.text(max_size=30), st.text("0123456789+-*= ", max_size=60), EXPRESSIONS))
@settings(max_examples=100)
def test_any_prompt_is_read_or_refused(id: str, arguments: dict[str, Any], text: str) -> None:
    """parse_prompt raises PromptError or nothing, and what it accepts can be played and solved, if there is a way."""
    task = load_task(id, **arguments)
    try:
        prompt = task.parse_prompt(text)
    except PromptError:
        return
    assert task.parse_prompt(prompt.text) == prompt
    task.encode_prompt(prompt)
    reference = task.reference_completion(prompt, np.random.default_rng(0))
    if reference is not None:
        outcome = task.evaluate([prompt], [reference])[0]
        assert (outcome.reward, outcome.is_success) == (1, True)
        assert len(task.tokenizer.encode(reference)) <= task.max_completion_tokens


def test_no_reference_where_there_is_none() -> None:
    """A prompt whose steps leave the vocabulary, or int64, has no reference, and can be played all the same."""
    rng = np.random.default_rng(0)
    task = load_task(STEPS, operators="*+")
    assert task.reference_completion(task.parse_prompt("20*9*0="), rng) == "20*0=0"
    task = load_task(STEPS, operators="*+", vocabulary="characters", expression_length=60)
    prompt = task.parse_prompt("0*99999999999999999999999999=")
    assert task.reference_completion(prompt, rng) is None
    assert task.evaluate([prompt], ["0"])[0].is_success


def test_novelty_key() -> None:
    """The final statement where the work is given, else the expression."""
    given, steps = load_task(GIVEN), load_task(STEPS)
    assert given.novelty_key(given.parse_prompt("2+3+4=5+4=")) == "5+4"
    assert steps.novelty_key(steps.parse_prompt("2+3+4=")) == "2+3+4"
    assert given.problem_key(given.parse_prompt("2+3+4=5+4=")) == "2+3+4"


# --- the array path ------------------------------------------------------------------------------------------------

ARRAY_TASKS = {
    f"{id}-{operators}-{reward}-{budget}": load_task(
        id, operators=operators, reward=reward, max_completion_tokens=budget
    )
    for id in (GIVEN, STEPS, ANSWER)
    for operators, reward in (("+", "paper"), ("+", "strict"), ("+*", "paper"), ("+-", "strict"), ("+", "worked_out"))
    if id == STEPS or reward != "worked_out"
    for budget in ((None, 11, 30) if id == STEPS else (None, 3))
}


def assert_arrays_equal(task: Task, prompts: list[Prompt], rows: list[list[int]], filler: int) -> OutcomeArrays:
    """evaluate_arrays on token rows gives, to the last bit, what evaluate gives on their texts."""
    completions = np.full((len(rows), task.max_completion_tokens), filler)
    for target, row in zip(completions, rows, strict=True):
        target[: len(row)] = row
    data = task.arrays_from_prompts(prompts)[1]
    arrays = task.evaluate_arrays(data, completions, np.array([len(row) for row in rows]))
    outcomes = task.evaluate(prompts, [task.tokenizer.decode(row) for row in rows])
    assert arrays.reward.tolist() == [outcome.reward for outcome in outcomes]
    assert arrays.is_success.tolist() == [outcome.is_success for outcome in outcomes]
    assert arrays.status.tolist() == [outcome.status for outcome in outcomes]
    for part in task.part_names:
        assert arrays.parts[part].tolist() == [outcome.parts[part] for outcome in outcomes], part
    return arrays


@pytest.mark.parametrize("name", ARRAY_TASKS)
def test_array_path_equals_evaluate(name: str) -> None:
    """For random rows, rows of few tokens, references, and references with a token or two changed."""
    task = ARRAY_TASKS[name]
    rng = np.random.default_rng(0)
    tokenizer, budget, n = task.tokenizer, task.max_completion_tokens, 800
    prompts = task.sample_prompts(rng, n)
    few = [tokenizer.encode(text)[0] for text in ["0", "5", "99", "+", "*", "="]]
    rows: list[list[int]] = []
    for i, prompt in enumerate(prompts):
        length = int(rng.integers(budget + 1))
        if i % 4 == 0:
            rows.append(rng.integers(3, tokenizer.vocab_size, size=length).tolist())
        elif i % 4 == 1:
            rows.append(rng.choice(few, size=length).tolist())
        else:
            row = tokenizer.encode(task.reference_completion(prompt, rng))
            for _ in range(int(rng.integers(3))):
                at = rng.integers(len(row))
                number, symbol = rng.integers(3, 103), rng.choice(few[3:])
                row[at] = int(number if rng.random() < 0.6 and row[at] < 103 else symbol)
            if rng.random() < 0.3:
                row = row[: rng.integers(len(row) + 1)]
            rows.append(row[:budget])
    for filler in (tokenizer.pad_id, tokenizer.eos_id):
        arrays = assert_arrays_equal(task, prompts, rows, filler)
    assert (arrays.status == "malformed").sum() > 100
    assert (arrays.status == "ok").sum() > 100 or budget < task.default_budget


@given(data=st.data())
@settings(max_examples=150)
def test_array_path_equals_evaluate_on_grammatical_rows(data: st.DataObject) -> None:
    """For chains of the grammar with any integers of the vocabulary, products among them."""
    name = data.draw(st.sampled_from([name for name in ARRAY_TASKS if name.startswith(STEPS)]))
    task = ARRAY_TASKS[name]
    prompts = task.sample_prompts(np.random.default_rng(data.draw(st.integers(0, 99))), 4)
    rows = []
    for prompt in prompts:
        text = data.draw(chains(prompt.data.operators, is_signed=False))
        text = re.sub(r"\d+", lambda match: match[0][:2].lstrip("0") or "0", text)
        rows.append(task.tokenizer.encode(text)[: task.max_completion_tokens])
    assert_arrays_equal(task, prompts, rows, task.tokenizer.pad_id)


@pytest.mark.parametrize("name", ARRAY_TASKS)
def test_arrays_from_keys_are_the_prompts(name: str) -> None:
    """Columns and data drawn as arrays are those of the prompts drawn as text."""
    task = ARRAY_TASKS[name]
    keys = np.random.default_rng(0).integers(0, 2**64, size=500, dtype=np.uint64)
    columns, data = task.arrays_from_keys(keys)
    prompts = task.prompts_from_keys(keys)
    assert columns.tolist() == [task.encode_prompt(prompt).tolist() for prompt in prompts]
    assert data[["value", "operators"]].tolist() == [prompt.data[:2] for prompt in prompts]
    expected_columns, expected_data = task.arrays_from_prompts(prompts)
    np.testing.assert_array_equal(columns, expected_columns)
    np.testing.assert_array_equal(data, expected_data)


@pytest.mark.parametrize("env_id", ["rlfl/Arithmetic-v0", "rlfl/ArithmeticSteps-v0", "rlfl/ArithmeticAnswer-v0"])
def test_kinds_are_told_by_operands(env_id: str) -> None:
    """Of the expression, whatever of the derivation is in the prompt; each kind has a name, and no prompt has none."""
    task = load_task(env_id, operators="+*")
    assert isinstance(task, KindTask)
    assert list(task.kinds) == ["2 operands", "3 operands", "4 operands", "5 operands"]
    rng = np.random.default_rng(0)
    prompts = [*task.sample_prompts(rng, 50), *task.at_level(0).sample_prompts(rng, 5)]
    due = [len(re.split(r"[+*]", prompt.text.partition("=")[0])) for prompt in prompts]
    assert [int(task.kinds[kind][0]) for kind in task.kinds_of(prompts).tolist()] == due
    assert {2, 5} <= set(due)
