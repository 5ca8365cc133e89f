"""Arithmetic: three ids, one grammar, one reward."""

from rlfl_envs.tasks.arithmetic.config import ArithmeticConfig
from rlfl_envs.tasks.arithmetic.task import Arithmetic

__all__ = ["Arithmetic", "ArithmeticConfig"]
