"""What is wrong is said in one sentence: the argument, its value, and what is allowed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import rlfl_envs
from rlfl_envs import (
    ActionError,
    ConfigError,
    MissingDependencyError,
    PromptError,
    RLFLError,
    TokenEnv,
    TokenizationError,
    TokenVectorEnv,
    UnknownIdError,
    how_to_install,
    load_task,
)
from tests.settings import ANSWER, COPY, GIVEN, IDS, STEPS

OPERATORS = "one or more of '+', '-' and '*', none twice, such as '+*'"

WRONG: list[tuple[str, dict[str, Any], str]] = [
    (STEPS, {"operators": ""}, f"operators='' is not allowed; allowed: {OPERATORS}."),
    (STEPS, {"operators": "++"}, f"operators='++' is not allowed; allowed: {OPERATORS}."),
    (STEPS, {"operators": "+/"}, f"operators='+/' is not allowed; allowed: {OPERATORS}."),
    (STEPS, {"operators": 3}, "operators=3 is not allowed; allowed: str."),
    (STEPS, {"max_operand": 100}, "max_operand=100 is not allowed; allowed: 1..99 in the number vocabulary."),
    (STEPS, {"max_operand": 0}, "max_operand=0 is not allowed; allowed: 1..99 in the number vocabulary."),
    (STEPS, {"max_operand": 2.0}, "max_operand=2.0 is not allowed; allowed: int."),
    (STEPS, {"max_operand": True}, "max_operand=True is not allowed; allowed: int."),
    (
        STEPS,
        {"max_operand": 10**7, "vocabulary": "characters"},
        "max_operand=10000000 is not allowed; allowed: 1..1000000.",
    ),
    (STEPS, {"max_value": 100}, "max_value=100 is not allowed; allowed: 1..99 in the number vocabulary."),
    (STEPS, {"expression_length": 2}, "expression_length=2 is not allowed; allowed: 3..64."),
    (STEPS, {"reward_scale": 0}, "reward_scale=0 is not allowed; allowed: a number above 0."),
    (STEPS, {"reward_scale": float("nan")}, "reward_scale=nan is not allowed; allowed: float."),
    (STEPS, {"reward_scale": float("inf")}, "reward_scale=inf is not allowed; allowed: float."),
    (
        STEPS,
        {"reward": "sparse"},
        "reward='sparse' is not allowed; allowed: 'paper', 'strict', 'success', 'worked_out'.",
    ),
    (STEPS, {"work": "half"}, "work='half' is not allowed; allowed: 'given', 'required', 'skipped'."),
    (STEPS, {"split": "dev"}, "split='dev' is not allowed; allowed: 'train', 'test', 'all'."),
    (STEPS, {"mask": "Syntax"}, "mask='Syntax' is not allowed; allowed: 'none', 'syntax'."),
    (STEPS, {"mask": None}, "mask=None is not allowed; allowed: 'none', 'syntax'."),
    (
        STEPS,
        {"max_completion_tokens": 0},
        "max_completion_tokens=0 is not allowed; allowed: 1..65536, or None.",
    ),
    (STEPS, {"max_completion_tokens": "9"}, "max_completion_tokens='9' is not allowed; allowed: int or None."),
    (STEPS, {"min_completion_tokens": -1}, "min_completion_tokens=-1 is not allowed; allowed: 0..65536."),
    (
        COPY,
        {"lenght": 3},
        "Copy got an unexpected keyword argument 'lenght'. Did you mean 'length'? Allowed: split, vocabulary, mask, "
        "max_completion_tokens, min_completion_tokens, level, alphabet, length, reward.",
    ),
    (COPY, {"alphabet": "a"}, "alphabet='a' is not allowed; allowed: two characters or more, none twice."),
    (COPY, {"alphabet": "abca"}, "alphabet='abca' is not allowed; allowed: two characters or more, none twice."),
    (COPY, {"length": 0}, "length=0 is not allowed; allowed: 1..1024."),
    (COPY, {"length": None}, "length=None is not allowed; allowed: int."),
]


@pytest.mark.parametrize(("id", "arguments", "message"), WRONG)
def test_wrong_arguments(id: str, arguments: dict[str, Any], message: str) -> None:
    """The same ConfigError, word for word, from load_task, make and make_vec."""
    for make in (load_task, gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ConfigError) as error:
            make(id, **arguments)
        # To an unknown name Gymnasium's `make` adds which id was made.
        assert str(error.value).partition(" was raised from")[0] == message


def test_impossible_distributions() -> None:
    """Arguments that are allowed each by itself, yet reject every expression together."""
    with pytest.raises(ConfigError) as error:
        load_task(STEPS, max_value=1, expression_length=64)
    assert str(error.value) == (
        "max_value=1, operators='+', max_operand=10, expression_length=64 and split='train' together accept none of "
        "10000 expressions drawn."
    )


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("rlfl/Arithmetics-v0", "id='rlfl/Arithmetics-v0' is not registered. Did you mean 'rlfl/Arithmetic-v0'? "),
        ("rlfl/arithmeticsteps-v0", "Did you mean 'rlfl/ArithmeticSteps-v0'?"),
        ("Copy-v0", "Did you mean 'rlfl/Copy-v0'?"),
        ("CartPole-v1", "id='CartPole-v1' is not registered. Allowed: "),
        ("", "id='' is not registered. Allowed: "),
    ],
)
def test_unknown_ids(id: str, message: str) -> None:
    """The nearest id is suggested, and all are listed; an id of Gymnasium's own is none of ours."""
    with pytest.raises(UnknownIdError) as error:
        load_task(id)
    assert message in str(error.value)
    assert str(error.value).endswith(f"Allowed: {', '.join(rlfl_envs.list_ids())}.")
    assert all(known in str(error.value) for known in IDS)


@pytest.mark.parametrize("id", [None, 5, b"rlfl/Copy-v0"])
def test_ids_that_are_no_texts(id: Any) -> None:
    """What is no text is no id."""
    with pytest.raises(ConfigError, match=r"^id=.* is not allowed; allowed: a text such as 'rlfl/Copy-v0'\.$"):
        load_task(id)


@pytest.mark.parametrize("id", ["./my_tasks:me/Mine-v0", "../my_tasks.py:me/Mine-v0", ".mine:me/Mine-v0"])
def test_paths_are_no_modules(id: str) -> None:
    """A module is imported by its name; the message says so."""
    with pytest.raises(UnknownIdError, match="is a path, where a module's name is due"):
        load_task(id)


def test_environment_arguments_are_no_task_arguments() -> None:
    """load_task takes what make takes: render_mode and autoreset_mode are the environment's business."""
    assert load_task(COPY, render_mode="ansi", autoreset_mode="Disabled", length=3).config.length == 3
    with pytest.raises(ConfigError, match=r"^task=<rlfl_envs.* is not allowed; allowed: the id's own.$"):
        load_task(COPY, task=load_task(COPY))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("nowhere:Copy", "task='nowhere:Copy' cannot be loaded (No module named 'nowhere'); allowed: "),
        ("rlfl_envs.tasks.copy:Paste", "task='rlfl_envs.tasks.copy:Paste' cannot be loaded (module "),
        ("rlfl_envs.tasks.copy", "task='rlfl_envs.tasks.copy' cannot be loaded ("),
        ("", "task='' cannot be loaded (Empty module name); allowed: 'package.module:Class'."),
        ("..tasks:Copy", "task='..tasks:Copy' cannot be loaded ("),
        (5, "task=5 is not allowed; allowed: a Task, or 'package.module:Class'."),
        ("rlfl_envs:Prompt", "task='rlfl_envs:Prompt' is not a subclass of rlfl_envs.Task."),
        ("rlfl_envs:load_task", "task='rlfl_envs:load_task' is not a subclass of rlfl_envs.Task."),
    ],
)
def test_wrong_tasks(task: Any, message: str) -> None:
    """A reference that leads to no task."""
    with pytest.raises(ConfigError) as error:
        TokenEnv(task)
    assert str(error.value).startswith(message)


def test_a_made_task_takes_no_arguments() -> None:
    """They would be ignored."""
    with pytest.raises(ConfigError, match=r"is made already and takes no more arguments: length, mask\.$"):
        TokenEnv(load_task(COPY), length=3, mask="none")


def test_wrong_render_modes() -> None:
    """In both kinds of environment."""
    for make in (TokenEnv, TokenVectorEnv):
        with pytest.raises(ConfigError) as error:
            make(load_task(COPY), render_mode="rgb_array")
        assert str(error.value) == "render_mode='rgb_array' is not allowed; allowed: None, 'ansi' or 'human'."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs=0 is not allowed; allowed: an integer, 1 or more."),
        ({"num_envs": 1.5}, "num_envs=1.5 is not allowed; allowed: an integer, 1 or more."),
        ({"num_envs": True}, "num_envs=True is not allowed; allowed: an integer, 1 or more."),
        (
            {"autoreset_mode": "next_step"},
            "autoreset_mode='next_step' is not allowed; allowed: 'NextStep', 'SameStep', 'Disabled'.",
        ),
        (
            {"autoreset_mode": None},
            "autoreset_mode=None is not allowed; allowed: 'NextStep', 'SameStep', 'Disabled'.",
        ),
    ],
)
def test_wrong_vector_arguments(arguments: dict[str, Any], message: str) -> None:
    """The number of environments and the autoreset mode."""
    with pytest.raises(ConfigError) as error:
        TokenVectorEnv(load_task(COPY), **arguments)
    assert str(error.value) == message


def test_wrong_options() -> None:
    """Of a scalar reset: an unknown option, a prompt that is no text, one that is no prompt."""
    env = TokenEnv(load_task(GIVEN))
    for options, kind, message in (
        (
            {"promt": "2+3="},
            ConfigError,
            "options='promt' is not allowed. Did you mean 'prompt'? Allowed: prompt, level, level_weights.",
        ),
        ({"group_size": 2}, ConfigError, "options='group_size' is not allowed. Allowed: prompt, level, level_weights."),
        ({"prompt": 5}, ConfigError, "prompt=5 is not allowed; allowed: a string."),
        ({"prompt": ["2+3="]}, ConfigError, "prompt=['2+3='] is not allowed; allowed: a string."),
        ({"prompt": "2+3"}, PromptError, "prompt='2+3' is not allowed; allowed: an expression with '+', then '='."),
    ):
        with pytest.raises(kind) as error:
            env.reset(options=options)
        assert str(error.value) == message


def test_wrong_vector_options() -> None:
    """Of a vector reset: unknown options, wrong masks, group sizes, prompts and seeds."""
    envs = TokenVectorEnv(load_task(COPY), 4)
    integers, numbers = np.ones(4, dtype=int), np.array([True, False])
    a_seed = "None, an integer, 0 or more, or a list of num_envs=4 of these."
    a_mask = "a bool array of shape (4,) with a True in it."
    for arguments, message in (
        (
            {"options": {"groupsize": 2}},
            "options='groupsize' is not allowed. Did you mean 'group_size'? "
            "Allowed: reset_mask, group_size, level, level_weights, prompt, judge_together, action_mask.",
        ),
        ({"options": {"group_size": 3}}, "group_size=3 is not allowed; allowed: a divisor of num_envs=4."),
        ({"options": {"group_size": 0}}, "group_size=0 is not allowed; allowed: a divisor of num_envs=4."),
        ({"options": {"group_size": 2.0}}, "group_size=2.0 is not allowed; allowed: a divisor of num_envs=4."),
        ({"options": {"reset_mask": integers}}, f"reset_mask={integers!r} is not allowed; allowed: {a_mask}"),
        ({"options": {"reset_mask": numbers}}, f"reset_mask={numbers!r} is not allowed; allowed: {a_mask}"),
        ({"options": {"reset_mask": [True] * 4}}, f"reset_mask={[True] * 4!r} is not allowed; allowed: {a_mask}"),
        (
            {"options": {"reset_mask": np.zeros(4, dtype=bool)}},
            f"reset_mask={np.zeros(4, dtype=bool)!r} is not allowed; allowed: {a_mask}",
        ),
        (
            {"options": {"prompt": ["abba"]}},
            "prompt=['abba'] is not allowed; allowed: a string, or a list of num_envs=4 of them.",
        ),
        (
            {"options": {"prompt": 7}},
            "prompt=7 is not allowed; allowed: a string, or a list of num_envs=4 of them.",
        ),
        ({"options": {"prompt": "abx"}}, "prompt='abx' is not allowed; allowed: 1 to 4 characters of 'abcdefgh'."),
        ({"options": {"level": 4}}, "level=4 is not allowed; allowed: None, 0..3, or a list of 4 of these."),
        ({"options": {"level": [0, 1]}}, "level=[0, 1] is not allowed; allowed: None, 0..3, or a list of 4 of these."),
        (
            {"options": {"level_weights": [0, 0, 0, 0]}},
            "level_weights=[0, 0, 0, 0] is not allowed; allowed: 4 numbers of 0 or more, not all 0.",
        ),
        (
            {"options": {"level": 1, "level_weights": [1, 1, 1, 1]}},
            "level_weights=[1, 1, 1, 1] is not allowed; allowed: None where a level is given.",
        ),
        ({"seed": [1, 2]}, f"seed=[1, 2] is not allowed; allowed: {a_seed}"),
    ):
        with pytest.raises(RLFLError) as error:
            envs.reset(**arguments)
        assert str(error.value) == message


@pytest.mark.parametrize("action", [-1, 106, 10**9, 2.0, "3", None, np.array([3])])
def test_actions_that_are_no_tokens(action: Any) -> None:
    """They raise, and leave the episode as it was."""
    env = TokenEnv(load_task(ANSWER))
    env.reset(options={"prompt": "2+3="})
    with pytest.raises(ActionError) as error:
        env.step(action)
    assert str(error.value) == f"action={action!r} is not allowed; allowed: an integer 0..105."
    _, reward, _, _, _ = env.step(env.tokenizer.encode("5")[0])
    assert reward == 1


def test_step_without_an_episode() -> None:
    """Before the first reset, and after the end."""
    env = TokenEnv(load_task(ANSWER))
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(3)
    env.reset(seed=0)
    env.step(3)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"^The episode is over"):
        env.step(3)


def test_the_tree() -> None:
    """Everything raised on purpose is an RLFLError, and a standard exception too; all survive pickling."""
    tree = {
        ConfigError: ValueError,
        PromptError: ValueError,
        ActionError: ValueError,
        TokenizationError: ValueError,
        UnknownIdError: LookupError,
        MissingDependencyError: ImportError,
    }
    for kind, standard in tree.items():
        assert issubclass(kind, RLFLError)
        assert issubclass(kind, standard)
        assert str(pickle.loads(pickle.dumps(kind("why")))) == "why"


def test_what_is_missing_can_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the clone, by its path where one stands elsewhere; without a clone, from the index."""
    monkeypatch.setattr("rlfl_envs.errors.__file__", str(tmp_path / "rlfl_envs" / "errors.py"))
    assert how_to_install("ludax") == 'pip install "rlfl-envs[ludax]"'
    (tmp_path / "pyproject.toml").touch()
    assert how_to_install("ludax") == f'pip install -e "{tmp_path}[ludax]"'
    monkeypatch.chdir(tmp_path)
    assert how_to_install("ludax") == 'pip install -e ".[ludax]"'
