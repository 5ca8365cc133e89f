"""Countdown: from numbers and a target to an expression."""

from __future__ import annotations

from rlfl_envs.tasks.countdown.config import CountdownConfig
from rlfl_envs.tasks.countdown.task import Countdown

__all__ = ["Countdown", "CountdownConfig"]
