"""A small game with a hole, and a judge that plays nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rlfl_envs.judging import Judgement, Request

GAME = (
    '(game "Row" (players 2) (equipment (board (square 3)) (pieces ("dot" both))) (rules (play (repeat (P1 P2) '
    '(place "dot" (destination (empty))))) (end (if (line "dot" 3) (mover lose)) (if (full_board) (draw)))))'
)
PREFIX, MIDDLE, SUFFIX = GAME.partition("(full_board)")
PROMPT = f"### PRE:{PREFIX}### SUF: {SUFFIX}### MID:"
RATIOS = {"balance": 0.729, "completion": 1.0, "drawishness": 0.512}
COUNTS = {"wins_1": 40.0, "wins_2": 12.0, "draws": 48.0, "playouts": 100.0}
PLAYED = RATIOS | {"mean_turns": 8.0, "agency": 0.9, "branching": 4.5} | COUNTS


class Judge:
    """Says the same of every game, and keeps what it was asked."""

    def __init__(self, status: str = "playable", parts: dict[str, float] = PLAYED) -> None:
        """Takes what it will say."""
        self.judgement = Judgement(status, parts)
        self.asked: list[Request] = []

    def evaluate(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judges."""
        self.asked += requests
        return [self.judgement] * len(requests)
