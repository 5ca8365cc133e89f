"""Other people's algorithms and ours on our ids, about equal tokens each (`make bench-algorithms`).

Ten algorithms (seven of Stable-Baselines3 and sb3-contrib, three ways to run our agent) and TRL's GRPO learn five ids
from random weights, mask "none", default sizes. A contender's settings are the same on all ids (sb3_settings.py, and
AGENT below), picked by hand in a few tries, not searched; only SB3's network goes by the id. Success is greedy, on
1,000 held-out prompts.

Budget: 263 runs on one core each, of up to 25 minutes; 11 core-hours in all. Each run leaves one line of
results/algorithms.jsonl, and what has one is not run again: stop it and go on at will. Draws
docs/_static/algorithms.png; `make docs-pages` puts the tables into README.md and docs/benchmark.md.

    python examples/benchmarks/bench_algorithms.py [--ids rlfl/Copy-v0] [--algorithms PPO DQN] [--seeds 0 1] [--jobs 2]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from rlfl_agents.ppo import PPOConfig
from rlfl_agents.run.results import find_results
from rlfl_agents.sweep import Job, run_missing, train_agent

RESULTS = Path(__file__).parent / "results" / "algorithms.jsonl"
PICTURES = Path(__file__).parents[2] / "docs" / "_static"
GOAL = 0.9

TOKENS = {
    "rlfl/Copy-v0": 80_000,
    "rlfl/Brackets-v0": 150_000,
    "rlfl/Arithmetic-v0": 300_000,
    "rlfl/ArithmeticAnswer-v0": 300_000,
    "rlfl/ArithmeticSteps-v0": 50_000,
}
# Our agent and TRL count completions: about as many tokens as each has over a run, EOS included. A policy that learns
# to end its completions has fewer (ours 81% to 93% of its tokens on Brackets and ArithmeticSteps).
COMPLETION_TOKENS = {
    "rlfl/Copy-v0": 4.0,
    "rlfl/Brackets-v0": 4.0,
    "rlfl/Arithmetic-v0": 1.0,
    "rlfl/ArithmeticAnswer-v0": 1.0,
    "rlfl/ArithmeticSteps-v0": 18.7,
}

SB3 = ("PPO", "MaskablePPO", "RecurrentPPO", "A2C", "TRPO", "DQN", "QRDQN")
_AGENT: dict[str, Any] = {"layers": 2, "width": 64, "heads": 4, "lr_schedule": "linear", "entropy_coef": 0.01}
_PPO = _AGENT | {"prompts": 256, "epochs": 4, "minibatches": 4, "learning_rate": 1e-3}
AGENT: dict[str, dict[str, Any]] = {
    "rlfl PPO": _PPO,
    "rlfl PPO + batch entropy": _PPO | {"batch_entropy_coef": 0.3, "batch_entropy_coef_final": 0.1},
    "rlfl RLOO": _AGENT | {"advantage": "rloo", "prompts": 16, "group_size": 8, "epochs": 1, "learning_rate": 2e-3},
}
TRL = "TRL GRPO"
ALGORITHMS = (*SB3, *AGENT, TRL)


def seeds(algorithm: str, id: str) -> range:
    """Five; three of our PPO and of TRL on one-token answers, whose runs take longest, 4 to 23 minutes each."""
    is_slow = COMPLETION_TOKENS[id] == 1 and algorithm in (TRL, "rlfl PPO", "rlfl PPO + batch entropy")
    return range(3 if is_slow else 5)


# --- one run -----------------------------------------------------------------------------------------------------
# The libraries are imported by the run that needs them, so that the table can be made without.


def run(algorithm: str, id: str, seed: int) -> dict[str, Any]:
    """Trains one contender.

    Returns:
        What to keep; its `curve` has tokens, seconds (of the processor, evaluations left out) and success at ten or so
        evaluations.
    """
    started = time.perf_counter()
    train = run_sb3 if algorithm in SB3 else run_agent if algorithm in AGENT else run_trl
    curve = train(algorithm, id, seed)
    return {
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "curve": {name: [round(value, 4) for value in values] for name, values in curve.items()},
    }


def run_sb3(algorithm: str, id: str, seed: int) -> dict[str, list[float]]:
    """One of SB3's or sb3-contrib's, with the settings of sb3_settings.py."""
    from sb3_settings import train_sb3

    progress = train_sb3(algorithm, id, TOKENS[id], seed, quiet=True)
    return {"tokens": [*progress.tokens], "seconds": progress.seconds, "success": progress.successes}


def updates_for(id: str, rows: int) -> int:
    """How many updates of so many completions use up the id's tokens."""
    return round(TOKENS[id] / COMPLETION_TOKENS[id] / rows)


def run_agent(algorithm: str, id: str, seed: int) -> dict[str, list[float]]:
    """Ours."""
    config = PPOConfig(env_id=id, seed=seed, eval_prompts=1000, save_every=10**6, **AGENT[algorithm])
    updates = updates_for(id, config.rows)
    config = dataclasses.replace(config, total_samples=updates * config.rows, eval_every=max(1, updates // 10))
    started, started_cpu = time.perf_counter(), time.process_time()
    curve = train_agent(config, ("tokens", "clock/minutes", "eval/success"))["curve"]
    busy = (time.process_time() - started_cpu) / (time.perf_counter() - started)  # the share of the clock that was ours
    seconds = [60 * minutes * busy for minutes in curve["clock/minutes"]]
    found = {"tokens": curve["tokens"], "seconds": seconds, "success": curve["eval/success"]}
    return {name: values[1:] for name, values in found.items()}  # the first is from before training


def run_trl(algorithm: str, id: str, seed: int) -> dict[str, list[float]]:
    """TRL's GRPO on the model, the batch and the settings of our RLOO."""
    from bench_trl import Watch, their_training

    ours = PPOConfig(env_id=id, **AGENT["rlfl RLOO"])
    updates = updates_for(id, ours.rows)
    watch = Watch(id, every=max(1, updates // 10))
    their_training(
        id,
        ours.prompts,
        ours.group_size,
        updates,
        watch,
        seed,
        learning_rate=ours.learning_rate,
        lr_scheduler_type=ours.lr_schedule,
        entropy_coef=ours.entropy_coef,
    )
    return {"tokens": watch.tokens, "seconds": watch.marks, "success": watch.successes}


# --- all runs ----------------------------------------------------------------------------------------------------


def jobs(algorithms: Sequence[str], ids: Sequence[str], chosen: Sequence[int]) -> list[Job]:
    """The runs, seed by seed, so that the table fills evenly."""
    return [
        Job(RESULTS, {"algorithm": algorithm, "id": id, "seed": seed}, partial(run, algorithm, id, seed))
        for seed in chosen
        for id in ids
        for algorithm in algorithms
        if seed in seeds(algorithm, id)
    ]


def curves(algorithm: str, id: str) -> list[dict[str, list[float]]]:
    """Reads the finished runs of a cell: a curve a seed."""
    return [result["curve"] for result in find_results(RESULTS, algorithm=algorithm, id=id)]


def interquartile_mean(*samples: np.ndarray) -> float:
    """The mean of what lies between the quartiles of all values together (Agarwal et al. 2021, arXiv 2108.13264).

    Each sample counts alike, however many values it has.
    """
    size = math.lcm(*map(len, samples))
    return float(stats.trim_mean(np.concatenate([np.repeat(sample, size // len(sample)) for sample in samples]), 0.25))


def estimate(samples: Sequence[np.ndarray]) -> str:
    """An interquartile mean with its 95% interval: the seeds of each id are drawn anew 2,000 times (percentiles)."""
    centre = interquartile_mean(*samples)
    if len(np.unique(np.concatenate(samples))) == 1 or min(map(len, samples)) == 1:  # nothing to draw
        return f"{centre:.2f}"
    low, high = stats.bootstrap(
        samples, interquartile_mean, vectorized=False, n_resamples=2000, method="percentile", rng=0
    ).confidence_interval
    return f"{centre:.2f} ({low:.2f} to {high:.2f})"


def table() -> str:
    """Success at the end of a run, by algorithm and id, and over all ids."""
    names = [id.removeprefix("rlfl/") for id in TOKENS]
    budgets = [f"{tokens // 1000}k" for tokens in TOKENS.values()]
    lines = [
        "| "
        + " | ".join(["", *(f"{name} ({k} tokens)" for name, k in zip(names, budgets, strict=True)), "all"])
        + " |",
        "| --- " * (len(names) + 2) + "|",
    ]
    for algorithm in ALGORITHMS:
        finals = [np.array([curve["success"][-1] for curve in curves(algorithm, id)]) for id in TOKENS]
        cells = [estimate([final]) if len(final) else "" for final in finals]
        cells.append(estimate(finals) if all(len(final) for final in finals) else "")
        lines.append(f"| {algorithm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table_to_goal() -> str:
    """Tokens until an evaluation first shows GOAL, median of the seeds that got there; seed 0's processor seconds."""
    lines = [f"| | {' | '.join(id.removeprefix('rlfl/') for id in TOKENS)} |", "| --- " * (len(TOKENS) + 1) + "|"]
    for algorithm in ALGORITHMS:
        cells = []
        for id in TOKENS:
            found = curves(algorithm, id)
            reached = [(c, next((i for i, s in enumerate(c["success"]) if s >= GOAL), None)) for c in found]
            tokens = [c["tokens"][i] for c, i in reached if i is not None]
            if not tokens:
                cells.append("never" if found else "")
                continue
            first, at = reached[0]
            seconds = f", {first['seconds'][at]:.0f} s" if at is not None else ""
            cells.append(f"{np.median(tokens) / 1000:.0f}k{seconds} ({len(tokens)} of {len(found)})")
        lines.append(f"| {algorithm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """All tables, by the marks between which a page shows them."""
    return {"algorithms: success": table(), "algorithms: to the goal": table_to_goal()}


def plot() -> None:
    """Draws the median success over tokens, a panel an id; the band reaches from the worst seed to the best."""
    figure = Figure(figsize=(15, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(TOKENS), sharey=True)
    styles = dict.fromkeys(SB3, "-") | dict.fromkeys(AGENT, "--") | {TRL: ":"}
    for axis, id in zip(axes, TOKENS, strict=True):
        for i, algorithm in enumerate(ALGORITHMS):
            found = curves(algorithm, id)
            if not found:
                continue
            grid = np.linspace(0, TOKENS[id], 50)
            seen = np.stack([np.interp(grid, curve["tokens"], curve["success"], left=0.0) for curve in found])
            colour = f"C{i % 10}" if i < 10 else "black"
            axis.plot(grid / 1000, np.median(seen, axis=0), styles[algorithm], color=colour, label=algorithm)
            axis.fill_between(grid / 1000, seen.min(axis=0), seen.max(axis=0), color=colour, alpha=0.12, linewidth=0)
        axis.set_title(id.removeprefix("rlfl/"), fontsize=10)
        axis.set_xlabel("thousand tokens", fontsize=9)
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("success, greedy, held out", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    figure.savefig(PICTURES / "algorithms.png", dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then draws and prints all that there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", nargs="+", choices=TOKENS, default=list(TOKENS), metavar="ID")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), metavar="SEED")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args(arguments)
    if not chosen.plot_only:
        wanted = jobs(chosen.algorithms, chosen.ids, chosen.seeds)
        if not wanted:
            parser.error(f"none of these runs is part of the benchmark: --seeds {' '.join(map(str, chosen.seeds))}")
        run_missing(wanted, chosen.jobs)
    plot()
    print(f"\n{table()}\n\nto {GOAL}\n\n{table_to_goal()}")


if __name__ == "__main__":
    main()
