"""How fast the Ludii backend judges games, against the paper's way (`LUDII_JAR=... make bench-ludii`).

Three measurements, each of 100 random playouts of at most 500 moves a game, given up after 20 seconds:

- eight classics, with their measures;
- a sample of the jar's two-player games: one worker, two workers, and the paper's evaluation. That is a Java process
  that is sent one game after the other and started again after a timeout; its cap is 250 turns for each of two players.
  The class it runs is part of the paper's fork of Ludii only
  (https://github.com/PadLex/Reinforcement-Learning-from-Explicitly-Programmed-Reward-Signals); with another jar that
  row is left out;
- 300 games in which one form was replaced by a form of another game, and whether the pool judges as ever after them.

Prints tables and writes figures, and nothing of Ludii's, to results/bench_ludii.json.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import random
import select
import statistics
import subprocess
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlfl_envs.backends import ludii
from rlfl_envs.backends.ludii_language import corpus
from rlfl_envs.backends.pool import Judgement, Pool, Request
from rlfl_envs.bracketed import forms

RESULTS = Path(__file__).parent / "results" / "bench_ludii.json"
CLASSICS = (
    *("Tic-Tac-Toe", "Connect Four", "Gomoku", "Hex"),
    *("Reversi", "Breakthrough", "Amazons", "English Draughts"),
)
MEASURES = ("balance", "completion", "drawishness", "mean_turns", "agency", "branching")
PLAYOUTS, MOVES, TIMEOUT = 100, 500, 20.0
SAMPLE, MUTANTS = 40, 300
PAPERS_CLASS = "approaches.symbolic.api.evaluation.StandardEvaluationEndpoint"


def request(game: str) -> Request:
    """A game to judge as all are here."""
    return Request(game, (("max_turns", MOVES), ("num_playouts", PLAYOUTS)))


@contextlib.contextmanager
def started(workers: int) -> Iterator[Pool]:
    """A pool whose workers have Java running and have compiled a game."""
    pool = Pool("rlfl_envs.backends.ludii", workers=workers, timeout=TIMEOUT)
    try:
        (small,) = (game for game in corpus() if game.startswith('(game "Tic-Tac-Toe" '))
        pool.evaluate([Request(small, (("num_playouts", 30),), seed) for seed in range(4 * workers)])
        yield pool
    finally:
        pool.close()


def measure_classics(games: list[str]) -> list[dict[str, Any]]:
    """Judges games known by name."""
    print(f"{'game':<18}{'seconds':>8}" + "".join(f"{name:>13}" for name in MEASURES))
    rows = []
    with started(1) as pool:
        for name in CLASSICS:
            (game,) = (game for game in games if game.startswith(f'(game "{name}" '))
            begin = time.perf_counter()
            (judgement,) = pool.evaluate([request(game)])
            seconds = time.perf_counter() - begin
            parts = {name: judgement.parts.get(name, 0.0) for name in MEASURES}
            rows.append({"game": name, "status": judgement.status, "seconds": seconds, **parts})
            print(f"{name:<18}{seconds:>8.2f}" + "".join(f"{value:>13.2f}" for value in parts.values()), flush=True)
    return rows


def measure_pool(games: list[str], workers: int) -> tuple[dict[str, Any], list[Judgement]]:
    """Judges a sample by a pool: one game after the other by one worker, else all at once."""
    with started(workers) as pool:
        batches = [[request(game)] for game in games] if workers == 1 else [[request(game) for game in games]]
        judgements: list[Judgement] = []
        seconds = []
        for batch in batches:
            begin = time.perf_counter()
            judgements += pool.evaluate(batch)
            seconds.append(time.perf_counter() - begin)
    return _rate(f"pool, workers={workers}", [judgement.status for judgement in judgements], seconds), judgements


def _rate(name: str, statuses: list[str], seconds: list[float]) -> dict[str, Any]:
    """A row of the table; a game's own seconds are known where they came one after the other."""
    row = {"way": name, "seconds": sum(seconds), "games_per_second": len(statuses) / sum(seconds)}
    if len(seconds) == len(statuses):
        row |= {"median": statistics.median(seconds), "ninth_decile": statistics.quantiles(seconds, n=10)[-1]}
    print(
        f"{name:<20}{row['seconds']:>9.1f}{row['games_per_second']:>9.2f}{row.get('median', math.nan):>8.2f}"
        f"{row.get('ninth_decile', math.nan):>8.2f}  {dict(Counter(statuses))}",
        flush=True,
    )
    return {**row, "statuses": statuses}


class PapersProcess:
    """The paper's evaluation: a Java process that answers a line with a line."""

    def __init__(self, jar: str, folder: str) -> None:
        """Starts it; it writes a log into the folder."""
        command = ["java", "-cp", jar, PAPERS_CLASS]
        self._pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._start = lambda: subprocess.Popen(command, text=True, cwd=folder, **self._pipe)
        self._process = self._ready()

    def _ready(self) -> subprocess.Popen[str]:
        process = self._start()
        while "Ready" not in process.stdout.readline():
            assert process.poll() is None
        return process

    def status(self, game: str) -> str:
        """Judges a game."""
        self._process.stdin.write(f"Random|{PLAYOUTS}|0.1|{MOVES // 2}|{game}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], TIMEOUT)
        if not ready:
            self.close()
            self._process = self._ready()
            return "timeout"
        return {"-1": "no_compile", "-2": "unplayable"}.get(self._process.stdout.readline().strip(), "playable")

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


def measure_papers_way(games: list[str], jar: str) -> dict[str, Any]:
    """Judges a sample by the paper's evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        process = PapersProcess(jar, folder)
        process.status(next(game for game in corpus() if game.startswith('(game "Tic-Tac-Toe" ')))
        statuses, seconds = [], []
        for game in games:
            begin = time.perf_counter()
            statuses.append(process.status(game))
            seconds.append(time.perf_counter() - begin)
        process.close()
    return _rate("the paper's way", statuses, seconds)


def mutants(games: list[str], count: int) -> list[str]:
    """Games in which a form was replaced by one of another game: half of the time by one that begins with its word."""
    rng = random.Random(0)

    def form(game: str, word: str) -> tuple[int, int] | None:
        found = [(start, end) for start, end in forms(game)[:-1] if game[start:end].startswith(word)]
        return rng.choice(found) if found else None

    made: list[str] = []
    while len(made) < count:
        game, other = rng.sample(games, 2)
        start, end = form(game, "(") or (0, 0)
        word = game[start:end].split(" ")[0] if rng.random() < 0.5 else "("
        if taken := form(other, word):
            made.append(game[:start] + other[slice(*taken)] + game[end:])
    return made


def measure_mutants(games: list[str]) -> dict[str, Any]:
    """Judges mutants; a pool that has lost nothing judges the same game the same after them."""
    (small,) = (game for game in games if game.startswith('(game "Tic-Tac-Toe" '))
    with started(2) as pool:
        before = pool.evaluate([request(small)])
        begin = time.perf_counter()
        judgements = pool.evaluate([request(game) for game in mutants(games, MUTANTS)])
        seconds = time.perf_counter() - begin
        after = pool.evaluate([replace(request(small), seed=1)])  # a seed that no memo knows
    counts = Counter(judgement.status for judgement in judgements)
    assert before[0].status == after[0].status == "playable"
    print(f"{len(judgements)} mutants in {seconds:.0f} s on 2 workers: {dict(counts)}", flush=True)
    return {"mutants": len(judgements), "seconds": seconds, "statuses": dict(counts)}


def main() -> None:
    """Measures, prints and saves."""
    jar = str(ludii.find_jar())
    games = corpus()
    lengths = [len(game) for game in games]
    short = sum(length < 2000 for length in lengths)
    print(f"{len(games)} games, median {statistics.median(lengths):.0f} characters, {short} under 2,000\n")
    classics = measure_classics(games)
    sample = random.Random(0).sample([game for game in games if "(players 2)" in game], SAMPLE)
    print(f"\n{'way':<20}{'seconds':>9}{'games/s':>9}{'median':>8}{'p90':>8}")
    (alone, ours), (together, again) = measure_pool(sample, 1), measure_pool(sample, 2)
    rows = [alone, together]
    with zipfile.ZipFile(jar) as archive:
        if PAPERS_CLASS.replace(".", "/") + ".class" in archive.namelist():
            rows.append(measure_papers_way(sample, jar))
    agreed = sum(len(set(statuses)) == 1 for statuses in zip(*(row.pop("statuses") for row in rows), strict=True))
    played = [(one, two) for one, two in zip(ours, again, strict=True) if one.status == two.status == "playable"]
    same = sum(one.parts == two.parts for one, two in played)
    print(f"the same status in all for {agreed} of {len(sample)} games; the same parts in both pools for {same} of")
    print(f"the {len(played)} games that were played in both\n")
    report = {
        "command": "make bench-ludii",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "corpus": {"games": len(games), "median_characters": statistics.median(lengths), "under_2000": short},
        "classics": classics,
        "sample": {
            "games": len(sample),
            "rows": rows,
            "same_status": agreed,
            "played": len(played),
            "same_parts": same,
        },
        "mutants": measure_mutants(games),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    draft = RESULTS.with_suffix(".json.tmp")
    draft.write_text(json.dumps(report, indent=2) + "\n")
    draft.replace(RESULTS)
    print(f"\nWrote {RESULTS.name}.")


if __name__ == "__main__":
    main()
