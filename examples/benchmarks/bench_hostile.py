"""Hostile completions on every id (`make bench-hostile`).

100,000 of an id are judged twice as texts, and once more in tokens: by the array path where the task has one, and
played in the vector and in the scalar environment, with tokens among them that are none. Then one text of a megabyte of
each kind is judged, alone. Each id leaves one line of results/hostile.jsonl and is not judged again; remove the file to
begin anew. Where judges run programs or play games there are ten lines, of 10,000 texts each.

Fails where judging raises, leaves its range or differs, and where a megabyte takes 0.2 s of processor time on an id
that plays no games.

    python examples/benchmarks/bench_hostile.py [ID ...] [--count 100000] [--seeds 0 1 ...]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rlfl_envs
from bench_audit import cell
from rlfl_agents.run.results import append_result, find_results, read_results
from rlfl_envs import (
    ArrayTask,
    MissingDependencyError,
    Outcome,
    Prompt,
    SlowTask,
    Task,
    TokenEnv,
    TokenizationError,
    TokenVectorEnv,
)
from rlfl_envs.auditing import hostile_texts, long_texts

RESULTS = Path(__file__).parent / "results" / "hostile.jsonl"
COUNT, BATCH, MEGABYTE = 100_000, 500, 1_000_000
# By tenths, each with a seed of its own: programs and games may take their whole time limit. (Ludii: 500 games in all.)
TENTHS = ("rlfl/HumanEval-v0", "rlfl/LudaxGame-v0")
COUNTS = {"rlfl/LudiiGame-v0": 500}
SETTINGS: dict[str, dict[str, Any]] = {
    "rlfl/LudaxGame-v0": {"corpus": "shipped", "num_playouts": 4, "max_turns": 20, "timeout": 10.0},
    "rlfl/Sentiment-v0": {"corpus": "template"},
}


def check(task: Task, outcomes: Sequence[Outcome]) -> None:
    """Rewards lie in their range, and parts are numbers."""
    low, high = task.reward_range
    for outcome in outcomes:
        assert low <= outcome.reward <= high, outcome
        assert all(np.isfinite(value) for value in outcome.parts.values()), outcome


def batches(task: Task, count: int, seed: int) -> Iterator[tuple[list[Prompt], list[str]]]:
    """Prompts, and a hostile text for each."""
    rng = np.random.default_rng(seed)
    prompts = task.sample_prompts(rng, BATCH)
    answers = [answer for prompt in prompts[:100] if (answer := task.reference_completion(prompt, rng)) is not None]
    texts = hostile_texts(answers, task.characters, rng, count)
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        yield prompts[:size], [next(texts) for _ in range(size)]


def judge_texts(task: Task, count: int, seed: int) -> None:
    """The text path, twice."""
    for prompts, texts in batches(task, count, seed):
        outcomes = task.evaluate(prompts, texts)
        check(task, outcomes)
        assert task.evaluate(prompts, texts) == outcomes


def rows(task: Task, texts: Sequence[str], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens of texts, int64 [n, C], as far as they can be written, else tokens at random; and how many, [n]."""
    budget, ordinary = task.max_completion_tokens, np.flatnonzero(task.tokenizer.ordinary)
    tokens = rng.choice(ordinary, size=(len(texts), budget))
    lengths = rng.integers(budget + 1, size=len(texts))
    for row, text in enumerate(texts):
        try:
            written = task.tokenizer.encode(text)[:budget]
        except (TokenizationError, UnicodeError):
            continue
        tokens[row, : len(written)], lengths[row] = written, len(written)
    return tokens, lengths


def judge_arrays(task: Task, count: int, seed: int) -> None:
    """The array path against the text path."""
    assert isinstance(task, ArrayTask)
    rng = np.random.default_rng(1)
    for prompts, texts in batches(task, count, seed):
        tokens, lengths = rows(task, texts, rng)
        _, data = task.arrays_from_prompts(prompts)
        found = task.evaluate_arrays(data, tokens, lengths)
        written = [task.tokenizer.decode(row[:length]) for row, length in zip(tokens.tolist(), lengths, strict=True)]
        for row, outcome in enumerate(task.evaluate(prompts, written)):
            assert found.row(row) == outcome, (prompts[row].text, written[row], found.row(row), outcome)


def play(task: Task, count: int, seed: int) -> None:
    """The vector environment and the scalar one, with the same tokens; one in fifty is any token, special ones too."""
    envs, env = TokenVectorEnv(task, BATCH, autoreset_mode="Disabled"), TokenEnv(task)
    rng, vocab_size = np.random.default_rng(2), task.tokenizer.vocab_size
    low, high = task.reward_range
    for number, (prompts, texts) in enumerate(batches(task, count, seed)):
        tokens, lengths = rows(task, texts, rng)
        n, budget = tokens.shape
        tokens[np.arange(budget) >= lengths[:, None]] = task.tokenizer.eos_id
        anything = rng.random(tokens.shape) < 0.02
        tokens[anything] = rng.integers(vocab_size, size=int(anything.sum()))
        if n < BATCH:
            envs = TokenVectorEnv(task, n, autoreset_mode="Disabled")
        envs.reset(seed=number, options={"prompt": [prompt.text for prompt in prompts], "judge_together": True})
        rewards = np.zeros(n)
        for column in range(budget):
            _, reward, finished, _, _ = envs.step(tokens[:, column])
            rewards += reward
            if finished.all():
                break
        assert finished.all()
        assert ((low <= rewards) & (rewards <= high)).all()
        for row, prompt in enumerate(prompts):
            env.reset(options={"prompt": prompt.text})
            for column in range(budget):
                _, alone, is_over, _, _ = env.step(tokens[row, column])
                if is_over:
                    break
            assert alone == rewards[row], (prompt.text, tokens[row].tolist(), alone, rewards[row])


def processor_time() -> float:
    """Seconds of this process and of all below it, those that have ended among them; on Linux, elsewhere its own."""
    ticks: dict[int, tuple[int, int]] = {}  # the parent of each process, and what it has used
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            words = path.read_text().rpartition(")")[2].split()
            ticks[int(path.parent.name)] = int(words[1]), sum(map(int, words[11:15]))
    below, ours = 0, [os.getpid()]
    for process in ours:  # it grows meanwhile
        children = [child for child, (parent, _) in ticks.items() if parent == process]
        below += sum(ticks[child][1] for child in children)
        ours += children
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + below / os.sysconf("SC_CLK_TCK")


def slowest_megabyte(task: Task) -> tuple[float, str]:
    """The most processor seconds that a text of a megabyte takes, workers' included, and of what it was made."""
    rng = np.random.default_rng(3)
    (prompt,) = task.sample_prompts(rng, 1)
    answer = task.reference_completion(prompt, rng)
    task.evaluate([prompt], [""])  # starts what judging needs
    seconds = {}
    for name, text in long_texts([answer] if answer else [], MEGABYTE).items():
        begun = processor_time()
        check(task, task.evaluate([prompt], [text]))
        seconds[name] = processor_time() - begun
    worst = max(seconds, key=lambda name: seconds[name])
    return seconds[worst], worst


def run(id: str, count: int, seed: int) -> dict[str, Any]:
    """Judges an id, or a tenth of what is to be judged."""
    begun = time.perf_counter()
    task = rlfl_envs.load_task(id, **SETTINGS.get(id, {}))
    count = min(count, COUNTS.get(id, count)) // (10 if id in TENTHS else 1)
    judge_texts(task, count, seed)
    if isinstance(task, ArrayTask):
        judge_arrays(task, count, seed)
    play(task, count, seed)
    seconds, text = slowest_megabyte(task)
    minutes = (time.perf_counter() - begun) / 60
    return {
        "experiment": "hostile",
        "id": id,
        "seed": seed,
        "texts": count,
        "arrays": isinstance(task, ArrayTask),
        "megabyte_seconds": round(seconds, 4),
        "megabyte_of": text,
        "plays_games": isinstance(task, SlowTask),
        "minutes": round(minutes, 2),
    }


def table() -> str:
    """A row an id: how many texts were judged, and the slowest text of a megabyte."""
    lines = ["| id | texts | seconds for a megabyte, at most | of what |", "| --- " * 4 + "|"]
    for id in sorted({result["id"] for result in read_results(RESULTS)}):
        found = find_results(RESULTS, id=id)
        slowest = max(found, key=lambda result: result["megabyte_seconds"])
        texts, seconds = sum(result["texts"] for result in found), slowest["megabyte_seconds"]
        lines.append(f"| {id.removeprefix('rlfl/')} | {texts:,} | {seconds:.3f} | {cell(slowest['megabyte_of'])} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """The table, by the marks between which a page shows it."""
    return {"audit: hostile": table()}


def main() -> None:
    """Judges what has not been judged yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="these alone")
    parser.add_argument("--count", type=int, default=COUNT, help="completions of an id")
    parser.add_argument("--seeds", type=int, nargs="+", help="these tenths alone, of ids that are judged by tenths")
    arguments = parser.parse_args()
    slow = []
    for id in arguments.ids or [id for id in rlfl_envs.list_ids() if id.startswith("rlfl/")]:
        for seed in (arguments.seeds or range(10)) if id in TENTHS else [0]:
            found = find_results(RESULTS, id=id, seed=seed)
            if not found:
                try:
                    found = [run(id, arguments.count, seed)]
                except MissingDependencyError as error:
                    print(f"{id}: left out ({error})")
                    break
                append_result(RESULTS, found[0])
            print(" ".join(f"{name}={value}" for name, value in found[0].items() if name != "experiment"), flush=True)
            slow += [id] if found[0]["megabyte_seconds"] >= 0.2 and not found[0]["plays_games"] else []
    if slow:
        sys.exit(f"A megabyte takes 0.2 s or more: {', '.join(slow)}.")


if __name__ == "__main__":
    main()
