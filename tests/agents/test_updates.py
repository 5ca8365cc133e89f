"""What an update does with its settings: every coefficient, clip and schedule reaches the step it is meant for."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlfl_agents import ppo
from rlfl_agents.config import PPOConfig
from rlfl_agents.learn import advantages, losses
from rlfl_agents.learn.losses import gather_log_probs
from rlfl_agents.model.policy import Policy
from rlfl_agents.ppo import train
from rlfl_agents.rollout.batch import Batch
from rlfl_agents.rollout.rollout import Rollout
from rlfl_agents.run import plot
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.state import Rates, TrainState

from .conftest import small_config

THREE_LETTERS = {"alphabet": "ab", "length": 3, "split": "all"}
ONE_UPDATE = 4 * 8


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of a small run's time goes into drawing them."""
    monkeypatch.setattr(plot, "plot_runs", lambda *_: None)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Policy, Batch]]:
    """The batches of a run, each with a copy of the policy that it was sampled from."""
    kept = []
    real = ppo.improve

    def keeping(config: PPOConfig, state: TrainState, batch: Batch, rates: Rates) -> dict[str, float]:
        kept.append((copy.deepcopy(state.policy), batch))
        return real(config, state, batch, rates)

    monkeypatch.setattr(ppo, "improve", keeping)
    return kept


@pytest.fixture
def policy_losses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, float]]:
    """What each micro-batch of a run was: the log-probabilities it was sampled with, and its approx_kl."""
    kept = []
    real = losses.clipped_policy_loss

    def keeping(log_probs: Tensor, old_log_probs: Tensor, *args: Any, **kwargs: Any) -> losses.PolicyLoss:
        found = real(log_probs, old_log_probs, *args, **kwargs)
        kept.append((old_log_probs, float(found.approx_kl)))
        return found

    monkeypatch.setattr(losses, "clipped_policy_loss", keeping)
    return kept


def learn(run: Path, **changes: Any) -> dict[str, list[float]]:
    """The metrics of a small run's updates."""
    train(small_config(**({"eval_every": 0, "save_every": 1000} | changes)), run, quiet=True)
    return {name: column[1:] for name, column in read_metrics(run).items()}


def weights(run: Path) -> dict[str, Tensor]:
    """What a run has learned."""
    found = latest(run)
    assert found is not None
    return load(found)["model"]


def log_probs_under(policy: Policy, rollout: Rollout, temperature: float) -> Tensor:
    """The chosen tokens' log-probabilities, 0 where not active."""
    with torch.no_grad():
        log_dist, _ = policy(rollout.prompts, rollout.completions, rollout.masks, temperature)
    return gather_log_probs(log_dist, rollout.completions) * rollout.active


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("max_grad_norm", [0.05, 1e3])
@pytest.mark.parametrize("pieces", [{}, {"accumulation": 4}, {"micro_batch_tokens": 40}])
def test_a_step_goes_down_the_gradient_of_the_loss(
    tmp_path: Path,
    played: list[tuple[Policy, Batch]],
    positions: str,
    max_grad_norm: float,
    pieces: dict[str, int],
) -> None:
    """The loss and batch entropy are written out by hand; with a large epsilon Adam's first step is the gradient.

    Micro-batches, by number or by tokens, make no difference.
    """
    metrics = learn(
        tmp_path / "run",
        env_kwargs=THREE_LETTERS,
        total_samples=ONE_UPDATE,
        advantage="gae",
        temperature=0.7,
        vf_coef=0.3,
        entropy_coef=0.2,
        batch_entropy_coef=0.5,
        batch_entropy_positions=positions,
        max_grad_norm=max_grad_norm,
        **pieces,
        learning_rate=10.0,
        adam_eps=10.0,
    )
    policy, batch = played[0]
    rollout = batch.rollout
    active = rollout.active
    assert 0 < active[:, -1].sum() < len(active)
    log_dist, values = policy(rollout.prompts, rollout.completions, rollout.masks, 0.7)
    probs, log_probs = log_dist.exp(), gather_log_probs(log_dist, rollout.completions)
    policy_loss = -((log_probs - log_probs.detach()).exp() * batch.advantages)[active].mean()
    value_loss = 0.5 * ((values - batch.returns)[active] ** 2).mean()
    entropy = -(probs * log_dist).sum(dim=-1)[active].mean()
    means = [probs[active[:, t], t].mean(dim=0) for t in range(active.shape[1])]
    by_position = torch.stack([-(mean * (mean + 1e-9).log()).sum() for mean in means])
    share = active.sum(dim=0) / active.sum() if positions == "all" else torch.tensor([0.0, 0.0, 1.0])
    batch_entropy = (by_position * share).sum()
    loss = policy_loss + 0.3 * value_loss - 0.2 * entropy - 0.5 * batch_entropy

    assert metrics["entropy"] == [pytest.approx(entropy.item(), abs=1e-5)]
    assert metrics["batch_entropy"] == [pytest.approx(batch_entropy.item(), abs=1e-5)]
    assert metrics["loss"] == [pytest.approx(loss.item(), abs=1e-5)]
    names, before = zip(*policy.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, before)
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    assert metrics["grad_norm"] == [pytest.approx(norm, rel=1e-3)]
    assert 0.1 < norm < 10
    after = weights(tmp_path / "run")
    for name, weight, gradient in zip(names, before, gradients, strict=True):
        clipped = gradient * min(1.0, max_grad_norm / norm)
        torch.testing.assert_close(after[name] - weight, -10 * clipped / (clipped.abs() + 10), atol=2e-6, rtol=1e-3)


def test_all_that_was_tried_counts(tmp_path: Path, played: list[tuple[Policy, Batch]]) -> None:
    """The losses of a first step, where every ratio is 1, of all tries by their weights; the value's, of the states."""
    metrics = learn(
        tmp_path / "run",
        env_kwargs=THREE_LETTERS | {"rewards": "tokens"},
        total_samples=ONE_UPDATE,
        advantage="gae",
        tries=5,
        random_tries=2,
        temperature=0.7,
        vf_coef=0.3,
        learning_rate=10.0,
        adam_eps=10.0,
    )
    policy, batch = played[0]
    rollout, tried = batch.rollout, batch.rollout.tried
    assert tried is not None
    assert tried.is_right.any()
    log_dist, values = policy(rollout.prompts, rollout.completions, rollout.masks, 0.7)
    log_probs = torch.stack([gather_log_probs(log_dist, tried.tokens[..., i]) for i in range(5)], dim=2)
    torch.testing.assert_close(log_probs[rollout.active], tried.log_probs[rollout.active], atol=2e-5, rtol=1e-4)
    terms = -((log_probs - log_probs.detach()).exp() * batch.advantages * tried.weights)[rollout.active]
    values = values.repeat_interleave(len(rollout.completions) // len(values), dim=0)
    value_loss = 0.5 * ((values - batch.returns)[rollout.active] ** 2).mean()
    loss = terms.mean() + 0.3 * value_loss
    assert metrics["loss"] == [pytest.approx(loss.item(), abs=1e-5)]
    assert metrics["value_loss"] == [pytest.approx(value_loss.item(), abs=1e-5)]
    gradients = torch.autograd.grad(loss, [weight for _, weight in policy.named_parameters()])
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    assert metrics["grad_norm"] == [pytest.approx(norm, rel=1e-3)]


@pytest.mark.parametrize("coef", [0.0, 0.5])
@pytest.mark.parametrize(("advantage", "tries"), [("rloo", 1), ("gae", 1), ("tries", 3), ("gae", 3)])
def test_micro_batches_change_nothing(tmp_path: Path, advantage: str, tries: int, coef: float) -> None:
    """By number or by tokens: neither weights nor what is logged, batch entropy weighed in the loss or not."""
    settings: dict[str, Any] = {
        "env_kwargs": THREE_LETTERS,
        "advantage": advantage,
        "batch_entropy_coef": coef,
        "minibatches": 2,
        "total_samples": ONE_UPDATE,
        "adam_eps": 1e-3,
    }
    if tries > 1:
        settings |= {"env_kwargs": THREE_LETTERS | {"rewards": "tokens"}, "tries": tries, "random_tries": 1}
    expected = learn(tmp_path / "whole", **settings)
    for pieces in ({"accumulation": 4}, {"micro_batch_tokens": 40}):
        run = tmp_path / next(iter(pieces))
        found = learn(run, **settings, **pieces)
        for name in expected:
            if not name.startswith(("clock/", "eval/")):
                assert found[name] == pytest.approx(expected[name], abs=2e-6, nan_ok=True), name
        one, other = weights(tmp_path / "whole"), weights(run)
        for name, weight in one.items():
            torch.testing.assert_close(other[name], weight, atol=2e-6, rtol=0)


def test_the_loss_is_the_sum_of_its_terms(tmp_path: Path) -> None:
    """With the weights that the same row reports, also where they are on a line to a final value."""
    metrics = learn(
        tmp_path / "run",
        advantage="gae",
        epochs=2,
        minibatches=2,
        vf_coef=0.7,
        entropy_coef=0.3,
        entropy_coef_final=0.6,
        batch_entropy_coef=0.5,
        batch_entropy_coef_final=0.2,
    )
    assert metrics["entropy_coef"] == pytest.approx([0.3, 0.35, 0.4, 0.45, 0.5, 0.55])
    assert metrics["batch_entropy_coef"] == pytest.approx([0.5, 0.45, 0.4, 0.35, 0.3, 0.25])
    names = ("policy_loss", "value_loss", "entropy_coef", "entropy", "batch_entropy_coef", "batch_entropy")
    terms = zip(*(metrics[name] for name in names), strict=True)
    assert metrics["loss"] == pytest.approx([p + 0.7 * v - c_h * h - c_b * b for p, v, c_h, h, c_b, b in terms])


@pytest.mark.parametrize("name", ["entropy", "batch_entropy"])
def test_an_entropy_that_is_asked_for_stays_higher(tmp_path: Path, name: str) -> None:
    """A large weight against none, everything else equal."""
    without = learn(tmp_path / "without", learning_rate=0.02, total_samples=10 * ONE_UPDATE)
    asked = learn(tmp_path / "asked", learning_rate=0.02, total_samples=10 * ONE_UPDATE, **{f"{name}_coef": 5.0})
    assert asked[name][-1] > without[name][-1] + 0.2


def test_steered_entropy_weights_move_by_rate_times_distance(tmp_path: Path) -> None:
    """Each by its own entropy and target: log c grows by rate * (target - entropy)."""
    metrics = learn(
        tmp_path / "run",
        entropy_coef=0.1,
        entropy_target=0.5,
        batch_entropy_coef=0.2,
        batch_entropy_target=2.0,
        entropy_rate=0.3,
    )
    for name, start, target in (("entropy", 0.1, 0.5), ("batch_entropy", 0.2, 2.0)):
        expected = [start]
        for measured in metrics[name][:-1]:
            expected.append(expected[-1] * math.exp(0.3 * (target - measured)))
        assert metrics[f"{name}_coef"] == pytest.approx(expected)


def test_what_is_learned_from_is_what_was_sampled(tmp_path: Path, played: list[tuple[Policy, Batch]]) -> None:
    """At a temperature too: before the first step of an update every ratio is 1."""
    metrics = learn(tmp_path / "run", temperature=0.5, learning_rate=0.02, total_samples=10 * ONE_UPDATE)
    assert metrics["ratio_mean"] == pytest.approx([1.0] * 10, abs=1e-5)
    assert metrics["approx_kl"] == pytest.approx([0.0] * 10, abs=1e-6)
    policy, batch = played[-1]
    rollout = batch.rollout
    torch.testing.assert_close(rollout.log_probs, log_probs_under(policy, rollout, 0.5), atol=1e-5, rtol=1e-4)
    assert (rollout.log_probs - log_probs_under(policy, rollout, 1.0)).abs().max() > 0.1


def test_every_epoch_reads_every_completion_once(
    tmp_path: Path, played: list[tuple[Policy, Batch]], policy_losses: list[tuple[Tensor, float]]
) -> None:
    """In 2 minibatches of 2 micro-batches, a step for each minibatch, and in another order each time."""
    metrics = learn(tmp_path / "run", epochs=3, minibatches=2, accumulation=2, total_samples=ONE_UPDATE)
    assert metrics["minibatches"] == [6]
    assert [len(old) for old, _ in policy_losses] == [8] * 12
    epochs = [torch.cat([old for old, _ in policy_losses[i : i + 4]]).tolist() for i in (0, 4, 8)]
    _, batch = played[0]
    rollout = batch.rollout
    for epoch in epochs:
        assert sorted(epoch) == sorted(rollout.log_probs.tolist())
    assert epochs[0] != epochs[1] != epochs[2]


def test_target_kl_ends_an_update_before_the_first_step_that_is_too_far(
    tmp_path: Path, policy_losses: list[tuple[Tensor, float]]
) -> None:
    """Beyond 1.5 times the target, in the midst of an epoch: with a limit just below a minibatch's, and just above."""
    settings = {"epochs": 4, "minibatches": 4, "learning_rate": 0.01, "total_samples": ONE_UPDATE}
    learn(tmp_path / "free", **settings)
    measured = [approx_kl for _, approx_kl in policy_losses]
    assert len(measured) == 16
    for name, limit in (("below", 0.99 * measured[6]), ("above", 1.01 * measured[6])):
        steps = next(i for i, approx_kl in enumerate(measured) if approx_kl > limit)
        policy_losses.clear()
        assert learn(tmp_path / name, target_kl=limit / 1.5, **settings)["minibatches"] == [steps]
        assert len(policy_losses) == steps + 1


def test_each_loss_has_its_own_clip(tmp_path: Path) -> None:
    """A narrow one and a wide one, either way round.

    After the first of four epochs ratios are outside 1 ± 0.0001 and inside 1 ± 100. Values start at 0: held there, they
    cannot lower the loss below half the mean squared return, here the mean squared reward.
    """
    settings = {
        "env_kwargs": {"alphabet": "ab", "length": 1, "split": "all"},
        "advantage": "gae",
        "epochs": 4,
        "vf_coef": 1.0,
        "learning_rate": 0.005,
        "total_samples": ONE_UPDATE,
    }
    policy_held = learn(tmp_path / "policy", clip_range=1e-4, value_clip=100.0, **settings)
    value_held = learn(tmp_path / "value", clip_range=100.0, value_clip=1e-4, **settings)
    assert policy_held["clip_fraction"] == [pytest.approx(0.75, abs=0.02)]
    assert value_held["clip_fraction"] == [0.0]
    at_zero = 0.5 * (policy_held["reward"][0] ** 2 + policy_held["reward_std"][0] ** 2)
    assert policy_held["value_loss"][0] < 0.98 * at_zero
    assert value_held["value_loss"][0] > 0.999 * at_zero


def test_remedies_for_entropy_reach_the_loss(tmp_path: Path) -> None:
    """A higher bound clips fewer tokens, a dual clip changes what is learned, and KL-Cov's term is in the loss."""
    settings: dict[str, Any] = {"env_kwargs": THREE_LETTERS, "epochs": 4, "learning_rate": 0.01, "clip_range": 0.01}
    plain = learn(tmp_path / "plain", **settings)
    higher = learn(tmp_path / "higher", clip_range_high=100.0, **settings)
    assert higher["clip_fraction"][0] < plain["clip_fraction"][0]
    learn(tmp_path / "dual", dual_clip=1.001, **settings)
    one, two = weights(tmp_path / "plain"), weights(tmp_path / "dual")
    assert any(not torch.equal(one[name], two[name]) for name in one)
    held = learn(tmp_path / "held", kl_cov=0.5, kl_cov_coef=10.0, **settings)
    assert plain["loss"] == pytest.approx(plain["policy_loss"])
    assert held["loss"][0] > held["policy_loss"][0] + 0.1


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_separate_critic_leaves_the_policy_alone(tmp_path: Path, critic: str) -> None:
    """Whatever the value loss weighs; a shared one pulls at the trunk as soon as its head is not 0."""
    settings = {"advantage": "gae", "critic": critic, "epochs": 3, "max_grad_norm": 1e6, "total_samples": ONE_UPDATE}
    learn(tmp_path / "light", vf_coef=0.01, **settings)
    learn(tmp_path / "heavy", vf_coef=10.0, **settings)
    light, heavy = weights(tmp_path / "light"), weights(tmp_path / "heavy")
    distance = max(float((light[name] - heavy[name]).abs().max()) for name in light if name.startswith("model."))
    assert distance < 1e-6 if critic == "separate" else distance > 1e-4


def test_gae_gets_the_penalised_rewards_its_discount_and_its_lambda(
    tmp_path: Path, played: list[tuple[Policy, Batch]]
) -> None:
    """Recomputed from the last rollout, where values are no longer 0; every token pays its own part of ref_kl."""
    learn(
        tmp_path / "run",
        env_kwargs=THREE_LETTERS,
        advantage="gae",
        gamma=0.5,
        gae_lambda=0.9,
        whiten=False,
        kl="fixed",
        kl_coef=0.4,
        learning_rate=0.02,
    )
    _, batch = played[-1]
    rollout = batch.rollout
    rewards = rollout.rewards - 0.4 * (rollout.log_probs - batch.ref_log_probs)
    expected, returns = advantages.gae(rewards, rollout.values, rollout.active, gamma=0.5, lam=0.9)
    torch.testing.assert_close(batch.advantages, expected)
    torch.testing.assert_close(batch.returns, returns)


@pytest.mark.parametrize("advantage", ["rloo", "group_norm"])
def test_groups_are_compared_by_penalised_returns(
    tmp_path: Path, played: list[tuple[Policy, Batch]], advantage: str
) -> None:
    """By hand: the return less kl_coef times ref_kl, against the group's others, the same for every token."""
    metrics = learn(tmp_path / "run", advantage=advantage, whiten=False, kl="fixed", kl_coef=0.4, learning_rate=0.02)
    _, batch = played[-1]
    rollout = batch.rollout
    ref_kl = (rollout.log_probs - batch.ref_log_probs).sum(dim=1)
    assert metrics["ref_kl"][-1] == pytest.approx(float(ref_kl.mean()), abs=1e-6)
    groups = (rollout.episode_rewards - 0.4 * ref_kl).view(8, 4)
    centred = groups - groups.mean(dim=1, keepdim=True)
    scale = 4 / 3 if advantage == "rloo" else 1 / (groups.std(dim=1, keepdim=True) + 1e-4)
    expected = (centred * scale).flatten()[:, None] * rollout.active
    torch.testing.assert_close(batch.advantages, expected, atol=1e-4, rtol=1e-4)


def test_whitened_advantages_have_mean_0_and_variance_1(tmp_path: Path, played: list[tuple[Policy, Batch]]) -> None:
    """Over the tokens that count."""
    learn(tmp_path / "run", whiten=True, total_samples=ONE_UPDATE)
    _, batch = played[0]
    rollout = batch.rollout
    found = batch.advantages[rollout.active]
    assert float(found.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(found.var(correction=0)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_reference_is_the_policy_as_it_was(
    tmp_path: Path, played: list[tuple[Policy, Batch]], lora_rank: int
) -> None:
    """At the training temperature, and with adapters switched off, which start as nothing."""
    if lora_rank:
        pytest.importorskip("peft")
    learn(tmp_path / "base", learning_rate=0.02, total_samples=3 * ONE_UPDATE)
    played.clear()
    metrics = learn(
        tmp_path / "run",
        model=str(tmp_path / "base" / "policy"),
        lora_rank=lora_rank,
        kl="fixed",
        temperature=0.5,
        learning_rate=0.05,
    )
    (first, _), (_, batch) = played[0], played[-1]
    rollout = batch.rollout
    torch.testing.assert_close(batch.ref_log_probs, log_probs_under(first, rollout, 0.5), atol=1e-5, rtol=1e-4)
    assert metrics["ref_kl"][0] == pytest.approx(0.0, abs=1e-5)
    assert (rollout.log_probs - batch.ref_log_probs).abs().max() > 0.01
    assert abs(metrics["eval/sampled_ref_kl"][-1]) > 1e-4


def test_a_heavier_penalty_keeps_the_policy_nearer(tmp_path: Path) -> None:
    """A fixed weight of 10 against one of 0.001, everything else equal."""
    settings = {"kl": "fixed", "learning_rate": 0.02, "total_samples": 15 * ONE_UPDATE}
    heavy, light = (learn(tmp_path / str(coef), kl_coef=coef, **settings) for coef in (10.0, 1e-3))
    assert set(heavy["kl_coef"]) == {10.0}
    assert abs(heavy["ref_kl"][-1]) < 0.2 < light["ref_kl"][-1]


def test_an_adaptive_penalty_follows_its_target_and_horizon(tmp_path: Path) -> None:
    """By hand: each rollout of 32 completions moves it by at most a fifth of 32 / horizon."""
    metrics = learn(tmp_path / "run", kl="adaptive", kl_coef=0.05, kl_target=0.05, kl_horizon=64, learning_rate=0.02)
    expected = [0.05]
    for ref_kl in metrics["ref_kl"][:-1]:
        expected.append(expected[-1] * (1 + min(0.2, max(-0.2, ref_kl / 0.05 - 1)) * 32 / 64))
    assert metrics["kl_coef"] == pytest.approx(expected)
    assert len(set(expected)) == 6


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ("constant", [0, 1 / 2, 1, 1, 1, 1, 1, 1]),
        ("linear", [0, 1 / 2, 1, 13 / 15, 11 / 15, 9 / 15, 7 / 15, 5 / 15]),
        ("cosine", [0, 1 / 2, *(0.6 + 0.4 * math.cos(math.pi * i / 6) for i in range(6))]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    tmp_path: Path, played: list[tuple[Policy, Batch]], shape: str, factors: list[float]
) -> None:
    """Two of eight updates warm up, the other six go to a fifth; an update at a rate of 0 changes nothing."""
    metrics = learn(
        tmp_path / "run",
        learning_rate=0.01,
        lr_schedule=shape,
        lr_final=0.2,
        warmup=0.25,
        total_samples=8 * ONE_UPDATE,
    )
    assert metrics["learning_rate"] == pytest.approx([0.01 * factor for factor in factors])
    first, second, third = (policy.state_dict() for policy, _ in played[:3])
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(second[name], third[name]) for name in first)


def test_weight_decay_shrinks_every_weight_by_its_share(tmp_path: Path, played: list[tuple[Policy, Batch]]) -> None:
    """One step with and one without it differ by learning_rate * weight_decay of what the weights were: a tenth."""
    for name, weight_decay in (("with", 5.0), ("without", 0.0)):
        learn(tmp_path / name, weight_decay=weight_decay, learning_rate=0.02, total_samples=ONE_UPDATE)
    decayed, plain = weights(tmp_path / "with"), weights(tmp_path / "without")
    for name, before in played[0][0].named_parameters():
        torch.testing.assert_close(plain[name] - decayed[name], 0.1 * before.detach(), atol=1e-6, rtol=1e-4)


def test_prompts_that_are_drawn_while_a_device_works_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs, one of which draws the next prompts during its updates, as it would beside a GPU: the same metrics."""
    few = {"total_samples": 4 * ONE_UPDATE}
    expected = learn(tmp_path / "at reset", **few)
    monkeypatch.setattr("rlfl_agents.update._draw_ahead", lambda state: state.envs.draw_ahead())
    found = learn(tmp_path / "ahead", **few)
    assert found.keys() == expected.keys()
    timeless = [name for name in found if not name.startswith("clock/")]
    assert repr([found[name] for name in timeless]) == repr([expected[name] for name in timeless])


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("advantage", ["gae", "rloo", "group_norm"])
def test_what_was_tried_is_compared_as_asked(
    tmp_path: Path, played: list[tuple[Policy, Batch]], advantage: str, whiten: bool
) -> None:
    """Recomputed from the last rollout, where values are no longer 0: each by its own rule, whitened by weight."""
    learn(
        tmp_path / "run",
        env_kwargs=THREE_LETTERS | {"rewards": "tokens"},
        advantage=advantage,
        tries=5,
        random_tries=2,
        gamma=0.5,
        gae_lambda=0.9,
        whiten=whiten,
        learning_rate=0.02,
    )
    _, batch = played[-1]
    rollout, tried = batch.rollout, batch.rollout.tried
    assert tried is not None
    verdicts, returns = (tried.is_right, tried.weights), torch.zeros_like(rollout.values)
    if advantage == "gae":
        assert rollout.values.any()
        expected, returns = advantages.tried_gae(rollout.rewards, rollout.values, *verdicts, gamma=0.5, lam=0.9)
    elif advantage == "rloo":
        expected = advantages.tried_rloo(rollout.rewards, *verdicts)
    else:
        expected = advantages.tried_group_norm(*verdicts)
    if whiten:
        expected = advantages.whiten(expected, tried.weights)
    torch.testing.assert_close(batch.advantages, expected)
    torch.testing.assert_close(batch.returns, returns)
    assert batch.advantages.abs().max() > 0.1
