"""Arithmetic: what is drawn, and prompts that others bring."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, PromptError, load_task
from tests.settings import ANSWER, GIVEN, STEPS, sweep
from tests.tasks.arithmetic.derivations import calculate, combinations

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
    (STEPS, {"level": 0}, "2+3+4=", "prompt='2+3+4=' has 2 operators; allowed: at most 1."),
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
    task.in_split([prompt])
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
