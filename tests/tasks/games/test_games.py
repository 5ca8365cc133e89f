"""Game synthesis: prompts, holes, endings, rewards, vocabularies and masks, mostly with a made-up backend."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlfl_envs import ConfigError, MissingDependencyError, PromptError, check_task, how_to_install, load_task
from rlfl_envs.masks import make_mask
from rlfl_envs.tasks.games import LudaxGame
from rlfl_envs.tasks.games.bracketed import end_of_form, forms
from rlfl_envs.tasks.games.ludax import corpus as ludax_games
from rlfl_envs.tasks.games.task import GameSynthesis
from tests.settings import LUDAX, REAL_POOL, SMALL_GAMES, missing
from tests.tasks.games.golden import GOLDEN_INFILL, GOLDEN_WRITE
from tests.tasks.games.row import GAME, PREFIX, PROMPT, SUFFIX, Judge

pytestmark = pytest.mark.skipif(bool(missing(LUDAX)), reason=f"needs {', '.join(missing(LUDAX))}")

# --- prompts ---------------------------------------------------------------------------------------------------------


def test_first_prompts() -> None:
    """Pinned: other prompts under the same seed would be a new version of the id."""
    prompts = load_task(LUDAX, corpus="shipped").sample_prompts(np.random.default_rng(0), 2)
    assert [prompt.text for prompt in prompts] == GOLDEN_INFILL
    prompts = load_task(LUDAX, mode="write").sample_prompts(np.random.default_rng(0), 3)
    assert [prompt.text for prompt in prompts] == GOLDEN_WRITE


def test_files_that_are_no_games(tmp_path: Path) -> None:
    """A folder of one's own is checked when it is read."""
    (tmp_path / "one.ldx").write_text("(game)")
    with pytest.raises(ConfigError, match=r"one\.ldx is no game, one form with others in it"):
        load_task(LUDAX, corpus=str(tmp_path))
    (tmp_path / "one.ldx").write_bytes(b"(game \xff)")
    with pytest.raises(ConfigError, match=r"one\.ldx cannot be read as text"):
        load_task(LUDAX, corpus=str(tmp_path))


@pytest.mark.parametrize(
    "arguments", [{}, {"corpus": "shipped", "split": "all"}, {"max_completion_tokens": 8}], ids=str
)
def test_holes(arguments: dict[str, Any]) -> None:
    """A hole is one form of a game of the corpus, within the budget, and the reference fills it."""
    task, rng = load_task(LUDAX, **arguments), np.random.default_rng(0)
    games = set(task.corpus())
    lengths = []
    for prompt in task.sample_prompts(rng, 200):
        prefix, suffix = prompt.data
        reference = task.reference_completion(prompt, rng)
        assert prompt.text == f"### PRE:{prefix}### SUF: {suffix}### MID:"
        assert prefix + reference + suffix in games
        assert end_of_form(reference) == len(reference)
        assert len(prefix) > 0
        lengths.append(len(task.tokenizer.encode(reference)))
    assert max(lengths) <= task.max_completion_tokens
    assert max(lengths) > 0.8 * task.max_completion_tokens
    assert min(lengths) <= 4


def test_longer_forms_are_drawn_more_often(tmp_path: Path) -> None:
    """In proportion to their length."""
    (tmp_path / "one.ldx").write_text(GAME)
    task = load_task(LUDAX, corpus=str(tmp_path), split="all", max_completion_tokens=200)
    prompts = task.sample_prompts(np.random.default_rng(0), 4000)
    spans = {(start, len(GAME) - end): end - start for start, end in forms(GAME) if end - start < len(GAME)}
    drawn = [spans[len(prefix), len(suffix)] for prefix, suffix in (prompt.data for prompt in prompts)]
    total = sum(spans.values())
    for length in set(spans.values()):
        expected = sum(other for other in spans.values() if other == length) / total
        assert drawn.count(length) / 4000 == pytest.approx(expected, abs=0.03)


def test_splits_share_no_game() -> None:
    """What is held out is in no training prompt."""
    for mode in ("infill", "write"):
        train, test, both = (load_task(LUDAX, mode=mode, split=split) for split in ("train", "test", "all"))
        assert not set(train.corpus()) & set(test.corpus())
        assert len(train.corpus()) + len(test.corpus()) == len(both.corpus()) == 1017
        assert 60 < len(test.corpus()) < 140


def test_headers() -> None:
    """In "write" the prompt names a game and its board, and the reference is such a game."""
    task, rng = load_task(LUDAX, mode="write"), np.random.default_rng(0)
    for prompt in task.sample_prompts(rng, 50):
        reference = task.reference_completion(prompt, rng)
        name, board = prompt.text.removeprefix("### GAME:").removesuffix("### TEXT:").split('" ')
        assert reference.startswith(f'(game {name}" (players')
        assert board in reference
        assert reference in task.corpus()
    assert task.reference_completion(task.parse_prompt('### GAME:"Chess"### TEXT:'), rng) is None


def test_the_empty_prompt(judge: Judge) -> None:
    """Without a header there is one prompt, nothing is held out, and any game of the corpus is a reference."""
    task, rng = load_task(LUDAX, mode="write", header=False, split="all", corpus="shipped"), np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 3)
    assert [prompt.text for prompt in prompts] == [""] * 3
    assert len({task.reference_completion(prompts[0], rng) for _ in range(20)}) > 5
    with pytest.raises(ConfigError, match="split='train' is not allowed; allowed: 'all' where the prompt is empty"):
        load_task(LUDAX, mode="write", header=False)
    check_task(task, num_prompts=8)
    assert task.evaluate(prompts[:1], [GAME + " (game)"])[0].status == "playable"
    assert judge.asked[-1].text == GAME


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ({}, "", "allowed: a form with one form left out"),
        ({}, "### PRE:(a### SUF: )", "allowed: a form with one form left out"),
        ({}, "### PRE:(a### SUF: ### MID:", "allowed: a form with one form left out"),
        ({}, "### PRE:(a### SUF: ) (b)### MID:", "allowed: a form with one form left out"),
        ({}, '### PRE:(a "### SUF: ")### MID:', "allowed: a form with one form left out"),
        ({}, "### PRE:(a ### SUF: )### MID:### MID:", "allowed: a form with one form left out"),
        ({}, "### PRE:(é ### SUF: )### MID:", "cannot be written in this vocabulary"),
        ({}, f"### PRE:({'a ' * 2000}### SUF: )### MID:", "allowed: at most 284 tokens"),
        ({"mode": "write"}, "", "allowed: ### GAME:, one line, ### TEXT:"),
        ({"mode": "write"}, "### GAME:a\nb### TEXT:", "allowed: ### GAME:, one line, ### TEXT:"),
        ({"mode": "write", "header": False, "split": "all"}, "x", "allowed: the empty prompt"),
    ],
)
def test_wrong_prompts(arguments: dict[str, Any], text: str, message: str) -> None:
    """The text, and what is allowed."""
    with pytest.raises(PromptError) as error:
        load_task(LUDAX, **arguments).parse_prompt(text)
    assert str(error.value).startswith("prompt=")
    assert message in str(error.value)


# --- endings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", ["ludemes", "bpe"])
def test_a_completion_ends_where_its_brackets_balance(vocabulary: str, judge: Judge) -> None:
    """By itself, in the scalar environment and in the vector environment, at the token that closes it."""
    arguments = {"corpus": "shipped", "split": "all", "vocabulary": vocabulary}
    env = gymnasium.make(LUDAX, **arguments).unwrapped
    envs = gymnasium.make_vec(LUDAX, num_envs=2, autoreset_mode="Disabled", **arguments).unwrapped
    env.reset(options={"prompt": PROMPT})
    envs.reset(options={"prompt": PROMPT})
    tokens = env.tokenizer.encode('(and (full_board) (not (line "dot)" 3)))')
    for token in tokens:
        _, reward, terminated, _, info = env.step(token)
        _, rewards, ended, _, infos = envs.step(np.array([token, token]))
        assert ended.tolist() == [terminated] * 2
        assert terminated == (token is tokens[-1])
    assert info["finish_reason"] == "stop"
    assert infos["finish_reason"].tolist() == ["stop"] * 2
    assert rewards.tolist() == [reward] * 2
    assert judge.asked[0].text == PREFIX + '(and (full_board) (not (line "dot)" 3)))' + SUFFIX


def test_closing_what_was_not_opened_ends_it_too(judge: Judge) -> None:
    """No balance can follow."""
    task = load_task(LUDAX)
    prompt = task.parse_prompt(PROMPT)
    assert task.stops(prompt, ")")
    assert not task.stops(prompt, "(full_board")


# --- vocabularies and masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["none", "syntax"])
@pytest.mark.parametrize("mode", ["infill", "write"])
@pytest.mark.parametrize("vocabulary", ["ludemes", "bpe", "folder"])
def test_contract(vocabulary: str, mode: str, mask: str, bpe_folder: Path, judge: Judge) -> None:
    """In each vocabulary; references are legal under the mask."""
    name = str(bpe_folder) if vocabulary == "folder" else vocabulary
    task = load_task(LUDAX, vocabulary=name, mode=mode, mask=mask, corpus="shipped", max_game_tokens=2048)
    check_task(task, num_prompts=24)


def test_ludemes_are_few() -> None:
    """Fewer tokens for the games than characters by far, and none left out at the default budget."""
    task = load_task(LUDAX, split="all")
    assert task.tokenizer.vocab_size == 819
    lengths = [len(task.tokenizer.encode(game)) for game in task.corpus()]
    assert len(lengths) == 1017
    assert np.mean([len(game) for game in task.corpus()]) > 2 * np.mean(lengths)


@pytest.mark.parametrize("vocabulary", ["ludemes", "bpe"])
def test_what_ends_under_the_mask_is_in_the_grammar(vocabulary: str) -> None:
    """Random legal tokens, until the brackets balance: with them the whole game parses, by Ludax's own parser."""
    from lark import Lark

    path = ludax_games._package() / "grammar.lark"
    parser = Lark(path.read_text(encoding="utf-8"), start="game")
    task, rng = (
        load_task(LUDAX, mask="syntax", vocabulary=vocabulary, corpus="shipped", split="all"),
        np.random.default_rng(0),
    )
    mask, tokenizer = make_mask(task), task.tokenizer
    plain = [text.strip() != "" and '"' not in text for text in tokenizer.token_texts]  # names and spaces are endless
    completed = set()
    for prompt in task.sample_prompts(rng, 150):
        state = mask.start(prompt)
        tokens: list[int] = []
        while len(tokens) < 40:
            row = mask.row(state).astype(bool)
            legal = np.flatnonzero(row & plain if (row & plain).any() and rng.random() < 0.95 else row)
            closing = [token for token in legal if ")" in tokenizer.token_texts[token]]
            tokens.append(int(rng.choice(closing if closing and rng.random() < 0.7 else legal)))
            state = mask.next_state(state, tokens[-1])
            text = tokenizer.decode(tokens)
            if task.stops(prompt, text):
                prefix, suffix = prompt.data
                parser.parse(prefix + text + suffix)
                completed.add(text)
                assert np.flatnonzero(mask.row(state)).tolist() == [tokenizer.eos_id]
                break
        mask.keep(np.zeros(0, dtype=np.int64))
    assert len(completed) > 20


def test_a_task_is_small_to_pickle() -> None:
    """The grammar is read again, the pool found again."""
    task = load_task(LUDAX, mask="syntax")
    copy = pickle.loads(pickle.dumps(task))
    prompt = task.sample_prompts(np.random.default_rng(0), 1)[0]
    assert copy.syntax.start(prompt) == task.syntax.start(prompt)


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "fill"}, "mode='fill' is not allowed; allowed: 'infill', 'write'."),
        ({"reward": "lenient"}, "reward='lenient' is not allowed; allowed: 'paper', 'strict', 'success'."),
        ({"num_playouts": 0}, "num_playouts=0 is not allowed; allowed: 1..10000."),
        ({"max_turns": 0}, "max_turns=0 is not allowed; allowed: 1..10000."),
        ({"workers": -1}, "workers=-1 is not allowed; allowed: an integer, 0..256."),
        ({"timeout": 0.0}, "timeout=0.0 is not allowed; allowed: more than 0."),
        ({"pool": "threads"}, "pool='threads' is not allowed; allowed: 'processes', 'ray'."),
        ({"vocabulary": "characters"}, "vocabulary='characters' is not allowed"),
        ({"vocabulary_size": 100}, "vocabulary_size=100 is not allowed; allowed: 259..131072."),
        ({"mutants": -1}, "mutants=-1 is not allowed; allowed: 0..10000."),
        ({"corpus": "nowhere"}, "corpus='nowhere' is not allowed; allowed: 'mutants', 'shipped', or a folder of .ldx"),
        ({"max_game_tokens": 10}, "max_game_tokens=10 and split='train' leave no game; the shortest has 77 tokens."),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """The argument, its value, and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(LUDAX, **arguments)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("package", LudaxGame.packages)
def test_without_a_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and how to install it."""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(MissingDependencyError) as error:
        load_task(LUDAX)
    assert str(error.value) == f"LudaxGame needs {package}: {how_to_install('ludax')}"


def test_the_mask_without_llguidance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mask needs it."""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "llguidance" else found(name))
    gymnasium.make(LUDAX)
    with pytest.raises(MissingDependencyError, match=r"mask='syntax' needs the package llguidance"):
        gymnasium.make(LUDAX, mask="syntax")


# --- the real thing --------------------------------------------------------------------------------------------------


def test_statuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ludax itself, once: what does not parse, does not compile, and can be played."""
    monkeypatch.setattr(GameSynthesis, "_pool", REAL_POOL)
    task = load_task(LUDAX, **SMALL_GAMES)
    prompt = task.parse_prompt(PROMPT)
    completions = ["(full_board)", "(no_legal_actions)", "(full_boat)", '(line "stone" 3)']
    outcomes = task.evaluate([prompt] * 4, completions)
    assert [outcome.status for outcome in outcomes] == ["playable", "playable", "no_parse", "no_compile"]
    played = outcomes[0].parts
    assert played["wins_1"] + played["wins_2"] + played["draws"] == 10
    assert 3 <= played["mean_turns"] <= 9
    assert played["completion"] == 1
    assert task.evaluate([prompt] * 4, completions) == outcomes
