"""Brackets: what completions earn, and what is drawn."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import ConfigError, Outcome, PromptError, Task, baselines, check_task, load_task
from rlfl_envs.masks import make_mask
from tests.settings import BRACKETS, save_vocabulary

PAIRS = ("()", "[]", "{}", "<>")


def is_balanced(text: str) -> bool:
    """Whether a text is a Dyck word, found in another way than the task's: adjacent pairs are taken out."""
    while any(pair in text for pair in PAIRS):
        for pair in PAIRS:
            text = text.replace(pair, "")
    return text == ""


@pytest.mark.parametrize(
    ("completion", "closed", "left", "status"),
    [
        ("}])", 3, 0, "ok"),
        ("}]", 2, 1, "ok"),  # too short
        ("}", 1, 2, "ok"),
        ("", 0, 3, "ok"),
        ("}]))", 3, 1, "mismatch"),  # too long
        ("}])" + ")" * 99, 3, 1, "mismatch"),
        ("}])x", 3, 1, "mismatch"),
        ("}])()", 3, 0, "ok"),  # longer than need be, but balanced
        ("()}])", 3, 0, "ok"),
        ("}[]])", 3, 0, "ok"),
        ("}])[", 3, 1, "ok"),  # opens another
        ("}])[[", 3, 2, "ok"),
        ("(", 0, 4, "ok"),
        ("((", 0, 4, "mismatch"),  # more than four deep
        ("(()", 0, 4, "mismatch"),
        ("])}", 0, 3, "mismatch"),  # the wrong order
        (")]}", 0, 3, "mismatch"),
        ("}])}])", 3, 1, "mismatch"),
        ("})", 1, 2, "mismatch"),
        ("} ])", 1, 2, "mismatch"),
        (" }])", 0, 3, "mismatch"),
        ("}])\n", 3, 1, "mismatch"),
        ("}]\uff09", 2, 1, "mismatch"),  # a full-width bracket
        (">", 0, 3, "mismatch"),  # a fourth kind
    ],
)
def test_near_misses(completion: str, closed: int, left: int, status: str) -> None:
    """The brackets of the prompt that are closed, of these and what is left open; success is balance."""
    task = load_task(BRACKETS)
    (outcome,) = task.evaluate([task.parse_prompt("([(){")], [completion])
    assert outcome.reward == pytest.approx(closed / (closed + left))
    assert outcome.parts == {"closed": closed, "left": left}
    assert outcome.is_success == (left == 0)
    assert outcome.status == status


@given(seed=st.integers(0, 2**32), completion=st.text("()[]{}", max_size=8))
def test_reward(seed: int, completion: str) -> None:
    """In [0, 1]; 1 for texts that are balanced and not too deep, and for nothing else."""
    task = load_task(BRACKETS)
    (prompt,) = task.sample_prompts(np.random.default_rng(seed), 1)
    (outcome,) = task.evaluate([prompt], [completion])
    heights = np.cumsum([1 if bracket in "([{" else -1 for bracket in prompt.text + completion])
    assert 0 <= outcome.reward <= 1
    assert (outcome.reward == 1) == outcome.is_success
    assert outcome.is_success == (is_balanced(prompt.text + completion) and heights.max() <= 4)


def test_nothing_beats_the_answer_on_the_way() -> None:
    """Each right bracket adds to the reward, and no other next character does."""
    task = load_task(BRACKETS, kinds=4)
    for prompt in task.sample_prompts(np.random.default_rng(0), 50):
        answer = task.reference_completion(prompt, np.random.default_rng(0))
        for count in range(len(answer)):
            written = answer[:count]
            texts = [written, *(written + character for character in "()[]{}<>x ")]
            now, *after = task.evaluate([prompt] * len(texts), texts)
            for text, outcome in zip(texts[1:], after, strict=True):
                if text == answer[: count + 1]:
                    assert outcome.reward == pytest.approx((count + 1) / len(answer))
                else:
                    assert outcome.reward <= now.reward < 1


@pytest.mark.parametrize(
    "arguments", [{}, {"kinds": 1}, {"depth": 1}, {"depth": 3, "length": 11}, {"kinds": 4, "depth": 8}], ids=str
)
def test_prompts(arguments: dict[str, Any]) -> None:
    """Full length or one fewer, never too deep, and each number of open brackets equally often."""
    task = load_task(BRACKETS, split="all", **arguments)
    config = task.config
    prompts = task.sample_prompts(np.random.default_rng(0), 2000)
    for prompt in prompts:
        heights = np.cumsum([1 if bracket in "([{<" else -1 for bracket in prompt.text])
        assert len(heights) == config.length - (config.length - heights[-1]) % 2
        assert heights.min() >= 0
        assert heights.max() <= config.depth
        assert heights[-1] == len(prompt.data) >= 1
        assert is_balanced(prompt.text + prompt.data)
        assert task.parse_prompt(prompt.text) == prompt
    counts = Counter(len(prompt.data) for prompt in prompts)
    assert set(counts) == set(range(1, config.depth + 1))
    assert min(counts.values()) > 0.75 * len(prompts) / config.depth
    assert {bracket for prompt in prompts for bracket in prompt.text} == set("".join(PAIRS[: config.kinds]))


def test_the_array_path_judges_every_completion_alike() -> None:
    """Every completion of up to three brackets, on every prompt: the same outcome from token ids as from text."""
    task = load_task(BRACKETS, kinds=2, depth=2, length=4, max_completion_tokens=3, split="all")
    prompts = [p for n in range(5) for p in map("".join, product("()[]", repeat=n)) if is_prompt(task, p)]
    texts = ["".join(text) for n in range(4) for text in product("()[]", repeat=n)]
    pairs = [(task.parse_prompt(prompt), text) for prompt in prompts for text in texts]
    assert len(pairs) > 2000
    _, data = task.arrays_from_prompts([prompt for prompt, _ in pairs])
    rows = [task.tokenizer.encode(text) for _, text in pairs]
    completions = np.array([row + [task.tokenizer.pad_id] * (3 - len(row)) for row in rows])
    arrays = task.evaluate_arrays(data, completions, np.array([len(row) for row in rows]))
    for row, outcome in enumerate(task.evaluate(*map(list, zip(*pairs, strict=True)))):
        parts = {name: float(values[row]) for name, values in arrays.parts.items()}
        assert Outcome(arrays.reward[row], arrays.is_success[row], parts, arrays.status[row]) == outcome, pairs[row]


def test_tokens_of_several_brackets(tmp_path: Path) -> None:
    """With another vocabulary, too, arrays and text agree."""
    path = save_vocabulary(tmp_path, [*"()[]{}", "((", "})", "])", "{("])
    check_task(load_task(BRACKETS, vocabulary=path), num_prompts=64)


def is_prompt(task: Task, text: str) -> bool:
    """Whether the task takes it as a prompt."""
    try:
        task.parse_prompt(text)
    except PromptError:
        return False
    return True


def test_an_empty_split() -> None:
    """A split without a prompt says so, and in no time."""
    messages = []
    for split in ("train", "test"):
        try:
            load_task(BRACKETS, kinds=1, depth=1, length=1, split=split).sample_prompts(np.random.default_rng(0), 1)
        except ConfigError as error:
            messages.append(str(error))
    (message,) = messages  # of the one prompt there is, one split has nothing
    assert message.endswith(" holds none of 10000 prompts drawn; allowed: 'all'.")


@pytest.mark.parametrize("text", ["", "()", ")", "(]", "([)", "(((((", "<", "( ", "(" * 9, "()()()()(", "x"])
def test_wrong_prompts(text: str) -> None:
    """Balanced, misnested, too deep, too long or foreign: the message names the value and what is allowed."""
    with pytest.raises(PromptError) as error:
        load_task(BRACKETS).parse_prompt(text)
    assert str(error.value) == (
        f"prompt={text!r} is not allowed; allowed: up to 8 of '()[]{{}}', at most 4 deep, of which one or more are "
        "left open and none is closed wrongly."
    )


def test_short_prompts_are_allowed() -> None:
    """Other code may bring shorter prompts than are drawn."""
    assert load_task(BRACKETS).parse_prompt("[(").data == ")]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": 0}, "kinds=0 is not allowed; allowed: 1..4."),
        ({"kinds": 5}, "kinds=5 is not allowed; allowed: 1..4."),
        ({"length": 0}, "length=0 is not allowed; allowed: 1..1024."),
        ({"depth": 0}, "depth=0 is not allowed; allowed: 1..8, the length."),
        ({"depth": 9}, "depth=9 is not allowed; allowed: 1..8, the length."),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """The message names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        load_task(BRACKETS, **arguments)
    assert str(error.value) == message


def test_the_mask_allows_what_can_still_be_balanced() -> None:
    """Under "syntax", of all texts within the budget exactly the balanced ones can be written and ended."""
    task = load_task(BRACKETS, kinds=2, depth=3, mask="syntax", max_completion_tokens=5)
    mask, tokenizer = make_mask(task), task.tokenizer
    prompt = task.parse_prompt("([")
    texts = ["".join(text) for length in range(6) for text in product("()[]", repeat=length)]
    for text, outcome in zip(texts, task.evaluate([prompt] * len(texts), texts), strict=True):
        state, is_legal = mask.start(prompt), True
        for token in tokenizer.encode(text):
            is_legal = is_legal and bool(mask.row(state)[token])
            if not is_legal:
                break
            state = mask.next_state(state, token)
        can_end = is_legal and (len(text) == 5 or bool(mask.row(state)[tokenizer.eos_id]))
        assert can_end == outcome.is_success, text


def test_nothing_cheap_succeeds() -> None:
    """Random legal tokens and the best constant answer stay below 0.1, where references always succeed."""
    found = {baseline.name: baseline for baseline in baselines(load_task(BRACKETS), num_prompts=3000)}
    assert found["random legal tokens"].success < 0.02
    assert found["best constant answer"].success < 0.1
    assert found["reference"].success == found["reference"].reward == 1
