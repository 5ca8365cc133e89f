"""Does memory grow with episodes? (`make bench-memory`).

1,000,000 episodes of random legal tokens on every id that can play so many, and on those with masks of large
vocabularies and deep automata; fewer where prompts or judges are slow. Each setting is played in a process of its own,
which notes how much memory it holds after a tenth and at the end (what workers hold is not counted: they are replaced
from time to time), and leaves a line of results/memory.jsonl; it is not played again then. Fails where it grew by more
than 20 MB.

    python examples/benchmarks/bench_memory.py [--episodes 1000000] [ID ...]
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rlfl_envs
from rlfl_agents.run.results import append_result, find_results
from rlfl_envs import MissingDependencyError, TokenVectorEnv

RESULTS = Path(__file__).parent / "results" / "memory.jsonl"
NUM_ENVS, EPISODES, MOST_MEGABYTES = 500, 1_000_000, 20.0
GPT2 = {"mask": "syntax", "vocabulary": "gpt2"}
GAMES = {"corpus": "shipped", "num_playouts": 4, "max_turns": 20, "timeout": 10.0}
# What is played, and by what the episodes are divided where prompts or judges are slow.
SETTINGS: list[tuple[str, dict[str, Any], int]] = [
    ("rlfl/Copy-v0", {}, 1),
    ("rlfl/Copy-v0", GPT2, 1),
    ("rlfl/Arithmetic-v0", {}, 1),
    ("rlfl/ArithmeticAnswer-v0", {"operators": "+-", "mask": "syntax"}, 1),
    ("rlfl/ArithmeticSteps-v0", {"mask": "syntax"}, 1),
    ("rlfl/ArithmeticSteps-v0", {"mask": "syntax", "operators": "+-*", "vocabulary": "characters"}, 1),
    ("rlfl/ArithmeticSteps-v0", GPT2, 1),
    ("rlfl/Brackets-v0", {"mask": "syntax"}, 1),
    ("rlfl/Brackets-v0", {**GPT2, "depth": 8, "length": 16}, 1),
    ("rlfl/Sat-v0", {"mask": "syntax"}, 1),
    ("rlfl/Countdown-v0", {"mask": "syntax"}, 1),
    ("rlfl/Countdown-v0", GPT2, 4),
    ("rlfl/Planning-v0", {"mask": "syntax"}, 2),
    ("rlfl/Planning-v0", GPT2, 2),
    ("rlfl/Proof-v0", {"mask": "syntax"}, 2),
    ("rlfl/Proof-v0", GPT2, 2),
    ("rlfl/Symbolic-v0", {"mask": "syntax"}, 2),
    ("rlfl/Mixture-v0", {}, 2),
    ("rlfl/Sentiment-v0", {"corpus": "template"}, 2),
    ("rlfl/Json-v0", {"mask": "syntax"}, 2),
    ("rlfl/Sql-v0", {}, 5),
    ("rlfl/Sql-v0", {"mask": "syntax"}, 5),
    ("rlfl/Regex-v0", {"mask": "syntax"}, 10),
    ("rlfl/ReasoningGym-v0", {}, 10),  # every prompt and every answer goes to a worker
    ("rlfl/ReasoningGym-v0", {"dataset": "number_sequence", "workers": 2}, 50),
    ("rlfl/HumanEval-v0", {}, 20),
    ("rlfl/Machine-v0", {"mask": "syntax"}, 20),
    ("rlfl/Program-v0", {"mask": "syntax"}, 10),
    ("rlfl/LudaxGame-v0", GAMES, 20),  # hardly ever a game: refused without being played
    ("rlfl/LudaxGame-v0", {**GAMES, "mask": "syntax"}, 1000),
]


def resident() -> float:
    """Megabytes that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class LegalTokens:
    """The legal tokens of every row of a mask table, each row looked through once."""

    def __init__(self, envs: TokenVectorEnv) -> None:
        """Takes the environments whose masks they are."""
        self._envs = envs
        self._forget()

    def _forget(self) -> None:
        self._epoch = self._envs.mask_epoch
        self._tokens: list[NDArray[np.int32]] = []

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """A legal token for each environment, each as likely, int64 [N]."""
        if self._epoch != self._envs.mask_epoch:  # the table was cleared: its numbers mean other rows now
            self._forget()
        table, rows = self._envs.mask_table, self._envs.mask_rows.tolist()
        self._tokens += [np.flatnonzero(row).astype(np.int32) for row in table[len(self._tokens) :]]
        among = [self._tokens[row] for row in rows]
        chosen = (rng.random(len(rows)) * [len(tokens) for tokens in among]).astype(np.int64).tolist()
        return np.array([tokens[place] for tokens, place in zip(among, chosen, strict=True)], dtype=np.int64)


def play(id: str, arguments: dict[str, Any], episodes: int) -> list[float]:
    """Plays; the megabytes held after a tenth and at the end."""
    num_envs = max(1, min(NUM_ENVS, episodes // 20))
    envs = TokenVectorEnv(rlfl_envs.load_task(id, **arguments), num_envs, autoreset_mode="Disabled")
    legal, rng, held = LegalTokens(envs), np.random.default_rng(0), []
    batches = episodes // num_envs
    for batch in range(batches):
        seed = 0 if batch == 0 else None  # the streams go on
        envs.reset(seed=seed, options={"action_mask": False, "judge_together": True})
        finished = np.zeros(num_envs, dtype=np.bool_)
        while not finished.all():
            _, _, finished, _, _ = envs.step(legal.draw(rng))
        if batch + 1 in (batches // 10, batches):
            held.append(resident())
    return held


def main() -> None:
    """Plays what has not been played yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="these alone")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    chosen = parser.parse_args()
    grown = []
    for id, arguments, divisor in SETTINGS:
        if chosen.ids and id not in chosen.ids:
            continue
        variant = " ".join(f"{name}={value}" for name, value in arguments.items())
        found = find_results(RESULTS, id=id, variant=variant)
        if not found:
            try:
                rlfl_envs.load_task(id, **arguments)
            except MissingDependencyError as error:
                print(f"{id}: left out ({error})")
                continue
            begun, episodes = time.perf_counter(), chosen.episodes // divisor
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                first, last = process.submit(play, id, arguments, episodes).result()
            minutes = round((time.perf_counter() - begun) / 60, 2)
            result = {"experiment": "memory", "id": id, "variant": variant, "episodes": episodes, "seed": 0}
            result |= {"megabytes": [round(first, 1), round(last, 1)], "minutes": minutes}
            append_result(RESULTS, result)
            found = [result]
        first, last = found[0]["megabytes"]
        print(f"{id:26} {variant:50} {found[0]['episodes']:9,} {first:7.1f} -> {last:7.1f} MB", flush=True)
        grown += [f"{id} {variant}"] if last - first > MOST_MEGABYTES else []
    if grown:
        sys.exit(f"Memory grew by more than {MOST_MEGABYTES:.0f} MB: {', '.join(grown)}.")


if __name__ == "__main__":
    main()
