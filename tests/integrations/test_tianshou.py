"""Tianshou trains on an id of ours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("default")  # Tianshou warns of itself


def test_example_learns(example: Callable[[str], Any]) -> None:
    """`examples/tianshou_ppo.py` learns to copy two letters, by token ids and masks."""
    pytest.importorskip("tianshou", reason="needs the extra tianshou")
    assert example("tianshou_ppo.py").main() >= 0.95


def test_experiment_builder_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tianshou's high-level builder makes the id, and its PPO learns to copy two letters without any code of ours."""
    pytest.importorskip("rliable", reason="needs the extra tianshou")
    experiment = pytest.importorskip("tianshou.highlevel.experiment", reason="needs the extra tianshou")
    from tianshou.highlevel.config import OnPolicyTrainingConfig
    from tianshou.highlevel.env import EnvFactoryRegistered, VectorEnvType
    from tianshou.highlevel.params.algorithm_params import PPOParams

    monkeypatch.chdir(tmp_path)
    arguments: dict[str, Any] = {"alphabet": "ab", "length": 2, "text_infos": False}
    built = (
        experiment.PPOExperimentBuilder(
            EnvFactoryRegistered(task="rlfl/Copy-v0", venv_type=VectorEnvType.DUMMY, **arguments),
            experiment.ExperimentConfig(persistence_enabled=False, watch=False),
            OnPolicyTrainingConfig(
                max_epochs=4,
                epoch_num_steps=4096,
                batch_size=256,
                num_training_envs=16,
                num_test_envs=4,
                test_step_num_episodes=32,
                buffer_size=1024,
                collection_step_num_env_steps=512,
                update_step_num_repetitions=4,
            ),
        )
        .with_ppo_params(PPOParams(gamma=1.0, lr=3e-3))
        .with_actor_factory_default((64, 64))
        .with_critic_factory_default((64, 64))
        .build()
    )
    assert built.run().trainer_result.best_reward >= 0.9
