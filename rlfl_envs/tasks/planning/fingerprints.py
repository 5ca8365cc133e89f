"""What problems have in common that differ in names and order alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache

from rlfl_envs.tasks.planning.pddl import Atom

__all__ = ["fingerprint"]

_ROUNDS = 3
_MASK = 2**64 - 1


def fingerprint(groups: Sequence[tuple[str, Sequence[Atom]]], objects: Mapping[str, str]) -> int:
    """A hash, 64 bits, that does not depend on what objects are called, nor on the order of facts.

    Objects are told apart by their types and by the facts they stand in, and facts by their objects, three times over
    (colour refinement, after Weisfeiler and Leman 1968); a few problems that differ in more have the same one as well.

    Args:
        groups: Facts by what they are: what holds, what should hold.
        objects: With their types; other words in facts keep their names.
    """
    facts = [(_hash(f"{group} {atom[0]}"), atom[1:]) for group, atoms in groups for atom in atoms]
    colours = {name: _hash(f"type {kind}") for name, kind in objects.items()}
    for _ in range(_ROUNDS):
        seen = dict.fromkeys(colours, 0)
        for head, words in facts:
            whole = _joined(head, words, colours)
            for place, word in enumerate(words):
                if word in seen:
                    seen[word] = seen[word] + _mix(whole + place) & _MASK
        colours = {name: _mix(colour ^ _mix(seen[name])) for name, colour in colours.items()}
    return _mix(sum(_mix(_joined(head, words, colours)) for head, words in facts) & _MASK)


def _joined(head: int, words: Sequence[str], colours: Mapping[str, int]) -> int:
    for word in words:
        head = _mix(head ^ (colours[word] if word in colours else _hash(f"name {word}")))
    return head


def _mix(value: int) -> int:
    """Scrambles 64 bits (SplitMix64)."""
    value = value + 0x9E3779B97F4A7C15 & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


@cache
def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
