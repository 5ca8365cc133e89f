"""Gymnasium's own wrappers that look into infos, or into more than one step."""

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics


def test_numpy_to_torch() -> None:
    """`NumpyToTorch` makes tensors of observations and of all infos where these are numbers alone."""
    torch = pytest.importorskip("torch", reason="needs the extra agent")
    pytest.importorskip("array_api_compat", reason="needs gymnasium[array-api]")
    from gymnasium.wrappers import NumpyToTorch

    env = NumpyToTorch(gymnasium.make("rlfl/Copy-v0", text_infos=False))
    ended, (observation, info) = False, env.reset(seed=0)
    while not ended:
        assert all(isinstance(value, torch.Tensor) for value in [observation, *info.values()])
        observation, _, ended, _, info = env.step(torch.tensor(4))
    assert info["is_success"].dtype == torch.bool


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_record_episode_statistics(mode: str) -> None:
    """Under both autoreset modes each episode is counted once, with its own return."""
    envs = RecordEpisodeStatistics(gymnasium.make_vec("rlfl/Copy-v0", num_envs=4, autoreset_mode=mode))
    rng, returns = np.random.default_rng(0), []
    envs.reset(seed=0)
    for _ in range(60):
        _, rewards, ended, _, _ = envs.step(rng.integers(2, 11, size=4))
        returns += rewards[ended].tolist()
    assert len(returns) > 20
    assert list(envs.return_queue) == returns[-100:]
    assert envs.episode_count == len(returns)
