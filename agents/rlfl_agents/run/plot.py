"""Learning curves: `curves.png` of one run, or of several laid over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlfl_agents.run.metrics import read_metrics

__all__ = ["plot_runs"]

# Title, then (column, label, line style) of each line.
_PANELS = (
    ("Reward", (("reward", "training", "-"), ("eval/reward", "held-out, greedy", "--"))),
    ("Success", (("success", "training", "-"), ("eval/success", "held-out, greedy", "--"))),
    ("Entropy and batch entropy (nats)", (("entropy", "entropy", "--"), ("batch_entropy", "batch entropy", "-"))),
    ("KL to the reference (nats)", (("ref_kl", "ref_kl", "-"),)),
)


def plot_runs(runs: Sequence[Path], target: Path, labels: Sequence[str] | None = None) -> None:
    """Draws reward, success, entropies and reference KL over the completions sampled.

    Args:
        runs: Run directories.
        target: The picture to write, .png, .svg or .pdf.
        labels: One per run; the directories' names by default.
    """
    names = list(labels) if labels else [run.resolve().name for run in runs]
    # Without pyplot, which would keep the figure and pick a backend for the whole process.
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2).flatten()
    for i, run in enumerate(runs):
        metrics = read_metrics(run)
        for axis, (_, lines) in zip(axes, _PANELS, strict=True):
            for n, (column, label, style) in enumerate(lines):
                points = [(x, y) for x, y in zip(metrics["samples"], metrics[column], strict=True) if not math.isnan(y)]
                if points:
                    # One run: a colour for each line. Several: a colour for each run, the second line dashed.
                    alone = len(runs) == 1
                    axis.plot(
                        *zip(*points, strict=True),
                        "-" if alone else style,
                        color=f"C{n if alone else i}",
                        label=label if alone else f"{names[i]}, {label}",
                        linewidth=0.6 if len(points) > 500 else 1.5,
                    )
    for axis, (title, lines) in zip(axes, _PANELS, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("completions sampled", fontsize=9)
        axis.grid(alpha=0.3)
        if axis.lines and (len(runs) > 1 or len(lines) > 1):
            axis.legend(fontsize=8)
    if len(runs) == 1:
        figure.suptitle(names[0], fontsize=11)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)
