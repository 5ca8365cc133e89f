"""Other people's algorithms and ours on our ids, about equal tokens each (`make bench-algorithms`).

Ten algorithms (seven of Stable-Baselines3 and sb3-contrib, three ways to run our agent) and TRL's GRPO learn five ids
from random weights, mask "none", default sizes, rewarded at the end. Those that can be rewarded for each token learn
three columns so. A contender's settings are the same on all ids of a table (sb3_settings.py, and AGENT below), picked
by hand in a few tries, not searched; only SB3's network goes by the id. Success is greedy, on 1,000 held-out prompts.

Budget: for rewards at the end 263 runs on one core each, of up to 25 minutes; 11 core-hours in all. For rewards by
token 90 runs of 2 minutes to 2 hours, of which 72 have been run, some stopped early. Each run leaves one line of
results/algorithms.jsonl, and what has one is not run again: stop it and go on at will. Draws
docs/_static/algorithms.png and algorithms-tokens.png; `make docs-pages` puts the tables into docs/benchmark.md.

    python examples/benchmarks/bench_algorithms.py [--ids rlfl/Copy-v0] [--algorithms PPO DQN] [--seeds 0 1] [--jobs 2]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
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
COLOURS = (*(f"C{i}" for i in range(10)), "deeppink", "black")  # of the algorithms


@dataclasses.dataclass(frozen=True)
class Column:
    """What is learned in a column of a table, and how long.

    Attributes:
        id: The environment's.
        tokens: Of a run.
        completion_tokens: How many of them a completion has on average, EOS included, over a run of `rlfl PPO`. Our
            agent and TRL count completions; a policy that learns to end its completions has fewer.
        arguments: The environment's.
        size: What they make of it, in words.
    """

    id: str
    tokens: int
    completion_tokens: float
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    size: str = ""

    @property
    def head(self) -> str:
        """What stands above it."""
        return ", ".join(filter(None, [self.id.removeprefix("rlfl/"), self.size]))


END = {  # the reward comes at the end; by the names that results go by
    "rlfl/Copy-v0": Column("rlfl/Copy-v0", 80_000, 4.0),
    "rlfl/Brackets-v0": Column("rlfl/Brackets-v0", 150_000, 4.0),
    "rlfl/Arithmetic-v0": Column("rlfl/Arithmetic-v0", 300_000, 1.0),
    "rlfl/ArithmeticAnswer-v0": Column("rlfl/ArithmeticAnswer-v0", 300_000, 1.0),
    "rlfl/ArithmeticSteps-v0": Column("rlfl/ArithmeticSteps-v0", 50_000, 18.7),
}
# Each right token is rewarded, and the first wrong one ends the episode. An illegal token is wrong, so that the syntax
# mask changes nothing for those that cannot use it.
_JUDGED = {"rewards": "tokens", "mask": "syntax"}
JUDGED = {
    "rlfl/ArithmeticSteps-v0, tokens": Column("rlfl/ArithmeticSteps-v0", 8_000_000, 18.0, _JUDGED),
    "rlfl/Countdown-v0, tokens": Column(
        "rlfl/Countdown-v0", 400_000, 5.0, _JUDGED | {"max_numbers": 3}, "three numbers"
    ),
    "rlfl/Sat-v0, tokens": Column("rlfl/Sat-v0", 400_000, 3.0, _JUDGED | {"max_variables": 4}, "four variables"),
}
COLUMNS = END | JUDGED

SB3 = ("PPO", "MaskablePPO", "RecurrentPPO", "A2C", "TRPO", "DQN", "QRDQN")
_AGENT: dict[str, Any] = {"layers": 2, "width": 64, "heads": 4, "lr_schedule": "linear", "entropy_coef": 0.01}
_PPO = _AGENT | {"prompts": 256, "epochs": 4, "minibatches": 4, "learning_rate": 1e-3}
AGENT: dict[str, dict[str, Any]] = {
    "rlfl PPO": _PPO,
    "rlfl PPO + batch entropy": _PPO | {"batch_entropy_coef": 0.3, "batch_entropy_coef_final": 0.1},
    "rlfl RLOO": _AGENT | {"advantage": "rloo", "prompts": 16, "group_size": 8, "epochs": 1, "learning_rate": 2e-3},
}
# Our recipe where tokens are judged (docs/research/from-nothing.md): several tokens are tried at each place.
_TRIES = _AGENT | {
    "advantage": "tries",
    "tries": 16,
    "random_tries": 4,
    "prompts": 256,
    "epochs": 1,
    "minibatches": 4,
    "learning_rate": 3e-3,
    "entropy_coef": 0.0,
    "batch_entropy_coef": 0.05,
    "batch_entropy_coef_final": 0.0,
}
AGENT_JUDGED: dict[str, dict[str, Any]] = {
    "rlfl PPO": _PPO | {"gamma": 0.0},
    "rlfl PPO + batch entropy": AGENT["rlfl PPO + batch entropy"] | {"gamma": 0.0},
    "rlfl tries": _TRIES,
}
TRL = "TRL GRPO"
ALGORITHMS = (*SB3, *AGENT, "rlfl tries", TRL)


def algorithms(name: str) -> tuple[str, ...]:
    """Who learns a column: groups of completions (RLOO, GRPO) are rewarded at their end, tries are judged by token."""
    return (*SB3, *AGENT, TRL) if name in END else (*SB3, *AGENT_JUDGED)


def seeds(algorithm: str, name: str) -> range:
    """Five; three of our PPO and of TRL on one-token answers, and where tokens are judged: those runs take longest."""
    is_slow = COLUMNS[name].completion_tokens == 1 and algorithm in (TRL, "rlfl PPO", "rlfl PPO + batch entropy")
    return range(3 if is_slow or name in JUDGED else 5)


# --- one run -----------------------------------------------------------------------------------------------------
# The libraries are imported by the run that needs them, so that the table can be made without.


def run(algorithm: str, name: str, seed: int, quiet: bool = True) -> dict[str, Any]:
    """Trains one contender on a column, and tells its curve as it goes unless it is to be quiet (SB3's alone do).

    Returns:
        What to keep; its `curve` has tokens, seconds (of the processor, evaluations left out) and success at ten or so
        evaluations.
    """
    started = time.perf_counter()
    if algorithm in SB3:
        curve = run_sb3(algorithm, COLUMNS[name], seed, quiet)
    else:
        curve = (run_trl if algorithm == TRL else run_agent)(algorithm, COLUMNS[name], seed)
    return {
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "curve": {name: [round(value, 4) for value in values] for name, values in curve.items()},
    }


def run_sb3(algorithm: str, column: Column, seed: int, quiet: bool) -> dict[str, list[float]]:
    """One of SB3's or sb3-contrib's, with the settings of sb3_settings.py."""
    from sb3_settings import train_sb3

    progress = train_sb3(algorithm, column.id, column.tokens, seed, column.arguments, quiet=quiet)
    return {"tokens": [*progress.tokens], "seconds": progress.seconds, "success": progress.successes}


def updates_for(column: Column, rows: int) -> int:
    """How many updates of so many completions use up the column's tokens."""
    return round(column.tokens / column.completion_tokens / rows)


def run_agent(algorithm: str, column: Column, seed: int) -> dict[str, list[float]]:
    """Ours."""
    settings = (AGENT_JUDGED if "rewards" in column.arguments else AGENT)[algorithm]
    config = PPOConfig(
        env_id=column.id,
        env_kwargs=dict(column.arguments),
        seed=seed,
        eval_prompts=1000,
        save_every=10**6,
        **settings,
    )
    updates = updates_for(column, config.rows)
    config = dataclasses.replace(config, total_samples=updates * config.rows, eval_every=max(1, updates // 10))
    started, started_cpu = time.perf_counter(), time.process_time()
    curve = train_agent(config, ("tokens", "clock/minutes", "eval/success"))["curve"]
    busy = (time.process_time() - started_cpu) / (time.perf_counter() - started)  # the share of the clock that was ours
    seconds = [60 * minutes * busy for minutes in curve["clock/minutes"]]
    found = {"tokens": curve["tokens"], "seconds": seconds, "success": curve["eval/success"]}
    return {name: values[1:] for name, values in found.items()}  # the first is from before training


def run_trl(algorithm: str, column: Column, seed: int) -> dict[str, list[float]]:
    """TRL's GRPO on the model, the batch and the settings of our RLOO."""
    from bench_trl import Watch, their_training

    ours = PPOConfig(env_id=column.id, **AGENT["rlfl RLOO"])
    updates = updates_for(column, ours.rows)
    watch = Watch(column.id, every=max(1, updates // 10))
    their_training(
        column.id,
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


def jobs(chosen: Sequence[str], names: Sequence[str], numbers: Sequence[int], folder: Path | None = None) -> list[Job]:
    """The runs of these algorithms, columns and seeds, seed by seed, so that the tables fill evenly.

    With a folder the results go there, and SB3's algorithms print their curves as they go.
    """
    results = folder / RESULTS.name if folder else RESULTS
    return [
        Job(
            results, {"algorithm": algorithm, "id": name, "seed": seed}, partial(run, algorithm, name, seed, not folder)
        )
        for seed in numbers
        for name in names
        for algorithm in chosen
        if algorithm in algorithms(name) and seed in seeds(algorithm, name)
    ]


def curves(algorithm: str, name: str) -> list[dict[str, list[float]]]:
    """Reads the finished runs of a cell: a curve a seed."""
    return [result["curve"] for result in find_results(RESULTS, algorithm=algorithm, id=name)]


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


def table(columns: Mapping[str, Column]) -> str:
    """Success at the end of a run, by algorithm and column, and over all columns."""
    heads = [f"{column.head} ({column.tokens // 1000:,}k tokens)" for column in columns.values()]
    lines = [f"| {' | '.join(['', *heads, 'all'])} |", "| --- " * (len(heads) + 2) + "|"]
    for algorithm in algorithms(next(iter(columns))):
        finals = [np.array([curve["success"][-1] for curve in curves(algorithm, name)]) for name in columns]
        cells = [
            estimate([final]) + missing(len(final), len(seeds(algorithm, name))) if len(final) else "not run"
            for name, final in zip(columns, finals, strict=True)
        ]
        is_whole = all(len(final) == len(seeds(algorithm, name)) for name, final in zip(columns, finals, strict=True))
        cells.append(estimate(finals) if is_whole else "")
        lines.append(f"| {algorithm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def missing(found: int, wanted: int) -> str:
    """Says so where seeds have not been run."""
    return "" if found == wanted else f", {found} of {wanted} seeds"


def table_to_goal(columns: Mapping[str, Column]) -> str:
    """Tokens until an evaluation first shows GOAL, median of the seeds that got there; seed 0's processor seconds."""
    heads = [column.head for column in columns.values()]
    lines = [f"| | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for algorithm in algorithms(next(iter(columns))):
        cells = []
        for name in columns:
            found = curves(algorithm, name)
            reached = [(c, next((i for i, s in enumerate(c["success"]) if s >= GOAL), None)) for c in found]
            tokens = [c["tokens"][i] for c, i in reached if i is not None]
            if not tokens:
                cells.append("never" if found else "not run")
                continue
            first, at = reached[0]
            seconds = f", {first['seconds'][at]:.0f} s" if at is not None else ""
            cells.append(f"{np.median(tokens) / 1000:,.0f}k{seconds} ({len(tokens)} of {len(found)})")
        lines.append(f"| {algorithm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """All tables, by the marks between which a page shows them."""
    return {
        "algorithms: success": table(END),
        "algorithms: to the goal": table_to_goal(END),
        "algorithms: success by token": table(JUDGED),
        "algorithms: to the goal by token": table_to_goal(JUDGED),
    }


def plot(columns: Mapping[str, Column], picture: str) -> None:
    """Draws the median success over tokens, a panel a column; the band reaches from the worst seed to the best.

    Both end where the first seed was stopped.
    """
    figure = Figure(figsize=(3 * len(columns), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(columns), sharey=True)
    styles = dict.fromkeys(SB3, "-") | dict.fromkeys([*AGENT, *AGENT_JUDGED], "--") | {TRL: ":"}
    drawn: dict[str, Any] = {}
    for axis, (name, column) in zip(axes, columns.items(), strict=True):
        for i, algorithm in enumerate(ALGORITHMS):
            found = curves(algorithm, name)
            if not found:
                continue
            grid = np.linspace(0, min(column.tokens, *(curve["tokens"][-1] for curve in found)), 50)
            seen = np.stack([np.interp(grid, curve["tokens"], curve["success"], left=0.0) for curve in found])
            colour = COLOURS[i]
            line = axis.plot(grid / 1000, np.median(seen, axis=0), styles[algorithm], color=colour, label=algorithm)
            drawn.setdefault(algorithm, line[0])
            axis.fill_between(grid / 1000, seen.min(axis=0), seen.max(axis=0), color=colour, alpha=0.12, linewidth=0)
        axis.set_title(column.head, fontsize=10)
        axis.set_xlabel("thousand tokens", fontsize=9)
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("success, greedy, held out", fontsize=9)
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(columns) + 1, fontsize=9)
    figure.savefig(PICTURES / picture, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then draws and prints all that there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", nargs="+", choices=COLUMNS, default=list(COLUMNS), metavar="ID")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=range(5), metavar="SEED")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument(
        "--results", type=Path, help="a folder for the results, instead of the repository's; no pictures, but curves"
    )
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args(arguments)
    if not chosen.plot_only:
        wanted = jobs(chosen.algorithms, chosen.ids, chosen.seeds, chosen.results)
        if not wanted:
            parser.error(f"none of these runs is part of the benchmark: --seeds {' '.join(map(str, chosen.seeds))}")
        run_missing(wanted, chosen.jobs)
        if chosen.results:
            return
    plot(END, "algorithms.png")
    plot(JUDGED, "algorithms-tokens.png")
    print("\n\n".join(f"{name.removeprefix('algorithms: ')}\n\n{text}" for name, text in tables().items()))


if __name__ == "__main__":
    main()
