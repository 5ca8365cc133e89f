"""Bracketed languages: where forms end, the vocabulary of ludemes, and what fits into a hole."""

from __future__ import annotations

import pickle
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import ConfigError, Grammar, Prompt, character_tokenizer
from rlfl_envs.masks import GrammarMask
from rlfl_envs.tasks.games.bracketed import (
    STRING,
    FormGrammar,
    end_of_form,
    forms,
    indented,
    ludeme_tokenizer,
    rules_of_forms,
    split_strings,
)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", None),
        ("a", None),
        ("(", None),
        ("()", 2),
        ("(a (b) c) (d)", 9),
        ("  (a)", 5),
        (")", 1),
        ("a) (b)", 2),
        ('("(" b)', 7),  # a bracket in a string is none
        ('("\\"(" b)', 9),
        ('(")', None),  # an open string hides what follows
        ("{a (b)}", 7),
        ("((a)", None),
        ("({)}", 4),  # kinds are not told apart, as in the paper
    ],
)
def test_end_of_form(text: str, end: int | None) -> None:
    """After the bracket that closes the first one, or one that closes nothing."""
    assert end_of_form(text) == end


@given(st.text('() a"\\', max_size=30))
def test_end_of_form_is_the_first_prefix_in_balance(text: str) -> None:
    """What is found in a text is found in no shorter prefix: a rule that is asked after each character stops there."""
    end = end_of_form(text)
    assert all(end_of_form(text[:length]) is None for length in range(len(text) if end is None else end))
    assert end is None or end_of_form(text[:end]) == end


@given(st.text('"\\\n a', max_size=20))
def test_split_strings(text: str) -> None:
    """As the regular expression of a string splits it, backslashes and quotes that nothing closes included."""
    assert split_strings(text) == re.split(f"({STRING})", text)


@pytest.mark.timing
@pytest.mark.parametrize("end", ["", "\\\n", '"'], ids=["open", "broken", "closed"])
def test_split_strings_in_linear_time(end: str) -> None:
    """A text of escaped quotes that is 16 times as long takes nowhere near 256 times as long."""

    def seconds(length: int) -> float:
        text = '"' + '\\"' * length + end
        times = []
        for _ in range(5):
            began = time.process_time()
            split_strings(text)
            times.append(time.process_time() - began)
        return min(times)

    assert seconds(64_000) < 64 * max(seconds(4_000), 1e-5)


def test_forms() -> None:
    """Each bracket with what it holds, inner ones first; strings hide brackets."""
    text = '(a (b "(") {c (d)})'
    assert [text[start:end] for start, end in forms(text)] == ['(b "(")', "(d)", "{c (d)}", text]
    assert forms(") a (") == []


WORDS = ("line", "in_line", "direction:", "up", "P1")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40) | st.sampled_from(WORDS))
def test_ludemes_write_any_printable_text(text: str) -> None:
    """And read it back unchanged."""
    tokenizer = ludeme_tokenizer(WORDS, ("### PRE:",))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ludemes() -> None:
    """One token a word, with its bracket or its space; names by character; a word within a word is none."""
    tokenizer = ludeme_tokenizer(WORDS, ("### PRE:",))
    tokens = tokenizer.backend.encode('### PRE:(line "up1" 42 407 direction:up (P1 P1) (in_line) (7))').tokens
    assert tokens == [
        *("### PRE:", "(line", ' "', "u", "p", "1", '"', " 42", " ", "4", "0", "7", " direction:", "up"),
        *(" (P1", " P1", ")", " (in_line", ")", " (", "7", ")", ")"),
    ]


# --- a grammar -------------------------------------------------------------------------------------------------------

RULES = """
game: "(" "game" head (item | other)+ tail? ")"
head: "(" "head" NUMBER ")"
item: one | two
one: "(" "one" ")"
two: "(" "two" item ")"
other: "(" "other" (one | NUMBER) ")"
tail: "(" "tail" ")"
mixed: NUMBER | one
NUMBER: /[12]/
%ignore / +/
"""
GRAMMAR = FormGrammar(RULES, "game")
ITEMS = ["(one)", "(two (one))", "(two (two (one)))"]


def test_rules_of_forms() -> None:
    """Those that derive a form and nothing else, by themselves or by what they choose from."""
    assert rules_of_forms(RULES) == ["game", "head", "item", "one", "other", "tail", "two"]


@pytest.mark.parametrize(
    ("prefix", "suffix", "fitting"),
    [
        ("", "", ["game"]),
        ("(game ", " (one))", ["head"]),
        ("(game (head 1) (two ", "))", ["item", "one", "two"]),
        ("(game (head 1) (other ", "))", ["one"]),
        ("(game (head 1) ", " (tail))", ["item", "one", "other", "two"]),
        ("(game (head 1) (one) ", ")", ["item", "one", "other", "tail", "two"]),
    ],
)
def test_what_fits(prefix: str, suffix: str, fitting: list[str]) -> None:
    """Exactly the rules that the grammar derives between prefix and suffix."""
    pytest.importorskip("llguidance")
    start = GRAMMAR.start(Prompt("", (prefix, suffix))).rpartition("start: ")[2]
    assert start.strip().split(" | ") == fitting


@pytest.mark.parametrize("prefix", ["(game", "(nothing ", ""])
def test_where_nothing_fits_any_form_may_be_written(prefix: str) -> None:
    """A prompt that no form can complete still has legal tokens."""
    pytest.importorskip("llguidance")
    assert GRAMMAR.start(Prompt("", (prefix, " (game)"))).rpartition("start: ")[2].count("|") == 6


# --- the mask of a grammar -------------------------------------------------------------------------------------------

NESTED = 'start: "a" start "b" | "c" start | "d"'  # a text and its mirror image around a "d", but for each "c"


def nested(length: int) -> set[str]:
    """The texts that NESTED derives, up to a length."""
    if length < 1:
        return set()
    shorter = nested(length - 1)
    return {"d"} | {f"c{text}" for text in shorter} | {f"a{text}b" for text in shorter if len(text) <= length - 2}


class Given(Grammar):
    """The prompt is the grammar."""

    def start(self, prompt: Prompt) -> str:
        """As it is."""
        return prompt.text


@pytest.fixture
def mask() -> GrammarMask:
    """A mask over the characters of NESTED, and one that it does not have."""
    pytest.importorskip("llguidance")
    return GrammarMask(Given(), character_tokenizer("abcdx"), 0)


def legal(mask: GrammarMask, state: int) -> set[str]:
    """The legal tokens by what they write; "" for EOS."""
    return {mask._tokenizer.token_texts[token] for token in np.flatnonzero(mask.row(state))}


def test_exactly_the_prefixes_are_legal(mask: GrammarMask) -> None:
    """After each prefix of a text, those characters that lead to another prefix, and EOS after a whole text."""
    whole = nested(16)
    prefixes = {text[:length] for text in whole for length in range(len(text) + 1)}
    short = [prefix for prefix in prefixes if len(prefix) <= 6]
    assert len(short) > 50
    for prefix in short:
        state = mask.start(Prompt(NESTED))
        for token in mask._tokenizer.encode(prefix):
            state = mask.next_state(state, token)
        expected = {character for character in "abcdx" if prefix + character in prefixes}
        assert legal(mask, state) == expected | ({""} if prefix in whole else set()), prefix
        mask.keep(np.zeros(0, dtype=np.int64))
    assert len(mask._matchers) == 1  # each episode took the place of the one before


def test_states_side_by_side(mask: GrammarMask) -> None:
    """Episodes do not disturb each other, and a pickled mask goes on from where it was."""
    states = np.array([mask.start(Prompt(NESTED)) for _ in range(9)], dtype=np.int64)
    tokens = np.array([mask._tokenizer.encode(character)[0] for character in "acdacdacd"])
    states = mask.next_states(states, tokens)
    for each in (mask, pickle.loads(pickle.dumps(mask))):
        assert [legal(each, state) for state in states.tolist()] == [{*"acd"}, {*"acd"}, {""}] * 3
        after = each.next_state(int(states[0]), each._tokenizer.encode("d")[0])
        assert legal(each, after) == {"b"}


def test_minimum_length() -> None:
    """EOS waits for it where something else is legal, and only there."""
    pytest.importorskip("llguidance")
    mask = GrammarMask(Given(), character_tokenizer("ab"), 3)
    state, seen = mask.start(Prompt('start: "a" | "a" start')), []
    for _ in range(4):
        seen.append(legal(mask, state))
        state = mask.next_state(state, mask._tokenizer.encode("a")[0])
    assert seen == [{"a"}, {"a"}, {"a"}, {"a", ""}]
    state = mask.next_state(mask.start(Prompt('start: "a"')), mask._tokenizer.encode("a")[0])
    assert legal(mask, state) == {""}


def test_memory_has_a_bound(mask: GrammarMask) -> None:
    """Where each prompt has a grammar of its own, the oldest beginnings are forgotten, and made again when needed."""
    for number in range(mask._MOST_BEGINNINGS + 10):
        mask.start(Prompt('start: "a"' + ' "b"' * number))
    assert len(mask._beginnings) == mask._MOST_BEGINNINGS
    assert legal(mask, mask.start(Prompt('start: "a"'))) == {"a"}


def test_a_wrong_grammar_is_an_error(mask: GrammarMask) -> None:
    """With the reason."""
    with pytest.raises(ConfigError, match=r"mask='syntax' cannot be had: the grammar is wrong .*nowhere"):
        mask.start(Prompt("start: nowhere"))


def test_indented_however_deep() -> None:
    """Twenty-five levels have lines of their own; what is deeper, far beyond Python's stack, stays on one line."""
    deep = "(" * 5000 + ")" * 5000
    levels = ["    " * level for level in range(25)]
    rest = "    " * 25 + deep[25:-25]
    expected = [*(f"{level}(" for level in levels), rest, *(f"{level})" for level in reversed(levels))]
    assert indented(deep).splitlines() == expected


def test_indented() -> None:
    """Line by line where it is long, and nothing lost."""
    text = '(game "A b" (one (two (three) x)) y:(four) z)'
    assert indented(text, 100) == text
    assert indented(text, 24) == '(game "A b"\n    (one\n        (two (three) x)\n    )\n    y: (four)\nz)'
    assert indented('(a "very long indeed")', 5) == '(a "very long indeed")'
