"""The exceptions. Every message names the argument, the value it had and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "ActionError",
    "ArgumentError",
    "ConfigError",
    "MissingDependencyError",
    "PromptError",
    "RLFLError",
    "TokenizationError",
    "UnknownIdError",
    "how_to_install",
    "suggest",
]


class RLFLError(Exception):
    """Base class of every error that this library raises on purpose."""


class ConfigError(RLFLError, ValueError):
    """An argument has a name or a value that is not allowed."""


class ArgumentError(ConfigError, TypeError):
    """An argument's name is unknown, or its value is of no kind that is allowed, where Python raises a TypeError.

    It is one, too: some libraries find out at a TypeError what an environment takes.
    """


class UnknownIdError(RLFLError, LookupError):
    """No environment is registered under this id."""


class PromptError(RLFLError, ValueError):
    """A prompt's text is not one that the task could have drawn, or does not fit its budget."""


class TokenizationError(RLFLError, ValueError):
    """A text has characters that the vocabulary cannot write."""


class ActionError(RLFLError, ValueError, TypeError):
    """An action is not a token id of the vocabulary at all (a legal-looking but masked token never raises).

    A ValueError and a TypeError, since either may be what is wrong with it.
    """


class MissingDependencyError(RLFLError, ImportError):
    """An optional package is needed for what was asked; the message says which, and how to install it."""


def how_to_install(extra: str) -> str:
    """Returns the command that installs an extra's packages: from the clone that this is, else from the index.

    Args:
        extra: A name of `[project.optional-dependencies]`, such as "agent".
    """
    clone = Path(__file__).parents[1]
    if not (clone / "pyproject.toml").exists():
        return f'pip install "rlfl-envs[{extra}]"'
    return f'pip install -e "{"." if clone == Path.cwd() else clone}[{extra}]"'


def suggest(word: str, known: Iterable[str]) -> str:
    """Returns `` Did you mean 'x'?`` for the nearest known word, or an empty string where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
