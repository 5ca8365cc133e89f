"""Languages that are written in brackets: what is closed where, a vocabulary of their words, what fits into a hole.

A *form* is a bracket with all up to the one that closes it, such as `(line "token" 4)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from rlfl_envs.episode import Prompt
from rlfl_envs.masks import llguidance_vocabulary
from rlfl_envs.protocols import Grammar
from rlfl_envs.tokenization import Tokenizer, word_tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher

__all__ = [
    "STRING",
    "FormGrammar",
    "end_of_form",
    "forms",
    "indented",
    "ludeme_tokenizer",
    "rules_of_forms",
    "split_strings",
]

STRING = r'"(?:[^"\\]|\\.)*"'
_OPENED = re.compile(r'"(?:[^"\\]|\\.)*+("?)')
_MARKS = re.compile(STRING + "?|[(){}]")  # a string hides the brackets in it; one left open hides the rest


def end_of_form(text: str) -> int | None:
    """Where the first form of a text ends: the index after the bracket that closes it, or after one that closes none.

    None where the text has no bracket, or leaves the first one open.
    """
    depth = 0
    for mark in _MARKS.finditer(text):
        if mark[0] in "({":
            depth += 1
        elif mark[0] in ")}":
            depth -= 1
            if depth <= 0:
                return mark.end()
    return None


def split_strings(text: str) -> list[str]:
    """Splits a text at its strings, in linear time: outside, string, outside, ..., outside.

    A quote that nothing closes is no string. Nor are the quotes before the place where the search for its closing one
    gave up: their searches would end there, too.
    """
    pieces, place, done = [], 0, 0
    while opened := _OPENED.search(text, place):
        place = opened.end()
        if opened[1]:
            pieces += [text[done : opened.start()], opened[0]]
            done = place
    return [*pieces, text[done:]]


def forms(text: str) -> list[tuple[int, int]]:
    """Where the forms of a text begin and end, in the order in which they end; a bracket without the other is none."""
    found, opened = [], []
    for mark in _MARKS.finditer(text):
        if mark[0] in "({":
            opened.append(mark.start())
        elif mark[0] in ")}" and opened:
            found.append((opened.pop(), mark.end()))
    return found


def indented(text: str, width: int = 100) -> str:
    """A form for people to read: what is longer than `width` has each form that it holds on a line of its own.

    What is deeper than width / 4 stays on one line.
    """
    inner = forms(text[:-1])
    if len(text) <= width or width <= 0 or not inner:
        return text
    outermost: list[tuple[int, int]] = []  # from the last to the first
    for start, end in reversed(inner):
        if not outermost or end <= outermost[-1][0]:
            outermost.append((start, end))
    lines: list[str] = []
    done = 0
    for start, end in reversed(outermost):
        before, form = text[done:start].strip(), indented(text[start:end], width - 4)
        lines += [] if lines else [before]
        lines += [f"    {line}" for line in (form if done == 0 else f"{before} {form}".lstrip()).splitlines()]
        done = end
    return "\n".join([*lines, text[done:].strip()])


# --- a vocabulary ----------------------------------------------------------------------------------------------------

_PRINTABLE = "".join(map(chr, range(32, 127)))


@lru_cache(maxsize=4)
def ludeme_tokenizer(words: tuple[str, ...], markers: tuple[str, ...] = ()) -> Tokenizer:
    """One token per ludeme: `(word`, `word` and the integers 0..99, each with a space before it or none.

    All else, names above all, is written by character. Closed: it writes printable ASCII.

    Args:
        words: The language's own words, such as "line" or "direction:".
        markers: Texts with a token of their own each.
    """
    ludemes = [*sorted({f"({word}" for word in words} | {*words}), *map(str, range(100))]
    spaced = [f" {ludeme}" for ludeme in [*ludemes, "(", '"']]
    tokens = [*dict.fromkeys([*markers, *ludemes, *spaced, *_PRINTABLE])]
    # A word ends where no letter, digit or underscore follows; so does an integer.
    longest_first = sorted(words, key=len, reverse=True)
    word = "|".join(re.escape(word) + ("" if word.endswith(":") else r"(?!\w)") for word in longest_first)
    pieces = [*map(re.escape, markers), rf" ?\(?(?<!\w)(?:{word})", r" ?(?<!\w)(?:0|[1-9]\d?)(?!\w)", ' [("]', "(?m:.)"]
    return word_tokenizer(tokens, "|".join(pieces))


# --- a grammar -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FormGrammar(Grammar):
    """What fits into a hole: the forms that a context-free grammar of whole texts allows between prefix and suffix.

    A rule fits if the grammar derives prefix, rule, suffix: then, and only then, does every form of that rule make a
    text of the language. It is found by giving each rule of forms a word of its own as one more alternative, and
    reading the text with that word in the hole.

    Attributes:
        rules: In llguidance's dialect of Lark, without `start`, each rule at the beginning of a line; the brackets of
            forms are written `"("` and `")"`, or `"{"` and `"}"`, and each form is an alternative of a rule.
        whole: The rule of a whole text.
    """

    rules: str
    whole: str

    def start(self, prompt: Prompt) -> str:
        """The grammar of what fits between prefix and suffix, which are the prompt's data; where nothing does, of all.

        Between two empty texts it is a whole text that fits.
        """
        prefix, suffix = prompt.data
        return _with_start(self.rules, _fitting(self, prefix, suffix) if prefix or suffix else (self.whole,))


_RULE = re.compile(r"^([a-z_]\w*):((?:.|\n(?=\s*\|))*)", flags=re.MULTILINE)
_SYMBOL = re.compile(r'"(?:[^"\\]|\\.)*"|/(?:[^/\\]|\\.)*/|[()|]|[^\s()|"]+')


_BRACKETS = (('"("', '")"'), ('"{"', '"}"'))


def rules_of_forms(rules: str) -> list[str]:
    """The rules that derive one form and nothing else: a bracket to its other, or a choice among other such rules."""
    alternatives = {name: _alternatives(body) for name, body in _RULE.findall(rules)}
    found: set[str] = set()
    while True:
        more = {
            name
            for name, bodies in alternatives.items()
            if all(body in found or (body[:3], body[-3:]) in _BRACKETS for body in bodies)
        }
        if more == found:
            return sorted(found)
        found = more


def _alternatives(body: str) -> list[str]:
    """What stands between the bars of a rule that are in no parentheses."""
    found, depth = [""], 0
    for symbol in _SYMBOL.findall(body):
        depth += (symbol == "(") - (symbol == ")")
        if symbol == "|" and depth == 0:
            found.append("")
        else:
            found[-1] = f"{found[-1]} {symbol}".strip()
    return found


@lru_cache(maxsize=256)
def _with_start(rules: str, names: tuple[str, ...]) -> str:
    return f"{rules}\nstart: {' | '.join(names)}\n"


@lru_cache(maxsize=4)
def _reader(grammar: FormGrammar) -> tuple[LLMatcher, list[str]]:
    """A matcher of whole texts byte by byte, in which a rule of forms may be written as a token; and these rules."""
    from llguidance import LLMatcher

    names = rules_of_forms(grammar.rules)
    marked = _RULE.sub(
        lambda rule: f'{rule[1]}: "@{rule[1]}@" |{rule[2]}' if rule[1] in names else rule[0], grammar.rules
    )
    vocabulary = llguidance_vocabulary([f"@{name}@" for name in names])
    return LLMatcher(vocabulary, _with_start(marked, (grammar.whole,)), log_level=0), names


@lru_cache(maxsize=4096)
def _fitting(grammar: FormGrammar, prefix: str, suffix: str) -> tuple[str, ...]:
    """The rules of forms that fit between two texts; all rules of forms where none does."""
    whole, names = _reader(grammar)
    before = whole.deep_copy()
    before.consume_tokens([*prefix.encode(errors="replace")])
    found = []
    if not before.is_stopped():  # by an error
        follow = np.unpackbits(np.frombuffer(before.compute_bitmask(), np.uint8), bitorder="little")[256:][: len(names)]
        for number in np.flatnonzero(follow).tolist():
            after = before.deep_copy()
            if after.consume_tokens([256 + number, *suffix.encode(errors="replace")]) and after.is_accepting():
                found.append(names[number])
    return tuple(found or names)
