"""Sql: from tables and a question to a query."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from rlfl_envs.answers import AnswerTask
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.protocols import Accepted, Grammar
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.sql.databases import Row, blank, databases, run
from rlfl_envs.tasks.sql.questions import KINDS, Question, draw, parse

__all__ = ["Sql", "SqlConfig"]

_LONGEST_PROMPT = 300
_UNORDERED = 0.5  # of the reward, where an order was asked for


@dataclass(frozen=True)
class SqlConfig(TaskConfig):
    """The arguments of Sql.

    Attributes:
        questions: The kind of questions: "all", "columns", "filters", "joins", "groups", "subqueries" or "windows".
        reward: "strict" is above what the query earns without its conditions; "success" is a quarter of that where a
            row is wrong; "plain" is the F1 score.
    """

    questions: Literal["all", "columns", "filters", "joins", "groups", "subqueries", "windows"] = "all"
    reward: Literal["strict", "plain", "success"] = "strict"

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Kind by kind; none where there is one kind only."""
        return [{"questions": kind} for kind in KINDS] if self.questions == "all" else ()


class Sql(AnswerTask):
    r"""Answer a question about two tables by a query.

    Description:
        The prompt says what two tables are called, which columns they have and what is asked; the completion is a
        SELECT for SQLite. It is run on three databases that no prompt shows.

    Prompt:
        Two lines, the tables and a question in English of a few forms: `teams(id,age,name,rank,city)
        pets(id,teams_id,kind,size)`, then `List the name and age of teams whose city is 'Rome' and rank is over 31, by
        age descending.` Each row of the second table belongs to a row of the first. Six kinds of questions are drawn
        equally often. "columns" asks for columns, perhaps in an order; "filters" adds one or two conditions; "joins"
        asks for columns of both tables; "groups" for the number, total, highest or lowest of each group, perhaps of
        large groups only; "subqueries" for rows above or below an average, or without a row in the other table;
        "windows" for each row's rank, or for the number, total, highest or lowest of its group. Names are drawn from
        lists.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 99, P = 206 and C = 118 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per printable ASCII character and the newline; with `vocabulary` a
        Hugging Face tokenizer's name or path, its tokens.

    Reward:
        The F1 score of the query's rows and the right ones as multisets, the mean over three databases, halved on each
        where the question asks for an order and the rows are not in it. Names of columns do not count, their order
        does. `reward="plain"` is that. `reward="strict"`, the default, is (score - floor) / (1 - floor), or 0 where
        that is negative. The floor is the F1 score of the right query without its conditions, 0 where it has none; so a
        condition has to be found, too. Success is all rows right on all three, in the order asked for;
        `reward="success"` pays a quarter of the strict reward without it. Parts: `well_formed` (it is SQL), `executes`,
        `f1`, `ordered` (share of databases). Status: "ok"; or why it was not run: "malformed" (no SQL, or more than 512
        characters), "error" (such as an unknown column), "denied" (all but to select, to read the two tables and to
        call a few functions), "timeout" (after 50,000 instructions of SQLite's machine), "too_much" (more than three
        SELECTs, more than 200 rows, or long values). All of these earn 0.

    Episode end:
        EOS, or the budget of C tokens.

    Arguments:
        `questions`, `reward`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Level k has questions of the k-th kind. Splits are by the question, whatever
        tables and columns are called. With `mask="syntax"` (which needs llguidance) only queries of the forms that
        references have can be written, with any names.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Sql-v0")
        >>> tables = "teams(id,age,name,rank,city) pets(id,teams_id,kind,size)"
        >>> prompt = task.parse_prompt(tables + "\nList the name of teams whose rank is over 31.\n")
        >>> answers = ["SELECT name FROM teams WHERE rank > 31", "SELECT name FROM teams", "SELECT * FROM teams"]
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 3, answers)]
        [1.0, 0.0, 0.0]

    Known exploits:
        Closed: `SELECT * FROM t`, as no question asks for all columns; leaving conditions out, by what the reward is
        counted from; comparing rows as sets, as they are compared as multisets; writes, ATTACH, PRAGMA, the schema
        table, recursion and `printf`, by the authorizer; endless joins, by the count of instructions; tables that grow
        while a query is prepared, by the number of SELECTs; near misses, such as a bound moved by one, by databases
        that tell most of them apart. The best constant earns 0.001 of strict reward (10,000 prompts), all columns of
        the right table nothing, its columns one below the other 0.03. Left: under "plain" a query without its
        conditions earns about a half.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[SqlConfig]] = SqlConfig
    part_names: ClassVar[tuple[str, ...]] = ("well_formed", "executes", "f1", "ordered")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "spaces": Accepted("SQL allows spaces, and any text as a column's new name.", success=1.0),
        "control characters": Accepted("SQLite skips a byte order mark; others may be a new name.", 0.0, 1.0),
        "padding": Accepted("Capitals, comments and semicolons do not matter.", success=0.3),
        "mutation": Accepted("Capitals and spaces do not matter.", success=0.2),
        "truncation": Accepted("Where all rows are equal, any order is right.", success=0.1),
    }
    max_answer_characters: ClassVar[int] = 512
    config: SqlConfig
    instruction = (
        "Answer the question by one SELECT statement for SQLite; the first line names the tables and their columns. "
        "Write the SQL alone, without Markdown."
    )

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of SqlConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        self.syntax = QueryGrammar()

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws tables and a question."""
        kinds = KINDS if self.config.questions == "all" else (self.config.questions,)
        return self.parse_prompt(draw(kinds[int(rng.integers(len(kinds)))], rng))

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts tables and a question of the forms that are drawn."""
        try:
            question = parse(text.removesuffix("\n")) if text.endswith("\n") and len(text) <= _LONGEST_PROMPT else None
        except ValueError:
            question = None
        if question is None:
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: such as 'teams(id,age,name) pets(id,teams_id,kind)', a "
                "line's end, \"List the name of teams whose age is over 31, by name.\" and a line's end."
            )
        return Prompt(text, question)

    def problem_key(self, prompt: Prompt) -> str:
        """The query, its tables and columns named by their places."""
        question: Question = prompt.data
        tables = question.tables
        names = [tables.parent, tables.child, tables.key, *tables.columns, *tables.child_columns]
        places = {name: f"n{place}" for place, name in enumerate(names)}
        return re.sub(r"\w+", lambda match: places.get(match[0], match[0]), question.query)

    # --- rewards ---------------------------------------------------------------------------------------------------

    def read_answer(self, completion: str) -> str:
        """Any text may be a query; running it shows what it is worth."""
        return completion

    def grade(self, prompt: Prompt, answer: str) -> Outcome:
        """Compares the rows with the right ones on each database."""
        question: Question = prompt.data
        status, _ = run(answer, question.tables, blank(question.tables))
        if status != "ok":
            return _failed(status)
        scores, orders = [], []
        for database in databases(question):
            status, rows = run(answer, question.tables, database.content)
            if status != "ok":
                return _failed(status)
            scores.append(_f1(rows, database.due))
            orders.append(question.is_ordered(rows))
        f1, ordered = float(np.mean(scores)), float(np.mean(orders))
        earned = [score if is_ordered else score * _UNORDERED for score, is_ordered in zip(scores, orders, strict=True)]
        floor = _floor(question) if self.config.reward != "plain" else 0.0
        reward = max(0.0, (float(np.mean(earned)) - floor) / (1 - floor))
        parts = {"well_formed": 1.0, "executes": 1.0, "f1": f1, "ordered": ordered}
        outcome = Outcome(reward, f1 == ordered == 1, parts)
        return outcome.paid_for_success() if self.config.reward == "success" else outcome

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The query that the question stands for."""
        query: str = prompt.data.query
        return query

    def constant_completions(self) -> list[str]:
        """Queries that name a table and a column, or none."""
        tables = ("people", "teams", "books")
        return [
            "SELECT 1",
            "SELECT 1 WHERE 0",
            *(f"SELECT {what} FROM {table}" for table in tables for what in ("*", "name", "age")),
        ]


class QueryGrammar(Grammar):
    """Queries of the forms that references have, with any names; none is long."""

    def start(self, prompt: Prompt) -> str:
        """The same for every prompt."""
        return _GRAMMAR


_GRAMMAR = r"""
start: "SELECT " result (", " result)? " FROM " NAME join? (" WHERE " condition (" AND " condition)?)? group? order?
result: NAME | ("COUNT(*)" | ("SUM" | "MAX" | "MIN" | "AVG") "(" NAME ")") (" OVER (" partition ")")? | rank
rank: "RANK() OVER (" (partition " ")? "ORDER BY " NAME " DESC"? ")"
partition: "PARTITION BY " NAME
join: " JOIN " NAME " ON " NAME "." NAME " = " NAME
condition: NAME " " ("=" | "<" | ">") " " value | NAME " NOT IN (SELECT " NAME " FROM " NAME ")"
value: NUMBER | "'" WORD "'" | "(SELECT AVG(" NAME ") FROM " NAME ")"
group: " GROUP BY " NAME (" HAVING COUNT(*) >= " DIGIT)?
order: " ORDER BY " NAME " DESC"?
NAME: /[a-z_]{1,10}/
WORD: /[A-Za-z]{1,8}/
NUMBER: /[1-9][0-9]/
DIGIT: /[2-4]/
"""


def _failed(status: str) -> Outcome:
    parts = {"well_formed": float(status != "malformed"), "executes": 0.0, "f1": 0.0, "ordered": 0.0}
    return Outcome(0.0, False, parts, status)


def _floor(question: Question) -> float:
    """What the query earns without its conditions; nothing is taken off where it has none."""
    floor = float(np.mean([_f1(database.unconditional, database.due) for database in databases(question)]))
    return floor if floor < 1 else 0.0


def _f1(found: list[Row], due: list[Row]) -> float:
    """The F1 score of rows as multisets; 1 where both are none."""
    total = len(found) + len(due)
    return 2 * (Counter(found) & Counter(due)).total() / total if total else 1.0
