"""ReasoningGym: the puzzles of the library reasoning-gym, and their scorers kept without rights."""

from __future__ import annotations

from rlfl_envs.tasks.reasoning_gym.config import ReasoningGymConfig
from rlfl_envs.tasks.reasoning_gym.task import ReasoningGym

__all__ = ["ReasoningGym", "ReasoningGymConfig"]
