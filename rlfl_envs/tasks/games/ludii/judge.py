"""Ludii: compiles a game and plays it at random, in a Java virtual machine of the worker's own.

Ludii (https://ludii.games) is under CC BY-NC-ND 4.0: nothing of it comes with this library, and the user names a jar.
It ignores interrupts, so that only ending the process stops a game; the worker pool does that.

Differences to the paper's evaluation, which compiles twice and replays every playout for every measure:
a playout is stopped after `max_turns` moves in all, where the paper's end after 500 turns for each player and a player
who may move again and again has one turn for ever; and legal moves are counted while they are played.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlfl_envs.errors import ConfigError, MissingDependencyError, how_to_install
from rlfl_envs.judging import Judgement, Request
from rlfl_envs.tasks.games.playouts import measures

__all__ = ["digest_of", "ebnf", "expand", "find_jar", "judge", "normalise", "screen", "start", "version"]

_DOWNLOAD = "download it from https://ludii.games/download.php and name it by LUDII_JAR (or jar=)"
_FLAGS = (
    "-Xmx768m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # the optimising compiler costs more than it saves in a game's few seconds
    "-XX:+ExitOnOutOfMemoryError",  # the pool sees a crash; a machine without memory would go on for minutes
    "-XX:-UsePerfData",  # no files in the temporary folder
    f"-XX:ErrorFile={os.devnull}",
    "-Xrs",  # signals are Python's
    "-Djava.awt.headless=true",
)

# --- the jar and Java ------------------------------------------------------------------------------------------------


def find_jar(jar: str = "") -> Path:
    """The path of Ludii's jar, after a look at whether it can be used here; starts no Java.

    Args:
        jar: The jar; by default what the environment variable LUDII_JAR names.

    Raises:
        ConfigError: There is no such file, or it is not Ludii's jar.
        MissingDependencyError: No jar is named, or JPype or a Java that is new enough is missing.
    """
    named = jar or os.environ.get("LUDII_JAR", "")
    if not named:
        raise MissingDependencyError(f"Ludii's jar is not part of this library: {_DOWNLOAD}.")
    path = Path(named).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"jar={named!r} is no file; Ludii's jar is needed: {_DOWNLOAD}.")
    if importlib.util.find_spec("jpype") is None:
        raise MissingDependencyError(f"Ludii needs the package jpype1: {how_to_install('ludii')}")
    needed, home = _java_needed(path), _java_home()
    found = _java_version(home)
    if found is not None and found < needed:
        raise MissingDependencyError(
            f"jar={named!r} needs Java {needed} or newer, and this is Java {found}: {home}; install a newer "
            "one, or set JAVA_HOME to one."
        )
    return path


def _java_needed(jar: Path) -> int:
    """The oldest Java that can read both the jar's classes and JPype's."""
    try:
        with zipfile.ZipFile(jar) as archive, archive.open("compiler/Compiler.class") as file:
            head = file.read(8)
            archive.getinfo("game/Game.class")
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise ConfigError(f"jar={str(jar)!r} is not Ludii's jar ({error}); {_DOWNLOAD}.") from error
    return max(9, int.from_bytes(head[6:8]) - 44)  # the version of the class file format: 52 is Java 8


def _java_home() -> Path:
    """Where JPype will look for Java first; asking it would load it into the caller's process."""
    named, program = os.environ.get("JAVA_HOME"), shutil.which("java")
    home = Path(named) if named else Path(program).resolve().parents[1] if program else None
    if home is None or not home.is_dir():
        raise MissingDependencyError(
            "Ludii needs Java, and none was found: install one (a JRE will do), or set JAVA_HOME to one."
        )
    return home


def _java_version(home: Path) -> int | None:
    """The version that the file `release` of a Java installation tells; None where there is no such file."""
    for folder in (home, home.parent):
        try:
            release = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', (folder / "release").read_text(), flags=re.MULTILINE)
        except (OSError, UnicodeDecodeError):
            continue
        if release:
            return int(release[1])
    return None


def version(request: Request) -> str:
    """Of the judgements: this module's, and the jar's."""
    return f"2 {digest_of(find_jar(str(dict(request.settings).get('jar', ''))))}"


def digest_of(jar: Path) -> str:
    """Twelve hexadecimal digits for a jar's content."""
    return _digest(jar, jar.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _digest(jar: Path, _changed: int) -> str:
    with jar.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()


# --- before Java is asked --------------------------------------------------------------------------------------------

_MAX_CHARACTERS = 20_000  # the jar's longest games that the corpus takes have 10,000
_MAX_DEPTH = 100  # the jar's deepest game has 35
_MAX_NUMBER = 10_000  # the largest number in the jar's games; one more digit is a loop or a memory bomb
_MAX_CELLS = 2000  # the largest board in the jar has 1,681; compiling 2,400 takes 9 s, 3,600 more than 20
_PARTS = re.compile(r'"(?:[^"\\]|\\.)*"?|//[^\n]*|[(){}\[\]]|(?<![\w.])\d+(?![\w.])|\.\.')
_BOARD = re.compile(
    r"\((square|rectangle|hex|tri|rhombus|brick|celtic|quadhex|tiling|spiral|concentric|wedge|repeat|morris|hand)\b"
    r"(?:\s+[A-Z]\w*)*(?:\s+size:)?([\d\s{]*)"
)
_CLOSING = {")": "(", "}": "{"}


def screen(request: Request) -> Judgement | None:
    """Refuses what Ludii would, and what would keep it busy for minutes; in linear time, and without Java.

    "no_parse": brackets do not match, no `(game ...)`, or brackets or ranges that Ludii completes by a search of its
    games; "no_compile": too long, too deep, or with a number or a board that is beyond all games of Ludii's.
    """
    text = request.text
    if len(text) > _MAX_CHARACTERS:
        return Judgement("no_compile")
    opened: list[str] = []
    is_sane = True
    last = ""
    for match in _PARTS.finditer(text):
        part = match[0]
        if part in "({":
            opened.append(part)
            is_sane &= len(opened) <= _MAX_DEPTH
        elif part in ")}":
            if not opened or opened.pop() != _CLOSING[part]:
                return Judgement("no_parse")
        elif part in "[]" or (part == ".." and last.startswith('"')):  # a search for games, a range of sites
            return Judgement("no_parse")
        elif part.isdigit():
            is_sane &= _number(part) <= _MAX_NUMBER
        elif part.startswith('"') and not (len(part) > 1 and part.endswith('"')):
            return Judgement("no_parse")
        last = part
    if opened or re.search(r"\(game\s", text) is None:
        return Judgement("no_parse")
    return None if is_sane and all(map(_is_small, _BOARD.finditer(text))) else Judgement("no_compile")


def _is_small(board: re.Match[str]) -> bool:
    """Whether a board's numbers make at most about `_MAX_CELLS` cells; a number that is computed counts as none."""
    numbers = [*map(_number, re.findall(r"\d+", board[2]))]
    if not numbers:
        return True
    if board[1] in ("concentric", "hand"):
        return sum(numbers) <= _MAX_CELLS
    if board[1] in ("square", "rectangle", "repeat"):
        return numbers[0] * numbers[-1] <= _MAX_CELLS
    return 3 * numbers[0] * numbers[-1] <= 2 * _MAX_CELLS  # cells of a hexagonal board


def _number(digits: str) -> int:
    """An integer, if it is a small one: Python refuses to read thousands of digits, zeros too."""
    return int(digits.lstrip("0")[:6] or "0")


def normalise(text: str) -> str:
    """A game as Ludii reads it: no comments, white space single or, beside a bracket or after a colon, none."""
    text = " ".join(re.sub(r'("[^"]*")|//[^\n]*', lambda match: match[1] or " ", text).split())
    return re.sub(r"(?<=[({]) | (?=[)}])|(?<=\w:) ", "", text)


# --- in the worker ---------------------------------------------------------------------------------------------------


def start(settings: Mapping[str, int | float | str]) -> None:
    """Starts Java with the jar that the settings name."""
    _ludii(str(settings.get("jar", "")))


def judge(request: Request) -> Judgement:
    """Compiles a game and plays it at random.

    Settings: `num_playouts` (100 by default), `max_turns` (500; moves of all players together), `jar` (by default what
    LUDII_JAR names). The parts are those of `measures`, and `missing_requirement`: 1 where Ludii knows that the game
    lacks something that its rules need, or that it will crash. A game of fewer than two players is unplayable.
    """
    import jpype

    settings = dict(request.settings)
    ludii = _ludii(str(settings.get("jar", "")))
    num_playouts, max_turns = int(settings.get("num_playouts", 100)), int(settings.get("max_turns", 500))
    try:
        game = ludii.compile(request.text)
    except jpype.JException:  # any java.lang.Throwable, such as an overflow of the stack
        return Judgement("no_compile")
    try:
        parts = ludii.play(game, num_playouts, max_turns, request.seed)
    except jpype.JException:
        return Judgement("unplayable")
    return Judgement("playable" if parts.get("mean_turns", 0) >= 2 else "unplayable", parts)


def expand(text: str, jar: str = "") -> str:
    """A game with its definitions and default options written out; nothing where Ludii finds an error."""
    return _ludii(jar).expand(text)


def ebnf(jar: str = "") -> str:
    """The grammar that Ludii reports."""
    return _ludii(jar).ebnf()


class _Ludii:
    """Ludii's classes in this process's Java machine."""

    def __init__(self, jar: Path) -> None:
        import jpype
        import jpype.config

        if jpype.isJVMStarted():
            raise ConfigError(f"jar={str(jar)!r} is not the one that this process has started Java with.")
        jpype.config.destroy_jvm = False  # at the end, which would wait for Ludii's threads
        try:
            jpype.startJVM(*_FLAGS, classpath=[str(jar)], convertStrings=False, interrupt=False)
        except (OSError, RuntimeError, ValueError) as error:  # no game's fault
            raise MissingDependencyError(f"Java could not be started: {error}; set JAVA_HOME to another.") from error
        self._class = functools.cache(jpype.JClass)
        self._bytes = jpype.JArray(jpype.JByte)
        silence = self._class("java.io.PrintStream")(self._class("java.io.File")(os.devnull))
        self._class("java.lang.System").setOut(silence)  # it prints whatever one asks
        self._class("java.lang.System").setErr(silence)

    def _arguments(self, text: str) -> tuple[Any, Any, Any]:
        """What Ludii's expander and compiler take: a description, no options chosen, a report."""
        options = self._class("main.options.UserSelections")(self._class("java.util.ArrayList")())
        return self._class("main.grammar.Description")(text), options, self._class("main.grammar.Report")()

    def expand(self, text: str) -> str:
        description, options, report = self._arguments(text)
        self._class("parser.Expander").expand(description, options, report, False)
        return "" if report.isError() else str(description.expanded())

    def ebnf(self) -> str:
        return str(self._class("grammar.Grammar").grammar().toString())

    def compile(self, text: str) -> Any:
        return self._class("compiler.Compiler").compile(*self._arguments(text), False)

    def play(self, game: Any, num_playouts: int, max_moves: int, seed: int) -> dict[str, float]:
        """Plays uniformly at random; the same seed plays the same. Nothing without a first move, or against nobody."""
        num_players = int(game.players().count())
        if num_players < 2:
            return {}
        game.disableMemorylessPlayouts()  # they are faster, but do not tell how many legal moves there were
        game.setMaxTurns(max_moves)
        game.setMaxMoveLimit(max_moves)
        trial = self._class("other.trial.Trial")(game)
        trial.storeLegalMovesHistorySizes()
        context = self._class("other.context.Context")(game, trial)
        state = self._bytes((seed % 2**63).to_bytes(8, "little"))
        context.rng().restoreState(self._class("org.apache.commons.rng.core.RandomProviderDefaultState")(state))
        random = self._class("java.util.Random")(seed % 2**63)  # chooses moves; the context's own rolls the dice
        winners: list[int] = []
        turns: list[int] = []
        has_ended: list[bool] = []
        branching: list[list[int]] = []
        for _ in range(num_playouts):
            trial.auxilTrialData().clear()
            game.start(context)
            if not winners and all(move.isForced() for move in game.moves(context).moves()):
                return {}
            game.playout(context, None, 1.0, None, 0, -1, random)
            winners.append(int(trial.status().winner()))
            turns.append(int(trial.numTurns()))
            has_ended.append(str(trial.status().endType()) not in ("MoveLimit", "TurnLimit"))
            branching.append(list(trial.auxilTrialData().legalMovesHistorySizes().toArray()))
        lacks = bool(game.hasMissingRequirement() or game.willCrash())
        parts = measures(winners, turns, has_ended, branching, num_players=num_players)
        return {**parts, "missing_requirement": float(lacks)}


@functools.cache
def _ludii(jar: str) -> _Ludii:
    return _machine(find_jar(jar))


@functools.cache
def _machine(jar: Path) -> _Ludii:
    return _Ludii(jar)
