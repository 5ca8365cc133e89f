"""Teach a small language model to make board games, and look at the best that it made.

    python examples/synthesise_games.py                              # Ludax, from PyPI alone
    python examples/synthesise_games.py --env-id rlfl/LudiiGame-v0   # with Java and LUDII_JAR

A small GPT-2 reads the corpus (a warm start, by imitation), then PPO with batch entropy fills holes in games for the
strict reward. The best new games are saved with their measures and a picture each. Interrupt it at will, the same
command resumes.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from rlfl_agents.config import PPOConfig, SFTConfig
from rlfl_agents.evaluate import Evaluation, Share, evaluate_policy
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import train
from rlfl_agents.presets import preset
from rlfl_agents.sft import warm_start
from rlfl_envs import ConfigError, Outcome, load_task
from rlfl_envs.judging import kept
from rlfl_envs.tasks.games.task import GameSynthesis

PLAYOUTS = 100


def main(
    env_id: str = "rlfl/LudaxGame-v0",
    examples: int = 2000,
    epochs: int = 6,
    total_samples: int | None = None,
    held_out: int = 256,
    best: int = 10,
    seed: int = 0,
    run_dir: Path | None = None,
) -> None:
    """Warms a model up, trains it, compares before and after, and saves the best new games.

    Args:
        env_id: Which language.
        examples: How many holes the warm start learns to fill.
        epochs: How often it sees each.
        total_samples: How many completions PPO learns from; the preset's number by default.
        held_out: How many held-out holes before and after are compared on; the games are those of after.
        best: How many games are saved.
        seed: Of warm start and training.
        run_dir: Where the run is written; runs/games-<id>-seed<seed> by default.
    """
    began = time.perf_counter()
    run = run_dir or Path("runs") / f"games-{env_id.removeprefix('rlfl/')}-seed{seed}"
    config = preset(env_id, model=str(run / "warm"), seed=seed)
    config = dataclasses.replace(config, env_kwargs=config.env_kwargs | {"cache": str(run / "judged")})
    if total_samples is not None:
        config = dataclasses.replace(config, total_samples=total_samples)
    if not (run / "warm" / "config.json").exists():
        size: dict[str, Any] = {"layers": config.layers, "width": config.width, "heads": config.heads}
        warm = SFTConfig(
            env_id, config.env_kwargs, seed, examples, epochs, eval_prompts=1, learning_rate=2e-3, threads=1, **size
        )
        warm_start(warm, run / "warm")
    train(config, run / "ppo", resume=True)

    # Held-out games are judged by more playouts than training can afford.
    judging = {"num_playouts": PLAYOUTS}
    after = load_policy(run / "ppo" / "policy", None, judging, num_envs=held_out, trust_folder=True)
    before = load_policy(run / "warm", env_id, config.env_kwargs | judging, num_envs=held_out, trust_folder=True)
    task = after.envs.task
    assert isinstance(task, GameSynthesis)
    evaluations = {
        name: evaluate_policy(loaded.policy, after.envs, held_out, greedy=False)
        for name, loaded in (("before", before), ("after", after))
    }
    found = {name: summary(task, evaluation) for name, evaluation in evaluations.items()}
    print(f"\n{held_out} held-out holes, sampled" + "".join(f"{name:>10}" for name in found))
    for measure in found["after"]:
        print(f"{measure:32}" + "".join(f"{values[measure][0]:10.3f}" for values in found.values()))
    for name in task.part_names:
        print(f"{name:32}" + "".join(f"{evaluation.parts[name]:10.3f}" for evaluation in evaluations.values()))

    counts = keep_best(task, config, run, best)
    minutes = (time.perf_counter() - began) / 60
    result = {"seed": seed, "held_out": held_out, "minutes": minutes, **found, **counts}
    (run / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nGames: {run / 'games'} (all.csv lists all), learning curves: {run / 'ppo' / 'curves.png'}")


def keep_best(task: GameSynthesis, config: PPOConfig, run: Path, best: int) -> dict[str, Any]:
    """Lists all playable games that a run made, judges the best new ones once more, and saves those.

    Args:
        task: What judges once more.
        config: The run's settings.
        run: The run's folder.
        best: How many are saved.

    Returns:
        How many games there were, how many of them copies, and what the best earned.
    """
    trained = load_task(config.env_id, **config.env_kwargs)
    assert isinstance(trained, GameSynthesis)
    playouts = trained.config.num_playouts
    judged = [(dict(request.settings), request.text, judgement) for request, judgement in kept(run / "judged")]
    made = [
        game
        for settings, game, judgement in judged
        if settings["num_playouts"] == playouts and judgement.status == "playable"
    ]
    ranked = sorted(zip(made, trained.judge(made), strict=True), key=reward_first)
    new = [game for game, outcome in ranked if outcome.parts["novelty"] > 0]
    folder = run / "games"
    folder.mkdir(exist_ok=True)
    with (folder / "all.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["reward", "is_copy", *task.part_names, "game"])
        for game, outcome in ranked:
            rows.writerow([outcome.reward, outcome.parts["novelty"] == 0, *outcome.parts.values(), game])
    print(f"\n{len(ranked)} different playable games were made, {len(ranked) - len(new)} of them copies of the corpus.")
    print(f"The best new ones, by {PLAYOUTS} playouts:")
    finalists = new[: 3 * best]
    winners = sorted(zip(finalists, task.judge(finalists), strict=True), key=reward_first)[:best]
    for rank, (game, outcome) in enumerate(winners, start=1):
        save(task, folder / f"{rank:02}", game, outcome, config.seed)
        print(f"{rank:3}  reward {outcome.reward:.3f}  novelty {outcome.parts['novelty']:.3f}  {game[:80]}")
    return {
        "games": len(ranked),
        "copies": len(ranked) - len(new),
        "best": [outcome.reward for _, outcome in winners],
    }


def reward_first(made: tuple[str, Outcome]) -> tuple[float, str]:
    """Sorts games by what they earned, the best first."""
    game, outcome = made
    return -outcome.reward, game


def summary(task: GameSynthesis, evaluation: Evaluation) -> dict[str, tuple[float, float, float]]:
    """The shares of playable games and of successes, and the mean reward, each with its 95% interval."""
    samples = evaluation.samples
    games = [task.game(task.parse_prompt(sample.prompt), sample.completion) for sample in samples]
    # All were judged already: the pool remembers.
    playable = Share.of(np.array([outcome.status == "playable" for outcome in task.judge(games)]))
    rewards = np.array([sample.reward for sample in samples])
    error = 1.96 * float(rewards.std(ddof=1)) / len(rewards) ** 0.5
    return {
        "playable": (playable.mean, playable.low, playable.high),
        "success": (evaluation.success.mean, evaluation.success.low, evaluation.success.high),
        "reward": (evaluation.reward, evaluation.reward - error, evaluation.reward + error),
    }


def save(task: GameSynthesis, stem: Path, game: str, outcome: Outcome, seed: int) -> None:
    """Writes a game, its measures and, where the language has pictures, its board after a random playout."""
    stem.with_suffix(".game").write_text(game + "\n", encoding="utf-8")
    measures = {"reward": outcome.reward, "status": outcome.status, **outcome.parts}
    stem.with_suffix(".json").write_text(json.dumps(measures, indent=2) + "\n", encoding="utf-8")
    try:
        task.illustrate(stem.with_suffix(".png"), game, seed)
    except ConfigError as error:
        print(f"     {error}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
