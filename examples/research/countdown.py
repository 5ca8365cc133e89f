"""Countdown with three numbers from random weights: the experiment of docs/research/countdown.md.

Each run (variant, seed) leaves one line of results/countdown/numbers.jsonl, and is not run again. One thread a run.

    python examples/research/countdown.py [--variants tries end] [--seeds 0 1 2] [--jobs 2]
    python examples/research/countdown.py --plot-only

Prints the table and draws the picture; `make docs-pages` puts the table into the docs. Needs no network.
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

from experiments import TRIES
from rlfl_agents.ppo import PPOConfig
from rlfl_agents.run.results import find_results
from rlfl_agents.sweep import Job, run_missing, train_agent

RESULTS = Path(__file__).parent / "results" / "countdown" / "numbers.jsonl"
PICTURES = Path(__file__).parents[2] / "docs" / "_static"
SEEDS = (0, 1, 2)
COLUMNS = ("samples", "clock/minutes", "reward", "eval/success", "eval/reward", "entropy", "batch_entropy")
KWARGS = {"mask": "syntax", "max_numbers": 3}
SAMPLES = 1200 * 256

BY_TRIES = PPOConfig(
    **TRIES,
    env_id="rlfl/Countdown-v0",
    env_kwargs=KWARGS | {"rewards": "tokens"},
    total_samples=SAMPLES,
    eval_every=100,
    eval_prompts=2000,
)
VARIANTS = {
    "tries": BY_TRIES,
    "tries, 128 wide": dataclasses.replace(BY_TRIES, width=128, learning_rate=2e-3),
    # A learned value and the reward at the end alone: what the id's preset was before tokens could be judged.
    "end": dataclasses.replace(
        BY_TRIES,
        env_kwargs=KWARGS,
        advantage="gae",
        tries=1,
        random_tries=0,
        prompts=512,
        epochs=4,
        learning_rate=2e-3,
        weight_decay=0.0,
        warmup=0.02,
        entropy_coef=0.03,
        entropy_coef_final=0.0,
        batch_entropy_coef=0.1,
        batch_entropy_coef_final=0.02,
        eval_every=50,
    ),
}


def jobs(variants: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """The runs, those of one seed after those of another."""
    return [
        Job(
            RESULTS,
            {"variant": variant, "seed": seed},
            partial(train_agent, dataclasses.replace(VARIANTS[variant], seed=seed), COLUMNS),
        )
        for seed in seeds
        for variant in variants
    ]


def load() -> dict[str, list[dict[str, Any]]]:
    """The finished runs, by variant."""
    return {variant: find_results(RESULTS, variant=variant) for variant in VARIANTS}


def table() -> str:
    """Mean and range over seeds at the end, and the samples it took to 0.5."""
    lines = ["| variant | seeds | exact, held out | thousand samples to 0.5 | minutes |", "| --- " * 5 + "|"]
    for variant, runs in load().items():
        if runs:
            exact = [run["final"]["eval/success"] for run in runs]
            minutes = [run["minutes"] for run in runs]
            first = [_first(run["curve"]) for run in runs]
            cells = [_range(exact, ".2f"), ", ".join(first), _range(minutes, ".0f")]
            lines.append(f"| {variant} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _first(curve: dict[str, list[float]]) -> str:
    reached = [samples for samples, exact in zip(curve["samples"], curve["eval/success"], strict=True) if exact >= 0.5]
    return f"{reached[0] / 1000:.0f}" if reached else "never"


def _range(values: Sequence[float], form: str) -> str:
    return f"{statistics.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def tables() -> dict[str, str]:
    """The table, by the marks between which a page shows it."""
    return {"research: countdown": table()}


def plot() -> None:
    """Draws exact answers over the samples, a line a seed."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for i, (variant, runs) in enumerate(load().items()):
        for n, run in enumerate(runs):
            thousands = [samples / 1000 for samples in run["curve"]["samples"]]
            label = variant if n == 0 else None
            axis.plot(thousands, run["curve"]["eval/success"], color=f"C{i}", label=label, linewidth=1.4)
    axis.set_xlabel("thousand completions sampled")
    axis.set_ylabel("exact, held out")
    axis.set_ylim(0, 1)
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=8)
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / "research-countdown.png", dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then writes the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS], default=[*VARIANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*SEEDS])
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args(arguments)
    if not chosen.plot_only:
        run_missing(jobs(chosen.variants, chosen.seeds), chosen.jobs)
    print(table())
    plot()


if __name__ == "__main__":
    main()
