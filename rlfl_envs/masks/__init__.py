"""Which tokens may come next: a table of rows, and a number of a row for each state."""

from __future__ import annotations

from rlfl_envs.errors import ConfigError
from rlfl_envs.masks.automaton import SyntaxMask
from rlfl_envs.masks.base import MaskTable, OrdinaryTokenMask, TokenMask
from rlfl_envs.masks.batch import BatchMasks
from rlfl_envs.masks.grammar import GrammarMask, llguidance_vocabulary
from rlfl_envs.masks.verdicts import Verdicts
from rlfl_envs.protocols import Grammar
from rlfl_envs.task import Task

__all__ = [
    "BatchMasks",
    "GrammarMask",
    "MaskTable",
    "OrdinaryTokenMask",
    "SyntaxMask",
    "TokenMask",
    "Verdicts",
    "llguidance_vocabulary",
    "make_mask",
]


def make_mask(task: Task) -> TokenMask:
    """Builds the mask that the task's config asks for.

    Raises:
        ConfigError: mask="syntax" for a task without a syntax.
    """
    config = task.config
    if config.mask == "none":
        return OrdinaryTokenMask(task.tokenizer, config.min_completion_tokens)
    if task.syntax is None:
        raise ConfigError(f"mask={config.mask!r} is not allowed; allowed for {task.name}, which has no syntax: 'none'.")
    if isinstance(task.syntax, Grammar):
        return GrammarMask(task.syntax, task.tokenizer, config.min_completion_tokens)
    return SyntaxMask(task.syntax, task.tokenizer, task.max_completion_tokens, config.min_completion_tokens)
