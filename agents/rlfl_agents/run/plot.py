"""Learning curves: `curves.png` of one run, or of several laid over each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
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
# Of one run alone: title, and how the names of its columns begin.
_FAMILIES = (
    ("Success by level and kind, training", ("level/", "kind/")),
    ("Information by position (nats)", ("information/",)),
)


def plot_runs(runs: Sequence[Path], target: Path, labels: Sequence[str] | None = None) -> None:
    """Draws reward, success, entropies and reference KL over the completions sampled.

    A run alone also shows success by level and kind, where it has them, and the information at each position.

    Args:
        runs: Run directories.
        target: The picture to write, .png, .svg or .pdf.
        labels: One per run; the directories' names by default.
    """
    names = [name.replace("$", r"\$") for name in labels or [run.resolve().name for run in runs]]  # no formulas
    # Without pyplot, which would keep the figure and pick a backend for the whole process.
    figure = Figure(figsize=(11 if len(runs) > 1 else 16, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2 if len(runs) > 1 else 3).T.flatten()
    for i, run in enumerate(runs):
        metrics = read_metrics(run)
        for axis, (_, lines) in zip(axes, _PANELS, strict=False):
            for n, (column, label, style) in enumerate(lines):
                # One run: a colour for each line. Several: a colour for each run, the second line dashed.
                if len(runs) == 1:
                    _draw(axis, metrics, column, label, f"C{n}")
                else:
                    _draw(axis, metrics, column, f"{names[i]}, {label}", f"C{i}", style)
        if len(runs) == 1:
            for axis, (_, beginnings) in zip(axes[len(_PANELS) :], _FAMILIES, strict=True):
                family = [column for column in metrics if column.startswith(beginnings)]
                # Positions that no completion has reached would use up the colours.
                columns = [column for column in family if not all(map(math.isnan, metrics[column]))]
                for n, column in enumerate(columns):
                    colour = f"C{n}" if len(columns) <= 10 else (n / len(columns), 0.3, 1 - n / len(columns))
                    kind, _, name = column.partition("/")
                    _draw(axis, metrics, column, f"level {name}" if kind == "level" else name, colour)
    for axis, (title, _) in zip(axes, (*_PANELS, *_FAMILIES), strict=False):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("completions sampled", fontsize=9)
        axis.grid(alpha=0.3)
        axis.set_visible(bool(axis.lines))
        if len(axis.lines) > 1:
            axis.legend(fontsize=8, ncols=1 + len(axis.lines) // 9)
    if len(runs) == 1:
        figure.suptitle(names[0], fontsize=11)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)


def _draw(
    axis: Axes,
    metrics: Mapping[str, Sequence[float]],
    column: str,
    label: str,
    colour: str | tuple[float, float, float],
    style: str = "-",
) -> None:
    """Draws one column over the completions sampled, where it has values, if there is one."""
    values = metrics.get(column, ())
    points = [(x, y) for x, y in zip(metrics["samples"], values, strict=False) if not math.isnan(y)]
    if points:
        width = 0.6 if len(points) > 500 else 1.5
        axis.plot(*zip(*points, strict=True), style, color=colour, label=label, linewidth=width)
