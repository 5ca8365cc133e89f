"""Vocabularies: nothing is lost between text and tokens, and a special token's name in a text is only text."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from rlfl_envs import (
    ConfigError,
    TokenizationError,
    Tokenizer,
    character_tokenizer,
    check_task,
    load_task,
    load_tokenizer,
    number_tokenizer,
    train_tokenizer,
)
from rlfl_envs.tokenization import loading
from tests.settings import ANSWER, COPY, GIVEN, STEPS, save_vocabulary

NUMBERS = {"unsigned": number_tokenizer(), "signed": number_tokenizer("+*=-"), "small": number_tokenizer("+=", 9)}
ALPHABETS = ["abcdefgh", "0123456789+*=", "^$.|?*+()[]{}\\", "\n\t \r", "é漢🙂ß", "👩🏽 ", "a"]


def plain(text: str) -> st.SearchStrategy[str]:
    """Texts over these characters."""
    return st.text(text, max_size=40)


# --- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.data())
def test_number_tokens_round_trip(name: str, data: st.DataObject) -> None:
    """Any sequence of integer and symbol tokens, adjacent integers too, is the encoding of its text."""
    tokenizer = NUMBERS[name]
    ids = data.draw(st.lists(st.integers(3, tokenizer.vocab_size - 1), max_size=20))
    text = tokenizer.decode(ids)
    assert tokenizer.encode(text) == ids
    assert tokenizer.backend.decode(ids) == text
    assert not re.search(r" (?![0-9])|(?<![0-9]) ", text)  # spaces stand between integers alone


@given(text=st.from_regex(r"[1-9]?[0-9]([+*=-][1-9]?[0-9]){0,12}", fullmatch=True))
def test_number_texts_round_trip(text: str) -> None:
    """A text of the grammar comes back as it was; with spaces around operators, without them."""
    tokenizer = NUMBERS["signed"]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(re.findall(r"[0-9]+|[^0-9]", text))
    assert tokenizer.encode(re.sub("([-+*=])", r"  \1 ", text)) == tokenizer.encode(text)


def test_number_ids() -> None:
    """The ids are fixed: PAD, BOS, EOS, the integers, then the symbols."""
    tokenizer = number_tokenizer()
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 1, 2, 106)
    assert tokenizer.encode("0+99*10=") == [3, 103, 102, 104, 13, 105]
    assert [tokenizer.id_to_token(i) for i in (0, 1, 2, 3, 102, 105)] == ["<pad>", "<bos>", "<eos>", "0", "99", "="]
    assert tokenizer.decode([4, 5, 103, 6]) == "1 2+3"
    assert (tokenizer.token_texts[3], tokenizer.token_texts[103], tokenizer.token_texts[2]) == ("0 ", "+", "")


@pytest.mark.parametrize(
    ("text", "missing"),
    [("100", "100"), ("1+007", "007"), ("1-2", "-"), ("x", "x"), ("1.5", "."), ("٣", "٣"), ("\n", "\n")],
)
def test_numbers_refuse_what_they_cannot_write(text: str, missing: str) -> None:
    """A TokenizationError that shows the text, and what of it has no token."""
    with pytest.raises(TokenizationError) as error:
        NUMBERS["unsigned"].encode(text)
    assert str(error.value) == f"text={text!r} cannot be written in this vocabulary (it has no {missing!r})."


@pytest.mark.parametrize("text", [None, 5, b"1", "\ud800"])
def test_what_is_no_text_cannot_be_written(text: Any) -> None:
    """In no vocabulary."""
    for tokenizer in (NUMBERS["unsigned"], character_tokenizer("ab"), train_tokenizer(["ab"], 300)):
        with pytest.raises(TokenizationError, match="cannot be written in this vocabulary"):
            tokenizer.encode(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": "++"}, "symbols='[+][+]' is not allowed; allowed: characters that are neither digits nor spaces"),
        ({"symbols": ["plus"]}, "symbols="),
        ({"symbols": ["1"]}, "symbols="),
        ({"symbols": " "}, "symbols="),
        ({"largest": -1}, "largest=-1 is not allowed; allowed: an integer, 0 or more"),
        ({"largest": 9.0}, "largest="),
    ],
)
def test_wrong_number_vocabularies(arguments: dict[str, Any], message: str) -> None:
    """What would make ids with holes, or texts that are read back as others."""
    with pytest.raises(ConfigError, match=message):
        number_tokenizer(**arguments)


def test_ids_without_a_token() -> None:
    """Below 0 and from V on."""
    for token_id in (-1, 106):
        with pytest.raises(TokenizationError, match=rf"token_id={token_id} is not allowed; allowed: 0\.\.105"):
            number_tokenizer().id_to_token(token_id)


# --- characters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet", ALPHABETS)
@given(data=st.data())
def test_characters_round_trip(alphabet: str, data: st.DataObject) -> None:
    """Any text over the alphabet, one token a character, whatever the characters mean to a regular expression."""
    tokenizer = character_tokenizer(alphabet)
    text = data.draw(plain(alphabet))
    ids = tokenizer.encode(text)
    assert ids == [3 + alphabet.index(character) for character in text]
    assert tokenizer.decode(ids) == text == tokenizer.backend.decode(ids)
    assert "".join(tokenizer.token_texts[i] for i in ids) == text


@pytest.mark.parametrize("alphabet", ["", "aa", "abca", "a\ud800"])
def test_wrong_alphabets(alphabet: str) -> None:
    """Empty, a character twice, or half a character."""
    with pytest.raises(ConfigError) as error:
        character_tokenizer(alphabet)
    allowed = "one character or more, none twice, and no lone surrogates"
    assert str(error.value) == f"alphabet={alphabet!r} is not allowed; allowed: {allowed}."
    with pytest.raises(ConfigError, match="alphabet="):
        load_task(COPY, alphabet=alphabet)


def test_characters_refuse_others() -> None:
    """A character outside the alphabet is an error, not a token for the unknown."""
    with pytest.raises(TokenizationError, match=r"^text='abz' cannot be written in .* \(it has no 'z'\)\.$"):
        character_tokenizer("ab").encode("abz")


# --- Hugging Face vocabularies --------------------------------------------------------------------------------------


@given(text=st.text(max_size=60))
@settings(max_examples=200)
def test_bpe_round_trips(bpe_folder: Path, text: str) -> None:
    """A byte-level BPE writes every text and loses nothing."""
    tokenizer = load_tokenizer(str(bpe_folder))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text == tokenizer.backend.decode(ids)
    assert not tokenizer.special_ids.intersection(ids)


def test_specials_by_config(bpe_folder: Path) -> None:
    """tokenizer_config.json names them, as strings or as objects; a file is as good as its folder."""
    for path in (bpe_folder, bpe_folder / "tokenizer.json"):
        tokenizer = load_tokenizer(str(path))
        names = [tokenizer.id_to_token(i) for i in (tokenizer.pad_id, tokenizer.bos_id or 0, tokenizer.eos_id)]
        assert names == ["[FILL]", "[GO]", "[END]"]
        assert tokenizer.vocab_size == 420


def test_specials_by_their_usual_names(gpt2_like_folder: Path, tmp_path: Path) -> None:
    """Without a config GPT-2's one special token is all three; "<pad>", "<bos>" and "<eos>" are found too."""
    tokenizer = load_tokenizer(str(gpt2_like_folder))
    assert tokenizer.pad_id == tokenizer.bos_id == tokenizer.eos_id
    assert tokenizer.special_ids == {tokenizer.eos_id}
    assert tokenizer.id_to_token(tokenizer.eos_id) == "<|endoftext|>"
    small = load_tokenizer(save_vocabulary(tmp_path, "ab"))
    assert (small.pad_id, small.bos_id, small.eos_id, small.vocab_size) == (0, 1, 2, 5)


def test_a_vocabulary_without_bos(bpe_folder: Path, tmp_path: Path) -> None:
    """Prompts then start with their text, and P has no column for BOS."""
    backend = Backend.from_file(str(bpe_folder / "tokenizer.json"))
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "[END]", "bos_token": None}))
    task = load_task(COPY, vocabulary=str(tmp_path), length=6)
    tokenizer = task.tokenizer
    assert (tokenizer.bos_id, tokenizer.pad_id) == (None, tokenizer.eos_id)
    assert task.max_prompt_tokens == 6
    ids = tokenizer.encode("abcdef")
    assert task.encode_prompt(task.parse_prompt("abcdef")).tolist() == [tokenizer.pad_id] * (6 - len(ids)) + ids
    check_task(task)


@given(before=plain("ab<|>[] 1+"), after=plain("ab<|>[] 1+"))
@settings(max_examples=50)
def test_names_of_specials_are_text(bpe_folder: Path, gpt2_like_folder: Path, before: str, after: str) -> None:
    """A text that spells "[END]" or "<|endoftext|>" is never that token, and comes back letter by letter."""
    for folder, names in ((bpe_folder, ["[END]", "[GO]", "[FILL]"]), (gpt2_like_folder, ["<|endoftext|>"])):
        tokenizer = load_tokenizer(str(folder))
        for name in names:
            text = before + name + after
            ids = tokenizer.encode(text)
            assert not tokenizer.special_ids.intersection(ids)
            assert tokenizer.decode(ids) == text


def test_names_of_specials_in_closed_vocabularies() -> None:
    """So too in our own: without their letters they cannot be written, with them they are letters."""
    with pytest.raises(TokenizationError):
        number_tokenizer().encode("1+<eos>")
    tokenizer = character_tokenizer("<eos>")
    assert tokenizer.encode("<eos>") == [3, 4, 5, 6, 7]


def test_wrong_vocabularies(tmp_path: Path) -> None:
    """No such thing, no tokenizer.json, no end-of-sequence token, an end that is no token: all ConfigErrors."""
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(ConfigError) as error:
        load_task(COPY, vocabulary=nowhere)
    expected = f"vocabulary={nowhere!r} is no file or folder, and cannot be had from the Hugging Face hub ("
    assert str(error.value).startswith(expected)
    with pytest.raises(ConfigError, match=r"holds no tokenizer.json that can be read"):
        load_tokenizer(str(tmp_path))
    Backend.from_str(number_tokenizer().backend.to_str().replace("<eos>", "<fin>")).save(str(tmp_path / "t.json"))
    with pytest.raises(ConfigError, match=r"has no end-of-sequence token; name one in its tokenizer_config.json.$"):
        load_tokenizer(str(tmp_path / "t.json"))
    with pytest.raises(ConfigError, match=r"^eos='<end>' is not a token of this vocabulary.$"):
        Tokenizer(number_tokenizer().backend, pad="<pad>", eos="<end>", bos=None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"tokenizer_config\.json' holds '\[\]'; allowed: a JSON object"),
        ("5", r"tokenizer_config\.json' holds '5'; allowed: a JSON object"),
        ('{"bos_token": 5}', r"tokenizer_config\.json: bos_token=5 is not allowed; allowed: str or None"),
        ('{"eos_token": {"content": ["</s>"]}}', r"tokenizer_config\.json: eos_token=\['</s>'\] is not allowed"),
    ],
)
def test_damaged_settings_of_a_tokenizer(content: str, message: str, tmp_path: Path) -> None:
    """The message names the file."""
    save_vocabulary(tmp_path, "ab")
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("ends", ["2", {"a": 1}, [[2]], [None], 1.5, True, -1, 10**9])
def test_damaged_ends_of_a_model(ends: Any, tmp_path: Path) -> None:
    """What is no special token's id ends no completion; EOS still does."""
    save_vocabulary(tmp_path, "ab")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": ends}))
    assert load_tokenizer(str(tmp_path)).eos_ids == (2,)


def test_the_same_files_are_read_once(tmp_path: Path) -> None:
    """Environments and levels share a vocabulary; files that have changed since are another one."""
    path = save_vocabulary(tmp_path, "abcd")
    first = load_task(COPY, vocabulary=path, alphabet="abcd")
    assert first.at_level(0).tokenizer is first.tokenizer is load_tokenizer(path)
    (tmp_path / "config.json").write_text('{"eos_token_id": [2, 1]}')
    assert load_tokenizer(path) is not first.tokenizer
    save_vocabulary(tmp_path, "abcdef")
    assert load_tokenizer(path).vocab_size == first.tokenizer.vocab_size + 2
    (tmp_path / "tokenizer.json").write_text("{")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"holds no tokenizer\.json that can be read"):
            load_tokenizer(path)


@pytest.mark.parametrize("folder", ["spaced_folder", "metaspace_folder"])
def test_a_completion_has_the_spaces_that_it_is_written_with(folder: str, request: pytest.FixtureRequest) -> None:
    """No token is added before a text, and none loses its space; nor is a text padded or cut."""
    tokenizer = load_tokenizer(str(request.getfixturevalue(folder)))
    for text in ("5", " 5", "a b", " a b ab " * 5):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert "".join(tokenizer.token_texts[i] for i in ids) == text
    assert len(tokenizer.encode("5")) == 1


def test_specials_that_are_declared_as_none(bpe_folder: Path, tmp_path: Path) -> None:
    """No BOS, though one has its usual name; EOS there must be; a name that is no token is passed over."""
    vocabulary = Path(save_vocabulary(tmp_path, "ab"))
    config = {"bos_token": None, "eos_token": None, "pad_token": "[NO SUCH TOKEN]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(str(vocabulary))
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, None, 2)


def test_specials_of_the_hub(bpe_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name a vocabulary has the special tokens that it has from a folder."""
    monkeypatch.setattr(loading, "check_hub", lambda *_: None)

    def download(name: str, file: str) -> str:
        if not (bpe_folder / file).is_file():
            raise LocalEntryNotFoundError(file)
        return str(bpe_folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found, expected = load_tokenizer("some/name"), load_tokenizer(str(bpe_folder))
    assert (found.pad_id, found.bos_id, found.eos_id) == (expected.pad_id, expected.bos_id, expected.eos_id)


@pytest.mark.parametrize("mask", ["none", "syntax"])
@pytest.mark.parametrize("folder", ["bpe_folder", "gpt2_like_folder", "spaced_folder", "metaspace_folder"])
@pytest.mark.parametrize("id", [GIVEN, STEPS, ANSWER, COPY])
def test_tasks_in_hugging_face_vocabularies(id: str, folder: str, mask: str, request: pytest.FixtureRequest) -> None:
    """Every task can be played in them: prompts and references fit, and are legal under a mask."""
    check_task(load_task(id, vocabulary=str(request.getfixturevalue(folder)), mask=mask))


def test_p_has_room_for_the_worst_tokenization(bpe_folder: Path) -> None:
    """A byte-level vocabulary may need a token per byte: four for an emoji."""
    task = load_task(COPY, vocabulary=str(bpe_folder), alphabet="🙂🙃", length=3, split="all")
    assert (task.max_prompt_tokens, task.max_completion_tokens) == (13, 12)
    check_task(task)


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["number", "signed", "characters", "bpe", "gpt2"])
def tokenizer(request: pytest.FixtureRequest, bpe_folder: Path, gpt2_like_folder: Path) -> Tokenizer:
    """One vocabulary of each kind."""
    return {
        "number": lambda: NUMBERS["unsigned"],
        "signed": lambda: NUMBERS["signed"],
        "characters": lambda: character_tokenizer("abc+ "),
        "bpe": lambda: load_tokenizer(str(bpe_folder)),
        "gpt2": lambda: load_tokenizer(str(gpt2_like_folder)),
    }[request.param]()


def test_special_tokens_are_skipped(tokenizer: Tokenizer) -> None:
    """Wherever they stand they add nothing to the text; decoding many is decoding each."""
    rng = np.random.default_rng(0)
    ordinary = sorted(set(range(tokenizer.vocab_size)) - tokenizer.special_ids)
    rows = []
    for length in (0, 1, 2, 5, 9):
        for _ in range(30):
            ids = rng.choice(ordinary, size=length).tolist()
            mixed = list(ids)
            for _ in range(3):
                mixed.insert(int(rng.integers(len(mixed) + 1)), int(rng.choice([*tokenizer.special_ids])))
            assert tokenizer.decode(mixed) == tokenizer.decode(ids)
            rows += [ids, mixed]
    each = [tokenizer.decode(row) for row in rows]
    assert tokenizer.decode_batch(rows) == each
    ids = rng.integers(tokenizer.vocab_size, size=(len(rows), 14))  # what follows a row's tokens does not count
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    assert tokenizer.decode_rows(ids, np.array([len(row) for row in rows])) == each


def test_pickles(tokenizer: Tokenizer) -> None:
    """A copy encodes and decodes alike."""
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert (copy.pad_id, copy.bos_id, copy.eos_id) == (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id)
    assert copy.token_texts == tokenizer.token_texts
    text = tokenizer.decode(sorted(set(range(tokenizer.vocab_size)) - tokenizer.special_ids)[:20])
    assert copy.encode(text) == tokenizer.encode(text)
    assert repr(copy) == repr(tokenizer)


def test_pickles_keep_names_of_specials_text(bpe_folder: Path) -> None:
    """A copy too reads "[END]" as five characters."""
    tokenizer = load_tokenizer(str(bpe_folder))
    assert pickle.loads(pickle.dumps(tokenizer)).encode("[END]") == tokenizer.encode("[END]") != [tokenizer.eos_id]


def test_ids_out_of_range(tokenizer: Tokenizer) -> None:
    """id_to_token says what is allowed."""
    with pytest.raises(
        TokenizationError, match=rf"^token_id=9999 is not allowed; allowed: 0\.\.{tokenizer.vocab_size - 1}"
    ):
        tokenizer.id_to_token(9999)
