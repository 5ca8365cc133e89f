"""What makes arithmetic learnable from its reward alone: the experiments of docs/research/arithmetic.md.

Each experiment is a table of variants, each variant a set of settings, each run (variant, seed) one line of
results/arithmetic/EXPERIMENT.jsonl. What has a line is not run again: stop it and go on at will. One thread a run.

    python examples/research/arithmetic.py screen [--seeds 0 1 2] [--jobs 2]
    python examples/research/arithmetic.py screen:base screen:rloo confirm     # single variants, several experiments
    python examples/research/arithmetic.py screen --plot-only
    python examples/research/arithmetic.py nothing-sampled digits --jobs 12 --minutes 9 --results out
                # on another machine: results so far are in the folder; add their lines to those of results/arithmetic

Draws pictures and prints the table; `make docs-pages` puts the tables into README.md and the docs.

screen  One factor at a time around a base, 1,000 updates of 64 prompts x 64 answers of `rlfl/Arithmetic-v0`, three
        seeds. Budget: 33 variants x 3 seeds x about 85 s = 2.3 core-hours.
confirm What the screen recommends, on ten seeds: both one-token ids, final sums held out of training, and what is
        left without batch entropy. Budget: 4 variants x 10 seeds x about 6 min = 4 core-hours.
ablate  What the confirmed recipe needs: one thing taken out at a time. Three seeds.
        Budget: 5 variants x 3 seeds x about 4 min = 1 core-hour.
precision
        Two recipes with matrix products in bfloat16. Three seeds. Budget: 3 seeds x (3 + 6) min = 27 core-minutes.
carry   The confirmed recipe, as it is, where there are products, and numbers of three digits written in characters.
        Three seeds. Budget: 3 seeds x (5 + 30 + 40) min = 4 core-hours.
steps-confirm
        Whole derivations after imitating 256 of them, on ten seeds. Budget: 10 seeds x about 16 min = 2.7 core-hours.
steps   What is changed in that: entropies, algorithms, reward. Three seeds.
        Budget: 5 variants x 3 seeds x about 16 min = 4 core-hours.
steps-first
        What was registered before, and stopped after two seeds.
nothing Whole derivations, worked out, from random weights: every token is judged (docs/research/from-nothing.md).
        Budget: 10 seeds x about 5 min = 50 core-minutes.
nothing-sampled
        The same with a sampler. Budget: 10 seeds x about 5 min = 50 core-minutes.
nothing-without
        What that needs: one thing taken out at a time. Budget: 6 variants x 3 seeds x about 5 min = 1.5 core-hours.
nothing-gpt2
        `nothing-sampled` in GPT-2's shape: for a GPU (`--device auto`), or two core-hours.
nothing-dense
        Clipped policy gradients from the same verdicts as rewards, and from the reward at the end.
        Budget: 3 variants x 3 seeds x about 7 min = 1 core-hour.
nothing-tried
        Clipped policy gradients from all that several tries have found.
        Budget: 3 variants x 3 seeds x about 7 min = 1 core-hour.
nothing-end
        The reward at the end alone: ten ideas. Budget: 10 variants x 1.5 min = 15 core-minutes.
nothing-end-longer
        The same for longer, by a value for each token: numbers or operands that grow, references revealed, own
        successes imitated. Budget: 9 variants, most of them one seed, x 8.5 min = 2 core-hours.
nothing-end-whole
        The best of those with its whole schedule.
        Budget: 3 variants x 3 seeds x at most 1 hour = 9 core-hours, of which 6 have been run.
digits  Sums and products of up to three digits, a character each, by tries.
        Budget: 10 seeds of sums, 3 of the others, x about 8 min = 2.5 core-hours.
digits-places
        The same sums with numbers aligned and kinds as often. Budget: 10 seeds x about 5 min = 50 core-minutes.
digits-units
        The same with the answer's units written first. Budget: 3 variants x 3 seeds x about 5 min = 45 core-minutes.
long    Copy and Brackets at ten times their length. Budget: 2 variants x 3 seeds x about 8 min = 50 core-minutes.
paper   The paper's settings, in a smaller shape than its GPT-2: with neither entropy, with either. Three seeds.
        Budget: 6 variants x 3 seeds x about 20 min = 6 core-hours.
paper-gpt2
        The same in GPT-2's shape, at the paper's learning rate: for a GPU (`--device auto`). Three seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from arithmetic_settings import EXPERIMENTS, HEAT_MAPS, SCREEN, TARGETS
from rlfl_agents.evaluate import evaluate_policy
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import PPOConfig
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.results import changed_settings, find_results
from rlfl_agents.sft import SFTConfig, warm_start
from rlfl_agents.sweep import Job, run_missing, train_agent

RESULTS = Path(__file__).parent / "results" / "arithmetic"
PICTURES = Path(__file__).parents[2] / "docs" / "_static"
COLUMNS = (
    *("samples", "clock/minutes", "reward", "eval/success", "eval/reward", "eval/unseen_success"),
    *("entropy", "batch_entropy", "batch_max_action", "distinct_1"),
)
# What the README shows: learned from random weights, by the reward alone.
HEADLINES: Sequence[tuple[str, str, str]] = [
    ("sums, the answer one token", "confirm", "Arithmetic-v0"),
    ("whole derivations, each step worked out", "nothing-sampled", "ArithmeticSteps-v0"),
    ("sums of up to three digits, a character each", "digits-places", "sums"),
]


def run(config: PPOConfig, start: SFTConfig | None, device: Literal["auto", "cpu"]) -> dict[str, Any]:
    """One run: the warm start, if there is one, then training.

    Returns:
        What `train_agent` keeps and what `answers` finds; "warm_start" has the warm start's settings and measures.
    """
    examine = {"Copy-v0": None, "Brackets-v0": None, "RevealedSteps-v0": levels_alone, "UnitsFirst-v0": None}.get(
        config.short_id, partial(answers, device=device)
    )
    if start is None:
        return train_agent(config, COLUMNS, examine, device)
    start = dataclasses.replace(start, seed=config.seed, threads=1, device=device)
    with tempfile.TemporaryDirectory() as folder:
        measures = warm_start(start, Path(folder) / "model", quiet=True)
        result = train_agent(dataclasses.replace(config, model=f"{folder}/model"), COLUMNS, examine, device)
    result["settings"]["model"] = "warm start"
    return {**result, "warm_start": {"settings": changed_settings(start), **measures}}


def answers(folder: Path, device: Literal["auto", "cpu"]) -> dict[str, Any]:
    """What the trained policy answers where which answer is due, greedy, on 4,000 held-out prompts.

    Args:
        folder: The run's.
        device: What plays them.

    Returns:
        `answers`: [answer due, answer given (-1 where it is no number), how often], sorted; `distinct_answers`;
        `unseen`: [how many prompts have a novelty key that training never met, how many of these are solved];
        `operands`: [how many an expression has, how many prompts have so many, how many of these are solved];
        `levels`: which share of each level's prompts was solved in the last tenth of training, where levels are chosen;
        `unearned`, the share of completions that have the full reward without being a success; and `worked_out`, the
        share in which every statement is the one before with two neighbours added (of sums alone).
    """
    loaded = load_policy(folder / "policy", None, {}, device=device)
    found = evaluate_policy(loaded.policy, loaded.envs, 4000, seen=np.load(folder / "seen_keys.npy"))
    pairs: Counter[tuple[int, int]] = Counter()
    operands: Counter[tuple[int, bool]] = Counter()
    for sample in found.samples:
        given = sample.completion.rpartition("=")[2]
        due = loaded.envs.task.parse_prompt(sample.prompt).data.value
        operands[len(re.findall(r"\d+", sample.prompt.partition("=")[0])), sample.is_success] += 1
        pairs[due, int(given) if re.fullmatch(r"\d{1,4}", given) else -1] += 1
    unseen = found.unseen
    return {
        "answers": [[*pair, count] for pair, count in sorted(pairs.items())],
        "distinct_answers": len({given for _, given in pairs}),
        "unseen": [unseen.n, round(unseen.n * unseen.mean) if unseen.n else 0],
        "operands": [
            [count, operands[count, True] + operands[count, False], operands[count, True]]
            for count in sorted({count for count, _ in operands})
        ],
        "levels": levels(read_metrics(folder)),
        "unearned": float(np.mean([sample.reward == 1 and not sample.is_success for sample in found.samples])),
        "worked_out": float(np.mean([is_worked_out(sample.prompt + sample.completion) for sample in found.samples])),
    }


def levels_alone(folder: Path) -> dict[str, Any]:
    """The `levels` of `answers`, where prompts show a part of the derivation."""
    return {"levels": levels(read_metrics(folder))}


def levels(metrics: Mapping[str, Sequence[float]]) -> list[float | None]:
    """Success by level in the last tenth of the updates, the easiest first; None where none was played."""
    columns = [np.array(metrics[name]) for name in sorted(metrics) if name.startswith("level/")]
    recent = [column[-math.ceil(len(column) / 10) :] for column in columns]
    return [float(np.nanmean(column)) if not np.isnan(column).all() else None for column in recent]


def is_worked_out(derivation: str) -> bool:
    """Whether every statement of a derivation is the one before with two neighbours added, and one number is left."""
    texts = [statement.split("+") for statement in derivation.split("=")]
    if not all(text.isdecimal() for statement in texts for text in statement):
        return False
    statements = [[int(text) for text in statement] for statement in texts]
    return len(statements[-1]) == 1 and all(
        after in [[*before[:i], before[i] + before[i + 1], *before[i + 2 :]] for i in range(len(before) - 1)]
        for before, after in pairwise(statements)
    )


def jobs(name: str, variants: Sequence[str], seeds: Sequence[int], device: Literal["auto", "cpu"] = "cpu") -> list[Job]:
    """The runs of an experiment, seed by seed."""
    experiment = EXPERIMENTS[name]
    return [
        Job(
            RESULTS / f"{name}.jsonl",
            {"variant": variant, "seed": seed},
            partial(run, dataclasses.replace(experiment.variants[variant], seed=seed), experiment.warm_start, device),
        )
        for seed in seeds
        for variant in variants
    ]


def load(experiment: str, variant: str) -> list[dict[str, Any]]:
    """Reads the finished runs of a variant, by seed."""
    return find_results(RESULTS / f"{experiment}.jsonl", variant=variant)


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """The mean, and where there are several the lowest and the highest value."""
    if len(values) < 2:
        return format(values[0], form) if values else ""
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def millions_to(goal: float, run: dict[str, Any]) -> float:
    """How many million completions a run took until an evaluation first showed the goal; infinite where none did."""
    curve = run["curve"]
    reached = (n for n, success in zip(curve["samples"], curve["eval/success"], strict=True) if success >= goal)
    return next(reached, float("inf")) / 1e6


def reached(goal: float, runs: Sequence[dict[str, Any]]) -> str:
    """How many million completions it took those runs that reached a goal, and which share of the runs they are."""
    millions = [taken for run in runs if (taken := millions_to(goal, run)) < float("inf")]
    if len(millions) == len(runs):
        return spread(millions, ".1f")
    return f"{len(millions)} of {len(runs)} seeds" + (f": {spread(millions, '.1f')}" if millions else "")


def unseen(runs: Sequence[dict[str, Any]]) -> str:
    """Exact answers to prompts with a novelty key that training never met, all runs together."""
    n, solved = (sum(run["unseen"][i] for run in runs) for i in (0, 1))
    return f"{solved / n:.3f} ({n} prompts)" if n else "none left"


def of_operands(wanted: int, runs: Sequence[dict[str, Any]]) -> str:
    """Exact answers to prompts of so many operands; only runs that have counted them are asked."""
    shares = [solved / n for run in runs for count, n, solved in run["operands"] if count == wanted]
    return spread(shares)


def by_level(runs: Sequence[dict[str, Any]]) -> str:
    """Which share of each level's prompts was solved at last, from the easiest to the hardest, in all runs together."""
    found = np.array([run["levels"] for run in runs], dtype=float)  # None becomes NaN
    return ", ".join(f"{share:.2f}" for share in found.mean(axis=0))


# The cells of a table by their headings.
CELLS: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "exact": lambda runs: spread([run["final"]["eval/success"] for run in runs]),
    "sampled": lambda runs: spread([run["final"]["eval/sampled_success"] for run in runs]),
    "exact before": lambda runs: spread([run["curve"]["eval/success"][0] for run in runs]),
    "reward": lambda runs: spread([run["final"]["eval/reward"] for run in runs]),
    "unearned": lambda runs: spread([run["unearned"] for run in runs]),
    "worked out": lambda runs: spread([run["worked_out"] for run in runs]),
    "unseen": unseen,
    "three operands": partial(of_operands, 3),
    "four operands": partial(of_operands, 4),
    "by level": by_level,
    "millions to 0.9": partial(reached, 0.9),
    "millions to 0.99": partial(reached, 0.99),
    "entropy": lambda runs: spread([run["final"]["entropy"] for run in runs], ".2f"),
    "batch entropy": lambda runs: spread([run["final"]["batch_entropy"] for run in runs], ".2f"),
    "largest p̄": lambda runs: spread([run["final"]["batch_max_action"] for run in runs], ".2f"),
    "different answers": lambda runs: spread([run["distinct_answers"] for run in runs], ".0f"),
    "minutes": lambda runs: spread([run["minutes"] for run in runs if run.get("device", "cpu") == "cpu"], ".1f"),
}


def table(name: str) -> str:
    """A row for each variant that has been run: mean over the seeds, and lowest to highest."""
    experiment = EXPERIMENTS[name]
    lines = [f"| variant | seeds | {' | '.join(experiment.table)} |", "| --- " * (2 + len(experiment.table)) + "|"]
    for variant in experiment.variants:
        if runs := load(name, variant):
            cells = " | ".join(CELLS[heading](runs) for heading in experiment.table)
            lines.append(f"| {variant} | {len(runs)} | {cells} |")
    return "\n".join(lines)


def targets() -> str:
    """A row for each target that has been run: exact answers, how many seeds reach what was asked, and where."""
    lines = ["| | seeds | exact | seeds that reach | minutes, one thread | experiment |", "| --- " * 6 + "|"]
    for words, name, variant, goal in TARGETS:
        if runs := load(name, variant):
            exact, minutes = CELLS["exact"](runs), CELLS["minutes"](runs)
            reach = sum(run["final"]["eval/success"] >= goal for run in runs) if goal else 0
            asked = f"{goal}: {reach} of {len(runs)}" if goal else ""
            lines.append(f"| {words} | {len(runs)} | {exact} | {asked} | {minutes} | `{name}` |")
    return "\n".join(lines)


def headlines() -> str:
    """The few rows that the README shows."""
    names = ("exact", "millions to 0.9", "minutes")
    lines = [f"| | seeds | {' | '.join(names)} | experiment |", "| --- " * (3 + len(names)) + "|"]
    for words, name, variant in HEADLINES:
        if runs := load(name, variant):
            cells = [CELLS[cell](runs) for cell in names]
            lines.append(f"| {words} | {len(runs)} | {' | '.join(cells)} | `{name}` |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """All tables, by the marks between which a page shows them."""
    written = {name: table(name) for name in EXPERIMENTS} | {"targets": targets(), "headlines": headlines()}
    return {f"research: {name}": text for name, text in written.items()}


def plot_questions() -> None:
    """Draws exact answers over completions, a panel a question, a line a variant (mean) with a band (all seeds)."""
    figure = Figure(figsize=(15, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (question, variants) in zip(
        figure.subplots(2, 5, sharex=True, sharey=True).flat, SCREEN.items(), strict=True
    ):
        for i, variant in enumerate(["base", *variants]):
            draw(axis, load("screen", variant), "eval/success", variant, "black" if variant == "base" else f"C{i - 1}")
        axis.set_title(question, fontsize=10)
        axis.legend(fontsize=7)
    figure.supxlabel("million completions", fontsize=10)
    figure.supylabel("exact answers, held out", fontsize=10)
    figure.savefig(PICTURES / "research-screen.png", dpi=110)


def plot_curves(name: str) -> None:
    """Draws an experiment over its completions: exact answers, reward, entropies; beside what it is changed from."""
    panels = {"eval/success": "exact, held out", "eval/reward": "reward", "entropy": "", "batch_entropy": ""}
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (column, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        if base := EXPERIMENTS[name].changed_from:
            draw(axis, load(*base), column, "base", "black")
        for i, variant in enumerate(EXPERIMENTS[name].variants):
            draw(axis, load(name, variant), column, variant, f"C{i}", singly=True)
        axis.set_title(title or column.replace("_", " ") + ", nats", fontsize=10)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.supxlabel("million completions", fontsize=10)
    figure.savefig(PICTURES / f"research-{name}.png", dpi=110)


def draw(
    axis: Axes, runs: Sequence[dict[str, Any]], column: str, label: str, colour: str, singly: bool = False
) -> None:
    """Draws a variant: the mean of its runs and a band from the lowest to the highest; if asked, up to three singly."""
    if not runs:
        return
    label = f"{label} ({len(runs)} seed{'s' if len(runs) > 1 else ''})"
    axis.grid(alpha=0.3)
    if singly and len(runs) <= 3:  # each as long as it was
        for run in runs:
            millions = np.array(run["curve"]["samples"]) / 1e6
            axis.plot(millions, run["curve"][column], color=colour, label=label, linewidth=0.9)
            label = ""
        return
    curves = np.array([run["curve"][column] for run in runs], dtype=float)
    millions = np.array(runs[0]["curve"]["samples"]) / 1e6
    axis.plot(millions, curves.mean(axis=0), color=colour, label=label, linewidth=1.3)
    axis.fill_between(millions, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.12, linewidth=0)


def plot_answers(experiment: str, variants: Sequence[str]) -> None:
    """Draws which answers are given where which is due: a heat map for each variant's first seed."""
    figure = Figure(figsize=(3.2 * len(variants), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, variant in zip(np.atleast_1d(figure.subplots(1, len(variants))), variants, strict=True):
        answers = load(experiment, variant)[0]["answers"]
        size = 1 + max(max(due, given) for due, given, _ in answers)
        counts = np.zeros((size, size + 1))
        for due, given, count in answers:
            counts[due, given] += count  # what is no number, -1, in a column of its own
        shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        image = axis.imshow(shares[:, :size], origin="lower", cmap="magma", vmin=0, vmax=1)
        axis.set_title(variant, fontsize=9)
        axis.set_xlabel("answer given", fontsize=8)
    figure.axes[0].set_ylabel("answer due", fontsize=8)
    figure.colorbar(image, ax=figure.axes, label="share of the prompts", shrink=0.8)
    figure.savefig(PICTURES / f"research-answers-{experiment}.png", dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing of an experiment, then draws and prints what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT[:VARIANT]", help=", ".join(EXPERIMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="which (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument(
        "--device",
        choices=("cpu", "auto"),
        default="cpu",
        help="auto: a GPU where there is one; its minutes go into no table",
    )
    parser.add_argument("--minutes", type=float, help="stop after so many, whatever is under way")
    parser.add_argument(
        "--results", type=Path, help="a folder for the results, instead of the repository's; no pictures"
    )
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args(arguments)
    asked: dict[str, Job] = {}
    for words in chosen.experiments:
        name, _, variant = words.partition(":")
        if name not in EXPERIMENTS or (variant and variant not in EXPERIMENTS[name].variants):
            there = EXPERIMENTS[name].variants if name in EXPERIMENTS else EXPERIMENTS
            parser.error(f"no such experiment or variant: {words}; there are: {', '.join(there)}")
        variants = [variant] if variant else [*EXPERIMENTS[name].variants]
        for job in jobs(name, variants, chosen.seeds or EXPERIMENTS[name].seeds, chosen.device):
            if not find_results(job.results, **job.key):
                elsewhere = chosen.results / job.results.name if chosen.results else job.results
                asked[f"{name}: {job.name}"] = dataclasses.replace(job, results=elsewhere)
    if chosen.minutes:
        timer = threading.Timer(60 * chosen.minutes, os._exit, [0])  # the runs end with their parent
        timer.daemon = True
        timer.start()
    if not chosen.plot_only:
        run_missing([*asked.values()], chosen.jobs)
    if not chosen.results:
        for name in dict.fromkeys(words.partition(":")[0] for words in chosen.experiments):
            draw_all(name)


def draw_all(name: str) -> None:
    """Prints an experiment's table, and draws what has been run of it."""
    print(table(name))
    if not any(load(name, variant) for variant in EXPERIMENTS[name].variants):
        return
    if name == "screen":
        plot_questions()
    else:
        plot_curves(name)
    if mapped := [variant for variant in HEAT_MAPS[name] if load(name, variant)]:
        plot_answers(name, mapped)


if __name__ == "__main__":
    main()
