"""What a vector environment says of episodes that ended, in Gymnasium's layout: a column and a mask for each key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import OutcomeArrays

__all__ = ["number_infos", "text_infos"]


def text_infos(
    num_envs: int, ended: NDArray[np.intp], outcome: OutcomeArrays, completions: list[str], reasons: Sequence[str]
) -> dict[str, Any]:
    """All keys of an ending, each with a bool [N] mask under `_key`.

    Args:
        num_envs: N.
        ended: int64 [n], which environments' episodes ended.
        outcome: What they earned, n of them.
        completions: What was written, n texts.
        reasons: Why they ended, n words.
    """
    parts: dict[str, Any] = {}
    for name, values in outcome.parts.items():
        parts[name], parts[f"_{name}"] = _spread(num_envs, ended, values), _present(num_envs, ended)
    infos = {
        "is_success": _spread(num_envs, ended, outcome.is_success),
        "reward_parts": parts,
        "completion": _spread(num_envs, ended, np.array(completions, dtype=object)),
        "finish_reason": _spread(num_envs, ended, np.array(reasons, dtype=object)),
        "status": _spread(num_envs, ended, outcome.status),
    }
    return infos | {f"_{key}": _present(num_envs, ended) for key in infos}


def number_infos(num_envs: int, ended: NDArray[np.intp], outcome: OutcomeArrays) -> dict[str, Any]:
    """The keys of an ending that are numbers, for recorders that take nothing else; reward parts are a column each."""
    parts = np.zeros((num_envs, len(outcome.parts)))
    parts[ended] = np.stack([*outcome.parts.values()], axis=1) if outcome.parts else 0.0
    infos = {"is_success": _spread(num_envs, ended, outcome.is_success), "reward_parts": parts}
    return infos | {f"_{key}": _present(num_envs, ended) for key in infos}


def _spread(num_envs: int, ended: NDArray[np.intp], values: NDArray[Any]) -> NDArray[Any]:
    is_text = values.dtype == object
    column = np.full(num_envs, None, dtype=object) if is_text else np.zeros(num_envs, dtype=values.dtype)
    column[ended] = values
    return column


def _present(num_envs: int, ended: NDArray[np.intp]) -> NDArray[np.bool_]:
    present = np.zeros(num_envs, dtype=np.bool_)
    present[ended] = True
    return present
