"""The benchmark of old against new: both sides are measured in turns, and what is no checkout is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import rlfl_envs

CHECKOUT = Path(rlfl_envs.__file__).parents[1]


def test_a_checkout_against_itself(example: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """Both sides play the same tokens and episodes, each round gives a ratio, and their median is what counts."""
    output = tmp_path / "report.json"
    bench = example("benchmarks/bench_house.py")
    words = [
        "--against",
        str(CHECKOUT),
        "--output",
        str(output),
        "--rounds",
        "3",
        "--only",
        "scalar Brackets-v0 syntax",
    ]
    bench.main(words)
    (row,) = json.loads(output.read_text())["rows"]
    assert row["name"] == "scalar Brackets-v0 syntax"
    assert row["ratio"] == sorted(row["ratios"])[1]
    lengths = [row[side]["tokens_per_second"] / row[side]["episodes_per_second"] for side in ("old", "new")]
    assert lengths[0] == pytest.approx(lengths[1])
    assert lengths[0] > 1


def test_another_folder_is_no_checkout(
    example: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no package, the installed one would be compared with itself, so it is an error."""
    with pytest.raises(SystemExit):
        example("benchmarks/bench_house.py").main(["--against", str(tmp_path)])
    assert "is no checkout: it holds no rlfl_envs" in capsys.readouterr().err
