"""Documents: reading one within bounds, and which texts are prefixes of one."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Hashable
from typing import Any, NoReturn

from rlfl_envs.episode import Prompt

__all__ = ["DocumentAutomaton", "read", "written"]

_MOST_BRACKETS = 64
_MOST_DIGITS = 15  # integers of so many digits are the same in every language
_DEEPEST = 4  # what the mask writes
_LITERALS = ("true", "false", "null")


def written(value: Any) -> str:
    """The one way in which a value is written without spaces; it tells 1, 1.0 and true apart."""
    return json.dumps(value, separators=(",", ":"))


def read(text: str) -> Any | None:
    """Reads a JSON object; None for all else, and where it could be read in two ways or takes too much.

    Refused are a name that is there twice in an object, NaN and infinities, integers of more than 15 digits, more than
    64 brackets that open something, and what is no Unicode.
    """
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        return None
    try:
        document = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer, parse_float=_number
        )
        json.dumps(document, ensure_ascii=False).encode()
    except ValueError:  # which JSONDecodeError and UnicodeEncodeError are
        return None
    return document if isinstance(document, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _refuse("a name twice")


def _integer(text: str) -> int:
    return int(text) if len(text) <= _MOST_DIGITS else _refuse(text)


def _number(text: str) -> float:
    return number if len(text) <= 32 and math.isfinite(number := float(text)) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


class DocumentAutomaton:
    """JSON objects at most 4 deep, without spaces, fractions and escapes.

    A state is what is open, `{` or `[` each, what is expected, and what is left of a literal or how long a number is.
    """

    alphabet = "".join(sorted({*string.printable} - {*string.whitespace} | {" "}))

    def start(self, prompt: Prompt) -> Hashable:
        """Whatever the prompt."""
        return "", "object", ""

    def advance(self, state: Any, character: str) -> Hashable | None:
        """One character more."""
        stack, place, rest = state
        if place in ("text", "name"):
            if character == '"':
                return (stack, "end", "") if place == "text" else (stack, "colon", "")
            return state if character in self.alphabet and character != "\\" else None
        if place == "literal":
            if character != rest[0]:
                return None
            return (stack, "literal", rest[1:]) if rest[1:] else (stack, "end", "")
        if place == "number" and character.isdecimal() and character.isascii():
            is_full = rest.lstrip("-") == "0" or len(rest.lstrip("-")) == _MOST_DIGITS - 1
            return (
                None
                if is_full
                else (stack, "number", rest + ("0" if character == "0" and not rest.strip("-") else "1"))
            )
        if place in ("number", "end"):
            return self._after_value(stack, character) if rest != "-" else None
        if place in ("first name", "next name"):
            if character == '"':
                return stack, "name", ""
            return (stack[:-1], "end", "") if character == "}" and place == "first name" else None
        if place == "colon":
            return (stack, "value", "") if character == ":" else None
        if place == "first value" and character == "]":
            return stack[:-1], "end", ""
        return self._begin_value(stack, character, place == "object")

    def _begin_value(self, stack: str, character: str, is_root: bool) -> Hashable | None:
        if character in "{[" and len(stack) < _DEEPEST and (character == "{" or not is_root):
            return stack + character, "first name" if character == "{" else "first value", ""
        if is_root:
            return None
        if character == '"':
            return stack, "text", ""
        if character == "-":
            return stack, "number", "-"
        if character in string.digits:
            return stack, "number", "0" if character == "0" else "1"
        for literal in _LITERALS:
            if character == literal[0]:
                return stack, "literal", literal[1:]
        return None

    def _after_value(self, stack: str, character: str) -> Hashable | None:
        if stack and character == ",":
            return stack, "next name" if stack[-1] == "{" else "value", ""
        closes = stack and character == ("}" if stack[-1] == "{" else "]")
        return (stack[:-1], "end", "") if closes else None

    def is_final(self, state: Any) -> bool:
        """Whether the object is closed."""
        return bool(state[:2] == ("", "end"))

    def characters_left(self, state: Any) -> int:
        """What ends the value begun, with the shortest of names and values, then the closing brackets."""
        stack, place, rest = state
        ends = {"object": 2, "value": 1, "next name": 4, "name": 3, "colon": 2, "text": 1, "literal": len(rest)}
        return len(stack) + ends.get(place, int(place == "number" and rest == "-"))
