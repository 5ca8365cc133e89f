"""Instructions: which there are, reading them, and the automaton of those that fit together."""

from __future__ import annotations

import functools
import re
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from rlfl_envs.episode import Prompt

__all__ = ["LINES", "NUMBER", "MachineAutomaton", "read"]

_OPERATORS = ("add", "sub", "mul", "div_s", "rem_s", "and", "or", "xor", "shl", "shr_s")
_COMPARISONS = ("eq", "ne", "lt_s", "gt_s", "le_s", "ge_s")
_UNARY = ("clz", "ctz", "popcnt")
NUMBER = "i64.const "
"""What a number follows."""
# What instructions take from the stack and leave on it: L is an i64, I an i32.
_EFFECTS: Mapping[str, tuple[str, str]] = {
    **{f"i64.{name}": ("LL", "L") for name in _OPERATORS},
    **{f"i64.{name}": ("LL", "I") for name in _COMPARISONS},
    **{f"i64.{name}": ("L", "L") for name in _UNARY},
    "i64.eqz": ("L", "I"),
    "i32.wrap_i64": ("L", "I"),
    "i64.extend_i32_u": ("I", "L"),
    "select": ("LLI", "L"),
    "drop": ("*", ""),
}
_VARIABLES = "xyab"
_BY_VARIABLE = {"get": ("", "L"), "set": ("L", ""), "tee": ("L", "L")}
_BLOCKS = ("loop $l", "loop $m", "br_if $l", "br_if $m", "if (result i64)", "else", "end")
LINES = (
    *_EFFECTS,
    *(f"local.{name} ${variable}" for name in _BY_VARIABLE for variable in _VARIABLES),
    *_BLOCKS,
)
"""The instructions besides numbers."""

_MORE = ("i32.eqz", "i32.and", "i32.or", "i64.div_u", "i64.rem_u", "i64.shr_u", "i64.lt_u", "i64.gt_u", "return", "nop")
_LABELS = ("block $l", "block $m", "br $l", "br $m", "if")
_READ = frozenset([*LINES, *_MORE, *_LABELS])
_NUMBER = re.compile(rf"{re.escape(NUMBER)}-?[0-9]{{1,4}}")
_OPENING = ("loop", "block", "if")
_DEEPEST = 8


def read(text: str) -> str | None:
    """Reads a completion, an instruction a line; None where one is unknown, or blocks are more than 8 deep.

    What is returned is put together of instructions of ours and of short numbers.
    """
    depth, lines = 0, []
    for line in text.split("\n"):
        words = line.strip(" ")
        if words == "":
            continue
        if words not in _READ and not _NUMBER.fullmatch(words):
            return None
        depth += words.startswith(_OPENING) - (words == "end")
        if not 0 <= depth <= _DEEPEST:
            return None
        lines.append(words)
    return "\n".join(lines) if lines else None


# --- the automaton ---------------------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """A block that is open.

    Attributes:
        kind: "function", "loop", "then" or "else".
        stack: The types of what lies on the stack since it was opened.
    """

    kind: str
    stack: str = ""


class State(NamedTuple):
    """Where in a program.

    Attributes:
        variables: Those that there are.
        frames: The blocks that are open, the function first.
        begun: What is written of the next line.
    """

    variables: str
    frames: tuple[Frame, ...] = (Frame("function"),)
    begun: str = ""


_HIGHEST, _DEEP = 4, 3  # values that a block may hold, and blocks that may be open, so that states are few


class MachineAutomaton:
    """Programs whose instructions fit together: each finds what it takes, each block leaves what it should."""

    alphabet = "".join(sorted({*"".join(LINES), *NUMBER, *"0123456789-\n"}))

    def __init__(self, counts_instructions: bool) -> None:
        """Takes whether an instruction counts as one character, being one token."""
        self._counts_instructions = counts_instructions

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written."""
        return State(prompt.data.names + "ab")

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character more; None where no instruction that fits begins so."""
        begun, options = state.begun + character, _options(state.variables, state.frames)
        if character == "\n":
            line = NUMBER if _NUMBER.fullmatch(state.begun) else state.begun.rstrip(" ")
            return State(state.variables, options[line]) if line in options else None
        if begun.startswith(NUMBER):
            fits = NUMBER in options and (begun in (NUMBER, f"{NUMBER}-") or _NUMBER.fullmatch(begun) is not None)
        else:
            fits = any(line.startswith(begun) for line in options)
        return state._replace(begun=begun) if fits else None

    def is_final(self, state: Any) -> bool:
        """Whether all blocks are closed, and one value is left."""
        return bool(not state.begun and state.frames == (Frame("function", "L"),))

    def characters_left(self, state: Any) -> int:
        """The least that has to be written, if values are dropped and numbers put in their places."""
        if not state.begun:
            return self._ending(state.frames)
        options = _options(state.variables, state.frames)
        if state.begun.startswith(NUMBER):
            is_number = _NUMBER.fullmatch(state.begun) is not None
            return (1 if is_number else 2) + self._ending(options[NUMBER])
        return min(
            self._cost(line) - (0 if self._counts_instructions else len(state.begun)) + self._ending(following)
            for line, following in options.items()
            if line.startswith(state.begun)
        )

    def _cost(self, line: str) -> int:
        """Characters of a line with its end, or tokens; a number has one digit."""
        if line == NUMBER:
            return 3 if self._counts_instructions else len(NUMBER) + 2
        return 1 if self._counts_instructions else len(line) + 1

    def _ending(self, frames: tuple[Frame, ...]) -> int:
        """What it takes to close all blocks as they should be."""
        needed, left = 0, ""
        for kind, stack in reversed(frames):
            values = stack + left
            drops, number, end = self._cost("drop"), self._cost(NUMBER), self._cost("end")
            if kind == "loop":
                needed, left = needed + len(values) * drops + end, ""
                continue
            keeps = values.startswith("L")
            needed += (len(values) - keeps) * drops + (0 if keeps else number)
            needed += {"function": 0, "then": self._cost("else") + number + end, "else": end}[kind]
            left = "L"
        return needed


@functools.lru_cache(maxsize=4096)
def _options(variables: str, frames: tuple[Frame, ...]) -> Mapping[str, tuple[Frame, ...]]:
    """The lines that fit, NUMBER for any number, and which blocks are open after each."""
    *outer, (kind, stack) = frames
    found: dict[str, tuple[Frame, ...]] = {}

    def leave(line: str, takes: str, leaves: str) -> None:
        has = bool(stack) if takes == "*" else stack.endswith(takes)
        after = stack[: len(stack) - len(takes)] + leaves
        if has and len(after) <= _HIGHEST:
            found[line] = (*outer, Frame(kind, after))

    for line, (takes, leaves) in _EFFECTS.items():
        leave(line, takes, leaves)
    leave(NUMBER, "", "L")
    for name, (takes, leaves) in _BY_VARIABLE.items():
        for variable in variables:
            leave(f"local.{name} ${variable}", takes, leaves)
    loops = sum(frame.kind == "loop" for frame in frames)
    if kind == "loop":
        leave(f"br_if ${'lm'[loops - 1]}", "I", "")
        if stack == "":
            found["end"] = (*outer,)
    if len(frames) < _DEEP:
        if loops < 2:
            found[f"loop ${'lm'[loops]}"] = (*frames, Frame("loop"))
        if stack.endswith("I"):
            found["if (result i64)"] = (*outer, Frame(kind, stack[:-1]), Frame("then"))
    if kind == "then" and stack == "L":
        found["else"] = (*outer, Frame("else"))
    if kind == "else" and stack == "L" and len(outer[-1].stack) < _HIGHEST:
        found["end"] = (*outer[:-1], Frame(outer[-1].kind, outer[-1].stack + "L"))
    return found
