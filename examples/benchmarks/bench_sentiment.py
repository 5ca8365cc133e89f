"""Sentiment alignment, measured (`make bench-sentiment`): each run leaves a line of results, and is not run again.

targets   The preset of rlfl/Sentiment-v0 from the small pretrained model, for "positive" and "negative", seeds 0-2.
          Budget: 6 runs of about 3 minutes on one core.
frontier  What a fixed KL coefficient buys: reward against KL to the reference, with best-of-n of the reference model
          beside it. Budget: 6 coefficients, one seed, 6 runs of about 3 minutes on one core.
cost      What judging 256 completions costs beside NLTK's own time for them. A few seconds.
smollm2   One short alignment of SmolLM2-135M with LoRA. Budget: 1 run of 20 minutes on one core. Needs the converted
          model (`rlfl from-gguf`).

    python examples/benchmarks/bench_sentiment.py [targets] [frontier] [cost] [smollm2] [--jobs 2] [--plot-only]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import rlfl_envs
from rlfl_agents.environments import make_envs
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import PPOConfig
from rlfl_agents.presets import preset
from rlfl_agents.pretrain import PretrainConfig, pretrain_model
from rlfl_agents.rollout.collect import collect
from rlfl_agents.run.results import append_result, find_results, read_results
from rlfl_agents.sweep import Job, run_missing, train_agent
from rlfl_envs.tasks.sentiment import vader

RESULTS = Path(__file__).parent / "results" / "sentiment.jsonl"
PICTURES = Path(__file__).parents[2] / "docs" / "_static"
SEEDS = {"targets": (0, 1, 2), "frontier": (0,), "smollm2": (0,)}
COEFFICIENTS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4)
BEST_OF = (1, 2, 4, 8, 16, 32, 64)
COLUMNS = (
    "samples",
    "clock/minutes",
    "eval/sampled_reward",
    "eval/sampled_ref_kl",
    "eval/sampled_distinct_1",
    "eval/sampled_distinct_2",
    "part/repetition",
)
SMALL = preset("rlfl/Sentiment-v0", eval_prompts=1000, eval_every=20, save_every=10**6)
SMOLLM2 = dataclasses.replace(
    SMALL,
    model="smollm2",
    lora_rank=16,
    lora_alpha=32,
    prompts=8,
    group_size=4,
    minibatches=1,
    learning_rate=2e-4,
    total_samples=80 * 32,
    eval_prompts=128,
    eval_every=20,
    minutes=20.0,
)
EXPERIMENTS: dict[str, dict[str, PPOConfig]] = {
    "targets": {
        target: dataclasses.replace(SMALL, env_kwargs={"target": target}) for target in ("positive", "negative")
    },
    "frontier": {f"kl-{beta}": dataclasses.replace(SMALL, kl="fixed", kl_coef=beta) for beta in COEFFICIENTS},
    "smollm2": {"lora": SMOLLM2},
}


def jobs(experiment: str) -> list[Job]:
    """The runs of an experiment."""
    return [
        Job(
            RESULTS,
            {"experiment": experiment, "variant": variant, "seed": seed},
            partial(train_agent, dataclasses.replace(config, seed=seed), COLUMNS),
        )
        for seed in SEEDS[experiment]
        for variant, config in EXPERIMENTS[experiment].items()
    ]


def load(experiment: str) -> dict[str, list[dict[str, Any]]]:
    """Reads the finished runs of an experiment, by variant."""
    return {
        variant: find_results(RESULTS, experiment=experiment, variant=variant) for variant in EXPERIMENTS[experiment]
    }


def best_of_n() -> list[dict[str, float]]:
    """What picking the best of n completions of the reference model pays; no training at all.

    Its KL to the reference is at most log n - (n - 1) / n (Beirami et al. 2024, arXiv 2401.01879).
    """
    for result in read_results(RESULTS):
        if result["experiment"] == "best of n":
            rows: list[dict[str, float]] = result["rows"]
            return rows
    torch.set_num_threads(1)
    policy = load_policy(pretrain_model(PretrainConfig(threads=1)), "rlfl/Sentiment-v0", {}).policy
    envs = make_envs("rlfl/Sentiment-v0", 8 * max(BEST_OF), split="test")
    generator = torch.Generator().manual_seed(0)
    rollouts = [collect(policy, envs, generator, group_size=max(BEST_OF), seed=512 * i) for i in range(32)]
    rewards = torch.cat([rollout.episode_rewards for rollout in rollouts]).view(-1, max(BEST_OF)).numpy()
    rows = []
    for n in BEST_OF:
        best = rewards.reshape(len(rewards), -1, n).max(axis=2)
        rows.append({"n": n, "reward": float(best.mean()), "ref_kl_bound": math.log(n) - (n - 1) / n})
    append_result(RESULTS, {"experiment": "best of n", "rows": rows})
    return rows


def reward_cost() -> str:
    """Measures `Task.evaluate` against NLTK's analyser alone, on the same 256 texts, in turns."""
    task = rlfl_envs.load_task("rlfl/Sentiment-v0")
    rng = np.random.default_rng(0)
    prompts, texts = task.sample_prompts(rng, 256), task.corpus()
    completions = [" " + " ".join(texts[i].split()[5:17]) for i in rng.integers(len(texts), size=256)]
    score = vader.analyzer().polarity_scores
    ours, theirs = [], []
    for _ in range(41):
        begun = time.process_time()
        task.evaluate(prompts, completions)
        between = time.process_time()
        for prompt, completion in zip(prompts, completions, strict=True):
            score(prompt.text + completion)
        ours.append(between - begun)
        theirs.append(time.process_time() - between)
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    report = {"milliseconds": 1000 * statistics.median(ours), "nltk_milliseconds": 1000 * statistics.median(theirs)}
    append_result(RESULTS, {"experiment": "cost", **report, "ratio": ratio})
    times = f"{report['milliseconds']:.1f} ms; NLTK alone {report['nltk_milliseconds']:.1f} ms"
    return f"judging 256 completions: {times}; median ratio {ratio:.3f}"


def spread(values: Sequence[float]) -> str:
    """Mean and range."""
    return f"{statistics.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})" if values else "-"


def table(experiment: str) -> str:
    """Writes mean and range over seeds, before and after, sampled on held-out prompts."""
    header = [
        "variant",
        "seeds",
        "reward before",
        "reward",
        "ref_kl (nats)",
        "distinct-2 kept",
        "repetition",
        "minutes",
    ]
    lines = [header, ["---"] * len(header)]
    for variant, runs in load(experiment).items():
        curves = [run["curve"] for run in runs]
        kept = [c["eval/sampled_distinct_2"][-1] / c["eval/sampled_distinct_2"][0] for c in curves]
        cells = [
            spread([curve["eval/sampled_reward"][0] for curve in curves]),
            spread([curve["eval/sampled_reward"][-1] for curve in curves]),
            spread([curve["eval/sampled_ref_kl"][-1] for curve in curves]),
            spread(kept),
            spread([run["final"]["part/repetition"] for run in runs]),
            spread([run["minutes"] for run in runs]),
        ]
        lines.append([variant, str(len(runs)), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot_targets() -> None:
    """Draws reward, KL and diversity over the completions sampled."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    panels = {
        "mean VADER compound, held-out": "eval/sampled_reward",
        "KL to the reference (nats per completion)": "eval/sampled_ref_kl",
        "distinct-2, relative to the reference": "eval/sampled_distinct_2",
    }
    for i, (target, runs) in enumerate(load("targets").items()):
        for n, run in enumerate(runs):
            curve = run["curve"]
            for axis, column in zip(axes, panels.values(), strict=True):
                values = np.array(curve[column])
                if column == "eval/sampled_reward" and target == "negative":
                    values = -values
                if column == "eval/sampled_distinct_2":
                    values = values / values[0]
                thousands = np.array(curve["samples"]) / 1000
                axis.plot(thousands, values, color=f"C{i}", alpha=0.8, label=f"target {target}" if n == 0 else None)
    for axis, title in zip(axes, panels, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("thousand completions sampled", fontsize=9)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(-1, 1)
    axes[0].legend(fontsize=8)
    axes[2].set_ylim(0, 1.1)
    figure.savefig(PICTURES / "sentiment.png", dpi=130)


def plot_frontier() -> None:
    """Draws reward and diversity against KL, a point per run, and best-of-n."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for i, (variant, runs) in enumerate(load("frontier").items()):
        curves = [run["curve"] for run in runs]
        kl = [max(curve["eval/sampled_ref_kl"][-1], 1e-2) for curve in curves]
        label = f"KL coefficient {variant.removeprefix('kl-')}"
        left.scatter(kl, [curve["eval/sampled_reward"][-1] for curve in curves], color=f"C{i}", label=label)
        kept = [c["eval/sampled_distinct_2"][-1] / c["eval/sampled_distinct_2"][0] for c in curves]
        right.scatter(kl, kept, color=f"C{i}", label=label)
    rows = best_of_n()
    left.plot(
        [max(row["ref_kl_bound"], 1e-2) for row in rows],
        [row["reward"] for row in rows],
        "k.:",
        label=f"best of n of the reference, n = 1 to {max(BEST_OF)}",
    )
    for axis, title in ((left, "mean VADER compound, held-out"), (right, "distinct-2, relative to the reference")):
        axis.set_xscale("log")
        axis.set_xlabel("KL to the reference (nats per completion)", fontsize=9)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    left.legend(fontsize=8)
    right.set_ylim(0, 1.1)
    figure.savefig(PICTURES / "sentiment-frontier.png", dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then writes tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "experiments", nargs="*", choices=[[], *EXPERIMENTS, "cost"], help="which (default: all but smollm2)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args(arguments)
    names = chosen.experiments or ["targets", "frontier", "cost"]
    if "cost" in names:
        names.remove("cost")
        if not chosen.plot_only:
            print(reward_cost())
    if names and not chosen.plot_only:
        if names != ["smollm2"]:
            pretrain_model(PretrainConfig(threads=1))
        run_missing([job for name in names for job in jobs(name)], chosen.jobs)
    for name in names:
        print(f"\n{name}\n\n{table(name)}")
        {"targets": plot_targets, "frontier": plot_frontier}.get(name, lambda: None)()


if __name__ == "__main__":
    main()
