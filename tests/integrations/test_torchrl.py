"""TorchRL takes an id of ours, by itself or from the native environments, and trains on it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("default")  # TorchRL warns of itself


@pytest.mark.parametrize("id", ["rlfl/Copy-v0", "rlfl/ArithmeticSteps-v0"])
@pytest.mark.parametrize("is_categorical", [True, False])
def test_gym_env(id: str, is_categorical: bool) -> None:
    """`GymEnv(id)` makes the environment, and what it returns fits its specs."""
    envs = pytest.importorskip("torchrl.envs", reason="needs the extra torchrl")
    env = envs.GymEnv(id, categorical_action_encoding=is_categorical)
    envs.check_env_specs(env)
    assert env.rollout(50, break_when_any_done=False).shape == (50,)


def test_gym_env_with_infos() -> None:
    """With numbers alone `auto_register_info_dict` finds the specs of all infos; success is where the reward is."""
    envs = pytest.importorskip("torchrl.envs", reason="needs the extra torchrl")
    env = envs.GymEnv("rlfl/Copy-v0", length=1, alphabet="ab", text_infos=False).auto_register_info_dict()
    envs.check_env_specs(env)
    found = env.rollout(200, break_when_any_done=False)["next"]
    assert 0 < found["is_success"].sum() < 200
    assert ((found["reward"][:, 0] == 1.0) == found["is_success"]).all()
    assert (found["reward_parts"][:, 0] == found["reward"][:, 0]).all()


def test_parallel_env() -> None:
    """Processes make the id by themselves, by its module, and step side by side."""
    envs = pytest.importorskip("torchrl.envs", reason="needs the extra torchrl")
    env = envs.ParallelEnv(2, partial(envs.GymEnv, "rlfl_envs:rlfl/Copy-v0", categorical_action_encoding=True))
    try:
        envs.check_env_specs(env)
        assert env.rollout(20, break_when_any_done=False).shape == (2, 20)
    finally:
        env.close()


def test_example_learns(example: Callable[[str], Any]) -> None:
    """`examples/torchrl_ppo.py` learns to copy two letters, by token ids and masks."""
    pytest.importorskip("torchrl", reason="needs the extra torchrl")
    assert example("torchrl_ppo.py").main(total_steps=60_000) >= 0.95


def test_ppo_learns_by_token(example: Callable[[str], Any]) -> None:
    """`torchrl_settings.py` works out two-number sums that are held out, once each token is rewarded under the mask."""
    pytest.importorskip("torchrl", reason="needs the extra torchrl")
    pytest.importorskip("sb3_contrib", reason="needs the extra sb3")
    arguments = {"max_operand": 3, "expression_length": 4, "max_completion_tokens": 12}
    train = example("benchmarks/torchrl_settings.py").train_torchrl
    curve = train("rlfl/ArithmeticSteps-v0", 300_000, arguments=arguments, quiet=True)
    assert len(curve["success"]) == 10
    assert curve["success"][0] < 0.5
    assert curve["success"][-1] > 0.9
