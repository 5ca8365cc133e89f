"""Game synthesis: complete the description of a board game, so that it can be compiled and is worth playing.

The third task of Padula & Soemers 2024 (arXiv 2410.17126). Differences to the paper: beside its language, Ludii, there
is Ludax, which installs from PyPI; beside its reward there is one without its known holes; a hole is one form, drawn
with a probability in proportion to its length.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rlfl_envs import ludax_games
from rlfl_envs.backends import ludax_board, ludii_language
from rlfl_envs.backends.ludii import find_jar
from rlfl_envs.backends.pool import Judgement, Pool, Request
from rlfl_envs.bracketed import STRING, FormGrammar, end_of_form, forms, indented, ludeme_tokenizer
from rlfl_envs.corpora import Corpus, corpus_tokenizer
from rlfl_envs.errors import ConfigError, MissingDependencyError, PromptError, TokenizationError
from rlfl_envs.keys import text_in_split
from rlfl_envs.task import Outcome, Prompt, Task, TaskConfig, check_value
from rlfl_envs.tokenization import Tokenizer, load_tokenizer

__all__ = ["GameConfig", "GameSynthesis", "LudaxGame", "LudaxGameConfig", "LudiiGame", "LudiiGameConfig"]

_PREFIX, _SUFFIX, _MIDDLE = "### PRE:", "### SUF: ", "### MID:"  # the paper's, spaces included
_HEADER, _TEXT = "### GAME:", "### TEXT:"
_HOLE_TOKENS = 64
_RATIOS = ("balance", "completion", "drawishness")
_FLOORS = {"unplayable": 0.05, "timeout": 0.01, "crash": 0.01}  # the paper's; 0 for what does not parse or compile
_SUCCESS = 0.5
_MAX_TRIES = 1000


@dataclass(frozen=True)
class GameConfig(TaskConfig):
    """The arguments that both languages take.

    Attributes:
        mode: "infill" (prompt: a game with a hole; completion: what fills it) or "write" (completion: the whole game).
        header: Whether the prompt of "write" names the game to be written; without it the prompt is empty, and `split`
            must be "all".
        reward: "paper", or "strict", which closes its holes.
        num_playouts: How many random playouts judge a game, 1..10,000.
        max_turns: After how many turns a playout is stopped, 1..10,000.
        max_game_tokens: Games of the corpus that are longer are left out.
        max_completion_tokens: The budget C, EOS included; by default 64 in "infill", where holes with more tokens are
            not drawn, and the longest game in "write".
        vocabulary: "ludemes" (a token for each word of the language, the rest by character), "bpe" (trained on the
            corpus, then cached), or a Hugging Face tokenizer by name or path.
        vocabulary_size: V of the vocabulary "bpe", 259 or more.
        workers: How many processes judge games, 0..256; 0 judges in this process, for debugging.
        timeout: Seconds after which a game is given up, more than 0.
        pool: "processes" of this machine, or "ray" for a cluster.
        cache: A folder in which judged games are kept, a JSON file each, so that another run need not judge them again
            (nor this one, once it was interrupted); by default they are remembered in memory alone.
    """

    mode: Literal["infill", "write"] = "infill"
    header: bool = True
    reward: Literal["paper", "strict"] = "paper"
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
        check_value("workers", self.workers, 0 <= self.workers <= 256, "0..256")
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
    stop_characters: ClassVar[str] = ")}"
    baseline_prompts: ClassVar[int] = 10  # each reference is another game, and takes seconds
    backend: ClassVar[str]
    config: GameConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of the config by name; raises ConfigError and MissingDependencyError."""
        super().__init__(**kwargs)
        config = self.config
        missing = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if missing:
            extra = self.backend.rpartition(".")[2]
            raise MissingDependencyError(
                f'{type(self).__name__} needs {", ".join(missing)}: pip install "rlfl-envs[{extra}]"'
            )
        corpus = self._load_corpus()
        if config.vocabulary == "ludemes":
            self.tokenizer = ludeme_tokenizer(tuple(self._words()), (_PREFIX, _SUFFIX, _MIDDLE, _HEADER, _TEXT))
        elif config.vocabulary == "bpe":
            self.tokenizer = corpus_tokenizer(Corpus(type(self).__name__, corpus), config.vocabulary_size)
        else:
            self.tokenizer = load_tokenizer(config.vocabulary)
        lengths = dict(zip(corpus, _lengths(self.tokenizer, corpus), strict=True))
        self._corpus = tuple(game for game in corpus if lengths[game] <= config.max_game_tokens)
        # What makes the problem: in "write" the header, which several games may share.
        self._headers = {game: self._header(game) for game in self._corpus if config.mode == "write"}
        self._games = [game for game in self._corpus if text_in_split(self._headers.get(game, game), config.split)]
        if not self._games:
            raise ConfigError(
                f"max_game_tokens={config.max_game_tokens} and split={config.split!r} leave no game; "
                f"the shortest has {min(lengths.values())} tokens."
            )
        self._spans: dict[str, NDArray[np.int64]] = {}  # the forms of the games that were drawn so far
        longest = int(max(lengths[game] for game in self._corpus))
        begins = self.tokenizer.bos_id is not None
        if config.mode == "infill":
            self.max_prompt_tokens = longest + self._count(_PREFIX + _SUFFIX + _MIDDLE) + begins
            self.default_budget = min(_HOLE_TOKENS, longest)
        else:
            self.max_prompt_tokens = max(map(self._count, self._headers.values())) + begins
            self.default_budget = longest
        self.reward_range = (0.0, 1.0)

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
        return self._games

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a game of this split, and for "infill" one of its forms."""
        for _ in range(_MAX_TRIES):
            game = self._games[int(rng.integers(len(self._games)))]
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
            fits = self.tokenizer.closed or self._fits(prompt.text)
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
            fits = self._fits(text)
        except TokenizationError as error:
            raise PromptError(f"prompt={text!r} is not allowed: {error}") from error
        if not fits:
            raise PromptError(f"prompt={text!r} is not allowed; allowed: at most {self.max_prompt_tokens} tokens.")
        return prompt

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """What stood in the hole of a game of this split, or a game of this split with that header."""
        prefix, suffix = prompt.data
        if self.config.mode == "write":
            games = [game for game in self._games if self._headers[game] == prompt.text]
            return games[int(rng.integers(len(games)))] if games else None
        for game in self._games:
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

    def _fits(self, prompt: str) -> bool:
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
        game = self._games[int(rng.integers(len(self._games)))] if text is None else " ".join(text.split())
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
        """The whole game, the completion cut where it stops; for the strict reward None unless it is one game."""
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
        text = importlib.import_module(self.backend).normalise(game)
        what = text, [pair for pair in settings if pair[0] != "jar"]  # wherever that lies
        seed = hashlib.blake2b(repr(what).encode(errors="replace"), digest_size=4).digest()
        return Request(game, settings, int.from_bytes(seed, "little"))

    @property
    def _pool(self) -> Pool:
        """Shared by all tasks that ask for the same, and not pickled with any."""
        config = self.config
        return _shared_pool(self.backend, config.workers, config.timeout, config.pool, config.cache)

    def _refused(self) -> Outcome:
        return Outcome(0.0, False, dict.fromkeys(self.part_names, 0.0), "no_parse")

    def _outcome(self, game: str, judgement: Judgement) -> Outcome:
        parts = {name: float(judgement.parts.get(name, 0.0)) for name in self.part_names}
        if judgement.status in ("playable", "unplayable"):
            parts["novelty"] = self._novelty(game)
        floor = _FLOORS.get(judgement.status, 0.0)
        is_playable = judgement.status == "playable"
        if is_playable and self.config.reward == "strict":
            # What does not end counts as a draw: else a game that one playout in a hundred ends would be decisive.
            parts["drawishness"] = max(0.0, parts["completion"] - parts["draws"] / judgement.parts["playouts"])
            if parts["completion"] == 0 or judgement.parts.get("missing_requirement"):
                floor, is_playable = _FLOORS["unplayable"], False
        if not is_playable:
            return Outcome(floor, False, parts, judgement.status)
        ratios = [parts[name] for name in _RATIOS]
        reward = sum(ratio ** (1 / 3) for ratio in ratios) / len(ratios)
        return Outcome(reward, min(ratios) >= _SUCCESS, parts, "playable")

    def _novelty(self, game: str) -> float:
        """How far the nearest game of the corpus is: edits per character of the longer text, 0 for a copy."""
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import extractOne

        text = importlib.import_module(self.backend).normalise(game)
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


@lru_cache(maxsize=8)
def _shared_pool(
    backend: str, workers: int, timeout: float, kind: Literal["processes", "ray"], cache: str | None
) -> Pool:
    return Pool(backend, workers=workers, timeout=timeout, pool=kind, cache=cache)


# --- Ludax -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LudaxGameConfig(GameConfig):
    """The arguments of LudaxGame.

    Attributes:
        corpus: Where games come from: "mutants" (those that Ludax ships, and mutants of them), "shipped", or a folder
            of `.ldx` files.
        mutants: How many mutants, 0..10,000.
    """

    corpus: str = "mutants"
    mutants: int = 1000

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("mutants", self.mutants, 0 <= self.mutants <= 10_000, "0..10000")


class LudaxGame(GameSynthesis):
    """Complete a board game in Ludax, so that it compiles, can be played and is balanced, decisive and not endless.

    Description:
        Ludax (Todd et al. 2025, arXiv 2506.22609) is a language for two-player board games in bracketed expressions. A
        completion is compiled, played at random and measured. In "infill" it fills a hole in a game, in "write" it is a
        game.

    Prompt:
        "infill": `### PRE:<prefix>### SUF: <suffix>### MID:`, a game of the corpus without one of its forms (a bracket
        with all that it holds), drawn with a probability in proportion to its length, of up to C tokens. "write":
        `### GAME:"<name>" (board ...)### TEXT:`, or nothing with `header=False`.

        The corpus are the games that the package ludax ships, 17 in version 1.0, and mutants of them: one to three
        changes of board, lengths of lines and rules, and other names (`rlfl_envs.ludax_games` says which). Ludax and
        its games are under the Apache License 2.0; mutants are derived works of them. All are written on one line.

    Observation:
        `MultiDiscrete([V] * (P + C))`; P is what the longest game of the corpus needs. C is 64 by default in "infill",
        in "write" the longest game.

    Action:
        `Discrete(V)`. In the vocabulary "ludemes": PAD, BOS, EOS, the markers of the prompt, then a token for each
        `(word`, word and integer below 100 of the language, each with and without a space before it, and printable
        characters for names.

    Reward:
        0 to 1. The paper's: 0 for what does not parse or compile, 0.05 for what cannot be played (no legal first move,
        an error in play, or fewer than two turns on average), 0.01 for a timeout or a crash; otherwise the mean of the
        cube roots of `balance` (1 - the difference between the two players' shares of wins), `completion` (the share of
        playouts that end within `max_turns`) and `drawishness` (1 - the share of draws among those that end, 0 where
        none does). "strict" counts all playouts, those that do not end as draws; it pays 0.05 for a game that no
        playout ends, and 0 unless the completion is one form and the whole one game.

        Parts: the three ratios; `mean_turns`; `agency`, the share of turns with more than one legal move; `branching`,
        the mean number of legal moves; `wins_1`, `wins_2` and `draws`, how many playouts ended so (at 100 playouts the
        standard error of `balance` is about 0.1); `novelty`, edits per character to the nearest game of the corpus, 0
        for a copy. Status: "no_parse", "no_compile", "unplayable", "playable", "timeout" or "crash". `is_success`:
        playable, and each ratio 0.5 or more.

        The playouts' seed is a function of the game, so that a game always earns the same; but for a timeout, which
        depends on the machine.

    Episode end:
        Where the completion's brackets balance ("stop"; brackets in names do not count, and what the last token has
        after it is cut off), EOS, or the budget of C tokens.

    Arguments:
        Those below. With `mask="syntax"` only tokens are legal that keep the completion a prefix of a form which fits
        into the hole by Ludax's own grammar (a game, in "write"), spaced as the corpus is. It does not see to it that
        the form can be ended within C tokens, nor that names are defined: much that parses does not compile.

        Judging a new game takes between a third of a second and ten, most of it compiling; a game that was judged
        before costs nothing. Workers are started for the first game; more of them than cores make no sense.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/LudaxGame-v0", num_playouts=20)
        >>> text = rlfl_envs.load_task("rlfl/LudaxGame-v0", corpus="shipped", split="all").corpus()[13]
        >>> prefix, _, suffix = text.partition("(full_board)")
        >>> prompt = task.parse_prompt(f"### PRE:{prefix}### SUF: {suffix}### MID:")
        >>> completions = ["(full_board)", "(no_legal_actions)", "(full_boat)", '(line "stone" 3)']
        >>> [outcome.status for outcome in task.evaluate([prompt] * 4, completions)]
        ['playable', 'playable', 'no_parse', 'no_compile']

    Known exploits:
        Copying, and small changes: a filled hole is judged by the whole game, which the prompt has most of; watch
        `novelty`, which is low for all that fills a small hole. With the paper's reward: a game that never ends earns
        1/3, for its balance; an empty completion earns what the game earns without the form, where the hole was
        optional. With both: a game is judged by random play, in which a first player's advantage, or a rule that no
        good player would follow, may not show.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[LudaxGameConfig]] = LudaxGameConfig
    packages: ClassVar[tuple[str, ...]] = ("ludax", "pebble", "rapidfuzz")
    backend: ClassVar[str] = "rlfl_envs.backends.ludax"
    config: LudaxGameConfig

    @cached_property
    def automaton(self) -> FormGrammar:  # type: ignore[override]
        """Ludax's own grammar."""
        return FormGrammar(ludax_games.rules(), "game")

    def _load_corpus(self) -> tuple[str, ...]:
        if self.config.corpus == "mutants":
            return (*ludax_games.shipped().values(), *ludax_games.mutants(self.config.mutants))
        if self.config.corpus == "shipped":
            return (*ludax_games.shipped().values(),)
        paths = sorted(Path(self.config.corpus).glob("*.ldx"))
        check_value("corpus", self.config.corpus, bool(paths), "'mutants', 'shipped', or a folder of .ldx files")
        return tuple(map(_read_game, paths))

    def _words(self) -> list[str]:
        return ludax_games.words()

    def _draw(self, game: str, path: Path, seed: int) -> int:
        return ludax_board.draw_board(game, path, max_turns=self.config.max_turns, seed=seed)


def _read_game(path: Path) -> str:
    try:
        game = ludax_games.normalise(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"corpus={str(path.parent)!r}: {path.name} cannot be read as text ({error}).") from error
    if end_of_form(game) != len(game) or len(forms(game)) < 2:
        raise ConfigError(f"corpus={str(path.parent)!r}: {path.name} is no game, one form with others in it.")
    return game


# --- Ludii -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LudiiGameConfig(GameConfig):
    """The arguments of LudiiGame.

    Attributes:
        jar: Ludii's jar; by default what the environment variable LUDII_JAR names.
    """

    jar: str = ""


class LudiiGame(GameSynthesis):
    """Complete a board game in Ludii, so that it compiles, can be played and is balanced, decisive and not endless.

    Description:
        Ludii (Piette et al. 2020, arXiv 1905.05013) is a language for games, and the system that plays them; this is
        the paper's task. It needs Java and Ludii's jar, which you download yourself (https://ludii.games/download.php)
        and name by `jar` or by the environment variable LUDII_JAR.

    Prompt:
        As in `rlfl/LudaxGame-v0`. The corpus are the jar's own games, expanded to plain descriptions and cached in the
        user's cache folder. Ludii is under CC BY-NC-ND 4.0: none of its texts or files come with this library, and what
        is made of them is not to be passed on.

    Observation:
        `MultiDiscrete([V] * (P + C))`, as in `rlfl/LudaxGame-v0`.

    Action:
        `Discrete(V)`, as in `rlfl/LudaxGame-v0`, with Ludii's words.

    Reward:
        As in `rlfl/LudaxGame-v0`: 0 to 1, the same parts, statuses and floors.

    Episode end:
        Where the completion's brackets balance, EOS, or the budget of C tokens.

    Arguments:
        Those below.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/LudiiGame-v0", jar="Ludii.jar")  # doctest: +SKIP
        >>> task.sample_prompts(np.random.default_rng(0), 1)[0].text  # doctest: +SKIP

    Known exploits:
        Those of `rlfl/LudaxGame-v0`. Ludii also compiles a game with text around it, two games for one, and a game that
        lacks a requirement, each of which earns what the game earns; the strict reward pays for none of them.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[LudiiGameConfig]] = LudiiGameConfig
    packages: ClassVar[tuple[str, ...]] = ("jpype", "pebble", "rapidfuzz")
    backend: ClassVar[str] = "rlfl_envs.backends.ludii"
    config: LudiiGameConfig

    @cached_property
    def automaton(self) -> FormGrammar:  # type: ignore[override]
        """The grammar that the jar itself reports."""
        return FormGrammar(ludii_language.grammar(self.config.jar), "game")

    def _load_corpus(self) -> tuple[str, ...]:
        return tuple(ludii_language.corpus(self.config.jar))

    def _words(self) -> list[str]:
        return ludii_language.words(self.config.jar)

    def _settings(self) -> dict[str, int | float | str]:
        return super()._settings() | {"jar": self._jar}

    @cached_property
    def _jar(self) -> str:
        """Where the jar is, whatever LUDII_JAR says later."""
        return str(find_jar(self.config.jar))
