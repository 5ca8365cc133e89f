"""Verdicts on tokens: whether a success can still follow is what a search through all completions finds."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from rlfl_envs import ActionError, ConfigError, Task, TokenEnv, TokenVectorEnv, ViableTask, list_ids, load_task
from rlfl_envs.masks import make_mask
from rlfl_envs.protocols import ArrayAutomaton, ArrayViableTask
from tests.settings import QUICK_IDS, missing

STEPS = "rlfl/ArithmeticSteps-v0"
WORKED = {"reward": "worked_out", "expression_length": 5}
_CNF = "p cnf 4 4\n 1 2 3 0\n -1 2 4 0\n -1 -2 4 0\n 1 -3 -4 0\nv"
_LAMPS = (
    "(define (problem p) (:domain lights)\n(:objects a b c)\n"
    "(:init (door a b) (door b a) (door b c) (door c b) (in a) (lit a) (dark b) (dark c))\n"
    "(:goal (and (lit a) (lit b) (dark c))))\n"
)
_ALL_SIGNS = "".join(f" {a}1 {b}2 {c}3 0\n" for a, b, c in product(["", "-"], repeat=3))
_LAMPS_WORDS = " (;light; a; b;)"
MASKED = {"mask": "syntax"}
_CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("rlfl/Copy-v0", {"alphabet": "ab", "length": 3, "max_completion_tokens": 5}, "aba", "a b"),
    ("rlfl/Copy-v0", {"alphabet": "ab", "length": 4, "max_completion_tokens": 3}, "abba", "a b"),
    ("rlfl/Copy-v0", {"alphabet": "ab", "length": 3, "mask": "syntax"}, "bba", "a b"),
    ("rlfl/Brackets-v0", {"kinds": 2, "depth": 3}, "([", "( ) [ ]"),
    ("rlfl/Brackets-v0", {"kinds": 1, "depth": 3, "max_completion_tokens": 6}, "((", "( )"),
    ("rlfl/Arithmetic-v0", {}, "2+3+4=5+4=", "0 4 8 9 10 + ="),
    ("rlfl/Arithmetic-v0", {"vocabulary": "characters"}, "2+3+8=5+8=", "0 1 3 + ="),
    ("rlfl/ArithmeticAnswer-v0", {"max_completion_tokens": 2}, "2+3=", "1 2 3 4 5 6 + ="),
    ("rlfl/ArithmeticAnswer-v0", {"operators": "+-", "max_completion_tokens": 3}, "2-5=", "3 2 + - ="),
    ("rlfl/ArithmeticAnswer-v0", {"operators": "+-", "max_completion_tokens": 2}, "5-5=", "0 2 + - ="),
    ("rlfl/ArithmeticAnswer-v0", {"operators": "+-", "vocabulary": "characters"}, "5-29=", "0 2 4 - + ="),
    (STEPS, WORKED, "1+0+2=", "0 1 2 3 + * ="),
    (STEPS, WORKED | {"max_completion_tokens": 6}, "1+0+1=", "0 1 2 + ="),
    (STEPS, WORKED | {"max_completion_tokens": 4}, "1+0+1=", "0 1 2 + ="),
    (STEPS, WORKED | {"max_completion_tokens": 3}, "1+2=", "1 2 3 + ="),
    (STEPS, WORKED | {"vocabulary": "characters"}, "1+0+1=", "0 1 2 + ="),
    (STEPS, WORKED | {"vocabulary": "characters", "max_completion_tokens": 6}, "9+1+1=", "1 2 9 0 + ="),
    (STEPS, WORKED | {"expression_length": 7, "max_completion_tokens": 7}, "0+1+0=", "0 1 + ="),
    (STEPS, {"reward": "strict", "expression_length": 5}, "1+1+0=", "0 1 2 + * ="),
    (STEPS, {"reward": "strict", "expression_length": 5, "max_completion_tokens": 7}, "1+1=", "2 1 + ="),
    (STEPS, {"reward": "paper", "expression_length": 5, "vocabulary": "characters"}, "1+1+0=", "0 1 2 + ="),
    (STEPS, {"operators": "+-", "expression_length": 5, "max_completion_tokens": 6}, "1-2-1=", "1 2 + - ="),
    (STEPS, {"operators": "+-", "expression_length": 5, "max_completion_tokens": 5}, "1-1+0=", "1 0 - ="),
    (STEPS, {"operators": "*", "expression_length": 5}, "1*2*1=", "1 2 * + ="),
    ("rlfl/Countdown-v0", {"min_numbers": 2, "max_completion_tokens": 5}, "6 2=12:", "6 2 * + ( )"),
    ("rlfl/Countdown-v0", {"min_numbers": 2, "max_completion_tokens": 5}, "5 5=10:", "5 + - ( )"),
    ("rlfl/Countdown-v0", {"max_completion_tokens": 7}, "2 6 12=60:", "2 6 12 - * ( )"),
    ("rlfl/Countdown-v0", {"max_completion_tokens": 5, "use_all": False}, "2 3 6=18:", "2 3 6 / * ( )"),
    (
        "rlfl/Countdown-v0",
        {"min_numbers": 2, "vocabulary": "characters", "max_completion_tokens": 6},
        "12 2=10:",
        "1 2 - ( )",
    ),
    ("rlfl/Sat-v0", {"max_completion_tokens": 4}, _CNF, " 1; -1; 2; -2; 3; -3; 4; -4"),
    ("rlfl/Sat-v0", {"max_completion_tokens": 2}, _CNF, " 1; -1; 2; -2; 3; -3; 4; -4; 5"),
    ("rlfl/Sat-v0", {"max_completion_tokens": 6, "vocabulary": "characters"}, _CNF, " ;1;2;3;4;-"),
    ("rlfl/Proof-v0", {"axioms": "", "max_completion_tokens": 7}, "p,Cpq,Cqr,CpCqNr|-Nr:", "C N p q r ,"),
    ("rlfl/Proof-v0", {"axioms": "", "max_completion_tokens": 4}, "p,Cpq,Cqr,CrCqs|-Cqs:", "C q r s ,"),
    ("rlfl/Planning-v0", {"domain": "lights", "domain_shown": False, "max_completion_tokens": 7}, _LAMPS, _LAMPS_WORDS),
    (
        "rlfl/Planning-v0",
        {"domain": "lights", "domain_shown": False, "max_completion_tokens": 6},
        _LAMPS,
        "(;light; a; b;);\n",
    ),
    ("rlfl/Regex-v0", {"longest": 4}, "+ab +aab +aaaab - -a -ba -bb -abb -bab = ", "a b . ( ) | * + ?"),
    ("rlfl/Regex-v0", {"longest": 4, "max_completion_tokens": 5}, "+aa +aab +aabb - -a -ba -ab -bab = ", "a b * + ?"),
    ("rlfl/Countdown-v0", MASKED | {"min_numbers": 2, "max_completion_tokens": 7}, "6 2=12:", "6 2 * ( )"),
    ("rlfl/Countdown-v0", MASKED | {"max_completion_tokens": 6, "use_all": False}, "2 3 6=18:", "2 3 6 * ( )"),
    (
        "rlfl/Countdown-v0",
        MASKED | {"min_numbers": 2, "vocabulary": "characters", "max_completion_tokens": 7},
        "12 2=10:",
        "1;2;-;(;); ",
    ),
    ("rlfl/Sat-v0", MASKED | {"max_completion_tokens": 5}, _CNF, " 1; -1; 2; -2; 3; -3; 4; -4"),
]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: f"{case[0][5:-3]} {case[1]} {case[2]}")
def test_verdicts_are_what_a_search_finds(case: tuple[str, dict[str, Any], str, str]) -> None:
    """After every completion of these tokens: a token is right if some success begins so that the mask allows."""
    _compare_with_a_search(*case)


def _trained(texts: list[str], pieces: int, folder: Path) -> str:
    """A byte-level BPE with so many pieces of these texts; the name of its vocabulary."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + 1 + pieces,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.save(str(folder / "tokenizer.json"))
    return str(folder)


_ONE_VALUE = (
    '{"type":"object","properties":{"a":{"type":"integer","minimum":0,"maximum":9}},"required":["a"],'
    '"additionalProperties":false}\na is 0.\n'
)


@pytest.mark.parametrize("budget", [5, 6])
def test_verdicts_on_pieces_are_what_a_search_finds(tmp_path: Path, budget: int) -> None:
    """Where tokens are longer than a character, and the budget is one of tokens: -0 takes the sixth."""
    vocabulary = _trained(['{"a":0}'] * 3, 3, tmp_path)
    arguments = {"most": 1, "vocabulary": vocabulary, "max_completion_tokens": budget}
    _compare_with_a_search("rlfl/Json-v0", arguments, _ONE_VALUE, '{";a;":;0;}; ;-')


def _compare_with_a_search(env_id: str, arguments: dict[str, Any], prompt: str, words: str) -> None:
    _skip_without_packages(env_id)
    task = load_task(env_id, **arguments)
    chosen_words = words.split(";" if ";" in words else " ")
    tokens = [*(task.tokenizer.encode(word)[0] for word in chosen_words), task.tokenizer.eos_id]
    ordinary, budget = tokens[:-1], task.max_completion_tokens
    written = [each for length in range(budget + 1) for each in product(ordinary, repeat=length)]
    texts = task.tokenizer.decode_batch([[*each] for each in written])
    outcomes = task.evaluate([task.parse_prompt(prompt)] * len(written), texts)
    ends = [(task.tokenizer.eos_id,) if len(each) < budget else () for each in written]
    successes = [
        (*each, *end) for each, end, outcome in zip(written, ends, outcomes, strict=True) if outcome.is_success
    ]
    if task.config.mask == "syntax":
        successes = [success for success in successes if _is_legal(task, prompt, success)]
    assert successes or budget < task.default_budget
    viable = {success[:length] for success in successes for length in range(len(success) + 1)}
    rng = np.random.default_rng(0)
    for length in range(budget):
        begun = [each for each in written if len(each) == length]
        chosen = [each for each in begun if each in viable]
        chosen += [begun[i] for i in rng.permutation(len(begun))[:100]]
        envs = _played(env_id, arguments, prompt, chosen)
        verdicts = envs.judge_tokens(np.tile(tokens, (len(chosen), 1)))
        for each, row, open_ in zip(chosen, verdicts.tolist(), ~envs._finished, strict=True):
            expected = [open_ and (*each, token) in viable for token in tokens]
            assert row == expected, task.tokenizer.decode([*each])


def _is_legal(task: Task, prompt: str, tokens: tuple[int, ...]) -> bool:
    """Whether the mask allows these tokens, EOS at the end perhaps."""
    mask = make_mask(task)
    state = mask.start(task.parse_prompt(prompt))
    for token in tokens:
        if not mask.row(state)[token]:
            return False
        state = state if token == task.tokenizer.eos_id else mask.next_state(state, token)
    return True


@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [
        ("rlfl/Json-v0", {"most": 1}),
        (STEPS, {"reward": "worked_out"}),
        ("rlfl/Countdown-v0", {"max_numbers": 3}),
        ("rlfl/Sat-v0", {"max_variables": 4}),
        ("rlfl/Planning-v0", {"max_size": 3, "domain": "lights"}),
    ],
)
@pytest.mark.parametrize("mask", ["none", "syntax"])
def test_right_pieces_end_in_success(env_id: str, arguments: dict[str, Any], mask: str, tmp_path: Path) -> None:
    """The default budget, counted in tokens, leaves every prompt its right tokens, though its characters are more.

    Verdicts do not count on what a mask, which counts characters, will forbid.
    """
    arguments = arguments | {"mask": mask}
    task, rng = load_task(env_id, **arguments), np.random.default_rng(0)
    references = [task.reference_completion(prompt, rng) or "" for prompt in task.sample_prompts(rng, 200)]
    envs = _envs(env_id, 32, vocabulary=_trained(references, 200, tmp_path), **arguments)
    envs.reset(seed=0)
    every = np.arange(envs.tokenizer.vocab_size)
    playing, success = np.ones(32, dtype=np.bool_), np.zeros(32, dtype=np.bool_)
    while playing.any():
        verdicts = envs.judge_tokens(np.tile(every, (32, 1)))
        assert verdicts.any(axis=1).tolist() == playing.tolist()
        actions = [int(rng.choice(every[row])) if row.any() else 0 for row in verdicts]
        *_, terminated, _, infos = envs.step(np.array(actions))
        success |= infos.get("is_success", False)
        playing &= ~terminated
    assert success.all()


def _envs(env_id: str, num_envs: int, autoreset_mode: str = "Disabled", **arguments: Any) -> TokenVectorEnv:
    _skip_without_packages(env_id)
    return TokenVectorEnv(load_task(env_id, **arguments), num_envs, autoreset_mode=autoreset_mode)


def _skip_without_packages(env_id: str) -> None:
    if missing(env_id):
        pytest.skip(f"{env_id} needs {', '.join(missing(env_id))}")


def _played(env_id: str, arguments: dict[str, Any], prompt: str, completions: list[tuple[int, ...]]) -> TokenVectorEnv:
    """Environments that have written these completions, all of one length."""
    envs = _envs(env_id, len(completions), **arguments)
    envs.reset(seed=0, options={"prompt": prompt})
    for tokens in zip(*completions, strict=True):
        envs.step(np.array(tokens))
    return envs


@pytest.mark.parametrize(
    ("env_id", "arguments"),
    [
        ("rlfl/Copy-v0", {}),
        ("rlfl/Brackets-v0", {}),
        ("rlfl/Arithmetic-v0", {"operators": "+-*"}),
        ("rlfl/ArithmeticAnswer-v0", {"vocabulary": "characters", "max_operand": 500, "max_value": 999}),
        (STEPS, {}),
        (STEPS, {"reward": "worked_out"}),
        (STEPS, {"reward": "worked_out", "vocabulary": "characters"}),
        (STEPS, {"reward": "strict", "operators": "+-*", "vocabulary": "characters"}),
        ("rlfl/Countdown-v0", {}),
        ("rlfl/Countdown-v0", {"vocabulary": "characters", "use_all": False}),
        ("rlfl/Sat-v0", {}),
        ("rlfl/Sat-v0", {"vocabulary": "characters", "min_variables": 10, "max_variables": 10}),
        ("rlfl/Proof-v0", {"axioms": ""}),
        ("rlfl/Json-v0", {"most": 1}),
        ("rlfl/Planning-v0", {"max_size": 4}),
        ("rlfl/Planning-v0", {"vocabulary": "characters", "domain": "gripper", "domain_shown": False}),
        ("rlfl/Planning-v0", {"domain": "logistics", "max_size": 1, "max_completion_tokens": 90}),
        ("rlfl/Regex-v0", {"longest": 5}),
        ("rlfl/Mixture-v0", {}),
        ("rlfl/Mixture-v0", {"tasks": ("rlfl/ArithmeticSteps-v0", {"id": "rlfl/Sat-v0", "max_variables": 4})}),
        ("rlfl/Brackets-v0", MASKED),
        ("rlfl/Arithmetic-v0", MASKED | {"operators": "+-"}),
        ("rlfl/ArithmeticAnswer-v0", MASKED | {"operators": "+-", "vocabulary": "characters"}),
        (STEPS, MASKED | {"reward": "worked_out"}),
        (STEPS, MASKED | {"reward": "worked_out", "vocabulary": "characters"}),
        (STEPS, MASKED | {"reward": "strict", "operators": "+-*", "vocabulary": "characters"}),
        ("rlfl/Countdown-v0", MASKED),
        ("rlfl/Countdown-v0", MASKED | {"max_numbers": 3}),
        ("rlfl/Countdown-v0", MASKED | {"use_all": False}),
        ("rlfl/Countdown-v0", MASKED | {"vocabulary": "characters"}),
        ("rlfl/Sat-v0", MASKED),
        ("rlfl/Sat-v0", MASKED | {"vocabulary": "characters"}),
        ("rlfl/Sat-v0", MASKED | {"vocabulary": "characters", "min_variables": 10, "max_variables": 10}),
        ("rlfl/Proof-v0", MASKED | {"axioms": ""}),
        ("rlfl/Json-v0", MASKED | {"most": 1}),
        ("rlfl/Planning-v0", MASKED | {"max_size": 4}),
        ("rlfl/Planning-v0", MASKED | {"vocabulary": "characters"}),
        ("rlfl/Planning-v0", MASKED | {"vocabulary": "characters", "domain": "lights", "domain_shown": False}),
        ("rlfl/Regex-v0", MASKED | {"longest": 4}),
        ("rlfl/Mixture-v0", MASKED | {"tasks": ("rlfl/Copy-v0", {"id": "rlfl/Sat-v0", "max_variables": 4})}),
    ],
)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_whoever_writes_right_tokens_succeeds(env_id: str, arguments: dict[str, Any], seed: int) -> None:
    """Random right tokens end in success, one is right at every step, and a scalar environment says the same."""
    envs = _envs(env_id, 3, **arguments)
    alone = TokenEnv(load_task(env_id, **arguments))
    envs.reset(seed=seed)
    alone.reset(seed=seed)
    rng, every = np.random.default_rng(seed), np.arange(envs.tokenizer.vocab_size)
    playing = np.ones(3, dtype=np.bool_)
    success = np.zeros(3, dtype=np.bool_)
    while playing.any():
        verdicts = envs.judge_tokens(np.tile(every, (3, 1)))
        assert verdicts.any(axis=1).tolist() == playing.tolist()
        if playing[0]:
            assert alone.judge_tokens(every).tolist() == verdicts[0].tolist()
        actions = [int(rng.choice(every[row])) if row.any() else 0 for row in verdicts]
        if playing[0]:
            alone.step(actions[0])
        _, _, terminated, _, infos = envs.step(np.array(actions))
        success |= infos.get("is_success", False)
        playing &= ~terminated
    assert success.all()
    assert not alone.judge_tokens(every).any()


@pytest.mark.parametrize("env_id", ["rlfl/Copy-v0", STEPS])
def test_judging_moves_nothing(env_id: str) -> None:
    """With verdicts asked at some steps, in any order, observations and rewards are those without."""
    asked, plain = (_envs(env_id, 8, "NextStep", max_completion_tokens=6) for _ in range(2))
    rng, vocab_size = np.random.default_rng(0), asked.tokenizer.vocab_size
    for left, right in zip(asked.reset(seed=3), plain.reset(seed=3), strict=True):
        np.testing.assert_equal(left, right)
    for step in range(60):
        if step % 3 == 0:
            tokens = rng.integers(3, vocab_size, (8, 5))
            first = asked.judge_tokens(tokens)
            np.testing.assert_equal(asked.judge_tokens(tokens), first)
        actions = rng.integers(2, vocab_size, 8)
        for left, right in zip(asked.step(actions), plain.step(actions), strict=True):
            np.testing.assert_equal(left, right)


def test_what_is_asked_late_is_what_was_asked_all_along() -> None:
    """Environments that are asked at the end of a game alone have read all of it, autoresets included."""
    early, late = (_envs(STEPS, 6, "NextStep", reward="worked_out") for _ in range(2))
    early.reset(seed=1)
    late.reset(seed=1)
    rng, every = np.random.default_rng(1), np.arange(early.tokenizer.vocab_size)
    for _ in range(50):
        verdicts = early.judge_tokens(np.tile(every, (6, 1)))
        actions = np.array([rng.choice(every[row]) if row.any() and rng.random() < 0.9 else 7 for row in verdicts])
        early.step(actions)
        late.step(actions)
        if rng.random() < 0.2:
            candidates = rng.integers(0, len(every), (6, 30))
            np.testing.assert_equal(early.judge_tokens(candidates), late.judge_tokens(candidates))


class _NeverWithNothing:
    """Arrays of successes that must not be asked of no episode at all, as a task of others may not like it."""

    def __init__(self, arrays: ArrayAutomaton) -> None:
        self._arrays = arrays

    def start(self, data: NDArray[np.void]) -> NDArray[Any]:
        assert len(data)
        return self._arrays.start(data)

    def judge(self, states: NDArray[Any], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        assert len(states)
        return self._arrays.judge(states, candidates)

    def advance(self, states: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[Any]:
        assert len(states)
        return self._arrays.advance(states, tokens)


@pytest.mark.parametrize("env_id", ["rlfl/Arithmetic-v0", "rlfl/Countdown-v0", "rlfl/Sat-v0"])
def test_arrays_are_asked_of_episodes_alone(env_id: str) -> None:
    """Where all episodes go wrong in one step, and go on, nothing is left to follow; arrays that can do so do it."""
    task = load_task(env_id)
    assert isinstance(task, ArrayViableTask)
    arrays = task.array_successes
    assert arrays is not None
    task.__dict__["array_successes"] = _NeverWithNothing(arrays)
    envs = TokenVectorEnv(task, 2, rewards="shaped", autoreset_mode="Disabled")
    envs.reset(seed=0)
    ordinary = np.flatnonzero(task.tokenizer.ordinary)
    right = envs.judge_tokens(np.tile(ordinary, (2, 1)))
    wrong = np.full(2, ordinary[~right.any(axis=0)][-1])
    for _ in range(2):
        envs.step(wrong)
        assert not envs.judge_tokens(np.tile(ordinary, (2, 1))).any()
    states = arrays.start(envs._data[:0])
    none = np.zeros(0, dtype=np.int64)
    assert len(arrays.advance(states, none)) == len(arrays.judge(states, none[:, None])) == 0


def test_which_tasks_can_judge() -> None:
    """Those with an automaton of successes, whose cards say so; the others say so by name."""
    for env_id in QUICK_IDS:
        task = load_task(env_id)
        assert bool(task.on_verdicts) >= isinstance(task, ViableTask), f"{env_id}: its card has no word of judge_tokens"
    can = {env_id for env_id in list_ids() if env_id in {"rlfl/Sentiment-v0", "rlfl/Copy-v0", "rlfl/Brackets-v0"}}
    assert {env_id for env_id in can if isinstance(load_task(env_id), ViableTask)} == can - {"rlfl/Sentiment-v0"}
    envs = _envs("rlfl/Sentiment-v0", 1)
    envs.reset(seed=0)
    with pytest.raises(ConfigError, match="cannot judge single tokens"):
        envs.judge_tokens(np.zeros((1, 1), dtype=np.int64))


_LIMITS = {
    "rlfl/Countdown-v0": "`max_numbers` up to 4",
    "rlfl/Sat-v0": "`max_variables` up to 10",
    "rlfl/Proof-v0": "axioms",
    "rlfl/Json-v0": "most=1",
    "rlfl/Regex-v0": "Where C is at most 5",
    "rlfl/Mixture-v0": "Where all parts have them",
}


@pytest.mark.parametrize(
    ("env_id", "small", "large"),
    [
        ("rlfl/Countdown-v0", {"max_numbers": 4}, {"max_numbers": 5}),
        ("rlfl/Sat-v0", {"max_variables": 10}, {"max_variables": 11}),
        ("rlfl/Proof-v0", {"axioms": ""}, {"axioms": "K"}),
        ("rlfl/Json-v0", {"most": 1}, {"most": 2}),
        ("rlfl/Regex-v0", {"longest": 5}, {"longest": 6}),
        ("rlfl/Mixture-v0", {"tasks": ["rlfl/Copy-v0"]}, {"tasks": ["rlfl/Copy-v0", "rlfl/Sql-v0"]}),
    ],
)
def test_what_is_too_large_is_not_judged(env_id: str, small: dict[str, Any], large: dict[str, Any]) -> None:
    """Where verdicts would take too long, a task does not claim to have them; what is refused says what to change."""
    _skip_without_packages(env_id)
    assert isinstance(load_task(env_id, **small), ViableTask)
    task = load_task(env_id, **large)
    assert not isinstance(task, ViableTask)
    for around in (task, load_task(env_id, **large, template="{prompt}")):
        with pytest.raises(ConfigError, match=rf"'end'\. With other arguments it can\. .*{_LIMITS[env_id]}") as error:
            TokenEnv(around, rewards="tokens")
        assert "`judge_tokens`" in str(error.value)
    env = TokenEnv(task)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=rf"With other arguments it can\. .*{_LIMITS[env_id]}"):
        env.judge_tokens(np.array([0]))


@pytest.mark.parametrize(
    ("env_id", "arguments", "prompt"),
    [
        ("rlfl/Sat-v0", {"max_variables": 4}, f"p cnf 4 8\n{_ALL_SIGNS}v"),
        ("rlfl/Countdown-v0", {"max_numbers": 3}, "1 1 1=100:"),
    ],
)
def test_no_budget_makes_a_dead_end_right(env_id: str, arguments: dict[str, Any], prompt: str) -> None:
    """However many tokens are left: nothing can follow where nothing solves the prompt."""
    for budget in (8, 20_000):
        envs = TokenVectorEnv(load_task(env_id, **arguments, max_completion_tokens=budget), 1)
        envs.reset(options={"prompt": prompt})
        assert not envs.judge_tokens(np.arange(envs.tokenizer.vocab_size)[None]).any()


@pytest.mark.parametrize("candidates", [[[1.5]], [[1], [1]], [[99]], [[-1]], [3]])
def test_only_tokens_are_judged(candidates: Any) -> None:
    """Anything else is refused in the library's own words."""
    envs = _envs("rlfl/Copy-v0", 1)
    envs.reset(seed=0)
    with pytest.raises(ActionError, match="allowed: integers"):
        envs.judge_tokens(candidates)
