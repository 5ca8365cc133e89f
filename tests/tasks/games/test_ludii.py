"""Ludii: what is refused before Java is asked, what each error says, the grammar; with a jar, real games."""

from __future__ import annotations

import os
import random
import re
import string
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlfl_envs.errors import ConfigError, MissingDependencyError
from rlfl_envs.judging import Pool, Request
from rlfl_envs.tasks.games.ludii import judge as ludii
from rlfl_envs.tasks.games.ludii.language import corpus, grammar, lark, words

CROSSES = (
    '(game "Crosses" (players 2) (equipment {(board (square 3)) (piece "Stone" Each)}) '
    "(rules (play (move Add (to (sites Empty)))) (end (if (is Line 3) (result Mover Win)))))"
)


def crosses(old: str, new: str) -> str:
    """The game above with a part of it changed."""
    assert old in CROSSES
    return CROSSES.replace(old, new)


def status_of(text: str) -> str | None:
    """What the screen says of a text; None where it lets it pass."""
    judgement = ludii.screen(Request(text))
    return judgement.status if judgement else None


# --- before Java is asked --------------------------------------------------------------------------------------------

PASS = {
    "a game": CROSSES,
    "the paper's reward pays for text around a game": f"Here it is: {CROSSES} (and more)",
    "brackets in a string": crosses("Stone", ":-) }["),
    "the largest square": crosses("(square 3)", "(square 44)"),
    "operators": crosses("(is Line 3)", "(and (< (count Pieces) 9) (>= (counter) 2))"),
    "numbers in words": crosses("(square 3)", "(tiling T33336 3)"),
    "zeros without end": crosses("(square 3)", f"(square {'0' * 5000}3)"),
    "a hundred ends": crosses(
        "(if (is Line 3) (result Mover Win))",
        "{" + " ".join(f"(if (is Line {n}) (result Mover Win))" for n in range(3, 103)) + "}",
    ),
}
REFUSE = {
    "nothing": ("", "no_parse"),
    "no game": ("(board (square 3))", "no_parse"),
    "a match": ('(match "Chess twice" (games {(subgame "Chess")}))', "no_parse"),
    "open": (CROSSES[:-1], "no_parse"),
    "closed twice": (CROSSES + ")", "no_parse"),
    "crossed": (crosses("(square 3)", "(square {3)}"), "no_parse"),
    "an open string": (crosses('"Stone"', '"Stone'), "no_parse"),
    "a search for games": (crosses("(square 3)", "[(square 3) (hex 3)]"), "no_parse"),
    "a range of sites": (crosses("(sites Empty)", '(sites {"A1".."Z999999"})'), "no_parse"),
    "a bracket bomb": ("(game " + "{" * 3000 + "}" * 3000 + ")", "no_compile"),
    "a comment that hides the end": (CROSSES[:-3] + "//)))", "no_parse"),
    "nested deeply": (crosses("(is Line 3)", "(not " * 120 + "(is Line 3)" + ")" * 120), "no_compile"),
    "long": (CROSSES + " " * 20_000, "no_compile"),
    "a huge number": (crosses("(is Line 3)", "(is Line 100000)"), "no_compile"),
    "a million players": (crosses("(players 2)", "(players 1000000)"), "no_compile"),
    "digits without end": (crosses("(is Line 3)", f"(is Line {'9' * 5000})"), "no_compile"),
    "digits that end in a letter": (crosses("(square 3)", f"(square {'9' * 5000}x)"), "no_compile"),
    "a large square": (crosses("(square 3)", "(square 60)"), "no_compile"),
    "a large square after zeros": (crosses("(square 3)", "(square 00000060)"), "no_compile"),
    "a large diamond": (crosses("(square 3)", "(square Diamond 60)"), "no_compile"),
    "a large rectangle": (crosses("(square 3)", "(rectangle 1 3000)"), "no_compile"),
    "a large hexagon": (crosses("(square 3)", "(hex 40)"), "no_compile"),
    "a large tiling": (crosses("(square 3)", "(tiling T3636 60)"), "no_compile"),
    "large circles": (crosses("(square 3)", "(concentric {9000 9000})"), "no_compile"),
    "a large hand": (crosses("(square 3))", "(square 3)) (hand Each size:9999)"), "no_compile"),
}


@pytest.mark.parametrize("name", PASS)
def test_screen_passes(name: str) -> None:
    """What Ludii can compile in time passes."""
    assert status_of(PASS[name]) is None


@pytest.mark.parametrize("name", REFUSE)
def test_screen_refuses(name: str) -> None:
    """What Ludii would refuse, or hang on, is refused."""
    text, status = REFUSE[name]
    assert status_of(text) == status


@pytest.mark.timing
def test_screen_is_fast_on_garbage() -> None:
    """Ten thousand random strings, and the worst that fits into the length limit."""
    rng = random.Random(0)
    alphabet = string.printable + "(){}é漢\ud800\0" + '"' * 3
    begin = time.perf_counter()
    for _ in range(10_000):
        text = "".join(rng.choices(alphabet, k=rng.randrange(120)))
        assert status_of(text) is not None
    for piece in ("(", '"', '\\"', "/", "//", "1..", "((", "(square ", "(game ", "(square 1 ", "(hex size:{", "9", " "):
        status_of(piece * (20_000 // len(piece)))
    assert time.perf_counter() - begin < 5


def test_normalise() -> None:
    """White space and comments do not matter to Ludii; a string may have slashes."""
    spread = CROSSES.replace("(", "\n ( ").replace("}", " } ").replace(" (rules", " // the rules: (\n(rules")
    assert ludii.normalise(spread) == ludii.normalise(CROSSES) == CROSSES
    assert ludii.normalise('( piece "a // b"\tcount: 3 ) // c') == '(piece "a // b" count:3)'


# --- errors ----------------------------------------------------------------------------------------------------------


def fake_jar(path: Path, class_version: int = 52) -> str:
    """A file with the two entries that a jar is known by."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("compiler/Compiler.class", b"\xca\xfe\xba\xbe\0\0" + class_version.to_bytes(2))
        archive.writestr("game/Game.class", b"")
    return str(path)


def test_no_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where to get it and what to set; what is wrong with the one that is named."""
    monkeypatch.delenv("LUDII_JAR", raising=False)
    with pytest.raises(MissingDependencyError, match=r"^Ludii's jar is not part .* https://ludii.games.* LUDII_JAR"):
        ludii.find_jar()
    monkeypatch.setenv("LUDII_JAR", str(tmp_path / "nowhere.jar"))
    with pytest.raises(ConfigError, match=r"^jar='.*nowhere.jar' is no file"):
        ludii.find_jar()


def test_another_jar(tmp_path: Path) -> None:
    """A file that is no jar, and a jar of something else."""
    pytest.importorskip("jpype", reason="needs jpype1")
    text, other = tmp_path / "text.jar", tmp_path / "other.jar"
    text.write_text("not a jar")
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("Main.class", b"")
    for path in (text, other):
        with pytest.raises(ConfigError, match=rf"^jar='.*{path.name}' is not Ludii's jar"):
            ludii.find_jar(str(path))


def test_no_jpype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="jpype1: pip install"):
        ludii.find_jar(fake_jar(tmp_path / "fake.jar"))


def test_no_java_or_an_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, and where the old one is."""
    pytest.importorskip("jpype", reason="needs jpype1")
    jar, home = fake_jar(tmp_path / "fake.jar", class_version=61), tmp_path / "java"
    home.mkdir()
    monkeypatch.setenv("JAVA_HOME", str(home))
    for version, is_new in (("1.8.0_392", False), ("11.0.20", False), ("17.0.9", True), ("25", True)):
        (home / "release").write_text(f'IMPLEMENTOR="Anybody"\nJAVA_VERSION="{version}"\n')
        if is_new:
            assert ludii.find_jar(jar) == Path(jar)
        else:
            with pytest.raises(
                MissingDependencyError, match=r"needs Java 17 or newer, and this is Java (8|11): .*JAVA_"
            ):
                ludii.find_jar(jar)
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"^Ludii needs Java, and none was found: .*JAVA_HOME"):
        ludii.find_jar(jar)


@pytest.mark.skipif(sys.platform != "linux", reason="Java's library has other names elsewhere")
def test_a_java_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, not taken for a crash of each game; and told where the jar is first read."""
    for package in ("jpype", "pebble"):
        pytest.importorskip(package, reason=f"needs {package}")
    jar, library = fake_jar(tmp_path / "fake.jar"), tmp_path / "java" / "lib" / "server" / "libjvm.so"
    library.parent.mkdir(parents=True)
    library.write_text("no library")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    monkeypatch.setenv("RLFL_CACHE", str(tmp_path / "cache"))
    with (
        Pool("rlfl_envs.tasks.games.ludii.judge") as pool,
        pytest.raises(MissingDependencyError, match=r"^Java could not be started: .*libjvm.*; set JAVA_HOME"),
    ):
        pool.evaluate([Request(CROSSES, (("jar", jar),))])
    with pytest.raises(ConfigError, match=r"^jar='.*fake.jar' cannot be read as Ludii's jar: Java could not be "):
        corpus(jar)


def test_a_jar_without_games(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one of Ludii's programs alone."""
    pytest.importorskip("jpype", reason="needs jpype1")
    jar = fake_jar(tmp_path / "fake.jar")
    monkeypatch.setattr("rlfl_envs.tasks.games.ludii.language._read", lambda jar, name: "[]")
    monkeypatch.setattr("rlfl_envs.tasks.games.ludii.judge._java_home", lambda: tmp_path)
    with pytest.raises(ConfigError, match=r"^jar='.*fake.jar' holds no games; take the one from ludii.games\.$"):
        corpus(jar)


# --- the grammar -----------------------------------------------------------------------------------------------------

EBNF = """//-----------------------
// shapes

<game>     ::= (game <string> [<int>] {<shape>}) |
               <match>
<shape>    ::= (shape <colour> (<int> | {<int>}) [at:<int> | near:<string>]) | (both (<int> <colour>)) | <op.<=>
<op.<=>    ::= (<= <float> <float>) | (not [<nowhere>]) | (is <nowhere>)
<int>      ::= int | Off | (size
               <boolean>)
<float>    ::= float
<boolean>  ::= boolean
<string>   ::= string
<colour>   ::= Red | Blue
"""


@pytest.mark.parametrize(
    ("text", "is_derived"),
    [
        ('(game "A" {(shape Red 3)})', True),
        ('(game "A" Off {(shape Red {1 -2} at:3) (shape Blue (size True) near:"B C")})', True),
        ('(game "A" {(both 1) (both Red) (<= .5 -1.25) (<= 1 2) (not)})', True),
        ('(game "A" {})', False),
        ('(game "A"{(shape Red 3)})', False),
        ('(game "A"  {(shape Red 3)})', False),
        ('(game "A" {(shape Green 3)})', False),
        ('(game "A" {(shape Red 3 at:"B")})', False),
        ('(game "A" {(shape Red 1.5)})', False),
        ('(game "A" {(both 1 Red)})', False),
        ('(game "A" {(is 1)})', False),
        ('(game "A" {(not)}) ', False),
    ],
)
def test_lark(text: str, is_derived: bool) -> None:
    """Forms, groups, lists, options, labels, operators, and rules that are missing, as llguidance reads them."""
    llguidance = pytest.importorskip("llguidance", reason="needs llguidance")
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), lark(EBNF) + "start: game\n")
    assert not matcher.get_error()
    consumed = matcher.try_consume_tokens([*text.encode()])
    assert (consumed == len(text) and matcher.is_accepting()) == is_derived


# --- with a jar ------------------------------------------------------------------------------------------------------

real = pytest.mark.skipif(not os.environ.get("LUDII_JAR"), reason="needs a jar of Ludii, named by LUDII_JAR")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One worker for all."""
    pool = Pool("rlfl_envs.tasks.games.ludii.judge", workers=1, timeout=20)
    yield pool
    pool.close()


@real
def test_crosses(pool: Pool) -> None:
    """The same seed plays the same; the measures are those of tic-tac-toe."""
    short = (("max_turns", 5), ("num_playouts", 40))
    requests = [Request(CROSSES, seed=1), Request(CROSSES, seed=1), Request(CROSSES, seed=2), Request(CROSSES, short)]
    first, again, other, cut = pool.evaluate(requests)
    assert first.status == "playable"
    assert first == again
    assert first.parts != other.parts
    assert first.parts["completion"] == 1
    assert 0.5 < first.parts["balance"] < 0.9  # who begins wins about six in ten, and three are lost
    assert 0.8 < first.parts["drawishness"] < 0.96
    assert 7 < first.parts["mean_turns"] < 8.5
    assert 4.5 < first.parts["branching"] < 6
    assert cut.status == "playable"
    assert 0 < cut.parts["completion"] < 0.3  # a line on the fifth move
    assert cut.parts["mean_turns"] == 5


MOVE = "(move Add (to (sites Empty)))"
HOSTILE = {
    "not a game": ("(game 1)", "no_compile"),
    "an unknown word": (crosses("(is Line 3)", "(is Lion 3)"), "no_compile"),
    "recursion": (crosses('"Stone" Each', '"Stone" Each (forEach Piece)'), "no_compile"),
    "a definition of itself": ('(define "A" (and ("A") ("A"))) ' + crosses("(is Line 3)", '("A")'), "no_compile"),
    "seventeen players": (crosses("(players 2)", "(players 17)"), "no_compile"),
    "no player": (crosses("(players 2)", "(players 0)"), "unplayable"),
    "a loop in play": (crosses("Empty))", "Empty)) (then (while True (moveAgain)))"), "unplayable"),
    "no move at all": (crosses("(sites Empty)", "(sites Occupied by:Mover)"), "unplayable"),
    "over at once": (crosses("(is Line 3)", "True"), "unplayable"),
    "one player for ever": (crosses(MOVE, "(move Pass (then (moveAgain)))"), "unplayable"),
    "a memory bomb": (crosses(MOVE, f"(forEach Value min:0 max:(* 9999 9999) {MOVE})"), "crash"),
    "a computed board": (crosses("(square 3)", "(square (* 20 20))"), "timeout"),
    "a hundred ends": (PASS["a hundred ends"], "playable"),
    "a hundred nots": (crosses("(is Line 3)", "(not " * 90 + "(is Line 3)" + ")" * 90), "playable"),
    "text around": (PASS["the paper's reward pays for text around a game"], "playable"),
}


@real
@pytest.mark.timing
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_games(name: str) -> None:
    """Each is refused at the right stage, in bounded time; the worker after it judges the next game as ever."""
    text, status = HOSTILE[name]
    pool = Pool("rlfl_envs.tasks.games.ludii.judge", workers=1, timeout=20)
    try:
        (before,) = pool.evaluate([Request(CROSSES)])
        begin = time.perf_counter()
        found, after = pool.evaluate([Request(text), Request(CROSSES, seed=0, settings=(("num_playouts", 100),))])
        # On a busy machine the time may be up before the memory is.
        assert found.status in ({"crash", "timeout"} if status == "crash" else {status})
        assert after.parts == before.parts
        assert time.perf_counter() - begin < 45
    finally:
        pool.close()


CLASSICS = {
    "Tic-Tac-Toe": (7, 9),
    "Connect Four": (18, 25),
    "Gomoku": (90, 140),
    "Hex": (95, 115),
    "Reversi": (58, 66),
    "Breakthrough": (55, 72),
    "Amazons": (60, 76),
    "English Draughts": (60, 85),
}


@real
@pytest.mark.parametrize("name", CLASSICS)
def test_classics(pool: Pool, name: str) -> None:
    """Played at random they end, seldom in a draw, about as often for either player, after so many turns."""
    (game,) = (game for game in corpus() if game.startswith(f'(game "{name}" '))
    (judgement,) = pool.evaluate([Request(game)])
    least, most = CLASSICS[name]
    assert judgement.status == "playable"
    assert judgement.parts["completion"] == 1
    assert judgement.parts["drawishness"] > 0.8
    assert judgement.parts["balance"] > 0.5
    assert least <= judgement.parts["mean_turns"] <= most


@real
def test_a_missing_requirement_is_reported(pool: Pool) -> None:
    """Ludii plays a game that asks for the dice it has not; the strict reward does not pay for it."""
    dice = crosses("(is Line 3)", "(and (is Line 3) (>= (count Pips) 0))")
    found = pool.evaluate([Request(CROSSES), Request(dice)])
    assert [(judgement.status, judgement.parts["missing_requirement"]) for judgement in found] == [
        ("playable", 0),
        ("playable", 1),
    ]


@real
def test_corpus_and_grammar() -> None:
    """Over a thousand games, each different, none refused by the screen; llguidance reads nearly all."""
    llguidance = pytest.importorskip("llguidance", reason="needs llguidance")
    games = corpus()
    assert games == corpus(os.environ["LUDII_JAR"])
    assert len(games) > 1000
    assert len(set(games)) == len(games)
    assert all(status_of(game) is None and ludii.normalise(game) == game for game in games)
    whole = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar() + "start: game\n")
    assert not whole.get_error()

    def is_derived(game: str) -> bool:
        matcher = whole.deep_copy()
        return matcher.try_consume_tokens([*game.encode()]) == len(game.encode()) and matcher.is_accepting()

    some = games[::10]
    assert sum(map(is_derived, some)) > 0.97 * len(some)
    assert {"game", "Empty", "at:"} <= set(words())
    assert len(words()) < 1500
    assert not any(is_derived(re.sub(r"\(play ", "(pray ", game)) for game in some)
