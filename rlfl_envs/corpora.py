"""Texts to begin from: a text file, a Hugging Face dataset, or what a task brings.

Nothing is downloaded unless a dataset is named. Texts are split as prompts are: 90% "train", 10% "test".
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from rlfl_envs.cache import cache_folder, digest, is_whole, keep
from rlfl_envs.errors import ConfigError, MissingDependencyError
from rlfl_envs.keys import text_in_split
from rlfl_envs.tokenization import Tokenizer, load_tokenizer, train_tokenizer

__all__ = ["Corpus", "corpus_of", "corpus_tokenizer", "load_corpus", "read_lines"]

_TEXT_COLUMNS = ("text", "review", "content", "sentence")


@dataclass(frozen=True, eq=False)  # equal only to itself: comparing or hashing all texts takes milliseconds
class Corpus:
    """Texts, some of them labelled.

    Attributes:
        name: Where they come from.
        texts: White space and `<br />` reduced to single spaces.
        labels: 1 for a positive text, 0 for a negative one; empty where nobody labelled them.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[int, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Names the content."""
        return digest(self.texts)

    def indices(self, split: str) -> list[int]:
        """Which texts belong to a split ("train", "test" or "all")."""
        return [i for i, text in enumerate(self.texts) if text_in_split(text, split)]


@lru_cache(maxsize=8)
def load_corpus(name: str, min_characters: int = 0, others: tuple[str, ...] = ()) -> Corpus:
    """Loads texts, once per process.

    Args:
        name: A text file with one text per line (newlines alone end one), or a dataset's name on the Hugging Face hub,
            whose training texts are taken.
        min_characters: Texts must be longer than this.
        others: Names that the caller has texts for; they are allowed too, the error says.

    Raises:
        ConfigError: Nothing can be loaded under this name, or no text is long enough.
        MissingDependencyError: A package is needed for it.
    """
    if os.path.isfile(name):  # noqa: PTH113 (a long name is no path)
        return corpus_of(name, ((line, None) for line in read_lines(Path(name), "corpus")), min_characters)
    return corpus_of(name, _dataset(name, others), min_characters)


def read_lines(path: Path, argument: str) -> list[str]:
    r"""Reads a text file's lines. Newlines, or "\r\n", end them, and nothing else: neither "\x85" nor "\u2028".

    Args:
        path: The file.
        argument: What the user calls it, for the message.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Windows writes a mark first
    except (OSError, ValueError) as error:
        raise ConfigError(f"{argument}={str(path)!r} cannot be read as UTF-8 text: {error}") from error
    return [line.removesuffix("\r") for line in text.split("\n")]


def corpus_of(name: str, found: Iterable[tuple[str, int | None]], min_characters: int) -> Corpus:
    """Makes a corpus of texts and their labels, where they have any.

    Raises:
        ConfigError: No text has more than `min_characters`.
    """
    pairs = [(" ".join(text.replace("<br />", " ").split()), label) for text, label in found]
    pairs = [(text, label) for text, label in pairs if len(text) > min_characters]
    if not pairs:
        raise ConfigError(f"corpus={name!r} has no text of more than {min_characters} characters.")
    labels = tuple(label for _, label in pairs if label is not None)
    return Corpus(name, tuple(text for text, _ in pairs), labels if len(labels) == len(pairs) else ())


def corpus_tokenizer(corpus: Corpus, size: int) -> Tokenizer:
    """A byte-level BPE of up to `size` tokens trained on a corpus; cached."""
    path = cache_folder() / "vocabularies" / f"bpe-{size}-{corpus.digest}" / "tokenizer.json"
    if is_whole(path):
        with contextlib.suppress(ConfigError):  # damaged before there were checksums
            return load_tokenizer(str(path))
    tokenizer = train_tokenizer(corpus.texts, size)
    keep(path, tokenizer.backend.to_str().encode())
    return tokenizer


# --- sources -------------------------------------------------------------------------------------------------------

_Found = Iterator[tuple[str, int | None]]


def _dataset(name: str, others: tuple[str, ...]) -> _Found:
    if importlib.util.find_spec("datasets") is None:
        own = "".join(f"{other!r}, " for other in others)
        raise MissingDependencyError(
            f"corpus={name!r} is no file; allowed: {own}a text file, or a Hugging Face dataset's name, which needs "
            "the package datasets: pip install datasets"
        )
    from datasets import load_dataset

    try:
        dataset = load_dataset(name, split="train")
    except Exception as error:  # the hub's client raises many kinds
        raise ConfigError(
            f"corpus={name!r} is no file, and no dataset that could be loaded from the Hugging Face hub "
            f"({type(error).__name__}: {error})."
        ) from error
    column = next((column for column in _TEXT_COLUMNS if column in dataset.column_names), None)
    if column is None:
        raise ConfigError(f"corpus={name!r} has the columns {dataset.column_names}; none is of {_TEXT_COLUMNS}.")
    yield from ((text, None) for text in dataset[column] if isinstance(text, str))
