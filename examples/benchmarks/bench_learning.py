"""Learning curves with seeds (`make bench-learning`): each run leaves a line of results, and is not run again.

Plain PPO against PPO with batch entropy on rlfl/ArithmeticAnswer-v0, the same settings but for the coefficient, 3 seeds
each, 153,600 completions a run. Budget: 6 runs of about 4 minutes on one core.

    python examples/benchmarks/bench_learning.py [--jobs 2] [--plot-only]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import rlfl_envs
from rlfl_agents.ppo import PPOConfig
from rlfl_agents.run.results import find_results
from rlfl_agents.sweep import Job, run_missing, train_agent

RESULTS = Path(__file__).parent / "results" / "learning.jsonl"
PICTURES = Path(__file__).parents[2] / "docs" / "_static"
SEEDS = (0, 1, 2)
COLUMNS = ("samples", "reward", "eval/success", "eval/reward", "entropy", "batch_entropy", "batch_max_action")

# The paper's algorithm: a learned value, whitened advantages, four epochs, one completion per prompt.
PAPER = PPOConfig(
    env_id="rlfl/ArithmeticAnswer-v0",
    layers=2,
    width=64,
    heads=2,
    prompts=512,
    epochs=4,
    minibatches=4,
    advantage="gae",
    learning_rate=1e-3,
    total_samples=153_600,
    eval_every=10,
    eval_prompts=1024,
    save_every=10**6,
)
VARIANTS = {"PPO": PAPER, "PPO + batch entropy": dataclasses.replace(PAPER, batch_entropy_coef=0.3)}


def jobs() -> list[Job]:
    """All runs."""
    return [
        Job(
            RESULTS,
            {"variant": variant, "seed": seed},
            partial(train_agent, dataclasses.replace(config, seed=seed), COLUMNS),
        )
        for seed in SEEDS
        for variant, config in VARIANTS.items()
    ]


def load() -> dict[str, list[dict[str, Any]]]:
    """Reads the finished runs, by variant."""
    return {variant: find_results(RESULTS, variant=variant) for variant in VARIANTS}


def table() -> str:
    """Writes mean and range over seeds of what counts at the end."""
    lines = [
        "| variant | seeds | exact, greedy | mean reward | batch entropy | largest p̄ | minutes |",
        "| --- " * 7 + "|",
    ]
    for variant, runs in load().items():
        cells = []
        for name in ("eval/success", "eval/reward", "batch_entropy", "batch_max_action", "clock/minutes"):
            values = [run["final"][name] for run in runs]
            cells.append(f"{statistics.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})" if values else "-")
        lines.append(f"| {variant} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot() -> None:
    """Draws exact answers, mean reward and batch entropy over the completions sampled, a line per seed."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = {"exact answers, held-out": "eval/success", "mean reward, held-out": "eval/reward"}
    panels["batch entropy (nats)"] = "batch_entropy"
    axes = figure.subplots(1, 3)
    runs = load()
    for axis, (title, column) in zip(axes, panels.items(), strict=True):
        for i, (variant, found) in enumerate(runs.items()):
            for n, result in enumerate(found):
                curve = result["curve"]
                label = variant if n == 0 else None
                thousands = [samples / 1000 for samples in curve["samples"]]
                axis.plot(thousands, curve[column], color=f"C{i}", alpha=0.8, linewidth=1.4, label=label)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("thousand completions sampled", fontsize=9)
        axis.grid(alpha=0.3)
    constant = best_constant(PAPER.env_id)
    for axis, level in zip(axes, (constant.success, constant.reward, 0.0), strict=True):
        axis.axhline(level, color="grey", linestyle=":", label=f"always answering {constant.example}")
    axes[0].set_ylim(0, 1.02)
    axes[1].set_ylim(0.6, 1.01)
    axes[0].legend(fontsize=8)
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / "answer.png", dpi=130)


def best_constant(env_id: str) -> rlfl_envs.Baseline:
    """The best constant answer on held-out prompts."""
    found = rlfl_envs.baselines(rlfl_envs.load_task(env_id, split="test"), num_prompts=2000)
    return next(baseline for baseline in found if baseline.name == "best constant answer")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then writes the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args(arguments)
    if not chosen.plot_only:
        run_missing(jobs(), chosen.jobs)
    print(table())
    plot()


if __name__ == "__main__":
    main()
