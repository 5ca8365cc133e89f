"""Which prompts a training run plays next: of which levels and kinds, and which of those that it missed lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlfl_agents.config import PPOConfig
from rlfl_agents.learn.curricula import Curriculum, FixedLevels, ProgressCurriculum, TargetCurriculum
from rlfl_envs import ConfigError, KindTask, Prompt, PromptError, Task, check_value

__all__ = ["Sampler"]

_CANDIDATES = 8
"""For kinds, so many prompts are drawn for each that is played: a rare kind comes up to so many times as often."""
_KEPT = 8
"""So many updates' prompts are remembered as missed, at most."""
_WHOLE = -1  # the level of a prompt that is of the whole task


class _Played(NamedTuple):
    """The prompts of an update.

    Attributes:
        texts: [n]. The first were missed before.
        levels: int64 [n], `_WHOLE` for the whole task.
        again: How many were missed before.
    """

    texts: list[str]
    levels: NDArray[np.int64]
    again: int


class Sampler:
    """Chooses the prompts of each update, and remembers how they went.

    What is random comes from the generator of the run. So every process chooses the same prompts, and plays its share.
    """

    def __init__(self, config: PPOConfig, task: Task) -> None:
        """Takes the settings and the task whose prompts are drawn.

        Raises:
            ConfigError: The task has no levels, or no kinds, and the settings ask for them.
        """
        self._task = task
        self._count = config.prompts
        self._redraw = config.redraw
        self._by_kind = config.sampler == "kinds"
        self._kinds = list(task.kinds) if isinstance(task, KindTask) else []
        if self._by_kind and not self._kinds:
            raise ConfigError(f"sampler='kinds' needs kinds of prompts, which {type(task).__name__} does not tell.")
        self._curriculum = _curriculum(config, task)
        self._missed: dict[str, None] = {}  # in the order in which they were missed
        self._played: _Played | None = None
        self._solved: dict[str, list[NDArray[np.float32]]] = {}  # the shares of each level and kind

    @property
    def chooses(self) -> bool:
        """Whether it chooses prompts at all; the environments draw their own where not."""
        return bool(self._by_kind or self._curriculum or self._redraw)

    def choose(self, generator: torch.Generator) -> list[str] | None:
        """The texts of the next update's prompts, [prompts]; None where the environments draw their own.

        Args:
            generator: A CPU generator in the same state on every process.
        """
        if not self.chooses:
            return None
        places = torch.randperm(len(self._missed), generator=generator)[: int(self._redraw * self._count)]
        missed = list(self._missed)
        again = [missed[place] for place in places.tolist()]
        fresh, levels = self._fresh(self._count - len(again), generator)
        levels = np.concatenate([np.full(len(again), _WHOLE), levels])
        self._played = _Played(again + [prompt.text for prompt in fresh], levels, len(again))
        return self._played.texts

    def _fresh(self, count: int, generator: torch.Generator) -> tuple[list[Prompt], NDArray[np.int64]]:
        """Draws prompts by level and kind, and says of which levels they are."""
        drawn = count * (_CANDIDATES if self._by_kind else 1)
        levels = np.full(drawn, _WHOLE)
        if self._curriculum is not None and drawn:
            weights = torch.tensor(self._curriculum.weights, dtype=torch.float64)
            levels = torch.multinomial(weights, drawn, replacement=True, generator=generator).numpy()
        keys = torch.randint(-(2**63), 2**63 - 1, (drawn,), generator=generator).numpy().view(np.uint64)
        prompts = self._task.prompts_at(keys, levels)
        chosen = np.arange(drawn)
        if self._by_kind:
            chosen = _evenly(self.kinds_of(prompts), count)
        return [prompts[row] for row in chosen.tolist()], levels[chosen]

    def kinds_of(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        """The kind of each prompt, int64 [n]; 0 where the task tells none."""
        return self._task.kinds_of(prompts) if isinstance(self._task, KindTask) else np.zeros(len(prompts), np.int64)

    def observe(self, solved: Tensor, kinds: Tensor, *, is_more: bool = False) -> None:
        """Learns how an update's prompts went.

        Args:
            solved: Float [n], the share of each prompt's completions that solved it.
            kinds: Int64 [n], the kind of each.
            is_more: Whether they were sampled besides others of the same update, to refill it.
        """
        if not is_more:
            self._solved = {}
        shares, places = solved.cpu().numpy(), kinds.cpu().numpy()
        again = 0
        if self._played is not None:
            again = self._played.again
            self._remember(self._played.texts, shares)
            levels = self._played.levels[again:]
            of_levels = [shares[again:][levels == level] for level in range(len(self._task.levels))]
            if self._curriculum is not None:
                self._curriculum.observe([_mean(found) for found in of_levels])
            for level, found in enumerate(of_levels):
                self._solved.setdefault(f"level/{level}", []).append(found)
        for kind, name in enumerate(self._kinds):
            self._solved.setdefault(f"kind/{name}", []).append(shares[again:][places[again:] == kind])

    def _remember(self, texts: Sequence[str], shares: NDArray[np.float32]) -> None:
        """Notes which prompts were missed, by half of their completions or more; the oldest are forgotten."""
        for text, share in zip(texts, shares.tolist(), strict=True):
            self._missed.pop(text, None)
            if share <= 0.5 and self._redraw:
                self._missed[text] = None
        for text in list(self._missed)[: -_KEPT * self._count]:
            del self._missed[text]

    def _can_be_played(self, text: str) -> bool:
        try:
            self._task.parse_prompt(text)
        except PromptError:
            return False
        return True

    @property
    def names(self) -> list[str]:
        """The names that `metrics` can have: "level/0" and so on, where levels are chosen; "kind/NAME"."""
        levels = len(self._task.levels) if self._curriculum is not None else 0
        return [*(f"level/{level}" for level in range(levels)), *(f"kind/{name}" for name in self._kinds)]

    @property
    def metrics(self) -> dict[str, float]:
        """The last update's success by level and by kind, of the prompts that were not drawn again."""
        means = {name: _mean(np.concatenate(shares)) for name, shares in self._solved.items()}
        return {name: mean for name, mean in means.items() if mean is not None}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"missed": list(self._missed), "curriculum": self._curriculum.state() if self._curriculum else []}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where `state_dict` was called.

        A task such as ReasoningGym reads only what its own process has drawn: what it cannot read is forgotten.
        """
        self._missed = {text: None for text in state["missed"] if self._can_be_played(text)}
        if self._curriculum is not None:
            self._curriculum.restore(state["curriculum"])


def _curriculum(config: PPOConfig, task: Task) -> Curriculum | None:
    """The rule that the settings name; None where the whole task is played."""
    levels, level = len(task.levels), task.config.level
    if config.sampler in ("target", "progress"):
        others = "'uniform' or 'kinds'" if isinstance(task, KindTask) else "'uniform'"
        reason = "this task has fewer than two levels" if level is None else f"level={level} plays one level alone"
        check_value("sampler", config.sampler, levels >= 2, f"{others}: {reason}")
        return ProgressCurriculum(levels) if config.sampler == "progress" else TargetCurriculum(levels, config.target)
    if not config.level_weights:
        return None
    reason = "this task has no levels" if level is None else f"level={level} plays one level alone"
    allowed = f"{levels} numbers of 0 or more, not all 0" if levels else f"(): {reason}"
    is_allowed = len(config.level_weights) == levels and min(config.level_weights) >= 0 < sum(config.level_weights)
    check_value("level_weights", config.level_weights, is_allowed, allowed)
    return FixedLevels(config.level_weights)


def _evenly(kinds: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Chooses so many rows that their kinds, int64 [n], are as even as they can be; the first ones of each kind."""
    rank = np.zeros(len(kinds), dtype=np.int64)  # among its kind
    for kind in np.unique(kinds).tolist():
        rank[kinds == kind] = np.arange((kinds == kind).sum())
    return np.sort(np.argsort(rank, kind="stable")[:count])


def _mean(shares: NDArray[np.float32]) -> float | None:
    return float(shares.mean()) if len(shares) else None
