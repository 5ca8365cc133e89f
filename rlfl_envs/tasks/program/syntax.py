"""The syntax of programs as an automaton: which characters keep a completion the beginning of a program.

A grammar is read by keeping all that may still have to be written: a state is a set of stacks of symbols.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rlfl_envs.episode import Prompt

__all__ = ["ProgramAutomaton"]

Symbols = tuple[str, ...]  # rules in angle brackets, and texts
State = tuple[str, frozenset[Symbols]]  # the parameters' names, and what may be left to write: first symbols first
_MAX_DEPTH = 3  # of blocks
_MAX_KEPT = 4_000  # states whose followers are kept: dozens each, which take some kB together
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "
_NAMES = "xyzstabvcnk"  # of variables: parameters, then those of loops
_SIGNS = ("+", "-", "*", "//", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in")
_CALLS = ("len", "sum", "max", "min", "abs", "sorted", "str", "list", "range", "f")

_EXPRESSIONS: Mapping[str, Sequence[Symbols]] = {
    "<expression>": [("<operand>", "<more>")],
    "<more>": [(), ("<sign>", "<operand>", "<more>"), (" if ", "<simple>", " else ", "<expression>")],
    "<simple>": [("<operand>", "<simple more>")],
    "<simple more>": [(), ("<sign>", "<operand>", "<simple more>")],
    "<sign>": [(f" {sign} ",) for sign in _SIGNS],
    "<operand>": [("<primary>",), ("-", "<primary>")],
    "<primary>": [
        ("<number>",),
        ("'", "<letters>", "'", "<after>"),
        ("<name>", "<after>"),
        ("<call>", "(", "<expression>", "<arguments>", "<after>"),
        ("(", "<expression>", ")", "<after>"),
        ("[", "<list>", "<after>"),
    ],
    "<number>": [("0",), *((digit, "<digits>") for digit in "123456789")],
    "<digits>": [(), *((digit, "<digits>") for digit in "0123456789")],
    "<letters>": [(), *((letter, "<letters>") for letter in _LETTERS)],
    "<call>": [(name,) for name in _CALLS],
    "<arguments>": [(")",), (", ", "<expression>", "<arguments>")],
    "<list>": [("]",), ("<expression>", "<items>")],
    "<items>": [("]",), (", ", "<expression>", "<more items>"), (" for ", "<item>", " in ", "<simple>", "<filter>")],
    "<more items>": [("]",), (", ", "<expression>", "<more items>")],
    "<item>": [("v",), ("c",)],
    "<filter>": [("]",), (" if ", "<simple>", "]")],
    "<after>": [
        (),
        ("[", "<index>", "<after>"),
        (".upper()", "<after>"),
        (".lower()", "<after>"),
        (".split()", "<after>"),
        (".count(", "<expression>", ")", "<after>"),
        (".index(", "<expression>", ")", "<after>"),
        (".join(", "<expression>", ")", "<after>"),
        (".replace(", "<expression>", ", ", "<expression>", ")", "<after>"),
    ],
    "<index>": [("<expression>", "<index end>"), (":", "<stop>")],
    "<index end>": [("]",), (":", "<stop>")],
    "<stop>": [("]",), ("<expression>", "<step>"), (":", "<expression>", "]")],
    "<step>": [("]",), (":", "<expression>", "]")],
}


def _blocks() -> dict[str, list[Symbols]]:
    """The rules of statements, by how deep they stand."""
    rules: dict[str, list[Symbols]] = {}
    for depth in range(1, _MAX_DEPTH + 1):
        line, inner = "\n" + "    " * depth, ("\n" + "    " * (depth + 1), f"<block {depth + 1}>")
        rules[f"<block {depth}>"] = [(f"<statement {depth}>", f"<lines {depth}>")]
        rules[f"<lines {depth}>"] = [(), (line, f"<statement {depth}>", f"<lines {depth}>")]
        rules[f"<statement {depth}>"] = [
            ("return ", "<expression>"),
            *(("<name>", f" {sign} ", "<expression>") for sign in ("=", "+=", "-=", "*=", "//=")),
        ]
        if depth < _MAX_DEPTH:
            rules[f"<else {depth}>"] = [(), (f"{line}else:", *inner), (f"{line}elif ", "<expression>", ":", *inner)]
            rules[f"<statement {depth}>"] += [
                ("if ", "<expression>", ":", *inner, f"<else {depth}>"),
                ("for ", "<item>", " in ", "<expression>", ":", *inner),
                ("while ", "<expression>", ":", *inner),
            ]
    return rules


class ProgramAutomaton:
    """Well-formed is an expression, or a block of statements, with one blank around operators and after commas.

    A state is the names of the parameters and a set of stacks: what may still have to be written.
    """

    alphabet = "".join(sorted({*_LETTERS, *"\n'()*+,-./:<=>[]%!_"} - {"_"}))

    def __init__(self, form: str) -> None:
        """Takes the task's form, "expression" or "function"."""
        self._start: Symbols = ("<expression>",) if form == "expression" else ("<block 1>",)
        self._rules: dict[str, Sequence[Symbols]] = {
            **_EXPRESSIONS,
            **_blocks(),
            "<name>": [(name,) for name in _NAMES],
        }
        self._costs = _fewest(self._rules)
        self._following: dict[State, dict[str, State]] = {}

    def start(self, prompt: Prompt) -> Hashable:
        """All is to be written."""
        return "".join(prompt.data.signature.scope), frozenset([self._start])

    def advance(self, state: Any, character: str) -> State | None:
        """What is left after one more character."""
        following = self._following.get(state)
        if following is None:
            if len(self._following) >= _MAX_KEPT:
                self._following.clear()
            following = self._following[state] = self._find(state)
        return following.get(character)

    def is_final(self, state: Any) -> bool:
        """Whether nothing has to be written."""
        return self.characters_left(state) == 0

    def characters_left(self, state: Any) -> int:
        """The least that has to be written."""
        cost = self._costs.__getitem__
        return min(sum(map(cost, stack)) for stack in state[1])

    def _find(self, state: State) -> dict[str, State]:
        names, stacks = state
        found: dict[str, set[Symbols]] = {}
        for first, *rest in self._openings(stacks, names):
            left = (first[1:], *rest) if len(first) > 1 else (*rest,)
            found.setdefault(first[0], set()).add(left)
        return {character: (names, frozenset(left)) for character, left in found.items()}

    def _openings(self, stacks: Iterable[Symbols], names: str) -> Iterator[Symbols]:
        """What may have to be written, with a text first."""
        waiting = [*stacks]
        while waiting:
            stack = waiting.pop()
            if not stack:
                continue
            top, rest = stack[0], stack[1:]
            if top == "<name>":
                yield from ((name, *rest) for name in _NAMES if name in names or name in _NAMES[7:])
            elif top in self._rules:
                waiting += [symbols + rest for symbols in self._rules[top]]
            else:
                yield stack


def _fewest(rules: Mapping[str, Sequence[Symbols]]) -> dict[str, int]:
    """The fewest characters that each rule takes, and what is left of each text once it is begun."""
    symbols = {symbol for options in rules.values() for stack in options for symbol in stack}
    texts = {text[start:] for text in symbols - rules.keys() for start in range(len(text))}
    costs = {text: len(text) for text in texts} | dict.fromkeys(rules, 1_000_000)
    while True:
        found = {name: min(sum(map(costs.__getitem__, stack)) for stack in options) for name, options in rules.items()}
        if found.items() <= costs.items():
            return costs
        costs |= found
