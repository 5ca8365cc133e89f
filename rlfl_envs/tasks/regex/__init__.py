"""Regex: from words that should match and words that should not to a pattern."""

from rlfl_envs.tasks.regex.task import Regex, RegexConfig

__all__ = ["Regex", "RegexConfig"]
