"""What games earn: the paper's reward, its holes, and the rewards that close them; with a made-up judge, and Ludax."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rlfl_envs import load_task
from rlfl_envs.judging import Judgement
from rlfl_envs.tasks.games import LudiiGame
from rlfl_envs.tasks.games.ludax import corpus as ludax_games
from rlfl_envs.tasks.games.playouts import measures
from rlfl_envs.tasks.games.task import GameSynthesis
from tests.settings import LUDAX, LUDII, REAL_POOL, SMALL_GAMES, missing
from tests.tasks.games.row import GAME, PLAYED, PREFIX, PROMPT, RATIOS, SUFFIX, Judge

pytestmark = pytest.mark.skipif(bool(missing(LUDAX)), reason=f"needs {', '.join(missing(LUDAX))}")

REWARDS = ("paper", "strict", "success")
END = GAME[GAME.index("(end") : -2]


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize(
    ("status", "earned"),
    [("no_parse", 0), ("no_compile", 0), ("unplayable", 0.05), ("timeout", 0.01), ("crash", 0.01)],
)
def test_floors(status: str, earned: float, reward: str, judge: Judge) -> None:
    """The paper's, for what cannot be measured."""
    judge.judgement = Judgement(status, {})
    task = load_task(LUDAX, reward=reward)
    (outcome,) = task.evaluate([task.parse_prompt(PROMPT)], ["(full_board)"])
    assert (outcome.reward, outcome.is_success, outcome.status) == (earned, False, status)


def test_a_playable_game_earns_the_mean_of_cube_roots(judge: Judge) -> None:
    """And succeeds where each ratio is a half or more."""
    task = load_task(LUDAX)
    prompt = task.parse_prompt(PROMPT)
    (outcome,) = task.evaluate([prompt], ["(full_board)"])
    assert outcome.reward == pytest.approx((0.9 + 1 + 0.8) / 3)
    assert outcome.is_success
    assert outcome.parts == {name: PLAYED.get(name, outcome.parts["novelty"]) for name in task.part_names}
    judge.judgement = Judgement("playable", {**PLAYED, "drawishness": 0.49})
    assert not task.evaluate([prompt], ["(full_board)"])[0].is_success


@pytest.mark.parametrize(
    ("wins", "draws", "ended", "paper", "strict"),
    [
        ((25, 25), 0, 0.5, (1, 0.5, 1), (1, 0.5, 0.5)),
        ((1, 0), 0, 0.01, (0.99, 0.01, 1), (0.99, 0.01, 0.01)),
        ((20, 10), 60, 0.9, (0.9, 0.9, 1 / 3), (0.9, 0.9, 0.3)),
        ((50, 50), 0, 1, (1, 1, 1), (1, 1, 1)),
        ((0, 0), 0, 0, (1, 0, 0), None),  # never ends
    ],
)
def test_the_strict_reward_counts_all_playouts(
    wins: tuple[int, int],
    draws: int,
    ended: float,
    paper: tuple[float, ...],
    strict: tuple[float, ...] | None,
    judge: Judge,
) -> None:
    """What does not end is no decision; what never ends earns the floor, where the paper's reward pays a third."""
    ratios = dict(zip(("balance", "completion", "drawishness"), paper, strict=True))
    counts = {"wins_1": wins[0], "wins_2": wins[1], "draws": draws, "playouts": 100}
    judge.judgement = Judgement("playable", ratios | counts)
    for reward, expected in (("paper", paper), ("strict", strict)):
        task = load_task(LUDAX, reward=reward)
        (outcome,) = task.evaluate([task.parse_prompt(PROMPT)], ["(full_board)"])
        if expected is None:
            assert (outcome.reward, outcome.is_success, outcome.status) == (0.05, False, "playable")
            continue
        assert [outcome.parts[name] for name in ratios] == pytest.approx(expected)
        assert outcome.reward == pytest.approx(np.cbrt(expected).mean())
        assert outcome.is_success == (min(expected) >= 0.5)


def test_what_is_no_success_earns_less_than_a_quarter(judge: Judge) -> None:
    """With reward="success", whatever 12 playouts came to; a success earns what the strict reward pays."""
    strict, success = (load_task(LUDAX, reward=reward, corpus="shipped") for reward in ("strict", "success"))
    seen = set()
    for one, two, draws in itertools.product(range(13), repeat=3):
        if one + two + draws > 12:
            continue
        ended = one + two + draws
        winners = [1] * one + [2] * two + [0] * (12 - one - two)
        played = measures(winners, [9] * 12, [number < ended for number in range(12)], [[2] * 9] * 12)
        judge.judgement = Judgement("playable", played)
        (mean,), (outcome,) = strict.judge([GAME]), success.judge([GAME])
        assert (outcome.is_success, outcome.parts, outcome.status) == (mean.is_success, mean.parts, mean.status)
        seen.add(outcome.is_success)
        if outcome.is_success:
            assert outcome.reward == mean.reward >= 0.5 ** (1 / 3)
        else:
            assert outcome.reward == max(0.05, min(outcome.parts[name] for name in RATIOS) / 2)
            assert 0.05 <= outcome.reward <= min(mean.reward, 0.25)
    assert seen == {True, False}


# What ends a game on nine squares, and what that earns with each of REWARDS.
ENDS = {
    "a game without end": ("(end (if (>= (count (occupied mover)) 9) (mover win)))", (1 / 3, 0.05, 0.05)),
    "the first player always wins": ("(end (if (>= (count (occupied mover)) 3) (mover win)))", (2 / 3, 2 / 3, 0.05)),
    "always a draw": ("(end (if (full_board) (draw)))", (2 / 3, 2 / 3, 0.05)),
    "over in one move": ("(end (if (exists (occupied mover)) (mover win)))", (0.05, 0.05, 0.05)),
    "a good game": (END, None),
}


def test_holes_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ludax itself: what a game that is worthless in one respect earns; a good one earns the same with any reward."""
    monkeypatch.setattr(GameSynthesis, "_pool", REAL_POOL)
    prefix, _, suffix = GAME.partition(END)
    for name, (rule, expected) in ENDS.items():
        tasks = [load_task(LUDAX, **SMALL_GAMES | {"num_playouts": 50}, reward=reward) for reward in REWARDS]
        outcomes = [task.judge([prefix + rule + suffix])[0] for task in tasks]
        earned = [outcome.reward for outcome in outcomes]
        if expected is None:
            assert all(outcome.is_success for outcome in outcomes), name
            assert earned == [earned[0]] * 3
        else:
            assert not any(outcome.is_success for outcome in outcomes), name
            assert earned == pytest.approx(expected), name


def test_ludii_pays_alike(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the same playouts, with a corpus in place of the jar's; a missing requirement costs the reward."""
    monkeypatch.setattr(LudiiGame, "packages", ())
    monkeypatch.setattr(LudiiGame, "_load_corpus", lambda _: (GAME,))
    monkeypatch.setattr(LudiiGame, "_words", lambda _: ["game"])
    monkeypatch.setattr(LudiiGame, "_jar", "Ludii.jar")
    for counts in ((12, 0, 0), (6, 6, 0), (5, 4, 3), (1, 1, 10), (4, 2, 0), (0, 0, 0)):
        winners = [1] * counts[0] + [2] * counts[1] + [0] * (12 - sum(counts[:2]))
        played = measures(winners, [9] * 12, [number < sum(counts) for number in range(12)], [[2] * 9] * 12)
        for reward in REWARDS:
            judge.judgement = Judgement("playable", played)
            ours, theirs = (
                load_task(id, split="all", max_completion_tokens=200, reward=reward) for id in (LUDAX, LUDII)
            )
            (expected,), (outcome,) = ours.judge([GAME]), theirs.judge([GAME])
            assert (outcome.reward, outcome.is_success) == (expected.reward, expected.is_success)
            judge.judgement = Judgement("playable", {**played, "missing_requirement": 1.0})
            (lacking,) = theirs.judge([GAME])
            assert (lacking.reward, lacking.is_success) == (
                (outcome.reward, outcome.is_success) if reward == "paper" else (0.05, False)
            )


@pytest.mark.parametrize(
    ("completion", "paper", "strict"),
    [
        ("(full_board)", "(full_board)", "(full_board)"),
        ("(full_board) (draw)", "(full_board)", "(full_board)"),  # a token may bring more than the end
        ("(full_board", "(full_board", None),
        ("", "", None),
        ("x (full_board)", "x (full_board)", None),
        (")", ")", None),
        ("full_board", "full_board", None),
    ],
)
def test_what_is_judged(completion: str, paper: str, strict: str | None, judge: Judge) -> None:
    """The completion is cut at its end; only for the paper's reward is what is not one form even asked about."""
    for reward, middle in (("paper", paper), ("strict", strict), ("success", strict)):
        task = load_task(LUDAX, reward=reward)
        judge.asked.clear()
        (outcome,) = task.evaluate([task.parse_prompt(PROMPT)], [completion])
        assert [request.text for request in judge.asked] == ([] if middle is None else [PREFIX + middle + SUFFIX])
        if middle is None:
            assert (outcome.reward, outcome.status) == (0, "no_parse")


def test_the_request_is_a_function_of_the_game(judge: Judge) -> None:
    """Playouts are seeded by the game and the settings, not by how it is spaced or in which company it is judged."""
    task = load_task(LUDAX)
    prompt = task.parse_prompt(PROMPT)
    task.evaluate([prompt] * 3, ["(full_board)", "( full_board  )", "(draw)"])
    task.evaluate([prompt], ["(draw)"])
    other = load_task(LUDAX, num_playouts=50)
    other.evaluate([other.parse_prompt(PROMPT)], ["(draw)"])
    seeds = [request.seed for request in judge.asked]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3] != seeds[4]
    assert judge.asked[0].settings == (("max_turns", 500), ("num_playouts", 100))


def test_novelty(judge: Judge) -> None:
    """0 for a copy, small for a small change, large for another game; 0 for what was not even compiled."""
    task = load_task(LUDAX, mode="write", header=False, split="all")
    copy = ludax_games.shipped()["gomoku"]
    games = [copy, copy.replace("15", "14"), "(game " + " ".join(["(odd 99 thing)"] * 40) + ")"]
    found = [outcome.parts["novelty"] for outcome in task.evaluate([task.parse_prompt("")] * 3, games)]
    assert found[0] == 0
    assert found[1] == pytest.approx(1 / len(copy))
    assert found[2] > 0.5
    judge.judgement = Judgement("no_compile", {})
    assert task.evaluate([task.parse_prompt("")], games[2:])[0].parts["novelty"] == 0
