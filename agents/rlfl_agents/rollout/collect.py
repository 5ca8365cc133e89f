"""One batch of episodes from a frozen policy: prompts in, completions, log-probabilities and rewards out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlfl_agents.model.policy import Policy
from rlfl_agents.rollout.link import Link, MaskTable, Present
from rlfl_agents.rollout.rollout import Rollout, Tried
from rlfl_agents.rollout.tries import NONE_WRONG, Candidates, Chosen, try_tokens
from rlfl_envs import TokenVectorEnv

__all__ = ["collect", "reference_log_probs"]


@torch.no_grad()
def collect(
    policy: Policy,
    envs: TokenVectorEnv,
    generator: torch.Generator,
    *,
    group_size: int = 1,
    temperature: float = 1.0,
    greedy: bool = False,
    tries: int | None = None,
    random_tries: int = 0,
    keep_tried: bool = False,
    seed: int | Sequence[int] | None = None,
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
        tries: How many tokens are drawn at each state and judged; the episode goes on with the first right one. The
            environments must end it where none is. None draws one and judges nothing.
        random_tries: How many of them are uniform over the legal tokens.
        keep_tried: Whether the rollout has all that was drawn.
        seed: Seeds the environments first, one number or one for each; None continues their streams.
        process: This process's index, and how many there are.
        prompts: B texts to play instead of drawn prompts; those of a group are the same.
    """
    device, clock = next(policy.parameters()).device, _Clock()
    rows, width, length = envs.num_envs, envs.prompt_length, envs.completion_length
    with policy.sampling() as policy:
        clock.model()  # a device makes its weights ready while the environments draw prompts
        observation, _ = envs.reset(seed=seed, options=_options(group_size, prompts))
        clock.env()
        shared = torch.as_tensor(observation[::group_size, :width]).to(device)
        state = policy.start(shared, rows, keep_cache=length > 1, room=length - 1)
        noise = _noise(length, rows, tries or 1, process, generator, device)
        written = _Written(rows, length, policy.pad_id, device, keep_tried)
        link = Link(rows, device)
        masks = MaskTable(envs, device)
        running = np.ones(rows, dtype=np.bool_)
        present = Present(rows, may_leave=device.type == "cpu" and tries is None)
        for t in range(length):
            present.leave(policy, state, running)
            numbers, live = link.send(masks.numbers(), running)
            masks.keep(numbers)
            legal = masks.legal(present.of(numbers))
            if tries is None:
                tokens, log_prob, value = policy.sample(state, present.of(noise[t, :, 0]), legal, temperature, greedy)
            else:
                candidates, chosen = try_tokens(policy, state, envs, noise[t], legal, temperature, random_tries)
                tokens, log_prob, value = chosen.tokens, chosen.log_probs, candidates.values
                written.judge(t, live, candidates, chosen)
            written.add(t, running, live, *(present.spread(each) for each in (tokens, log_prob, value)))
            fetched = link.fetch(written.completions[:, t])
            if device.type != "cpu" and t + 1 < length:
                policy.read_ahead(state)
            actions = fetched()
            clock.model()
            _, reward, terminated, truncated, infos = envs.step(actions)
            written.earn(reward)
            running &= ~(terminated | truncated)
            clock.env()
            if not running.any():
                break
    return Rollout(
        prompts=shared,
        **written.until(t + 1, infos),
        mask_table=masks.table,
        mask_rows=masks.rows(),
        **clock.seconds,
    )


def _options(group_size: int, prompts: list[str] | None) -> dict[str, Any]:
    """What the environments are asked for: all is judged at the end, and masks are read as a table."""
    options: dict[str, Any] = {"group_size": group_size} if prompts is None else {"prompt": prompts}
    return options | {"judge_together": True, "action_mask": False}


def _parts(parts: dict[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """Reward parts as float32 [B] each, without Gymnasium's masks of them."""
    numbers = {name: part.astype(np.float32) for name, part in parts.items() if name[0] != "_"}
    return {name: torch.as_tensor(part).to(device) for name, part in numbers.items()}


class _Written:
    """What each row has written, [B, T], as `Rollout` has it: nothing where a row is over."""

    def __init__(self, rows: int, length: int, pad_id: int, device: torch.device, keep_tried: bool) -> None:
        self._pad_id = pad_id
        self._active = np.zeros((rows, length), dtype=np.bool_)
        self._rewards = np.zeros((rows, length), dtype=np.float32)
        self.completions = torch.full((rows, length), pad_id, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(rows, length, device=device)
        self.values = torch.zeros(rows, length, device=device)
        self.is_right = torch.zeros(rows, length, dtype=torch.bool, device=device)
        self.wrong = torch.full((rows, length), NONE_WRONG, dtype=torch.int64, device=device)
        self.is_first_try = torch.ones(rows, dtype=torch.bool, device=device)  # whether so far
        self._keep_tried = keep_tried
        self._tried: Tried | None = None

    def add(self, t: int, running: np.ndarray, live: Tensor, tokens: Tensor, log_prob: Tensor, value: Tensor) -> None:
        self._active[:, t] = running
        self.completions[:, t] = torch.where(live, tokens, self._pad_id)
        self.log_probs[:, t], self.values[:, t] = log_prob * live, value * live

    def judge(self, t: int, live: Tensor, candidates: Candidates, chosen: Chosen) -> None:
        self.is_right[:, t] = chosen.right.any(dim=1) & live
        self.wrong[:, t] = torch.where(live, chosen.wrong, NONE_WRONG)
        self.is_first_try &= chosen.right[:, 0] | ~live
        if self._keep_tried:
            self._keep(t, live, candidates, chosen)

    def _keep(self, t: int, live: Tensor, candidates: Candidates, chosen: Chosen) -> None:
        drawn = Tried(candidates.tokens, chosen.right, candidates.log_probs, candidates.weights)
        if self._tried is None:
            self._tried = Tried(*(each.new_zeros(*self.completions.shape, each.shape[1]) for each in drawn))
        for written, now in zip(self._tried, drawn, strict=True):
            written[:, t] = torch.where(live[:, None], now, 0)

    def earn(self, reward: np.ndarray) -> None:
        # The last step judges all: what an episode earns that was over before belongs to its last token.
        self._rewards[np.arange(len(reward)), self._active.sum(axis=1) - 1] += reward

    def until(self, played: int, infos: dict[str, Any]) -> dict[str, Any]:
        """What was written in so many steps, of which the last one returned these infos."""
        device = self.completions.device
        is_success = torch.as_tensor(infos["is_success"]).to(device)
        names = ("completions", "log_probs", "values", "is_right", "wrong")
        return {name: getattr(self, name)[:, :played] for name in names} | {
            "tried": None if self._tried is None else Tried(*(each[:, :played] for each in self._tried)),
            "active": torch.as_tensor(self._active[:, :played]).to(device),
            "rewards": torch.as_tensor(self._rewards[:, :played]).to(device),
            "is_success": is_success,
            "is_first_try": is_success & self.is_first_try,
            "parts": _parts(infos["reward_parts"], device),
            "completion_texts": infos["completion"].tolist(),
        }


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
    with reference.whole() as whole, whole.model.disable_adapter() if whole.has_adapters else contextlib.nullcontext():
        for groups in torch.arange(len(rollout.prompts), device=rollout.prompts.device).chunk(parts):
            part = rollout.take(groups)
            summary, _ = whole(part.prompts, part.completions, part.masks, temperature, part.active)
            found.append(summary.log_probs)
    return torch.cat(found) * rollout.active


def _noise(
    length: int, rows: int, tries: int, process: tuple[int, int], generator: torch.Generator, device: torch.device
) -> Tensor:
    """Draws the noise of all processes' rows and returns this one's, [length, rows, tries].

    All at once, so that the generator moves on by the same amount everywhere, however early episodes end.
    """
    index, processes = process
    noise = torch.rand(length, rows * processes, tries, generator=generator, dtype=torch.float64)
    return noise[:, index * rows : (index + 1) * rows].to(device, torch.float32 if device.type == "mps" else None)


class _Clock:
    """Splits wall-clock time between the model and the environment."""

    def __init__(self) -> None:
        self.seconds: dict[str, Any] = {"seconds_model": 0.0, "seconds_env": 0.0}  # as `Rollout` has them
        self._last = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._last = now - self._last, now
        return lap

    def model(self) -> None:
        self.seconds["seconds_model"] += self._lap()

    def env(self) -> None:
        self.seconds["seconds_env"] += self._lap()
