"""Countdown: what completions earn, what is drawn, what can be solved, and what the mask allows."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, PromptError, baselines, check_task, load_task
from rlfl_envs.masks import make_mask
from rlfl_envs.tasks.countdown.solving import all_solutions, solve
from tests.settings import COUNTDOWN, masked_play

TASK = load_task(COUNTDOWN)
PROMPT = TASK.parse_prompt("19 36 55 7=65:")


def value_of(text: str) -> Fraction | None:
    """The exact value of an expression, found in another way than the task's: by Python's own parser."""
    tree = ast.parse(text, mode="eval").body

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, int)
            return Fraction(node.value)
        assert isinstance(node, ast.BinOp)
        left, right = walk(node.left), walk(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        return left * right if isinstance(node.op, ast.Mult) else left / right

    try:
        return walk(tree)
    except ZeroDivisionError:
        return None


@pytest.mark.parametrize(
    ("completion", "reward", "distance", "used", "status"),
    [
        ("55+36-19-7", 1.0, 0, 1, "ok"),
        ("(55 + 36) - (19 + 7)", 1.0, 0, 1, "ok"),
        ("((((55+36))))-19-7", 1.0, 0, 1, "ok"),
        ("55+36-7-18", 0.075, 1000, 0.75, "numbers"),  # not given
        ("55+36-19-7-0", 0.08, 1000, 0.8, "numbers"),
        ("55+36-19-07", 0.075, 1000, 0.75, "numbers"),  # another number than 7
        ("55+36-19-7+7-7", 0.1 * 4 / 6, 1000, 4 / 6, "numbers"),  # too often
        ("65", 0.0, 1000, 0, "numbers"),
        ("55", 0.25 * (0.1 + 0.2 * (1 - 10 / 65)), 10, 0.25, "numbers"),  # too few
        ("55+19", 0.5 * (0.1 + 0.2 * (1 - 9 / 65)), 9, 0.5, "numbers"),
        ("55+36-19+7", 0.1 + 0.2 * (1 - 14 / 65), 14, 1, "ok"),
        ("55*36*19*7", 0.1, 1000, 1, "ok"),
        ("7-19-36-55", 0.1, 168, 1, "ok"),
        ("55/7*19-36", 0.1 + 0.2 * (1 - float(Fraction(55 * 19, 7) - 101) / 65), float(Fraction(338, 7)), 1, "ok"),
        ("19/(55-55)", 0.1 * 2 / 4, 1000, 0.5, "numbers"),
        ("", 0, 1000, 0, "malformed"),
        ("-7+55+36-19", 0, 1000, 0, "malformed"),  # a sign
        ("55+36-19-7=65", 0, 1000, 0, "malformed"),
        ("55+36-19-", 0, 1000, 0, "malformed"),
        ("(55+36-19-7", 0, 1000, 0, "malformed"),
        ("55+36-19-7)", 0, 1000, 0, "malformed"),
        ("55 36 19 7", 0, 1000, 0, "malformed"),
        ("55+3 6-19-7", 0, 1000, 0, "malformed"),
        ("()", 0, 1000, 0, "malformed"),
        ("7(55)", 0, 1000, 0, "malformed"),
        ("(55+36)(19-7)", 0, 1000, 0, "malformed"),
        ("55+36-19-7\n", 0, 1000, 0, "malformed"),
        ("５５+36-19-7", 0, 1000, 0, "malformed"),
        ("55**36", 0, 1000, 0, "malformed"),
        ("55//7", 0, 1000, 0, "malformed"),
        ("0x7", 0, 1000, 0, "malformed"),
        ("19 36 55 7=65:", 0, 1000, 0, "malformed"),  # the prompt
    ],
)
def test_rewards(completion: str, reward: float, distance: float, used: float, status: str) -> None:
    """Solutions, near misses, other numbers, and what is no expression."""
    (outcome,) = TASK.evaluate([PROMPT], [completion])
    assert outcome.reward == pytest.approx(reward, abs=1e-12)
    assert outcome.is_success == (reward == 1)
    assert outcome.status == status
    parts = {"distance": distance, "used": used, "well_formed": float(status != "malformed")}
    assert outcome.parts == pytest.approx(parts, abs=1e-12)
    (strict,) = load_task(COUNTDOWN, reward="strict").evaluate([PROMPT], [completion])
    assert strict.reward == float(outcome.is_success)


def test_division_is_exact() -> None:
    """A value between integers may come up on the way, and one that is off by little is off."""
    prompt = TASK.parse_prompt("8 3 8 3=24:")
    exact, near = TASK.evaluate([prompt, TASK.parse_prompt("98 99 97 96=10:")], ["8/(3-8/3)", "98*97/96/99"])
    assert exact.is_success
    assert near.parts["distance"] == float(10 - Fraction(98 * 97, 96 * 99))


def test_dividing_by_zero() -> None:
    """It has no value, whatever is done with it, and earns what using the numbers does."""
    prompt = TASK.parse_prompt("5 5 7=10:")
    for completion in ("7/(5-5)", "(5-5)/7/0"):
        (outcome,) = TASK.evaluate([prompt], [completion])
        assert not outcome.is_success
        assert outcome.parts["distance"] == 1000
    (outcome,) = TASK.evaluate([prompt], ["7/(5-5)"])
    assert (outcome.reward, outcome.status) == (0.1, "undefined")


def test_numbers_may_be_left_out() -> None:
    """With use_all=False a solution uses what it likes, once; reusing stays wrong."""
    task = load_task(COUNTDOWN, use_all=False)
    prompt = task.parse_prompt("60 5 3=65:")
    outcomes = task.evaluate([prompt] * 4, ["60+5", "60+5+3-3", "60+3", "60"])
    assert [outcome.is_success for outcome in outcomes] == [True, False, False, False]
    assert [outcome.status for outcome in outcomes] == ["ok", "numbers", "ok", "ok"]
    assert task.reference_completion(prompt, np.random.default_rng(0)) == "60+5"


@pytest.mark.parametrize(
    "completion",
    [
        "9**9**9**9**9",
        "7" * 100_000,
        "7+" * 50_000 + "7",
        "(" * 100_000,
        "(" * 2000 + "55+36-19" + ")" * 2000,
        "7*" * 2000 + "7",
        "1/" * 2000 + "3",
        "55+36-19-7" + " " * 100_000,
        "__import__('os').abort()",
        "\x00\ud800",
    ],
)
def test_hostile_completions(completion: str) -> None:
    """Towers, 100,000 digits, depth, length and code: none raises, none succeeds, none is computed with."""
    (outcome,) = TASK.evaluate([PROMPT], [completion])
    assert not outcome.is_success
    assert outcome.reward <= 0.3


@given(st.data())
@settings(max_examples=200)
def test_values_are_pythons(data: st.DataObject) -> None:
    """Any expression of the prompt's numbers has the value that Python's parser and fractions give it."""
    numbers = data.draw(st.lists(st.integers(1, 99), min_size=3, max_size=4))
    texts = [str(number) for number in numbers]
    while len(texts) > 1:
        place = data.draw(st.integers(0, len(texts) - 2))
        operator, form = data.draw(st.sampled_from("+-*/")), data.draw(st.sampled_from(["{}{}{}", "({}{}{})"]))
        texts[place : place + 2] = [form.format(texts[place], operator, texts[place + 1])]
    prompt = TASK.parse_prompt(f"{' '.join(map(str, numbers))}=10:")
    (outcome,) = TASK.evaluate([prompt], texts)
    value = value_of(texts[0])
    expected = 1000.0 if value is None else min(float(abs(value - 10)), 1000.0)
    assert outcome.parts["distance"] == pytest.approx(expected, rel=1e-12)
    assert outcome.is_success == (value == 10)


def brute_force(numbers: list[int], target: int) -> bool:
    """Whether there is a solution, found by trying every order, operators and way to put parentheses."""
    forms = {
        2: ["{}{}{}"],
        3: ["({}{}{}){}{}", "{}{}({}{}{})"],
        4: [
            "(({}{}{}){}{}){}{}",
            "({}{}({}{}{})){}{}",
            "({}{}{}){}({}{}{})",
            "{}{}(({}{}{}){}{})",
            "{}{}({}{}({}{}{}))",
        ],
    }[len(numbers)]
    for order, operators in product(set(permutations(numbers)), product("+-*/", repeat=len(numbers) - 1)):
        parts = [str(order[0])]
        for operator, number in zip(operators, order[1:], strict=True):
            parts += [operator, str(number)]
        if any(value_of(form.format(*parts)) == target for form in forms):
            return True
    return False


def test_long_texts_are_malformed_on_every_path() -> None:
    """Also where the words of tokens are judged, which no text is made of."""
    task = load_task(COUNTDOWN, vocabulary="number", max_completion_tokens=5000)
    prompts = [task.parse_prompt("3 25 7=35:")]
    for depth, status in ((10, "ok"), (2100, "malformed")):
        text = "(" * depth + "3+25+7" + ")" * depth
        ids = np.array([task.tokenizer.encode(text)])
        (outcome,) = task.evaluate(prompts, [text])
        found = task.evaluate_arrays(task.arrays_from_prompts(prompts)[1], ids, np.array([ids.shape[1]]))
        assert (outcome.status, outcome.reward) == (status, found.reward[0]) == (status, float(status == "ok"))


@pytest.mark.parametrize("numbers", [[3, 7, 25], [2, 2, 5], [1, 96, 4], [11, 13, 17]])
def test_all_solutions_are_found(numbers: list[int]) -> None:
    """For three numbers: those listed are solutions, and where none is listed there is none."""
    for target in range(10, 101):
        found = all_solutions(tuple(numbers), target)
        assert all(value_of(text) == target for text in found)
        assert all(sorted(map(int, re.findall("[0-9]+", text))) == sorted(numbers) for text in found)
        assert bool(found) == brute_force(numbers, target)
        assert (solve(tuple(numbers), target) is not None) == bool(found)


def test_all_solutions_of_four_numbers() -> None:
    """The one solution of a famous problem, which needs a fraction; the reference finds it, too."""
    assert all_solutions((3, 3, 8, 8), 24) == {"8/(3-8/3)"} == {solve((3, 3, 8, 8), 24)}
    assert all_solutions((1, 1, 1, 1), 24) == set()


LEVELED = load_task(COUNTDOWN, min_numbers=2, max_numbers=6)


@pytest.mark.parametrize("level", range(5))
def test_what_is_drawn(level: int) -> None:
    """At every level: as many numbers as it says, all in range, solvable; targets from one end to the other."""
    task = LEVELED.at_level(level)
    prompts = task.sample_prompts(np.random.default_rng(0), 1500)
    assert {len(prompt.data.numbers) for prompt in prompts} == {level + 2}
    assert all(1 <= int(number) <= 99 for prompt in prompts for number in prompt.data.numbers)
    targets = Counter(prompt.data.target for prompt in prompts)
    assert (min(targets), max(targets)) == (10, 100)
    assert max(targets.values()) < 60  # of 16 each
    rng = np.random.default_rng(0)
    references = [task.reference_completion(prompt, rng) or "" for prompt in prompts]
    assert all(outcome.is_success for outcome in task.evaluate(prompts, references))


def test_splits_go_by_the_problem() -> None:
    """Numbers in another order are the same problem; one in ten is held out, and none is in both splits."""
    train, test = (load_task(COUNTDOWN, split=split) for split in ("train", "test"))
    drawn = {}
    for task in (train, test):
        drawn[task] = task.sample_prompts(np.random.default_rng(0), 3000)
        for prompt in drawn[task][:200]:
            numbers, _, target = prompt.text.partition("=")
            other = task.parse_prompt(f"{' '.join(reversed(numbers.split()))}={target}")
            assert task.problem_key(other) == task.problem_key(prompt)
            assert task.in_split([other]).all()
    assert not {train.problem_key(prompt) for prompt in drawn[train]} & {test.problem_key(p) for p in drawn[test]}
    whole = load_task(COUNTDOWN, split="all").sample_prompts(np.random.default_rng(0), 3000)
    assert 0.08 < test.in_split(whole).mean() < 0.12


@pytest.mark.parametrize(
    "arguments",
    [
        {"mask": "syntax", "max_numbers": 6, "largest": 100, "max_target": 1000},
        {"vocabulary": "characters", "mask": "syntax"},
        {"vocabulary": "characters", "mask": "syntax", "use_all": False, "min_numbers": 2},
        {"use_all": False, "mask": "syntax"},
        {"reward": "strict", "vocabulary": "characters"},
    ],
    ids=str,
)
def test_the_contract(arguments: dict[str, Any]) -> None:
    """With other sizes and vocabularies, too, arrays and text agree and references are legal."""
    check_task(load_task(COUNTDOWN, **arguments), num_prompts=48)


@pytest.mark.parametrize("use_all", [True, False])
@pytest.mark.parametrize("vocabulary", ["number", "characters"])
@pytest.mark.parametrize("max_numbers", [3, 6])
def test_masked_play_is_well_formed(vocabulary: str, use_all: bool, max_numbers: int) -> None:
    """Random legal tokens always end in an expression of the numbers given, used as they should be."""
    task = load_task(COUNTDOWN, vocabulary=vocabulary, use_all=use_all, max_numbers=max_numbers, mask="syntax")
    prompts = task.sample_prompts(np.random.default_rng(0), 300)
    played = masked_play(task, prompts)
    assert {outcome.status for outcome in task.evaluate(prompts, played)} <= {"ok", "undefined"}
    assert len({*played}) > 250


def test_the_mask_allows_every_solution() -> None:
    """All solutions of some problems can be written under the mask, and nothing that is not an expression."""
    task = load_task(COUNTDOWN, mask="syntax")
    mask, tokenizer = make_mask(task), task.tokenizer
    for prompt in task.sample_prompts(np.random.default_rng(1), 10):
        numbers, target = prompt.data
        for text in all_solutions(tuple(sorted(map(int, numbers))), target):
            state = mask.start(prompt)
            for token in tokenizer.encode(text):
                assert mask.row(state)[token], (prompt.text, text)
                state = mask.next_state(state, token)
            assert mask.row(state)[tokenizer.eos_id]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3 25 7",
        "3 25 7=46",
        "3 25=46:",
        "3 25 7 1 2=46:",
        "3 25 100=46:",
        "3 0 7=46:",
        "3 25 7=9:",
        "3 25 7=101:",
        "03 25 7=46:",
        "3 25 7=046:",
        "3  25 7=46:",
        "3 25 7=46: ",
        "3,25,7=46:",
        "٣ 25 7=46:",
        "3 25 7=-46:",
    ],
)
def test_wrong_prompts(text: str) -> None:
    """Too few, too many, too large, no target, another form: the message names the value and what is allowed."""
    with pytest.raises(PromptError) as error:
        TASK.parse_prompt(text)
    assert str(error.value) == (
        f"prompt={text!r} is not allowed; allowed: 3 to 4 numbers of 1..99 and a target of 10..100, "
        "such as '3 25 7=46:'."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_numbers": 1}, "min_numbers=1 is not allowed; allowed: 2..6."),
        ({"max_numbers": 7}, "max_numbers=7 is not allowed; allowed: 3..6, from min_numbers on."),
        ({"max_numbers": 2}, "max_numbers=2 is not allowed; allowed: 3..6, from min_numbers on."),
        ({"largest": 9}, "largest=9 is not allowed; allowed: 10..999."),
        ({"min_target": 0}, "min_target=0 is not allowed; allowed: 1..1000."),
        ({"max_target": 9}, "max_target=9 is not allowed; allowed: 10..1000, from min_target on."),
        ({"reward": "exact"}, "reward='exact' is not allowed; allowed: 'plain', 'strict'."),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(COUNTDOWN, **arguments)
    assert str(error.value) == message


def test_arguments_that_leave_no_problem() -> None:
    """Two numbers up to ten never make 997, and that is said at once."""
    with pytest.raises(ConfigError, match="holds none of 10000 problems drawn; allowed here: 'all', or other numbers"):
        load_task(COUNTDOWN, min_numbers=2, max_numbers=2, largest=10, min_target=997, max_target=997)


def less_the_second(numbers: Sequence[str]) -> str:
    """The largest, less the second, and the others added."""
    first, second, *others = sorted(numbers, key=int, reverse=True)
    return "+".join([f"{first}-{second}", *others])


COPIES: dict[str, Callable[[Sequence[str]], str]] = {
    "the sum": "+".join,
    "the last subtracted": lambda numbers: "+".join(numbers[:-1]) + f"-{numbers[-1]}",
    "the largest less the second": less_the_second,
    "one number": lambda numbers: numbers[0],
}


@pytest.mark.parametrize("name", COPIES)
def test_copying_does_not_pay(name: str) -> None:
    """One recipe for all prompts earns at most 0.3, and solves at most one in ten."""
    prompts = TASK.sample_prompts(np.random.default_rng(0), 4000)
    outcomes = TASK.evaluate(prompts, [COPIES[name](prompt.data.numbers) for prompt in prompts])
    assert {outcome.parts["well_formed"] for outcome in outcomes} == {1.0}
    assert np.mean([outcome.reward for outcome in outcomes]) < 0.3
    assert np.mean([outcome.is_success for outcome in outcomes]) < 0.11


@pytest.mark.parametrize("mask", ["none", "syntax"])
def test_nothing_cheap_succeeds(mask: str) -> None:
    """Random legal tokens and the best constant answer stay far below what references earn."""
    found = {baseline.name: baseline for baseline in baselines(load_task(COUNTDOWN, mask=mask), num_prompts=500)}
    assert found["random legal tokens"].success < 0.06
    assert found["random legal tokens"].reward < 0.2
    assert found["best constant answer"].reward < 0.05
    assert found["reference"].success == found["reference"].reward == 1
