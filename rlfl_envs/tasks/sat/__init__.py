"""Sat: from a formula to an assignment that satisfies it."""

from __future__ import annotations

from rlfl_envs.tasks.sat.config import SatConfig
from rlfl_envs.tasks.sat.task import Sat

__all__ = ["Sat", "SatConfig"]
