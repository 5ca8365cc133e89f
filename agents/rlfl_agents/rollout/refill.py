"""Other groups in place of those that teach nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlfl_agents.rollout.link import alike
from rlfl_agents.rollout.rollout import PER_ROW, PER_TOKEN, Rollout

__all__ = ["refilled"]


def refilled(rollout: Rollout, more: Rollout) -> Rollout:
    """Puts groups of a second rollout in place of the flat ones of the first, as far as it has any that are not flat.

    Both are of one policy and one shape. What is not in the result is the texts of the completions.
    """
    flat, useful = rollout.is_flat.nonzero()[:, 0], (~more.is_flat).nonzero()[:, 0]
    count = min(len(flat), len(useful))
    groups = torch.arange(len(rollout.prompts), device=rollout.prompts.device)
    groups[flat[:count]] = useful[:count] + len(rollout.prompts)
    return _joined(rollout, more).take(groups)


def _joined(first: Rollout, second: Rollout) -> Rollout:
    """The groups of both, [2 B/k], with zeros where one's completions are shorter than the other's."""
    length = max(first.completions.shape[1], second.completions.shape[1])

    def columns(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([pad(values, (0, length - values.shape[1])) for values in (one, other)])

    rows = columns(
        first.mask_rows.expand(first.completions.shape),
        second.mask_rows.expand(second.completions.shape) + len(first.mask_table),
    )
    changed: dict[str, Any] = {
        "prompts": torch.cat([first.prompts, second.prompts]),
        "mask_table": torch.cat([first.mask_table, second.mask_table]),
        "mask_rows": alike(rows),
        "parts": {name: torch.cat([part, second.parts[name]]) for name, part in first.parts.items()},
    }
    changed |= {name: columns(getattr(first, name), getattr(second, name)) for name in PER_TOKEN}
    changed |= {name: torch.cat([getattr(first, name), getattr(second, name)]) for name in PER_ROW}
    return replace(first, **changed)
