"""Does memory grow with episodes? (`make bench-memory`).

1,000,000 episodes of random legal tokens on every id that can play so many, and on those with masks of large
vocabularies and deep automata; fewer where judges run programs. Each setting is played in a process of its own, which
notes how much memory it holds after a tenth and at the end, and leaves a line of results/memory.jsonl; it is not played
again then. Fails where it grew by more than 20 MB.

    python examples/benchmarks/bench_memory.py [--episodes 1000000] [ID ...]
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import rlfl_envs
from rlfl_agents.run.results import append_result, find_results
from rlfl_envs import MissingDependencyError, TokenVectorEnv

RESULTS = Path(__file__).parent / "results" / "memory.jsonl"
NUM_ENVS, EPISODES, MOST_MEGABYTES = 500, 1_000_000, 20.0
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("rlfl/Copy-v0", {}),
    ("rlfl/Copy-v0", {"mask": "syntax", "vocabulary": "gpt2"}),
    ("rlfl/Arithmetic-v0", {}),
    ("rlfl/ArithmeticAnswer-v0", {"operators": "+-", "mask": "syntax"}),
    ("rlfl/ArithmeticSteps-v0", {"mask": "syntax"}),
    ("rlfl/ArithmeticSteps-v0", {"mask": "syntax", "vocabulary": "gpt2"}),
    ("rlfl/Brackets-v0", {"mask": "syntax"}),
    ("rlfl/Brackets-v0", {"mask": "syntax", "vocabulary": "gpt2", "depth": 8, "length": 16}),
    ("rlfl/Countdown-v0", {"mask": "syntax"}),
    ("rlfl/Sat-v0", {"mask": "syntax"}),
    ("rlfl/Mixture-v0", {}),
    ("rlfl/Sentiment-v0", {"corpus": "template"}),
    ("rlfl/Json-v0", {"mask": "syntax"}),
    ("rlfl/Regex-v0", {"mask": "syntax"}),
    ("rlfl/Sql-v0", {}),
    ("rlfl/Program-v0", {"mask": "syntax"}),
]
FEWER = {"rlfl/Program-v0": 50, "rlfl/Sql-v0": 20, "rlfl/Json-v0": 10, "rlfl/Regex-v0": 10, "rlfl/Sentiment-v0": 10}


def resident() -> float:
    """Megabytes that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def play(id: str, arguments: dict[str, Any], episodes: int, answer: Any) -> None:
    """Plays, and answers with the megabytes held after a tenth and at the end."""
    envs = TokenVectorEnv(rlfl_envs.load_task(id, **arguments), NUM_ENVS, autoreset_mode="Disabled")
    rng, held = np.random.default_rng(0), []
    for batch in range(episodes // NUM_ENVS):
        envs.reset(seed=batch * NUM_ENVS, options={"action_mask": False, "judge_together": True})
        finished = np.zeros(NUM_ENVS, dtype=np.bool_)
        while not finished.all():
            table, rows = envs.mask_table, envs.mask_rows
            tokens = np.zeros(NUM_ENVS, dtype=np.int64)
            for row in np.unique(rows):
                tokens[rows == row] = rng.choice(np.flatnonzero(table[row]), size=int((rows == row).sum()))
            _, _, finished, _, _ = envs.step(tokens)
        if batch + 1 in (episodes // NUM_ENVS // 10, episodes // NUM_ENVS):
            held.append(resident())
    answer.put(held)


def main() -> None:
    """Plays what has not been played yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="these alone")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    chosen = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    grown = []
    for id, arguments in SETTINGS:
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
            begun, episodes = time.perf_counter(), chosen.episodes // FEWER.get(id, 1)
            answer = processes.Queue()
            process = processes.Process(target=play, args=(id, arguments, episodes, answer))
            process.start()
            first, last = answer.get()
            process.join()
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
