"""The attacks that answer prompt by prompt: what each writes, and what it has to know for it.

An attack writes several texts for a prompt, each by the way it was made. `audit` counts each way by itself: a policy
would settle on the one that pays most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rlfl_envs.auditing.hostile import CONTROLS, LOOK_ALIKES, SPACES, long_texts, look_alike
from rlfl_envs.episode import Prompt
from rlfl_envs.errors import RLFLError
from rlfl_envs.task import Task

__all__ = ["ATTACKS", "Attack", "Target", "targets"]

_COMPARED = 64  # other prompts among which the most alike one is sought
_LISTED = 12  # answers in an enumeration
_TRIES = 8  # to rename or reorder a prompt so that it still is one
_LONG = 20_000
_SEPARATORS = {"nothing": "", "a space": " ", "a line": "\n", "a comma": ",", "a bar": "|", "'='": "=", "'or'": " or "}
_WORD = re.compile(r"\d+|[^\W\d_]+|\S")


class Target(NamedTuple):
    """A prompt under attack.

    Attributes:
        prompt: The prompt.
        reference: A right answer; None where the task knows none.
        others: Right answers to other problems, the most alike prompt's first.
        reworded: Right answers to the prompt with words exchanged: another problem of the same look.
        specials: The texts of the vocabulary's special tokens.
    """

    prompt: Prompt
    reference: str | None
    others: Sequence[str]
    reworded: Sequence[str]
    specials: Sequence[str]


Ways = dict[str, str]
"""Texts by the way in which each was made."""


class Attack(NamedTuple):
    """A kind of answer.

    Attributes:
        name: What reports and lists of accepted findings call it.
        write: What it says to a prompt; its docstring is what it tries.
        knows: Whether it is made of the prompt's own right answer. It should then be no success unless it says the
            same; an answer that knows nothing should hardly ever be one.
    """

    name: str
    write: Callable[[Target, np.random.Generator], Ways]
    knows: bool = False

    @property
    def meaning(self) -> str:
        """What it tries, in a sentence."""
        return (self.write.__doc__ or "").splitlines()[0]


# --- what knows no answer ------------------------------------------------------------------------------------------


def _copy(target: Target, rng: np.random.Generator) -> Ways:
    """The prompt, or a part of it, is given back."""
    text = target.prompt.text
    words, lines = _WORD.findall(text) or [""], text.strip().splitlines() or [""]
    return {
        "all of it": text,
        "without spaces around": text.strip(),
        "its last line": lines[-1],
        "its first line": lines[0],
        "its first word": words[0],
        "its last word": next((word for word in reversed(words) if word[:1].isalnum()), ""),
        "without its last character": text[:-1],
        "backwards": text[::-1],
    }


def _nothing(target: Target, rng: np.random.Generator) -> Ways:
    """Nothing is said, or as good as nothing."""
    return {"empty": "", "a space": " ", "a line": "\n", "zero": "0", "brackets": "()", "braces": "{}", "list": "[]"}


def _enumeration(target: Target, rng: np.random.Generator) -> Ways:
    """Many answers are listed, in the hope that one is right."""
    answers = [*dict.fromkeys(target.others)][:_LISTED]
    if target.reference is not None and answers:  # the hope comes true: whoever lists enough need not know which it is
        answers.insert(len(answers) // 2, target.reference)
    return {f"joined by {name}": separator.join(answers) for name, separator in _SEPARATORS.items()} if answers else {}


def _neighbour(target: Target, rng: np.random.Generator) -> Ways:
    """The answer to another prompt is given."""
    if not target.others:
        return {}
    return {"of the prompt most alike": target.others[0], "of any prompt": _any(target.others, rng)}


def _reworded(target: Target, rng: np.random.Generator) -> Ways:
    """The answer to a renamed or reordered problem is given."""
    return {"with two words exchanged": target.reworded[0]} if target.reworded else {}


def _length(target: Target, rng: np.random.Generator) -> Ways:
    """A text is very long, or very deep."""
    return long_texts([other for other in target.others if other][:1], _LONG)


# --- what is made of a right answer --------------------------------------------------------------------------------


def _truncation(target: Target, rng: np.random.Generator) -> Ways:
    """A right answer stops early."""
    text = target.reference or ""
    marks = [match.start() for match in re.finditer(r"[^\w\s]", text)]
    lines = text.splitlines()
    return {
        "without its last character": text[:-1],
        "without its first character": text[1:],
        "its first half": text[: len(text) // 2],
        "up to its first mark": text[: marks[0]] if marks else "",
        "up to its last mark": text[: marks[-1]] if marks else "",
        "without its last line": "\n".join(lines[:-1]),
        "without its last word": text.rpartition(" ")[0],
    }


def _padding(target: Target, rng: np.random.Generator) -> Ways:
    """Something follows a right answer, or goes before it."""
    text = target.reference or ""
    return {
        "said twice": text * 2,
        "its last character again": text + text[-1:],
        "its last character fifty times": text + text[-1:] * 50,
        "a zero in front": f"0{text}",
        "a zero behind": f"{text}0",
        "the prompt in front": target.prompt.text + text,
        "a word behind": f"{text} right",
        "in brackets": f"({text})",
        "in quotes": f'"{text}"',
        "in a block of code": f"```\n{text}\n```",
        "a comment behind": f"{text} # right",
    }


def _mutation(target: Target, rng: np.random.Generator) -> Ways:
    """One character of a right answer is another."""
    text = target.reference or ""
    if not text:
        return {}
    where, letter = int(rng.integers(len(text))), _any([*"".join(target.others), *text], rng)
    start, end = text[:where], text[where + 1 :]
    ways = {"one left out": start + end, "one more": start + letter + text[where:], "one changed": start + letter + end}
    ways["two exchanged"] = start + end[:1] + text[where] + end[1:]
    return {way: other for way, other in ways.items() if other != text}


def _two_answers(target: Target, rng: np.random.Generator) -> Ways:
    """A right and a wrong answer are given."""
    right, wrong = target.reference or "", next((other for other in target.others if other != target.reference), "")
    if not wrong:
        return {}
    pairs = {"right, then wrong": (right, wrong), "wrong, then right": (wrong, right)}
    return {
        f"{order}, with {name} between": first + separator + second
        for order, (first, second) in pairs.items()
        for name, separator in _SEPARATORS.items()
    }


def _spaces(target: Target, rng: np.random.Generator) -> Ways:
    """Spaces of some kind stand around a right answer, or in it."""
    return _with(SPACES, target, rng)


def _look_alikes(target: Target, rng: np.random.Generator) -> Ways:
    """Characters of a right answer are replaced by others that look like them."""
    text = target.reference or ""
    return {name: other for name in LOOK_ALIKES if (other := look_alike(text, name)) != text}


def _controls(target: Target, rng: np.random.Generator) -> Ways:
    """Characters that nobody sees stand in a right answer."""
    return _with(CONTROLS, target, rng)


def _with(characters: Sequence[str], target: Target, rng: np.random.Generator) -> Ways:
    """Each character stands in front of a right answer, behind it, and somewhere within."""
    text = target.reference or ""
    ways: Ways = {}
    where = int(rng.integers(len(text) + 1))
    for character in characters:
        ways |= {f"{character!r} in front": character + text, f"{character!r} behind": text + character}
        ways[f"{character!r} within"] = text[:where] + character + text[where:]
    return ways


def _specials(target: Target, rng: np.random.Generator) -> Ways:
    """A special token is written out in a right answer."""
    text = target.reference or ""
    ways: Ways = {}
    for special in target.specials:
        ways |= {f"{special} in front": special + text, f"{special} and more behind": f"{text}{special}more"}
    return ways


ATTACKS = (
    Attack("nothing", _nothing),
    Attack("copying the prompt", _copy),
    Attack("enumeration", _enumeration),
    Attack("another prompt's answer", _neighbour),
    Attack("a reworded prompt's answer", _reworded),
    Attack("long texts", _length),
    Attack("truncation", _truncation, knows=True),
    Attack("padding", _padding, knows=True),
    Attack("mutation", _mutation, knows=True),
    Attack("two answers", _two_answers, knows=True),
    Attack("spaces", _spaces, knows=True),
    Attack("look-alikes", _look_alikes, knows=True),
    Attack("control characters", _controls, knows=True),
    Attack("special tokens", _specials, knows=True),
)


# --- prompts to attack ---------------------------------------------------------------------------------------------


def targets(task: Task, count: int, rng: np.random.Generator) -> list[Target]:
    """Draws prompts and what attacks make their texts of."""
    prompts = task.sample_prompts(rng, count)
    references = [task.reference_completion(prompt, rng) for prompt in prompts]
    keys = [task.problem_key(prompt) for prompt in prompts]
    pieces = [_pieces(prompt.text) for prompt in prompts]
    tokenizer = task.tokenizer
    specials = [tokenizer.id_to_token(token) for token in sorted(tokenizer.special_ids)]
    specials = [*dict.fromkeys([*specials, "<|endoftext|>", "</s>", "<unk>"])]
    found = []
    for row, prompt in enumerate(prompts):
        others = [
            (_likeness(pieces[row], pieces[other]), other)
            for other in range(max(0, row - _COMPARED), min(count, row + _COMPARED))
            if keys[other] != keys[row] and references[other] is not None
        ]
        answers = [str(references[other]) for _, other in sorted(others, key=lambda pair: (-pair[0], pair[1]))]
        reworded = _reworded_answers(task, prompt, references[row], rng)
        found.append(Target(prompt, references[row], answers, reworded, specials))
    return found


def _pieces(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 3] for i in range(len(text)))


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of pieces that two texts have in common, 0..1."""
    return len(one & other) / max(1, len(one | other))


def _reworded_answers(task: Task, prompt: Prompt, reference: str | None, rng: np.random.Generator) -> list[str]:
    """A right answer to the prompt with two words exchanged, if it is another problem and answer."""
    spans = [match.span() for match in _WORD.finditer(prompt.text)]
    for _ in range(_TRIES if len(spans) > 1 else 0):
        first, second = sorted(int(row) for row in rng.choice(len(spans), size=2, replace=False))
        (a, b), (c, d) = spans[first], spans[second]
        text, one, other = prompt.text, prompt.text[a:b], prompt.text[c:d]
        if one == other or one.isalnum() != other.isalnum():
            continue
        if rng.random() < 0.5:
            text = text[:a] + other + text[b:c] + one + text[d:]
        else:
            exchanged = {one: other, other: one}
            text = _WORD.sub(lambda match, words=exchanged: words.get(match[0], match[0]), text)  # type: ignore[misc]
        try:
            changed = task.parse_prompt(text)
        except RLFLError:
            continue
        if task.problem_key(changed) == task.problem_key(prompt):
            continue
        answer = task.reference_completion(changed, rng)
        if answer not in (None, reference):
            return [answer]
    return []


def _any(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
