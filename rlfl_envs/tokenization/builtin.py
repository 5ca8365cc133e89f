"""Vocabularies that this library makes: characters, integers, and a byte-level BPE trained on texts.

All start with PAD = 0, BOS = 1, EOS = 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.tokenization.tokenizer import BOS, EOS, PAD, Tokenizer

__all__ = ["character_tokenizer", "number_tokenizer", "train_tokenizer", "word_tokenizer"]


def character_tokenizer(alphabet: str) -> Tokenizer:
    """One token per character of `alphabet`, in its order, from id 3 on.

    Raises:
        ConfigError: The alphabet is empty, names a character twice, or has half of one (a lone surrogate).
    """
    is_allowed = 0 < len(alphabet) == len(set(alphabet)) and not any("\ud800" <= each <= "\udfff" for each in alphabet)
    check_value("alphabet", alphabet, is_allowed, "one character or more, none twice, and no lone surrogates")
    return word_tokenizer(alphabet, "(?m:.)")


def word_tokenizer(words: Iterable[str], pattern: str) -> Tokenizer:
    """One token per word, in their order, from id 3 on; written one after another, with nothing between them.

    Args:
        words: None twice.
        pattern: What a word looks like: a text is cut into what this regular expression finds, from left to right.
    """
    backend = _word_level([*words])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    backend.decoder = decoders.Fuse()
    return Tokenizer(backend, pad=PAD, eos=EOS, bos=BOS, closed=True)


def number_tokenizer(symbols: Sequence[str] = ("+", "*", "="), largest: int = 99) -> Tokenizer:
    """One token per integer 0..largest (ids 3..largest+3), then one per symbol: the paper's "complete" vocabulary.

    Two adjacent integer tokens are written with a space between them ("1 2"), so that decoding loses nothing.

    Args:
        symbols: Characters that are neither digits nor spaces, none twice.
        largest: 0 or more.

    Raises:
        ConfigError: An argument is not allowed.
    """
    are_apart = len(set(symbols)) == len(symbols) and not any(
        len(each) != 1 or each in "0123456789 " for each in symbols
    )
    check_value("symbols", symbols, are_apart, "characters that are neither digits nor spaces, none twice")
    check_value("largest", largest, is_integer(largest) and largest >= 0, "an integer, 0 or more")
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
    least = len(alphabet) + 3
    is_enough = is_integer(size) and size >= least
    check_value("size", size, is_enough, f"{least} (the bytes and PAD, BOS, EOS) or more")
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend, pad=PAD, eos=EOS, bos=BOS)


def _word_level(tokens: list[str]) -> Backend:
    backend = Backend(
        models.WordLevel({token: i for i, token in enumerate([PAD, BOS, EOS, *tokens])}, unk_token="<unk>")
    )
    backend.add_special_tokens([PAD, BOS, EOS])
    return backend
