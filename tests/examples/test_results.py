"""The results that examples have left: what a line leaves out is known, and what is wrong with a line is said."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlfl_agents.ppo import PPOConfig
from rlfl_agents.run.results import SCHEMA, append_result
from rlfl_agents.sft import SFTConfig
from tests.settings import EXAMPLES

DEFAULTS = json.loads((EXAMPLES / "defaults.json").read_text(encoding="utf-8"))


@pytest.fixture
def tables(example: Callable[[str], ModuleType]) -> ModuleType:
    """The script that fills the tables of the pages."""
    return example("../docs/_scripts/fill_tables.py")


@pytest.mark.parametrize("config", [PPOConfig, SFTConfig])
def test_what_is_left_out_of_a_line_is_known(config: type[PPOConfig] | type[SFTConfig]) -> None:
    """examples/defaults.json has today's defaults. Where one changes, SCHEMA grows and the file gets a new section.

    A setting that is new since belongs to no old line, and need not be there.
    """
    today = json.loads(json.dumps(dataclasses.asdict(config())))
    written = DEFAULTS[str(SCHEMA)][config.__name__]
    assert {name: today[name] for name in written} == written


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"seed": 0, "settings": {"width": 64}}, None),
        ({"seed": 0, "settings": {"depth": 64}}, "line 2: 'depth' was no setting of PPOConfig"),
        ({"seed": 0, "settings": {"width": 128}}, "line 2: width=128 was the default"),
        ({"seed": 0, "warm_start": {"settings": {"batch": 64}}}, "line 2: 'batch' was no setting of SFTConfig"),
        ({"seed": 1, "minutes": 2.0}, "line 2: there is a line with the same"),
    ],
)
def test_what_is_wrong_with_a_line(
    tables: ModuleType, tmp_path: Path, line: dict[str, Any], complaint: str | None
) -> None:
    """An unknown setting, one that says nothing, and a run that is there twice."""
    path = tmp_path / "results.jsonl"
    append_result(path, {"seed": 1, "minutes": 1.0})
    append_result(path, line)
    found = tables.complaints(path, DEFAULTS)
    assert len(found) == (complaint is not None)
    assert all(complaint in words for words in found)


@pytest.mark.parametrize("damage", ['{"schema": 1, "reward": NaN}\n', '{"schema": 1}'])
def test_a_damaged_file(tables: ModuleType, tmp_path: Path, damage: str) -> None:
    """A line that is no JSON, and one without its end."""
    path = tmp_path / "results.jsonl"
    path.write_text(damage)
    assert len(tables.complaints(path, DEFAULTS)) == 1


def test_fill_in(tables: ModuleType) -> None:
    """What is between the marks gives way to the table, and all else stays as it is."""
    old, empty = "<!-- research: one -->\nold\n<!-- end -->", "<!-- research: two -->\n<!-- end -->"
    page = f"a\n{old}\nb\n<!-- needs: torch -->\nc\n{empty}\n"
    filled = tables.fill_in(page, {"research: one": r"| \1 |", "research: two": "| 2 |"})
    one, two = "<!-- research: one -->\n\n| \\1 |\n\n<!-- end -->", "<!-- research: two -->\n\n| 2 |\n\n<!-- end -->"
    assert filled == f"a\n{one}\nb\n<!-- needs: torch -->\nc\n{two}\n"
    assert tables.fill_in(filled, {"research: one": r"| \1 |", "research: two": "| 2 |"}) == filled
    with pytest.raises(KeyError, match="research: one"):
        tables.fill_in(page, {})
