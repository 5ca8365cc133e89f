"""Databases: hidden ones for a question, and running a query in them, which it can only read and not for long."""

from __future__ import annotations

import functools
import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from rlfl_envs.tasks.sql.questions import WORDS, Question, Tables

__all__ = ["MOST_ROWS", "Database", "Row", "blank", "databases", "run"]

Row = tuple[Any, ...]

MOST_ROWS = 200
_DATABASES = 3
_ROWS, _CHILD_ROWS = 16, 20
_ATTEMPTS = 20
_ALIKE = 3  # different rows of a table whose groups are large
_STEPS, _MOST_STEPS = 500, 50_000  # instructions of SQLite's machine between two looks, and in all: some milliseconds
# SQLite writes a query within a query out in full wherever its columns are used, before any limit counts: each level
# multiplies what there is by four and more, and takes thirty characters.
_MOST_SELECTS = 3
_FUNCTIONS = frozenset(
    [
        "abs",
        "avg",
        "coalesce",
        "count",
        "ifnull",
        "iif",
        "length",
        "lower",
        "max",
        "min",
        "nullif",
        "rank",
        "round",
        "sum",
        "total",
        "upper",
    ]  # none makes much
)
_LIMITS = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_COLUMN: 64,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 8,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 64,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 8,
    sqlite3.SQLITE_LIMIT_LENGTH: 4096,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 2048,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_STATUSES = {"SQLITE_AUTH": "denied", "SQLITE_INTERRUPT": "timeout", "SQLITE_TOOBIG": "too_much"}


class Database(NamedTuple):
    """A hidden database of a question.

    Attributes:
        content: What a file of it holds.
        due: The rows that answer the question.
        unconditional: The rows of the query without its conditions; those due where it has none.
    """

    content: bytes
    due: list[Row]
    unconditional: list[Row]


@functools.lru_cache(maxsize=1024)
def databases(question: Question) -> tuple[Database, ...]:
    """The hidden databases of a question; they are a function of the question.

    What the question names is in them, so that over and under make a difference. Where it can be, the query that
    answers it has rows in each, and not all that there are; and each query that is nearly right has other rows in one
    of them.
    """
    seed = hashlib.blake2b(f"{question.tables.text}\n{question.query}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    found: list[Database] = []
    untold, is_conditional = [*question.near_misses], bool(question.where)
    with closing(_created(question.tables)) as database:
        while len(found) < _DATABASES:
            best, left = _Rows([], []), len(untold) + 2
            for attempt in range(2 * _ATTEMPTS):
                if attempt >= _ATTEMPTS and left <= len(untold):
                    break
                rows = _draw(question.tables, question.constants, rng)
                if attempt >= _ATTEMPTS:  # what asks for large groups under a rare condition found none
                    rows = rows._replace(parents=[(row[0], *rows.parents[row[0] % _ALIKE][1:]) for row in rows.parents])
                _fill(database, question.tables, rows)
                missed = len(untold) + 1
                due, unconditional = _answers(question, database)
                if due and (due != unconditional or not is_conditional):
                    missed = sum(not _tells(question, miss, database, due) for miss in untold)
                if missed < left:
                    best, left = rows, missed
                if missed <= len(untold) // 2:
                    break
            _fill(database, question.tables, best)
            due, unconditional = _answers(question, database)
            untold = [miss for miss in untold if not _tells(question, miss, database, due)]
            found.append(Database(database.serialize(), due, unconditional))
    return tuple(found)


class _Rows(NamedTuple):
    """The rows of both tables."""

    parents: list[Row]
    children: list[Row]


def _draw(tables: Tables, constants: tuple[int, ...], rng: np.random.Generator) -> _Rows:
    """Random rows, some of which are there twice."""

    def values(column: str, count: int) -> list[Any]:
        if column in WORDS:
            return [WORDS[column][i] for i in rng.integers(len(WORDS[column]), size=count).tolist()]
        anywhere = rng.integers(10, 100, size=count)
        if constants:
            near = np.array(constants)[rng.integers(len(constants), size=count)] + rng.integers(-1, 2, size=count)
            anywhere = np.where(rng.random(count) < 0.4, near.clip(10, 99), anywhere)
        numbers: list[int] = anywhere.tolist()
        return numbers

    rows = zip(range(1, _ROWS + 1), *(values(column, _ROWS) for column in tables.columns), strict=True)
    parents = rng.integers(1, _ROWS + 1, size=_CHILD_ROWS).tolist()
    others = (values(column, _CHILD_ROWS) for column in tables.child_columns)
    return _Rows([*rows], [*zip(range(1, _CHILD_ROWS + 1), parents, *others, strict=True)])


@functools.lru_cache(maxsize=1024)
def blank(tables: Tables) -> bytes:
    """A database without rows, in which it shows cheaply what is no query."""
    with closing(_created(tables)) as database:
        return database.serialize()


def _created(tables: Tables) -> sqlite3.Connection:
    """The tables without rows."""
    database = sqlite3.connect(":memory:")
    for name, columns in (
        (tables.parent, ("id", *tables.columns)),
        (tables.child, ("id", tables.key, *tables.child_columns)),
    ):
        typed = [f"{column} {'TEXT' if column in WORDS else 'INTEGER'}" for column in columns]
        database.execute(f"CREATE TABLE {name} ({', '.join(typed)})")
    return database


def _fill(database: sqlite3.Connection, tables: Tables, rows: _Rows) -> None:
    """Puts rows in the place of those that are there."""
    for name, content in zip((tables.parent, tables.child), rows, strict=True):
        database.execute(f"DELETE FROM {name}")
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(content[0]))})", content)
    database.commit()


def _answers(question: Question, database: sqlite3.Connection) -> tuple[list[Row], list[Row]]:
    """The rows due, and those of the query without its conditions."""
    due = database.execute(question.query).fetchall()
    other = question.unconditional
    return due, due if other is None else database.execute(other.query).fetchall()


def _tells(question: Question, miss: str, database: sqlite3.Connection, due: list[Row]) -> bool:
    """Whether a wrong query has other rows than the right one, or not in the order that is asked for."""
    rows = database.execute(miss).fetchall()
    return Counter(rows) != Counter(due) or not question.is_ordered(rows)


def run(query: str, tables: Tables, content: bytes) -> tuple[str, list[Row]]:
    """Runs a query in a database of its own, made of a file's content.

    It may read these tables and call some functions, and nothing else; it ends after so many instructions and rows.

    Returns:
        "ok" and the rows; or "malformed" (no SQL), "error" (such as an unknown column), "denied", "timeout" or
        "too_much" and no rows.
    """
    if len(re.findall("select", query, re.IGNORECASE)) > _MOST_SELECTS:
        return "too_much", []
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(content)
        for limit, most in _LIMITS.items():
            database.setlimit(limit, most)
        database.set_authorizer(_authorizer(frozenset([tables.parent, tables.child])))
        database.set_progress_handler(_counter(_MOST_STEPS // _STEPS), _STEPS)
        try:
            cursor = database.execute(query)
            if cursor.description is None:
                return "malformed", []
            rows = cursor.fetchmany(MOST_ROWS + 1)
        except sqlite3.Error as error:
            return _status(error), []
        except (sqlite3.Warning, UnicodeError, ValueError):  # in other versions of Python; lone surrogates
            return "malformed", []
        return ("ok", rows) if len(rows) <= MOST_ROWS else ("too_much", [])


def _status(error: sqlite3.Error) -> str:
    message = str(error)
    if isinstance(error, sqlite3.ProgrammingError):  # a null character, two statements
        return "malformed"
    if "syntax error" in message or message.startswith(("incomplete", "unrecognized", "You can only")):
        return "malformed"
    if "not authorized" in message or "prohibited" in message:
        return "denied"
    return _STATUSES.get(getattr(error, "sqlite_errorname", ""), "error")


def _authorizer(names: frozenset[str]) -> Callable[..., int]:
    """Allows to select, to read these tables, and to call some functions."""

    def allow(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        is_allowed = (
            action == sqlite3.SQLITE_SELECT
            or (action == sqlite3.SQLITE_READ and first in names)
            or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS)
        )
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    return allow


def _counter(most: int) -> Callable[[], int]:
    """Ends what asks more often."""
    left = most

    def is_over() -> int:
        nonlocal left
        left -= 1
        return int(left < 0)

    return is_over
