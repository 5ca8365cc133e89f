"""Ludax games: the ones that the package ships, and mutants of them.

Ludax (Todd et al. 2025, arXiv 2506.22609) and its games are under the Apache License 2.0. They are read from the
installed package. Mutants are derived works of them, under the same licence.

A mutant is a shipped game after one to three changes, each chosen at random:

- *board*: another size. Cells and rows that the game names move with their half of the board, so that the two sides
  still start at its two ends. Games that name no place may get a board of another kind.
- *lengths*: every line one longer or shorter, never below 3 and never longer than the board.
- *rules*: one of `_SWAPS`: where pieces move, who moves when, what a line is worth, a capture or an end more.

Half of the mutants also give their pieces other names, and all have a name of their own. A change keeps a game
well-formed and what it refers to in place, so that the backend accepts the result.
"""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from rlfl_envs.errors import MissingDependencyError, how_to_install
from rlfl_envs.tasks.games.bracketed import STRING, split_strings

__all__ = ["mutants", "normalise", "rules", "shipped", "words"]

_ATOMS = re.compile(r'[()"]|[^\s()"]+')
_NAME = re.compile(rf"^\(game {STRING}")
_PIECES = ("stone", "pebble", "disc", "bead", "knight", "tower", "guard", "scout", "hare", "fox", "crow", "lion")
_WORDS = (
    *("Amber", "Birch", "Cedar", "Dune", "Ember", "Fjord", "Glade", "Harbour", "Iron", "Juniper", "Kelp", "Lantern"),
    *("Marble", "North", "Orchard", "Pine", "Quartz", "River", "Silver", "Thistle", "Umber", "Valley", "Willow"),
)


# --- what the package has --------------------------------------------------------------------------------------------


def _package() -> Path:
    """The installed package's folder, found without importing it: that would load JAX."""
    spec = importlib.util.find_spec("ludax")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(f"Ludax games need the package ludax: {how_to_install('ludax')}")
    return Path(spec.submodule_search_locations[0])


@lru_cache(maxsize=1)
def shipped() -> dict[str, str]:
    """The games of the installed package by file name, sorted, normalised.

    Raises:
        MissingDependencyError: ludax is not installed.
    """
    paths = sorted((_package() / "games").glob("*.ldx"))
    return {path.stem: normalise(path.read_text(encoding="utf-8")) for path in paths}


@lru_cache(maxsize=1)
def rules() -> str:
    """Ludax's own grammar in llguidance's dialect of Lark, without a `start`; its rule of a whole game is `game`.

    Three edits make it so: llguidance knows no `?` before a rule and no imports, and wants a `start` of its own. Two
    more take freedom from it that says nothing: white space is where `normalise` has it, and a name has up to 32
    letters, digits, spaces and hyphens.

    Raises:
        MissingDependencyError: ludax is not installed.
    """
    text = (_package() / "grammar.lark").read_text(encoding="utf-8")
    text = re.sub(r"//.*|^%.*|^\?", "", text, flags=re.MULTILINE)
    return _RULE.sub(lambda rule: rule[1] + _spaced(rule[2]), text) + _TERMINALS


_TERMINALS = """
STRING: /"[A-Za-z0-9 -]{1,32}"/
SIGNED_NUMBER: /[+-]?[0-9]+/
"""
_RULE = re.compile(r"^([a-z_]\w*:)((?:.|\n(?=\s*\|))*)", flags=re.MULTILINE)
_ITEM = re.compile(r'\||(?:"[^"]*"|/[^/]*/|\([^()"]*\)|\w+)[?+]?')  # a bar, a symbol or a group


def _spaced(body: str) -> str:
    """The right side of a rule with a space before each item, but none after "(" or ":" nor before ")"."""
    written, is_glued = [], True
    for item in _ITEM.findall(body):
        if item == "|":
            is_glued = True
        elif is_glued or item == '")"':
            is_glued = item.endswith(('("', ':"'))
            item = f'{item[:-1]} (" " {item[:-1]})*' if item.endswith("+") else item
        else:
            item = f'(" " {item[:-1]}){item[-1]}' if item[-1] in "?+" else f'" " {item}'
        written.append(item)
    return " " + " ".join(written)


def words() -> list[str]:
    """The language's own words, such as "line" or "direction:", sorted.

    Raises:
        MissingDependencyError: ludax is not installed.
    """
    return sorted(set(re.findall(r'"([A-Za-z]\w*:?)"', rules())))


@lru_cache(maxsize=1024)  # a request's text is asked for several times
def normalise(text: str) -> str:
    """One line, single spaces between two atoms or forms, and none elsewhere. Means the same to Ludax."""
    pieces = split_strings(text)
    lexemes = [[piece] if i % 2 else _ATOMS.findall(piece) for i, piece in enumerate(pieces)]
    line = " ".join(chain.from_iterable(lexemes))
    return line.replace("( ", "(").replace(" )", ")").replace(": (", ":(")


# --- mutants ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def mutants(count: int, seed: int = 0) -> tuple[str, ...]:
    """Different games made from the shipped ones; fewer of them are the beginning of more.

    Args:
        count: How many, 0..10,000.
        seed: Of all choices.

    Raises:
        MissingDependencyError: ludax is not installed.
    """
    games = [*shipped().values()]
    met = {_NAME.sub("", game) for game in games}
    found: list[str] = []
    rng = np.random.default_rng(seed)
    while len(found) < count:
        mutant = _mutant(games[rng.integers(len(games))], rng)
        rules = _NAME.sub("", mutant)
        if rules not in met:
            met.add(rules)
            found.append(mutant)
    return tuple(found)


def _mutant(game: str, rng: np.random.Generator) -> str:
    changes = (_with_another_board, _with_other_lengths, _with_another_rule)
    for _ in range(rng.integers(1, 4)):
        game = changes[rng.integers(len(changes))](game, rng)
    words = rng.choice(_WORDS, size=2, replace=False)
    game = _NAME.sub(f'(game "{" ".join(words)}"', game)
    return _with_other_pieces(game, rng) if rng.integers(2) else game


def _with_other_pieces(game: str, rng: np.random.Generator) -> str:
    pieces = re.findall(r'\("(\w+)" (?:both|P1|P2)\)', game)
    for piece, other in zip(pieces, rng.choice(_PIECES, size=len(pieces), replace=False), strict=True):
        game = game.replace(f'"{piece}"', f'"{other}"')
    return game


# --- boards and lines ------------------------------------------------------------------------------------------------

_BOARD = re.compile(r"\(board \((\w+) (\d+)(?: (\d+))?\)\)")
_CELLS = re.compile(r'(?<=" )\([\d ]+\)|(?<= P[12] )\([\d ]+\)')  # of start positions and regions
_ROW = re.compile(r"\((row|column) (\d+)\)")
_LINE = re.compile(r'(?<=\(line )("\w+") (\d+)')
_LARGEST = {"square": 19, "rectangle": 19, "hexagon": 13, "hex_rectangle": 13}
_PLACES = ("(center)", "(edge", "direction:", "orientation:")  # these mean something else on another kind of board


def _with_another_board(game: str, rng: np.random.Generator) -> str:
    match = _BOARD.search(game)
    assert match is not None
    kind, size = match[1], int(match[2])
    if _CELLS.search(game) or _ROW.search(game):
        if kind != "square":
            return game
        more = 2 if _CELLS.search(game) else int(rng.integers(1, 4))  # an even number keeps a chessboard's colours
        return _grown(game, size, more) if size + more <= _LARGEST[kind] else game
    if rng.integers(2) and not any(word in game for word in _PLACES):
        kind = str(rng.choice([*_LARGEST]))
    longest = max([3, *(int(line[2]) for line in _LINE.finditer(game))])
    largest = 11 if "(connected" in game else _LARGEST[kind]  # Ludax's `connected` is wrong above 126 cells
    sizes = np.arange(max(longest, size - 4), min(largest, size + 4) + 1)
    if kind == "hexagon" or "(center)" in game:
        sizes = sizes[sizes % 2 == 1]  # Ludax's hexagons have odd diameters, and only odd boards a middle
    count = 2 if "rectangle" in kind else 1
    if not len(sizes):
        return game
    return _BOARD.sub(f"(board ({kind} {' '.join(map(str, rng.choice(sizes, size=count)))}))", game)


def _grown(game: str, size: int, more: int) -> str:
    """A larger square board: what stands in its second half, in either direction, moves to the new end."""

    def moved(place: int) -> int:
        return place if 2 * place < size else place + more

    def cells(match: re.Match[str]) -> str:
        pairs = [divmod(int(cell), size) for cell in match[0][1:-1].split()]
        return f"({' '.join(str(moved(row) * (size + more) + moved(column)) for row, column in pairs)})"

    game = _CELLS.sub(cells, game)
    game = _ROW.sub(lambda match: f"({match[1]} {moved(int(match[2]))})", game)
    return _BOARD.sub(f"(board (square {size + more}))", game)


def _with_other_lengths(game: str, rng: np.random.Generator) -> str:
    match = _BOARD.search(game)
    assert match is not None
    shorter_side = min(int(side) for side in match.groups()[1:] if side)
    lengths = [int(line[2]) for line in _LINE.finditer(game)]
    if not lengths:
        return game
    deltas = [delta for delta in (-1, 1) if min(lengths) + delta >= 3 and max(lengths) + delta <= shorter_side]
    delta = deltas[rng.integers(len(deltas))] if deltas else 0
    return _LINE.sub(lambda line: f"{line[1]} {int(line[2]) + delta}", game)


# --- rules -----------------------------------------------------------------------------------------------------------

# What is looked for and what takes its place, as regular expressions. One that changes nothing is not a choice.
_SWAPS = (
    ("direction:orthogonal", "direction:any"),
    ("direction:any", "direction:orthogonal"),
    ("direction:any", "direction:diagonal"),
    (r"(?<=step \"king\" )direction:diagonal", "direction:any"),
    (r"\(repeat \(P1 P2\)", "(repeat (P1 P1 P2 P2)"),
    (r"\(repeat \(P1 P2\)", "(repeat (P1 P2 P2 P1)"),
    (r"\(repeat \(P2 P2 P1 P1\)", "(repeat (P2 P1)"),
    (r"(\(if \(line [^()]*\)) \(mover win\)", r"\1 (mover lose)"),
    (r"(?<=\(if )\(line (\"\w+\") (\d+)\)", r"(line \1 \2 exact:true)"),
    (r" exact:true", ""),
    (r"(\(place (\"\w+\") \(destination \(empty\)\))\)", r"\1 (effects (capture (custodial \2 1))))"),
    (r"(\(place (\"\w+\") \(destination \(empty\)\))\)", r"\1 (effects (flip (custodial \2 any))))"),
    (r"(custodial \"\w+\") 2", r"\1 1"),
    (r"\(score mover\) 10", "(score mover) 4"),
    (r"\(occupied opponent\)\) 1\)", "(occupied opponent)) 3)"),
    (r"^((?!.*full_board).*\(place [^P]* \(mover win\)\))", r"\1 (if (full_board) (draw))"),
    (r"^((?!.*no_legal_actions).*\(move \(.* \(mover win\)\))", r"\1 (if (no_legal_actions) (mover win))"),
)


def _with_another_rule(game: str, rng: np.random.Generator) -> str:
    changed = [re.sub(old, new, game) for old, new in _SWAPS]
    choices = [other for other in changed if other != game]
    return choices[rng.integers(len(choices))] if choices else game
