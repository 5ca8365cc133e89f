"""Games in Ludii, the paper's language; the user brings the jar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from rlfl_envs.tasks.games.bracketed import FormGrammar
from rlfl_envs.tasks.games.ludii import language
from rlfl_envs.tasks.games.ludii.judge import find_jar
from rlfl_envs.tasks.games.task import GameConfig, GameSynthesis

__all__ = ["LudiiGame", "LudiiGameConfig"]


@dataclass(frozen=True)
class LudiiGameConfig(GameConfig):
    """The arguments of LudiiGame.

    Attributes:
        jar: Ludii's jar; by default what the environment variable LUDII_JAR names.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {**GameConfig.files, "jar": ("",)}

    jar: str = ""


class LudiiGame(GameSynthesis):
    """Complete a board game in Ludii, so that it compiles, can be played and is balanced, decisive and not endless.

    Description:
        Ludii (Piette et al. 2020, arXiv 1905.05013) is a language for games, and the system that plays them. The
        task is the third of Padula & Soemers 2024 (arXiv 2410.17126), "the paper". It needs Java and Ludii's jar, which
        you download yourself (https://ludii.games/download.php)
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
        As in `rlfl/LudaxGame-v0`. Games may have more than two players: `balance` takes the two whose shares of wins
        differ most. A game with fewer than two players is "unplayable".

    Episode end:
        Where the completion's brackets balance, EOS, or the budget of C tokens.

    Arguments:
        `jar`, and those of `rlfl/LudaxGame-v0` but `corpus` and `mutants`. `max_turns` counts the moves of all players.
        `mask="syntax"` is by the grammar that the jar reports. Needs the extra `ludii`, the jar and Java.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/LudiiGame-v0", jar="Ludii.jar")  # doctest: +SKIP
        >>> task.sample_prompts(np.random.default_rng(0), 1)[0].text  # doctest: +SKIP

    Known exploits:
        Those of `rlfl/LudaxGame-v0`. Ludii also compiles a game with text around it, two games for one, and a game that
        lacks a requirement, each of which earns what the game earns by the paper's reward; the others pay nothing for
        the first two, and 0.05 for the last.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[LudiiGameConfig]] = LudiiGameConfig
    packages: ClassVar[tuple[str, ...]] = ("jpype", "pebble", "rapidfuzz")
    backend: ClassVar[str] = "rlfl_envs.tasks.games.ludii.judge"
    extra: ClassVar[str] = "ludii"
    language: ClassVar[str] = "Ludii"
    config: LudiiGameConfig

    @cached_property
    def syntax(self) -> FormGrammar:  # type: ignore[override]
        """The grammar that the jar itself reports."""
        return FormGrammar(language.grammar(self.config.jar), "game")

    def _load_corpus(self) -> tuple[str, ...]:
        return tuple(language.corpus(self.config.jar))

    def _words(self) -> list[str]:
        return language.words(self.config.jar)

    def _settings(self) -> dict[str, int | float | str]:
        return super()._settings() | {"jar": self._jar}

    @cached_property
    def _jar(self) -> str:
        """Where the jar is, whatever LUDII_JAR says later."""
        return str(find_jar(self.config.jar))
