"""Minari records an id of ours, infos included."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from rlfl_envs.wrappers import TokenIds


@pytest.mark.filterwarnings("default")  # Minari asks for authors, and warns of the checker
def test_records_with_infos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded references come back token by token, with masks, success and reward parts at every step."""
    pytest.importorskip("jax", reason="needs the extra minari")
    minari = pytest.importorskip("minari", reason="needs the extra minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(TokenIds(gymnasium.make("rlfl/Copy-v0", text_infos=False)), record_infos=True)
    task, rng = env.unwrapped.task, np.random.default_rng(0)
    played = []
    for seed in range(8):
        env.reset(seed=seed)
        played.append(task.tokenizer.encode(task.reference_completion(env.unwrapped.prompt, rng)))  # fills the budget
        steps = [env.step(token) for token in played[-1]]
        assert [step[2] for step in steps] == [False] * (len(steps) - 1) + [True]
    episodes = list(env.create_dataset("rlfl/copy-references-v0"))
    assert [episode.actions.tolist() for episode in episodes] == played
    for episode in episodes:
        length = len(episode.actions)
        assert episode.rewards.tolist() == [0.0] * (length - 1) + [1.0]
        assert episode.infos["is_success"].tolist() == [False] * length + [True]
        assert episode.infos["action_mask"].shape == (length + 1, task.tokenizer.vocab_size)
        assert episode.infos["reward_parts"].shape == (length + 1, len(task.part_names))
