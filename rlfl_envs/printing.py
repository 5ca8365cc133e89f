"""Texts that a model wrote, as a terminal may be given them."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""Writes control characters, and all else that a terminal would obey or hide, as escapes; newlines stay.

    >>> print(printable("\x1b]52;c;aGk=\x07 and \u202e"))
    \x1b]52;c;aGk=\x07 and \u202e
    """
    return "".join(
        character if character.isprintable() or character == "\n" else character.encode("unicode_escape").decode()
        for character in text
    )
