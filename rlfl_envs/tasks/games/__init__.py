"""Game synthesis: one task, a folder for each language."""

from rlfl_envs.tasks.games.ludax.task import LudaxGame, LudaxGameConfig
from rlfl_envs.tasks.games.ludii.task import LudiiGame, LudiiGameConfig

__all__ = ["LudaxGame", "LudaxGameConfig", "LudiiGame", "LudiiGameConfig"]
