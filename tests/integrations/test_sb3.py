"""The VecEnv for Stable-Baselines3: equal to DummyVecEnv, every algorithm on top of it."""

from __future__ import annotations

import importlib
import itertools
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlfl_envs import (
    ActionError,
    ConfigError,
    PromptError,
    TokenVectorEnv,
    UnknownIdError,
    how_to_install,
    load_task,
)

pytest.importorskip("sb3_contrib", reason="needs the extra sb3")

import torch
from sb3_contrib import QRDQN, TRPO, MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_masked
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from rlfl_envs.integrations.sb3 import TokenVecEnv, make_sb3
from rlfl_envs.integrations.sb3_features import GRUFeatures, MeanFeatures, TokenFeatures, TransformerFeatures
from tests.settings import COPY, QUICK_IDS, SHORT

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY: dict[str, Any] = {"alphabet": "ab", "length": 2, "split": "all"}
FEATURES = [MeanFeatures, GRUFeatures, TransformerFeatures]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Small networks are slower on several threads."""
    torch.set_num_threads(1)


def without_masks(infos: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Infos as lists and plain values, to compare; DummyVecEnv's have masks."""
    return [{key: np.asarray(value).tolist() for key, value in info.items() if key != "action_mask"} for info in infos]


# --- the VecEnv ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["none", "syntax"])
@pytest.mark.parametrize("id", QUICK_IDS)
def test_equal_to_dummy_vec_env(id: str, mask: str) -> None:
    """Seeded alike and given the same tokens, legal or not, it is DummyVecEnv over gymnasium.make, step for step."""
    if mask == "syntax" and load_task(id).syntax is None:
        pytest.skip(f"{id} has no syntax")
    arguments = SHORT.get(id, {})
    ours = make_sb3(id, 5, mask=mask, **arguments).unwrapped
    theirs = DummyVecEnv([lambda: gymnasium.make(id, mask=mask, **arguments)] * 5)
    rng = np.random.default_rng(0)
    for seed in (3, None):
        if seed is not None:
            assert ours.seed(seed) == theirs.seed(seed)
        np.testing.assert_array_equal(ours.reset(), theirs.reset())
        assert ours.reset_infos == without_masks(theirs.reset_infos)
        endings = 0
        for _ in range(60):
            masks = get_action_masks(ours)
            np.testing.assert_array_equal(masks, get_action_masks(theirs))
            assert masks.dtype == np.bool_
            weights = rng.random(masks.shape) * np.where(rng.random((5, 1)) < 0.9, masks, 1)
            actions = weights.argmax(axis=1)
            mine, others = ours.step(actions), theirs.step(actions)
            for x, y in zip(mine[:3], others[:3], strict=True):
                np.testing.assert_array_equal(x, y)
                assert x.dtype == y.dtype
            assert without_masks(mine[3]) == without_masks(others[3])
            assert [p.text for p in ours.get_attr("prompt")] == [p.text for p in theirs.get_attr("prompt")]
            endings += int(mine[2].sum())
        assert endings > 10


def test_what_sb3_makes_by_itself() -> None:
    """SB3 makes an id without the bridge as well, one-hot; it asks for images first, of which Gymnasium warns."""
    with pytest.warns(UserWarning, match="render_mode='rgb_array' that is not in the possible render_modes"):
        envs = make_vec_env(COPY, 2)
    assert isinstance(envs.observation_space, gymnasium.spaces.MultiDiscrete)
    with pytest.warns(UserWarning, match="render_mode='rgb_array' that is not in the possible render_modes"):
        PPO("MlpPolicy", COPY, n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(8)


def test_the_end_of_an_episode() -> None:
    """The info of the last step says how it ended; the observation beside it is the next prompt's."""
    envs = make_sb3(COPY, 2)
    envs.set_options([{"prompt": "abba"}, {"prompt": "head"}])
    envs.reset()
    tokenizer = envs.get_attr("tokenizer")[0]
    for actions in np.transpose([tokenizer.encode("abba"), tokenizer.encode("heed")])[:3]:
        _, rewards, ended, infos = envs.step(actions)
        assert (rewards.tolist(), ended.tolist()) == ([0, 0], [False, False])
        assert infos == [{"TimeLimit.truncated": False}] * 2
    observations, rewards, ended, infos = envs.step(np.array([tokenizer.eos_id, tokenizer.encode("d")[0]]))
    assert (rewards.tolist(), ended.tolist()) == ([0.75, 0.75], [True, True])
    assert rewards.dtype == np.float32
    assert [info["completion"] for info in infos] == ["abb", "heed"]
    assert [info["finish_reason"] for info in infos] == ["eos", "length"]
    for observation, info in zip(observations, infos, strict=True):
        assert info["is_success"] is False
        assert info["reward_parts"] == {"right_characters": 3.0}
        assert info["status"] == "ok"
        assert info["TimeLimit.truncated"] is False
        assert (info["episode"]["r"], info["episode"]["l"]) == (0.75, 4)
        assert (observation[5:] == tokenizer.pad_id).all()
        assert (info["terminal_observation"][5:] != tokenizer.pad_id).all()


def test_seeds_and_options_count_once() -> None:
    """`seed` and `set_options` hold for the next reset alone, as in SB3."""
    envs = make_sb3(COPY, 3, seed=5)
    first, second = envs.reset(), envs.reset()
    assert (first != second).any()
    envs.seed(5)
    np.testing.assert_array_equal(envs.reset(), first)
    envs.set_options({"prompt": "abba"})
    assert len(np.unique(envs.reset(), axis=0)) == 1
    np.testing.assert_array_equal(envs.reset(), second)


def test_levels() -> None:
    """An environment's level holds for episode after episode, until the next reset."""
    envs = make_sb3("rlfl/ArithmeticAnswer-v0", 4, seed=0)
    envs.set_options([{"level": 0}, {"level": 0}, {}, {"level": None}])
    envs.reset()

    def operators() -> list[list[int]]:
        counts = []
        for _ in range(20):
            envs.step(envs.get_attr("tokenizer")[0].encode("7") * 4)
            counts.append([prompt.text.count("+") for prompt in envs.get_attr("prompt")])
        return np.transpose(counts).tolist()

    first, second, third, fourth = operators()
    assert set(first) == set(second) == {1}
    assert min(*third, *fourth) > 1
    envs.reset()
    assert min(map(min, operators())) > 1
    envs.set_options({"level": 9})
    with pytest.raises(ConfigError, match=r"^level="):
        envs.reset()


def test_the_environments_share_their_attributes() -> None:
    """get_attr gives one value each, set_attr sets them all, and none is wrapped."""
    envs = make_sb3(COPY, 3, seed=0).unwrapped
    envs.reset()
    assert envs.get_attr("completion_length") == [4, 4, 4]
    assert envs.get_attr("render_mode", indices=1) == [None]
    assert envs.get_attr("prompt", indices=[2, 0]) == [envs.envs.prompt(2), envs.envs.prompt(0)]
    assert envs.get_attr("action_space", indices=-1) == [envs.action_space]
    assert envs.get_attr("observation_space") == [envs.observation_space] * 3
    assert envs.has_attr("action_masks")
    assert not envs.has_attr("nothing")
    envs.set_attr("note", "a")
    assert envs.get_attr("note") == ["a"] * 3
    assert [mask.shape for mask in envs.env_method("action_masks", indices=[1])] == [(11,)]
    assert envs.env_is_wrapped(Monitor) == [False] * 3
    assert is_masking_supported(envs)
    for ask in (lambda: envs.get_attr("task", 3), lambda: envs.env_is_wrapped(Monitor, 3)):
        with pytest.raises(IndexError):
            ask()


@pytest.mark.parametrize("id", [COPY, "rlfl/Brackets-v0"])
def test_no_prompt_before_the_first_reset(id: str) -> None:
    """As with `gymnasium.make`, the attribute is there and says None."""
    envs = make_sb3(id, 2).unwrapped
    assert envs.has_attr("prompt")
    assert envs.get_attr("prompt") == [None, None]


def test_wrong_arguments() -> None:
    """Each message names the argument, its value and what is allowed."""
    with pytest.raises(UnknownIdError):
        make_sb3("rlfl/Cpoy-v0")
    with pytest.raises(ConfigError, match=r"^num_envs=0 is not allowed; allowed: an integer, 1 or more.$"):
        make_sb3(COPY, 0)
    with pytest.raises(ConfigError, match=r"^autoreset_mode='NextStep' is not allowed; allowed: 'SameStep'.$"):
        TokenVecEnv(TokenVectorEnv(load_task(COPY), 2))
    with pytest.raises(ConfigError, match=r"^text_infos=False is not allowed; allowed: True"):
        TokenVecEnv(TokenVectorEnv(load_task(COPY), 2, autoreset_mode="SameStep", text_infos=False))
    with pytest.raises(ConfigError, match=r"^autoreset_mode='Disabled' is not allowed; allowed: 'SameStep'.$"):
        make_sb3(COPY, autoreset_mode="Disabled")
    with pytest.raises(ConfigError, match=r"^n_envs=4 is not allowed; allowed: num_envs"):
        make_sb3(COPY, n_envs=4)
    with pytest.raises(ConfigError, match=r"^envs='rlfl/Copy-v0' is not allowed; allowed: a TokenVectorEnv"):
        TokenVecEnv(COPY)
    with pytest.raises(ConfigError, match=r"^seed=-1 is not allowed; allowed: None, or an integer, 0 or more.$"):
        make_sb3(COPY, seed=-1)
    envs = make_sb3(COPY, 2).unwrapped
    with pytest.raises(ConfigError, match=r"^indices=0 is not allowed; allowed: None, as the environments share"):
        envs.set_attr("note", "a", indices=0)
    with pytest.raises(ConfigError, match=r"^method_name='step' is not allowed; allowed: 'action_masks' or 'render'.$"):
        envs.env_method("step")
    envs.set_options([{"prompt": "abba"}, {}])
    with pytest.raises(ConfigError, match=r"allowed: a prompt for each environment, or for none.$"):
        envs.reset()
    envs.set_options({"promt": "abba"})
    with pytest.raises(ConfigError, match=r"Did you mean 'prompt'?"):
        envs.reset()
    envs.set_options({"prompt": "abbx"})
    with pytest.raises(PromptError):
        envs.reset()
    envs.set_options()
    envs.reset()
    with pytest.raises(ActionError):
        envs.step(np.array([0, 11]))


def test_rendering(capsys: pytest.CaptureFixture[str]) -> None:
    """With "ansi" `render` prints a line for each episode; without a render mode it prints nothing."""
    envs = make_sb3(COPY, 2, render_mode="ansi")
    envs.set_options({"prompt": "abba"})
    envs.reset()
    envs.render()
    assert capsys.readouterr().out == "abba[\nabba[\n"
    make_sb3(COPY).render()
    assert capsys.readouterr().out == ""
    human = make_sb3(COPY, render_mode="human")
    human.set_options({"prompt": "abba"})
    human.reset()
    human.render()
    assert capsys.readouterr().out == "abba[\n"


def test_pickle() -> None:
    """A copy plays on as the original does."""
    envs = make_sb3(COPY, 4, seed=0)
    envs.reset()
    copy = pickle.loads(pickle.dumps(envs.unwrapped))
    for _ in range(9):
        ours, theirs = envs.unwrapped.step(np.full(4, 5)), copy.step(np.full(4, 5))
        np.testing.assert_array_equal(ours[0], theirs[0])


# --- algorithms ----------------------------------------------------------------------------------------------------

ON_POLICY: dict[str, Any] = {"n_steps": 8}
OFF_POLICY: dict[str, Any] = {"buffer_size": 256, "learning_starts": 16, "train_freq": 8, "batch_size": 16}
ALGORITHMS: list[tuple[type, dict[str, Any]]] = [
    (PPO, {**ON_POLICY, "n_epochs": 1, "batch_size": 16}),
    (A2C, ON_POLICY),
    (DQN, OFF_POLICY),
    (MaskablePPO, {**ON_POLICY, "n_epochs": 1, "batch_size": 16}),
    (RecurrentPPO, {**ON_POLICY, "n_epochs": 1, "batch_size": 16}),
    (TRPO, {**ON_POLICY, "batch_size": 16}),
    (QRDQN, OFF_POLICY),
]


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize(("algorithm", "settings"), ALGORITHMS, ids=[algorithm.__name__ for algorithm, _ in ALGORITHMS])
def test_algorithms(algorithm: type, settings: dict[str, Any], features: type[TokenFeatures], tmp_path: Path) -> None:
    """Each learns for some steps, evaluates with a success rate, and is the same after being saved and loaded."""
    envs, held_out = make_sb3(COPY, 4, seed=0), make_sb3(COPY, 4, seed=1, split="test")
    callback = MaskableEvalCallback if algorithm is MaskablePPO else EvalCallback
    evaluation = callback(held_out, n_eval_episodes=8, eval_freq=8, log_path=str(tmp_path), verbose=0)
    extractor = {"features_extractor_class": features, "features_extractor_kwargs": {"features_dim": 16}}
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    model = algorithm(policy, envs, policy_kwargs=extractor, seed=0, device="cpu", **settings)
    model.learn(64, callback=evaluation)
    assert model.num_timesteps >= 64
    assert np.load(tmp_path / "evaluations.npz")["successes"].shape[1] == 8
    assert len(model.ep_info_buffer) > 0
    assert len(model.ep_success_buffer) > 0

    mean, _ = (evaluate_masked if algorithm is MaskablePPO else evaluate_policy)(model, held_out, n_eval_episodes=8)
    assert 0 <= mean <= 1
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=envs, device="cpu")
    observations = held_out.reset()
    np.testing.assert_array_equal(
        again.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )


def test_masks_are_respected() -> None:
    """Under mask="syntax" MaskablePPO never ends an episode by an illegal token, and never by a malformed one."""
    envs = make_sb3("rlfl/ArithmeticSteps-v0", 8, seed=0, mask="syntax")
    policy = {"features_extractor_class": MeanFeatures}
    model = MaskablePPO("MlpPolicy", envs, n_steps=16, batch_size=64, n_epochs=1, policy_kwargs=policy, seed=0)
    model.learn(256)
    observations = envs.reset()
    endings = []
    for _ in range(100):
        actions, _ = model.predict(observations, action_masks=get_action_masks(envs))
        observations, _, _, infos = envs.step(actions)
        endings += [(info["finish_reason"], info["status"]) for info in infos if "completion" in info]
    assert len(endings) > 50
    assert {reason for reason, _ in endings} <= {"eos", "length"}
    assert {status for _, status in endings} == {"ok"}


def test_maskable_ppo_learns() -> None:
    """A tiny Copy is solved within seconds."""
    envs = make_sb3(COPY, 32, seed=0, **TINY)
    policy = {"features_extractor_class": MeanFeatures}
    settings: dict[str, Any] = {"n_steps": 16, "batch_size": 256, "n_epochs": 4, "learning_rate": 3e-3, "gamma": 1.0}
    model = MaskablePPO("MlpPolicy", envs, policy_kwargs=policy, seed=0, device="cpu", **settings)
    model.learn(20_000)
    mean, deviation = evaluate_masked(model, make_sb3(COPY, 16, seed=1, **TINY), n_eval_episodes=64)
    assert (mean, deviation) == (1.0, 0.0)


def test_make_sb3_monitors() -> None:
    """What make_sb3 returns needs no wrapper of the reader's own; evaluate_policy would warn."""
    assert isinstance(make_sb3(COPY), VecMonitor)


# --- without Stable-Baselines3, and from the outside ------------------------------------------------------------------


@pytest.mark.parametrize("module", ["sb3", "sb3_features"])
def test_what_to_install(module: str) -> None:
    """Without Stable-Baselines3, importing the bridge says how to get it."""
    code = f"""
import sys
sys.modules["stable_baselines3"] = None
import rlfl_envs
try:
    import rlfl_envs.integrations.{module}
except rlfl_envs.MissingDependencyError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"rlfl_envs.integrations.sb3 needs Stable-Baselines3: {how_to_install('sb3')}\n"


@pytest.mark.parametrize("rewards", ["end", "tokens"])
def test_settings(rewards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every algorithm of examples/benchmarks/sb3_settings.py can be made, and plays; on every id there is a network."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    module = importlib.import_module("sb3_settings")
    ids = itertools.cycle(module.NETWORKS)
    for algorithm, id in zip([*module.ALGORITHMS], ids, strict=False):
        model = module.make_model(algorithm, id, arguments={"rewards": rewards})
        assert type(model).__name__ == algorithm
        assert model.gamma == (0.0 if rewards == "tokens" else 1.0)
        assert 0 <= module.success(model, make_sb3(id, 10, split="test")) <= 1
    assert [*module.ALGORITHMS] == [*module.BY_TOKEN]
    del sys.modules["sb3_settings"]


def test_shaped_rewards_arrive() -> None:
    """They come at every step, an episode's sum is the reward at the end, and PPO learns from them."""
    envs = make_sb3(COPY, 4, rewards="shaped")
    envs.seed(0)
    envs.reset()
    (task,), total, early = envs.get_attr("task", [0]), np.zeros(4), 0
    rng = np.random.default_rng(0)
    for _ in range(40):
        _, rewards, ended, infos = envs.step(rng.integers(3, 11, 4))
        total += rewards
        early += int((rewards[~ended] > 0).sum())
        for row in np.flatnonzero(ended).tolist():
            due = infos[row]["reward_parts"]["right_characters"] / task.config.length
            assert total[row] == pytest.approx(due, abs=1e-6)
            total[row] = 0
    assert early > 0
    model = PPO("MlpPolicy", envs, n_steps=8, batch_size=32, gamma=1.0, device="cpu")
    assert model.learn(64).num_timesteps == 64


@pytest.mark.parametrize("share", [1.0, 0.75, 0.0])
def test_success_is_counted(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the benchmark's numbers come from: one that copies, but for some prompts, has just that share."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    module = importlib.import_module("sb3_settings")
    envs = make_sb3(COPY, 100, split="test")

    class Copier:
        """Writes the prompt's next letter; in the last environments the letter after it."""

        def predict(self, observations: np.ndarray, memory: None, **_: Any) -> tuple[np.ndarray, None]:
            written = (observations[:, 5:] != envs.observation_space.pad_id).sum(axis=1)
            letters = observations[np.arange(100), 1 + written]
            is_spoiled = np.arange(100) >= 100 * share
            return np.where(is_spoiled, (letters - 3 + 1) % 8 + 3, letters), None

    assert module.success(Copier(), envs) == pytest.approx(share)
    del sys.modules["sb3_settings"]


def test_the_example_runs() -> None:
    """examples/sb3_maskable_ppo.py trains, evaluates and shows five completions."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / "sb3_maskable_ppo.py"), "--steps", "4096"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [len(line.split(" -> ")[0]) for line in run.stdout.splitlines() if " -> " in line] == [4] * 5
