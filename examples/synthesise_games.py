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
from pathlib import Path

import tyro

from rlfl_agents.evaluate import Evaluation, evaluate_policy
from rlfl_agents.models import load_policy
from rlfl_agents.ppo import train
from rlfl_agents.presets import preset
from rlfl_agents.sft import SFTConfig, warm_start
from rlfl_envs import ConfigError, Outcome
from rlfl_envs.backends.pool import kept
from rlfl_envs.tasks.game_synthesis import GameSynthesis


def main(
    env_id: str = "rlfl/LudaxGame-v0",
    examples: int = 4000,
    epochs: int = 6,
    total_samples: int | None = None,
    held_out: int = 128,
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
    run = run_dir or Path("runs") / f"games-{env_id.removeprefix('rlfl/')}-seed{seed}"
    config = preset(env_id, model=str(run / "warm"), seed=seed)
    config = dataclasses.replace(config, env_kwargs=config.env_kwargs | {"cache": str(run / "judged")})
    if total_samples is not None:
        config = dataclasses.replace(config, total_samples=total_samples)
    if not (run / "warm" / "config.json").exists():
        size = {"layers": config.layers, "width": config.width, "heads": config.heads}
        warm = SFTConfig(env_id, config.env_kwargs, seed, examples, epochs, eval_prompts=16, threads=1, **size)
        warm_start(warm, run / "warm")
    train(config, run / "ppo", resume=True)

    after = load_policy(run / "ppo" / "policy", None, {}, num_envs=held_out)
    before = load_policy(run / "warm", env_id, config.env_kwargs, num_envs=held_out)
    task = after.envs.task
    assert isinstance(task, GameSynthesis)
    evaluations = {
        name: evaluate_policy(loaded.policy, after.envs, held_out, greedy=False)
        for name, loaded in (("before", before), ("after", after))
    }
    print(f"\n{held_out} held-out holes, sampled" + "".join(f"{name:>10}" for name in evaluations))
    shares = {name: share_playable(task, evaluation) for name, evaluation in evaluations.items()}
    print(f"{'playable':32}" + "".join(f"{share:10.3f}" for share in shares.values()))
    print(f"{'reward':32}" + "".join(f"{evaluation.reward:10.3f}" for evaluation in evaluations.values()))
    for name in task.part_names:
        print(f"{name:32}" + "".join(f"{evaluation.parts[name]:10.3f}" for evaluation in evaluations.values()))

    games = [game for game, judgement in kept(run / "judged") if judgement.status == "playable"]
    ranked = sorted(zip(games, task.judge(games), strict=True), key=lambda made: -made[1].reward)
    new = [(game, outcome) for game, outcome in ranked if outcome.parts["novelty"] > 0]
    folder = run / "games"
    folder.mkdir(exist_ok=True)
    with (folder / "all.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["reward", "is_copy", *task.part_names, "game"])
        for game, outcome in ranked:
            rows.writerow([outcome.reward, outcome.parts["novelty"] == 0, *outcome.parts.values(), game])
    print(f"\n{len(ranked)} different playable games were made, {len(ranked) - len(new)} of them copies of the corpus.")
    print("The best new ones:")
    for rank, (game, outcome) in enumerate(new[:best], start=1):
        save(task, folder / f"{rank:02}", game, outcome, seed)
        print(f"{rank:3}  reward {outcome.reward:.3f}  novelty {outcome.parts['novelty']:.3f}  {game[:80]}")
    print(f"\nGames: {folder} (all.csv lists all), learning curves: {run / 'ppo' / 'curves.png'}")


def share_playable(task: GameSynthesis, evaluation: Evaluation) -> float:
    """The share of an evaluation's completions that make a playable game (all were judged: the pool remembers)."""
    games = [task.game(task.parse_prompt(sample.prompt), sample.completion) for sample in evaluation.samples]
    return sum(outcome.status == "playable" for outcome in task.judge(games)) / len(games)


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
