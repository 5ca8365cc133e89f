"""What random playouts of a game say of it, whatever its language: the measures of Padula & Soemers 2024."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["measures"]


def measures(
    winners: Sequence[int],
    turns: Sequence[int],
    has_ended: Sequence[bool],
    choices: Sequence[ArrayLike],
    num_players: int = 2,
) -> dict[str, float]:
    """Computes a game's measures from its playouts, one or more.

    Args:
        winners: Who won each playout, 1..num_players; 0 for nobody.
        turns: How many turns each had, 0 or more.
        has_ended: Whether each ended by the game's rules; where not, nobody has won.
        choices: How many legal moves there were, turn by turn: integers [T] for each playout.
        num_players: 1 or more.

    Returns:
        * `balance`: 1 - the largest difference between two players' shares of wins, in [0, 1]. At n playouts its
          standard error is up to 1 / sqrt(n).
        * `completion`: the share of playouts that ended, in [0, 1].
        * `drawishness`: 1 - the share of draws among those that ended, in [0, 1]; 0 where none did.
        * `mean_turns`: turns per playout, 0 or more.
        * `agency`: the share of turns with more than one legal move, in [0, 1]; 0 where there was no turn.
        * `branching`: the mean number of legal moves in a turn, 0 or more.
        * `wins_1`, ..., `wins_<num_players>`, `draws`, `playouts`: counts. What did not end is no draw.
    """
    won, ended = np.asarray(winners), np.asarray(has_ended, dtype=bool)
    wins = [int((won[ended] == player).sum()) for player in range(1, num_players + 1)]
    draws = int((won[ended] == 0).sum())
    counts = np.concatenate([np.asarray(legal).ravel() for legal in choices])
    return {
        "balance": 1.0 - (max(wins) - min(wins)) / len(won),
        "completion": float(ended.mean()),
        "drawishness": 1.0 - draws / int(ended.sum()) if ended.any() else 0.0,
        "mean_turns": float(np.mean(turns)),
        "agency": float((counts > 1).mean()) if len(counts) else 0.0,
        "branching": float(counts.mean()) if len(counts) else 0.0,
        **{f"wins_{player}": float(count) for player, count in enumerate(wins, start=1)},
        "draws": float(draws),
        "playouts": float(len(won)),
    }
