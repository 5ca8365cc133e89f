"""Which of the judged words a pattern matches, by RE2: in time linear in the words, and in bounded memory."""

from __future__ import annotations

import functools
import importlib.util
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.errors import MissingDependencyError, how_to_install
from rlfl_envs.tasks.regex.languages import LETTERS

__all__ = ["HIDDEN", "JUDGED", "check_installed", "matches"]

_MEMORY = 1 << 20  # bytes for a pattern's automata
_SHORT = ["".join(word) for length in range(9) for word in product(LETTERS, repeat=length)]


def _hidden(count: int = 128) -> list[str]:
    """Words of 9 to 16 letters: something repeated, most with something else before or after."""
    rng = np.random.default_rng(0)
    words: dict[str, None] = {}
    while len(words) < count:
        first, middle, last = ("".join(rng.choice([*LETTERS], size=rng.integers(low, 5))) for low in (0, 1, 0))
        word = first + middle * int(rng.integers(1, 17)) + last
        if 9 <= len(word) <= 16:
            words[word] = None
    return [*words]


HIDDEN = _hidden()
JUDGED = [*_SHORT, *HIDDEN]
"""All words of up to 8 letters, and the hidden ones."""


def check_installed() -> None:
    """Raises a MissingDependencyError where RE2 is not installed."""
    if importlib.util.find_spec("re2") is None:
        raise MissingDependencyError(f"rlfl/Regex-v0 needs the package google-re2: {how_to_install('regex')}")


@functools.lru_cache(maxsize=4096)
def matches(pattern: str) -> NDArray[np.bool_] | None:
    """Which of JUDGED a pattern matches from end to end, bool [W]; None where it takes too much memory."""
    import re2

    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _MEMORY, False, True
    try:
        match = re2.compile(pattern, options).fullmatch
    except re2.error:
        return None
    found = np.array([match(word) is not None for word in JUDGED])
    found.setflags(write=False)
    return found
