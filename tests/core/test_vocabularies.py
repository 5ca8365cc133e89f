"""The zoo: in every vocabulary every id plays as in its own, token by token, or says in one sentence why not."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlfl_envs.task
from rlfl_envs import ConfigError, PromptError, Task, TokenizationError, TokenVectorEnv, load_task
from rlfl_envs.token_env import TokenEnv
from rlfl_envs.tokenization import load_tokenizer
from tests.core.zoo import ZOO
from tests.settings import IDS, LUDII, QUICK, SENTIMENT

_SEEDS = (0, 1)
_ARGUMENTS: dict[str, dict[str, Any]] = {**QUICK, SENTIMENT: {"corpus": "template"}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each vocabulary, made when it is asked for."""
    return {name: tmp_path_factory.mktemp("vocabulary") for name in ZOO}


@pytest.fixture(autouse=True, scope="module")
def _loaded_once() -> Iterator[None]:
    """Large vocabularies take a second to load; here each is loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlfl_envs.task, "load_tokenizer", lru_cache(maxsize=2)(load_tokenizer))
        yield


@lru_cache(maxsize=2)
def made(name: str, folder: Path) -> str:
    """The argument `vocabulary` for one of the zoo's."""
    package = ZOO[name].package
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}")
    return ZOO[name].make(folder)


def play(task: Task) -> None:
    """Plays references in tokens, alone and side by side, and expects full reward."""
    alone, together = TokenEnv(task), TokenVectorEnv(task, len(_SEEDS), autoreset_mode="Disabled")
    observations, _ = together.reset(seed=_SEEDS[0])
    episodes = []
    for seed, observation in zip(_SEEDS, observations, strict=True):
        assert np.array_equal(alone.reset(seed=seed)[0], observation)
        assert alone.prompt is not None
        reference = task.reference_completion(alone.prompt, np.random.default_rng(seed))
        if reference is None:
            return
        tokens = [*task.tokenizer.encode(reference), task.tokenizer.eos_ids[seed % len(task.tokenizer.eos_ids)]]
        steps = []
        for token in tokens:
            steps.append((token, *alone.step(token)))
            if steps[-1][3]:
                break
        *_, reward, terminated, _, info = steps[-1]
        assert terminated
        assert (info["completion"], info["finish_reason"] != "illegal") == (reference, True)
        if task.references_succeed:
            assert (reward, info["is_success"]) == (pytest.approx(task.reward_range[1]), True)
        episodes.append(steps)
    for column in range(max(map(len, episodes))):
        steps = [episode[min(column, len(episode) - 1)] for episode in episodes]
        observations, rewards, terminated, _, infos = together.step(np.array([step[0] for step in steps]))
        for row, (_, observation, reward, is_over, _, info) in enumerate(steps):
            assert np.array_equal(observations[row], observation)
            assert terminated[row] == is_over
            assert np.array_equal(infos["action_mask"][row], info["action_mask"])
            if column < len(episodes[row]):
                assert rewards[row] == reward


def refusal(id: str, vocabulary: str, mask: str) -> str:
    """Plays an id in a vocabulary; what is said where it cannot be played, and nothing where it can."""
    try:
        task = load_task(id, **{**_ARGUMENTS.get(id, {}), "vocabulary": vocabulary, "mask": mask})
        if mask == "none" or task.syntax is not None:
            play(task)
    except (ConfigError, TokenizationError, PromptError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("mask", ["none", "syntax"])
@pytest.mark.parametrize("id", [id for id in IDS if id != LUDII])
@pytest.mark.parametrize("name", ZOO)
def test_plays_or_refuses(name: str, id: str, mask: str, folders: dict[str, Path]) -> None:
    """References earn full reward through tokens, with and without masks, alone as side by side; or we are told why."""
    vocabulary, refuses = made(name, folders[name]), ZOO[name].refuses
    said = refusal(id, vocabulary, mask)
    if refuses is None or id in refuses:
        assert re.search(rf"vocabulary={vocabulary!r}.*\.$", said)
    else:
        assert not said
