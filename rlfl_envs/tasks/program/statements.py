"""Functions of several lines: statements around expressions, drawn as trees, written as text, run by closures."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlfl_envs.dice import pick
from rlfl_envs.tasks.program.expressions import (
    RULES,
    Expression,
    Rejected,
    Scope,
    Type,
    constant,
    draw,
    item_name,
    rules,
    smaller,
    variable,
)

__all__ = ["Function", "long_function", "loop", "of_expression", "recursion"]

_MAX_STEPS = 100  # of a loop, and of calls within each other
_TRIES = 30
_KEPT = 1024  # expressions that read the same variables: so many different ones are drawn, and drawn once
# Without comprehensions, choices and sorting, which a loop is there to do.
_AMONG = rules([rule for rule in RULES if rule.item is None and " if " not in rule.text and "sorted" not in rule.text])
_GOES_ON = object()  # what running a statement gives, unless it returns
Variables = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement.

    Attributes:
        lines: How it is written: a `{}` in the only line for each expression; a line "..." stands for a block.
        expressions: Its expressions.
        blocks: Its blocks.
        act: Runs it, given itself and the variables, which it may change.
    """

    lines: tuple[str, ...]
    expressions: tuple[Expression, ...]
    act: Callable[[Statement, Variables], Any]
    blocks: tuple[Block, ...] = ()

    def written(self) -> Iterator[str]:
        """Its lines."""
        expressions, blocks = iter(self.expressions), iter(self.blocks)
        for line in self.lines:
            if line == "...":
                yield from (f"    {inner}" for statement in next(blocks) for inner in statement.written())
            else:
                yield line.format(*[next(expressions).text for _ in range(line.count("{}"))])

    def less(self) -> Iterator[Statement]:
        """Statements that say less."""
        for i, expression in enumerate(self.expressions):
            for other in smaller(expression):
                changed = (*self.expressions[:i], other, *self.expressions[i + 1 :])
                yield Statement(self.lines, changed, self.act, self.blocks)
        for i, block in enumerate(self.blocks):
            for fewer in _less(block):
                if fewer:
                    blocks = (*self.blocks[:i], fewer, *self.blocks[i + 1 :])
                    yield Statement(self.lines, self.expressions, self.act, blocks)


Block = tuple[Statement, ...]


def _less(block: Block) -> Iterator[Block]:
    for i, statement in enumerate(block):
        yield block[:i] + block[i + 1 :]
        yield from (block[:i] + inner + block[i + 1 :] for inner in statement.blocks)
        yield from ((*block[:i], other, *block[i + 1 :]) for other in statement.less())


def _run(block: Block, variables: Variables) -> Any:
    for statement in block:
        value = statement.act(statement, variables)
        if value is not _GOES_ON:
            return value
    return _GOES_ON


@dataclass(frozen=True, slots=True)
class Function:
    """The body of a function `f`.

    Attributes:
        block: Its statements.
        call: Where it calls itself: the call as it is written, and its argument; None where it does not.
        parameter: The parameter that this argument is for.
    """

    block: Block
    call: tuple[str, Expression] | None = None
    parameter: str = ""

    def text(self) -> str:
        """It, as it is written after four blanks."""
        return "\n    ".join(line for statement in self.block for line in statement.written())

    def run(self, arguments: Mapping[str, Any]) -> Any:
        """What it returns. Raises Rejected, or what Python raises."""
        return self._called(arguments, 0)

    def _called(self, arguments: Mapping[str, Any], depth: int) -> Any:
        variables = dict(arguments)
        if self.call is not None:
            if depth > _MAX_STEPS:
                raise Rejected
            name, argument = self.call
            first, *rest = self.block  # where it ends
            value = first.act(first, variables)
            if value is not _GOES_ON:
                return value
            variables[name] = self._called({**variables, self.parameter: argument.run(variables)}, depth + 1)
            return _run(tuple(rest), variables)
        value = _run(self.block, variables)
        if value is _GOES_ON:
            raise Rejected
        return value

    def less(self) -> Iterator[Function]:
        """Functions that say less."""
        for block in _less(self.block):
            if len(block) == len(self.block) or self.call is None:
                yield Function(block, self.call, self.parameter)


# --- statements ------------------------------------------------------------------------------------------------------


def _returns(value: Expression) -> Statement:
    return Statement(("return {}",), (value,), lambda it, variables: it.expressions[0].run(variables))


def _assigns(name: str, value: Expression) -> Statement:
    def act(it: Statement, variables: Variables) -> Any:
        variables[name] = it.expressions[0].run(variables)
        return _GOES_ON

    return Statement((f"{name} = {{}}",), (value,), act)


def _if(condition: Expression, then: Block, otherwise: Block = ()) -> Statement:
    def act(it: Statement, variables: Variables) -> Any:
        holds = it.expressions[0].run(variables)
        return _run(it.blocks[0] if holds else it.blocks[1] if len(it.blocks) > 1 else (), variables)

    lines = ("if {}:", "...", *(("else:", "...") if otherwise else ()))
    return Statement(lines, (condition,), act, (then, otherwise) if otherwise else (then,))


def _for(name: str, sequence: Expression, block: Block) -> Statement:
    def act(it: Statement, variables: Variables) -> Any:
        for item in it.expressions[0].run(variables):
            variables[name] = item
            _run(it.blocks[0], variables)
        return _GOES_ON

    return Statement((f"for {name} in {{}}:", "..."), (sequence,), act, (block,))


def _while(condition: Expression, block: Block) -> Statement:
    def act(it: Statement, variables: Variables) -> Any:
        for _ in range(_MAX_STEPS):
            if not it.expressions[0].run(variables):
                return _GOES_ON
            _run(it.blocks[0], variables)
        raise Rejected

    return Statement(("while {}:", "..."), (condition,), act, (block,))


# --- drawing ---------------------------------------------------------------------------------------------------------

_ITEMS: Mapping[Type, Type] = {"list[int]": "int", "str": "str"}
_STARTS: Mapping[Type, Sequence[Any]] = {"int": (0, 1), "str": ("",), "list[int]": ([],), "list[str]": ([],)}


def of_expression(value: Expression) -> Function:
    """`return` and an expression."""
    return Function((_returns(value),))


def loop(dice: random.Random, result: Type, scope: Scope) -> Function:
    """One value is built up from the items of a sequence, of all or of some."""
    name, its, sequence = _sequence(dice, scope)
    inner = {**scope, name: its, "n": result}
    step: Block = (_assigns("n", _reading(dice, result, (3, 4, 5), inner, "n", name)),)
    if dice.random() < 0.5:
        step = (_if(_reading(dice, "bool", (3,), inner, name), step),)
    start = _assigns("n", constant(result, pick(dice, _STARTS[result])))
    last = _reading(dice, result, (1, 1, 3), {**scope, "n": result}, "n")
    return Function((start, _for(name, sequence, step), _returns(last)))


def recursion(dice: random.Random, result: Type, scope: Scope) -> Function:
    """It calls itself with a smaller number, or with the rest of a text or a list, until there is no more."""
    name = pick(dice, [*scope])
    kind = scope[name]
    if kind == "int":
        step = pick(dice, (1, 2, 3))
        stop = _fixed("bool", f"{name} < {step}", lambda variables: variables[name] < step)
        rest = _fixed(kind, f"{name} - {step}", lambda variables: variables[name] - step)
    else:
        stop = _fixed(
            "bool", f"{name} == {constant(kind, _STARTS[kind][0]).text}", lambda variables: not variables[name]
        )
        rest = _fixed(kind, f"{name}[1:]", lambda variables: variables[name][1:])
    call = f"f({', '.join(rest.text if other == name else other for other in scope)})"
    base = draw(dice, _AMONG, result, 1, {other: its for other, its in scope.items() if other != name or kind == "int"})
    value = _reading(dice, result, (3, 4, 5), {**scope, call: result}, call, name)
    return Function((_if(stop, (_returns(base),)), _returns(value)), (call, rest), name)


def long_function(dice: random.Random, result: Type, scope: Scope) -> Function:
    """Ten lines: two values are built up in a loop, one of them is then brought down, and both are used."""
    name, its, sequence = _sequence(dice, scope)
    inner = {**scope, name: its, "n": result, "k": "int"}
    steps = [
        _assigns("n", _reading(dice, result, (3, 4), inner, "n", name)),
        _assigns("k", _reading(dice, "int", (3,), inner, "k")),
    ]
    first, second = steps if dice.random() < 0.5 else steps[::-1]
    choice = _if(_reading(dice, "bool", (3,), inner, name), (first,), (second,))
    bound, less = pick(dice, range(2, 10)), pick(dice, (2, 3))
    high = _fixed("bool", f"k > {bound}", lambda variables: variables["k"] > bound)
    lower = pick(
        dice,
        (
            _fixed("int", f"k - {less}", lambda variables: variables["k"] - less),
            _fixed("int", f"k // {less}", lambda variables: variables["k"] // less),
        ),
    )
    starts = [
        _assigns("n", constant(result, pick(dice, _STARTS[result]))),
        _assigns("k", draw(dice, _AMONG, "int", pick(dice, (1, 2, 3)), scope)),
    ]
    last = _reading(dice, result, (3, 4), {"n": result, "k": "int"}, "n", "k")
    return Function((*starts, _for(name, sequence, (choice,)), _while(high, (_assigns("k", lower),)), _returns(last)))


def _fixed(type: Type, text: str, run: Callable[[Mapping[str, Any]], Any]) -> Expression:
    """An expression without parts, which nothing is smaller than."""
    return Expression(type, text, 0, run)


def _reading(dice: random.Random, type: Type, sizes: tuple[int, ...], scope: Scope, *names: str) -> Expression:
    """Draws an expression that reads these variables; Rejected where none comes up."""
    found = _kept(int(dice.random() * _KEPT), type, sizes, tuple(scope.items()), names)
    if found is None:
        raise Rejected
    return found


@functools.lru_cache(maxsize=2**18)
def _kept(
    number: int, type: Type, sizes: tuple[int, ...], scope: tuple[tuple[str, Type], ...], names: tuple[str, ...]
) -> Expression | None:
    """The expression of a number; it takes a dozen draws until one reads all variables, and None where none does."""
    dice, known = random.Random(repr((number, type, sizes, scope, names))), dict(scope)
    needed = {name: known[name] for name in names}
    for attempt in range(_TRIES):
        try:
            found = draw(dice, _AMONG, type, pick(dice, sizes), known if attempt % 3 == 0 else needed)
        except Rejected:
            continue
        if found.reads.issuperset(names):
            return found
    return None


def _sequence(dice: random.Random, scope: Scope) -> tuple[str, Type, Expression]:
    """What a loop goes through: the name and the type of an item, and the sequence."""
    name = pick(dice, [*scope])
    kind = scope[name]
    if kind in _ITEMS:
        return item_name(_ITEMS[kind]), _ITEMS[kind], variable(name, kind)
    return "v", "int", Expression("list[int]", f"range({name})", 0, lambda variables: range(variables[name]))
