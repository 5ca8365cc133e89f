"""Verdicts on tokens, where the schema has a single value: which texts are prefixes of the one right document."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from rlfl_envs.episode import Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.tasks.json.documents import DocumentAutomaton

__all__ = ["OneDocument"]

_SPACES = " \t\n\r"
_MARKS = '{":}'


class State(NamedTuple):
    r"""Where in the document.

    Attributes:
        rest: What is still to be written, in the shortest form.
        place: "between" two tokens, where spaces may be; in a "text"; or in another "value", a number or a literal.
        escape: What is written of an escape, such as `\u00`; it stands for the first character of the rest.
    """

    rest: str
    place: str = "between"
    escape: str = ""


class OneDocument:
    r"""The prefixes of all texts that are read as the document a fact asks for.

    There may be spaces and line's ends between tokens, letters of texts may be written as `\u0061`, and 0 as -0.
    """

    alphabet = "".join(sorted({*DocumentAutomaton.alphabet, *_SPACES}))

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written.

        Raises:
            PromptError: The schema has more than one value, the fact is of a list or has a fraction or an escape.
        """
        ((path, value), *others) = prompt.data.facts
        is_alone = not others and len(path) == len(prompt.data.leaves) == 1
        is_plain = value[0] == '"' or value.isalpha() or value.removeprefix("-").isdecimal()
        if not is_alone or not is_plain or "\\" in value:
            raise PromptError(
                f"prompt={prompt.text!r} cannot be judged token by token; allowed: one value, and its fact."
            )
        return State(f'{{"{path[0]}":{value}}}')

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where the document does not go on so."""
        rest, place, escape = state
        if place == "text":
            return _in_text(rest, escape, character)
        if place == "between" and character in _SPACES:
            return State(rest)
        if place == "between" and character == "-" and rest == "0}":
            return State(rest, "value")
        if character != rest[:1]:
            return None
        if character == '"':
            return State(rest[1:], "text")
        return State(rest[1:], "between" if character in _MARKS or rest[1] == "}" else "value")

    def is_final(self, state: Any) -> bool:
        """Whether the document is closed."""
        return not state.rest

    def characters_left(self, state: Any) -> int:
        """The rest, and of an escape what is left of the shortest."""
        escape: str = state.escape
        shortest = len("\\/") if escape == "\\" and state.rest[0] == "/" else len("\\u0000")
        return len(state.rest) + (shortest - len(escape) - 1 if escape else 0)


def _in_text(rest: str, escape: str, character: str) -> State | None:
    """One more character of a text."""
    if not escape and character == rest[0]:
        return State(rest[1:], "between" if character == '"' else "text")
    if rest[0] == '"':
        return None
    begun = escape + (character.lower() if len(escape) >= 2 else character)
    for whole in (f"\\u{ord(rest[0]):04x}", "\\/" if rest[0] == "/" else ""):
        if begun == whole:
            return State(rest[1:], "text")
        if whole.startswith(begun):
            return State(rest, "text", begun)
    return None
