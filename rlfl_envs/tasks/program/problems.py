"""Problems: a program that is drawn, cases that are shown and cases that are hidden.

A problem is a function of what its prompt shows: the types and the arguments of the shown cases are drawn first, and
their hash is what the program and the hidden cases are drawn by. So a prompt's text is enough to judge by.
"""

from __future__ import annotations

import functools
import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlfl_envs.dice import pick
from rlfl_envs.tasks.program.expressions import (
    ERRORS,
    RULES,
    SUMS,
    Rejected,
    Rule,
    Rules,
    Type,
    build,
    draw,
    rules,
)
from rlfl_envs.tasks.program.statements import Function, long_function, loop, of_expression, recursion

__all__ = [
    "FAMILIES",
    "FORMS",
    "MAX_LINE",
    "MAX_SIGNATURE",
    "Form",
    "Problem",
    "Signature",
    "draw_problem",
    "read_problem",
]

Arguments = tuple[Any, ...]
_NAMES: Mapping[Type, str] = {"int": "xyz", "str": "st", "list[int]": "ab"}  # of parameters, in their order
_TRIES = 30  # how often a program is drawn for given arguments
_PROBES = 16  # cases by which two functions are told apart
MAX_LINE = 54  # characters of a shown case
MAX_SIGNATURE = 42  # characters of `def f(a: list[int], x: int) -> list[int]:`, the longest
_MAX_CHARACTERS = 60  # of an expression; a function has four times as many at most
_MAX_RESULT = 12  # digits, characters or items of what a function returns


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of a function.

    Attributes:
        parameters: Their types.
        result: The type of what it returns.
    """

    parameters: tuple[Type, ...]
    result: Type

    @property
    def scope(self) -> dict[str, Type]:
        """The parameters' types by their names, which say of what type they are."""
        names = {type: iter(letters) for type, letters in _NAMES.items()}
        return {next(names[type]): type for type in self.parameters}

    def __str__(self) -> str:
        """As it is written before the body."""
        return f"def f({', '.join(f'{name}: {type}' for name, type in self.scope.items())}) -> {self.result}:"


@dataclass(frozen=True, slots=True)
class Form:
    """What a program looks like.

    Attributes:
        opening: What the prompt ends with, after the signature.
        families: The kinds of programs, from easy to hard.
        most: How many characters a reference has at most.
    """

    opening: str
    families: tuple[str, ...]
    most: int


@dataclass(frozen=True, slots=True)
class _Family:
    """A kind of programs: their types, the rules of their expressions if it is one, and how they are drawn."""

    signatures: tuple[Signature, ...]
    among: Rules
    draw: Callable[[random.Random, Rules, Signature], Function]


@dataclass(frozen=True, slots=True)
class Problem:
    """What a completion is judged by.

    Attributes:
        signature: The types.
        shown: Arguments and result of each case that the prompt shows.
        hidden: The same of the cases that it does not show.
        reference: The program that was drawn: what follows the prompt's opening.
        behaviour: What it does on fixed arguments; equal for programs that differ in how they are written.
        given: In how many of the hidden cases one constant, or a parameter as it is, is right.
    """

    signature: Signature
    shown: tuple[tuple[Arguments, Any], ...]
    hidden: tuple[tuple[Arguments, Any], ...]
    reference: str
    behaviour: str
    given: int

    def text(self, form: Form) -> str:
        """The prompt."""
        cases = [f"f({', '.join(map(repr, arguments))}) == {result!r}\n" for arguments, result in self.shown]
        return f"{''.join(cases)}{self.signature}{form.opening}"


# --- families --------------------------------------------------------------------------------------------------------


def _signatures(*texts: str) -> tuple[Signature, ...]:
    """Signatures written as "int int -> str", with "ints" and "strs" for lists."""
    words = {"int": "int", "str": "str", "ints": "list[int]", "strs": "list[str]"}
    split = [[[words[word] for word in side.split()] for side in text.split("->")] for text in texts]
    return tuple(Signature(tuple(parameters), result) for parameters, (result,) in split)


def _an_expression(
    *sizes: int, first: Callable[[Rule], bool] | None = None
) -> Callable[[random.Random, Rules, Signature], Function]:
    """Draws one expression of one of these sizes."""
    return lambda dice, among, signature: of_expression(
        draw(dice, among, signature.result, pick(dice, sizes), signature.scope, first)
    )


def _a_function(
    drawn: Callable[[random.Random, Type, Mapping[str, Type]], Function],
) -> Callable[[random.Random, Rules, Signature], Function]:
    return lambda dice, among, signature: drawn(dice, signature.result, signature.scope)


def _is_of_numbers(rule: Rule) -> bool:
    return {rule.type, *(type for type, _ in rule.parts if type[0] != "=")} == {"int"}


def _is_call(rule: Rule) -> bool:
    return rule.item is None and rule.type != "bool" and " if " not in rule.text


def _is_condition(rule: Rule) -> bool:
    return " if " in rule.text and rule.item is None


def _is_comprehension(rule: Rule) -> bool:
    return rule.item is not None


def _a_comprehension(dice: random.Random, among: Rules, signature: Signature) -> Function:
    """Draws a comprehension, and joins or counts it where no list is due."""
    wrap = None if signature.result.startswith("list") else pick(dice, _WRAPS[signature.result])
    type = signature.result if wrap is None else wrap.parts[0][0]
    inner = draw(dice, among, type, pick(dice, (3, 4, 5, 6)), signature.scope, _is_comprehension)
    if inner.rule is None:
        raise Rejected
    return of_expression(inner if wrap is None else build(wrap, [inner]))


def _is_plain(rule: Rule) -> bool:
    return rule.item is None


_WRAPS: Mapping[Type, Sequence[Rule]] = {
    type: [rule for rule in RULES if rule.type == type and [part[:4] for part, _ in rule.parts] == ["list"]]
    for type in ("int", "str")
}
_TEXTS = ("str -> str", "ints -> ints", "ints -> int", "str -> int")
_MORE = ("str str -> str", "str int -> str", "ints int -> ints", "ints int -> int", "str -> strs", "str int -> int")
FAMILIES: Mapping[str, _Family] = {
    "one_step": _Family(_signatures("int -> int"), rules(SUMS), _an_expression(2)),
    "arithmetic": _Family(
        _signatures("int -> int", "int int -> int"), rules(filter(_is_of_numbers, RULES)), _an_expression(4, 5, 6)
    ),
    # Half of what gives a number of a text is `len(s)`, so that these types are drawn half as often.
    "texts_and_lists": _Family(
        _signatures(*_TEXTS, *_TEXTS[:3]), rules(filter(_is_call, RULES)), _an_expression(2, 3, 4)
    ),
    "conditions": _Family(
        _signatures("int -> int", "int int -> int", *_TEXTS[:3], *_MORE[:4]),
        rules(filter(_is_plain, RULES)),
        _an_expression(6, 7, 8, first=_is_condition),
    ),
    "comprehensions": _Family(_signatures(*_TEXTS, *_MORE), rules(), _a_comprehension),
    "mixed": _Family(_signatures(*_TEXTS, *_MORE), rules(), _an_expression(8, 9, 10, 11)),
    "loops": _Family(_signatures("int -> int", *_TEXTS, *_MORE[1:4]), {}, _a_function(loop)),
    "recursion": _Family(_signatures("int -> int", *_TEXTS, *_MORE[1:4]), {}, _a_function(recursion)),
    "long": _Family(_signatures("int -> int", *_TEXTS, *_MORE[1:4]), {}, _a_function(long_function)),
}
FORMS: Mapping[str, Form] = {
    "expression": Form("\n    return ", tuple(FAMILIES)[:6], _MAX_CHARACTERS),
    "function": Form("\n    ", tuple(FAMILIES), 4 * _MAX_CHARACTERS),
}


# --- drawing ---------------------------------------------------------------------------------------------------------


def draw_problem(dice: random.Random, form: Form, family: str, shown: int, hidden: int) -> Problem | None:
    """Draws a problem of a family; None where nothing comes of these arguments."""
    signature = pick(dice, FAMILIES[family].signatures)
    cases = _distinct(dice, signature, shown)
    seed = _seed(signature, cases)
    if form.families[seed % len(form.families)] != family:
        return None
    return _problem(form, family, signature, cases, hidden, seed)


def read_problem(text: str, form: Form, shown: int, hidden: int) -> Problem | None:
    """The problem whose prompt this is; None where there is none."""
    found = _signature_of(text, form)
    if found is None:
        return None
    lines = text.split("\n")[: len(text.split("\n")) - 1 - form.opening.count("\n")]
    cases = [_read_case(line, found.parameters) for line in lines]
    if len(lines) != shown or None in cases:
        return None
    arguments = [case for case in cases if case is not None]
    seed = _seed(found, arguments)
    family = form.families[seed % len(form.families)]
    if found not in FAMILIES[family].signatures:
        return None
    problem = _problem(form, family, found, arguments, hidden, seed)
    return problem if problem is not None and problem.text(form) == text else None


def _signature_of(text: str, form: Form) -> Signature | None:
    for family in form.families:
        for signature in FAMILIES[family].signatures:
            if text.endswith(f"{signature}{form.opening}"):
                return signature
    return None


_VALUES: Mapping[Type, str] = {"int": r"-?\d{1,2}", "str": r"'[a-e]{1,5}'", "list[int]": r"\[-?\d(?:, -?\d){0,4}\]"}


def _read_case(line: str, types: Sequence[Type]) -> Arguments | None:
    """The arguments of a shown case."""
    match = re.fullmatch(rf"f\({', '.join(f'({_VALUES[type]})' for type in types)}\) == .*", line)
    return match and tuple(map(_read_value, match.groups(), types))


def _read_value(text: str, type: Type) -> Any:
    if type == "int":
        return int(text)
    return text[1:-1] if type == "str" else [int(item) for item in text[1:-1].split(", ")]


def _seed(signature: Signature, cases: Sequence[Arguments]) -> int:
    return int.from_bytes(hashlib.blake2b(repr((str(signature), cases)).encode(), digest_size=8).digest(), "little")


def _value(dice: random.Random, type: Type) -> Any:
    if type == "int":
        return int(dice.random() * 30) - 9
    length = 1 + int(dice.random() * 5)
    if type == "str":
        return "".join([pick(dice, "abcde") for _ in range(length)])
    return [int(dice.random() * 19) - 9 for _ in range(length)]


def _distinct(
    dice: random.Random, signature: Signature, count: int, others: Sequence[Arguments] = ()
) -> list[Arguments]:
    """So many cases' arguments, none twice, and none of the others."""
    found: list[Arguments] = []
    while len(found) < count:
        arguments = tuple([_value(dice, type) for type in signature.parameters])
        if arguments not in found and arguments not in others:
            found.append(arguments)
    return found


def _problem(
    form: Form, family: str, signature: Signature, shown: Sequence[Arguments], hidden: int, seed: int
) -> Problem | None:
    """Draws programs until one says something about these arguments and others."""
    dice, kind = random.Random(seed), FAMILIES[family]
    names, probes = [*signature.scope], _probes(signature)
    others = _distinct(dice, signature, hidden, shown)
    scopes = [dict(zip(names, case, strict=True)) for case in (*shown, *others)]
    for _ in range(_TRIES):
        try:
            program = kind.draw(dice, kind.among, signature)
        except Rejected:
            continue
        reference = _written(program, form)
        is_read = all(re.search(rf"\b{name}\b", reference) for name in names)
        if not is_read or len(reference) > form.most:
            continue
        results = _results(program, scopes)
        if results is None or 2 * _given(results, scopes) > len(results):
            continue
        given = _given(results[len(shown) :], scopes[len(shown) :])
        behaviour = _behaviour(program, probes)
        if 2 * given > hidden or not _is_minimal(program, scopes, results, probes, behaviour):
            continue
        cases = tuple(zip((*shown, *others), results, strict=True))
        key = hashlib.blake2b(repr((str(signature), behaviour)).encode(), digest_size=8).hexdigest()
        problem = Problem(signature, cases[: len(shown)], cases[len(shown) :], reference, key, given)
        is_narrow = all(len(line) <= MAX_LINE for line in problem.text(form).split("\n")[: len(shown)])
        return problem if is_narrow else None
    return None


def _written(program: Function, form: Form) -> str:
    return program.text().removeprefix("return " if form.opening.endswith("return ") else "")


def _results(program: Function, scopes: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    """What it returns; None where it fails, or returns what is too long to show."""
    try:
        results = [program.run(scope) for scope in scopes]
    except ERRORS:
        return None
    is_long = any(isinstance(result, str | list) and len(result) > _MAX_RESULT for result in results)
    return None if is_long else results


def _given(results: Sequence[Any], scopes: Sequence[Mapping[str, Any]]) -> int:
    """In how many cases one result, or a parameter as it is, is right at best."""
    commonest = max(Counter(map(repr, results)).values())
    by_name = [
        sum(bool(scope[name] == result) for scope, result in zip(scopes, results, strict=True)) for name in scopes[0]
    ]
    return max(commonest, *by_name)


@functools.cache
def _probes(signature: Signature) -> list[dict[str, Any]]:
    cases = _distinct(random.Random(0), signature, _PROBES)
    return [dict(zip(signature.scope, case, strict=True)) for case in cases]


def _behaviour(program: Function, probes: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for probe in probes:
        try:
            found.append(repr(program.run(probe)))
        except ERRORS:
            found.append("")
    return found


def _is_minimal(
    program: Function,
    scopes: Sequence[Mapping[str, Any]],
    results: Sequence[Any],
    probes: Sequence[Mapping[str, Any]],
    behaviour: Sequence[str],
) -> bool:
    """Whether every program that says less, such as one of its parts alone, does something else."""
    for other in program.less():
        try:
            is_same = all(other.run(scope) == result for scope, result in zip(scopes, results, strict=True))
        except ERRORS:
            continue
        if is_same and _behaviour(other, probes) == behaviour:
            return False
    return True
