"""Ludax games: what the package ships, the grammar, and mutants."""

from __future__ import annotations

import importlib.util
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import MissingDependencyError
from rlfl_envs.tasks.games.ludax import corpus as ludax_games

pytest.importorskip("ludax", reason="needs the extra ludax")

COUNT = 300


def without_name(game: str) -> str:
    """What follows the game's own name."""
    return game.split('" ', 1)[1]


def test_shipped() -> None:
    """The 17 games of version 1.0, on one line each."""
    games = ludax_games.shipped()
    assert list(games) == sorted(games)
    assert {"tic_tac_toe", "hex", "english_draughts"} <= set(games)
    assert len(games) == 17
    assert games["tic_tac_toe"] == (
        '(game "Tic-Tac-Toe" (players 2) (equipment (board (square 3)) (pieces ("token" both))) (rules (play '
        '(repeat (P1 P2) (place "token" (destination (empty))))) (end (if (line "token" 3) (mover win)) '
        "(if (full_board) (draw)))))"
    )


@given(st.lists(st.sampled_from(["(", ")", " ", "\n", "a", "b:", '"x y"', "12"])))
def test_normalising_twice_changes_nothing(pieces: list[str]) -> None:
    """Nor does white space."""
    text = "".join(pieces)
    once = ludax_games.normalise(text)
    assert ludax_games.normalise(once) == once
    assert ludax_games.normalise(text.replace(" ", "\n\t ")) == once or '"' in text


def test_escapes_stay_in_their_string() -> None:
    """A quote after a backslash does not end it."""
    assert ludax_games.normalise('( game  "A\\"  B)" (x) )') == '(game "A\\"  B)" (x))'


def test_every_game_is_in_the_grammar() -> None:
    """By Ludax's own parser, in its own grammar; it reads normalised texts as it reads the files."""
    from lark import Lark

    path = ludax_games._package() / "grammar.lark"
    parser = Lark(path.read_text(encoding="utf-8"), start="game")
    for name, game in ludax_games.shipped().items():
        original = (path.parent / "games" / f"{name}.ldx").read_text(encoding="utf-8")
        assert parser.parse(game) == parser.parse(original), name
    for game in ludax_games.mutants(COUNT)[::5]:
        parser.parse(game)


def test_the_grammar_for_llguidance() -> None:
    """It takes all normalised games, and refuses near misses, other spacing and names that nobody needs among them."""
    llguidance = pytest.importorskip("llguidance")
    from rlfl_envs.masks import llguidance_vocabulary

    whole = f"{ludax_games.rules()}\nstart: game\n"
    beginning = llguidance.LLMatcher(llguidance_vocabulary([]), whole, log_level=0)
    assert not beginning.is_error(), beginning.get_error()

    def accepts(text: str) -> bool:
        matcher = beginning.deep_copy()
        return bool(matcher.consume_tokens([*text.encode()])) and matcher.is_accepting()

    games = [*ludax_games.shipped().values(), *ludax_games.mutants(COUNT)]
    assert all(map(accepts, games))
    game = ludax_games.shipped()["tic_tac_toe"]
    assert accepts(game.replace("Tic-Tac-Toe", "x" * 32))
    near = [("3", "0"), ("empty", "empti"), (" ", "  "), ("(play ", "(play"), ("Tic-Tac-Toe", "x" * 33), ('"', "'")]
    for wrong in (game[:-1], game + ")", *(game.replace(*pair) for pair in near)):
        assert not accepts(wrong), wrong


def test_mutants_are_a_pure_function() -> None:
    """The same again, fewer are the beginning of more, another seed gives others."""
    games = ludax_games.mutants(COUNT)
    ludax_games.mutants.cache_clear()
    assert ludax_games.mutants(COUNT) == games
    assert ludax_games.mutants(20) == games[:20]
    assert set(ludax_games.mutants(20, seed=1)).isdisjoint(games)


def test_mutants_differ() -> None:
    """From each other and from what is shipped, and not in the name alone."""
    games = ludax_games.mutants(COUNT)
    rules = {without_name(game) for game in [*games, *ludax_games.shipped().values()]}
    assert len(rules) == COUNT + 17


def test_mutants_stay_in_range() -> None:
    """Cells are on the board, lines fit, pieces are defined, and boards are no larger than the shipped ones."""
    kinds = set()
    for game in ludax_games.mutants(COUNT):
        match = re.search(r"\(board \((\w+) (\d+)(?: (\d+))?\)\)", game)
        assert match is not None
        kinds.add(match[1])
        sides = [int(side) for side in match.groups()[1:] if side]
        assert 3 <= min(sides) <= max(sides) <= 19
        assert all(3 <= int(length) <= min(sides) for length in re.findall(r'\(line "\w+" (\d+)', game))
        assert all(int(row) < sides[0] for row in re.findall(r"\(row (\d+)\)", game))
        cells = [int(cell) for list_ in re.findall(r'" (?:P\d )?\(([\d ]+)\)', game) for cell in list_.split()]
        assert all(cell < sides[0] * sides[-1] for cell in cells)
        assert len(cells) == len(set(cells))
        pieces = re.findall(r'\("(\w+)" (?:both|P1|P2)\)', game)
        used = re.findall(r'\((?:place|slide|step|hop|line|custodial|corner_custodial|connected) "(\w+)"', game)
        assert set(used) <= set(pieces)
    assert kinds == {"square", "rectangle", "hexagon", "hex_rectangle"}


def test_start_positions_stay_at_both_ends() -> None:
    """A larger board keeps what stands in a corner in its corner."""
    game = ludax_games._grown(ludax_games.shipped()["hop_through"], 8, 2)
    assert "(board (square 10))" in game
    assert '(place "token" P1 ((row 8) (row 9)))' in game
    assert '(place "token" P2 ((row 0) (row 1)))' in game
    draughts = ludax_games._grown(ludax_games.shipped()["english_draughts"], 8, 2)
    assert re.findall(r"\(([\d ]+)\)", draughts) == [
        "70 72 76 78 81 83 87 89 90 92 96 98",
        "1 3 7 9 10 12 16 18 21 23 27 29",
    ]


def test_every_swap_is_of_use() -> None:
    """Each changes at least one shipped game, and none leaves the grammar (see above)."""
    for old, new in ludax_games._SWAPS:
        assert any(re.sub(old, new, game) != game for game in ludax_games.shipped().values()), old


def test_without_ludax(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that says what to install."""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ludax" else found(name))
    ludax_games.shipped.cache_clear()
    with pytest.raises(MissingDependencyError, match="need the package ludax: pip install"):
        ludax_games.shipped()
    ludax_games.shipped.cache_clear()
