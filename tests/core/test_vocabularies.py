"""The zoo: in every vocabulary every id plays as in its own, token by token, or says in one sentence why not."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

import rlfl_envs.task
from rlfl_envs import ConfigError, PromptError, Task, TokenizationError, TokenVectorEnv, check_task, load_task
from rlfl_envs.token_env import TokenEnv
from rlfl_envs.tokenization import Tokenizer, load_tokenizer
from tests.core.zoo import ZOO
from tests.settings import BRACKETS, HUMAN_EVAL, IDS, LUDII, QUICK, REASONING_GYM, SENTIMENT, answer_to, has_references

_SEEDS = (0, 1)
_ARGUMENTS: dict[str, dict[str, Any]] = {**QUICK, SENTIMENT: {"corpus": "template"}}
_WITHOUT_SYNTAX = (HUMAN_EVAL, REASONING_GYM, SENTIMENT)
PLAYED = [
    (id, mask)
    for id in IDS
    for mask in ("none", "syntax")
    if id != LUDII and not (mask == "syntax" and id in _WITHOUT_SYNTAX)
]

load = lru_cache(maxsize=3)(load_tokenizer)  # large vocabularies take a second to load


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each vocabulary, made when it is asked for."""
    return {name: tmp_path_factory.mktemp("vocabulary") for name in ZOO}


@pytest.fixture(autouse=True, scope="module")
def _loaded_once() -> Iterator[None]:
    """By tasks too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlfl_envs.task, "load_tokenizer", load)
        yield


@cache
def made(name: str, folder: Path) -> str:
    """The argument `vocabulary` for one of the zoo's."""
    package = ZOO[name].package
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    return ZOO[name].make(folder)


@pytest.fixture(scope="module", params=ZOO)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the zoo in turn: all tests of one before those of the next."""
    named: str = request.param
    return named


@pytest.fixture(scope="module")
def tokenizer(name: str, folders: dict[str, Path]) -> Tokenizer:
    """The vocabulary, where it can be loaded."""
    if ZOO[name].refuses is None:
        pytest.skip("is refused as a whole")
    return load(made(name, folders[name]))


def play(task: Task) -> None:
    """Plays references in tokens, alone and side by side, and expects full reward."""
    alone, together = TokenEnv(task), TokenVectorEnv(task, len(_SEEDS), autoreset_mode="Disabled")
    first, _ = together.reset(seed=_SEEDS[0])
    episodes = []
    for seed, observation in zip(_SEEDS, first, strict=True):
        assert np.array_equal(alone.reset(seed=seed)[0], observation)
        assert alone.prompt is not None
        answer = answer_to(task, alone.prompt, np.random.default_rng(seed))
        ends, written = task.tokenizer.eos_ids, task.tokenizer.encode(answer)[: alone.completion_length]
        steps = []
        for token in [*written, ends[seed % len(ends)]]:
            steps.append((token, alone.step(token)))
            if steps[-1][1][2]:
                break
        _, reward, is_over, _, info = steps[-1][1]
        assert is_over
        assert info["completion"] == task.tokenizer.decode(written)
        assert info["finish_reason"] != "illegal"
        if task.references_succeed and has_references(task):
            assert reward == pytest.approx(task.reward_range[1])
            assert info["is_success"]
        episodes.append(steps)
    for column in range(max(map(len, episodes))):
        expected = [episode[min(column, len(episode) - 1)] for episode in episodes]
        observations, rewards, terminated, _, infos = together.step(np.array([token for token, _ in expected]))
        for row, (_, (observation, reward, is_over, _, info)) in enumerate(expected):
            assert np.array_equal(observations[row], observation)
            assert terminated[row] == is_over
            assert np.array_equal(infos["action_mask"][row], info["action_mask"])
            assert rewards[row] == (reward if column < len(episodes[row]) else 0)


def refusal(id: str, vocabulary: str, mask: str) -> str:
    """Plays an id in a vocabulary; what is said where it cannot be played, and nothing where it can."""
    try:
        task = load_task(id, **{**_ARGUMENTS.get(id, {}), "vocabulary": vocabulary, "mask": mask})
        play(task)
    except (ConfigError, TokenizationError, PromptError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("id", "mask"), PLAYED)
def test_plays_or_refuses(name: str, id: str, mask: str, folders: dict[str, Path]) -> None:
    """References earn full reward through tokens, with and without masks, alone as side by side; or we are told why."""
    vocabulary, refuses = made(name, folders[name]), ZOO[name].refuses
    said = refusal(id, vocabulary, mask)
    if refuses is None or id in refuses:
        assert re.search(rf"vocabulary={vocabulary!r}.*\.$", said)
    else:
        assert not said


# --- one by one ----------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=12),
    st.text("ab1 +=(){}[]\n▁#é", max_size=12),
    st.lists(st.sampled_from(["the", "acting", "good", " ", "  ", "<mask>", "</s>", "<0x0A>", "ﬁ", "A"])).map("".join),
)


@given(text=TEXTS)
@settings(max_examples=60)
def test_a_text_comes_back_or_is_refused(tokenizer: Tokenizer, text: str) -> None:
    """There is no third: what can be written is written in ordinary tokens, whose bytes join to it."""
    try:
        ids = tokenizer.encode(text)
    except TokenizationError:
        return
    assert tokenizer.decode(ids) == text == tokenizer.backend.decode(ids)
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode()
    assert tokenizer.ordinary[ids].all()


def test_what_is_never_legal(tokenizer: Tokenizer) -> None:
    """Special tokens, what stands for the unknown, and ids without a token write nothing; all else does."""
    special = {i for i, token in tokenizer.backend.get_added_tokens_decoder().items() if token.special}
    for i in range(tokenizer.vocab_size):
        token = tokenizer.backend.id_to_token(i)
        assert tokenizer.ordinary[i] == (i not in special and bool(token) and tokenizer.decode([i]) != "")
    assert special.issuperset(tokenizer.eos_ids)
    assert len(tokenizer.token_bytes) == tokenizer.vocab_size == 1 + max(tokenizer.backend.get_vocab().values())


def test_the_unknown_is_never_written(folders: dict[str, Path]) -> None:
    """Not for a character that the vocabulary lacks, and not by a policy, even where nothing marks it as special."""
    tokenizer = load(made("unknown characters", folders["unknown characters"]))
    assert not tokenizer.ordinary[tokenizer.backend.token_to_id("<unk>")]
    with pytest.raises(
        TokenizationError, match=r"^text='a\{b' cannot be written in vocabulary='.*': its tokens say 'ab'\.$"
    ):
        tokenizer.encode("a{b")


def test_a_usual_name_may_be_text(tmp_path: Path) -> None:
    """Without a config the end is the usual name that is marked as special, not one that is only a frequent text."""
    backend = Backend(models.BPE({"a": 0, "</s>": 1}, []))
    backend.add_special_tokens(["<|endoftext|>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.id_to_token(tokenizer.eos_id) == "<|endoftext|>"
    assert tokenizer.ordinary.tolist() == [True, True, False]


def test_a_space_is_written_where_it_stands(folders: dict[str, Path]) -> None:
    """T5's kind splits words at spaces and puts one before each: both are done without, so that none is lost."""
    tokenizer = load(made("made-up T5", folders["made-up T5"]))
    for text in ("the acting", " the acting", "the  acting "):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_brackets_stay_together(folders: dict[str, Path]) -> None:
    """BERT's kind would put a space between two tokens: "] )"."""
    tokenizer = load(made("made-up BERT", folders["made-up BERT"]))
    assert tokenizer.decode(tokenizer.encode("])")) == "])"
    with pytest.raises(
        TokenizationError, match=r"^text='\] \)' cannot be written in vocabulary='.*': .* say '\]\)'\.$"
    ):
        tokenizer.encode("] )")


def test_several_ends(folders: dict[str, Path], tmp_path: Path) -> None:
    """What the model's configuration names ends a text, if it is special; its list goes before config.json's number."""
    name = "made-up chat model with several ends"
    folder = Path(made(name, folders[name]))
    assert load_tokenizer(str(folder)).eos_ids == (0, 2)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "config.json").write_text('{"eos_token_id": 3}')
    assert load_tokenizer(str(copy)).eos_ids == (0, 2)
    (copy / "generation_config.json").unlink()
    assert load_tokenizer(str(copy)).eos_ids == (0, 3)
    ordinary = load_tokenizer(str(folder)).encode("a")[0]
    nothing: list[object] = [ordinary, 10**6, None, []]
    for named in nothing:  # what Transformers' defaults may say of a small vocabulary
        (copy / "config.json").write_text(json.dumps({"eos_token_id": named}))
        assert load_tokenizer(str(copy)).eos_ids == (0,)


def test_dropout_is_off(folders: dict[str, Path]) -> None:
    """A text has the same tokens every time."""
    tokenizer = load(made("dropout", folders["dropout"]))
    assert len({tuple(tokenizer.encode("the acting is good")) for _ in range(20)}) == 1


def test_ids_beyond_reason(folders: dict[str, Path]) -> None:
    """Ids may have holes, but not so many that a damaged file fills the memory."""
    vocabulary = made("an id of 10^8", folders["an id of 10^8"])
    with pytest.raises(
        ConfigError, match=r"^vocabulary=.* has \d+ tokens and the id 100000000; allowed: at most 65536"
    ):
        load_tokenizer(vocabulary)
    assert load(made("holes", folders["holes"])).vocab_size == 401


def test_a_check_in_several_vocabularies(folders: dict[str, Path]) -> None:
    """check_task makes the task anew in each, and says in which of them something is wrong."""
    t5, letters = (made(name, folders[name]) for name in ("made-up T5", "unknown characters"))
    check_task(load_task(BRACKETS), num_prompts=8, vocabularies=[t5])
    with pytest.raises(AssertionError, match=rf"^with vocabulary={letters!r}: prompt '.*' cannot be encoded"):
        check_task(load_task(BRACKETS), num_prompts=8, vocabularies=[t5, letters])
