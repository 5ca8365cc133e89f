"""Where worlds and goals come from: built-in domains, files of PDDL, those of pddlgym."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rlfl_envs.errors import ConfigError, MissingDependencyError
from rlfl_envs.tasks.planning.domains import DOMAINS
from rlfl_envs.tasks.planning.pddl import read_domain, read_problem
from rlfl_envs.tasks.planning.worlds import TooLargeError, World

__all__ = ["Goal", "Loaded", "load", "worlds_of"]


class Goal(NamedTuple):
    """What is asked in a world.

    Attributes:
        wanted: The facts that must hold, as bits.
        unwanted: Those that must not.
    """

    wanted: int
    unwanted: int = 0


class Loaded(NamedTuple):
    """A domain's text, its worlds by name, and the goals in each."""

    text: str
    worlds: Mapping[str, World]
    goals: Mapping[str, Sequence[Goal]]


@cache
def load(domain: str, problems: str) -> Loaded:
    """Loads a domain.

    Raises:
        ConfigError: A file cannot be read, or there is no problem that can be.
        MissingDependencyError: pddlgym is not installed.
    """
    if domain in DOMAINS:
        return _built_in(domain)
    path, folder = Path(domain), Path(problems)
    if domain.startswith("pddlgym:"):
        spec = importlib.util.find_spec("pddlgym")
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependencyError(f"domain={domain!r} needs the package pddlgym: pip install pddlgym")
        folder = Path(spec.submodule_search_locations[0]) / "pddl" / domain.removeprefix("pddlgym:")
        path = folder.with_suffix(".pddl")
    texts = [_text(path), *map(_text, _files(folder))]
    read = read_domain(texts[0])
    worlds: dict[str, World] = {}
    goals: dict[str, list[Goal]] = {}
    for number, problem in enumerate(map(read_problem, texts[1:])):
        name = next((name for name, world in worlds.items() if world.has(problem)), str(number))
        try:
            worlds[name] = worlds.get(name) or World(read, problem)
        except TooLargeError:
            continue
        goals.setdefault(name, []).append(Goal(*worlds[name].goal(problem.goal)))
    if not worlds:
        raise ConfigError(f"problems={str(folder)!r} has no problem that is small enough; allowed: a folder with some.")
    shown = " ".join(re.sub(r";[^\n]*", "", texts[0]).lower().split())
    return Loaded(f"{shown}\n", worlds, goals)


def worlds_of(domain: str, problems: str) -> Mapping[str, World]:
    """A domain's worlds by name; raises as `load` does."""
    return load(domain, problems).worlds


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.pddl"))
    except OSError as error:
        raise ConfigError(f"problems={str(folder)!r} cannot be read ({error}); allowed: a folder of PDDL.") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"domain={str(path)!r} cannot be read ({error}); allowed: a file of PDDL.") from error


def _built_in(name: str) -> Loaded:
    builtin = DOMAINS[name]
    domain = read_domain(builtin.text)
    worlds, goals = {}, {}
    for size in range(builtin.sizes[0], builtin.sizes[1] + 1):
        objects, facts = builtin.start(size)
        problem = read_problem(
            f"(define (problem p) (:domain {name}) (:objects {objects}) (:init {facts}) (:goal (and)))"
        )
        world = worlds[str(size)] = World(domain, problem)
        asked = world.bits(atom for atom in world.facts if atom[0] in builtin.goals)
        held = dict.fromkeys(state & asked for state in world.states)
        goals[str(size)] = [Goal(facts) for facts in held if facts.bit_count() >= builtin.least(size)]
    return Loaded(builtin.text, worlds, goals)
