"""examples/sql_task.py: the task of sixty lines that the docs show."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from rlfl_envs import PromptError, Task, check_task, load_task
from tests.settings import EXAMPLES

ID = "example/Sql-v0"
QUESTION = "name of people over 30? "


@pytest.fixture(autouse=True)
def sql_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Imports the example, which registers its id, and forgets both afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    importlib.import_module("sql_task")
    yield
    del sys.modules["sql_task"], gymnasium.registry[ID]


def outcome(task: Task, query: str) -> tuple[float, str]:
    """What a query earns as the answer to a question, and its status."""
    (found,) = task.evaluate([task.parse_prompt(QUESTION)], [query])
    return round(found.reward, 3), found.status


def test_sixty_lines() -> None:
    """No longer than it is said to be."""
    assert len((EXAMPLES / "sql_task.py").read_text().splitlines()) <= 60


def test_in_any_vocabulary(bpe_folder: Path) -> None:
    """It keeps the contract in printable ASCII, in GPT-2's vocabulary and in that of a folder."""
    check_task(load_task(ID), num_prompts=16, vocabularies=["gpt2", str(bpe_folder)])
    with pytest.raises(PromptError):
        load_task(ID).parse_prompt("name of people over thirty? ")


@pytest.mark.parametrize(
    ("query", "reward"),
    [
        ("SELECT name FROM people WHERE age > 30", 1.0),
        ("select NAME from people where not age <= 30 order by city", 1.0),
        ("SELECT name FROM people", 0.849),  # 59 of 80 rows are right: 2 * 59 / 139
        ("SELECT city FROM people WHERE age > 30", 0.0),
        ("SELECT name FROM people; SELECT 1", 0.0),
        ("DROP TABLE people", 0.0),
        ("SELECT a.name FROM people a, people b, people c, people d WHERE 0 > a.age", 0.0),
        ("SELECT '\ud800'", 0.0),
        ("SELECT name", 0.0),
        ("", 0.0),
    ],
)
def test_rewards(query: str, reward: float) -> None:
    """The F1 score of the rows; nothing for what fails, writes or does not end."""
    assert outcome(load_task(ID), query) == (reward, "ok")


def test_queries_that_multiply() -> None:
    """What SQLite would write out a billion times is too long to be asked."""
    pairs = zip("abcdefghij", "bcdefghijk", strict=True)
    levels = "".join(f",{new} AS(SELECT t+t+t+t+t+t+t+t t FROM {old})" for old, new in pairs)
    assert outcome(load_task(ID), f"WITH a AS(SELECT 1 t){levels}SELECT t FROM k") == (0.0, "malformed")
