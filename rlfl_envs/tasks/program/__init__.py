"""Programs by example."""

from rlfl_envs.tasks.program.config import ProgramConfig
from rlfl_envs.tasks.program.task import Program

__all__ = ["Program", "ProgramConfig"]
