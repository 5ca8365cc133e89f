"""The full audit of every id (`make audit`): each attack on 200 prompts, fewer where judging is slow.

Each id, and each reward that is not its default, leaves one line of results/audit.jsonl and is not audited again;
remove the file to begin anew. Fails where a finding is new. `make docs-pages` puts the tables into docs/audit.md.

    python examples/benchmarks/bench_audit.py [ID ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import rlfl_envs
from rlfl_agents.run.results import append_result, find_results, read_results
from rlfl_envs import MissingDependencyError, printable

RESULTS = Path(__file__).parent / "results" / "audit.jsonl"
VARIANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("rlfl/ArithmeticAnswer-v0", "success", {"reward": "success"}),
    ("rlfl/ArithmeticSteps-v0", "strict", {"reward": "strict"}),
    ("rlfl/ArithmeticSteps-v0", "success", {"reward": "success"}),
    ("rlfl/ArithmeticSteps-v0", "worked_out", {"reward": "worked_out"}),
    ("rlfl/Brackets-v0", "success", {"reward": "success"}),
    ("rlfl/Copy-v0", "success", {"reward": "success"}),
    ("rlfl/Countdown-v0", "strict", {"reward": "strict"}),
    ("rlfl/Json-v0", "success", {"reward": "success"}),
    ("rlfl/LudaxGame-v0", "strict", {"reward": "strict"}),
    ("rlfl/LudaxGame-v0", "success", {"reward": "success"}),
    ("rlfl/Machine-v0", "plain", {"reward": "plain"}),
    ("rlfl/Planning-v0", "strict", {"reward": "strict"}),
    ("rlfl/Program-v0", "plain", {"reward": "plain"}),
    ("rlfl/Proof-v0", "strict", {"reward": "strict"}),
    ("rlfl/ReasoningGym-v0", "plain", {"reward": "plain"}),
    ("rlfl/Regex-v0", "plain", {"reward": "plain"}),
    ("rlfl/Regex-v0", "success", {"reward": "success"}),
    ("rlfl/Sat-v0", "strict", {"reward": "strict"}),
    ("rlfl/Sql-v0", "plain", {"reward": "plain"}),
    ("rlfl/Symbolic-v0", "strict", {"reward": "strict"}),
]
# Judges that run programs or read reviews; of games there are ten, by default.
PROMPTS = {"rlfl/HumanEval-v0": 40, "rlfl/Program-v0": 60, "rlfl/Sentiment-v0": 60, "rlfl/Regex-v0": 100}
QUICK: dict[str, Any] = {"num_playouts": 16, "max_turns": 60, "max_game_tokens": 128, "timeout": 20.0}
SETTINGS = {
    "rlfl/LudaxGame-v0": {"corpus": "shipped", **QUICK},
    "rlfl/LudiiGame-v0": QUICK,
    "rlfl/Sentiment-v0": {"corpus": "template"},
}


def run(id: str, variant: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Audits an id."""
    begun = time.perf_counter()
    task = rlfl_envs.load_task(id, **SETTINGS.get(id, {}), **arguments)
    report = rlfl_envs.audit(task, num_prompts=PROMPTS.get(id))
    print(report, end="\n\n", flush=True)
    minutes = (time.perf_counter() - begun) / 60
    # A report is read with the page: texts are cut there as here.
    findings = [{**each, "text": each["text"][:200]} for each in report.to_json()["findings"]]
    found = {**report.to_json(), "findings": findings}
    return {"experiment": "audit", "id": id, "variant": variant, "minutes": round(minutes, 2), **found}


def cell(text: str) -> str:
    """A text as code in a table, cut and in one line."""
    shown = printable(text if len(text) <= 60 else f"{text[:40]} ... {text[-15:]}").replace("\n", "\\n")
    return f"`` {shown} ``".replace("|", "\\|") if shown.strip() else "(nothing)"


def name(result: dict[str, Any]) -> str:
    """The id, and the reward where it is not the default."""
    id: str = result["id"].removeprefix("rlfl/")
    return id + (f", {result['variant']}" if result["variant"] != "default" else "")


def summary(results: list[dict[str, Any]]) -> str:
    """A row an id: how many attacks hold, and what the worst earns without success."""
    lines = ["| id | prompts | hold | accepted | new | best constant | without success |", "| --- " * 7 + "|"]
    for result in results:
        verdicts = [finding["verdict"] for finding in result["findings"]]
        counts = [
            sum(verdict in kinds for verdict in verdicts) for kinds in (("holds",), ("accepted",), ("new", "broken"))
        ]
        constant = next(each for each in result["findings"] if each["attack"] == "constant answer")
        cells = [name(result), result["prompts"], *counts, cell(constant["text"]), f"{constant['unearned']:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def findings(results: list[dict[str, Any]]) -> str:
    """A row a finding: what earned most, and why it may stay."""
    lines = ["| id | attack | way | success | without success | such as | earns | why |", "| --- " * 8 + "|"]
    for result in results:
        for each in result["findings"]:
            if each["verdict"] != "holds":
                numbers = [f"{each[what]:.3f}" for what in ("success", "unearned")]
                cells = [name(result), each["attack"], printable(each["way"]).replace("|", "\\|"), *numbers]
                cells += [cell(each["text"]), f"{each['text_reward']:.3f}", each["why"].replace("|", "\\|")]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """All tables, by the marks between which a page shows them."""
    results = sorted(read_results(RESULTS), key=lambda result: (result["id"], result["variant"] != "default"))
    return {"audit: summary": summary(results), "audit: findings": findings(results)}


def main() -> None:
    """Audits what has not been audited yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="these alone")
    chosen = parser.parse_args().ids or [id for id in rlfl_envs.list_ids() if id.startswith("rlfl/")]
    new: list[str] = []
    for id, variant, arguments in sorted([*((id, "default", {}) for id in rlfl_envs.list_ids()), *VARIANTS]):
        if id not in chosen:
            continue
        found = find_results(RESULTS, id=id, variant=variant)
        if not found:
            try:
                found = [run(id, variant, arguments)]
            except MissingDependencyError as error:
                print(f"{id}: left out ({error})")
                continue
            append_result(RESULTS, found[0])
        verdicts = [finding["verdict"] for finding in found[0]["findings"]]
        new += [name(found[0])] if {"new", "broken"} & {*verdicts} else []
    if new:
        sys.exit(f"New findings: {', '.join(new)}.")


if __name__ == "__main__":
    main()
