"""Planning: from a STRIPS problem to a plan."""

from __future__ import annotations

from rlfl_envs.tasks.planning.config import PlanningConfig
from rlfl_envs.tasks.planning.task import Planning

__all__ = ["Planning", "PlanningConfig"]
