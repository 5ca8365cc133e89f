"""Game synthesis: complete the description of a board game, so that it can be compiled and is worth playing.

The third task of Padula & Soemers 2024 (arXiv 2410.17126). Differences to the paper: beside its language, Ludii, there
is Ludax, which installs from PyPI; beside its reward there is one without its known holes; a hole is one form, drawn
with a probability in proportion to its length.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value, check_workers
from rlfl_envs.corpora import Corpus, corpus_tokenizer
from rlfl_envs.episode import UNEARNED, Outcome, Prompt
from rlfl_envs.errors import ConfigError, MissingDependencyError, PromptError, TokenizationError, how_to_install
from rlfl_envs.judging import Judgement, Pool, Request, load_judge, shared_pool
from rlfl_envs.keys import text_in_split
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Split, Task, TaskConfig
from rlfl_envs.tasks.games.bracketed import STRING, end_of_form, forms, indented, ludeme_tokenizer
from rlfl_envs.tokenization import Tokenizer

__all__ = ["GameConfig", "GameSynthesis"]

_PREFIX, _SUFFIX, _MIDDLE = "### PRE:", "### SUF: ", "### MID:"  # the paper's, spaces included
_HEADER, _TEXT = "### GAME:", "### TEXT:"
_HOLE_TOKENS = 64
_RATIOS = ("balance", "completion", "drawishness")
_FLOORS = {"unplayable": 0.05, "timeout": 0.01, "crash": 0.01}  # the paper's; 0 for what does not parse or compile
_SUCCESS = 0.5  # each ratio of a success, at least
_MAX_TRIES = 1000

_CUT = "A completion is cut where its first form ends; spaces do not matter."
_AROUND = ("padding", "two answers", "spaces", "control characters", "special tokens")
_KNOWN = {
    **dict.fromkeys(_AROUND, Accepted(_CUT, success=1.0)),
    "mutation": Accepted("A game with another number is another game, and may be as good.", success=0.3),
}
_KNOWN_OF_MEANS = {
    **dict.fromkeys(_AROUND, Accepted(_CUT, unearned=1.0, success=1.0)),
    "trained attacker": Accepted(
        "A game that one player always wins earns 2/3, for its other measures; `reward='success'` pays 0.05.", 1.0
    ),
}

_INSTRUCTIONS = {
    "infill": "This is a game in the language {language} with one form left out: PRE is what stands before it, SUF "
    "what stands after it. Write only that form, in its brackets, so that the whole is a good game.",
    "write": "Write a good game for two players in the language {language}, with the name and board given if there are "
    "any. Write the game alone, without Markdown.",
}


@dataclass(frozen=True)
class GameConfig(TaskConfig):
    """The arguments that both languages take.

    Attributes:
        mode: "infill" (prompt: a game with a hole; completion: what fills it) or "write" (completion: the whole game).
        header: Whether the prompt of "write" names the game to be written; without it the prompt is empty, and `split`
            must be "all".
        reward: "paper"; "strict", which closes its loopholes; or "success", "strict" with less than 0.25 for a game of
            which `balance`, `completion` or `drawishness` is below 0.5.
        num_playouts: How many random playouts judge a game, 1..10,000.
        max_turns: After how many turns a playout is stopped, 1..10,000.
        max_game_tokens: Games of the corpus that are longer are left out.
        max_completion_tokens: The budget C, EOS included; by default 64 in "infill", where holes with more tokens are
            not drawn, and the longest game in "write".
        vocabulary: "ludemes" (a token for each word of the language, the rest by character), "bpe" (trained on the
            corpus, then cached), or a Hugging Face tokenizer by name or path.
        vocabulary_size: The most tokens of the vocabulary "bpe", 259..131,072; small corpora give fewer.
        workers: How many processes judge games, 0..256; 0 judges in this process, for debugging.
        timeout: Seconds after which a game is given up, more than 0.
        pool: "processes" of this machine, or "ray" for a cluster.
        cache: A folder in which judged games are kept, a JSON file each, so that another run need not judge them again
            (nor this one, once it was interrupted); by default they are remembered in memory alone.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"vocabulary": ("ludemes", "bpe"), "cache": ()}

    mode: Literal["infill", "write"] = "infill"
    header: bool = True
    reward: Literal["paper", "strict", "success"] = "paper"
    num_playouts: int = 100
    max_turns: int = 500
    max_game_tokens: int = 512
    max_completion_tokens: int | None = None
    vocabulary: str = "ludemes"
    vocabulary_size: int = 512
    workers: int = 1
    timeout: float = 60.0
    pool: Literal["processes", "ray"] = "processes"
    cache: str | None = None

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        for name in ("num_playouts", "max_turns"):
            check_value(name, getattr(self, name), 1 <= getattr(self, name) <= 10_000, "1..10000")
        check_value("max_game_tokens", self.max_game_tokens, 1 <= self.max_game_tokens <= 65536, "1..65536")
        check_value("vocabulary_size", self.vocabulary_size, 259 <= self.vocabulary_size <= 2**17, "259..131072")
        check_workers(self.workers, least=0)
        check_value("timeout", self.timeout, 0 < self.timeout < math.inf, "more than 0")
        is_text = self.vocabulary not in ("characters", "number")
        check_value("vocabulary", self.vocabulary, is_text, "'ludemes', 'bpe', or a Hugging Face tokenizer")
        has_splits = self.mode == "infill" or self.header
        check_value("split", self.split, has_splits or self.split == "all", "'all' where the prompt is empty")


class GameSynthesis(Task):
    """What the languages share; a subclass says what its games and words are, and who judges."""

    Config: ClassVar[type[GameConfig]] = GameConfig
    part_names: ClassVar[tuple[str, ...]] = (
        *_RATIOS,
        *("mean_turns", "agency", "branching", "wins_1", "wins_2", "draws", "novelty"),
    )
    references_succeed: ClassVar[bool] = False
    stop_characters = ")}"
    baseline_prompts = 10  # each reference is another game, and takes seconds
    backend: ClassVar[str]
    extra: ClassVar[str]
    language: ClassVar[str]
    config: GameConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of the config by name; raises ConfigError and MissingDependencyError."""
        super().__init__(**kwargs)
        config = self.config
        self.instruction = _INSTRUCTIONS[config.mode].format(language=self.language)
        missing = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if missing:
            raise MissingDependencyError(
                f"{type(self).__name__} needs {', '.join(missing)}: {how_to_install(self.extra)}"
            )
        self._games_of: dict[str, list[str]] = {}
        corpus = self._load_corpus()
        lengths = dict(zip(corpus, _lengths(self.tokenizer, corpus), strict=True))
        self._corpus = tuple(game for game in corpus if lengths[game] <= config.max_game_tokens)
        # What makes the problem: in "write" the header, which several games may share.
        self._headers = {game: self._header(game) for game in self._corpus if config.mode == "write"}
        self._longest = int(max((lengths[game] for game in self._corpus), default=0))
        if min(lengths.values()) == math.inf:
            raise ConfigError(f"vocabulary={config.vocabulary!r} can write none of the corpus's games.")
        if not self._games(config.split):
            raise ConfigError(
                f"max_game_tokens={config.max_game_tokens} and split={config.split!r} leave no game; "
                f"the shortest has {min(lengths.values())} tokens."
            )
        self._spans: dict[str, NDArray[np.int64]] = {}  # the forms of the games that were drawn so far

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """A token for each word of the language, or a byte-level BPE trained on the corpus."""
        markers = (_PREFIX, _SUFFIX, _MIDDLE, _HEADER, _TEXT)
        corpus = Corpus(type(self).__name__, self._load_corpus())
        return {
            "ludemes": lambda: ludeme_tokenizer(tuple(self._words()), markers),
            "bpe": lambda: corpus_tokenizer(corpus, self.config.vocabulary_size),
        }

    def budgets(self) -> tuple[int, int]:
        """The longest game with the prompt's markers and a hole's tokens; or the longest header and game."""
        if self.config.mode == "infill":
            return self._longest + self._count(_PREFIX + _SUFFIX + _MIDDLE), min(_HOLE_TOKENS, self._longest)
        return max(map(self._count, self._headers.values())), self._longest

    @property
    def accepted_findings(self) -> Mapping[str, Accepted]:
        """What is around a form is cut off; what a mean pays for."""
        return _KNOWN if self.config.reward == "success" else _KNOWN | _KNOWN_OF_MEANS

    # --- what a language has ---------------------------------------------------------------------------------------

    @abstractmethod
    def _load_corpus(self) -> tuple[str, ...]:
        """All games, normalised."""

    @abstractmethod
    def _words(self) -> list[str]:
        """The language's own words."""

    def _settings(self) -> dict[str, int | float | str]:
        """What the backend needs to know beside the text."""
        return {"max_turns": self.config.max_turns, "num_playouts": self.config.num_playouts}

    # --- prompts ---------------------------------------------------------------------------------------------------

    def corpus(self) -> list[str]:
        """The games of this split."""
        return self._games(self.config.split)

    def _games(self, split: str) -> list[str]:
        """The games of a split."""
        if split not in self._games_of:
            self._games_of[split] = [g for g in self._corpus if text_in_split(self._headers.get(g, g), split)]
        return self._games_of[split]

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws any game, and for "infill" one of its forms."""
        return self.draw_within("all", rng)

    def draw_within(self, split: Split, rng: np.random.Generator) -> Prompt:
        """Draws a game of a split, and for "infill" one of its forms."""
        games = self._games(split)
        for _ in range(_MAX_TRIES):
            game = games[int(rng.integers(len(games)))]
            if self.config.mode == "write":
                return Prompt(self._headers[game], ("", ""))
            if game not in self._spans:
                self._spans[game] = np.array(forms(game)[:-1])  # the last is the game itself
            spans = self._spans[game]
            lengths = spans[:, 1] - spans[:, 0]
            start, end = spans[rng.choice(len(spans), p=lengths / lengths.sum())]
            prompt = _infill(game[:start], game[end:])
            # Where tokens are not merged, a game with a hole never has more of them than the whole one, and what fills
            # the hole no more than its characters.
            is_short = self.tokenizer.closed and end - start <= self.max_completion_tokens
            fits = self.tokenizer.closed or self._is_short(prompt.text)
            if fits and (is_short or self._count(game[start:end]) <= self.max_completion_tokens):
                return prompt
        raise ConfigError(
            f"max_completion_tokens={self.max_completion_tokens} fits none of {_MAX_TRIES} holes that were drawn."
        )

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts a prompt whose hole can be filled by one form ("infill"), or a header of one line ("write")."""
        if self.config.mode == "infill":
            allowed = f"a form with one form left out, as {_PREFIX}...{_SUFFIX}...{_MIDDLE}"
            match = re.fullmatch(f"{_PREFIX}(.*){_SUFFIX}(.*){_MIDDLE}", text, flags=re.DOTALL)
            is_allowed = match is not None and text.count("###") == 3 and _is_hole(match[1], match[2])
            prompt = _infill(match[1], match[2]) if match else Prompt(text)
        else:
            allowed = f"{_HEADER}, one line, {_TEXT}" if self.config.header else "the empty prompt"
            is_allowed = re.fullmatch(f"{_HEADER}.+{_TEXT}" if self.config.header else "", text) is not None
            prompt = Prompt(text, ("", ""))
        if not is_allowed:
            raise PromptError(f"prompt={text!r} is not allowed; allowed: {allowed}.")
        try:
            fits = self._is_short(text)
        except TokenizationError as error:
            raise PromptError(f"prompt={text!r} is not allowed: {error}") from error
        if not fits:
            raise PromptError(f"prompt={text!r} is not allowed; allowed: at most {self.max_prompt_tokens} tokens.")
        return prompt

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """What stood in the hole of a game of this split, or a game of this split with that header."""
        prefix, suffix = prompt.data
        if self.config.mode == "write":
            games = [game for game in self.corpus() if self._headers[game] == prompt.text]
            return games[int(rng.integers(len(games)))] if games else None
        for game in self.corpus():
            middle = game[len(prefix) : len(game) - len(suffix)]
            if game == prefix + middle + suffix and end_of_form(middle) == len(middle):
                return middle
        return None

    def stops(self, prompt: Prompt, completion: str) -> bool:
        """Where the completion's first form ends, or a bracket closes that it did not open."""
        return end_of_form(completion) is not None

    def _header(self, game: str) -> str:
        """The prompt that asks for a game: its name and its board; nothing where the config wants no header."""
        if not self.config.header:
            return ""
        name = re.search(STRING, game)
        boards = [game[start:end] for start, end in forms(game) if game.startswith("(board", start)]
        return f"{_HEADER}{' '.join([*(name[0] for name in [name] if name), *boards[:1]])}{_TEXT}"

    def _count(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def _is_short(self, prompt: str) -> bool:
        return self._count(prompt) + (self.tokenizer.bos_id is not None) <= self.max_prompt_tokens

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Puts games together and has them judged."""
        return self.judge(
            [self.game(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        )

    def judge(self, games: Sequence[str | None]) -> list[Outcome]:
        """Judges whole games, whatever the mode; None is no game. All go to the pool together."""
        judgements = iter(self._pool.evaluate([self._request(game) for game in games if game is not None]))
        return [self._outcome(game, next(judgements)) if game is not None else self._refused() for game in games]

    def illustrate(self, path: Path, text: str | None = None, seed: int = 0) -> str:
        """Draws the board after a random playout; says the game, what it earns, and why there is no picture if not."""
        rng = np.random.default_rng(seed)
        games = self.corpus()
        game = games[int(rng.integers(len(games)))] if text is None else " ".join(text.split())
        (outcome,) = self.judge([game])
        parts = [f"{name:12} {value:.3g}" for name, value in outcome.parts.items()]
        lines = [indented(game), "", f"{outcome.status}, reward {outcome.reward:.3f}", *parts]
        if outcome.status == "playable":
            turns = self._draw(game, path, seed)
            lines.append(f"{path}: the board after {turns} random turns")
        return "\n".join(lines)

    def _draw(self, game: str, path: Path, seed: int) -> int:
        """Draws the board after a random playout, and returns its turns."""
        raise ConfigError(f"picture={str(path)!r} is not allowed; {type(self).__name__} has no pictures.")

    def game(self, prompt: Prompt, completion: str) -> str | None:
        """The whole game, the completion cut where it stops; None unless it is one game, but for the paper's reward."""
        prefix, suffix = prompt.data
        end = end_of_form(completion)
        game: str = prefix + (completion if end is None else completion[:end]) + suffix
        if self.config.reward == "paper":
            return game
        is_form = end is not None and completion.startswith(("(", "{"))
        return game if is_form and game.startswith("(game") and end_of_form(game) == len(game) else None

    def _request(self, game: str) -> Request:
        """A game with all that its judgement depends on: the playouts' seed is a function of the rest."""
        settings = tuple(sorted(self._settings().items()))
        text = load_judge(self.backend).normalise(game)
        what = text, [pair for pair in settings if pair[0] != "jar"]  # wherever that lies
        seed = hashlib.blake2b(repr(what).encode(errors="replace"), digest_size=4).digest()
        return Request(game, settings, int.from_bytes(seed, "little"))

    @property
    def _pool(self) -> Pool:
        """Shared by all tasks that ask for the same, and not pickled with any."""
        config = self.config
        settings = {name: getattr(config, name) for name in ("workers", "timeout", "pool", "cache")}
        return shared_pool(self.backend, **settings)

    def _refused(self) -> Outcome:
        return Outcome(0.0, False, dict.fromkeys(self.part_names, 0.0), "no_parse")

    def _outcome(self, game: str, judgement: Judgement) -> Outcome:
        parts = {name: float(judgement.parts.get(name, 0.0)) for name in self.part_names}
        if judgement.status in ("playable", "unplayable"):
            parts["novelty"] = self._novelty(game)
        floor = _FLOORS.get(judgement.status, 0.0)
        is_playable = judgement.status == "playable"
        if is_playable and self.config.reward != "paper":
            # What does not end counts as a draw: else a game that one playout in a hundred ends would be decisive.
            parts["drawishness"] = max(0.0, parts["completion"] - parts["draws"] / judgement.parts["playouts"])
            if parts["completion"] == 0 or judgement.parts.get("missing_requirement"):
                floor, is_playable = _FLOORS["unplayable"], False
        if not is_playable:
            return Outcome(floor, False, parts, judgement.status)
        ratios = [parts[name] for name in _RATIOS]
        is_success = min(ratios) >= _SUCCESS
        reward = sum(ratio ** (1 / 3) for ratio in ratios) / len(ratios)
        if self.config.reward == "success" and not is_success:
            # A mean lets two good measures make up for a third; here the worst alone counts.
            reward = max(_FLOORS["unplayable"], UNEARNED * min(ratios) / _SUCCESS)
        return Outcome(reward, is_success, parts, "playable")

    def _novelty(self, game: str) -> float:
        """How far the nearest game of the corpus is: edits per character of the longer text, 0 for a copy."""
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import extractOne

        text = load_judge(self.backend).normalise(game)
        return float(extractOne(text, self._corpus, scorer=Levenshtein.normalized_distance)[1])


def _infill(prefix: str, suffix: str) -> Prompt:
    return Prompt(f"{_PREFIX}{prefix}{_SUFFIX}{suffix}{_MIDDLE}", (prefix, suffix))


def _is_hole(prefix: str, suffix: str) -> bool:
    """Whether any form between the two makes one form of the whole."""
    filled = f"{prefix}(){suffix}"
    is_form = filled.startswith(("(", "{")) and end_of_form(filled) == len(filled)
    return is_form and (len(prefix), len(prefix) + 2) in forms(filled)


@lru_cache(maxsize=4)
def _lengths(tokenizer: Tokenizer, texts: tuple[str, ...]) -> list[float]:
    """Tokens of each text; infinite where the vocabulary cannot write it."""

    def length(text: str) -> float:
        try:
            return len(tokenizer.encode(text))
        except TokenizationError:
            return math.inf

    return [length(text) for text in texts]
