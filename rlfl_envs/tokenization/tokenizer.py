"""Tokenizer: a vocabulary with its special tokens."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers import processors

from rlfl_envs.errors import ConfigError, TokenizationError
from rlfl_envs.tokenization.lossless import bytes_of_tokens, vocabulary_size

__all__ = ["BOS", "EOS", "PAD", "Tokenizer"]

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
_SURROGATES = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """A vocabulary with its special tokens.

    Attributes:
        backend: The `tokenizers.Tokenizer` behind it; `PreTrainedTokenizerFast(tokenizer_object=...)` takes it.
        name: What the user calls it; empty for those that this library makes.
        vocab_size: V, the largest token id and one. Not every id below need be a token (see `ordinary`).
        pad_id: Fills unused columns. Equal to `eos_id` where the vocabulary has no padding token of its own (GPT-2).
        eos_id: Ends a completion.
        eos_ids: Every token that ends a completion, `eos_id` first; some models have several.
        bos_id: Starts a prompt, or None where the vocabulary has no such token.
        closed: Whether every token stands for a fixed text, its own, and no other text can be written.
        chat_template: The Jinja template by which a conversation is put to a model of this vocabulary, or None.
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
        name: str = "",
        other_eos_ids: Iterable[int] = (),
        chat_template: str | None = None,
    ) -> None:
        """Wraps a backend.

        Args:
            backend: The tokenizer proper. Its decoder joins what its tokens stand for.
            pad: The padding token's string.
            eos: The end-of-sequence token's string.
            bos: The beginning-of-sequence token's string, or None.
            closed: True where every token stands for a fixed text, so that decoding is joining (see `token_texts`).
            symbols: In a closed vocabulary of integers, the tokens that are none.
            name: What the user calls it, for messages.
            other_eos_ids: More tokens that end a completion. Those that are not special, PAD and BOS do not.
            chat_template: How conversations are put to a model, as `tokenizer_config.json` has it.

        Raises:
            ConfigError: A special token is not in the vocabulary, no other token is, or its ids have too many holes.
        """
        self.backend = backend
        self.backend.encode_special_tokens = True  # a text that spells "<eos>" is text, never the token
        self.backend.no_padding()
        self.backend.no_truncation()
        self.name = name
        self.pad_id = self._id_of("pad", pad)
        self.eos_id = self._id_of("eos", eos)
        self.bos_id = None if bos is None else self._id_of("bos", bos)
        self.closed = closed
        self.chat_template = chat_template
        self._symbols = tuple(symbols)
        self.vocab_size = vocabulary_size(backend, name)
        others = set(other_eos_ids) & self._marked_special - {self.eos_id, self.pad_id, self.bos_id}
        self.eos_ids = (self.eos_id, *sorted(others))
        if len(self._marked_special) == backend.get_vocab_size(with_added_tokens=True):
            raise ConfigError(f"vocabulary={name!r} has special tokens only; allowed: one that can write a text.")

    def _id_of(self, role: str, token: str) -> int:
        token_id = self.backend.token_to_id(token)
        if token_id is None:
            raise ConfigError(f"{role}={token!r} is not a token of this vocabulary.")
        return token_id

    @cached_property
    def _marked_special(self) -> frozenset[int]:
        """PAD, BOS, EOS, and whatever else the vocabulary marks as special."""
        marked = {i for i, token in self.backend.get_added_tokens_decoder().items() if token.special}
        return frozenset(i for i in (*marked, self.pad_id, self.eos_id, self.bos_id) if i is not None)

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of PAD and BOS, and those that end a text."""
        return frozenset(i for i in (self.pad_id, self.bos_id, *self.eos_ids) if i is not None)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """What each token id adds to a text's UTF-8 bytes, [V]; special tokens, and ids without a token, add nothing.

        In the number vocabulary an integer's text ends with a space, which shows where one integer ends and the next
        begins.
        """
        if self.closed:
            return [text.encode() for text in self.token_texts]
        tokens = [self.backend.id_to_token(i) for i in range(self.vocab_size)]
        found = bytes_of_tokens(self.backend, [token or "" for token in tokens])
        return [b"" if i in self._marked_special else each for i, each in enumerate(found)]

    @cached_property
    def token_texts(self) -> list[str]:
        """`token_bytes` as text, [V]; "�" stands for part of a character."""
        if not self.closed:
            return [each.decode(errors="replace") for each in self.token_bytes]
        texts = [self.id_to_token(i) for i in range(self.vocab_size)]
        if self._symbols:
            texts = [text if text in self._symbols else f"{text} " for text in texts]
        return ["" if i in self._marked_special else text for i, text in enumerate(texts)]

    @cached_property
    def ordinary(self) -> NDArray[np.bool_]:
        """Which tokens write something, bool [V]: no special token, and no id without a token, does."""
        found = np.array([len(each) > 0 for each in self.token_bytes])
        found.flags.writeable = False
        return found

    def id_to_token(self, token_id: int) -> str:
        """The token's own string, such as "<eos>" or "42"."""
        token = self.backend.id_to_token(token_id) if 0 <= token_id < self.vocab_size else None
        if token is None:
            raise TokenizationError(f"token_id={token_id} is not allowed; allowed: 0..{self.vocab_size - 1}.")
        return token

    def encode(self, text: str) -> list[int]:
        """Returns the text's token ids, without special tokens; `decode` gives the text back.

        In the number vocabulary spaces around integers and symbols are not written.

        Raises:
            TokenizationError: The vocabulary cannot write the text.
        """
        try:
            ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        except Exception as error:  # the backend raises plain Exception for a word outside a closed vocabulary
            reason = self._missing_from(text) or error
            raise TokenizationError(f"text={text!r} cannot be written in {self._called} ({reason}).") from error
        if self.closed and not self._marked_special.isdisjoint(ids):
            raise TokenizationError(f"text={text!r} cannot be written in {self._called}: it spells a special token.")
        if not self.closed and b"".join([self.token_bytes[i] for i in ids]) != text.encode():
            found = self.decode(ids)
            differing = (i for i, pair in enumerate(zip(text, found, strict=False)) if pair[0] != pair[1])
            start = max(0, next(differing, min(len(text), len(found))) - 20)
            raise TokenizationError(
                f"text={text[start : start + 60]!r} cannot be written in {self._called}: "
                f"its tokens say {found[start : start + 60]!r}."
            )
        return ids

    def encode_beginning(self, text: str) -> list[int]:
        """Returns the tokens of a text before the first word or character that a closed vocabulary does not have.

        Of a text that an open vocabulary cannot write there are none.
        """
        if not self.closed:
            return []
        ids: list[int] = []
        writable = _SURROGATES.sub("\ufffd", text)  # which no vocabulary has
        for piece, _ in self.backend.pre_tokenizer.pre_tokenize_str(writable):
            token_id = self.backend.token_to_id(piece)
            if token_id is None or token_id in self._marked_special:
                break
            ids.append(token_id)
        return ids

    def encode_around(self, before: str, text: str, after: str) -> list[int]:
        """Returns the token ids of three texts in a row, where special tokens may be spelled in the first and the last.

        Special tokens that `text` spells are text, so that no prompt can end a message that stands around it.

        Raises:
            TokenizationError: The vocabulary cannot write the text.
        """
        (*first, left), (right, *last) = self._pieces(before), self._pieces(after)
        ids: list[int] = []
        for is_special, piece in (*first, (False, left[1] + text + right[1]), *last):
            ids += [self._id_of("template", piece)] if is_special else self.encode(piece)
        return ids

    def _pieces(self, text: str) -> list[tuple[bool, str]]:
        """Cuts a text at the special tokens that it spells: plain pieces, perhaps empty, with a special one between."""
        return [(i % 2 == 1, piece) for i, piece in enumerate(self._spelled_special.split(text))]

    @cached_property
    def _spelled_special(self) -> re.Pattern[str]:
        names = sorted((self.id_to_token(i) for i in self._marked_special), key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, names))})")

    def _missing_from(self, text: Any) -> str | None:
        """What keeps a text from being written in a closed vocabulary: its first word without a token."""
        if not self.closed or not isinstance(text, str):
            return None
        with contextlib.suppress(UnicodeEncodeError, TypeError):  # of lone surrogates
            pieces = self.backend.pre_tokenizer.pre_tokenize_str(text)
            return next(
                (f"it has no {piece!r}" for piece, _ in pieces if self.backend.token_to_id(piece) is None), None
            )
        return None

    def as_published(self) -> Backend:
        """A copy of the backend that puts BOS before a text, as `encode_prompt` does, and reads special tokens in it.

        `PreTrainedTokenizerFast(tokenizer_object=...)` takes it, for code that knows nothing of environments.
        """
        backend = Backend.from_str(self.backend.to_str())
        backend.encode_special_tokens = False
        bos = None if self.bos_id is None else self.id_to_token(self.bos_id)
        backend.post_processor = processors.TemplateProcessing(
            single="$A" if bos is None else [bos, "$A"], special_tokens=[] if bos is None else [(bos, self.bos_id)]
        )
        return backend

    @property
    def _called(self) -> str:
        return f"vocabulary={self.name!r}" if self.name else "this vocabulary"

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of token ids; special tokens are skipped. Two adjacent integers stay apart: "1 2"."""
        if not self.closed:
            token_bytes = self.token_bytes
            return b"".join([token_bytes[i] for i in ids]).decode(errors="replace")
        texts = self.token_texts
        text = "".join([texts[i] for i in ids])
        for symbol in self._symbols:
            text = text.replace(f" {symbol}", symbol)
        return text.rstrip(" ") if self._symbols else text

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """`decode` for many."""
        return [self.decode(row) for row in rows]

    def decode_rows(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[str]:
        """`decode` for the rows of an array, at once.

        Args:
            ids: int64 [n, T].
            lengths: int64 [n], how many tokens of each row count.
        """
        if not self.closed:
            rows = zip(self._bytes[ids].tolist(), lengths.tolist(), strict=True)
            return [b"".join(row[:length]).decode(errors="replace") for row, length in rows]
        within = np.arange(ids.shape[1]) < lengths[:, None]
        ids = np.where(within, ids, self.pad_id)
        texts = self._written[ids]
        if not self._symbols:
            return ["".join(row) for row in texts.tolist()]
        is_number = self._is_number[ids]
        row, column = np.nonzero(is_number[:, :-1] & is_number[:, 1:])
        texts[row, column] += " "
        decoded = ["".join(row) for row in texts.tolist()]
        for mixed in np.flatnonzero((within & ~self.ordinary[ids]).any(axis=1)):  # a special token between two integers
            decoded[mixed] = self.decode(ids[mixed].tolist())
        return decoded

    @cached_property
    def _bytes(self) -> NDArray[np.object_]:
        """`token_bytes`, object [V]."""
        return np.array(self.token_bytes, dtype=object)

    @cached_property
    def _written(self) -> NDArray[np.object_]:
        """Each token's text without a space after it, object [V]."""
        return np.array([text.rstrip(" ") if self._symbols else text for text in self.token_texts], dtype=object)

    @cached_property
    def _is_number(self) -> NDArray[np.bool_]:
        """Which tokens are integers of the number vocabulary, bool [V]."""
        return np.array([text.endswith(" ") for text in self.token_texts])

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a pickled tokenizer; the backend forgets this one setting."""
        self.__dict__.update(state)
        self.backend.encode_special_tokens = True

    def __repr__(self) -> str:
        """Names the size and the special tokens."""
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, pad_id={self.pad_id}, bos_id={self.bos_id}, eos_id={self.eos_id})"
        )
