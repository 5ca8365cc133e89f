"""Expressions in a typed subset of Python: drawn as trees, written as text, evaluated by closures.

An expression that is drawn is ours. It is never read back from text, and no text is ever evaluated here.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlfl_envs.dice import pick

__all__ = [
    "ERRORS",
    "RULES",
    "SUMS",
    "Expression",
    "Rejected",
    "Rules",
    "Scope",
    "Type",
    "draw",
    "leaf",
    "rules",
    "smaller",
]

Type = str  # "int", "bool", "str", "list[int]" or "list[str]"
Scope = Mapping[str, Type]  # the variables that may be read, by name

_MAX_NUMBER = 10_000  # of what is computed on the way
_MAX_SIZE = 60  # characters of a string, items of a list
_CONDITIONAL, _OR, _AND, _COMPARISON, _SUM, _PRODUCT, _SIGN, _ATOM = range(1, 9)  # how tightly an operator binds
_LETTERS = "abcde"


class Rejected(Exception):  # noqa: N818 (nothing is wrong: another program is drawn)
    """A program raises an exception on a case, or computes something too large."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to make an expression of others.

    Attributes:
        type: What it gives.
        text: How it is written, with a `{}` for each part.
        parts: The type and the least tightness of each part; a part of a looser operator is put in parentheses. A type
            "=..." is a constant: one of the texts after the sign, separated by blanks.
        apply: Computes it from its parts' values; for a comprehension, from the list and functions of an item.
        binds: How tightly it binds.
        item: The type of the variable `item_name(type)` that a comprehension's first parts see; its last part is the
            sequence.
    """

    type: Type
    text: str
    parts: tuple[tuple[Type, int], ...]
    apply: Callable[..., Any]
    binds: int = _ATOM
    item: Type | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A tree.

    Attributes:
        type: What it gives.
        text: It, in Python.
        binds: How tightly its outermost operator binds.
        run: Computes it from the variables by name. Raises Rejected, or what Python raises.
        rule: How it is made; None for a variable or a constant.
        parts: What it is made of.
        reads: The variables that it reads, but for a comprehension's own.
    """

    type: Type
    text: str
    binds: int
    run: Callable[[Mapping[str, Any]], Any]
    rule: Rule | None = None
    parts: tuple[Expression, ...] = ()
    reads: frozenset[str] = frozenset()


def item_name(type: Type) -> str:
    """The name of a comprehension's variable."""
    return "v" if type == "int" else "c"


# --- values ----------------------------------------------------------------------------------------------------------


def bounded(value: Any) -> Any:
    """The value, unless it is too large to go on with."""
    if abs(value) > _MAX_NUMBER if isinstance(value, int) else len(value) > _MAX_SIZE:
        raise Rejected
    return value


def _times(one: Any, other: Any) -> Any:
    """A product, once it is known that it is not too large to compute."""
    if not isinstance(one, int) and len(one) * other > _MAX_SIZE:
        raise Rejected
    return one * other


def _numbers(count: int) -> list[int]:
    return list(range(bounded(count) if count <= _MAX_SIZE else bounded(_MAX_NUMBER + 1)))


def _choose(value: Any, condition: bool, other: Any) -> Any:
    return value if condition else other


def _item(sequence: Any, position: int) -> Any:
    return sequence[position]


# --- rules -----------------------------------------------------------------------------------------------------------

_DIGIT, _FEW, _PLACE, _LETTER = "=2 3 4 5 6 7 8 9", "=2 3", "=0 1 -1", "=" + " ".join(map(repr, _LETTERS))
_CUT = "=1 2 -1"
_INT, _BOOL, _STR, _INTS, _STRS = "int", "bool", "str", "list[int]", "list[str]"


def _infix(type: Type, sign: str, binds: int, apply: Callable[..., Any], left: Type, right: Type) -> Rule:
    chains = binds == _COMPARISON  # `a < b < c` says something else
    return Rule(type, f"{{}} {sign} {{}}", ((left, binds + chains), (right, binds + 1)), apply, binds)


def _call(type: Type, text: str, apply: Callable[..., Any], *parts: Type) -> Rule:
    """A function's call, or a method's, whose object is the first part."""
    tight = 0 if text[0] != "{" else _ATOM
    return Rule(type, text, tuple((part, 0 if i else tight) for i, part in enumerate(parts)), apply)


_SEQUENCES = (_STR, _INTS, _STRS)
RULES: tuple[Rule, ...] = (
    _infix(_INT, "+", _SUM, operator.add, _INT, _INT),
    _infix(_INT, "-", _SUM, operator.sub, _INT, _INT),
    _infix(_INT, "*", _PRODUCT, operator.mul, _INT, _INT),
    _infix(_INT, "//", _PRODUCT, operator.floordiv, _INT, _DIGIT),
    _infix(_INT, "%", _PRODUCT, operator.mod, _INT, _DIGIT),
    Rule(_INT, "-{}", ((_INT, _ATOM),), operator.neg, _SIGN),
    _call(_INT, "abs({})", abs, _INT),
    _call(_INT, "max({}, {})", max, _INT, _INT),
    _call(_INT, "min({}, {})", min, _INT, _INT),
    *(_call(_INT, "len({})", len, type) for type in _SEQUENCES),
    _call(_INT, "sum({})", sum, _INTS),
    _call(_INT, "max({})", max, _INTS),
    _call(_INT, "min({})", min, _INTS),
    _call(_INT, "{}[{}]", _item, _INTS, _PLACE),
    _call(_INT, "{}.count({})", str.count, _STR, _LETTER),
    _infix(_BOOL, "<", _COMPARISON, operator.lt, _INT, _INT),
    _infix(_BOOL, ">", _COMPARISON, operator.gt, _INT, _INT),
    _infix(_BOOL, "==", _COMPARISON, operator.eq, _INT, _INT),
    _infix(_BOOL, "==", _COMPARISON, operator.eq, _STR, _LETTER),
    _infix(_BOOL, "<", _COMPARISON, operator.lt, _STR, _LETTER),
    _infix(_BOOL, "in", _COMPARISON, lambda item, text: item in text, _LETTER, _STR),
    _infix(_BOOL, "in", _COMPARISON, lambda item, items: item in items, _INT, _INTS),
    _infix(_BOOL, "and", _AND, lambda one, other: one and other, _BOOL, _BOOL),
    _infix(_BOOL, "or", _OR, lambda one, other: one or other, _BOOL, _BOOL),
    _infix(_STR, "+", _SUM, operator.add, _STR, _STR),
    _infix(_STR, "*", _PRODUCT, _times, _STR, _FEW),
    _call(_STR, "{}[::-1]", lambda text: text[::-1], _STR),
    _call(_STR, "{}[{}]", _item, _STR, _PLACE),
    _call(_STR, "{}[{}:]", lambda text, start: text[start:], _STR, _CUT),
    _call(_STR, "{}[:{}]", lambda text, end: text[:end], _STR, _CUT),
    _call(_STR, "{}.upper()", str.upper, _STR),
    _call(_STR, "{}.replace({}, {})", str.replace, _STR, _LETTER, _LETTER),
    _call(_STR, "str({})", str, _INT),
    _call(_STR, "''.join({})", "".join, _STRS),
    _infix(_INTS, "+", _SUM, operator.add, _INTS, _INTS),
    _call(_INTS, "{}[::-1]", lambda items: items[::-1], _INTS),
    _call(_INTS, "{}[{}:]", lambda items, start: items[start:], _INTS, _CUT),
    _call(_INTS, "{}[:{}]", lambda items, end: items[:end], _INTS, _CUT),
    _call(_INTS, "sorted({})", sorted, _INTS),
    _call(_INTS, "[{}]", lambda item: [item], _INT),
    _call(_INTS, "list(range({}))", _numbers, _INT),
    _call(_STRS, "list({})", list, _STR),
    _call(_STRS, "sorted({})", sorted, _STR),
    *(
        Rule(type, "{} if {} else {}", ((type, _OR), (_BOOL, _OR), (type, 0)), _choose, _CONDITIONAL)
        for type in (_INT, _STR, _INTS)
    ),
    *(
        Rule(
            f"list[{to}]",
            f"[{{}} for {item_name(item)} in {{}}]",
            ((to, 0), (sequence, _OR)),
            lambda each, items: [each(item) for item in items],
            item=item,
        )
        for to, item, sequence in ((_INT, _INT, _INTS), (_STR, _STR, _STR), (_INT, _STR, _STR), (_STR, _INT, _INTS))
    ),
    *(
        Rule(
            f"list[{item}]",
            f"[{item_name(item)} for {item_name(item)} in {{1}} if {{0}}]",
            ((_BOOL, _OR), (sequence, _OR)),
            lambda keeps, items: [item for item in items if keeps(item)],
            item=item,
        )
        for item, sequence in ((_INT, _INTS), (_STR, _STR))
    ),
)
_NUMBER = "=" + " ".join(map(str, range(1, 21)))
SUMS: tuple[Rule, ...] = (
    _infix(_INT, "+", _SUM, operator.add, _INT, _NUMBER),
    _infix(_INT, "-", _SUM, operator.sub, _INT, _NUMBER),
    _infix(_INT, "*", _PRODUCT, operator.mul, _INT, _NUMBER),
    _infix(_INT, "-", _SUM, operator.sub, _NUMBER, _INT),
)

# A function of several types, such as `len`, is a rule for each.
_BY_TEXT: Mapping[tuple[Type, str], Sequence[Rule]] = {
    (rule.type, rule.text): [other for other in RULES if (other.type, other.text) == (rule.type, rule.text)]
    for rule in RULES
}

# --- drawing ---------------------------------------------------------------------------------------------------------

Rules = Mapping[Type, Sequence[Sequence[Rule]]]  # by what they give, then by the size that they may have
# What `run` raises: our own limits; an empty list's item, and its maximum; a variable that is not yet assigned.
ERRORS = (Rejected, IndexError, ValueError, KeyError)
_LEAST: Mapping[Type, int] = {"bool": 3}  # the least size, where it is not 1: there are no constants True and False
_LARGEST = 12  # size that is drawn
_TRIES = 2  # how often parts are drawn until they read something
_VARIABLES = 0.75  # the share of variables among what is written without a rule
_CONSTANTS: Mapping[Type, Sequence[Any]] = {
    "int": range(1, 10),
    "str": [*_LETTERS, "ab"],
    "list[int]": [[i] for i in range(5)],
    "list[str]": [[letter] for letter in _LETTERS],
}
_SMALLEST: Mapping[Type, Sequence[Any]] = {"int": (0, 1), "str": ("",), "list[int]": ([],), "list[str]": ([],)}


def rules(allowed: Iterable[Rule] = RULES) -> Rules:
    """Rules by what they give, for each size up to the largest."""
    allowed = [*allowed]
    types = dict.fromkeys(rule.type for rule in RULES)
    return {
        type: [
            [rule for rule in allowed if rule.type == type and _needed(rule) <= size] for size in range(_LARGEST + 1)
        ]
        for type in types
    }


def draw(
    dice: random.Random,
    among: Rules,
    type: Type,
    size: int,
    scope: Scope,
    first: Callable[[Rule], bool] | None = None,
) -> Expression:
    """Draws an expression of a type, of about this size, 1..12; constants of a rule do not count.

    What is made by a rule reads a variable, and a comprehension does something to its own: nothing is a constant or a
    copy in disguise.

    Args:
        dice: What draws.
        among: The rules.
        type: Its type.
        size: Its size.
        scope: The variables.
        first: Which rules may make the whole of it; all by default.

    Raises:
        Rejected: Nothing comes up that reads a variable, for a condition.
    """
    if type[0] == "=":
        text = pick(dice, type[1:].split(" "))
        return constant(type, text[1:-1] if text[-1] == "'" else int(text))
    fitting = among[type][size] if first is None else [*filter(first, among[type][size])]
    if not fitting:
        return leaf(dice, type, scope)
    rule = pick(dice, fitting)
    open_parts = [i for i, (part, _) in enumerate(rule.parts) if part[0] != "="]
    sizes = {i: _LEAST.get(rule.parts[i][0], 1) for i in open_parts}
    for _ in range(size - _needed(rule)):
        sizes[pick(dice, open_parts)] += 1
    for _ in range(_TRIES):
        made = build(rule, _parts(dice, among, rule, sizes, scope))
        if made.reads and (rule.item is None or _does_something(made.parts[0], item_name(rule.item))):
            return made
    return leaf(dice, type, scope)


def _does_something(each: Expression, name: str) -> bool:
    return each.rule is not None and name in each.reads


def _parts(dice: random.Random, among: Rules, rule: Rule, sizes: Mapping[int, int], scope: Scope) -> list[Expression]:
    """Draws a rule's parts: those before a comprehension's sequence may read its variable."""
    within = scope if rule.item is None else {**scope, item_name(rule.item): rule.item}
    last = len(rule.parts) - 1
    return [
        draw(dice, among, part, sizes.get(i, 1), scope if i == last else within)
        for i, (part, _) in enumerate(rule.parts)
    ]


def _needed(rule: Rule) -> int:
    """The least size of what a rule makes."""
    return 1 + sum(_LEAST.get(part, 1) for part, _ in rule.parts if part[0] != "=")


def leaf(dice: random.Random, type: Type, scope: Scope) -> Expression:
    """Draws a variable of the scope, or a constant."""
    names = [name for name, its in scope.items() if its == type]
    if names and dice.random() < _VARIABLES:
        name = pick(dice, names)
        return variable(name, type)
    if type == "bool":
        raise Rejected
    return constant(type, pick(dice, _CONSTANTS[type]))


def variable(name: str, type: Type) -> Expression:
    """A variable as an expression."""
    return Expression(type, name, _ATOM, operator.itemgetter(name), reads=frozenset([name]))


def constant(type: Type, value: Any) -> Expression:
    """A value as an expression."""
    text = repr(value)
    return Expression(type, text, _SIGN if text[0] == "-" else _ATOM, lambda variables: value)


def build(rule: Rule, parts: Sequence[Expression]) -> Expression:
    """Makes an expression by a rule."""
    texts = [
        part.text if part.binds >= least else f"({part.text})"
        for part, (_, least) in zip(parts, rule.parts, strict=True)
    ]
    run = _strict(rule.apply, [part.run for part in parts])
    if rule.item is not None:
        run = _of_items(rule.apply, item_name(rule.item), *[part.run for part in parts])
    reads = frozenset().union(*[part.reads for part in parts])
    if rule.item is not None:
        reads = (parts[0].reads - {item_name(rule.item)}) | parts[-1].reads
    return Expression(rule.type, rule.text.format(*texts), rule.binds, run, rule, tuple(parts), reads)


def _strict(apply: Callable[..., Any], runs: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """All parts are computed first: what would fail in Python only under a condition is not drawn."""
    return lambda variables: bounded(apply(*[run(variables) for run in runs]))


def _of_items(apply: Callable[..., Any], name: str, each: Callable[..., Any], sequence: Any) -> Callable[..., Any]:
    return lambda variables: bounded(apply(lambda item: each({**variables, name: item}), sequence(variables)))


def smaller(tree: Expression) -> Iterator[Expression]:
    """Trees that say less: a part of it in its place, or in a part's; or the smallest constants there.

    Of a function of any sequence, also the same of what is inside its own: `len(s)` for `len(list(s))`.
    """
    if tree.rule is None:
        return
    for value in _SMALLEST.get(tree.type, ()):
        yield constant(tree.type, value)
    within = [tree.parts[-1]] if tree.rule.item is not None else [*tree.parts]  # where the same variables can be read
    alike = _BY_TEXT.get((tree.type, tree.rule.text), ()) if len(tree.parts) == 1 else ()
    while within:
        part = within.pop()
        if part.type == tree.type:
            yield part
        if part is not tree.parts[0]:
            yield from [build(rule, [part]) for rule in alike if rule.parts[0][0] == part.type]
        if part.rule is not None and part.rule.item is None:
            within += part.parts
        elif part.rule is not None:
            within.append(part.parts[-1])
    for i, part in enumerate(tree.parts):
        for less in smaller(part):
            yield build(tree.rule, [*tree.parts[:i], less, *tree.parts[i + 1 :]])
