"""Questions: tables and a sentence, what it asks for, and the query that answers it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["KINDS", "NUMBERS", "WORDS", "Question", "Tables", "draw", "parse"]

KINDS = ("columns", "filters", "joins", "groups", "subqueries", "windows")
"""What questions are about, from easy to hard."""

TABLES = ("books", "cars", "cities", "farms", "films", "people", "shops", "teams")
CHILDREN = ("games", "orders", "parts", "pets", "prizes", "visits")
WORDS = {
    "city": ("Bonn", "Lima", "Oslo", "Rome"),
    "color": ("blue", "green", "red", "white"),
    "kind": ("big", "new", "old", "small"),
    "name": ("Ada", "Bob", "Eve", "Ian", "Kim", "Lea", "Max", "Zoe"),
    "state": ("closed", "empty", "full", "open"),
}
"""Columns of words, and which words."""
NUMBERS = ("age", "price", "rank", "score", "size", "year")
"""Columns of numbers from 10 to 99."""

_COMPARISONS = {"over": ">", "under": "<", "exactly": "="}
_MEASURES = {"total": "SUM", "highest": "MAX", "lowest": "MIN"}
_HEADER = re.compile(r"(\w+)\(id,([a-z,]+)\) (\w+)\(id,(\w+)_id,([a-z,]+)\)")
_LIST = re.compile(
    r"List the ([\w ]+?) of (\w+)(?: without (\w+))?(?: with the (\w+) of their (\w+))?(?: whose ([^,.]+))?"
    r"(?:, by (\w+)( descending)?)?\."
)
_GROUP = re.compile(
    r"For each (\w+) of (\w+)(?: whose ([^,.]+))?, give the (?:(number)|(total|highest|lowest) (\w+))"
    r"(?:, where there are at least ([2-4]))?\."
)
_WINDOW = re.compile(
    r"List the (\w+) of (\w+) and (?:their place by (\w+)( descending)?|the (?:(number)|(total|highest|lowest) (\w+)))"
    r"(?: among the same (\w+))?\."
)
_CONDITION = re.compile(r"(\w+) is (?:(over|under|exactly) ([1-9]\d)|'(\w+)'|(above|below) the average)")


@dataclass(frozen=True, slots=True)
class Tables:
    """Two tables, each row of the second of which belongs to one of the first.

    Attributes:
        parent: The first one's name.
        columns: Its columns besides id.
        child: The second one's name.
        child_columns: Its columns besides id and the parent's.
    """

    parent: str
    columns: tuple[str, ...]
    child: str
    child_columns: tuple[str, ...]

    @property
    def key(self) -> str:
        """The child's column that names a row of the parent."""
        return f"{self.parent}_id"

    @property
    def text(self) -> str:
        """As a prompt shows them."""
        child = ",".join(["id", self.key, *self.child_columns])
        return f"{self.parent}({','.join(['id', *self.columns])}) {self.child}({child})"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        kind: One of KINDS.
        tables: Of which tables.
        select: What the query selects and from where.
        where: Its conditions, joined by AND.
        rest: How it is grouped and ordered.
        ordered: By which column of the result, 1 the first, and below 0 descending; 0 in no order.
        constants: The numbers that the question names.
    """

    kind: str
    tables: Tables
    select: str
    where: str = ""
    rest: str = ""
    ordered: int = 0
    constants: tuple[int, ...] = ()

    @property
    def query(self) -> str:
        """The query that answers it."""
        return self.select + (f" WHERE {self.where}" if self.where else "") + self.rest

    @property
    def unconditional(self) -> Question | None:
        """The same without conditions; None where there are none."""
        return replace(self, where="") if self.where else None

    @property
    def near_misses(self) -> tuple[str, ...]:
        """Queries that are wrong in one thing: a condition, a bound, a measure, the size of groups or the order."""
        conditions = self.where.split(" AND ") if self.where else []
        misses = []
        for place, condition in enumerate(conditions):
            for other in ("", *_near(condition)):
                where = " AND ".join([*conditions[:place], *([other] if other else []), *conditions[place + 1 :]])
                misses.append(replace(self, where=where).query)
        misses += [
            self.query.replace(f"{old}(", f"{new}(") for old, new in (("MAX", "MIN"), ("MIN", "MAX"), ("SUM", "MAX"))
        ]
        bare, _, least = self.rest.partition(" HAVING COUNT(*) >= ")
        if least:
            sizes = [f" HAVING COUNT(*) >= {int(least) + more}" for more in (-1, 1)]
            misses += [replace(self, rest=bare + size).query for size in ("", *sizes)]
        elif self.ordered:
            misses.append(replace(self, rest="").query)
        return tuple(dict.fromkeys(miss for miss in misses if miss != self.query))

    def is_ordered(self, rows: Sequence[tuple[Any, ...]]) -> bool:
        """Whether rows are in the order that is asked for."""
        if not self.ordered:
            return True
        if any(len(row) < abs(self.ordered) for row in rows):
            return False
        keys = [row[abs(self.ordered) - 1] for row in rows]
        if not (all(isinstance(key, str) for key in keys) or all(isinstance(key, (int, float)) for key in keys)):
            return False
        return keys == sorted(keys, reverse=self.ordered < 0)


def _near(condition: str) -> list[str]:
    """A bound of numbers moved by one, either way; all above or below a number instead of those that are equal."""
    match = re.fullmatch(r"(\w+) ([<>=]) (\d+)", condition)
    if match is None:
        return []
    column, comparison, number = match[1], match[2], int(match[3])
    if comparison == "=":
        return [f"{column} {other} {number}" for other in (">=", "<=")]
    return [f"{column} {comparison} {number + step}" for step in (-1, 1)]


def parse(text: str) -> Question:
    """Reads a prompt.

    Raises:
        ValueError: It is none that could be drawn.
    """
    header, _, sentence = text.partition("\n")
    if not (match := _HEADER.fullmatch(header)):
        raise ValueError("the tables")
    tables = Tables(match[1], tuple(match[2].split(",")), match[3], tuple(match[5].split(",")))
    names = [*tables.columns, *tables.child_columns]
    is_known = match[1] in TABLES and match[3] in CHILDREN and {*names} <= {*WORDS, *NUMBERS}
    if not is_known or match[4] != match[1] or len({*names}) < len(names):
        raise ValueError("the tables' names")
    if match := _LIST.fullmatch(sentence):
        return _list(tables, *match.groups())
    if match := _GROUP.fullmatch(sentence):
        return _group(tables, *match.groups())
    if match := _WINDOW.fullmatch(sentence):
        return _window(tables, *match.groups())
    raise ValueError("the question")


def _list(
    tables: Tables,
    columns: str,
    table: str,
    without: str | None,
    child_column: str | None,
    child: str | None,
    condition: str | None,
    order: str | None,
    descending: str | None,
) -> Question:
    names = columns.split(" and ")
    _check(table == tables.parent and without in (None, tables.child) and child in (None, tables.child))
    _check(set(names) <= set(tables.columns) and len(names) == len({*names}) <= 2)
    _check(order is None or (order in names and child is None))
    _check(sum(part is not None for part in (without, child, order)) <= 1)
    if child is not None:
        _check(child_column in tables.child_columns and len(names) == 1)
        select = f"SELECT {names[0]}, {child_column} FROM {table} JOIN {child} ON {table}.id = {tables.key}"
        where, numbers, _ = _conditions(child, tables.child_columns, condition)
        return Question("joins", tables, select, where, constants=numbers)
    where, numbers, is_nested = _conditions(table, tables.columns, condition)
    select = f"SELECT {', '.join(names)} FROM {table}"
    if without is not None:
        _check(condition is None)
        where, is_nested = f"id NOT IN (SELECT {tables.key} FROM {tables.child})", True
    kind = "subqueries" if is_nested else "filters" if where else "columns"
    rest = f" ORDER BY {order}{' DESC' if descending else ''}" if order else ""
    ordered = (names.index(order) + 1) * (-1 if descending else 1) if order else 0
    return Question(kind, tables, select, where, rest, ordered, numbers)


def _group(
    tables: Tables,
    key: str,
    table: str,
    condition: str | None,
    number: str | None,
    measure: str | None,
    column: str | None,
    least: str | None,
) -> Question:
    _check(table == tables.parent and key in tables.columns and key in WORDS)
    _check(column is None or (column in tables.columns and column in NUMBERS))
    where, numbers, is_nested = _conditions(table, tables.columns, condition)
    _check(not is_nested)
    value = "COUNT(*)" if measure is None else f"{_MEASURES[measure]}({column})"
    rest = f" GROUP BY {key}" + (f" HAVING COUNT(*) >= {least}" if least else "")
    return Question("groups", tables, f"SELECT {key}, {value} FROM {table}", where, rest, constants=numbers)


def _window(
    tables: Tables,
    name: str,
    table: str,
    order: str | None,
    descending: str | None,
    number: str | None,
    measure: str | None,
    column: str | None,
    among: str | None,
) -> Question:
    _check(table == tables.parent and name in tables.columns)
    _check(among is None or (among in tables.columns and among in WORDS and among != name))
    _check(all(each is None or (each in tables.columns and each in NUMBERS) for each in (order, column)))
    _check(order is not None or among is not None)
    value = "RANK()" if order else "COUNT(*)" if number else f"{_MEASURES[str(measure)]}({column})"
    over = [f"PARTITION BY {among}"] if among else []
    over += [f"ORDER BY {order}{' DESC' if descending else ''}"] if order else []
    return Question("windows", tables, f"SELECT {name}, {value} OVER ({' '.join(over)}) FROM {table}")


def _conditions(table: str, columns: tuple[str, ...], text: str | None) -> tuple[str, tuple[int, ...], bool]:
    """The conditions in SQL, the numbers in them, and whether one has a query in it."""
    found, numbers, is_nested = [], list[int](), False
    for part in text.split(" and ") if text is not None else []:
        match = _CONDITION.fullmatch(part)
        _check(match is not None and match[1] in columns)
        assert match is not None
        column, comparison, number, word, side = match.groups()
        _check((column in WORDS) == (word is not None) and (word is None or word in WORDS[column]))
        if side:
            found.append(f"{column} {'>' if side == 'above' else '<'} (SELECT AVG({column}) FROM {table})")
            is_nested = True
        elif word:
            found.append(f"{column} = '{word}'")
        else:
            found.append(f"{column} {_COMPARISONS[comparison]} {number}")
            numbers.append(int(number))
    _check(len(found) <= 2 and len({*found}) == len(found))
    return " AND ".join(found), tuple(numbers), is_nested


def _check(is_allowed: bool) -> None:
    if not is_allowed:
        raise ValueError("the question")


# --- drawing -------------------------------------------------------------------------------------------------------


def draw(kind: str, rng: np.random.Generator) -> str:
    """Draws tables and a question of a kind; returns the prompt's text."""
    words, numbers = _some(tuple(WORDS), 3, rng), _some(NUMBERS, 3, rng)
    columns = _some((*words[:2], *numbers[:2]), 4, rng)
    child_columns = _some((words[2], numbers[2]), 2, rng)
    tables = Tables(_one(TABLES, rng), tuple(columns), _one(CHILDREN, rng), tuple(child_columns))
    if kind == "joins":
        sentence = f"List the {_one(columns, rng)} of {tables.parent} with the {_one(child_columns, rng)} of their "
        sentence += f"{tables.child}{_whose(child_columns, 1, rng) if rng.random() < 0.7 else ''}"
    elif kind == "groups":
        whose = _whose(columns, 1, rng) if rng.random() < 0.4 else ""
        measure = f"{_one(tuple(_MEASURES), rng)} {_one(numbers[:2], rng)}" if rng.random() < 0.7 else "number"
        sentence = f"For each {_one(words[:2], rng)} of {tables.parent}{whose}, give the {measure}"
        sentence += f", where there are at least {rng.integers(2, 5)}" if rng.random() < 0.3 else ""
    elif kind == "windows":
        key = _one(words[:2], rng)
        name = _one([column for column in columns if column != key], rng)
        sentence = f"List the {name} of {tables.parent} and "
        if rng.random() < 0.5:
            sentence += f"their place by {_one(numbers[:2], rng)}{' descending' if rng.random() < 0.5 else ''}"
            sentence += f" among the same {key}" if rng.random() < 0.5 else ""
        else:
            measure = f"{_one(tuple(_MEASURES), rng)} {_one(numbers[:2], rng)}" if rng.random() < 0.7 else "number"
            sentence += f"the {measure} among the same {key}"
    else:
        names = _some(columns, int(rng.integers(1, 3)), rng)
        sentence = f"List the {' and '.join(names)} of {tables.parent}"
        if kind == "filters":
            sentence += _whose(columns, int(rng.integers(1, 3)), rng)
        elif kind == "subqueries" and rng.random() < 0.4:
            return f"{tables.text}\n{sentence} without {tables.child}.\n"
        elif kind == "subqueries":
            sentence += f" whose {_one(numbers[:2], rng)} is {_one(('above', 'below'), rng)} the average"
        if rng.random() < 0.4:
            sentence += f", by {_one(names, rng)}{' descending' if rng.random() < 0.5 else ''}"
    return f"{tables.text}\n{sentence}.\n"


def _whose(columns: list[str], count: int, rng: np.random.Generator) -> str:
    parts = []
    for column in _some(columns, count, rng):
        if column in WORDS:
            parts.append(f"{column} is '{_one(WORDS[column], rng)}'")
        else:
            parts.append(f"{column} is {_one(tuple(_COMPARISONS), rng)} {rng.integers(20, 90)}")
    return f" whose {' and '.join(parts)}"


def _one(options: tuple[str, ...] | list[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _some(options: tuple[str, ...] | list[str], count: int, rng: np.random.Generator) -> list[str]:
    return [options[i] for i in rng.permutation(len(options))[:count]]
