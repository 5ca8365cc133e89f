"""Does reinforcement learning make better board games? Three seeds of synthesise_games.py (`make bench-games`).

A small model is warmed up on Ludax's games, then PPO with batch entropy fills holes in them for the strict reward;
before and after are compared on 256 held-out holes, sampled. Each seed leaves one line of results/games.jsonl and is
not run again; an interrupted seed goes on from its newest checkpoint. Draws docs/_static/games.png; `make docs-pages`
puts the table into docs/games.md.

Budget: three times 40 minutes of two cores.

    python examples/benchmarks/bench_games.py [--seeds 0 1 2] [--plot-only]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.results import append_result, find_results, read_results

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "games.jsonl"
COLUMNS = ("samples", "reward", "success", "entropy", "batch_entropy", "length", "part/completion", "part/novelty")


def run(seed: int) -> dict[str, Any]:
    """Runs a seed, or goes on with it; returns what the example found, and the curves."""
    folder = ROOT / "runs" / f"bench-games-seed{seed}"
    script = ROOT / "examples" / "synthesise_games.py"
    subprocess.run([sys.executable, script, "--seed", str(seed), "--run-dir", folder], check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    metrics = read_metrics(folder / "ppo")
    return found | {"curve": {name: metrics[name][1:] for name in COLUMNS}}  # the first row is from before training


def table(results: list[dict[str, Any]]) -> str:
    """A row a seed: before and after, with 95% intervals."""
    headings = ("seed", "playable before", "after", "strict reward before", "after")
    lines = [
        f"| {' | '.join(headings)} | different playable games (copies) | minutes |",
        "| --- " * 7 + "|",
    ]
    for result in results:
        cells = []
        for what in ("playable", "reward"):
            for when in ("before", "after"):
                value, low, high = result[when][what]
                cells.append(f"{value:.3f} ({low:.3f} to {high:.3f})")
        cells += [f"{result['games']:,} ({result['copies']})", f"{result['minutes']:.0f}"]
        lines.append(f"| {result['seed']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """All tables, by the marks between which a page shows them."""
    return {"games: ludax": table(read_results(RESULTS))}


def plot(results: list[dict[str, Any]]) -> None:
    """Draws reward, success and entropies over completions: a line a seed, averaged over ten updates."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = {"reward": "mean strict reward", "success": "success", "entropy": "token entropy (nats)"}
    for axis, (column, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for result in results:
            values = result["curve"][column]
            smooth = [sum(values[max(0, i - 9) : i + 1]) / min(10, i + 1) for i in range(len(values))]
            axis.plot(result["curve"]["samples"], smooth, label=f"seed {result['seed']}")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("completions", fontsize=9)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(ROOT / "docs" / "_static" / "games.png", dpi=110)


def main() -> None:
    """Runs what is missing, then draws and prints what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2), metavar="SEED")
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args()
    for seed in chosen.seeds:
        if not chosen.plot_only and not find_results(RESULTS, seed=seed):
            append_result(RESULTS, run(seed))
    results = [result for seed in chosen.seeds for result in find_results(RESULTS, seed=seed)]
    if results:
        plot(results)
    print(table(results))


if __name__ == "__main__":
    main()
