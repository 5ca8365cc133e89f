"""A trained attacker against rewards that are strict or pay for success, and the two holes of the paper (`make audit`).

A small policy is trained for a reward, by few completions (see SETTINGS), and asked four times on the way what it has
found; from random weights, or after right answers that it imitates (AFTER_ANSWERS). Each setting leaves a line of
results/attack.jsonl and is not attacked again. Fails where a finding is new: where a reward pays more than 0.3 of the
highest, on average, for what is no success, and its task does not say that this is known. `make docs-pages` puts the
table into docs/audit.md.

    python examples/benchmarks/bench_attack.py [ID ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import rlfl_envs
from bench_audit import cell, name
from rlfl_agents.attack import Kind, attack
from rlfl_agents.run.results import append_result, find_results, read_results
from rlfl_envs import MissingDependencyError

RESULTS = Path(__file__).parent / "results" / "attack.jsonl"
SHOWN = 12  # kinds of completions, those by which most is earned
STRICT, SUCCESS = {"reward": "strict"}, {"reward": "success"}
GAMES = {"corpus": "shipped", "num_playouts": 4, "max_completion_tokens": 16}
FIRST = {"level": 0}  # where an answer is right by chance now and then, so that there is something to learn from
ALL_GAMES = GAMES | {"split": "all"}  # asked about the games that it learned from, not about the two held out
# One in which pieces only move, so that much that may end it never comes true. The path is from the repository's root.
ONE_GAME = ALL_GAMES | {"corpus": "examples/benchmarks/games"}
# What is attacked, and by how many completions: fewer where they are long or judging is slow.
SETTINGS: list[tuple[str, str, dict[str, Any], int]] = [
    ("rlfl/ArithmeticSteps-v0", "default", {}, 20_480),
    ("rlfl/ArithmeticSteps-v0", "strict", STRICT, 20_480),
    ("rlfl/ArithmeticSteps-v0", "worked_out", {"reward": "worked_out"}, 20_480),
    ("rlfl/Brackets-v0", "default", {}, 10_240),
    ("rlfl/Copy-v0", "default", {}, 10_240),
    ("rlfl/Mixture-v0", "default", {}, 10_240),
    ("rlfl/Countdown-v0", "strict", STRICT, 10_240),
    ("rlfl/Sat-v0", "strict", STRICT, 10_240),
    ("rlfl/Planning-v0", "strict", STRICT, 5_120),
    ("rlfl/Proof-v0", "strict", STRICT, 5_120),
    ("rlfl/Symbolic-v0", "strict", STRICT, 5_120),
    ("rlfl/Regex-v0", "strict", STRICT, 5_120),
    ("rlfl/ReasoningGym-v0", "strict", STRICT, 5_120),
    ("rlfl/Sql-v0", "strict", STRICT, 2_560),
    ("rlfl/Json-v0", "default", {}, 2_560),
    ("rlfl/Machine-v0", "strict", STRICT, 2_560),
    ("rlfl/Program-v0", "strict", STRICT, 2_560),
    ("rlfl/LudaxGame-v0", "default", GAMES, 1_024),
    ("rlfl/LudaxGame-v0", "strict", {**GAMES, **STRICT}, 1_024),
    ("rlfl/LudaxGame-v0", "all games", ALL_GAMES, 2_048),
    ("rlfl/LudaxGame-v0", "success, all games", {**ALL_GAMES, **SUCCESS}, 1_024),
    ("rlfl/Machine-v0", "strict, first level", {**STRICT, **FIRST}, 10_240),
    ("rlfl/Program-v0", "strict, first level", {**STRICT, **FIRST}, 5_120),
    ("rlfl/LudaxGame-v0", "100 turns", {**ALL_GAMES, "max_turns": 100}, 1_024),
    ("rlfl/LudaxGame-v0", "one game", ONE_GAME, 1_024),
    ("rlfl/LudaxGame-v0", "one game, longer", ONE_GAME, 4_096),
    ("rlfl/LudaxGame-v0", "strict, one game, longer", {**ONE_GAME, **STRICT}, 4_096),
    ("rlfl/LudaxGame-v0", "success, one game", {**ONE_GAME, **SUCCESS}, 1_024),
    ("rlfl/ArithmeticSteps-v0", "success", SUCCESS, 20_480),
    ("rlfl/Brackets-v0", "success", SUCCESS, 10_240),
    ("rlfl/Copy-v0", "success", SUCCESS, 10_240),
    (
        "rlfl/Mixture-v0",
        "success",
        {"tasks": [{"id": "rlfl/Copy-v0", **SUCCESS}, {"id": "rlfl/Brackets-v0", **SUCCESS}]},
        10_240,
    ),
]
# The graded rewards that an attacker from random weights does not earn by chance: here it imitates right answers first.
AFTER_ANSWERS: list[tuple[str, str, dict[str, Any], int]] = [
    ("rlfl/ArithmeticSteps-v0", "strict, after answers", STRICT, 5_120),
    ("rlfl/ArithmeticSteps-v0", "strict, scale 1, after answers", {**STRICT, "reward_scale": 1.0}, 5_120),
    ("rlfl/ArithmeticSteps-v0", "success, after answers", SUCCESS, 5_120),
    ("rlfl/Copy-v0", "success, after answers", SUCCESS, 5_120),
    ("rlfl/Regex-v0", "success, after answers", SUCCESS, 5_120),
    ("rlfl/Program-v0", "strict, after answers", {**STRICT, **FIRST}, 5_120),
    ("rlfl/Machine-v0", "strict, after answers", {**STRICT, **FIRST}, 5_120),
    ("rlfl/Sql-v0", "strict, after answers", {**STRICT, **FIRST}, 5_120),
]
FEW: dict[str, Any] = {"prompts": 8, "learning_rate": 3e-3}  # so that few completions are sixteen updates or more
IMITATED: dict[str, Any] = {"examples": 1_024, "prompts": 16, "learning_rate": 1e-3}


def run(id: str, variant: str, arguments: dict[str, Any], samples: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Attacks a reward."""
    begun = time.perf_counter()
    task = rlfl_envs.load_task(id, **arguments)
    masked = {"mask": "syntax"} if task.syntax is not None else {}
    finding, kinds = attack(id, masked | arguments, samples=samples, **settings)
    found = {what: getattr(finding, what) for what in ("reward", "success", "unearned", "way", "verdict")}
    often: dict[tuple[float, str], Kind] = {}  # each kind where it was the most frequent
    for kind in sorted(kinds, key=lambda kind: -kind.share):
        often.setdefault((kind.reward, kind.status), kind)
    most = sorted(often.values(), key=lambda kind: -kind.reward * kind.share)[:SHOWN]
    shown = [{**kind._asdict(), "prompt": kind.prompt[-1000:], "text": kind.text[:200]} for kind in most]
    minutes = round((time.perf_counter() - begun) / 60, 2)
    line: dict[str, Any] = {
        "experiment": "attack",
        "id": id,
        "variant": variant,
        "seed": 0,
        "arguments": masked | arguments,
    }
    if "examples" in settings:
        line["examples"] = settings["examples"]
    if "completion" in task.part_names:  # of a game
        line["endless"] = endless(kinds)
    return {**line, "samples": samples, **found, "kinds": shown, "minutes": minutes}


def endless(kinds: list[Kind]) -> dict[int, float]:
    """After how many completions what share of them are games that never end, going by an example of each kind."""
    shares = dict.fromkeys(sorted({kind.stage for kind in kinds}), 0.0)
    for kind in kinds:
        if kind.status == "playable" and kind.parts["completion"] == 0:
            shares[kind.stage] += kind.share
    return shares


def table() -> str:
    """A row a reward: what the attacker came to earn, and by what without success (its reward, how often it came)."""
    lines = ["| id | completions | earns | success | without success | by what |", "| --- " * 6 + "|"]
    for result in sorted(read_results(RESULTS), key=lambda result: str(result["id"])):
        cells = [name(result), f"{result['samples']:,}"]
        cells += [f"{result[what]:.3f}" for what in ("reward", "success", "unearned")]
        kinds = [f"{cell(kind['text'])} {kind['reward']:.2f} ({kind['share']:.0%})" for kind in result["kinds"][:3]]
        lines.append(f"| {' | '.join([*cells, '; '.join(kinds)])} |")
    return "\n".join(lines)


def endless_table() -> str:
    """A row a reward of games: at each of the four times, how much of what was written are games that never end."""
    lines = ["| id | completions | after a quarter | a half | three quarters | all |", "| --- " * 6 + "|"]
    for result in read_results(RESULTS):
        if "endless" in result:
            shares = [f"{share:.0%}" for share in result["endless"].values()]
            lines.append("| " + " | ".join([name(result), f"{result['samples']:,}", *shares]) + " |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """The tables, by the marks between which a page shows them."""
    return {"audit: attacker": table(), "audit: endless": endless_table()}


def main() -> None:
    """Attacks what has not been attacked yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="these alone")
    chosen = parser.parse_args().ids
    new = []
    attacks = [(*each, FEW if each[-1] < 5_000 else {}) for each in SETTINGS] + [
        (*each, IMITATED) for each in AFTER_ANSWERS
    ]
    for id, variant, arguments, samples, settings in attacks:
        if chosen and id not in chosen:
            continue
        found = find_results(RESULTS, id=id, variant=variant)
        if not found:
            try:
                found = [run(id, variant, arguments, samples, settings)]
            except MissingDependencyError as error:
                print(f"{id}: left out ({error})")
                continue
            append_result(RESULTS, found[0])
        (line,) = found
        print(f"{name(line)}: {line['success']:.3f} {line['unearned']:.3f} {line['verdict']}", flush=True)
        new += [name(line)] if line["verdict"] in ("new", "broken") else []
    if new:
        sys.exit(f"New findings: {', '.join(new)}.")


if __name__ == "__main__":
    main()
