"""Text classifiers: how probably is a text positive? A Hugging Face model, or one that is trained here.

The offline one is logistic regression on TF-IDF features of words and word pairs, fitted on the labelled reviews of the
training split, and cached as plain arrays.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.cache import cache_folder, is_whole, keep
from rlfl_envs.corpora import Corpus
from rlfl_envs.errors import ConfigError, MissingDependencyError, how_to_install
from rlfl_envs.hub import check_hub
from rlfl_envs.tasks.sentiment.reviews import load_reviews

__all__ = ["Classifier", "load_classifier"]

_BATCH = 64
_MAX_TOKENS = 512


class Classifier(Protocol):
    """Texts to probabilities of being positive."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns float64 [n] in [0, 1]."""


@lru_cache(maxsize=4)
def load_classifier(name: str) -> Classifier:
    """Loads a classifier, once per process.

    Args:
        name: "tfidf", or a Hugging Face text classifier by name or path that calls one of its labels positive.

    Raises:
        ConfigError: There is no such classifier, or none of its labels is positive.
        MissingDependencyError: A package is needed for it.
    """
    return _TfidfClassifier(load_reviews("reviews")) if name == "tfidf" else _HubClassifier(name)


class _TfidfClassifier:
    def __init__(self, reviews: Corpus) -> None:
        if importlib.util.find_spec("sklearn") is None:
            raise MissingDependencyError(
                f"classifier='tfidf' needs the package scikit-learn: {how_to_install('sentiment')}"
            )
        from sklearn.feature_extraction.text import TfidfVectorizer

        settings: dict[str, Any] = {"ngram_range": (1, 2), "min_df": 5, "sublinear_tf": True, "dtype": np.float32}
        path = cache_folder() / "classifiers" / f"tfidf-{reviews.digest}.npz"
        state = _read(path)
        if state is None:
            keep(path, fitted := _fit(reviews, settings))
            state = dict(np.load(io.BytesIO(fitted)))
        self._vectorizer = TfidfVectorizer(vocabulary=state["words"].tolist(), **settings)
        self._vectorizer.idf_ = state["idf"]
        self._weights, self._bias = state["weights"], float(state["bias"])

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        logits = self._vectorizer.transform(texts) @ self._weights + self._bias
        positive: NDArray[np.float64] = 1 / (1 + np.exp(-logits.astype(np.float64)))
        return positive


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """What a cached file holds; None where there is none that can be read."""
    if not is_whole(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in ("words", "idf", "weights", "bias")}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):  # from before checksums
        return None


def _fit(reviews: Corpus, settings: dict[str, Any]) -> bytes:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = reviews.indices("train")
    vectorizer = TfidfVectorizer(**settings)
    features = vectorizer.fit_transform([reviews.texts[i] for i in rows])
    model = LogisticRegression(C=10.0, max_iter=1000).fit(features, [reviews.labels[i] for i in rows])
    buffer = io.BytesIO()
    np.savez(
        buffer,
        words=vectorizer.get_feature_names_out().astype(str),
        idf=vectorizer.idf_,
        weights=model.coef_[0].astype(np.float32),
        bias=model.intercept_[0],
    )
    return buffer.getvalue()


class _HubClassifier:
    def __init__(self, name: str) -> None:
        if importlib.util.find_spec("transformers") is None or importlib.util.find_spec("torch") is None:
            raise MissingDependencyError(f"classifier={name!r} needs torch and transformers: {how_to_install('agent')}")
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        if not Path(name).is_dir():
            check_hub("classifier", name, "config.json")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            self._model = AutoModelForSequenceClassification.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True
            ).eval()
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"classifier={name!r} holds no text classifier that can be read ({reason}).") from error
        kinds = self._model.config.architectures or []
        if not any(kind.endswith("ForSequenceClassification") for kind in kinds):  # its head would be random
            raise ConfigError(f"classifier={name!r} is a {', '.join(kinds) or 'bare model'}, not a text classifier.")
        labels = {i: str(label).lower() for i, label in self._model.config.id2label.items()}
        positive = [i for i, label in labels.items() if label.startswith("pos")]
        if not positive and set(labels.values()) == {"label_0", "label_1"}:
            positive = [1]  # nobody named them: negative and positive by custom
        if not positive:
            raise ConfigError(f"classifier={name!r} has the labels {[*labels.values()]}; none is positive.")
        self._positive = positive[0]
        if self._model.config.pad_token_id is None:  # the kind that reads the last token asks what padding is
            ids = (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id)
            self._model.config.pad_token_id = next((i for i in ids if i is not None), -1)
        known = getattr(self._model.config, "max_position_embeddings", None)  # XLNet's -1 says that there is no limit
        limits = (_MAX_TOKENS, self._tokenizer.model_max_length, known)
        self._max_tokens = min(limit for limit in limits if limit is not None and limit > 0)
        try:  # what does not work should not work now, rather than at a completion
            self(["a " * 2 * self._max_tokens, "a"])
        except (IndexError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"classifier={name!r} cannot read {self._max_tokens} tokens ({reason}).") from error

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        # A lone surrogate, which only a test would write, cannot be encoded.
        clean = [text.encode(errors="replace").decode() for text in texts]
        found = np.full(len(clean), 0.5)  # what a text without a token says
        if clean:
            inputs = self._tokenizer(clean, truncation=True, max_length=self._max_tokens)
            for rows in _alike([len(ids) for ids in inputs["input_ids"]]):
                found[rows] = self._positive_in({name: [each[row] for row in rows] for name, each in inputs.items()})
        return found

    def _positive_in(self, inputs: dict[str, list[list[int]]]) -> NDArray[np.float64]:
        """Texts of equally many tokens to probabilities of being positive, float64 [n]."""
        import torch

        device = self._model.device
        with torch.no_grad():
            logits = self._model(**{name: torch.tensor(rows, device=device) for name, rows in inputs.items()}).logits
        positive: NDArray[np.float64] = logits.softmax(dim=-1)[:, self._positive].double().cpu().numpy()
        return positive


def _alike(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Batches of texts of equal length: padding, which many classifiers count or mistake for text, is never needed.

    So a text's probability depends on the text alone.
    """
    order = sorted((row for row, length in enumerate(lengths) if length), key=lengths.__getitem__)
    for _, rows in itertools.groupby(order, key=lengths.__getitem__):
        alike = [*rows]
        yield from (alike[start : start + _BATCH] for start in range(0, len(alike), _BATCH))
