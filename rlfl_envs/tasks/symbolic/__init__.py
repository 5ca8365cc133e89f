"""Symbolic: differentiate, integrate, solve and simplify."""

from __future__ import annotations

from rlfl_envs.tasks.symbolic.config import SymbolicConfig
from rlfl_envs.tasks.symbolic.task import Symbolic

__all__ = ["Symbolic", "SymbolicConfig"]
