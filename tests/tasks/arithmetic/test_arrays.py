"""Arithmetic: the array path says what the text path says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import KindTask, OutcomeArrays, Prompt, Task, load_task
from tests.settings import ANSWER, GIVEN, STEPS
from tests.tasks.arithmetic.derivations import chains

ARRAY_TASKS = {
    f"{id}-{operators}-{reward}-{budget}": load_task(
        id, operators=operators, reward=reward, max_completion_tokens=budget
    )
    for id in (GIVEN, STEPS, ANSWER)
    for operators, reward in (("+", "paper"), ("+", "strict"), ("+*", "paper"), ("+-", "strict"), ("+", "worked_out"))
    if id == STEPS or reward != "worked_out"
    for budget in ((None, 11, 30) if id == STEPS else (None, 3))
}


def assert_arrays_equal(task: Task, prompts: list[Prompt], rows: list[list[int]], filler: int) -> OutcomeArrays:
    """evaluate_arrays on token rows gives, to the last bit, what evaluate gives on their texts."""
    completions = np.full((len(rows), task.max_completion_tokens), filler)
    for target, row in zip(completions, rows, strict=True):
        target[: len(row)] = row
    data = task.arrays_from_prompts(prompts)[1]
    arrays = task.evaluate_arrays(data, completions, np.array([len(row) for row in rows]))
    outcomes = task.evaluate(prompts, [task.tokenizer.decode(row) for row in rows])
    assert arrays.reward.tolist() == [outcome.reward for outcome in outcomes]
    assert arrays.is_success.tolist() == [outcome.is_success for outcome in outcomes]
    assert arrays.status.tolist() == [outcome.status for outcome in outcomes]
    for part in task.part_names:
        assert arrays.parts[part].tolist() == [outcome.parts[part] for outcome in outcomes], part
    return arrays


@pytest.mark.parametrize("name", ARRAY_TASKS)
def test_array_path_equals_evaluate(name: str) -> None:
    """For random rows, rows of few tokens, references, and references with a token or two changed."""
    task = ARRAY_TASKS[name]
    rng = np.random.default_rng(0)
    tokenizer, budget, n = task.tokenizer, task.max_completion_tokens, 800
    prompts = task.sample_prompts(rng, n)
    few = [tokenizer.encode(text)[0] for text in ["0", "5", "99", "+", "*", "="]]
    rows: list[list[int]] = []
    for i, prompt in enumerate(prompts):
        length = int(rng.integers(budget + 1))
        if i % 4 == 0:
            rows.append(rng.integers(3, tokenizer.vocab_size, size=length).tolist())
        elif i % 4 == 1:
            rows.append(rng.choice(few, size=length).tolist())
        else:
            row = tokenizer.encode(task.reference_completion(prompt, rng))
            for _ in range(int(rng.integers(3))):
                at = rng.integers(len(row))
                number, symbol = rng.integers(3, 103), rng.choice(few[3:])
                row[at] = int(number if rng.random() < 0.6 and row[at] < 103 else symbol)
            if rng.random() < 0.3:
                row = row[: rng.integers(len(row) + 1)]
            rows.append(row[:budget])
    for filler in (tokenizer.pad_id, tokenizer.eos_id):
        arrays = assert_arrays_equal(task, prompts, rows, filler)
    assert (arrays.status == "malformed").sum() > 100
    assert (arrays.status == "ok").sum() > 100 or budget < task.default_budget


@given(data=st.data())
@settings(max_examples=150)
def test_array_path_equals_evaluate_on_grammatical_rows(data: st.DataObject) -> None:
    """For chains of the grammar with any integers of the vocabulary, products among them."""
    name = data.draw(st.sampled_from([name for name in ARRAY_TASKS if name.startswith(STEPS)]))
    task = ARRAY_TASKS[name]
    prompts = task.sample_prompts(np.random.default_rng(data.draw(st.integers(0, 99))), 4)
    rows = []
    for prompt in prompts:
        text = data.draw(chains(prompt.data.operators, is_signed=False))
        text = re.sub(r"\d+", lambda match: match[0][:2].lstrip("0") or "0", text)
        rows.append(task.tokenizer.encode(text)[: task.max_completion_tokens])
    assert_arrays_equal(task, prompts, rows, task.tokenizer.pad_id)


@pytest.mark.parametrize("name", ARRAY_TASKS)
def test_arrays_from_keys_are_the_prompts(name: str) -> None:
    """Columns and data drawn as arrays are those of the prompts drawn as text."""
    task = ARRAY_TASKS[name]
    keys = np.random.default_rng(0).integers(0, 2**64, size=500, dtype=np.uint64)
    columns, data = task.arrays_from_keys(keys)
    prompts = task.prompts_from_keys(keys)
    assert columns.tolist() == [task.encode_prompt(prompt).tolist() for prompt in prompts]
    assert data[["value", "operators"]].tolist() == [prompt.data[:2] for prompt in prompts]
    expected_columns, expected_data = task.arrays_from_prompts(prompts)
    np.testing.assert_array_equal(columns, expected_columns)
    np.testing.assert_array_equal(data, expected_data)


@pytest.mark.parametrize("env_id", ["rlfl/Arithmetic-v0", "rlfl/ArithmeticSteps-v0", "rlfl/ArithmeticAnswer-v0"])
def test_kinds_are_told_by_operands(env_id: str) -> None:
    """Of the expression, whatever of the derivation is in the prompt; each kind has a name, and no prompt has none."""
    task = load_task(env_id, operators="+*")
    assert isinstance(task, KindTask)
    assert list(task.kinds) == ["2 operands", "3 operands", "4 operands", "5 operands"]
    rng = np.random.default_rng(0)
    prompts = [*task.sample_prompts(rng, 50), *task.at_level(0).sample_prompts(rng, 5)]
    due = [len(re.split(r"[+*]", prompt.text.partition("=")[0])) for prompt in prompts]
    assert [int(task.kinds[kind][0]) for kind in task.kinds_of(prompts).tolist()] == due
    assert {2, 5} <= set(due)
