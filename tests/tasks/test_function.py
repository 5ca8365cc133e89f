"""FunctionTask: a plain function and a list of prompts become an environment."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import rlfl_envs
from rlfl_envs import ConfigError, FiniteTask, PromptError, UnknownIdError, check_task, load_task, register_task
from rlfl_envs.tasks.function import name_of

PROMPTS = ["abc", "hello", "world", "sun"]


def vowels(prompt: str, completion: str) -> float:
    """The share of vowels among the first four characters."""
    return sum(character in "aeiou" for character in completion[:4]) / 4


@pytest.fixture
def id() -> Iterator[str]:
    """An id that is gone after the test."""
    register_task("test/Vowels-v0", vowels, prompts=PROMPTS, max_completion_tokens=4)
    yield "test/Vowels-v0"
    del gymnasium.registry["test/Vowels-v0"]


def test_every_prompt_is_asked_once(id: str) -> None:
    """An evaluation of more prompts than there are asks each of them once."""
    task = load_task(id)
    assert isinstance(task, FiniteTask)
    assert [prompt.text for prompt in task.every_prompt()] == PROMPTS


def test_a_name_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each id keeps its own function, where a module gives a name twice, as a notebook does."""
    module: Any = types.ModuleType("their_rewards")
    monkeypatch.setitem(sys.modules, "their_rewards", module)
    for letter in "ab":

        def reward(prompt: str, completion: str, letter: str = letter) -> float:
            return float(completion == letter)

        reward.__module__, reward.__qualname__ = "their_rewards", "reward"
        module.reward = reward
        register_task(f"test/{letter.upper()}-v0", module.reward, prompts=["p"])
    for letter in "ab":
        task = load_task(f"test/{letter.upper()}-v0")
        outcomes = task.evaluate([task.parse_prompt("p")] * 2, ["a", "b"])
        assert [each.reward for each in outcomes] == [letter == "a", letter == "b"]
        del gymnasium.registry[f"test/{letter.upper()}-v0"]


def test_a_method_of_a_builtin_class_has_no_module() -> None:
    """This process remembers it."""
    assert name_of(str.startswith).startswith("this process:")


def test_a_file_from_windows(tmp_path: Path) -> None:
    """The mark that it begins with is no character of the first prompt."""
    (tmp_path / "prompts.txt").write_bytes("sun\r\nmoon\r\n".encode("utf-8-sig"))
    register_task("test/File-v0", vowels, prompts=str(tmp_path / "prompts.txt"))
    assert [prompt.text for prompt in load_task("test/File-v0").every_prompt()] == ["sun", "moon"]
    del gymnasium.registry["test/File-v0"]


def test_from_a_function(id: str) -> None:
    """It keeps the contract, plays, and its spec is JSON: the function is named."""
    task = load_task(id)
    check_task(task)
    assert gymnasium.spec(id).to_json()
    env = gymnasium.make(id)
    _, info = env.reset(seed=0)
    for token in env.unwrapped.tokenizer.encode("aexu"):
        _, reward, terminated, _, info = env.step(token)
    assert (terminated, reward, info["is_success"]) == (True, 0.75, False)
    copy = pickle.loads(pickle.dumps(task))
    assert copy.evaluate([copy.parse_prompt("x")], ["aeio"])[0].is_success


def test_in_any_vocabulary(id: str, bpe_folder: Path) -> None:
    """Nothing has to be said about vocabularies: printable ASCII, GPT-2's, a folder's."""
    for vocabulary in ("characters", "gpt2", str(bpe_folder)):
        task = load_task(id, vocabulary=vocabulary)
        check_task(task, num_prompts=8)
        assert task.max_prompt_tokens >= 1 + task.tokenizer.decode(task.tokenizer.encode("abc")).count("abc")


def test_a_function_inside_another_is_known_here() -> None:
    """A closure works in this process, and nowhere else."""
    register_task("test/Local-v0", lambda prompt, completion: float(len(completion) > 2), prompts=["a", "b"])
    try:
        task = load_task("test/Local-v0")
        assert task.evaluate([task.parse_prompt("a")] * 2, ["xyz", ""])[0].reward == 1.0
    finally:
        del gymnasium.registry["test/Local-v0"]


def test_references_and_splits(id: str) -> None:
    """References belong to their prompts; a split of a list parts it, and an empty part is an error."""
    texts = [f"{i}" for i in range(100)]
    task = load_task(id, prompts=texts, references=[text * 2 for text in texts])
    prompt = task.parse_prompt("17")
    assert task.reference_completion(prompt, np.random.default_rng(0)) == "1717"
    drawn = {
        split: {p.text for p in load_task(id, prompts=texts, split=split).sample_prompts(np.random.default_rng(0), 500)}
        for split in ("train", "test")
    }
    assert drawn["train"] | drawn["test"] <= set(texts)
    assert not drawn["train"] & drawn["test"]
    with pytest.raises(ConfigError, match=r"split='test' holds none of 1 prompts; allowed here: 'all'"):
        load_task(id, prompts=["abc"], split="test").sample_prompts(np.random.default_rng(0), 1)


def test_prompts_of_a_file(id: str, tmp_path: Path) -> None:
    """One a line."""
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\n")
    texts = {prompt.text for prompt in load_task(id, prompts=str(path)).sample_prompts(np.random.default_rng(0), 50)}
    assert texts == {"one", "two"}


def test_prompts_of_a_file_are_as_they_stand(id: str, tmp_path: Path) -> None:
    """The spaces at a line's ends are the prompt's; a file that is not there is named."""
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"1 + 1 = \r\n  x  <br />\n\n")
    task = load_task(id, prompts=str(path))
    assert {p.text for p in task.sample_prompts(np.random.default_rng(0), 50)} == {"1 + 1 = ", "  x  <br />"}
    with pytest.raises(ConfigError, match=r"^prompts='nowhere\.txt' cannot be read"):
        load_task(id, prompts="nowhere.txt")


def test_prompts_in_any_script(id: str) -> None:
    """The vocabulary of characters has those of the prompts and references, after printable ASCII."""
    task = load_task(id, prompts=["größe", "漢字"], references=["é", "🙂"])
    check_task(task)
    plain = load_task(id).tokenizer
    assert task.tokenizer.token_texts[: plain.vocab_size] == plain.token_texts


@pytest.mark.parametrize(
    "reward", [float("nan"), float("inf"), 1.5, -0.1, "1", None, 1 + 0j, np.array(0.5), np.ones(2), 10**400]
)
def test_a_reward_that_is_none(reward: object, monkeypatch: pytest.MonkeyPatch, id: str) -> None:
    """What is no number within the range is the function's fault: the error shows what it was given, and gave."""
    task = load_task(id)
    monkeypatch.setattr(task, "_reward", lambda prompt, completion: reward)
    with pytest.raises(ConfigError) as error:
        task.evaluate([task.parse_prompt("abc")], ["x"])
    assert f"gave {reward!r} for prompt='abc' and completion='x'; allowed: a number" in str(error.value)


@pytest.mark.parametrize("reward", [1, 1.0, True, np.float32(1), np.int64(1), np.True_])
def test_numbers_of_any_kind(reward: Any, monkeypatch: pytest.MonkeyPatch, id: str) -> None:
    """NumPy's and Python's, True too: `return completion == answer` is a reward."""
    task = load_task(id)
    monkeypatch.setattr(task, "_reward", lambda prompt, completion: reward)
    (outcome,) = task.evaluate([task.parse_prompt("abc")], ["x"])
    assert (type(outcome.reward), outcome.reward, outcome.is_success) == (float, 1.0, True)


class Echo:
    """An object that is called as a function is."""

    def __call__(self, prompt: str, completion: str) -> float:
        """Whether they are the same."""
        return float(prompt == completion)

    def method(self, prompt: str, completion: str) -> float:
        """The same."""
        return self(prompt, completion)


@pytest.mark.parametrize("reward", [Echo(), partial(Echo()), Echo().method], ids=["object", "partial", "method"])
def test_whatever_can_be_called(reward: Callable[[str, str], float]) -> None:
    """Functions in the wide sense, which have no name of their own, work in this process."""
    register_task("test/Echo-v0", reward, prompts=["a", "b"])
    try:
        task = load_task("test/Echo-v0")
        outcomes = task.evaluate([task.parse_prompt("a")] * 2, ["a", "b"])
        assert [outcome.reward for outcome in outcomes] == [1.0, 0.0]
    finally:
        del gymnasium.registry["test/Echo-v0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reward": "nowhere:f"}, r"reward='nowhere:f' cannot be found"),
        ({"reward": "math:pi"}, r"reward='math:pi' is not allowed; allowed: 'package.module:function'"),
        ({"prompts": []}, r"prompts=\[\] is not allowed; allowed: one text or more"),
        ({"prompts": ["a", "a"]}, r"texts of which none is there twice"),
        ({"prompts": [1]}, r"prompts=\[1\] is not allowed"),
        ({"references": ["a"]}, r"references='1 texts' is not allowed; allowed: 4 texts, or none"),
        ({"reward": "..math:pi"}, r"reward='..math:pi' cannot be found"),
        ({"prompts": ["\ud800"]}, r"no lone surrogates"),
        ({"success": 2.0}, r"success=2.0 is not allowed; allowed: None, or a number within reward_range="),
        ({"reward_range": [1, 0]}, r"reward_range=\[1, 0\] is not allowed; allowed: two numbers, the lower one first"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str, id: str) -> None:
    """Each error names the argument, its value and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        load_task(id, **arguments)


def test_a_prompt_that_cannot_be_written(id: str) -> None:
    """A character outside the vocabulary."""
    with pytest.raises(PromptError, match="prompt='é' is not allowed"):
        load_task(id).parse_prompt("é")


def test_ids_of_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id after its module imports the module, which registers the id; what is missing is said."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_tasks.py").write_text(
        "import rlfl_envs\n"
        "def f(prompt, completion): return float(completion == prompt)\n"
        "rlfl_envs.register_task('their/Echo-v0', f, prompts=['a', 'b'])\n"
    )
    assert "their/Echo-v0" not in rlfl_envs.list_ids()
    assert load_task("their_tasks:their/Echo-v0", split="all").config.split == "all"
    assert "their/Echo-v0" in rlfl_envs.list_ids()
    del gymnasium.registry["their/Echo-v0"]
    with pytest.raises(UnknownIdError, match="there is no module 'no_such_tasks' here"):
        load_task("no_such_tasks:their/Echo-v0")
    with pytest.raises(UnknownIdError, match=r"id='their/Eko-v0' is not registered\."):
        load_task("their_tasks:their/Eko-v0")


def test_register_refuses_what_is_no_task() -> None:
    """Neither a reference, nor a class, nor a function."""
    with pytest.raises(ConfigError, match=r"task=3 is not allowed; allowed: 'module:Class', a Task's class, or a func"):
        register_task("test/No-v0", 3)
