"""Sql: what is asked, and what queries earn, hostile ones among them."""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
import time
from collections import Counter
from contextlib import closing

import numpy as np
import pytest

from rlfl_envs import ConfigError, Prompt, PromptError, Task, baselines, load_task
from rlfl_envs.tasks.sql.databases import databases, run
from rlfl_envs.tasks.sql.questions import KINDS
from tests.settings import SQL, masked_play
from tests.tasks.hostile_queries import QUERIES

TABLES = "teams(id,age,name,rank,city) pets(id,teams_id,kind,size)\n"
RIGHT = "SELECT name FROM teams WHERE rank > 31"


@pytest.fixture(scope="module")
def task() -> Task:
    """As it is by default."""
    return load_task(SQL)


@pytest.fixture(scope="module")
def prompt(task: Task) -> Prompt:
    """One that `RIGHT` answers."""
    return task.parse_prompt(f"{TABLES}List the name of teams whose rank is over 31.\n")


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("List the name of teams.", "SELECT name FROM teams"),
        ("List the age and name of teams, by name descending.", "SELECT age, name FROM teams ORDER BY name DESC"),
        (
            "List the name of teams whose city is 'Rome' and rank is exactly 31, by name.",
            "SELECT name FROM teams WHERE city = 'Rome' AND rank = 31 ORDER BY name",
        ),
        (
            "List the age of teams with the kind of their pets whose size is under 50.",
            "SELECT age, kind FROM teams JOIN pets ON teams.id = teams_id WHERE size < 50",
        ),
        ("For each city of teams, give the number.", "SELECT city, COUNT(*) FROM teams GROUP BY city"),
        (
            "For each city of teams whose age is over 40, give the total rank, where there are at least 2.",
            "SELECT city, SUM(rank) FROM teams WHERE age > 40 GROUP BY city HAVING COUNT(*) >= 2",
        ),
        (
            "List the name of teams whose age is below the average.",
            "SELECT name FROM teams WHERE age < (SELECT AVG(age) FROM teams)",
        ),
        (
            "List the name and age of teams without pets.",
            "SELECT name, age FROM teams WHERE id NOT IN (SELECT teams_id FROM pets)",
        ),
        (
            "List the name of teams and their place by rank descending.",
            "SELECT name, RANK() OVER (ORDER BY rank DESC) FROM teams",
        ),
        (
            "List the name of teams and their place by age among the same city.",
            "SELECT name, RANK() OVER (PARTITION BY city ORDER BY age) FROM teams",
        ),
        (
            "List the name of teams and the highest age among the same city.",
            "SELECT name, MAX(age) OVER (PARTITION BY city) FROM teams",
        ),
        (
            "List the age of teams and the number among the same city.",
            "SELECT age, COUNT(*) OVER (PARTITION BY city) FROM teams",
        ),
    ],
)
def test_questions(task: Task, question: str, query: str) -> None:
    """What each form of question asks for."""
    prompt = task.parse_prompt(f"{TABLES}{question}\n")
    assert task.reference_completion(prompt, np.random.default_rng(0)) == query


@pytest.mark.parametrize(
    ("query", "reward"),
    [
        (RIGHT, 1),
        ("select name from teams where not rank <= 31;", 1),
        ("SELECT t.name AS x FROM teams AS t WHERE t.rank > 31 ORDER BY age", 1),  # no order was asked for
        ("WITH t AS (SELECT * FROM teams) SELECT name FROM t WHERE rank > 31", 1),
        ("SELECT name FROM teams", 0),
        ("SELECT * FROM teams", 0),
        ("SELECT name, rank FROM teams WHERE rank > 31", 0),
        ("SELECT rank FROM teams WHERE rank > 31", 0),
        ("SELECT 1", 0),
        ("SELECT name FROM teams WHERE rank > 99", 0),
        ("EXPLAIN SELECT name FROM teams WHERE rank > 31", 0),
        ("VALUES ('Bob')", 0),
    ],
)
def test_what_queries_earn(task: Task, prompt: Prompt, query: str, reward: float) -> None:
    """The right rows in whichever way; without the condition, and with other columns, nothing."""
    (outcome,) = task.evaluate([prompt], [query])
    assert outcome.status == "ok"
    assert outcome.reward == reward
    assert outcome.is_success == (reward == 1)


def test_rows_are_compared_as_multisets(task: Task, prompt: Prompt) -> None:
    """DISTINCT, or rows that are there twice, are worth their F1 score and no success."""
    plain = task.changed(reward="plain")
    distinct, twice = (
        "SELECT DISTINCT name FROM teams WHERE rank > 31",
        f"{RIGHT} UNION ALL {RIGHT}",
    )
    scores = []
    for database in databases(prompt.data):
        due = Counter(database.due)
        scores.append(2 * len(due) / (len(due) + due.total()))
    first, second = plain.evaluate([prompt] * 2, [distinct, twice])
    assert first.reward == pytest.approx(np.mean(scores))
    assert second.reward == pytest.approx(2 / 3)
    assert not first.is_success
    assert not second.is_success


def test_an_order_that_is_asked_for(task: Task) -> None:
    """Other rows of the same key may change places; without the order half the reward is left, and no success."""
    prompt = task.parse_prompt(f"{TABLES}List the name and age of teams, by age descending.\n")
    queries = [
        "SELECT name, age FROM teams ORDER BY age DESC",
        "SELECT name, age FROM teams ORDER BY age DESC, name",
        "SELECT name, age FROM teams ORDER BY age",
        "SELECT name, age FROM teams",
    ]
    outcomes = task.evaluate([prompt] * 4, queries)
    assert [outcome.reward for outcome in outcomes] == [1, 1, 0.5, 0.5]
    assert [outcome.parts["ordered"] for outcome in outcomes] == [1, 1, 0, 0]
    assert [outcome.is_success for outcome in outcomes] == [True, True, False, False]


@pytest.mark.parametrize(("query", "status"), QUERIES, ids=range(len(QUERIES)))
def test_hostile_queries(task: Task, prompt: Prompt, query: str, status: str) -> None:
    """Each has the right status and earns nothing, and the next result is right: nothing was changed."""
    hostile, right = task.evaluate([prompt] * 2, [query, RIGHT])
    assert hostile.status == status
    assert hostile.reward == 0
    assert not hostile.is_success
    assert (right.reward, right.is_success) == (1, True)


@pytest.mark.timing
def test_hostile_queries_and_mutants_are_quick(task: Task, prompt: Prompt) -> None:
    """Each hostile query, and 10,000 mutated references: bounded time, and the next result is right."""
    for query, _ in QUERIES:
        assert _seconds(task, prompt, query) < 0.25, query
    rng = np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 100)
    seconds = []
    for number in range(10_000):
        text = prompts[number % 100].data.query
        for _ in range(int(rng.integers(1, 4))):
            begin = int(rng.integers(len(text) + 1))
            text = text[:begin] + str(rng.choice([*"SELCT *,()'<>=0ae_;", ""])) + text[begin + int(rng.integers(3)) :]
        seconds.append(_seconds(task, prompts[number % 100], text))
    assert statistics.median(seconds) < 0.005
    assert max(seconds) < 0.25
    assert task.evaluate([prompt], [RIGHT])[0].is_success


def _seconds(task: Task, prompt: Prompt, query: str) -> float:
    begun = time.process_time()
    (outcome,) = task.evaluate([prompt], [query])
    assert 0 <= outcome.reward <= 1
    return time.process_time() - begun


def test_databases_tell_queries_apart(task: Task) -> None:
    """The right query has rows in nearly every hidden database, and fewer than without its conditions."""
    rng, told, conditional = np.random.default_rng(0), 0, 0
    for prompt in task.sample_prompts(rng, 200):
        question = prompt.data
        for content, due, unconditional in databases(question):
            assert ("ok", due) == run(question.query, question.tables, content)
            told += bool(due)
            if question.unconditional is not None:
                assert ("ok", unconditional) == run(question.unconditional.query, question.tables, content)
                conditional += due == unconditional
    assert told > 590
    assert conditional < 10


def test_hidden_databases_are_a_function_of_the_question(task: Task, prompt: Prompt) -> None:
    """The same again, three that differ, with no table but the question's."""
    again = load_task(SQL, split="test").parse_prompt(prompt.text).data
    databases.cache_clear()
    contents = [database.content for database in databases(again)]
    assert contents == [database.content for database in databases(prompt.data)]
    assert len({*contents}) == 3
    for content in contents:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            assert database.execute("SELECT name FROM sqlite_master ORDER BY 1").fetchall() == [("pets",), ("teams",)]


def test_hidden_databases_are_those_of_the_first_version(task: Task) -> None:
    """What is in the databases of each kind of question has not changed since rewards were first paid by them."""
    digest = hashlib.blake2b(digest_size=8)
    for level in range(len(KINDS)):
        for prompt in task.at_level(level).prompts_from_keys(np.arange(30, dtype=np.uint64)):
            tables = prompt.data.tables
            for content, *_ in databases(prompt.data):
                for table in (tables.parent, tables.child):
                    rows = run(f"SELECT * FROM {table}", tables, content)
                    digest.update(repr(rows).encode())
    assert digest.hexdigest() == "b657bb618972a34f"


def test_no_rows_are_no_answer(task: Task) -> None:
    """Large groups under a rare condition are in the hidden databases, too."""
    groups = task.changed(questions="groups", split="all")
    prompts = groups.sample_prompts(np.random.default_rng(1), 400)
    assert not any(outcome.is_success for outcome in groups.evaluate(prompts, ["SELECT 1 WHERE 0"] * 400))


def test_kinds_are_levels(task: Task) -> None:
    """A level has questions of one kind; the whole task has all, about equally often."""
    rng = np.random.default_rng(0)
    for number, kind in enumerate(KINDS):
        assert {prompt.data.kind for prompt in task.at_level(number).sample_prompts(rng, 50)} == {kind}
    counts = Counter(prompt.data.kind for prompt in task.sample_prompts(rng, 1000))
    assert set(counts) == set(KINDS)
    assert min(counts.values()) > 120


def test_splits_know_no_names(task: Task) -> None:
    """The same question with other names is the same problem; another number makes another."""
    prompt, renamed, other = (
        task.parse_prompt(f"{tables}\nList the {name} of {table} whose {column} is over {number}.\n")
        for tables, name, table, column, number in (
            ("teams(id,age,name,rank,city) pets(id,teams_id,kind,size)", "name", "teams", "rank", 31),
            ("books(id,size,kind,year,color) games(id,books_id,name,age)", "kind", "books", "year", 31),
            ("teams(id,age,name,rank,city) pets(id,teams_id,kind,size)", "name", "teams", "rank", 32),
        )
    )
    assert task.problem_key(prompt) == task.problem_key(renamed) != task.problem_key(other)


def test_nothing_cheap_pays(task: Task) -> None:
    """`SELECT *` of the right table, the best constant and random queries earn next to nothing."""
    found = {baseline.name: baseline for baseline in baselines(task, num_prompts=300)}
    assert found["best constant answer"].reward < 0.1
    prompts = task.sample_prompts(np.random.default_rng(0), 300)
    for what in ("*", "COUNT(*)", "id"):
        queries = [f"SELECT {what} FROM {prompt.data.tables.parent}" for prompt in prompts]
        assert np.mean([outcome.reward for outcome in task.evaluate(prompts, queries)]) < 0.02


def test_the_mask_writes_queries(task: Task) -> None:
    """Random legal tokens end within the budget as something that SQLite can parse, in 95 of 100 episodes."""
    pytest.importorskip("llguidance", reason="masks by a grammar need it")
    masked = task.changed(mask="syntax")
    prompts = masked.sample_prompts(np.random.default_rng(0), 1) * 200
    outcomes = masked.evaluate(prompts, masked_play(masked, prompts))
    assert sum(outcome.parts["well_formed"] for outcome in outcomes) >= 190


@pytest.mark.parametrize(
    "text",
    [
        "",
        "List the name of teams.\n",
        f"{TABLES}List the name of teams.",
        f"{TABLES}List the name of pets.\n",
        f"{TABLES}List the kind of teams.\n",
        f"{TABLES}List the name of teams whose name is over 31.\n",
        f"{TABLES}List the name of teams whose name is 'x' OR 1=1 --'.\n",
        f"{TABLES}List the name of teams, by age.\n",
        f"{TABLES}For each age of teams, give the number.\n",
        f"{TABLES}List the name of teams and their place by city.\n",
        f"{TABLES}List the name of teams and the total age.\n",
        f"{TABLES}List the city of teams and the number among the same city.\n",
        "teams(id,age,age) pets(id,teams_id,kind)\nList the age of teams.\n",
        "teams(id,shoe) pets(id,teams_id,kind)\nList the shoe of teams.\n",
        "teams(id,age) pets(id,cars_id,kind)\nList the age of teams.\n",
        f"{TABLES}List the name of teams{' with the kind of their pets' * 9}.\n",
    ],
)
def test_wrong_prompts(task: Task, text: str) -> None:
    """Unknown names, other forms and injections: the message names the value and what is allowed."""
    with pytest.raises(PromptError) as error:
        task.parse_prompt(text)
    assert str(error.value).startswith(f"prompt={text!r} is not allowed; allowed: such as 'teams(id,age,name) ")


def test_wrong_arguments() -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(SQL, questions="pivots")
    allowed = "'all', 'columns', 'filters', 'joins', 'groups', 'subqueries', 'windows'"
    assert str(error.value) == f"questions='pivots' is not allowed; allowed: {allowed}."
