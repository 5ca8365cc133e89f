"""How fast the Ludii backend judges games, against the paper's way (`LUDII_JAR=... make bench-ludii`).

Four measurements, each of 100 random playouts of at most 500 moves a game, given up after 20 seconds:

- eight classics, with their measures;
- Chess and Go, given up after 300 seconds only;
- a sample of the jar's two-player games: one worker and, in turns with it, the paper's evaluation; then two workers.
  The paper's is a Java process that is sent one game after the other and started again after a timeout; its cap is 250
  turns for each of two players. Where each turn is one move that is the same cap. Where turns have several, it lets a
  playout go on for longer; so the two are also compared over the games in which no playout of the pool's came to a cap.
  The class it runs is part of the paper's fork of Ludii only
  (https://github.com/PadLex/Reinforcement-Learning-from-Explicitly-Programmed-Reward-Signals); with another jar that
  row is left out;
- 300 games in which one form was replaced by a form of another game, and whether the pool judges as ever after them.

Prints tables and adds figures, and nothing of Ludii's, to results/ludii.jsonl, a line a run. What a run that was
stopped has measured is kept in the cache folder, and not measured again by the next with the same jar.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rlfl_agents.run.results import append_result
from rlfl_envs.cache import cache_folder, keep
from rlfl_envs.judging import Pool, Request
from rlfl_envs.tasks.games.bracketed import forms
from rlfl_envs.tasks.games.ludii import judge as ludii
from rlfl_envs.tasks.games.ludii.language import corpus

RESULTS = Path(__file__).parent / "results" / "ludii.jsonl"
CLASSICS = (
    *("Tic-Tac-Toe", "Connect Four", "Gomoku", "Hex"),
    *("Reversi", "Breakthrough", "Amazons", "English Draughts"),
)
LARGE = ("Chess", "Go")
MEASURES = ("balance", "completion", "drawishness", "mean_turns", "agency", "branching")
PLAYOUTS, MOVES, TIMEOUT, LARGE_TIMEOUT = 100, 500, 20.0, 300.0
SAMPLE, MUTANTS = 40, 300
PAPERS_CLASS = "approaches.symbolic.api.evaluation.StandardEvaluationEndpoint"


def request(game: str) -> Request:
    """A game to judge as all are here."""
    return Request(game, (("max_turns", MOVES), ("num_playouts", PLAYOUTS)))


@contextlib.contextmanager
def started(workers: int, timeout: float = TIMEOUT) -> Iterator[Pool]:
    """A pool whose workers have Java running and have compiled a game."""
    pool = Pool("rlfl_envs.tasks.games.ludii.judge", workers=workers, timeout=timeout)
    try:
        (small,) = (game for game in corpus() if game.startswith('(game "Tic-Tac-Toe" '))
        pool.evaluate([Request(small, (("num_playouts", 30),), seed) for seed in range(4 * workers)])
        yield pool
    finally:
        pool.close()


def measure_classics(games: list[str], names: tuple[str, ...], timeout: float) -> list[dict[str, Any]]:
    """Judges games known by name."""
    print(f"{'game':<18}{'seconds':>8}" + "".join(f"{name:>13}" for name in MEASURES))
    rows = []
    with started(1, timeout) as pool:
        for name in names:
            (game,) = (game for game in games if game.startswith(f'(game "{name}" '))
            begin = time.perf_counter()
            (judgement,) = pool.evaluate([request(game)])
            seconds = time.perf_counter() - begin
            parts = {name: judgement.parts.get(name, 0.0) for name in MEASURES}
            rows.append({"game": name, "status": judgement.status, "seconds": seconds, **parts})
            print(f"{name:<18}{seconds:>8.2f}" + "".join(f"{value:>13.2f}" for value in parts.values()), flush=True)
    return rows


def measure_sample(games: list[str], jar: str) -> dict[str, dict[str, Any]]:
    """Judges a sample one game after the other, each first by the pool, then by the paper's evaluation if there is one.

    In turns, so that whatever else the machine has to do is in the way of both.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    seconds: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(started(1))
        ways: dict[str, Callable[[str], dict[str, Any]]] = {
            "pool, workers=1": lambda game: asdict(pool.evaluate([request(game)])[0])
        }
        if has_papers_class(jar):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            process = stack.enter_context(contextlib.closing(PapersProcess(jar, folder)))
            for _ in range(4):
                process.judge(next(game for game in corpus() if game.startswith('(game "Tic-Tac-Toe" ')))
            ways["the paper's way"] = process.judge
        for game in games:
            for name, judge in ways.items():
                begin = time.perf_counter()
                found.setdefault(name, []).append(judge(game))
                seconds.setdefault(name, []).append(time.perf_counter() - begin)
    return {name: _row(name, found[name], seconds[name]) for name in ways}


def measure_two_workers(games: list[str]) -> dict[str, dict[str, Any]]:
    """Judges a sample by a pool of two workers, all at once."""
    with started(2) as pool:
        begin = time.perf_counter()
        found = [asdict(judgement) for judgement in pool.evaluate([request(game) for game in games])]
        seconds = time.perf_counter() - begin
    return {"pool, workers=2": _row("pool, workers=2", found, [seconds])}


def _row(name: str, found: list[dict[str, Any]], seconds: list[float]) -> dict[str, Any]:
    """A row of the table; a game's own seconds are known where they came one after the other."""
    statuses = Counter(one["status"] for one in found)
    row = {"way": name, "seconds": sum(seconds), "games_per_second": len(found) / sum(seconds), "statuses": statuses}
    if len(seconds) == len(found):
        row |= {"median": statistics.median(seconds), "ninth_decile": statistics.quantiles(seconds, n=10)[-1]}
    print(
        f"{name:<20}{row['seconds']:>9.1f}{row['games_per_second']:>9.2f}{row.get('median', math.nan):>8.2f}"
        f"{row.get('ninth_decile', math.nan):>8.2f}  {dict(statuses)}",
        flush=True,
    )
    return {"row": row, "found": found, "each": seconds}


def has_papers_class(jar: str) -> bool:
    """Whether this is a jar of the paper's fork."""
    with zipfile.ZipFile(jar) as archive:
        return PAPERS_CLASS.replace(".", "/") + ".class" in archive.namelist()


class PapersProcess:
    """The paper's evaluation: a Java process that answers a line with a line."""

    def __init__(self, jar: str, folder: str) -> None:
        """Starts it; it writes a log into the folder."""
        self._command = ["java", "-cp", jar, PAPERS_CLASS]
        self._folder = folder
        self._process = self._ready()

    def _ready(self) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(self._command, text=True, cwd=self._folder, **pipes)
        assert process.stdout is not None
        while "Ready" not in process.stdout.readline():
            assert process.poll() is None
        return process

    def judge(self, game: str) -> dict[str, Any]:
        """Judges a game: its status, and how many turns its playouts had on average."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answers = self._process.stdout
        self._process.stdin.write(f"Random|{PLAYOUTS}|0.1|{MOVES // 2}|{game}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([answers], [], [], TIMEOUT)
        if not ready:
            self.close()
            self._process = self._ready()
            return {"status": "timeout"}
        line = answers.readline().strip()
        if line in ("-1", "-2"):
            return {"status": "no_compile" if line == "-1" else "unplayable"}
        return {"status": "playable", "parts": {"mean_turns": float(line.split("|")[3])}}

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


def compare(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the ways agree in, and how the paper's compares where no playout came to a cap."""
    one, two, papers = rows["pool, workers=1"], rows["pool, workers=2"], rows.get("the paper's way")
    ways = [way["found"] for way in (one, two, papers) if way]
    agreed = sum(len({found["status"] for found in game}) == 1 for game in zip(*ways, strict=True))
    both = [game for game in zip(*ways[:2], strict=True) if all(found["status"] == "playable" for found in game)]
    report = {
        "games": len(one["found"]),
        "rows": [way["row"] for way in (one, two, papers) if way],
        "same_status": agreed,
        "played": len(both),
        "same_parts": sum(first["parts"] == second["parts"] for first, second in both),
    }
    print(f"the same status in all for {agreed} of {report['games']} games; the same parts in both pools for")
    print(f"{report['same_parts']} of the {len(both)} games that were played in both")
    if papers:
        played = [
            (ours, theirs, seconds, other)
            for ours, theirs, seconds, other in zip(
                one["found"], papers["found"], one["each"], papers["each"], strict=True
            )
            if ours["status"] == theirs["status"] == "playable" and ours["parts"]["completion"] == 1
        ]
        report["without_a_cap"] = {
            "games": len(played),
            "pool_seconds": sum(seconds for _, _, seconds, _ in played),
            "papers_seconds": sum(other for *_, other in played),
            "median_ratio": statistics.median(other / seconds for _, _, seconds, other in played),
            "pool_turns": statistics.mean(ours["parts"]["mean_turns"] for ours, *_ in played),
            "papers_turns": statistics.mean(theirs["parts"]["mean_turns"] for _, theirs, *_ in played),
        }
        print(f"where no playout came to a cap: {report['without_a_cap']}")
    return report


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


class Parts:
    """What each part of a run measured, kept until all are there."""

    def __init__(self, jar: str) -> None:
        """Reads what a run with this jar has left."""
        digest = hashlib.blake2b(Path(jar).read_bytes(), digest_size=6).hexdigest()
        self._file = cache_folder() / "ludii" / f"bench-{digest}.json"
        self._parts = json.loads(self._file.read_text()) if self._file.exists() else {}

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What this part measures, or has measured in a run that was stopped."""
        if name in self._parts:
            print(f"{name}: measured by a run that was stopped")
        else:
            self._parts[name] = measure()
            keep(self._file, json.dumps(self._parts).encode())
        return self._parts[name]

    def done(self) -> None:
        """Forgets them."""
        self._file.unlink(missing_ok=True)


def main() -> None:
    """Measures, prints and saves."""
    jar = str(ludii.find_jar())
    games = corpus()
    parts = Parts(jar)
    lengths = [len(game) for game in games]
    short = sum(length < 2000 for length in lengths)
    print(f"{len(games)} games, median {statistics.median(lengths):.0f} characters, {short} under 2,000\n")
    classics = parts.once("classics", lambda: measure_classics(games, CLASSICS, TIMEOUT))
    large = parts.once("large", lambda: measure_classics(games, LARGE, LARGE_TIMEOUT))
    sample = random.Random(0).sample([game for game in games if "(players 2)" in game], SAMPLE)
    print(f"\n{'way':<20}{'seconds':>9}{'games/s':>9}{'median':>8}{'p90':>8}")
    in_turns = parts.once("sample", lambda: measure_sample(sample, jar))
    compared = compare(in_turns | parts.once("two workers", lambda: measure_two_workers(sample)))
    print()
    report = {
        "command": "make bench-ludii",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "corpus": {"games": len(games), "median_characters": statistics.median(lengths), "under_2000": short},
        "classics": classics,
        "large": large,
        "sample": compared,
        "mutants": parts.once("mutants", lambda: measure_mutants(games)),
    }
    append_result(RESULTS, report)
    parts.done()
    print(f"\nAdded to {RESULTS.name}.")


if __name__ == "__main__":
    main()
