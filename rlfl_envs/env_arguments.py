"""Checks of what environments are called with, in the same words for one environment and for many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.errors import ActionError, ArgumentError, ConfigError, suggest

__all__ = [
    "RENDER_MODES",
    "check_actions",
    "check_autoreset_mode",
    "check_candidates",
    "check_group_size",
    "check_options",
    "check_prompts",
    "check_render_mode",
    "check_reset_mask",
    "check_seed",
    "check_seeds",
]

RENDER_MODES = ["ansi", "human"]


def check_render_mode(render_mode: Any) -> None:
    """Raises for a render mode that is none of ours.

    An ArgumentError, because Stable-Baselines3 asks for "rgb_array" first, and goes without at a TypeError.
    """
    if not (render_mode is None or (isinstance(render_mode, str) and render_mode in RENDER_MODES)):
        raise ArgumentError(f"render_mode={render_mode!r} is not allowed; allowed: None, 'ansi' or 'human'.")


def check_autoreset_mode(mode: Any) -> AutoresetMode:
    """Returns Gymnasium's enum, given as itself or by its string.

    Raises:
        ConfigError: It is neither.
    """
    for known in AutoresetMode:
        if mode is known or (isinstance(mode, str) and mode in (known.value, known.name)):
            return known
    raise ConfigError(
        f"autoreset_mode={mode!r} is not allowed; allowed: {', '.join(repr(known.value) for known in AutoresetMode)}."
    )


def check_options(options: dict[str, Any] | None, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Returns the options of a reset, none for None.

    Raises:
        ConfigError: They are no dictionary, or one of them does not exist.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ArgumentError(f"options={options!r} is not allowed; allowed: None, or a dictionary.")
    for name in options:
        if name not in allowed:
            raise ConfigError(
                f"options={name!r} is not allowed.{suggest(str(name), allowed)} Allowed: {', '.join(allowed)}."
            )
    return options


def check_prompts(given: Any, num_envs: int) -> list[str]:
    """Returns given prompts as N texts: one for all, or one for each.

    Raises:
        ConfigError: They are neither.
    """
    texts = [given] * num_envs if isinstance(given, str) else given
    is_list = isinstance(texts, (list, tuple)) and len(texts) == num_envs and all(isinstance(t, str) for t in texts)
    check_value("prompt", given, is_list, f"a string, or a list of num_envs={num_envs} of them")
    return list(texts)


def check_seed(seed: Any, allowed: str = "None, or an integer, 0 or more") -> int | None:
    """Returns a seed as Python's int, or None where there is none.

    Args:
        seed: What was given.
        allowed: What the error calls allowed.

    Raises:
        ConfigError: It is no integer, or below 0.
    """
    if seed is None:
        return None
    check_value("seed", seed, is_integer(seed) and int(seed) >= 0, allowed)
    return int(seed)


def check_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Returns a seed for each environment, None where it keeps its own.

    Args:
        seed: s stands for s, s + 1, ...; a list, tuple or array has one for each environment.
        num_envs: N.

    Raises:
        ConfigError: It is something else.
    """
    allowed = f"None, an integer, 0 or more, or a list of num_envs={num_envs} of these"
    if isinstance(seed, np.ndarray):
        seed = seed.tolist()
    if isinstance(seed, (list, tuple)):
        check_value("seed", seed, len(seed) == num_envs, allowed)
        return [check_seed(each, allowed) for each in seed]
    first = check_seed(seed, allowed)
    return [None if first is None else first + i for i in range(num_envs)]


def check_group_size(size: Any, num_envs: int) -> int:
    """Returns how many environments share their prompts.

    Raises:
        ConfigError: It is no integer that divides N.
    """
    is_divisor = is_integer(size) and size >= 1 and num_envs % size == 0
    check_value("group_size", size, bool(is_divisor), f"a divisor of num_envs={num_envs}")
    return int(size)


def check_reset_mask(mask: Any, num_envs: int) -> NDArray[np.bool_]:
    """Returns which environments are reset, bool [N]: all for None.

    Raises:
        ConfigError: It is no bool array [N], or nothing in it is True.
    """
    if mask is None:
        return np.ones(num_envs, dtype=np.bool_)
    is_mask = isinstance(mask, np.ndarray) and mask.shape == (num_envs,) and mask.dtype == np.bool_ and mask.any()
    if not is_mask:
        allowed = f"a bool array of shape ({num_envs},) with a True in it"
        raise ArgumentError(f"reset_mask={mask!r} is not allowed; allowed: {allowed}.")
    chosen: NDArray[np.bool_] = mask.copy()
    return chosen


def check_actions(actions: Any, num_envs: int, vocab_size: int) -> NDArray[np.int64]:
    """Returns actions as int64 [N].

    Raises:
        ActionError: They are no integers of this shape, or one is not below V.
    """
    allowed = f"integers of shape ({num_envs},)"
    try:
        array = np.asarray(actions)
    except ValueError as error:  # rows of different lengths
        raise ActionError(f"actions={actions!r} is not allowed; allowed: {allowed}.") from error
    if array.shape != (num_envs,) or array.dtype.kind not in "iu":
        raise ActionError(f"actions of shape {array.shape} and type {array.dtype} are not allowed; allowed: {allowed}.")
    wrong = (array < 0) | (array >= vocab_size)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ActionError(f"actions[{i}]={array[i]} is not allowed; allowed: an integer 0..{vocab_size - 1}.")
    return array.astype(np.int64, copy=False)


def check_candidates(candidates: Any, shape: tuple[int, ...], vocab_size: int) -> NDArray[np.int64]:
    """Returns tokens to be judged as int64 [*shape, k].

    Raises:
        ActionError: They are no integers of this shape, or one is no token.
    """
    allowed = f"integers of shape ({', '.join([*map(str, shape), 'k'])})"
    try:
        array = np.asarray(candidates)
    except ValueError as error:  # rows of different lengths
        raise ActionError(f"candidates={candidates!r} is not allowed; allowed: {allowed}.") from error
    if array.ndim != len(shape) + 1 or array.shape[:-1] != shape or array.dtype.kind not in "iu":
        what = f"candidates of shape {array.shape} and type {array.dtype} are not allowed"
        raise ActionError(f"{what}; allowed: {allowed}.")
    if array.size and not 0 <= array.min() <= array.max() < vocab_size:
        raise ActionError(f"candidates has {array.min()}..{array.max()}; allowed: integers 0..{vocab_size - 1}.")
    return array.astype(np.int64, copy=False)
