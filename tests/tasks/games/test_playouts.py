"""The measures of playouts, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rlfl_envs.tasks.games.playouts import measures


def test_by_hand() -> None:
    """Five playouts: player 1 wins two, player 2 one, a draw, and one that does not end."""
    found = measures(
        winners=[1, 1, 2, 0, 0],
        turns=[3, 2, 2, 2, 1],
        has_ended=[True, True, True, True, False],
        choices=[[4, 2, 1], [4, 1], np.array([4, 1]), [4, 3], [4]],
    )
    assert found == {
        "balance": pytest.approx(1 - 1 / 5),
        "completion": pytest.approx(4 / 5),
        "drawishness": pytest.approx(3 / 4),
        "mean_turns": pytest.approx(2.0),
        "agency": pytest.approx(7 / 10),
        "branching": pytest.approx(28 / 10),
        "wins_1": 2,
        "wins_2": 1,
        "draws": 1,
        "playouts": 5,
    }


def test_a_game_that_never_ends() -> None:
    """Balanced and not drawish, since nobody wins: the paper's formula pays for the balance alone."""
    found = measures([0] * 3, [9] * 3, [False] * 3, [[2] * 9] * 3)
    assert (found["balance"], found["completion"], found["drawishness"]) == (1, 0, 0)
    assert found["draws"] == found["wins_1"] == found["wins_2"] == 0


@pytest.mark.parametrize(("num_players", "balance"), [(1, 1.0), (2, 0.0), (3, 0.0)])
def test_players(num_players: int, balance: float) -> None:
    """The largest difference between any two; a game for one is balanced."""
    found = measures([1, 1], [1, 1], [True, True], [[1], [1]], num_players=num_players)
    assert found["balance"] == balance
    assert [f"wins_{player}" in found for player in (1, 2, 3)] == [True, num_players > 1, num_players > 2]


def test_no_turn() -> None:
    """A game that is over before it begins has measures too."""
    found = measures([0], [0], [True], [[]])
    assert (found["mean_turns"], found["agency"], found["branching"], found["draws"]) == (0, 0, 0, 1)
