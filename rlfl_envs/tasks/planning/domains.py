"""The built-in domains: four worlds in PDDL, and a problem of each size in them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

__all__ = ["DOMAINS", "Builtin"]


class Builtin(NamedTuple):
    """A domain and what is asked in it.

    Attributes:
        text: The domain, in PDDL.
        start: The objects and the facts of one state of a size's world; all its other states can be reached from it.
        goals: The predicates that goals are made of.
        least: How many of them a goal has at least, in a world of a size.
        sizes: The smallest and the largest size.
    """

    text: str
    start: Callable[[int], tuple[str, str]]
    goals: tuple[str, ...]
    least: Callable[[int], int]
    sizes: tuple[int, int]


def _names(count: int, first: str = "a") -> list[str]:
    return [chr(ord(first) + i) for i in range(count)]


def _facts(template: str, names: list[str]) -> str:
    return " ".join(template.format(name) for name in names)


_BLOCKS = """\
(define (domain blocks)
(:action pick-up :parameters (?x) :precondition (and (clear ?x) (table ?x) (empty))
:effect (and (holding ?x) (not (clear ?x)) (not (table ?x)) (not (empty))))
(:action put-down :parameters (?x) :precondition (holding ?x)
:effect (and (clear ?x) (table ?x) (empty) (not (holding ?x))))
(:action stack :parameters (?x ?y) :precondition (and (holding ?x) (clear ?y))
:effect (and (on ?x ?y) (clear ?x) (empty) (not (holding ?x)) (not (clear ?y))))
(:action unstack :parameters (?x ?y) :precondition (and (on ?x ?y) (clear ?x) (empty))
:effect (and (holding ?x) (clear ?y) (not (on ?x ?y)) (not (clear ?x)) (not (empty)))))
"""


def _blocks(size: int) -> tuple[str, str]:
    names = _names(size)
    return " ".join(names), f"{_facts('(table {0}) (clear {0})', names)} (empty)"


_GRIPPER = """\
(define (domain gripper)
(:types room ball hand)
(:action move :parameters (?x ?y - room) :precondition (robot ?x)
:effect (and (robot ?y) (not (robot ?x))))
(:action pick :parameters (?b - ball ?x - room ?h - hand) :precondition (and (at ?b ?x) (robot ?x) (free ?h))
:effect (and (carry ?b ?h) (not (at ?b ?x)) (not (free ?h))))
(:action drop :parameters (?b - ball ?x - room ?h - hand) :precondition (and (carry ?b ?h) (robot ?x))
:effect (and (at ?b ?x) (free ?h) (not (carry ?b ?h)))))
"""


def _gripper(size: int) -> tuple[str, str]:
    balls = _names(size)
    objects = f"x y - room {' '.join(balls)} - ball left right - hand"
    return objects, f"(robot x) (free left) (free right) {_facts('(at {0} x)', balls)}"


_LOGISTICS = """\
(define (domain logistics)
(:types place vehicle package - object truck plane - vehicle airport - place)
(:action drive :parameters (?t - truck ?x ?y - place) :precondition (and (parked ?t ?x) (road ?x ?y))
:effect (and (parked ?t ?y) (not (parked ?t ?x))))
(:action fly :parameters (?p - plane ?x ?y - airport) :precondition (parked ?p ?x)
:effect (and (parked ?p ?y) (not (parked ?p ?x))))
(:action load :parameters (?g - package ?v - vehicle ?x - place) :precondition (and (parked ?v ?x) (at ?g ?x))
:effect (and (in ?g ?v) (not (at ?g ?x))))
(:action unload :parameters (?g - package ?v - vehicle ?x - place) :precondition (and (parked ?v ?x) (in ?g ?v))
:effect (and (at ?g ?x) (not (in ?g ?v)))))
"""


def _logistics(size: int) -> tuple[str, str]:
    packages = _names(size)
    objects = f"w z - airport x y - place s t - truck p - plane {' '.join(packages)} - package"
    roads = "(road w x) (road x w) (road y z) (road z y)"
    return objects, f"{roads} (parked s w) (parked t z) (parked p w) {_facts('(at {0} w)', packages)}"


_LIGHTS = """\
(define (domain lights)
(:action go :parameters (?x ?y) :precondition (and (in ?x) (door ?x ?y) (lit ?y))
:effect (and (in ?y) (not (in ?x))))
(:action light :parameters (?x ?y) :precondition (and (in ?x) (door ?x ?y) (dark ?y))
:effect (and (lit ?y) (not (dark ?y))))
(:action darken :parameters (?x ?y) :precondition (and (in ?x) (door ?x ?y) (lit ?y))
:effect (and (dark ?y) (not (lit ?y)))))
"""


def _lights(size: int) -> tuple[str, str]:
    rooms = _names(size)
    doors = " ".join(f"(door {x} {y}) (door {y} {x})" for x, y in pairwise(rooms))
    return " ".join(rooms), f"(in a) (lit a) {_facts('(dark {0})', rooms[1:])} {doors}"


DOMAINS = {
    "blocks": Builtin(_BLOCKS, _blocks, ("on",), lambda _: 1, (3, 5)),
    "gripper": Builtin(_GRIPPER, _gripper, ("at",), lambda size: size, (1, 4)),
    "lights": Builtin(_LIGHTS, _lights, ("lit", "dark"), lambda size: size, (3, 7)),
    "logistics": Builtin(_LOGISTICS, _logistics, ("at",), lambda size: size, (1, 2)),
}
