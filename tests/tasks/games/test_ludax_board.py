"""Boards of Ludax games: where the cells are. `tests/agents/test_cli.py` draws one."""

from __future__ import annotations

import numpy as np
import pytest

from rlfl_envs.tasks.games.ludax.board import cells


@pytest.mark.parametrize(
    ("board", "count", "corners", "neighbours"),
    [
        ("(square 3)", 9, 4, 4),
        ("(rectangle 2 5)", 10, 4, 3),
        ("(hexagon 5)", 19, 6, 6),
        ("(hex_rectangle 3 4)", 12, 6, 6),
    ],
)
def test_cells(board: str, count: int, corners: int, neighbours: int) -> None:
    """As many as Ludax has, one apart from their neighbours, and cells touch without overlapping."""
    places, outline = cells(f'(game "A" (equipment (board {board})))')
    assert places.shape == (count, 2)
    assert outline.shape == (corners, 2)
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() == pytest.approx(1)
    assert (apart < 1.01).sum(axis=1).max() == neighbours
    assert outline[:, 0].max() == pytest.approx(0.5)


def test_order() -> None:
    """Row by row from the top, left to right; a hexagon's rows are centred, a hex rectangle's slant to the right."""
    assert cells("(board (rectangle 2 3))")[0].tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    assert cells("(board (hexagon 3))")[0][:, 0].tolist() == [0.5, 1.5, 0, 1, 2, 0.5, 1.5]
    assert cells("(board (hex_rectangle 2 2))")[0][:, 0].tolist() == [0, 1, 0.5, 1.5]
