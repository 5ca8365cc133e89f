"""Pictures of Ludax games: the board after a random playout.

Ludax itself draws for its web page only, SVG by way of Flask; this needs matplotlib. The playout is stock Ludax's, in
this process, and takes seconds: it is for games that were judged playable.
"""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.errors import MissingDependencyError, how_to_install

__all__ = ["cells", "draw_board"]

_MARKERS = "os^*D"  # by kind of piece
_COLOURS = ("#fafafa", "#323232")  # by player


def draw_board(game: str, path: Path, *, max_turns: int, seed: int = 0) -> int:
    """Plays a game at random and writes a picture of where it ended (PNG, or what the suffix says).

    Args:
        game: A game that can be played.
        path: Where the picture goes.
        max_turns: After how many turns the playout is stopped.
        seed: Of the playout.

    Returns:
        The number of turns.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(f"Pictures need matplotlib: {how_to_install('ludax')}")
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and chooses a window system

    places, corners = cells(game)
    position, turns = _playout(game, max_turns, seed)
    width, height = np.ptp(places, axis=0) + 2
    figure = Figure(figsize=(6, 6 * height / width), layout="tight")
    axes = figure.subplots()
    for x, y in places:
        axes.fill(x + corners[:, 0], y + corners[:, 1], facecolor="#d2e6ff", edgecolor="#8fa3b8", linewidth=1)
    for kind, owners in enumerate(position):
        for player, colour in enumerate(_COLOURS):
            x, y = places[owners == player].T
            marker = _MARKERS[kind % len(_MARKERS)]
            axes.scatter(x, y, s=(220 / width) ** 2, marker=marker, c=colour, edgecolors="#555555", zorder=2)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.axis("off")
    figure.savefig(path, dpi=100)
    return turns


def cells(game: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the cells of a game's board are, y pointing down.

    Returns:
        The middle of each cell in Ludax's order, [cells, 2], and a cell's corners around it, [4 or 6, 2].
    """
    match = re.search(r"\(board\s*\(\s*(\w+)\s+(\d+)(?:\s+(\d+))?", game)
    assert match is not None, game
    kind, rows, columns = match[1], int(match[2]), int(match[3] or match[2])
    if kind in ("square", "rectangle"):
        places = [(float(column), float(row)) for row in range(rows) for column in range(columns)]
        return np.array(places), np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    step = math.sqrt(3) / 2  # from row to row of hexagons that stand on a corner and are 1 wide
    if kind == "hex_rectangle":
        places = [(column + row / 2, row * step) for row in range(rows) for column in range(columns)]
    else:  # a hexagon: a row has one cell less for each row that it lies away from the middle
        middle = rows // 2
        away = [abs(row - middle) for row in range(rows)]
        places = [(column + away[row] / 2, row * step) for row in range(rows) for column in range(rows - away[row])]
    angles = np.arange(6) * np.pi / 3 + np.pi / 6
    return np.array(places), np.stack([np.cos(angles), np.sin(angles)], axis=1) / math.sqrt(3)


def _playout(game: str, max_turns: int, seed: int) -> tuple[NDArray[np.int8], int]:
    """The board at the end, [kinds of pieces, cells]: 0 or 1 for the owner, -1 for none; and the turns played."""
    import jax
    from ludax import LudaxEnvironment
    from ludax.game_info import RenderingInfo

    RenderingInfo.piece_shape_mapping = {}  # shared by all games, and full after five names of pieces
    environment = LudaxEnvironment(game_str=game)
    step = jax.jit(environment.step)
    state = environment.init(jax.random.PRNGKey(seed))
    rng, turns = np.random.default_rng(seed), 0
    while turns < max_turns and not bool(state.terminated):
        legal = np.flatnonzero(state.legal_action_mask)
        if not len(legal):
            break
        state = step(state, int(rng.choice(legal)))
        turns += 1
    return np.asarray(state.game_state.board), turns
