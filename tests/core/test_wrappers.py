"""Observations as a `Box`: what Gymnasium's own flattening gives, in every autoreset mode."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FlattenObservation

from rlfl_envs import ConfigError
from rlfl_envs.wrappers import OneHot, TokenIds, VectorOneHot, VectorTokenIds
from tests.settings import BRACKETS, COPY, STEPS


@pytest.mark.parametrize("id", [COPY, STEPS, BRACKETS])
def test_one_hot_is_gymnasiums_flattening(id: str) -> None:
    """The same numbers as FlattenObservation, as float32 within 0..1; ids stay the tokens themselves."""
    envs = [wrap(gymnasium.make(id)) for wrap in (OneHot, FlattenObservation, TokenIds, lambda env: env)]
    observations = [env.reset(seed=0)[0] for env in envs]
    for _ in range(20):
        one_hot, flat, ids, tokens = observations
        assert (one_hot.dtype, ids.dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(one_hot, flat)
        np.testing.assert_array_equal(ids, tokens)
        assert all(env.observation_space.contains(each) for env, each in zip(envs, observations, strict=True))
        steps = [env.step(envs[0].unwrapped.action_masks().argmax()) for env in envs]
        assert len({step[2] for step in steps}) == 1
        observations = [env.reset()[0] if step[2] else step[0] for env, step in zip(envs, steps, strict=True)]


@pytest.mark.parametrize("wrap", [OneHot, TokenIds])
@pytest.mark.filterwarnings("default")  # the checker warns of wrapped environments
def test_passes_gymnasiums_checker(wrap: Any) -> None:
    """A wrapped environment is still one by Gymnasium's rules."""
    check_env(wrap(gymnasium.make(COPY)), skip_render_check=True)


@pytest.mark.parametrize(("vector", "scalar"), [(VectorOneHot, OneHot), (VectorTokenIds, TokenIds)])
@pytest.mark.parametrize("mode", [*AutoresetMode], ids=lambda mode: mode.value)
def test_vector_equals_scalars(vector: Any, scalar: Any, mode: AutoresetMode) -> None:
    """All that a wrapped native environment returns is SyncVectorEnv's over wrapped ones; `final_obs` too."""
    native = vector(gymnasium.make_vec(COPY, num_envs=3, autoreset_mode=mode))
    sync = gymnasium.make_vec(
        COPY, num_envs=3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, wrappers=(scalar,)
    )
    assert native.observation_space == sync.observation_space
    assert native.single_observation_space == sync.single_observation_space
    assert data_equivalence(native.reset(seed=0), sync.reset(seed=0))
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions = rng.integers(2, 11, size=3)
        ours, theirs = native.step(actions), sync.step(actions)
        assert data_equivalence(ours, theirs)
        assert native.observation_space.contains(ours[0])
        if mode is AutoresetMode.DISABLED and ours[2].any():
            for envs in (native, sync):
                envs.reset(options={"reset_mask": ours[2].copy()})


@pytest.mark.parametrize("wrap", [OneHot, TokenIds])
def test_wraps_tokens_alone(wrap: Any) -> None:
    """An environment of other observations is refused."""
    with pytest.raises(ConfigError, match=r"observation_space=Box.* is not allowed; allowed: that of tokens"):
        wrap(gymnasium.make("CartPole-v1"))
