"""The way between the environments, on the CPU, and a policy that may be on another device.

A device works on while its host goes ahead, unless one of them has to wait: for a value that the host reads, or for a
copy from ordinary memory. So each token makes one copy there and one back, both through pinned memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rlfl_agents.model.policy import Decoding, Policy
from rlfl_agents.model.products import rounded_up
from rlfl_envs import TokenVectorEnv

__all__ = ["Link", "MaskTable", "Present", "alike"]

_FEWER = 0.75
"""Rows that have ended leave once no more than this share of those that are read still runs: leaving costs a copy."""


class Link:
    """One small copy to the device and one back for each token."""

    def __init__(self, rows: int, device: torch.device) -> None:
        """Takes B and where the policy is."""
        self._device = device
        self._pinned = device.type == "cuda"
        self._there = torch.empty(2, rows, dtype=torch.int64, pin_memory=self._pinned)
        self._back = torch.empty(rows, dtype=torch.int64, pin_memory=self._pinned)

    def send(self, numbers: np.ndarray, running: np.ndarray) -> tuple[Tensor, Tensor]:
        """Sends each row's number of a mask, integers [B], and whether it runs, bool [B]: int64 [B] and bool [B].

        What was sent before must have arrived: it has once anything was fetched that was computed from it.
        """
        self._there[0] = torch.from_numpy(numbers)
        self._there[1] = torch.from_numpy(running)
        sent = (
            self._there.clone()
            if self._device.type == "cpu"
            else self._there.to(self._device, non_blocking=self._pinned)
        )
        return sent[0], sent[1].bool()

    def fetch(self, tokens: Tensor) -> Callable[[], np.ndarray]:
        """Begins to fetch int64 [B]; the result waits for it, and returns it until the next is fetched."""
        self._back.copy_(tokens, non_blocking=self._pinned)
        if not self._pinned:
            return self._back.numpy
        arrived = torch.cuda.Event()
        arrived.record()

        def wait() -> np.ndarray:
            arrived.synchronize()
            return self._back.numpy()

        return wait


class MaskTable:
    """The different masks of a rollout on the policy's device: each is sent there once, and gets a number of its own.

    Attributes:
        table: Bool [R, V].
    """

    def __init__(self, envs: TokenVectorEnv, device: torch.device) -> None:
        """Begins with no mask."""
        self.table = torch.zeros(0, envs.tokenizer.vocab_size, dtype=torch.bool, device=device)
        self._envs = envs
        self._rows: list[Tensor] = []
        self._numbers: dict[int, int] = {}  # from the environment's number of a row to ours
        self._is_one = False

    def numbers(self) -> np.ndarray:
        """The numbers of this step's masks, int64 [B]; those not met before are sent first."""
        theirs, inverse = np.unique(self._envs.mask_rows, return_inverse=True)
        new = [number for number in theirs.tolist() if number not in self._numbers]
        if new:
            self._numbers |= {number: len(self._numbers) + i for i, number in enumerate(new)}
            rows = torch.from_numpy(self._envs.mask_table[new] != 0)
            self.table = torch.cat([self.table, rows.to(self.table.device)])
        self._is_one = len(theirs) == 1
        return np.array([self._numbers[number] for number in theirs.tolist()], dtype=np.int64)[inverse]

    def legal(self, numbers: Tensor) -> Tensor:
        """The masks of these numbers on the device, int64 [N]: bool [N, V], or [1, V] where all rows have the same."""
        return self.table[numbers[:1] if self._is_one else numbers]

    def keep(self, numbers: Tensor) -> None:
        """Notes the numbers of all rows at this step, int64 [B]."""
        self._rows.append(numbers.int())

    def rows(self) -> Tensor:
        """The numbers of all steps so far, int32 [B, T] or as far as they differ."""
        return alike(torch.stack(self._rows, dim=1))


def alike(rows: Tensor) -> Tensor:
    """Row numbers [B, T] without what repeats itself: [1, 1] where all are one number, [1, T] where columns are."""
    if bool((rows == rows[0]).all()):
        rows = rows[:1]
        if bool((rows == rows[:, :1]).all()):
            rows = rows[:, :1]
    return rows


class Present:
    """Which rows are still read: on a CPU, those that have ended leave the batch, but for a few (`rounded_up`)."""

    def __init__(self, rows: int, may_leave: bool) -> None:
        """Takes B, and whether rows may leave at all."""
        self._rows = rows
        self._may_leave = may_leave
        self._left: Tensor | None = None  # int64 [m]; None where all are there

    def leave(self, policy: Policy, state: Decoding, running: np.ndarray) -> None:
        """Goes on without most of those that do not run, bool [B], if that spares enough."""
        present = self._rows if self._left is None else len(self._left)
        count = rounded_up(int(running.sum()))
        if not self._may_leave or count > _FEWER * present:
            return
        before = torch.arange(self._rows) if self._left is None else self._left
        runs_first = torch.from_numpy(~running)[before].int().argsort(stable=True)
        stay = runs_first[:count].sort().values
        self._may_leave = policy.keep(state, stay)
        if self._may_leave:
            self._left = before[stay]

    def of(self, rows: Tensor) -> Tensor:
        """Those of [B, ...] that are there."""
        return rows if self._left is None else rows[self._left]

    def spread(self, rows: Tensor) -> Tensor:
        """[m, ...] of those that are there as [B, ...], with 0 for the others."""
        if self._left is None:
            return rows
        return rows.new_zeros(self._rows, *rows.shape[1:]).index_copy(0, self._left, rows)
