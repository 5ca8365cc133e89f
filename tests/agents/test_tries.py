"""Tries: what is drawn, what is taken, the loss by hand; a run learns, resumes, and refuses what it cannot do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rlfl_agents.config import PPOConfig
from rlfl_agents.environments import make_envs
from rlfl_agents.learn import losses
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import train
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.tries import NONE_WRONG, Candidates, choose, draw_candidates
from rlfl_agents.run.checkpoint import latest, load
from rlfl_envs import ConfigError, TokenVectorEnv

from .conftest import small_config, small_policy

TRIES: dict[str, Any] = {
    "env_kwargs": {"alphabet": "abc", "length": 3, "split": "all", "rewards": "tokens"},
    "advantage": "tries",
    "tries": 6,
    "random_tries": 2,
    "group_size": 2,
    "batch_entropy_coef": 0.02,
}


def tokens_envs(rows: int, **arguments: Any) -> TokenVectorEnv:
    """Copy, rewarded for tokens."""
    return make_envs("rlfl/Copy-v0", rows, rewards="tokens", **arguments)


def test_loss_by_hand() -> None:
    """-log p(right) - 0.3 log(1 - p(wrong)), each where there is one, over the active states."""
    probs = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], [[0.25, 0.25, 0.5], [0.8, 0.1, 0.1]]])
    completions = torch.tensor([[0, 2], [1, 0]])
    is_right = torch.tensor([[True, True], [False, True]])
    wrong = torch.tensor([[2, NONE_WRONG], [1, 1]])
    active = torch.tensor([[True, True], [True, False]])
    found = losses.tries_loss(probs.log(), completions, is_right, wrong, active)
    terms = [-math.log(0.5) - 0.3 * math.log(0.8), -math.log(0.3), -0.3 * math.log(0.75)]
    assert float(found) == pytest.approx(sum(terms) / 3)


def test_a_group_that_shares_its_distribution_counts_each_member() -> None:
    """One distribution for both rows gives what two equal ones give."""
    log_dist = torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    rest = (torch.tensor([[3], [1]]), torch.tensor([[True], [False]]), torch.tensor([[2], [1]]), torch.ones(2, 1) > 0)
    shared, apart = losses.tries_loss(log_dist, *rest), losses.tries_loss(log_dist.repeat(2, 1, 1), *rest)
    assert float(shared) == pytest.approx(float(apart))


def test_the_gradient_is_whole_where_the_policy_is_sure_and_wrong() -> None:
    """At a probability that rounds to 1, the wrong token's logit still goes down at full strength."""
    logits = torch.tensor([[[60.0, 0.0, 0.0]]], requires_grad=True)
    assert logits.softmax(dim=-1)[0, 0, 0] == 1
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    losses.tries_loss(logits.log_softmax(dim=-1), nothing, nothing > 0, nothing, nothing == 0).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[0, 0], 0.3 * torch.tensor([1.0, -0.5, -0.5]))


def test_what_is_drawn() -> None:
    """The policy's own tokens come first and have its frequencies; the others are even over what is legal."""
    envs = tokens_envs(64, mask="syntax")
    policy = small_policy(envs, scale=2.0)
    observation, _ = envs.reset(seed=0)
    shared = torch.as_tensor(observation[::64, : envs.prompt_length])
    state = policy.start(shared, 64)
    noise = torch.rand(64, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    masks = torch.as_tensor(envs.action_masks())
    with torch.no_grad():
        log_dist, _ = policy.distribution(state, masks, 1.0)
        state = policy.start(shared, 64)
        found = draw_candidates(policy, state, noise, masks, 1.0, 20)
    assert found.tokens.shape == (64, 40)
    own, even = (part.flatten().bincount(minlength=11) / part.numel() for part in found.tokens.split(20, dim=1))
    torch.testing.assert_close(own.float(), log_dist[0].exp(), atol=0.04, rtol=0)
    torch.testing.assert_close(even.float(), masks[0] / masks[0].sum(), atol=0.04, rtol=0)
    assert found.log_probs.tolist() == log_dist[0][found.tokens].tolist()
    probs = found.log_probs.exp()
    torch.testing.assert_close(found.weights, probs / (0.5 * probs + 0.5 / masks[0].sum()))
    # Weighted, all draws together have the policy's frequencies.
    weighed = torch.zeros(11).index_add(0, found.tokens.flatten(), found.weights.flatten()) / found.weights.numel()
    torch.testing.assert_close(weighed, log_dist[0].exp(), atol=0.04, rtol=0)


def test_the_first_right_token_is_taken() -> None:
    """And the first wrong one noted; where none is right the first is taken, where none is wrong none is noted."""
    envs = tokens_envs(3, alphabet="ab", length=2)
    envs.reset(seed=0, options={"prompt": ["ab", "ba", "aa"]})
    a, b = envs.tokenizer.encode("ab")
    tokens = torch.tensor([[b, a, a], [a, a, 0], [a, a, a]])
    log_probs = torch.arange(9.0).view(3, 3)
    chosen = choose(Candidates(tokens, log_probs, torch.ones(3, 3), torch.zeros(3)), envs)
    assert chosen.tokens.tolist() == [a, a, a]
    assert chosen.right.tolist() == [[False, True, True], [False, False, False], [True, True, True]]
    assert chosen.wrong.tolist() == [b, a, NONE_WRONG]
    assert chosen.log_probs.tolist() == [1.0, 3.0, 6.0]


@pytest.mark.parametrize("env_id", ["rlfl/ArithmeticSteps-v0", "rlfl/Arithmetic-v0"])
def test_a_rollout_goes_on_with_right_tokens(env_id: str) -> None:
    """An episode ends at its first state without a right token, or in success, and what it earned is on its tokens."""
    envs = make_envs(env_id, 24, rewards="tokens")
    policy = small_policy(envs, scale=2.0, value="none")
    rollout = collect(policy, envs, torch.Generator().manual_seed(0), group_size=4, tries=40, random_tries=30, seed=5)
    lengths = rollout.active.sum(dim=1)
    last = rollout.is_right[torch.arange(24), lengths - 1]
    assert last.tolist() == rollout.is_success.tolist()
    for row, length in enumerate(lengths.tolist()):
        assert rollout.is_right[row, : length - 1].all()
        assert not rollout.is_right[row, length:].any()
        assert (rollout.wrong[row, length:] == NONE_WRONG).all()
    failed = ~rollout.is_success
    assert failed.any()
    ends = lengths[failed] - 1
    assert rollout.wrong[failed, ends].tolist() == rollout.completions[failed, ends].tolist()
    assert (rollout.rewards[rollout.is_right] > 0).all()
    assert (rollout.rewards[~rollout.is_right] == 0).all()
    assert rollout.episode_rewards[rollout.is_success].tolist() == pytest.approx([1.0] * int(rollout.is_success.sum()))
    with torch.no_grad():
        dist, _ = policy(rollout.prompts, rollout.completions, rollout.masks)
    found = losses.gather_log_probs(dist, rollout.completions)
    torch.testing.assert_close(found[rollout.active], rollout.log_probs[rollout.active], atol=2e-5, rtol=1e-4)


def test_a_success_at_the_first_try_is_what_one_draw_would_have_been() -> None:
    """As often as the same policy succeeds when a single token is drawn at each state; of successes alone."""
    envs = tokens_envs(2048, alphabet="ab", length=2)
    policy = small_policy(envs, scale=2.0, value="none")
    settings: dict[str, Any] = {"seed": 3, "prompts": ["ab"] * 2048}
    tried = collect(policy, envs, torch.Generator().manual_seed(0), tries=16, random_tries=8, **settings)
    drawn = collect(policy, envs, torch.Generator().manual_seed(1), **settings)
    assert not (tried.is_first_try & ~tried.is_success).any()
    assert drawn.is_first_try.equal(drawn.is_success)
    share = float(drawn.is_success.float().mean())
    assert 0.002 < share < 0.5 * float(tried.is_success.float().mean())
    assert float(tried.is_first_try.float().mean()) == pytest.approx(share, abs=0.03)  # four standard errors


def test_two_processes_try_what_one_would() -> None:
    """Halves with their share of the noise and of the environments' seeds equal the whole."""
    envs, half = tokens_envs(16), tokens_envs(8)
    policy = small_policy(envs)
    settings: dict[str, Any] = {"group_size": 2, "tries": 5, "random_tries": 2, "keep_tried": True}
    noise = [torch.Generator().manual_seed(0) for _ in range(3)]
    whole = collect(policy, envs, noise[0], seed=100, **settings)
    parts = [collect(policy, half, noise[1 + i], seed=100 + 8 * i, process=(i, 2), **settings) for i in range(2)]
    assert torch.cat([part.is_success for part in parts]).tolist() == whole.is_success.tolist()
    for name in ("completions", "is_right", "wrong"):
        whole_rows = [row[keep].tolist() for row, keep in zip(getattr(whole, name), whole.active, strict=True)]
        rows = [row[keep].tolist() for p in parts for row, keep in zip(getattr(p, name), p.active, strict=True)]
        assert rows == whole_rows
    assert whole.tried is not None
    length = whole.completions.shape[1]
    for part, its_rows in zip(parts, (slice(0, 8), slice(8, 16)), strict=True):
        assert part.tried is not None
        for expected, found in zip(whole.tried, part.tried, strict=True):
            short = found.shape[1]
            torch.testing.assert_close(expected[its_rows, :short], found, atol=1e-6, rtol=1e-4)
            assert not expected[its_rows, short:length].any()


def test_what_was_tried_is_in_the_rollout() -> None:
    """All tokens with their verdicts; what was taken is the first right one; nothing where an episode is over."""
    envs = make_envs("rlfl/ArithmeticSteps-v0", 24, rewards="tokens", mask="syntax")
    policy = small_policy(envs, scale=2.0, value="none")
    settings: dict[str, Any] = {"group_size": 4, "tries": 12, "random_tries": 8, "keep_tried": True, "seed": 5}
    rollout = collect(policy, envs, torch.Generator().manual_seed(0), **settings)
    tried, active = rollout.tried, rollout.active
    assert tried is not None
    assert tried.is_right.any(dim=2).equal(rollout.is_right)
    first = tried.is_right.int().argmax(dim=2, keepdim=True)
    assert tried.tokens.gather(2, first)[..., 0][active].tolist() == rollout.completions[active].tolist()
    assert not any(each[~active].any() for each in tried)
    with torch.no_grad():
        log_dist, _ = policy(rollout.prompts, rollout.completions, rollout.masks)
    found = losses.tried_log_probs(log_dist, tried.tokens)
    torch.testing.assert_close(found[active], tried.log_probs[active], atol=2e-5, rtol=1e-4)
    legal = rollout.mask_table[rollout.mask_rows.long()].expand(24, *active.shape[1:], -1).sum(dim=2)
    assert len(legal[active].unique()) > 1  # masks differ from state to state
    probs = tried.log_probs[active].exp()
    expected = 12 * probs / (4 * probs + 8 / legal[active][:, None])
    torch.testing.assert_close(tried.weights[active], expected)


def test_a_group_that_shares_its_distribution_tries_apart() -> None:
    """One distribution for both rows gives each row its own tokens' log-probabilities."""
    log_dist = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    tokens = torch.randint(0, 5, (4, 3, 2), generator=torch.Generator().manual_seed(1))
    expected = log_dist.repeat_interleave(2, dim=0).gather(2, tokens)
    assert losses.tried_log_probs(log_dist, tokens).tolist() == expected.tolist()


def test_a_run_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Groups, minibatches and all: half a run resumed ends with the weights of an unbroken one, and it has learned."""
    config = small_config(**TRIES, total_samples=16 * 60, minibatches=2, eval_every=60, learning_rate=1e-2)
    row = train(config, tmp_path / "whole", quiet=True)
    assert row["eval/success"] > 0.9
    check_that_it_goes_on(tmp_path, TRIES | {"minibatches": 2}, 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"advantage": "gae"},
        {"advantage": "gae", "critic": "separate"},
        {"advantage": "rloo", "group_size": 2},
        {"advantage": "group_norm"},
    ],
    ids=["a learned value", "a critic apart", "the others", "in units of their spread"],
)
def test_clipped_policy_gradients_learn_from_tries(changes: dict[str, Any], tmp_path: Path) -> None:
    """With and without a value, with groups and without; and they go on where they stopped."""
    clipped = TRIES | {"gae_lambda": 1.0, "vf_coef": 0.5, "group_size": 1, "prompts": 32, "epochs": 4, "minibatches": 2}
    clipped |= changes
    rows = clipped["prompts"] * clipped["group_size"]
    row = train(
        small_config(**clipped, total_samples=rows * 50, eval_every=50, learning_rate=5e-3),
        tmp_path / "whole",
        quiet=True,
    )
    assert row["eval/success"] > 0.9
    assert row["ratio_mean"] == pytest.approx(1.0, abs=0.1)
    check_that_it_goes_on(tmp_path, clipped, rows)


def check_that_it_goes_on(folder: Path, settings: dict[str, Any], rows: int) -> None:
    """Two updates and two more end where four do."""
    short, half = (small_config(**settings, total_samples=rows * updates) for updates in (4, 2))
    train(short, folder / "unbroken", quiet=True)
    train(half, folder / "broken", quiet=True)
    train(short, folder / "broken", resume=True, quiet=True)
    one, two = (load(latest(folder / name) or folder) for name in ("unbroken", "broken"))
    for weight in one["model"]:
        torch.testing.assert_close(one["model"][weight], two["model"][weight])


def test_a_run_that_needs_its_vocabulary_goes_on_and_is_evaluated(tmp_path: Path) -> None:
    """With numbers that the default vocabulary has no tokens for, and rewards that the environment pays."""
    kwargs = {"vocabulary": "characters", "max_operand": 500, "max_value": 999, "rewards": "tokens"}
    settings = TRIES | {"env_id": "rlfl/ArithmeticAnswer-v0", "env_kwargs": kwargs, "eval_every": 0}
    train(small_config(**settings, total_samples=32), tmp_path, quiet=True)
    train(small_config(**settings, total_samples=64), tmp_path, resume=True, quiet=True)
    loaded = load_policy(tmp_path, None, {}, device="cpu")
    assert loaded.envs.task.config.vocabulary == "characters"
    assert loaded.envs.task.config.max_operand == 500


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env_kwargs": {}}, "rewards='end' is not allowed; allowed: 'tokens' with advantage='tries'"),
        ({"advantage": "gae", "env_kwargs": {}}, "rewards='end' is not allowed; allowed: 'tokens' with tries=6"),
        ({"advantage": "rloo", "kl": "fixed"}, "kl='fixed' is not allowed; allowed: 'off' with tries=6"),
        ({"advantage": "gae", "kl_cov": 0.1}, "kl_cov=0.1 is not allowed; allowed: 0.0 with tries=6"),
        ({"advantage": "group_norm", "refill": 1}, "refill=1 is not allowed; allowed: 0 with tries=6"),
        ({"advantage": "gae", "random_tries": 6}, "random_tries=6 is not allowed; allowed: 0..5, with tries=6"),
        (
            {"advantage": "gae", "tries": 1, "random_tries": 1},
            "random_tries=1 is not allowed; allowed: 0..0, with tries=1",
        ),
        ({"refill": 1}, "refill=1 is not allowed; allowed: 0 with advantage='tries'"),
        ({"env_kwargs": {"rewards": "shaped"}}, "rewards='shaped' is not allowed; allowed: 'tokens'"),
        ({"random_tries": 6}, "random_tries=6 is not allowed; allowed: 0..5"),
        ({"kl": "fixed"}, "kl='fixed' is not allowed; allowed: 'off' with advantage='tries'"),
        ({"target_kl": 0.1}, "target_kl=0.1 is not allowed; allowed: None"),
        ({"kl_cov": 0.1}, "kl_cov=0.1 is not allowed; allowed: 0.0"),
        ({"kl_cov_coef": 2.0}, "kl_cov_coef=2.0 is not allowed; allowed: 1.0"),
        ({"clip_range": 0.1}, "clip_range=0.1 is not allowed; allowed: 0.2"),
        ({"clip_range_high": 0.3}, "clip_range_high=0.3 is not allowed; allowed: None"),
        ({"dual_clip": 3.0}, "dual_clip=3.0 is not allowed; allowed: None"),
        ({"critic": "separate"}, "critic='separate' is not allowed; allowed: 'shared'"),
        ({"vf_coef": 0.5}, "vf_coef=0.5 is not allowed; allowed: 0.1"),
        ({"value_clip": 0.1}, "value_clip=0.1 is not allowed; allowed: 0.2"),
        ({"gamma": 0.9}, "gamma=0.9 is not allowed; allowed: 1.0"),
        ({"gae_lambda": 1.0}, "gae_lambda=1.0 is not allowed; allowed: 0.95"),
        ({"whiten": False}, "whiten=False is not allowed; allowed: True"),
        ({"ratio_threshold": 2.0}, "ratio_threshold=2.0 is not allowed; allowed: 10.0"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    """Settings that have no meaning together are refused by name."""
    with pytest.raises(ConfigError, match=words):
        small_config(**(TRIES | changes))


def test_a_task_that_cannot_judge_is_refused() -> None:
    """By the environment, before anything is learned."""
    config = PPOConfig(env_id="rlfl/Sentiment-v0", env_kwargs={"rewards": "tokens"}, advantage="tries", tries=2)
    with pytest.raises(ConfigError, match="Sentiment, which cannot judge single tokens"):
        make_envs(config.env_id, 2, **config.env_kwargs)
