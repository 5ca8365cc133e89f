"""Numbers that change over a run: the learning rate, the entropy coefficients, the KL coefficient."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["Coefficient", "KLController", "scheduled"]

Shape = Literal["constant", "linear", "cosine"]


def scheduled(shape: Shape, progress: float, warmup: float = 0.0, final: float = 0.0) -> float:
    """The factor on a starting value.

    Args:
        shape: How it goes from 1 to `final` once warm: not at all, in a line, or along half a cosine.
        progress: The share of the run that is done, in [0, 1].
        warmup: The share of the run over which the factor rises from 0 to 1, in [0, 1).
        final: The factor at the end, for "linear" and "cosine".

    Returns:
        A factor in [0, 1] (above 1 only where `final` is).
    """
    if progress < warmup:
        return progress / warmup
    if shape == "constant":
        return 1.0
    rest = min(1.0, (progress - warmup) / (1 - warmup))
    falling = 1 - rest if shape == "linear" else 0.5 * (1 + math.cos(math.pi * rest))
    return final + (1 - final) * falling


class Coefficient:
    """The weight of an entropy term: constant, on a line to a final value, or steered to a target entropy.

    With a target the weight is a dual variable: log c grows by `rate * (target - measured)` after each update,
    within [1e-5, 10].
    """

    def __init__(
        self, initial: float, final: float | None = None, target: float | None = None, rate: float = 0.05
    ) -> None:
        """Takes the start value, and at most one of a final value (of the run's end) and a target entropy in nats."""
        self._initial = initial
        self._final = final
        self._target = target
        self._rate = rate
        self._log_dual = math.log(initial) if target is not None else 0.0

    def value(self, progress: float) -> float:
        """The weight when the share `progress` of the run is done."""
        if self._target is not None:
            return math.exp(self._log_dual)
        if self._final is None:
            return self._initial
        return self._initial + (self._final - self._initial) * progress

    def observe(self, entropy: float) -> None:
        """Learns what the entropy was in the last update, nats."""
        if self._target is not None:
            moved = self._log_dual + self._rate * (self._target - entropy)
            self._log_dual = min(math.log(10.0), max(math.log(1e-5), moved))

    def state(self) -> float:
        """The number that a checkpoint keeps."""
        return self._log_dual

    def restore(self, state: float) -> None:
        """Continues from `state()`."""
        self._log_dual = float(state)


class KLController:
    """The weight of the reference KL in the reward: fixed, or adapted so that `ref_kl` stays near a target.

    Source: Ziegler et al. 2019, arXiv 1909.08593, section 2.2; the horizon counts episodes, as in TRL.
    """

    def __init__(self, initial: float, target: float | None, horizon: int) -> None:
        """Takes the first weight; the target, nats per episode, or None to stay fixed; the horizon, episodes."""
        self.coef = initial
        self._target = target
        self._horizon = horizon

    def observe(self, ref_kl: float, episodes: int) -> None:
        """Learns the mean `ref_kl` of a rollout of so many episodes."""
        if self._target is not None:
            error = min(0.2, max(-0.2, ref_kl / self._target - 1))
            self.coef *= 1 + error * min(1.0, episodes / self._horizon)  # beyond that its sign would change
