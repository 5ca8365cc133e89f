"""`rlfl plot`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from rlfl_agents.cli.words import need_agent
from rlfl_envs import ConfigError, check_value

__all__ = ["plot"]


def plot(runs: Positional[tuple[Path, ...]], output: Path = Path("curves.png"), labels: tuple[str, ...] = ()) -> None:
    """Draw the learning curves of runs over each other.

    Args:
        runs: Run directories.
        output: The picture: .png, .svg or .pdf.
        labels: One name per run; the directories' names by default.
    """
    need_agent("plot")
    from rlfl_agents.run.plot import plot_runs

    is_picture = output.suffix.lower() in (".png", ".svg", ".pdf")
    check_value("output", str(output), is_picture, "a name that ends in .png, .svg or .pdf")
    if not runs:
        raise ConfigError("runs=() is not allowed; name one run directory or more.")
    for path in runs:
        if not (path / "metrics.csv").exists():
            raise ConfigError(f"{str(path)!r} is no run directory: it has no metrics.csv.")
    if labels and len(labels) != len(runs):
        raise ConfigError(f"labels={labels} must be as many as the runs, {len(runs)}.")
    plot_runs(runs, output, labels or None)
    print(output)
