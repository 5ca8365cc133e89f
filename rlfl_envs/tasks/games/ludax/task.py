"""Games in Ludax, which installs from PyPI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from rlfl_envs.arguments import check_value
from rlfl_envs.errors import ConfigError
from rlfl_envs.tasks.games.bracketed import FormGrammar, end_of_form, forms
from rlfl_envs.tasks.games.ludax import board
from rlfl_envs.tasks.games.ludax import corpus as ludax_games
from rlfl_envs.tasks.games.task import GameConfig, GameSynthesis

__all__ = ["LudaxGame", "LudaxGameConfig"]


@dataclass(frozen=True)
class LudaxGameConfig(GameConfig):
    """The arguments of LudaxGame.

    Attributes:
        corpus: Where games come from: "mutants" (those that Ludax ships, and mutants of them), "shipped", or a folder
            of `.ldx` files.
        mutants: How many mutants, 0..10,000.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **GameConfig.files,
        "corpus": ("mutants", "shipped"),
    }

    corpus: str = "mutants"
    mutants: int = 1000

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("mutants", self.mutants, 0 <= self.mutants <= 10_000, "0..10000")


class LudaxGame(GameSynthesis):
    """Complete a board game in Ludax, so that it compiles, can be played and is balanced, decisive and not endless.

    Description:
        Ludax (Todd et al. 2025, arXiv 2506.22609) is a language for two-player board games in bracketed expressions.
        The task is the third of Padula & Soemers 2024 (arXiv 2410.17126), "the paper" below. A completion is put into
        its game, which is compiled, played at random and measured. With mode="infill" the completion fills a hole in a
        game; with mode="write" it is a game.

    Prompt:
        "infill": `### PRE:<prefix>### SUF: <suffix>### MID:`, a game of the corpus without one of its forms (a bracket
        with all that it holds), drawn with a probability in proportion to its length, of up to C tokens. "write":
        `### GAME:"<name>" (board ...)### TEXT:`, or nothing with `header=False`.

        The corpus are the games that the package ludax ships, 17 in version 1.0, and mutants of them: one to three
        changes of board, lengths of lines and rules, and other names (`tasks/games/ludax/corpus.py` says which). Ludax
        and its games are under the Apache License 2.0; mutants are derived works of them. All are written on one line.

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
        playout ends, and 0 unless the completion is one form and the whole one game. "success" does so too, and pays
        the mean for a success alone: any other playable game earns half of its smallest ratio, so less than 0.25, and
        0.05 at least.

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
        `corpus`, `mutants`, `mode`, `header`, `reward`, `num_playouts`, `max_turns`, `max_game_tokens`,
        `vocabulary_size`, `workers`, `timeout`, `pool`, `cache`, and the common `split`, `vocabulary`, `mask`,
        `max_completion_tokens`, `min_completion_tokens`. Needs the extra `ludax`. With `mask="syntax"` a completion
        stays the prefix of a form that fits into the hole by Ludax's own grammar (of a game, in "write"), spaced as the
        corpus is. The mask does not ensure that the form ends within C tokens, nor that its names are defined: much
        that parses does not compile.

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
        optional. With that and with "strict": a game that one player always wins earns 2/3, such as one in which the
        other never moves, `(repeat (P2) ...)`; it is no success, and "success" pays 0.05 for it. A game is judged by
        random play, in which a first player's advantage, or a rule that no good player would follow, may not show: a
        game of two or three turns that chance decides is a success. With few playouts chance decides more: of four,
        three wins to one are a `balance` of 0.5.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[LudaxGameConfig]] = LudaxGameConfig
    packages: ClassVar[tuple[str, ...]] = ("ludax", "pebble", "rapidfuzz")
    backend: ClassVar[str] = "rlfl_envs.tasks.games.ludax.judge"
    extra: ClassVar[str] = "ludax"
    language: ClassVar[str] = "Ludax"
    config: LudaxGameConfig

    @cached_property
    def syntax(self) -> FormGrammar:  # type: ignore[override]
        """Ludax's own grammar."""
        return FormGrammar(ludax_games.rules(), "game")

    def _load_corpus(self) -> tuple[str, ...]:
        if self.config.corpus == "mutants":
            return (*ludax_games.shipped().values(), *ludax_games.mutants(self.config.mutants))
        if self.config.corpus == "shipped":
            return (*ludax_games.shipped().values(),)
        try:
            paths = sorted(Path(self.config.corpus).glob("*.ldx"))
        except OSError:  # the name is too long
            paths = []
        check_value("corpus", self.config.corpus, bool(paths), "'mutants', 'shipped', or a folder of .ldx files")
        return tuple(map(_read_game, paths))

    def _words(self) -> list[str]:
        return ludax_games.words()

    def _draw(self, game: str, path: Path, seed: int) -> int:
        return board.draw_board(game, path, max_turns=self.config.max_turns, seed=seed)


def _read_game(path: Path) -> str:
    try:
        game = ludax_games.normalise(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"corpus={str(path.parent)!r}: {path.name} cannot be read as text ({error}).") from error
    if end_of_form(game) != len(game) or len(forms(game)) < 2:
        raise ConfigError(f"corpus={str(path.parent)!r}: {path.name} is no game, one form with others in it.")
    return game
