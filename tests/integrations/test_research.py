"""The research scripts: a run in small, from training to the table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_screen(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run leaves which answers it gives, the table shows it, and every variant is legal and has its own file."""
    script = example("research/arithmetic.py")
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "PICTURES", tmp_path)
    variants = script.EXPERIMENTS["screen"]
    files = {script.result_file("screen", variant, 0) for variant in variants}
    assert len(files) == len(variants) == 1 + sum(map(len, script.SCREEN.values()))

    small = dataclasses.replace(
        variants["base"], total_samples=4 * 64, prompts=8, group_size=8, width=16, heads=2, eval_every=1
    )
    monkeypatch.setitem(variants, "base", small)
    (job,) = script.jobs("screen", ["base"], [0])
    result = job.work()
    assert sum(count for _, _, count in result["answers"]) == 4000
    assert result["distinct_answers"] == len({given for _, given, _ in result["answers"]})
    assert all(0 <= due <= 99 for due, _, _ in result["answers"])
    solved = sum(count for due, given, count in result["answers"] if due == given) / 4000
    assert abs(solved - result["final"]["eval/success"]) < 0.1
    unseen, right = result["unseen"]
    assert 0 <= right <= unseen <= 4000
    job.target.parent.mkdir(parents=True)
    job.target.write_text(json.dumps(result))
    script.main(["screen", "--plot-only"])
    assert script.table("screen").splitlines()[2].startswith("| base | 1 |")
    assert {path.name for path in tmp_path.glob("*.png")} == {"research-screen.png", "research-answers-screen.png"}
