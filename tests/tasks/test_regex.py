"""Regex: which patterns are sought, and what patterns earn."""

from __future__ import annotations

import re
import statistics
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import ConfigError, Prompt, PromptError, Task, baselines, load_task
from rlfl_envs.tasks.regex.automaton import PatternAutomaton, is_pattern
from rlfl_envs.tasks.regex.languages import WORDS, languages
from rlfl_envs.tasks.regex.task import _is_seen_to_repeat
from tests.settings import REGEX, masked_play

matcher = pytest.importorskip("rlfl_envs.tasks.regex.matcher")
pytest.importorskip("re2", reason="needs the extra regex")

PROMPT = "+ab +b +aab +aaab - -a -ba -abb = "  # a*b


@pytest.fixture(scope="module")
def task() -> Task:
    """As it is by default."""
    return load_task(REGEX)


@pytest.mark.parametrize(
    ("completion", "reward", "accuracy", "status"),
    [
        ("a*b", 1, 1, "ok"),
        ("b|a+b", 0.9 + 0.1 / 3, 1, "ok"),  # right, and two characters too long
        ("a*b|b|b|b|b", 0.9, 1, "ok"),  # much too long: a tenth is all that it costs
        (".*", 0, 0.5, "ok"),
        (".+b", 0, None, "ok"),
        ("b|ab|aab|aaab", 0, None, "ok"),  # the shown words
        ("", 0, 0, "malformed"),
        ("()", 0, 0, "malformed"),
        ("a*?b", 0, 0, "malformed"),  # RE2 would read a lazy star
        ("a**b", 0, 0, "malformed"),
        ("a{1,9}", 0, 0, "malformed"),
        ("[a]*b", 0, 0, "malformed"),
        ("^a*b$", 0, 0, "malformed"),
        ("(?:a*)b", 0, 0, "malformed"),
        (r"\w*b", 0, 0, "malformed"),
        ("a*b\n", 0, 0, "malformed"),
        ("а*b", 0, 0, "malformed"),  # the first letter is Cyrillic
        ("|a*b", 0, 0, "malformed"),
        ("(a*b", 0, 0, "malformed"),
        ("((((((a*))))))b", 0, 0, "malformed"),  # six deep
        ("a" * 257, 0, 0, "malformed"),
    ],
)
def test_near_misses(task: Task, completion: str, reward: float, accuracy: float | None, status: str) -> None:
    """The best constant and the list of words earn nothing, what is right all but a tenth for length."""
    (outcome,) = load_task(REGEX, shortest=4).evaluate([task.parse_prompt(PROMPT)], [completion])
    assert outcome.status == status
    assert outcome.is_success == (reward > 0)
    if reward or not accuracy:
        assert outcome.reward == pytest.approx(reward)
    if accuracy is not None:
        assert outcome.parts["balanced_accuracy"] == accuracy


def test_plain_rewards_are_balanced_accuracies() -> None:
    """Under "plain" a constant earns a half, and length costs nothing."""
    task = load_task(REGEX, reward="plain")
    outcomes = task.evaluate([task.parse_prompt(PROMPT)] * 3, [".*", "a*b|b|b|b|b", "a*b"])
    assert [outcome.reward for outcome in outcomes] == [0.5, 1, 1]


def test_tables_are_what_patterns_match() -> None:
    """Of a thousand languages, the table is what Python's own `re` says of the shortest pattern, word by word."""
    known = languages(7)
    rng = np.random.default_rng(0)
    for number in rng.integers(len(known.patterns), size=1000).tolist():
        match = re.compile(known.patterns[number]).fullmatch
        assert [match(word) is not None for word in WORDS] == known.tables[:, number].tolist()


def test_patterns_are_the_shortest() -> None:
    """Every pattern of up to four characters, found by brute force: no language is missed, none has a shorter one."""
    known = languages(4)
    shortest: dict[bytes, int] = {}
    for length in range(1, 5):
        for text in map("".join, product(PatternAutomaton.alphabet, repeat=length)):
            if is_pattern(text):
                match = re.compile(text).fullmatch
                shortest.setdefault(bytes(match(word) is not None for word in WORDS), length)
    found = {known.tables[:, number].tobytes(): len(name) for number, name in enumerate(known.patterns)}
    assert found == shortest


def test_prompts_tell_one_language_from_all_others_as_short(task: Task) -> None:
    """No other language of up to the pattern's length agrees with the words; both signs are there."""
    known = languages(7)
    for prompt in task.sample_prompts(np.random.default_rng(0), 100):
        words = dict(prompt.data.words)
        agreeing = known.agreeing(words)
        assert known.patterns[agreeing[0]] == prompt.data.pattern
        assert known.lengths[agreeing[1:]].min(initial=99) > len(prompt.data.pattern)
        assert set(words.values()) == {False, True}
        assert len(prompt.text) <= task.max_prompt_tokens - 1


def test_what_no_shown_word_tells_is_not_asked() -> None:
    """Words of up to 7 letters do not say whether four letters are repeated."""
    assert not _is_seen_to_repeat("(aa..)*")
    assert all(map(_is_seen_to_repeat, ("(aab)*", "a*b", "a+b+", "(a|bb)*")))


@pytest.mark.parametrize("longest", [4, 5, 6])
def test_shorter_languages_are_counted_from_the_same_constants(longest: int) -> None:
    """Constants may be longer than what is sought; the best of them earns nothing, the reference all."""
    task = load_task(REGEX, longest=longest)
    prompts = task.sample_prompts(np.random.default_rng(0), 50)
    for constant in (".*", "a*b*.", ".b*a*"):
        assert max(outcome.reward for outcome in task.evaluate(prompts, [constant] * 50)) == 0
    outcomes = task.evaluate(prompts, [str(task.reference_completion(prompt, None)) for prompt in prompts])
    assert min(outcome.reward for outcome in outcomes) == 1


def test_splits_know_no_letters(task: Task) -> None:
    """Two languages that are one another with a and b exchanged are one problem."""
    swap = str.maketrans("ab", "ba")
    for prompt in task.sample_prompts(np.random.default_rng(1), 50):
        other = task.parse_prompt(prompt.text.translate(swap))
        assert task.problem_key(other) == task.problem_key(prompt)


def test_nothing_cheap_pays(task: Task) -> None:
    """The best constant, the words listed and random patterns: little reward, hardly a success."""
    found = {baseline.name: baseline for baseline in baselines(task.changed(mask="syntax"), num_prompts=1000)}
    assert found["best constant answer"].reward < 0.1
    assert found["best constant answer"].success < 0.02
    assert found["random legal tokens"].reward < 0.05
    prompts = task.sample_prompts(np.random.default_rng(0), 200)
    lists = ["|".join(word for word, has in prompt.data.words if has and word) for prompt in prompts]
    assert max(outcome.reward for outcome in task.evaluate(prompts, lists)) == 0


@given(text=st.text("ab.()|*+?", max_size=12))
def test_what_is_a_pattern_compiles(text: str) -> None:
    """Whatever the automaton accepts, RE2 and Python compile, and match alike."""
    if is_pattern(text):
        found = matcher.matches(text)
        assert found is not None
        match = re.compile(text).fullmatch
        sample = range(0, len(matcher.JUDGED), 40)
        assert [match(matcher.JUDGED[i]) is not None for i in sample] == [bool(found[i]) for i in sample]


def test_the_mask_writes_patterns(task: Task) -> None:
    """Random legal tokens end as patterns, within the budget."""
    masked = task.changed(mask="syntax", max_completion_tokens=12)
    prompts = masked.sample_prompts(np.random.default_rng(0), 1) * 300
    assert all(map(is_pattern, masked_play(masked, prompts)))


BOMBS = [
    "(a*)*b",
    "(a+)+b",
    "(a|a)*b",
    "(.*.*)*b",
    "((a?b?)*(b?a?)*)*b",
    "((((a+)+)+)+)+b",
    "a?" * 64 + "a" * 64,
    "(" + "a|" * 120 + "b)*",
    ".*" * 127 + "b",
    "(a|b)*a" + "(a|b)" * 40,
    "((a|b)*a.......|(b|a)*b......)*" * 4,
    "(.?.?.?.?.?.?.?.?)*" * 10,
]


@pytest.mark.timing
def test_bombs_and_mutants_are_quick(task: Task) -> None:
    """Patterns that take exponential time elsewhere, 10,000 mutated references: bounded, and the next one is right."""
    rng = np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 200)
    for bomb in BOMBS:
        assert _seconds(task, prompts[0], bomb) < 0.25, bomb
    seconds = []
    for number in range(10_000):
        prompt = prompts[number % len(prompts)]
        seconds.append(_seconds(task, prompt, _mutant(prompt.data.pattern, rng)))
    assert statistics.median(seconds) < 0.005
    assert max(seconds) < 0.25
    assert task.evaluate(prompts[:1], [prompts[0].data.pattern])[0].is_success


def _seconds(task: Task, prompt: Prompt, completion: str) -> float:
    begun = time.process_time()
    (outcome,) = task.evaluate([prompt], [completion])
    assert 0 <= outcome.reward <= 1
    return time.process_time() - begun


def _mutant(text: str, rng: np.random.Generator) -> str:
    for _ in range(int(rng.integers(1, 4))):
        begin = int(rng.integers(len(text) + 1))
        text = text[:begin] + str(rng.choice([*PatternAutomaton.alphabet, ""])) + text[begin + int(rng.integers(2)) :]
    return text


@pytest.mark.parametrize(
    "text", ["", "= ", "ab = ", "+ab -ab = ", "+ab +ab = ", "+abc = ", "+ab", "+aaaaaaaa = ", "+ab -b =", "+ab  -b = "]
)
def test_wrong_prompts(task: Task, text: str) -> None:
    """Contradictory, foreign or cut short: the message names the value and what is allowed."""
    with pytest.raises(PromptError) as error:
        task.parse_prompt(text)
    assert str(error.value).startswith(f"prompt={text!r} is not allowed; allowed: such as '+ab +abb -b - = ', ")


def test_a_finite_language_of_ones_own(task: Task) -> None:
    """Words that a list describes best are a prompt, too; there the list is right, and all else earns nothing."""
    prompt = task.parse_prompt("+ab +b - -a -ba -bb -aa -abb -aab = ")
    right, wrong = task.evaluate([prompt] * 2, ["a?b", ".b"])
    assert right.reward == 1
    assert wrong.reward == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"longest": 3}, "longest=3 is not allowed; allowed: 4..8."),
        ({"shortest": 3}, "shortest=3 is not allowed; allowed: 4..7, the longest."),
        ({"reward": "paper"}, "reward='paper' is not allowed; allowed: 'strict', 'plain', 'success'."),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(REGEX, **arguments)
    assert str(error.value) == message
