"""Successes of a policy's own, kept to be imitated."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlfl_agents.rollout.rollout import Rollout

__all__ = ["Examples", "Successes"]


class Examples(NamedTuple):
    """Prompts with completions that solved them.

    Attributes:
        prompts: Int64 [n, P].
        completions: Int64 [n, T], T the length of the longest.
        active: Bool [n, T].
    """

    prompts: Tensor
    completions: Tensor
    active: Tensor


class Successes:
    """The newest completion that solved each of the prompts solved last, where it was not solved by its whole group.

    What a whole group solves is known, and would crowd out what was found once. Every process keeps the same.
    """

    def __init__(self, room: int = 0, prompt_length: int = 0, completion_length: int = 0) -> None:
        """Takes how many prompts are remembered (with 0 nothing is kept), P and C."""
        self._room = room
        self._prompt_length, self._completion_length = prompt_length, completion_length
        self._kept: dict[bytes, Tensor] = {}  # by prompt, oldest first: prompt, completion and its length in one row

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def add(self, rollout: Rollout) -> None:
        """Keeps the successes of a rollout of all processes."""
        if not self._room:
            return
        k = rollout.group_size
        solved = rollout.is_success.view(-1, k)
        rows = (solved & (~solved.all(dim=1, keepdim=True) | (k == 1))).flatten().nonzero()[:, 0]
        missing = self._completion_length - rollout.completions.shape[1]
        lengths = rollout.active[rows].sum(dim=1, keepdim=True)
        parts = (rollout.prompts[rows // k], pad(rollout.completions[rows], (0, missing)), lengths)
        self._keep(torch.cat(parts, dim=1).cpu())

    def _keep(self, rows: Tensor) -> None:
        for row in rows:
            key = row[: self._prompt_length].numpy().tobytes()
            self._kept.pop(key, None)
            self._kept[key] = row.clone()  # a view would keep its whole rollout
        for key in list(self._kept)[: -self._room]:
            del self._kept[key]

    def draw(self, count: int, generator: torch.Generator, device: torch.device) -> Examples:
        """Draws so many different ones, or all where there are fewer."""
        kept = list(self._kept.values())
        places = torch.randperm(len(kept), generator=generator)[:count]
        rows = torch.stack([kept[place] for place in places.tolist()]).to(device)
        prompts, completions, lengths = rows.split([self._prompt_length, self._completion_length, 1], dim=1)
        length = int(lengths.max())
        active = torch.arange(length, device=device) < lengths
        return Examples(prompts, completions[:, :length], active)

    def state(self) -> Tensor:
        """What a checkpoint keeps: int64 [n, P + C + 1]."""
        width = self._prompt_length + self._completion_length + 1
        return torch.stack([*self._kept.values()]) if self._kept else torch.zeros(0, width, dtype=torch.int64)

    def restore(self, rows: Tensor) -> None:
        """Continues from `state()`."""
        self._kept = {}
        self._keep(rows)
