"""A task of one's own: questions about a table, answered by a SELECT. Try `rlfl show sql_task:example/Sql-v0`."""

import re
import sqlite3
from collections import Counter
from contextlib import closing

import numpy as np

from rlfl_envs import AnswerTask, Prompt, PromptError, register_task

QUESTION = re.compile(r"(name|city|age) of people (over|under) (\d{2})\? ")
READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
Row = tuple[str, str, int]


def run(query: str, people: list[Row]) -> Counter[tuple[object, ...]]:
    """Runs a query in a database of its own, which it may only read, and not for long; no rows where it fails."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE people (name TEXT, city TEXT, age INTEGER)")
        database.executemany("INSERT INTO people VALUES (?, ?, ?)", people)
        database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY)
        database.set_progress_handler(lambda: 1, 10_000)  # ends it after so many instructions
        try:
            return Counter(database.execute(query).fetchmany(100))
        except (sqlite3.Error, sqlite3.Warning, UnicodeError, ValueError):
            return Counter()


class Sql(AnswerTask):
    """Answer a question about the table people(name, city, age) by a SELECT; paid is the F1 score of its rows."""

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a question."""
        column, side = rng.choice(["name", "city", "age"]), rng.choice(["over", "under"])
        return self.parse_prompt(f"{column} of people {side} {rng.integers(20, 80)}? ")

    def parse_prompt(self, text: str) -> Prompt:
        """Reads a question; its data is the right query."""
        if not (match := QUESTION.fullmatch(text)):
            raise PromptError(f"prompt={text!r} is not allowed; allowed: such as 'name of people over 30? '.")
        return Prompt(text, f"SELECT {match[1]} FROM people WHERE age {'>' if match[2] == 'over' else '<'} {match[3]}")

    def read_answer(self, completion: str) -> str | None:
        """Any short text may be a query. In a long one queries within queries multiply, and SQLite sets no limit."""
        return completion if len(completion) <= 200 else None

    def grade(self, prompt: Prompt, answer: str) -> float:
        """Compares the rows with the right query's in a table that the prompt does not show."""
        ages = np.random.default_rng(list(prompt.text.encode())).permutation(np.arange(10, 90)).tolist()
        people: list[Row] = [(f"P{i}", f"C{i % 7}", age) for i, age in enumerate(ages)]
        found, due = run(answer, people), run(prompt.data, people)
        return 2 * (found & due).total() / (found.total() + due.total())

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The query that the question stands for."""
        return str(prompt.data)


register_task("example/Sql-v0", Sql)
