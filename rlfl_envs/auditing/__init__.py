"""Attacks on a reward: what is paid that should not be, and what a judge cannot take."""

from __future__ import annotations

from rlfl_envs.auditing.audit import audit, judge_attack
from rlfl_envs.auditing.hostile import hostile_texts, long_texts
from rlfl_envs.auditing.report import Audit, Finding

__all__ = ["Audit", "Finding", "audit", "hostile_texts", "judge_attack", "long_texts"]
