"""Is this checkout as fast as another one? Environments of every id, and three trainings of the agent, old against new.

    python examples/benchmarks/bench_house.py --against CHECKOUT

Each side is a process of its own that imports its own code and keeps its environments between measurements. A round
measures both, one right after the other, and begins with the other side each time: what counts is the median of the
rounds' ratios, new to old. Seconds are the processor's, one thread a side, so that other work on the machine counts
little. Environments play reference completions, worked out before the clock starts; a game is judged once, in the round
that warms up.

Prints a table and writes results/bench_house.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "bench_house.json"
ENVS = 256
STEPS = 64
SECONDS = 0.3  # about how long one measurement of an environment takes
_QUICK_GAMES = {"corpus": "shipped", "num_playouts": 10, "max_turns": 20}

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("rlfl/Arithmetic-v0", {}),
    ("rlfl/ArithmeticSteps-v0", {}),
    ("rlfl/ArithmeticSteps-v0", {"mask": "syntax"}),
    ("rlfl/ArithmeticAnswer-v0", {}),
    ("rlfl/Brackets-v0", {}),
    ("rlfl/Brackets-v0", {"mask": "syntax"}),
    ("rlfl/Copy-v0", {}),
    ("rlfl/Copy-v0", {"vocabulary": "gpt2", "mask": "syntax"}),
    ("rlfl/Sentiment-v0", {"corpus": "template"}),
    ("rlfl/LudaxGame-v0", _QUICK_GAMES),
    ("rlfl/LudaxGame-v0", _QUICK_GAMES | {"mask": "syntax"}),
]
_SMALL = {"epochs": 1, "layers": 2, "width": 64, "heads": 4, "group_size": 16, "prompts": 64}
TRAININGS: dict[str, dict[str, Any]] = {
    "train Arithmetic-v0": _SMALL | {"env_id": "rlfl/Arithmetic-v0", "advantage": "rloo"},
    "train ArithmeticSteps-v0 syntax": _SMALL
    | {"env_id": "rlfl/ArithmeticSteps-v0", "env_kwargs": {"mask": "syntax"}, "advantage": "gae"},
    "train Copy-v0 batch entropy": _SMALL
    | {"env_id": "rlfl/Copy-v0", "advantage": "rloo", "batch_entropy_coef": 0.05, "minibatches": 4},
}


_TRAINED = 50_000  # completions

# --- one side: a process that measures what it is asked --------------------------------------------------------------


def record(envs: Any) -> tuple[np.ndarray, int, int]:
    """Plays references, each in its own environment.

    Returns:
        Actions, int64 [T, N]; how many of them are tokens of an episode, and how many episodes end.
    """
    task, tokenizer, rng = envs.task, envs.tokenizer, np.random.default_rng(0)
    envs.reset(seed=0)
    actions = np.full((STEPS, envs.num_envs), tokenizer.eos_id)
    begins, rests = np.ones(envs.num_envs, dtype=np.bool_), np.zeros(envs.num_envs, dtype=np.bool_)
    tokens = episodes = 0
    for step in range(STEPS):
        prompts = envs.prompts
        for row in np.flatnonzero(begins).tolist():
            answer = task.reference_completion(prompts[row], rng)
            text = task.constant_completions()[0] if answer is None else answer
            plan = tokenizer.encode(text)[: STEPS - step]
            actions[step : step + len(plan), row] = plan  # then EOS
        tokens += int((~rests).sum())
        _, _, ended, _, _ = envs.step(actions[step])
        begins, rests = rests, ended
        episodes += int(ended.sum())
    return actions, tokens, episodes


def timed(play: Callable[[], float], tokens: int, episodes: int) -> Iterator[dict[str, float]]:
    """Rates, one for each time that it is asked for, after a pass that warms up."""
    passes = max(1, round(SECONDS / play()))
    while True:
        seconds = sum(play() for _ in range(passes))
        yield {"tokens_per_second": passes * tokens / seconds, "episodes_per_second": passes * episodes / seconds}


def vector(id: str, arguments: dict[str, Any]) -> Iterator[dict[str, float]]:
    """The vector environment, autoreset included."""
    import gymnasium

    envs = gymnasium.make_vec(f"rlfl_envs:{id}", num_envs=ENVS, **arguments).unwrapped
    actions, tokens, episodes = record(envs)

    def play() -> float:
        envs.reset(seed=0)
        begun = time.process_time()
        for row in actions:
            envs.step(row)
        return time.process_time() - begun

    return timed(play, tokens, episodes)


def scalar(id: str, arguments: dict[str, Any]) -> Iterator[dict[str, float]]:
    """The environment for one episode at a time, resets included."""
    import gymnasium

    env = gymnasium.make(f"rlfl_envs:{id}", **arguments).unwrapped
    envs = gymnasium.make_vec(f"rlfl_envs:{id}", num_envs=1, **arguments).unwrapped
    actions, tokens, episodes = record(envs)

    def play() -> float:
        env.reset(seed=0)
        begun, ended = time.process_time(), False
        for action in actions[:, 0].tolist():
            if ended:
                env.reset()
                ended = False
            else:
                ended = env.step(action)[2]
        return time.process_time() - begun

    return timed(play, tokens, episodes)


def training(name: str) -> Iterator[dict[str, float]]:
    """Updates of the agent: what a longer run takes more than a short one, which begins and ends alike."""
    import torch

    from rlfl_agents import PPOConfig, train

    torch.set_num_threads(1)
    settings = TRAININGS[name]
    rows = settings["prompts"] * settings["group_size"]

    updates = round(_TRAINED / rows)

    def seconds(updates: int) -> float:
        config = PPOConfig(
            **settings,
            total_samples=updates * rows,
            eval_every=0,
            eval_prompts=16,
            save_every=10**6,
            device="cpu",
            threads=1,
            report_to=(),
        )
        with tempfile.TemporaryDirectory() as folder:
            begun = time.process_time()
            train(config, Path(folder) / "run", quiet=True)
            return time.process_time() - begun

    while True:
        yield {"episodes_per_second": updates * rows / (seconds(updates + 2) - seconds(2))}


def kinds() -> dict[str, Callable[[], Iterator[dict[str, float]]]]:
    """Everything that can be measured, by name."""
    found: dict[str, Callable[[], Iterator[dict[str, float]]]] = {}
    for kind, (id, arguments) in itertools.product((vector, scalar), SETTINGS):
        label = " ".join([kind.__name__, id.removeprefix("rlfl/"), *_labels(arguments)])
        found[label] = partial(kind, id, arguments)
    return found | {name: partial(training, name) for name in TRAININGS}


def _labels(arguments: dict[str, Any]) -> list[str]:
    return [str(value) for name, value in arguments.items() if name not in _QUICK_GAMES]


def serve() -> None:
    """Answers each name on standard input with a line of rates."""
    answers, sys.stdout = sys.stdout, sys.stderr
    measurements: dict[str, Iterator[dict[str, float]]] = {}
    for name in map(str.strip, sys.stdin):
        if name not in measurements:
            measurements = {name: kinds()[name]()}  # the environments before go
        print(json.dumps(next(measurements[name])), file=answers, flush=True)


# --- both sides ------------------------------------------------------------------------------------------------------


class Side:
    """A process that measures one checkout."""

    def __init__(self, checkout: Path) -> None:
        """Starts it."""
        environment = os.environ | {"PYTHONPATH": f"{checkout}:{checkout / 'agents'}", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            env=environment,
            cwd=tempfile.gettempdir(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, name: str) -> dict[str, float]:
        """Measures once."""
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a side ended without an answer; what it said is above.")
        rates: dict[str, float] = json.loads(line)
        return rates

    def close(self) -> None:
        """Ends it."""
        with self._process:  # closes its input, after which it ends, and waits
            pass


def compare(old: Side, new: Side, name: str, rounds: int) -> dict[str, Any]:
    """Measures both sides in turns, after a round that does not count."""
    pairs = []
    for round_number in range(rounds + 1):
        first, second = (old, new) if round_number % 2 else (new, old)
        measured = {side: side.measure(name) for side in (first, second)}
        pairs.append((measured[old], measured[new]))
    rate = "episodes_per_second"  # tokens per second have the same ratio: both sides play the same episodes
    ratios = [ours[rate] / theirs[rate] for theirs, ours in pairs[1:]]
    return {
        "name": name,
        "ratio": statistics.median(ratios),
        "ratios": sorted(ratios),
        "old": {key: statistics.median(old_rates[key] for old_rates, _ in pairs[1:]) for key in pairs[0][0]},
        "new": {key: statistics.median(new_rates[key] for _, new_rates in pairs[1:]) for key in pairs[0][1]},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, required=True, help="another checkout of this repository")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="measure only names that contain this, such as Copy")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if not (options.against / "rlfl_envs").is_dir():  # or else the installed package would be measured
        parser.error(f"--against {options.against} is no checkout: it holds no rlfl_envs.")
    print(f"{'':48} {'old/s':>12} {'new/s':>12} {'new/old':>8}   lowest to highest")
    rows = []
    with contextlib.ExitStack() as stack:
        old, new = (Side(checkout) for checkout in (options.against.resolve(), HERE))
        stack.callback(old.close)
        stack.callback(new.close)
        for name in kinds():
            if options.only not in name:
                continue
            row = compare(old, new, name, options.rounds)
            rows.append(row)
            rate = next(iter(row["old"]))
            spread = f"{row['ratios'][0]:.3f} to {row['ratios'][-1]:.3f}"
            print(
                f"{name:48} {row['old'][rate]:12,.0f} {row['new'][rate]:12,.0f} {row['ratio']:8.3f}   {spread}",
                flush=True,
            )
    report = {"command": "bench_house.py", "cores": os.cpu_count(), "rounds": options.rounds, "rows": rows}
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\nlowest ratio: {min(row['ratio'] for row in rows):.3f}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
