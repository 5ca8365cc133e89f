"""Symbolic: what answers earn, what is read and how it is compared, what is drawn, and where problems belong."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, PromptError, baselines, check_task, load_task
from rlfl_envs.tasks.symbolic.algebra import derivative, integral, sum_of, text_of
from rlfl_envs.tasks.symbolic.automaton import AnswerAutomaton
from rlfl_envs.tasks.symbolic.expressions import POINTS, agree, evaluate, read, terms_of
from rlfl_envs.tasks.symbolic.problems import share_of_terms
from tests.settings import SYMBOLIC, masked_play

TASK = load_task(SYMBOLIC)


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda each: f"({each[0]}{each[1]}{each[2]})")
    power = st.tuples(inner, st.integers(0, 3)).map(lambda each: f"({each[0]})^{each[1]}")
    function = st.tuples(st.sampled_from(["sin", "cos", "exp", "log"]), inner).map(lambda each: f"{each[0]}({each[1]})")
    return st.one_of(pair, power, function)


EXPRESSIONS = st.recursive(st.one_of(st.just("x"), st.integers(0, 9).map(str)), _wider, max_leaves=5)
FUNCTIONS: dict[str, Callable[[float], float]] = {"sin": math.sin, "cos": math.cos, "exp": math.exp, "log": math.log}


def value_of(text: str, x: float) -> float | None:
    """The value of an expression, found in another way than the task's: by Python's parser. None where undefined."""

    def walk(node: ast.expr) -> float:
        value = worked_out(node)
        if not math.isfinite(value):
            raise OverflowError
        return value

    def worked_out(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() as value):
                return float(value)
            case ast.Name(id="x"):
                return x
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -walk(operand)
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                return FUNCTIONS[name](walk(argument))
            case ast.BinOp(left=left, op=operator, right=right):
                a, b = walk(left), walk(right)
                if isinstance(operator, ast.Pow):
                    return math.pow(a, b)
                return {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b}.get(type(operator)) or (
                    a / b if isinstance(operator, ast.Div) else 0.0
                )
        raise AssertionError(ast.dump(node))

    try:
        return walk(ast.parse(text.replace("^", "**"), mode="eval").body)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


@pytest.mark.parametrize(
    ("prompt", "completion", "reward", "status"),
    [
        ("diff x^3+2*x^2:", "3*x^2+4*x", 1, "ok"),
        ("diff x^3+2*x^2:", "x*(3*x+4)", 1, "ok"),
        ("diff x^3+2*x^2:", "4*x+3*x^2+0", 1, "ok"),
        ("diff x^3+2*x^2:", "exp(log(3*x+4)+log(x))", 1, "ok"),
        ("diff x^3+2*x^2:", "3*x^2", 1 / 3, "wrong"),
        ("diff x^3+2*x^2:", "3*x^2-4*x", 0.25, "wrong"),
        ("diff x^3+2*x^2:", "3*x^2+3*x^2", 0.25, "wrong"),
        ("diff x^3+2*x^2:", "3*x^2+1+2+5", 1 / 6, "wrong"),
        ("diff x^3+2*x^2:", "x^3+2*x^2", 0, "wrong"),
        ("diff x^3+5*x:", "5", 0, "wrong"),  # a constant term alone
        ("diff x^3+5*x:", "3*x^2+5", 1, "ok"),
        ("diff x^3+2*x^2:", "log(0-x)", 0, "undefined"),
        ("diff x^3+2*x^2:", "1/0", 0, "undefined"),
        ("diff x^3+2*x^2:", "9^9^9^9^9", 0, "undefined"),
        ("diff x^3+2*x^2:", "x^x^x^x^x^x^x^x^x", 0, "undefined"),
        ("diff x^3+2*x^2:", "0/0+3*x^2+4*x", 1 / 3 * 0 + 2 * 2 / 5 / 2, "undefined"),
        ("diff x^3+2*x^2:", "3*x^2,4*x", 0, "list"),
        ("int 2*x:", "x^2", 1, "ok"),
        ("int 2*x:", "x^2-9999", 1, "ok"),  # any constant
        ("int 2*x:", "(x+9)*(x-9)", 1, "ok"),
        ("int 2*x+cos(x):", "x^2", 1 / 3, "wrong"),
        ("int 2*x+cos(x):", "x^2+sin(x)", 1, "ok"),
        ("int 2*x:", "2*x", 0, "wrong"),
        ("int 2*x:", "7", 0, "wrong"),
        ("int 1/x:", "log(x)", 1, "ok"),
        ("int 1/x:", "log(5*x)", 1, "ok"),
        ("solve x^2=4:", "-2,2", 1, "ok"),
        ("solve x^2=4:", "4/2,-2", 1, "ok"),
        ("solve x^2=4:", "2", 1 / 3, "wrong"),
        ("solve x^2=4:", "2,2", 0.25, "wrong"),
        ("solve x^2=4:", "2,-2,0", 0.4, "wrong"),
        ("solve x^2=4:", "1,2,3,4,5,6,7,8", 0.1, "wrong"),
        ("solve x^2=4:", "1,2,3,4,5,6,7,8,9", 0, "list"),
        ("solve x^2=4:", "x", 0, "list"),
        ("solve x^2=4:", "1/0", 0, "wrong"),
        ("solve 3*x-9=26:", "35/3", 1, "ok"),
        ("simp x+3*x:", "4*x", 1, "ok"),
        ("simp x+3*x:", "x*4", 1, "ok"),
        ("simp x+3*x:", "x+3*x", 0, "long"),
        ("simp x+3*x:", "x*3+x", 0, "long"),
        ("simp x+x+x+x:", "x+3*x", 0.25, "long"),
        ("simp x+3*x:", "3*x", 0, "wrong"),
        ("simp x+3*x:", "x+x+x+x+0+0", 0, "long"),
        ("diff x^2:", "", 0, "malformed"),
        ("diff x^2:", "2*x+1/(1/0)", 1 / 3, "undefined"),
        ("diff x^2:", "2*x*log(0-1)^0", 0, "undefined"),
        ("int 2*x:", "x^2*exp(exp(7))^0", 0, "undefined"),
        ("int 1/x:", "log(0-x)", 0, "undefined"),  # whose slope is right, where there is nothing that slopes
        ("diff x^2:", "2x", 0, "malformed"),
        ("diff x^2:", "2*x ", 0, "malformed"),
        ("diff x^2:", " 2*x", 0, "malformed"),
        ("diff x^2:", "2**x", 0, "malformed"),
        ("diff x^2:", "2*-x", 0, "malformed"),
        ("diff x^2:", "--x", 0, "malformed"),
        ("diff x^2:", "+x", 0, "malformed"),
        ("diff x^2:", "(2*x", 0, "malformed"),
        ("diff x^2:", "2*x)", 0, "malformed"),
        ("diff x^2:", "2*y", 0, "malformed"),
        ("diff x^2:", "02*x", 0, "malformed"),
        ("diff x^2:", "2.0*x", 0, "malformed"),
        ("diff x^2:", "20000*x/10000", 0, "malformed"),
        ("diff x^2:", "sin", 0, "malformed"),
        ("diff x^2:", "sin x", 0, "malformed"),
        ("diff x^2:", "sinx", 0, "malformed"),
        ("diff x^2:", "tan(x)", 0, "malformed"),
        ("diff x^2:", "__import__('os')", 0, "malformed"),
        ("diff x^2:", "٢*x", 0, "malformed"),
        ("diff x^2:", "9" * 100_000, 0, "malformed"),
        ("diff x^2:", "(" * 100_000 + "x", 0, "malformed"),
        ("diff x^2:", "diff x^2:", 0, "malformed"),
    ],
)
def test_rewards(prompt: str, completion: str, reward: float, status: str) -> None:
    """Right answers in any form, parts of them, what is undefined or huge, and what is no expression."""
    (outcome,) = TASK.evaluate([TASK.parse_prompt(prompt)], [completion])
    assert (outcome.status, outcome.is_success) == (status, status == "ok")
    assert outcome.reward == pytest.approx(reward)
    assert outcome.parts["well_formed"] == float(status != "malformed")
    (strict,) = load_task(SYMBOLIC, reward="strict").evaluate([TASK.parse_prompt(prompt)], [completion])
    assert strict.reward == float(status == "ok")


@given(EXPRESSIONS)
@settings(max_examples=300)
def test_values_are_those_of_python(text: str) -> None:
    """Programs are worked out as Python works out the same text, point by point; what is undefined is not finite."""
    program = read(text)
    assert program is not None
    values, _ = evaluate(program)
    for x, value in zip(POINTS.tolist(), values.tolist(), strict=True):
        due = value_of(text, x)
        if due is None:
            assert not math.isfinite(value)
        elif abs(due) < 1e100:
            assert value == pytest.approx(due, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("-x^2", "0-(x*x)"),
        ("2^-x", "1/2^x"),
        ("x^2^3", "x^8"),
        ("x-1-2", "x-3"),
        ("x/2/4", "x/8"),
        ("2*x^3*x", "2*(x^4)"),
        ("-x*2+1", "1-2*x"),
        ("2^-x^2", "2^(0-x*x)"),
        ("-sin(x)^2", "0-(sin(x)*sin(x))"),
        ("(-x)^2", "x*x"),
        ("2^x*3", "3*2^x"),
    ],
)
def test_precedence(text: str, same: str) -> None:
    """Operators bind as in mathematics: powers from the right and before a sign, the rest from the left."""
    first, second = read(text), read(same)
    assert first is not None
    assert second is not None
    assert agree(evaluate(first)[0], evaluate(second)[0]).all()
    assert agree(evaluate(first)[1], evaluate(second)[1]).all()


@given(EXPRESSIONS)
@settings(max_examples=200)
def test_slopes_are_the_limits_of_differences(text: str) -> None:
    """The derivative that is worked out beside the value is what the values beside a point say."""
    program = read(text)
    assert program is not None
    values, slopes = evaluate(program)
    assume(np.isfinite(values).all() and np.isfinite(slopes).all() and np.abs(values).max() < 1e4)
    step = 1e-6
    for x, slope in zip(POINTS.tolist(), slopes.tolist(), strict=True):
        before, after = value_of(text, x - step), value_of(text, x + step)
        if before is not None and after is not None and abs(slope) < 1e4:
            assert (after - before) / (2 * step) == pytest.approx(slope, rel=1e-3, abs=1e-2)


@given(EXPRESSIONS)
@settings(max_examples=300)
def test_the_algebra_changes_no_value(text: str) -> None:
    """Sums, their derivatives and integrals are worth what the expression is, wherever they and it are defined."""
    program = read(text)
    assert program is not None
    values, slopes = evaluate(program)
    assume(np.isfinite(values).all() and np.isfinite(slopes).all() and np.abs(values).max() < 1e6)
    for expand in (False, True):
        total = sum_of(program, expand=expand)
        if total is None:
            continue
        for other, place, due in ((total, 0, values), (derivative(total), 0, slopes), (integral(total), 1, values)):
            assert all(isinstance(each, int | Fraction) for each in (other or {}).values())  # exact
            written = None if other is None else read(text_of(other))
            if written is not None and np.isfinite(found := evaluate(written)[place]).all():
                np.testing.assert_allclose(found, due, rtol=1e-4, atol=1e-5)


@given(st.lists(EXPRESSIONS, min_size=1, max_size=5), st.lists(EXPRESSIONS, min_size=1, max_size=5))
@settings(max_examples=200)
def test_terms_are_paired_one_by_one(ours: list[str], theirs: list[str]) -> None:
    """The share of terms is what comparing each with each says, the first that agrees being taken."""
    answer, reference = read("+".join(ours)) or (), "+".join(theirs)
    program = read(reference) or ()
    due = [evaluate(term)[0] for term in terms_of(program)]
    left, right = [*due], 0
    for term in terms_of(answer):
        match = [i for i, each in enumerate(left) if agree(evaluate(term)[0], each).all()]
        if match and "x" in term:
            del left[match[0]]
            right += 1
    count = len(due) + len(terms_of(answer))
    assert share_of_terms(answer, reference, 0) == (2 * right / count if len(terms_of(answer)) <= 16 else 0)


@given(st.lists(EXPRESSIONS, min_size=1, max_size=4), st.data())
@settings(max_examples=100)
def test_terms_make_up_the_sum(parts: list[str], data: st.DataObject) -> None:
    """The terms of a text are its parts, with their signs."""
    signs = [data.draw(st.sampled_from("+-")) for _ in parts]
    text = "".join(sign + part for sign, part in zip(signs, parts, strict=True)).removeprefix("+")
    program = read(text)
    assert program is not None
    terms = terms_of(program)
    assert len(terms) >= len(parts)
    values = evaluate(program)[0]
    assume(np.isfinite(values).all() and np.abs(values).max() < 1e9)
    with np.errstate(all="ignore"):
        total = sum(evaluate(term)[0] for term in terms)
    np.testing.assert_allclose(total, values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["diff", "int", "solve", "simp"])
def test_what_is_drawn(kind: str) -> None:
    """References succeed and are legal; neither what is given nor a number is right; a prompt says all there is."""
    for level in (0, 2):
        task, rng = load_task(SYMBOLIC, kind=kind).at_level(level), np.random.default_rng(0)
        prompts = task.sample_prompts(rng, 80)
        references = [task.reference_completion(prompt, rng) or "" for prompt in prompts]
        assert all(outcome.is_success and outcome.reward == 1 for outcome in task.evaluate(prompts, references))
        assert all(TASK.parse_prompt(prompt.text) == prompt for prompt in prompts)
        copies = task.evaluate(prompts, [prompt.data.given.split("=")[0] for prompt in prompts])
        assert not any(outcome.reward for outcome in copies if kind != "solve")
        if kind != "solve":
            assert not any(outcome.is_success for outcome in task.evaluate(prompts, ["0"] * len(prompts)))


def test_solutions_are_exact() -> None:
    """Every solution, put into its equation in fractions, makes both sides equal."""
    task = load_task(SYMBOLIC, kind="solve")
    for prompt in task.sample_prompts(np.random.default_rng(0), 200):
        left, right = prompt.data.given.split("=")
        for solution in str(prompt.data.reference).split(","):
            x = Fraction(solution)
            sides = []
            for side in (left, right):
                total = sum_of(read(side) or (), expand=True)
                assert total is not None
                powers = {term: (dict(term)["x", ()] if term else 0) for term in total}
                sides.append(sum(value * x ** powers[term] for term, value in total.items()))
            assert sides[0] == sides[1]


def test_roots_that_nearly_cancel() -> None:
    """A root near 0 is right to the last digits, where the other is 10,000: -2c / (b + ...) has no difference."""
    far, near = "(0-9999-(9999^2-4/9999)^(1/2))*9999/2", "-2/(9999+(9999^2-4/9999)^(1/2))"
    (outcome,) = TASK.evaluate([TASK.parse_prompt("solve x^2/9999+9999*x+1=0:")], [f"{far},{near}"])
    assert (outcome.reward, outcome.is_success) == (1.0, True)
    (outcome,) = TASK.evaluate([TASK.parse_prompt("solve x^2-4*x+4=0:")], ["2"])
    assert outcome.is_success


def test_the_same_in_another_order_is_the_same_problem() -> None:
    """Terms and factors in another order change nothing about where a problem belongs; the kind does."""
    first, second = (TASK.parse_prompt(text) for text in ("diff 2*x^2+x*sin(x):", "diff sin(x)*x+x^2*2:"))
    assert TASK.problem_key(first) == TASK.problem_key(second)
    assert TASK.problem_key(first) != TASK.problem_key(TASK.parse_prompt("int 2*x^2+x*sin(x):"))
    equations = (TASK.parse_prompt(text) for text in ("solve 2*x=4:", "solve x+1=3:"))
    assert len({*map(TASK.problem_key, equations)}) == 1


def test_splits_share_nothing() -> None:
    """One problem in ten is held out, and none is in both splits."""
    keys = {}
    for split in ("train", "test"):
        task = load_task(SYMBOLIC, split=split)
        keys[split] = {task.problem_key(prompt) for prompt in task.sample_prompts(np.random.default_rng(0), 300)}
    assert not keys["train"] & keys["test"]
    whole = load_task(SYMBOLIC, split="all").sample_prompts(np.random.default_rng(0), 1000)
    assert 0.05 < 1 - TASK.in_split(whole).mean() < 0.15


@pytest.mark.parametrize(
    "arguments",
    [
        {"mask": "syntax", "max_terms": 4},
        {"kind": "solve", "mask": "syntax", "reward": "strict"},
        {"kind": "int", "min_terms": 2, "max_terms": 2, "split": "test"},
    ],
    ids=str,
)
def test_the_contract(arguments: dict[str, Any]) -> None:
    """With other kinds and sizes, too, references are legal and succeed."""
    check_task(load_task(SYMBOLIC, **arguments), num_prompts=32)


@given(st.text("12x+-*/^(),sin0", max_size=9), st.booleans())
@settings(max_examples=400)
def test_the_mask_says_what_is_read(text: str, is_list: bool) -> None:
    """A text is accepted exactly where the judge can read it as what the prompt asks for."""
    machine = AnswerAutomaton()
    state: Any = machine.start(TASK.parse_prompt("solve 2*x=4:" if is_list else "diff x^2:"))
    for character in text:
        state = None if state is None else machine.advance(state, character)
    parts = text.split(",") if is_list else [text]
    is_readable = all(read(part) is not None for part in parts)
    is_wanted = is_readable and not (is_list and ("x" in text or "sin" in text))
    assert (state is not None and machine.is_final(state)) == is_wanted


@given(st.text("12x+-*/^(),sin0", max_size=9), st.booleans())
@settings(max_examples=200)
def test_every_prefix_can_be_ended(text: str, is_list: bool) -> None:
    """What the automaton accepts as a prefix is ended by as many characters as it says, and by no fewer."""
    machine = AnswerAutomaton()
    state: Any = machine.start(TASK.parse_prompt("solve 2*x=4:" if is_list else "diff x^2:"))
    for character in text:
        following = machine.advance(state, character)
        if following is None:
            break
        state = following
    left = machine.characters_left(state)
    assert (left == 0) == machine.is_final(state)
    waiting = [state]
    for missing in range(left, 0, -1):
        assert all(machine.characters_left(each) >= missing for each in waiting)
        reached = [machine.advance(each, character) for each in waiting for character in machine.alphabet]
        waiting = list({each for each in reached if each is not None and machine.characters_left(each) < missing})
    assert any(map(machine.is_final, waiting))


def test_masked_play_ends_well_formed() -> None:
    """Random legal tokens are well-formed answers, within the budget."""
    task = load_task(SYMBOLIC, mask="syntax", max_completion_tokens=12)
    prompts = task.sample_prompts(np.random.default_rng(0), 60)
    outcomes = task.evaluate(prompts, masked_play(task, prompts))
    assert "malformed" not in {outcome.status for outcome in outcomes}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "diff x^2",
        "diff :",
        "diff x=2:",
        "solve x:",
        "solve x=x:",
        "solve x^2=-1:",
        "solve x^3=1:",
        "solve sin(x)=0:",
        "solve x=9999^70*9999^70:",
        "solve x^2+9999^70*x=1:",
        "solve 2^99*x^2+x=3:",
        "diff log(x-1):",
        "diff 1/(x-x):",
        "diff 9^9^9:",
        "tan x:",
        "diff " + "(" * 100_000 + ":",
    ],
    ids=range(17),
)
def test_wrong_prompts(text: str) -> None:
    """Other forms, what is undefined at some point, and equations of other kinds: the message says what is allowed."""
    with pytest.raises(PromptError, match="allowed: at most 88 characters, such as 'diff x"):
        TASK.parse_prompt(text)


def test_towers_in_prompts_are_bounded() -> None:
    """Powers of powers are not worked out in full, though their own power 0 would be 1: too large is undefined."""
    with pytest.raises(PromptError):
        TASK.parse_prompt("simp ((((9999^99)^99)^99)^99)^0*x+x:")
    prompt = TASK.parse_prompt("simp ((((1^99)^99)^99)^99)^0*x+x:")
    assert TASK.evaluate([prompt], ["2*x"])[0].is_success


def test_a_prompt_without_a_known_answer() -> None:
    """Other code may ask for an integral that is not known here; an answer is judged all the same."""
    prompt = TASK.parse_prompt("int 2*x*exp(x^2):")
    assert TASK.reference_completion(prompt, np.random.default_rng(0)) is None
    assert TASK.evaluate([prompt], ["exp(x^2)"])[0].is_success
    assert TASK.evaluate([prompt], ["exp(x^2)+x"])[0].reward == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "limit"}, "kind='limit' is not allowed; allowed: 'all', 'diff', 'int', 'solve', 'simp'."),
        ({"min_terms": 0}, "min_terms=0 is not allowed; allowed: 1..4."),
        ({"max_terms": 5}, "max_terms=5 is not allowed; allowed: 1..4, from min_terms on."),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(SYMBOLIC, **arguments)
    assert str(error.value) == message


def test_nothing_cheap_succeeds() -> None:
    """Neither constants nor random legal tokens earn anything to speak of; references earn all."""
    found = {baseline.name: baseline for baseline in baselines(load_task(SYMBOLIC, mask="syntax"), num_prompts=500)}
    for name in ("random legal tokens", "best constant answer"):
        assert found[name].success < 0.04
        assert found[name].reward < 0.05
    assert found["reference"].success == found["reference"].reward == 1


@pytest.mark.timing
def test_hostile_texts_take_no_time() -> None:
    """A thousand towers, deep nests and long sums are judged within seconds."""
    hostile = ["x^" * 127 + "x", "(" * 127 + "x" + ")" * 127, "sin(" * 50 + "x" + ")" * 50, "+".join(["x"] * 128)]
    prompts = [TASK.parse_prompt("int 2*x:"), TASK.parse_prompt("simp x+3*x:")] * 500
    begun = time.perf_counter()
    outcomes = TASK.evaluate(prompts, [f"{text}+{i}"[-256:] for i, text in enumerate(hostile * 250)])
    assert time.perf_counter() - begun < 10
    assert not any(outcome.is_success for outcome in outcomes)
