"""What was sampled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rlfl_agents.learn.advantages import are_equal
from rlfl_agents.model.masks import Masks

__all__ = ["PER_ROW", "PER_TOKEN", "Rollout", "Tried", "rows_of"]

PER_ROW = ("is_success", "is_first_try")
"""The fields of a rollout that are [B]."""

PER_TOKEN = ("completions", "active", "log_probs", "values", "rewards", "is_right", "wrong")
"""The fields of a rollout that are [B, T]."""


class Tried(NamedTuple):
    """All tokens that were drawn and judged, k at each state; 0 where not active.

    Attributes:
        tokens: Int64 [B, T, k].
        is_right: Bool [B, T, k], whether a success can follow.
        log_probs: Float32 [B, T, k], of these tokens.
        weights: Float32 [B, T, k], what each counts for as a draw of the policy (see `Candidates`).
    """

    tokens: Tensor
    is_right: Tensor
    log_probs: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Rollout:
    """B episodes of a frozen policy, in groups of k that share a prompt; T completion positions (the longest's).

    Attributes:
        prompts: Int64 [B/k, P], left-padded.
        completions: Int64 [B, T]; PAD after a row's end.
        active: Bool [B, T], True where the row's token was chosen (its EOS included).
        log_probs: Float32 [B, T], of the chosen tokens; 0 where not active.
        values: Float32 [B, T], of the states before each token; 0 without a value head.
        rewards: Float32 [B, T], from the environment.
        is_right: Bool [B, T], where a token was found that a success can follow; False where none was judged.
        wrong: Int64 [B, T], the first token drawn that none can follow, or `NONE_WRONG`; likewise.
        is_success: Bool [B].
        is_first_try: Bool [B], the successes that took no second try at any state: what would have been one without.
        mask_table: Bool [R, V], True = legal: the different masks that were met.
        mask_rows: Int32 [B, T], each position's row of the table; [1, T] where all episodes have the same, [1, 1] where
            all positions have.
        tried: All that was drawn, where that was to be kept.
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
    rewards: Tensor
    is_right: Tensor
    wrong: Tensor
    is_success: Tensor
    is_first_try: Tensor
    mask_table: Tensor
    mask_rows: Tensor
    tried: Tried | None = None
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

    @property
    def solved(self) -> Tensor:
        """Float32 [B/k], the share of each prompt's completions that are successes at the first try."""
        return self.is_first_try.float().view(len(self.prompts), -1).mean(dim=1)

    @property
    def is_flat(self) -> Tensor:
        """Bool [B/k], the groups whose completions all have the same return; none where k is 1."""
        return are_equal(self.episode_rewards, self.group_size) & (self.group_size > 1)

    @property
    def masks(self) -> Masks:
        """The table and its row numbers."""
        return Masks(self.mask_table, self.mask_rows)

    def after(self, before: Rollout) -> Rollout:
        """The same, with the seconds of another that was sampled before it, for the same update."""
        seconds = before.seconds_model + self.seconds_model, before.seconds_env + self.seconds_env
        return replace(self, seconds_model=seconds[0], seconds_env=seconds[1])

    def take(self, groups: Tensor) -> Rollout:
        """The part that belongs to these prompts, int64 [m] of 0..B/k-1, without texts."""
        rows = rows_of(groups, self.group_size)
        per_row = {name: getattr(self, name)[rows] for name in (*PER_TOKEN, *PER_ROW)}
        mask_rows = self.mask_rows if len(self.mask_rows) == 1 else self.mask_rows[rows]
        return replace(
            self,
            prompts=self.prompts[groups],
            mask_rows=mask_rows,
            tried=None if self.tried is None else Tried(*(each[rows] for each in self.tried)),
            parts={name: part[rows] for name, part in self.parts.items()},
            completion_texts=[],
            **per_row,
        )


def rows_of(groups: Tensor, group_size: int) -> Tensor:
    """The rows of these groups, int64 [m] to int64 [m * group_size]."""
    return (groups[:, None] * group_size + torch.arange(group_size, device=groups.device)).flatten()
