"""A reader of PDDL: the STRIPS part, with types, negative preconditions and equality.

It is our own because what it reads stands in prompts: order must be kept, and what is not known refused by name. The
library pddl keeps sets, in another order each time, and does not install beside lark 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rlfl_envs.errors import ConfigError

__all__ = ["Action", "Atom", "Domain", "Literal", "PDDLError", "Problem", "read_domain", "read_problem"]

Atom = tuple[str, ...]  # a predicate's name, then variables (with their question marks) or objects
Literal = tuple[bool, Atom]
_Tree = str | list["_Tree"]

_MOST = 1_000_000  # characters of a file
_DEEPEST = 50
_TOKEN = re.compile(r"[()]|[^\s()]+")
_COMMENT = re.compile(r";[^\n]*")
_KNOWN = {":strips", ":typing", ":negative-preconditions", ":equality"}
_UNKNOWN = {"and", "or", "not", "when", "forall", "exists", "imply", "increase", "oneof", "probabilistic"}
OBJECT = "object"  # the type of all objects


class PDDLError(ConfigError):
    """A text is not the PDDL that is known here; the message says where."""


class Action(NamedTuple):
    """What can be done.

    Attributes:
        name: Its name.
        parameters: Of each variable its name and type.
        needs: What must hold, "=" among the predicates.
        makes: What holds afterwards.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]
    needs: tuple[Literal, ...]
    makes: tuple[Literal, ...]


class Domain(NamedTuple):
    """What can be done in a world.

    Attributes:
        name: Its name.
        types: Of each type the one above it.
        constants: Objects of every problem, with their types.
        actions: In the text's order.
    """

    name: str
    types: Mapping[str, str]
    constants: Mapping[str, str]
    actions: tuple[Action, ...]

    def is_a(self, kind: str, other: str) -> bool:
        """Whether a type is another, or below it."""
        seen: set[str] = set()
        while kind != other and kind in self.types and kind not in seen:
            seen.add(kind)
            kind = self.types[kind]
        return kind == other or other == OBJECT


class Problem(NamedTuple):
    """Where one is, and where one should be.

    Attributes:
        domain: The domain's name.
        objects: With their types, in the text's order.
        init: What holds, in the text's order.
        goal: What should hold, or not.
    """

    domain: str
    objects: Mapping[str, str]
    init: tuple[Atom, ...]
    goal: tuple[Literal, ...]


def read_domain(text: str) -> Domain:
    """Reads a domain.

    Raises:
        PDDLError: The text is none, or has more than the STRIPS part.
    """
    name, sections = _definition(text, "domain")
    types: dict[str, str] = {}
    constants: dict[str, str] = {}
    actions = []
    for head, body in sections:
        if head == ":requirements":
            unknown = [word for word in body if not isinstance(word, str) or word not in _KNOWN]
            if unknown:
                raise PDDLError(f"the domain requires {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}.")
        elif head == ":types":
            types |= _typed(body)
        elif head == ":constants":
            constants |= _typed(body)
        elif head == ":action":
            actions.append(_action(body))
        elif head != ":predicates":
            raise PDDLError(f"the domain has a section {head!r}, which is not known here.")
    if not actions:
        raise PDDLError("the domain has no action.")
    names = [action.name for action in actions]
    if len(set(names)) < len(names):
        raise PDDLError(f"the domain has two actions of one name, among {', '.join(names)}.")
    return Domain(name, types, constants, tuple(actions))


def read_problem(text: str) -> Problem:
    """Reads a problem.

    Raises:
        PDDLError: The text is none, or has more than the STRIPS part.
    """
    _, sections = _definition(text, "problem")
    found = dict(sections)
    if not {":domain", ":init", ":goal"} <= found.keys() <= {":domain", ":requirements", ":objects", ":init", ":goal"}:
        raise PDDLError("a problem has the sections :domain, :objects, :init and :goal, and no other.")
    if len(found[":domain"]) != 1 or not isinstance(found[":domain"][0], str) or len(found[":goal"]) != 1:
        raise PDDLError("a problem has the name of one domain, and one goal.")
    init = dict.fromkeys(_atom(fact) for fact in found[":init"])
    return Problem(found[":domain"][0], _typed(found.get(":objects", [])), (*init,), _literals(found[":goal"][0]))


def _definition(text: str, kind: str) -> tuple[str, list[tuple[str, list[_Tree]]]]:
    """The name of a domain or problem, and its sections by their first words."""
    tree = _read(text)
    head = tree[1] if len(tree) > 1 else ""
    if tree[:1] != ["define"] or not (isinstance(head, list) and len(head) == 2 and head[0] == kind):
        raise PDDLError(f"the text is no '(define ({kind} NAME) ...)'.")
    sections = []
    for section in tree[2:]:
        if not (isinstance(section, list) and section and isinstance(section[0], str)):
            raise PDDLError(f"the {kind} has a section without a name.")
        sections.append((section[0], section[1:]))
    return str(head[1]), sections


def _read(text: str) -> list[_Tree]:
    """The one list that a text is, in lower case."""
    if len(text) > _MOST:
        raise PDDLError(f"the text has {len(text)} characters; allowed: {_MOST}.")
    stack: list[list[_Tree]] = [[]]
    for token in _TOKEN.findall(_COMMENT.sub("", text).lower()):
        if token == "(":
            stack.append([])
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) > 1:
            stack[-2].append(stack.pop())
        else:
            raise PDDLError("a bracket is closed that was not opened.")
        if len(stack) > _DEEPEST:
            raise PDDLError(f"brackets are deeper than {_DEEPEST}.")
    if len(stack) > 1 or len(stack[0]) != 1 or not isinstance(stack[0][0], list):
        raise PDDLError("the text is not one pair of brackets.")
    return stack[0][0]


def _typed(words: Sequence[_Tree]) -> dict[str, str]:
    """Reads `a b - block c`: what has no type is an object."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    rest = iter(words)
    for word in rest:
        if not isinstance(word, str):
            raise PDDLError("a list of names has brackets in it.")
        if word == "-":
            kind = next(rest, None)
            if not isinstance(kind, str):
                raise PDDLError("the type after '-' is missing, or is '(either ...)', which is not known here.")
            found |= dict.fromkeys(waiting, kind)
            waiting = []
        else:
            waiting.append(word)
    return found | dict.fromkeys(waiting, OBJECT)


def _action(body: Sequence[_Tree]) -> Action:
    name = body[0] if body else ""
    fields = dict(zip(map(str, body[1::2]), body[2::2], strict=False))
    if not isinstance(name, str) or not {":effect"} <= fields.keys() <= {":parameters", ":precondition", ":effect"}:
        raise PDDLError(f"the action {name!r} has not its :parameters, :precondition and :effect.")
    parameters = fields.get(":parameters", [])
    if not isinstance(parameters, list):
        raise PDDLError(f"the parameters of the action {name!r} are no list.")
    needs, makes = (_literals(fields.get(key, [])) for key in (":precondition", ":effect"))
    variables = _typed(parameters)
    for _, atom in (*needs, *makes):
        for word in atom[1:]:
            if word.startswith("?") and word not in variables:
                raise PDDLError(f"the action {name!r} has no parameter {word!r}.")
    return Action(name, (*variables.items(),), needs, makes)


def _literals(tree: _Tree) -> tuple[Literal, ...]:
    """Reads a conjunction of atoms, or of negated ones."""
    return (*_walk(tree),)


def _walk(tree: _Tree) -> Iterator[Literal]:
    if isinstance(tree, list) and tree[:1] == ["and"]:
        for part in tree[1:]:
            yield from _walk(part)
    elif isinstance(tree, list) and tree[:1] == ["not"] and len(tree) == 2:
        yield False, _atom(tree[1])
    elif tree != []:
        yield True, _atom(tree)


def _atom(tree: _Tree) -> Atom:
    words = tuple([word for word in tree if isinstance(word, str)])
    if words and words[0] in _UNKNOWN:
        raise PDDLError(f"{words[0]!r} is not known here.")
    if isinstance(tree, str) or not words or len(words) != len(tree):
        raise PDDLError("where an atom should stand is something else.")
    return words
