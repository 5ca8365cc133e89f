"""Databases: hidden ones for a question, and running a query in them, which it can only read and not for long."""

from __future__ import annotations

import functools
import hashlib
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from rlfl_envs.tasks.sql.questions import WORDS, Question, Tables

__all__ = ["MOST_ROWS", "Row", "blank", "databases", "run"]

Row = tuple[Any, ...]

MOST_ROWS = 200
_DATABASES = 3
_ROWS, _CHILD_ROWS = 16, 20
_ATTEMPTS = 50
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


@functools.lru_cache(maxsize=1024)
def databases(question: Question) -> tuple[bytes, ...]:
    """The hidden databases of a question, each as a file's content; they are a function of the question.

    What the question names is in them, so that over and under make a difference. Where it can be, the query that
    answers it has rows in each, and not all that there are.
    """
    seed = hashlib.blake2b(f"{question.tables.text}\n{question.query}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    found: list[bytes] = []
    left = _ATTEMPTS
    while len(found) < _DATABASES:
        content = _fill(question.tables, question.constants, rng)
        left -= 1
        if left < _DATABASES or _is_telling(question, content):
            found.append(content)
    return tuple(found)


def _fill(tables: Tables, constants: tuple[int, ...], rng: np.random.Generator) -> bytes:
    """A database of random rows, some of which are there twice."""

    def values(column: str, count: int) -> list[str] | list[int]:
        if column in WORDS:
            return [WORDS[column][i] for i in rng.integers(len(WORDS[column]), size=count).tolist()]
        anywhere = rng.integers(10, 100, size=count)
        if not constants:
            return [int(number) for number in anywhere]
        near = np.array(constants)[rng.integers(len(constants), size=count)] + rng.integers(-1, 2, size=count)
        return [int(number) for number in np.where(rng.random(count) < 0.4, near.clip(10, 99), anywhere)]

    rows = zip(range(1, _ROWS + 1), *(values(column, _ROWS) for column in tables.columns), strict=True)
    parents = rng.integers(1, _ROWS + 1, size=_CHILD_ROWS).tolist()
    others = (values(column, _CHILD_ROWS) for column in tables.child_columns)
    return _made(tables, [*rows], [*zip(range(1, _CHILD_ROWS + 1), parents, *others, strict=True)])


@functools.lru_cache(maxsize=1024)
def blank(tables: Tables) -> bytes:
    """A database without rows, in which it shows cheaply what is no query."""
    return _made(tables, [], [])


def _made(tables: Tables, rows: list[Row], children: list[Row]) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        for name, columns, content in (
            (tables.parent, ("id", *tables.columns), rows),
            (tables.child, ("id", tables.key, *tables.child_columns), children),
        ):
            typed = [f"{column} {'TEXT' if column in WORDS else 'INTEGER'}" for column in columns]
            database.execute(f"CREATE TABLE {name} ({', '.join(typed)})")
            database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", content)
        database.commit()
        return database.serialize()


def _is_telling(question: Question, content: bytes) -> bool:
    _, due = run(question.query, question.tables, content)
    if question.unconditional is None:
        return bool(due)
    _, all_ = run(question.unconditional.query, question.tables, content)
    return bool(due) and due != all_


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
