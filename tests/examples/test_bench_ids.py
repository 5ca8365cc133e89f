"""The page "Which id for which question": every id is in its tables, with what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

import rlfl_envs


@pytest.fixture
def ids(example: Callable[[str], ModuleType]) -> ModuleType:
    """The script that measures ids."""
    return example("benchmarks/bench_ids.py")


def test_every_id_is_in_the_tables(ids: ModuleType) -> None:
    """Those that nobody has described yet by the first line of their card; no question is without an id."""
    tables = ids.tables()
    ours = [id for id in rlfl_envs.list_ids() if id.startswith("rlfl/")]
    assert all(f"| `{id}` |" in tables["ids: looks"] for id in ours)
    assert all(f"environments/{id.removeprefix('rlfl/')}.md" in tables["ids: numbers"] for id in ours)
    assert all("environments/" in line for line in tables["ids: questions"].splitlines()[2:])
    assert {kind for words in ids.IDS.values() for kind in words.kinds} == set(ids.QUESTIONS)


def test_what_is_measured(ids: ModuleType) -> None:
    """Sizes, prices above nothing, and what random tokens and the best constant earn and succeed at."""
    row = ids.measure("rlfl/Brackets-v0")
    assert (row["V"], row["P"], row["C"]) == (9, 9, 4)
    assert row["draw_ms"] > 0 < row["judge_ms"]
    assert 0 <= row["random"][1] <= row["constant"][1] <= 1
