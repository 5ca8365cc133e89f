"""VADER, a rule-based sentiment analyser (Hutto & Gilbert 2014), as NLTK implements it.

The lexicon is the file of the package vaderSentiment, so that nothing is downloaded. That package's own analyser is not
used: it differs from NLTK's in about 6% of movie snippets, and the paper used NLTK's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from rlfl_envs.errors import MissingDependencyError, how_to_install

__all__ = ["sentiments"]


def sentiments(texts: Sequence[str]) -> list[Mapping[str, float]]:
    """Judges texts.

    Returns:
        For each text `compound` in [-1, 1], and `pos`, `neg`, `neu` in [0, 1], the shares of its words.

    Raises:
        MissingDependencyError: NLTK or the lexicon is not installed.
    """
    score = analyzer().polarity_scores
    return [score(text) for text in texts]


@cache
def analyzer() -> Any:
    """NLTK's `SentimentIntensityAnalyzer`, made once per process; importing NLTK takes seconds.

    Raises:
        MissingDependencyError: NLTK or the lexicon is not installed.
    """
    spec = importlib.util.find_spec("vaderSentiment")
    if importlib.util.find_spec("nltk") is None or spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"The VADER reward needs the packages nltk and vaderSentiment: {how_to_install('sentiment')}"
        )
    import nltk.data
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

    folder = spec.submodule_search_locations[0]
    if folder not in nltk.data.path:  # NLTK refuses absolute paths, but not a file name in a folder of its path
        nltk.data.path.append(folder)
    return SentimentIntensityAnalyzer("vader_lexicon.txt")
