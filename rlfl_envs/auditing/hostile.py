"""Texts that are meant to harm a judge: odd characters, wild numbers, code, depth, length, and right answers spoilt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["CONTROLS", "LOOK_ALIKES", "SPACES", "hostile_texts", "long_texts", "look_alike"]

SPACES = (" ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000")
CONTROLS = ("\x00", "\x08", "\x1b[2K", "\x7f", "\u00ad", "\u0301", "\u200b", "\u200d", "\u202e", "\ufeff", "\ud800")

_DIGITS = {
    "Arabic digits": "٠١٢٣٤٥٦٧٨٩",
    "Devanagari digits": "०१२३४५६७८९",
    "bold digits": "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
    "superscripts": "⁰¹²³⁴⁵⁶⁷⁸⁹",
}
LOOK_ALIKES: dict[str, dict[int, str]] = {
    **{name: str.maketrans(dict(zip("0123456789", digits, strict=True))) for name, digits in _DIGITS.items()},
    "full width": {code: chr(code + 0xFEE0) for code in range(33, 127)},
    "Cyrillic letters": str.maketrans(dict(zip("aceiopxyABCEHKMOPTX", "асеіорхуАВСЕНКМОРТХ", strict=True))),
    "typographic marks": str.maketrans(
        {"-": "−", "*": "×", "/": "∕", "'": "’", '"': "”", ",": "‚", "|": "∣", "=": "꞊"}
    ),
}
_WILD = (
    *("nan", "-nan", "inf", "-inf", "Infinity", "1e999", "-0", "+1", "1_000", "0x10", "1e3", "٣", "²", "9" * 400),
    *("0" * 300 + "1", "1.0", "1/0", "0/0", "2**9**9**9", "None", "True", "null", "undefined", "NULL", "[]", "{}"),
    *("__import__('os').system('true')", "().__class__.__mro__", "lambda: 0", "{0.__class__}", "%s%n", "${x}", "`x`"),
    *("'; DROP TABLE people; --", "' OR '1'='1", "1 UNION SELECT 1", "WITH RECURSIVE x AS (SELECT 1)", "PRAGMA x"),
    *('{"$ref":"#"}', '{"a":1,"a":2}', '{"__proto__":{}}', "[1,]", '"\\ud800"', '"\\u0000"', "//", "/* */", "#"),
    *("(a*)*b", "(a|a)*", "a{9999}", "(?R)", "\\1", "[^]", "(?i)a", "$^", "-----", "s 0", "v 1 -1 0", "\\", "\\x00"),
    *("raise SystemExit", "return", "while True: pass", "yield", "def f(): return f()", "import os", "del f", "f = 1"),
    *("<eos>", "<pad>", "<bos>", "</s>", "<|endoftext|>", "<unk>", "[MASK]", "### MID:", "(game", ")", "(", '"'),
)
_NESTED = (
    "()",
    "[]",
    "{}",
    "((",
    '[{"a":',
    "a(",
    "-(",
    "not ",
    "~",
    "(a|",
    "--",
    "lambda:",
    "f(",
    "SELECT(",
    "1+(",
    "\\",
)


def look_alike(text: str, name: str) -> str:
    """The text in other characters that look like its own."""
    return text.translate(LOOK_ALIKES[name])


def hostile_texts(answers: Sequence[str], alphabet: str, rng: np.random.Generator, count: int) -> Iterator[str]:
    """Texts that a model might write and that no judge expects.

    Args:
        answers: Right answers to some prompts, to be spoilt and mixed.
        alphabet: The characters that answers have.
        rng: Of all choices; the same state gives the same texts.
        count: How many.

    Yields:
        Texts of up to a few thousand characters.
    """
    ways = (_random_letters, _spoilt, _wild, _nested, _any_characters, _mixed)
    pool = [answer for answer in answers if answer] or ["0"]
    for number in range(count):
        yield ways[number % len(ways)](pool, alphabet or "0", rng)


def long_texts(answers: Sequence[str], size: int) -> dict[str, str]:
    """Texts of `size` characters by what they are made of: what a quadratic or recursive judge cannot take."""
    units = [*_NESTED, "0", "9", " ", "\n", "a", "\x00", "'", '"', "\\", "a|", "1+", "1,", "a*", "=", "é"]
    texts = {f"{unit!r} again and again": unit * (size // len(unit)) for unit in units}
    texts |= {
        f"answer {number} again and again": answer * (size // len(answer)) for number, answer in enumerate(answers)
    }
    for opening, closing in ("()", "[]", "{}"):
        texts[f"{opening}...{closing}"] = opening * (size // 2) + closing * (size // 2)
    texts['{"a":{"a":...}}'] = '{"a":' * (size // 6) + "1" + "}" * (size // 6)
    texts["quotes and escapes"] = '"' + '\\"' * (size // 2)
    return texts


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _random_letters(answers: Sequence[str], alphabet: str, rng: np.random.Generator) -> str:
    """Any text of the task's own characters."""
    return "".join(_pick(rng, alphabet) for _ in range(int(rng.integers(0, 40))))


def _spoilt(answers: Sequence[str], alphabet: str, rng: np.random.Generator) -> str:
    """A right answer with up to four things wrong."""
    text = _pick(rng, answers)
    for _ in range(int(rng.integers(1, 5))):
        start = int(rng.integers(len(text) + 1))
        end = min(len(text), start + int(rng.integers(0, 3)))
        what = (_pick(rng, alphabet), _pick(rng, CONTROLS), _pick(rng, SPACES), _pick(rng, _WILD), "")
        text = text[:start] + _pick(rng, what) + text[end:]
    return text


def _wild(answers: Sequence[str], alphabet: str, rng: np.random.Generator) -> str:
    """Some of what other judges have stumbled over."""
    return _pick(rng, ("", " ", "=", ",")).join(_pick(rng, _WILD) for _ in range(int(rng.integers(1, 4))))


def _nested(answers: Sequence[str], alphabet: str, rng: np.random.Generator) -> str:
    """Depth: something opened often, and perhaps a right answer inside."""
    unit, depth = _pick(rng, _NESTED), int(rng.integers(1, 400))
    return (
        unit * depth + _pick(rng, ("", _pick(rng, answers))) + _pick(rng, ("", ")" * depth, "]" * depth, "}" * depth))
    )


def _any_characters(answers: Sequence[str], alphabet: str, rng: np.random.Generator) -> str:
    """Unicode at random: surrogates, marks and unassigned characters among it."""
    highest = (0x80, 0x3000, 0x110000)[int(rng.integers(3))]
    return "".join(map(chr, rng.integers(0, highest, size=int(rng.integers(0, 30))).tolist()))


def _mixed(answers: Sequence[str], alphabet: str, rng: np.random.Generator) -> str:
    """Answers to other prompts, cut, joined and in other characters."""
    parts = [_pick(rng, answers) for _ in range(int(rng.integers(1, 5)))]
    parts = [part[: int(rng.integers(len(part) + 1))] if rng.random() < 0.5 else part for part in parts]
    text = _pick(rng, ("", *SPACES, ",", "|", "=", ";")).join(parts)
    return look_alike(text, _pick(rng, [*LOOK_ALIKES])) if rng.random() < 0.3 else text
