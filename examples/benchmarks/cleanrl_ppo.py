"""PPO with action masks in one file, in the manner of CleanRL, on our native vector environment.

Nothing but PyTorch and Gymnasium: read it from top to bottom, copy it, change it. A step is one token; the observation
is the text so far, so the policy reads all of it anew at every step. It learns `rlfl/Copy-v0` in about a minute on one
core.

    python examples/benchmarks/cleanrl_ppo.py --env-id rlfl/Copy-v0 --env-kwargs '{"length": 6}'
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Categorical

import rlfl_envs  # registers the ids


@dataclass
class Args:
    """The settings; `--help` lists them."""

    env_id: str = "rlfl/Copy-v0"
    """Which environment to train on."""
    env_kwargs: str = "{}"
    """Its arguments, as JSON."""
    seed: int = 0
    """Seeds weights, prompts and sampling."""
    total_steps: int = 1_500_000
    """Tokens written over the whole run."""
    num_envs: int = 256
    """Episodes side by side."""
    num_steps: int = 16
    """Tokens that each of them writes between two updates."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Optimiser steps in a pass."""
    learning_rate: float = 1e-3
    """Adam's step size at the start; it goes to 0 on a line."""
    gamma: float = 1.0
    """Discount per token."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: float = 0.2
    """How far the ratio of new to old probability may move from 1."""
    entropy_coef: float = 0.01
    """Weight of the entropy bonus."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    stop_at_success: float = 1.0
    """Ends the run once so large a share of a rollout's episodes, sampled, is solved."""
    width: int = 256
    """Of the hidden layers."""
    eval_episodes: int = 1000
    """Held-out prompts that are answered greedily at the end."""
    quiet: bool = False
    """Prints nothing."""


def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    """A linear layer with orthogonal weights and no bias at the start."""
    linear = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(linear.weight, gain)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    """A policy and a value on the same body: one embedding per token, all columns side by side, two hidden layers."""

    def __init__(self, columns: int, vocab_size: int, width: int) -> None:
        """Takes P + C and V."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Embedding(vocab_size, 32),
            nn.Flatten(),
            layer(32 * columns, width),
            nn.ReLU(),
            layer(width, width),
            nn.ReLU(),
        )
        self.actor = layer(width, vocab_size, gain=0.01)
        self.critic = layer(width, 1, gain=1.0)

    def forward(self, observations: Tensor, masks: Tensor) -> tuple[Categorical, Tensor]:
        """Reads int64 [N, P + C] and bool [N, V] (True = legal); returns the distribution and float [N] values."""
        hidden = self.body(observations)
        # Finite, so that an illegal token adds 0 and not NaN to the entropy.
        logits = self.actor(hidden).masked_fill(~masks, -1e9)
        return Categorical(logits=logits), self.critic(hidden).squeeze(-1)


def generalised_advantages(
    rewards: Tensor, values: Tensor, ended: Tensor, last_values: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """GAE (Schulman et al. 2016, eq. 16), float [T, N]; nothing is carried over the end of an episode."""
    advantages = torch.zeros_like(rewards)
    running, next_values = torch.zeros_like(last_values), last_values
    for t in reversed(range(len(rewards))):
        goes_on = (~ended[t]).float()
        delta = rewards[t] + gamma * goes_on * next_values - values[t]
        running = delta + gamma * gae_lambda * goes_on * running
        advantages[t], next_values = running, values[t]
    return advantages


def make(args: Args, num_envs: int, **changes: str) -> rlfl_envs.TokenVectorEnv:
    """The native vector environment. An episode that ends in a step is followed by the next in that same step."""
    kwargs = json.loads(args.env_kwargs) | changes
    envs = gymnasium.make_vec(args.env_id, num_envs=num_envs, autoreset_mode="SameStep", **kwargs)
    assert isinstance(envs, rlfl_envs.TokenVectorEnv)
    return envs


@torch.no_grad()
def evaluate(agent: Agent, args: Args) -> float:
    """Answers held-out prompts greedily and returns the share that is solved."""
    envs = make(args, args.eval_episodes, split="test")
    observations, _ = envs.reset(seed=args.seed)
    solved = np.zeros(args.eval_episodes, dtype=bool)
    waiting = ~solved  # for the end of its first episode
    while waiting.any():
        dist, _ = agent(torch.from_numpy(observations), torch.from_numpy(envs.action_masks()))
        observations, _, ended, _, infos = envs.step(dist.logits.argmax(dim=1).numpy())
        first = ended & waiting
        if first.any():
            solved[first] = infos["final_info"]["is_success"][first]
        waiting &= ~ended
    return float(solved.mean())


def train(args: Args) -> float:
    """Trains an agent and returns its greedy success on held-out prompts."""
    torch.manual_seed(args.seed)
    envs = make(args, args.num_envs)
    steps, n = args.num_steps, args.num_envs
    assert isinstance(envs.single_observation_space, gymnasium.spaces.MultiDiscrete)
    assert isinstance(envs.single_action_space, gymnasium.spaces.Discrete)
    columns, vocab_size = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    agent = Agent(columns, vocab_size, args.width)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    observations = torch.zeros((steps, n, columns), dtype=torch.int64)
    masks = torch.zeros((steps, n, vocab_size), dtype=torch.bool)
    actions = torch.zeros((steps, n), dtype=torch.int64)
    log_probs, rewards, values = (torch.zeros((steps, n)) for _ in range(3))
    ended = torch.zeros((steps, n), dtype=torch.bool)

    started = time.perf_counter()
    observation = torch.from_numpy(envs.reset(seed=args.seed)[0])
    updates = max(args.total_steps // (steps * n), 1)
    for update in range(1, updates + 1):
        optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - (update - 1) / updates)

        # 1. Play.
        successes: list[float] = []
        for t in range(steps):
            observations[t], masks[t] = observation, torch.from_numpy(envs.action_masks())
            with torch.no_grad():
                dist, values[t] = agent(observations[t], masks[t])
                actions[t] = dist.sample()
                log_probs[t] = dist.log_prob(actions[t])
            after, reward, terminated, _, infos = envs.step(actions[t].numpy())
            observation = torch.from_numpy(after)
            rewards[t], ended[t] = torch.from_numpy(reward), torch.from_numpy(terminated)
            if terminated.any():
                successes += infos["final_info"]["is_success"][terminated].tolist()

        # 2. Compare with what was expected.
        with torch.no_grad():
            _, last_values = agent(observation, torch.from_numpy(envs.action_masks()))
        advantages = generalised_advantages(rewards, values, ended, last_values, args.gamma, args.gae_lambda)
        returns = advantages + values

        # 3. Learn.
        flat = [x.flatten(0, 1) for x in (observations, masks, actions, log_probs, advantages, returns)]
        for _ in range(args.epochs):
            for rows in torch.randperm(steps * n).chunk(args.minibatches):
                seen, legal, chosen, old_log_probs, advantage, target = (x[rows] for x in flat)
                dist, value = agent(seen, legal)
                ratio = (dist.log_prob(chosen) - old_log_probs).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip_range, 1 + args.clip_range)
                policy_loss = torch.max(-advantage * ratio, -advantage * clipped).mean()
                value_loss = 0.5 * (value - target).square().mean()
                entropy = dist.entropy().mean()
                loss = policy_loss + args.value_coef * value_loss - args.entropy_coef * entropy
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

        # 4. Report.
        success = float(np.mean(successes)) if successes else 0.0
        is_last = update == updates or success >= args.stop_at_success
        if not args.quiet and (is_last or update % 20 == 0):
            rate = update * steps * n / (time.perf_counter() - started)
            print(f"{update * steps * n:9,} steps  success {success:.3f}  entropy {entropy:.3f}  {rate:,.0f} steps/s")
        if is_last:
            break
    return evaluate(agent, args)


if __name__ == "__main__":
    torch.set_num_threads(1)  # at this size a second thread loses time
    arguments = tyro.cli(Args)
    print(f"Held-out success, greedy: {train(arguments):.3f}")
