"""Proof: from premises and a goal to the steps between them."""

from __future__ import annotations

from rlfl_envs.tasks.proof.config import ProofConfig
from rlfl_envs.tasks.proof.task import Proof

__all__ = ["Proof", "ProofConfig"]
