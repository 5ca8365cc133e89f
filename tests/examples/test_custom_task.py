"""examples/custom_task.py: a third party's task works as the suite's own do."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rlfl_envs

EXAMPLES = Path(__file__).parents[2] / "examples"
ID = "example/SortLetters-v0"


@pytest.fixture(autouse=True)
def custom_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Imports the example, which registers its id, and forgets both afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("custom_task")
    del sys.modules["custom_task"], gymnasium.registry[ID]


def test_it_runs() -> None:
    """As a script it checks the task and plays one episode."""
    run = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "custom_task.py")], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "dbca>[",
        "dbca>[a",
        "dbca>[ab",
        "dbca>[abd",
        "dbca>[abdc]  reward=0.6667 (no success, ok, ended by length; letters=1, order=0.6667)",
        "'abdc' earns 0.67, of {'letters': 1.0, 'order': 0.6666666666666666}.",
    ]


def test_it_is_registered() -> None:
    """The id is listed, keeps the contract, and has an environment of both kinds that plays its references."""
    assert ID in rlfl_envs.list_ids()
    for arguments in ({}, {"length": 3, "split": "test"}, {"alphabet": "xyz", "length": 2, "split": "all"}):
        rlfl_envs.check_task(rlfl_envs.load_task(ID, **arguments))
    check_env(gymnasium.make(ID).unwrapped)
    envs = gymnasium.make_vec(ID, num_envs=4, autoreset_mode="Disabled").unwrapped
    envs.reset(seed=0)
    answers = [envs.tokenizer.encode(prompt.data) for prompt in envs.prompts]
    for tokens in np.transpose(answers):
        _, rewards, ended, _, infos = envs.step(tokens)
    assert rewards.tolist() == [1, 1, 1, 1]
    assert ended.all()
    assert infos["is_success"].all()


@pytest.mark.parametrize(
    ("completion", "letters", "order", "success"),
    [
        ("abcd", 1, 1, True),
        ("dcba", 1, 0, False),
        ("abdc", 1, 2 / 3, False),
        ("aaaa", 1 / 4, 1, False),
        ("a", 1 / 4, 1, False),
        ("", 0, 1, False),
        ("abcdd", 4 / 5, 1, False),
        ("zzzz", 0, 1, False),
    ],
)
def test_rewards(custom_task: ModuleType, completion: str, letters: float, order: float, success: bool) -> None:
    """Near misses and exploits."""
    task = custom_task.SortLetters(length=4)
    (outcome,) = task.evaluate([task.parse_prompt("dbca>")], [completion])
    assert outcome.parts == pytest.approx({"letters": letters, "order": order})
    assert outcome.reward == pytest.approx(letters * order)
    assert outcome.is_success == success


@pytest.mark.parametrize("text", ["", ">", "dbc>", "dbca", "dbca>>", "dbcz>", "d>ca>"])
def test_wrong_prompts(custom_task: ModuleType, text: str) -> None:
    """They raise, and say what is allowed."""
    with pytest.raises(rlfl_envs.PromptError, match=r"allowed: 4 letters, then '>'\.$"):
        custom_task.SortLetters(length=4).parse_prompt(text)


def test_wrong_arguments() -> None:
    """A config's own checks, and the common ones."""
    with pytest.raises(rlfl_envs.ConfigError, match=r"^length=1 is not allowed; allowed: 2\.\.64\.$"):
        gymnasium.make(ID, length=1)
    with pytest.raises(rlfl_envs.ConfigError, match=r"Did you mean 'alphabet'\?"):
        gymnasium.make(ID, alphabets="ab")
