"""What SB3's policies see: observations, and the extractors that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlfl_envs import (
    ConfigError,
    load_task,
)

pytest.importorskip("sb3_contrib", reason="needs the extra sb3")

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.vec_env import VecNormalize

from rlfl_envs.integrations.sb3 import TokenSpace, make_sb3
from rlfl_envs.integrations.sb3_features import (
    GRUFeatures,
    MeanFeatures,
    PartFeatures,
    TokenFeatures,
    TransformerFeatures,
)
from tests.settings import COPY, QUICK_IDS

FEATURES = [MeanFeatures, PartFeatures, GRUFeatures, TransformerFeatures]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Small networks are slower on several threads."""
    torch.set_num_threads(1)


@pytest.mark.parametrize("id", QUICK_IDS)
def test_never_one_hot(id: str) -> None:
    """What SB3 hands to a policy has one number for each column, the token's id, exactly."""
    envs = make_sb3(id, 3, seed=0)
    observations = envs.reset()
    assert isinstance(envs.observation_space, TokenSpace)
    assert envs.observation_space.contains(observations[0])
    seen = preprocess_obs(torch.as_tensor(observations), envs.observation_space)
    assert seen.shape == observations.shape == (3, *envs.observation_space.shape)
    np.testing.assert_array_equal(seen.numpy(), observations)
    task = load_task(id)
    assert envs.observation_space.vocab_size == task.tokenizer.vocab_size
    assert envs.observation_space.shape == (task.max_prompt_tokens + task.max_completion_tokens,)


@pytest.mark.parametrize("features", FEATURES)
def test_padding_changes_nothing(features: type[TokenFeatures]) -> None:
    """Rewriting PAD's embedding, or that of the columns where it stands, changes no feature; everything else does."""
    torch.manual_seed(0)
    space = TokenSpace(load_task(COPY).tokenizer, 5, 4)
    extractor = features(space, 24)
    text = torch.tensor([[0, 0, 1, 3, 4, 5, 6, 0, 0], [0, 1, 3, 3, 4, 0, 0, 0, 0]]).float()
    before = extractor(text)
    assert before.shape == (2, 24)
    assert before.dtype == torch.float32
    with torch.no_grad():
        extractor.tokens.weight[0] += 1
        extractor.columns.weight[[0, 7, 8]] += 1
    torch.testing.assert_close(extractor(text), before)
    alone = extractor(text[1:])
    torch.testing.assert_close(alone, before[1:])
    for row, column, token in [(0, 3, 4), (0, 6, 3), (1, 2, 5), (1, 5, 3)]:
        other = text.clone()
        other[row, column] = token
        assert not torch.allclose(extractor(other)[row], before[row])
    swapped = text[:, [0, 1, 2, 4, 3, 5, 6, 7, 8]]
    assert not torch.allclose(extractor(swapped)[0], before[0])


def test_mean_features_have_derivatives() -> None:
    """They are means of token times column; first and second derivatives, which TRPO needs, are those of autograd."""
    torch.manual_seed(0)
    extractor = MeanFeatures(TokenSpace(load_task(COPY).tokenizer, 5, 4), 8).double()
    text = torch.randint(0, 11, (5, 9)).double()

    def by_hand() -> torch.Tensor:
        ids = text.long()
        is_token = ids != 0
        products = extractor.tokens(ids) * extractor.columns.weight * is_token[:, :, None]
        return products.sum(dim=1) / is_token.sum(dim=1).clamp(min=1)[:, None]

    parameters = [*extractor.parameters()]

    def derivatives(features: torch.Tensor) -> list[torch.Tensor]:
        first = torch.autograd.grad(features.tanh().sum(), parameters, create_graph=True)
        second = torch.autograd.grad(sum((each**3).sum() for each in first), parameters)
        return [features, *first, *second]

    for found, expected in zip(derivatives(extractor(text)), derivatives(by_hand()), strict=True):
        torch.testing.assert_close(found, expected)


def test_parts_of_a_text() -> None:
    """The first third sees the prompt alone, the second the completion alone, the last its last token and length."""
    torch.manual_seed(0)
    extractor = PartFeatures(TokenSpace(load_task(COPY).tokenizer, 5, 4), 24)
    text = torch.tensor([[0, 0, 1, 3, 4, 5, 6, 0, 0]]).float()

    def changed(column: int, token: int) -> list[bool]:
        other = text.clone()
        other[0, column] = token
        parts = zip(extractor(other)[0].chunk(3), extractor(text)[0].chunk(3), strict=True)
        return [not torch.allclose(after, before) for after, before in parts]

    assert changed(3, 4) == [True, False, False]
    assert changed(5, 3) == [False, True, False]
    assert changed(6, 3) == [False, True, True]
    assert changed(7, 6) == [False, True, True]


@pytest.mark.parametrize("features", FEATURES)
def test_an_empty_text_has_features(features: type[TokenFeatures]) -> None:
    """Where there is nothing but PAD, as with GPT-2's vocabulary before an empty prompt, nothing becomes NaN."""
    extractor = features(TokenSpace(load_task(COPY).tokenizer, 5, 4))
    assert extractor(torch.zeros(2, 9)).isfinite().all()


def test_wrong_features() -> None:
    """An extractor takes our space, and a transformer a width that its heads divide."""
    with pytest.raises(ConfigError, match=r"allowed: the TokenSpace of a TokenVecEnv.$"):
        MeanFeatures(gymnasium.spaces.Box(0, 1, (3,)))
    space = TokenSpace(load_task(COPY).tokenizer, 5, 4)
    for heads in (3, 4.0, True):
        with pytest.raises(ConfigError, match=rf"^heads={heads} is not allowed; allowed: an integer that divides 64.$"):
            TransformerFeatures(space, heads=heads)
    with pytest.raises(ConfigError, match=r"^layers=0 is not allowed; allowed: an integer, 1 or more.$"):
        TransformerFeatures(space, layers=0)
    for width in (0, 64.0):
        with pytest.raises(ConfigError, match=rf"^features_dim={width} is not allowed; allowed: an integer, 1 or more"):
            MeanFeatures(space, width)
    with pytest.raises(ConfigError, match=r"^features_dim=64 is not allowed; allowed: a multiple of 3"):
        PartFeatures(space, 64)
    with pytest.raises(NotImplementedError, match="write your own"):
        TokenFeatures(space)(torch.zeros(1, 9))


def test_normalised_observations_are_refused() -> None:
    """VecNormalize makes other numbers of the ids unless told not to; the rewards may be normalised."""
    policy = {"features_extractor_class": MeanFeatures}
    settings: dict[str, Any] = {"n_steps": 4, "batch_size": 16, "policy_kwargs": policy, "device": "cpu"}
    with pytest.raises(ConfigError, match=r"no token ids.*norm_obs=False"):
        PPO("MlpPolicy", VecNormalize(make_sb3(COPY, 4)), **settings).learn(16)
    PPO("MlpPolicy", VecNormalize(make_sb3(COPY, 4), norm_obs=False), **settings).learn(16)


def test_a_saved_model_keeps_to_its_vocabulary(tmp_path: Path) -> None:
    """Another vocabulary of the same size is another space, which SB3 refuses."""
    settings: dict[str, Any] = {"policy_kwargs": {"features_extractor_class": MeanFeatures}, "device": "cpu"}
    PPO("MlpPolicy", make_sb3(COPY), n_steps=8, batch_size=8, **settings).save(tmp_path / "model")
    PPO.load(tmp_path / "model", env=make_sb3(COPY, 2), device="cpu")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        PPO.load(tmp_path / "model", env=make_sb3(COPY, alphabet="hgfedcba"), device="cpu")
