"""Whole derivations whose numbers grow from level to level, for docs/research/from-nothing.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rlfl_envs import register_task
from rlfl_envs.tasks.arithmetic.config import ArithmeticConfig
from rlfl_envs.tasks.arithmetic.task import Arithmetic


class GrowingConfig(ArithmeticConfig):
    """The arguments of Growing: those of Arithmetic."""

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Operands up to 1, up to 2, and so on; every level has five of them where they are below 10."""
        return [{"max_operand": largest} for largest in range(1, self.max_operand + 1)]


class Growing(Arithmetic):
    """Arithmetic with other levels."""

    Config: ClassVar[type[ArithmeticConfig]] = GrowingConfig


register_task("research/GrowingSteps-v0", Growing, work="required")
