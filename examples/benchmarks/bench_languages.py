"""Does every language train? PPO with batch entropy, three seeds an id (`make bench-languages`).

Where it can be, a small model learns the first level from random weights, by reward alone; elsewhere it is warmed up on
at most 1,000 references before. What counts is held-out success before and after PPO, greedy, on 512 prompts. Each run
takes one thread, leaves one line of results/languages.jsonl and is not run again: stop it and go on at will. Draws
docs/_static/languages.png from what there is. Ids whose packages are missing are left out.

    python examples/benchmarks/bench_languages.py [--jobs 2] [--minutes 10] [--ids ID ...] [--seeds 0 1 2]
                                                  [--by NAME ...] [--plot-only]

The question, what was expected, and the table are in docs/research/languages.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rlfl_agents.config import PPOConfig, SFTConfig
from rlfl_agents.run.results import changed_settings, find_results
from rlfl_agents.sweep import Job, run_missing, train_agent
from rlfl_envs import MissingDependencyError, UnknownIdError, load_task

RESULTS = Path(__file__).parent / "results" / "languages.jsonl"
PICTURE = Path(__file__).parents[2] / "docs" / "_static" / "languages.png"
COLUMNS = ("samples", "reward", "success", "eval/success", "eval/reward", "entropy", "batch_entropy")
EVAL_PROMPTS = 512

# A small model, groups and batch entropy; both entropies fall, so that answers can become sure.
_COMMON: dict[str, Any] = {
    "layers": 2,
    "width": 64,
    "heads": 4,
    "threads": 1,
    "advantage": "rloo",
    "group_size": 16,
    "prompts": 64,
    "epochs": 1,
    "minibatches": 4,
    "learning_rate": 2e-3,
    "lr_schedule": "linear",
    "warmup": 0.02,
    "entropy_coef": 0.03,
    "entropy_coef_final": 0.0,
    "batch_entropy_coef": 0.1,
    "batch_entropy_coef_final": 0.02,
    "eval_every": 20,
    "eval_prompts": EVAL_PROMPTS,
    "save_every": 10**6,
}
# What a warm start has learned is not to be shaken off again: where few answers succeed, entropies would be all that
# there is to climb.
_AFTER: dict[str, Any] = {
    "learning_rate": 5e-4,
    "warmup": 0.05,
    "group_size": 8,
    "minibatches": 2,
    "entropy_coef": 0.0,
    "entropy_coef_final": None,
    "batch_entropy_coef": 0.02,
    "batch_entropy_coef_final": 0.01,
}
# A warm start on few references is learned by heart: larger groups and steps, and some entropy against that.
_FROM_FEW: dict[str, Any] = {
    "learning_rate": 1e-3,
    "group_size": 16,
    "minibatches": 4,
    "entropy_coef": 0.01,
    "entropy_coef_final": 0.0,
}
# Many prompts in an update, and successes of one's own imitated, so that what was found once is not lost again.
_WIDE: dict[str, Any] = {
    "learning_rate": 1e-3,
    "prompts": 256,
    "minibatches": 4,
    "entropy_coef": 0.05,
    "entropy_coef_final": 0.0,
    "batch_entropy_coef": 0.1,
    "batch_entropy_coef_final": 0.02,
    "imitation_coef": 0.5,
    "imitation_batch": 128,
    "eval_every": 10,
}
# A learned value and four passes.
_COUNTDOWN: dict[str, Any] = {
    "advantage": "gae",
    "group_size": 1,
    "prompts": 512,
    "epochs": 4,
    "total_samples": 150_000,
    "eval_every": 30,
}
# A verdict on every token, and several tries at each: docs/research/from-nothing.md.
_TRIES: dict[str, Any] = {
    "advantage": "tries",
    "tries": 16,
    "random_tries": 4,
    "group_size": 1,
    "prompts": 128,
    "learning_rate": 3e-3,
    "weight_decay": 0.01,
    "warmup": 0.05,
    "entropy_coef": 0.0,
    "entropy_coef_final": None,
    "batch_entropy_coef": 0.05,
    "batch_entropy_coef_final": 0.0,
}


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is learned.

    Attributes:
        id: The id.
        env_kwargs: Its arguments.
        examples: On how many references the model is warmed up; 0 for random weights.
        epochs: Passes over them.
        settings: What differs from the common settings.
        by: What else there is to say of how it learns, such as "tries".
    """

    id: str
    env_kwargs: dict[str, Any]
    examples: int = 0
    epochs: int = 10
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    by: str = ""

    @property
    def start(self) -> str:
        """Where it begins, and what else it is called by."""
        start = f"{self.examples} references" if self.examples else "random weights"
        return f"{start}, {self.by}" if self.by else start


LESSONS = [
    Lesson(
        "rlfl/Json-v0",
        {"most": 1, "mask": "syntax", "rewards": "tokens", "max_completion_tokens": 20},
        settings=_TRIES | {"total_samples": 25_000},
        by="tries",
    ),
    Lesson(
        "rlfl/Regex-v0",
        {"longest": 4, "split": "all", "mask": "syntax", "rewards": "tokens"},
        settings=_TRIES | {"total_samples": 45_000, "eval_every": 40},
        by="tries",
    ),
    Lesson("rlfl/Countdown-v0", {"max_numbers": 3, "mask": "syntax"}, settings=_COUNTDOWN),
    Lesson(
        "rlfl/Sat-v0",
        {"max_variables": 4, "mask": "syntax"},
        settings={"prompts": 128, "group_size": 8, "total_samples": 80_000},
    ),
    Lesson(
        "rlfl/Proof-v0",
        {"max_steps": 2, "axioms": "", "mask": "syntax", "rewards": "tokens"},
        settings=_TRIES | {"total_samples": 45_000, "eval_every": 50},
        by="tries",
    ),
    Lesson(
        "rlfl/Sql-v0",
        {"questions": "columns", "split": "all", "max_completion_tokens": 52},
        examples=500,
        epochs=30,
        settings=_FROM_FEW | {"total_samples": 72_000, "eval_every": 10},
    ),
    Lesson(
        "rlfl/Program-v0",
        {"family": "texts_and_lists", "split": "all", "mask": "syntax", "max_completion_tokens": 27},
        examples=1000,
        epochs=15,
        settings=_FROM_FEW | {"total_samples": 20_000, "eval_every": 5},
    ),
    Lesson(
        "rlfl/Machine-v0",
        {"family": "one_step", "split": "all", "mask": "syntax", "max_completion_tokens": 6},
        examples=1000,
        epochs=12,
        settings={"learning_rate": 1e-3, "group_size": 16, "minibatches": 4, "total_samples": 40_000, "eval_every": 10},
    ),
    Lesson(
        "rlfl/Planning-v0",
        {"min_size": 4, "max_size": 4, "max_steps": 2, "domain_shown": False, "mask": "syntax", "rewards": "tokens"},
        settings=_TRIES | {"total_samples": 20_000, "eval_every": 20},
        by="tries",
    ),
    Lesson(
        "rlfl/Symbolic-v0",
        {"kind": "diff", "max_terms": 1, "mask": "syntax"},
        examples=250,
        epochs=60,
        settings=_FROM_FEW | {"total_samples": 80_000},
    ),
    Lesson(
        "rlfl/ReasoningGym-v0",
        {"dataset": "chain_sum", "difficulty": 0, "split": "all"},
        examples=200,
        epochs=60,
        settings=_FROM_FEW | {"total_samples": 80_000},
        by="all sums",
    ),
]
_BY_ID = {lesson.id: lesson for lesson in LESSONS}
LESSONS += [
    dataclasses.replace(
        _BY_ID["rlfl/Program-v0"],
        env_kwargs=_BY_ID["rlfl/Program-v0"].env_kwargs | {"shown": 3},
        examples=250,
        settings=_WIDE | {"total_samples": 150_000},
        by="three cases",
    ),
    dataclasses.replace(
        _BY_ID["rlfl/Machine-v0"],
        settings={"group_size": 16, "minibatches": 4, "total_samples": 1_200_000, "eval_every": 100},
        by="longer",
    ),
    dataclasses.replace(
        _BY_ID["rlfl/Machine-v0"],
        env_kwargs=_BY_ID["rlfl/Machine-v0"].env_kwargs | {"shown": 6},
        settings=_WIDE
        | {
            "learning_rate": 2e-3,
            "group_size": 16,
            "entropy_coef": 0.03,
            "batch_entropy_coef": 0.05,
            "batch_entropy_coef_final": 0.01,
            "imitation_coef": 1.0,
            "imitation_batch": 256,
            "total_samples": 240_000,
        },
        by="six cases",
    ),
]


def settings_of(lesson: Lesson) -> dict[str, Any]:
    """All that is set in its PPO."""
    return _COMMON | (_AFTER if lesson.examples else {}) | lesson.settings


def learn(lesson: Lesson, seed: int, minutes: float) -> dict[str, Any]:
    """Warms up where it is due, then trains; what `train_agent` keeps, and the settings of the warm start."""
    settings = settings_of(lesson)
    config = PPOConfig(env_id=lesson.id, env_kwargs=lesson.env_kwargs, seed=seed, minutes=minutes, **settings)
    if not lesson.examples:
        return train_agent(config, COLUMNS)
    from rlfl_agents.sft import warm_start

    names = ("layers", "width", "heads", "threads", "eval_prompts", "position_ids")
    shared = {name: getattr(config, name) for name in names}
    warm = SFTConfig(
        env_id=lesson.id,
        env_kwargs=lesson.env_kwargs,
        seed=seed,
        examples=lesson.examples,
        epochs=lesson.epochs,
        learning_rate=3e-3,
        prompt_loss=False,
        device="cpu",
        **shared,
    )
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        measures = warm_start(warm, Path(folder) / "warm", quiet=True)
        measures["minutes"] = (time.monotonic() - begun) / 60
        found = train_agent(dataclasses.replace(config, model=str(Path(folder) / "warm")), COLUMNS)
    del found["settings"]["model"]  # which is gone
    return found | {"warm_start": {"settings": changed_settings(warm), **measures}}


def is_here(lesson: Lesson) -> bool:
    """Whether the id is registered, and its packages are installed."""
    try:
        load_task(lesson.id, **lesson.env_kwargs)
    except (MissingDependencyError, UnknownIdError) as error:
        print(f"{lesson.id} is left out: {error}")
        return False
    return True


def jobs(lessons: Sequence[Lesson], seeds: Sequence[int], minutes: float, results: Path) -> list[Job]:
    """All runs, a seed of each lesson before the next."""
    return [
        Job(
            results,
            {"id": lesson.id, "variant": lesson.start, "seed": seed},
            partial(learn, lesson, seed, minutes),
        )
        for seed in seeds
        for lesson in lessons
    ]


def table() -> str:
    """A row a lesson: held-out success before and after PPO, a number for each seed."""
    lines = ["| id | arguments | from | before | after | completions | minutes |", "| --- " * 7 + "|"]
    for lesson, runs in _runs():
        before, after = ([run["curve"]["eval/success"][place] for run in runs] for place in (0, -1))
        cells = [", ".join(f"{value:.2f}" for value in values) for values in (before, after)]
        counts = f"{max(run['curve']['samples'][-1] for run in runs):,.0f}"
        minutes = f"{max(run['minutes'] + run.get('warm_start', {}).get('minutes', 0.0) for run in runs):.0f}"
        words = " ".join(f"{name}={value}" for name, value in lesson.env_kwargs.items())
        lines.append(f"| {' | '.join([_name(lesson), f'`{words}`', lesson.start, *cells, counts, minutes])} |")
    return "\n".join(lines)


def _name(lesson: Lesson) -> str:
    return lesson.id.removeprefix("rlfl/").removesuffix("-v0")


def _runs() -> list[tuple[Lesson, list[dict[str, Any]]]]:
    """The lessons that have been given, each with a run for each seed."""
    runs = [(lesson, find_results(RESULTS, id=lesson.id, variant=lesson.start)) for lesson in LESSONS]
    return [(lesson, sorted(found, key=lambda run: run["seed"])) for lesson, found in runs if found]


def tables() -> dict[str, str]:
    """The table, by the marks between which a page shows it."""
    return {"languages: before and after": table()}


def plot() -> None:
    """Draws held-out success over completions: a panel a lesson, a line a seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: runs may be made where there is no Matplotlib
    from matplotlib.figure import Figure

    runs = _runs()
    columns = 4
    figure = Figure(figsize=(12, 2.8 * math.ceil(len(runs) / columns)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [*figure.subplots(math.ceil(len(runs) / columns), columns, squeeze=False).flat]
    for axis, (lesson, found) in zip(axes, runs, strict=False):
        for run in found:
            thousands = [samples / 1000 for samples in run["curve"]["samples"]]
            axis.plot(thousands, run["curve"]["eval/success"], label=f"seed {run['seed']}")
        axis.set_title(f"{_name(lesson)}, {lesson.start}", fontsize=9)
        axis.set_xlabel("thousand completions", fontsize=8)
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    for axis in axes[len(runs) :]:
        axis.set_visible(False)
    figure.savefig(PICTURE, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then writes the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--minutes", type=float, default=10.0, help="the most that PPO takes in a run")
    parser.add_argument("--ids", nargs="+", help="these ids alone")
    parser.add_argument("--by", nargs="+", help="lessons alone that are called so: tries, longer")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that gets a line for each run")
    parser.add_argument("--plot-only", action="store_true", help="only draw what has been run")
    chosen = parser.parse_args(arguments)
    if not chosen.plot_only:
        lessons = [lesson for lesson in LESSONS if chosen.ids is None or lesson.id in chosen.ids]
        lessons = [lesson for lesson in lessons if chosen.by is None or lesson.by in chosen.by]
        run_missing(jobs([*filter(is_here, lessons)], chosen.seeds, chosen.minutes, chosen.results), chosen.jobs)
    print(table())
    if RESULTS.exists():
        plot()


if __name__ == "__main__":
    main()
