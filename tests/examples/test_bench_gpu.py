"""The benchmark of a GPU runs from end to end without one, at tiny sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_every_part_measures_something(example: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """No part fails, all report speed or memory, and a recorded step samples the same tokens.

    In bfloat16 the two ways round differently: log-probabilities differ by a thousandth, and a token now and then.
    """
    bench = example("benchmarks/bench_gpu.py")
    parts = ["head", "gpt2-tf32", "1.5b"]
    bench.main(["--toy", "--out", str(tmp_path), "--only", *parts])
    report = json.loads((tmp_path / "bench_gpu.json").read_text())
    assert set(report["parts"]) == set(parts)
    assert not [part for part in report["parts"].values() if "error" in part]
    assert report["parts"]["head"]["relative_difference_weight"] < 1e-5
    for name in parts[1:]:
        part = report["parts"][name]
        assert part["reads_groups"]
        assert part["head_in_pieces"]
        assert part["ppo"]["samples_per_second"] > 0
        assert part["ppo"]["ratio_mean"] == pytest.approx(1, abs=1e-3)
        assert part["sampling"]["recorded"]
        assert part["sampling"]["same_tokens"] >= (1 if name == "gpt2-tf32" else 0.5)


def test_a_part_that_fails_costs_itself_alone(example: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """What went wrong is in the result, and what was measured before it."""
    bench = example("benchmarks/bench_gpu.py")
    path = tmp_path / "bench_gpu.json"
    bench.write(path, {"parts": {}})

    def fails(sizes: object, note: Callable[..., None], folder: Path) -> None:
        note(before=1)
        raise MemoryError("full")

    bench.PARTS["head"] = (fails, 1)
    with pytest.raises(MemoryError):
        bench.run_part("head", bench.TOY, path)
    assert json.loads(path.read_text())["parts"]["head"] == {"before": 1, "error": "MemoryError: full"}
