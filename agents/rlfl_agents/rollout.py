"""One batch of episodes from a frozen policy: prompts in, completions, log-probabilities and rewards out."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlfl_agents.losses import gather_log_probs
from rlfl_agents.policy import Policy
from rlfl_envs import TokenVectorEnv, list_ids, load_task

__all__ = ["Rollout", "collect", "distinct", "gathered", "make_envs", "reference_log_probs"]


@dataclass
class Rollout:
    """B episodes in groups of k that share a prompt, T completion positions (the longest episode's).

    Attributes:
        prompts: Int64 [B/k, P], left-padded.
        completions: Int64 [B, T]; PAD after a row's end.
        active: Bool [B, T], True where the row's token was chosen (its EOS included).
        log_probs: Float32 [B, T], of the chosen tokens; 0 where not active.
        values: Float32 [B, T], of the states before each token; 0 without a value head.
        ref_log_probs: Float32 [B, T], under the frozen reference; equal to log_probs until `train` fills them in.
        rewards: Float32 [B, T], from the environment.
        is_success: Bool [B].
        masks: Bool, broadcasts to [B, T, V]: True = legal. One row where all rows have the same mask, one position
            where all have.
        advantages: Float32 [B, T]; 0 until `train` fills them in.
        returns: Float32 [B, T], what the values should have been; likewise.
        parts: Named reward parts, float32 [B] each.
        completion_texts: This process's own rows, [local B] strings.
        seconds_model: Wall-clock seconds spent choosing tokens.
        seconds_env: Wall-clock seconds spent in the environment.
    """

    prompts: Tensor
    completions: Tensor
    active: Tensor
    log_probs: Tensor
    values: Tensor
    ref_log_probs: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    is_success: Tensor
    masks: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    completion_texts: list[str] = field(default_factory=list)
    seconds_model: float = 0.0
    seconds_env: float = 0.0

    @property
    def group_size(self) -> int:
        """K."""
        return len(self.completions) // len(self.prompts)

    @property
    def episode_rewards(self) -> Tensor:
        """Float32 [B], each episode's undiscounted sum of rewards."""
        return self.rewards.sum(dim=1)

    def take(self, groups: Tensor) -> Rollout:
        """The part of the rollout that belongs to these prompts, int64 [m] of 0..B/k-1."""
        k = self.group_size
        rows = (groups[:, None] * k + torch.arange(k, device=groups.device)).flatten()
        per_row = {name: getattr(self, name)[rows] for name in (*_PER_TOKEN, "is_success")}
        masks = self.masks if len(self.masks) == 1 else self.masks[rows]
        return replace(self, prompts=self.prompts[groups], masks=masks, parts={}, completion_texts=[], **per_row)


_PER_TOKEN = ("completions", "active", "log_probs", "values", "ref_log_probs", "rewards", "advantages", "returns")


def make_envs(env_id: str, num_envs: int, **env_kwargs: Any) -> TokenVectorEnv:
    """Makes the vector environment that `collect` plays.

    Raises:
        UnknownIdError: No such id; the message suggests the nearest.
        ConfigError: An argument of the environment is wrong.
    """
    if env_id not in list_ids():
        load_task(env_id)  # raises, and says which id may have been meant
    envs = gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode="Disabled", **env_kwargs)
    return cast("TokenVectorEnv", envs)


@torch.no_grad()
def collect(
    policy: Policy,
    envs: TokenVectorEnv,
    generator: torch.Generator,
    *,
    group_size: int = 1,
    temperature: float = 1.0,
    greedy: bool = False,
    seed: int | None = None,
    process: tuple[int, int] = (0, 1),
    prompts: list[str] | None = None,
) -> Rollout:
    """Plays one episode in every environment, one token a step, with a cache of what was read.

    The noise of every row of the *global* batch is drawn from one generator and each process takes its rows' share,
    so that two processes sample what one would.

    Args:
        policy: The frozen policy.
        envs: A `TokenVectorEnv` of B environments made with `autoreset_mode="Disabled"`.
        generator: A CPU generator in the same state on every process.
        group_size: k completions of each prompt; divides B.
        temperature: Divides the logits, > 0.
        greedy: Take the likeliest token each time.
        seed: Seeds the environments first; None continues their streams.
        process: This process's index, and how many there are.
        prompts: B texts to play instead of drawn prompts.
    """
    device = next(policy.parameters()).device
    rows, width, length = envs.num_envs, envs.prompt_length, envs.completion_length
    index, processes = process
    clock = _Clock()
    options: dict[str, Any] = {"group_size": group_size} if prompts is None else {"prompt": prompts}
    observation, infos = envs.reset(seed=seed, options=options | {"judge_together": True})
    clock.env()
    shared = torch.as_tensor(observation[::group_size, :width]).to(device)
    state = policy.start(shared, rows, keep_cache=length > 1)
    # Drawn at once, so that the generator moves on by the same amount on every process, however early this one's
    # episodes end.
    noise = torch.rand(length, rows * processes, generator=generator, dtype=torch.float64)
    noise = noise[:, index * rows : (index + 1) * rows].to(device, torch.float32 if device.type == "mps" else None)
    completions = torch.full((rows, length), policy.pad_id, dtype=torch.int64, device=device)
    log_probs = torch.zeros(rows, length, device=device)
    values = torch.zeros(rows, length, device=device)
    active = np.zeros((rows, length), dtype=np.bool_)
    rewards = np.zeros((rows, length), dtype=np.float32)
    masks: list[np.ndarray] = []
    running = np.ones(rows, dtype=np.bool_)
    for t in range(length):
        masks.append(_mask_rows(infos["action_mask"]))
        legal = torch.as_tensor(masks[-1]).to(device)
        tokens, log_prob, value = policy.sample(state, noise[t], legal, temperature, greedy)
        live = torch.as_tensor(running).to(device)
        completions[:, t] = torch.where(live, tokens, policy.pad_id)
        log_probs[:, t], values[:, t] = log_prob * live, value * live
        active[:, t] = running
        actions = completions[:, t].cpu().numpy()
        clock.model()
        _, reward, terminated, truncated, infos = envs.step(actions)
        running &= ~(terminated | truncated)
        clock.env()
        if not running.any():
            break
    played = t + 1
    # The last step has judged all. A reward belongs to its row's last token.
    rewards[np.arange(rows), active.sum(axis=1) - 1] = reward
    parts = {name: part.astype(np.float32) for name, part in infos["reward_parts"].items() if name[0] != "_"}
    return Rollout(
        prompts=shared,
        completions=completions[:, :played],
        active=torch.as_tensor(active[:, :played]).to(device),
        log_probs=log_probs[:, :played],
        values=values[:, :played],
        ref_log_probs=log_probs[:, :played],
        rewards=torch.as_tensor(rewards[:, :played]).to(device),
        advantages=torch.zeros(rows, played, device=device),
        returns=torch.zeros(rows, played, device=device),
        is_success=torch.as_tensor(infos["is_success"]).to(device),
        masks=_stack_masks(masks).to(device),
        parts={name: torch.as_tensor(part).to(device) for name, part in parts.items()},
        completion_texts=infos["completion"].tolist(),
        seconds_model=clock.seconds_model,
        seconds_env=clock.seconds_env,
    )


@torch.no_grad()
def reference_log_probs(reference: Policy, rollout: Rollout, temperature: float, parts: int = 1) -> Tensor:
    """The chosen tokens' log-probabilities under a frozen reference.

    Args:
        reference: Another policy, or the same one where it has adapters: they are switched off.
        rollout: What was sampled.
        temperature: What it was sampled with.
        parts: Into how many pieces the rollout is cut, to save memory.

    Returns:
        Float32 [B, T]; 0 where not active.
    """
    found = []
    with reference.model.disable_adapter() if reference.has_adapters else contextlib.nullcontext():
        for groups in torch.arange(len(rollout.prompts), device=rollout.prompts.device).chunk(parts):
            part = rollout.take(groups)
            log_dist, _ = reference(part.prompts, part.completions, part.masks, temperature)
            found.append(gather_log_probs(log_dist, part.completions))
    return torch.cat(found) * rollout.active


def distinct(completions: Tensor, active: Tensor, n: int) -> float:
    """Distinct-n (Li et al. 2016, arXiv 1510.03055): the share of different n-grams among all of a batch's.

    It falls as the batch grows: compare batches of one size.

    Args:
        completions: Int64 [B, T].
        active: Bool [B, T], which tokens count.
        n: Tokens in a row.

    Returns:
        A share in (0, 1], or 0 where no completion has n tokens.
    """
    if completions.shape[1] < n:
        return 0.0
    grams = completions.unfold(1, n, 1)[active.unfold(1, n, 1).all(dim=2)]
    if not len(grams):
        return 0.0
    # Each different n-gram gets a number, token by token: `unique` over rows is a hundred times slower.
    numbers = grams[:, 0]
    for column in grams.T[1:]:
        numbers = (numbers * (completions.max() + 1) + column).unique(return_inverse=True)[1]
    return len(numbers.unique()) / len(grams)


def gathered(rollout: Rollout, accelerator: Accelerator) -> Rollout:
    """The rollout of all processes, in the order of their ranks, on every process."""
    if accelerator.num_processes == 1:
        return rollout
    shape = torch.tensor([[rollout.completions.shape[1], *rollout.masks.shape[:2]]], device=accelerator.device)
    length, mask_rows, mask_positions = (int(n) for n in accelerator.gather(shape).amax(dim=0))

    def widened(tensor: Tensor, size: int) -> Tensor:
        # Where this process stopped earlier: its last column again. Nothing there is active, so only the shape matters.
        missing = size - tensor.shape[1]
        return (
            torch.cat([tensor, tensor[:, -1:].expand(-1, missing, *tensor.shape[2:])], dim=1) if missing > 0 else tensor
        )

    whole: dict[str, Any] = {}
    for name in ("prompts", "is_success"):
        whole[name] = accelerator.gather(getattr(rollout, name))
    for name in _PER_TOKEN:
        column = getattr(rollout, name)
        blank = torch.zeros_like(column[:, :1]).expand(-1, length - column.shape[1])
        whole[name] = accelerator.gather(torch.cat([column, blank], dim=1))
    masks = rollout.masks
    if mask_positions > 1:
        masks = widened(masks, length)
    if mask_rows > 1:
        whole["masks"] = accelerator.gather(masks.expand(len(rollout.completions), -1, -1).contiguous())
    else:  # the same on every process, except that the longest rollout alone has seen its last positions
        longest = int(accelerator.gather(shape)[:, 0].argmax())
        whole["masks"] = accelerator.gather(masks.contiguous())[longest : longest + 1]
    whole["parts"] = {name: accelerator.gather(part) for name, part in rollout.parts.items()}
    return replace(rollout, **whole)


def _mask_rows(mask: np.ndarray) -> np.ndarray:
    """The rows of an action mask that differ: one where it is a broadcast view. Int8 [B, V] to bool [B or 1, V]."""
    return (mask[:1] if mask.strides[0] == 0 else mask).astype(np.bool_)


def _stack_masks(masks: list[np.ndarray]) -> Tensor:
    """T masks, [B or 1, V] each, to [B or 1, T or 1, V] without repeating what does not change."""
    if all(mask.shape == masks[0].shape and (mask is masks[0] or np.array_equal(mask, masks[0])) for mask in masks):
        return torch.as_tensor(masks[0])[:, None]
    rows = max(len(mask) for mask in masks)
    return torch.stack([torch.as_tensor(mask).expand(rows, -1) for mask in masks], dim=1)


class _Clock:
    """Splits wall-clock time between the model and the environment."""

    def __init__(self) -> None:
        self.seconds_model = 0.0
        self.seconds_env = 0.0
        self._last = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._last = now - self._last, now
        return lap

    def model(self) -> None:
        self.seconds_model += self._lap()

    def env(self) -> None:
        self.seconds_env += self._lap()
