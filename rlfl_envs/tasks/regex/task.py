"""Regex: from words that should match and words that should not to a pattern."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.answers import AnswerTask
from rlfl_envs.arguments import check_value
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.regex.automaton import PatternAutomaton, is_pattern
from rlfl_envs.tasks.regex.languages import LETTERS, LONGEST_WORD, WORDS, Languages, languages
from rlfl_envs.tasks.regex.matcher import HIDDEN, JUDGED, check_installed, matches
from rlfl_envs.tasks.regex.viability import MOST_CHARACTERS, OneLanguage

__all__ = ["Regex", "RegexConfig"]

_PROMPT = re.compile(rf"(?:[+-][{LETTERS}]{{0,{LONGEST_WORD}}} )+= ")
_NUMBER = {word: number for number, word in enumerate(JUDGED)}
_CONSTANT_LENGTH = 3  # patterns up to here could be said to every prompt, and so could the next six
_MORE_CONSTANTS = ("a*b*", "b*a*", "a*b*.", ".a*b*", "b*a*.", ".b*a*")
_WORDS = 8  # a prompt has so many at the least
_MOST_CHARACTERS = 96  # and is no longer than this
_CHOICE = 32  # words of which the most telling is shown, once there are few rivals
_FEW = 2000
_HIGHEST_FLOOR = 0.95  # of what is worth seeking
_MOST_LISTED = 0.8  # of the words that should match
_LENGTH_SHARE = 0.1  # of the reward, lost by a pattern twice as long as need be


@dataclass(frozen=True)
class RegexConfig(TaskConfig):
    """The arguments of Regex.

    Attributes:
        shortest: The least number of characters of the pattern sought, 4..longest.
        longest: The largest, 4..8; 8 takes some seconds to begin with.
        reward: "strict" is above what a constant or a list of the words would earn, less what a pattern is longer than
            need be; "success" is a quarter of that where a word is judged wrong; "plain" is balanced accuracy.
    """

    shortest: int = 4
    longest: int = 7
    reward: Literal["strict", "plain", "success"] = "strict"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("longest", self.longest, 4 <= self.longest <= 8, "4..8")
        check_value("shortest", self.shortest, 4 <= self.shortest <= self.longest, f"4..{self.longest}, the longest")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Patterns of the shortest length, of one character more, and so on."""
        return [{"shortest": length, "longest": length} for length in range(self.shortest, self.longest + 1)]


@dataclass(frozen=True, slots=True)
class _Problem:
    pattern: str
    words: tuple[tuple[str, bool], ...]


class Regex(AnswerTask):
    """Find the pattern that some words match and others do not.

    Description:
        The prompt is words over the letters a and b, some of which should match and some not; the completion is a
        regular expression. The words decide what is meant: of all regular expressions that agree with them, the
        shortest one. So there is one right language, and a model that has seen the words can know it.

    Prompt:
        Words after a sign, then `= `; `+` is for a word that should match, `-` for one that should not, and a sign
        alone for the empty word: `+ab +abb -b - = `. The pattern sought has `shortest` to `longest` characters, each
        number equally often, and repeats something. The words, 8 or more of up to 7 letters, rule out every other
        language with a pattern as short.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 15, P = 97 and C = 7 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per character of patterns and prompts; with `vocabulary` a Hugging
        Face tokenizer's name or path, its tokens.

    Reward:
        A pattern is made of `a`, `b`, `.` (either letter), parentheses (at most 4 deep), `|`, and one of `*`, `+`, `?`
        after a letter, a `.` or a closing parenthesis. It is judged by RE2 on all 511 words of up to 8 letters
        and on 128 hidden ones of 9 to 16, which
        no prompt shows. Balanced accuracy is the mean of two shares: of the words that should match, and of those that
        should not, how many are judged right. `reward="plain"` is that. `reward="strict"`, the default, is
        (accuracy - floor) / (1 - floor), or 0 where that is negative. The floor is the highest accuracy of some fixed
        answers: every pattern of up to three characters; `a*b*` and `b*a*`, alone or with a `.` before or after; and
        the shown words joined by `|`. A pattern that is longer than the shortest loses up to a tenth of this reward,
        the whole tenth where it is twice as long. Success is every word
        judged right; `reward="success"` pays a quarter of the strict reward without it. Parts: `well_formed`,
        `balanced_accuracy`, `hidden` (the share of hidden words judged right), `shown` (of the prompt's words) and
        `extra_characters`. Status: "ok"; "malformed" for what is no pattern or has more than 256 characters, which
        earns 0.

    Episode end:
        EOS, or the budget of C tokens, by default `longest`.

    Arguments:
        `shortest`, `longest`, `reward`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Level k seeks patterns of `shortest` + k characters. Splits are by the
        language, whichever of the two letters is called a. With `mask="syntax"` only patterns can be written.
        Where C is at most 5 (as with `longest=5`, but not with `level=0`), in the vocabulary "characters", there are
        `judge_tokens` and `rewards="tokens"`. Needs the extra `regex`.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Regex-v0")
        >>> prompt = task.parse_prompt("+ab +b +aab +aaab - -a -ba -abb = ")
        >>> [round(outcome.reward, 2) for outcome in task.evaluate([prompt] * 4, ["a*b", "aa*b|b", ".*b", "ab|b|aab"])]
        [1.0, 0.9, 0.0, 0.0]

    Known exploits:
        Closed: a constant (`.*` has a balanced accuracy of 0.5) and a list of the shown words, by what the reward is
        counted from; patterns that take exponential time elsewhere, as RE2 takes linear time. Left: other
        constants. Of all 4,272 patterns of up to six characters that repeat something, the best earns 0.09 on the first
        level (`b*..`), 0.06 on the second and 0.04 on the third.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[RegexConfig]] = RegexConfig
    part_names: ClassVar[tuple[str, ...]] = ("well_formed", "balanced_accuracy", "hidden", "shown", "extra_characters")
    packages: ClassVar[tuple[str, ...]] = ("re2",)
    max_answer_characters: ClassVar[int] = 256
    instruction = (
        "Write the shortest regular expression that matches every word after a + as a whole and no word after a -. It "
        "may have a, b, the dot, brackets, |, *, + and ?. Write nothing else."
    )
    syntax = PatternAutomaton()
    config: RegexConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of RegexConfig by name; raises ConfigError, or MissingDependencyError without RE2."""
        super().__init__(**kwargs)
        check_installed()
        if self.config.vocabulary == "characters" and self.max_completion_tokens <= MOST_CHARACTERS:
            self.successes = OneLanguage(self.max_completion_tokens)

    @property
    def characters(self) -> str:
        """Those of patterns, then those of prompts alone."""
        return f"{self.syntax.alphabet}- ="

    def budgets(self) -> tuple[int, int]:
        """Every character of theirs is one byte."""
        return _MOST_CHARACTERS, self.config.longest

    @property
    def _languages(self) -> Languages:
        return languages(self.config.longest)

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a length, a language of it and words that tell it from all others."""
        while True:
            length = int(rng.integers(self.config.shortest, self.config.longest + 1))
            numbers = _worth_seeking(self.config.longest, length)
            number = int(numbers[rng.integers(len(numbers))])
            words = self._telling_words(number, length, rng)
            shown = sorted(words.items(), key=lambda item: (not item[1], len(item[0]), item[0]))
            text = "".join([f"{'+' if has else '-'}{word} " for word, has in shown]) + "= "
            is_listed = sum(words.values()) > _MOST_LISTED * self._languages.tables[:, number].sum()
            pattern = self._languages.patterns[number]
            if len(text) <= _MOST_CHARACTERS and not is_listed and _is_seen_to_repeat(pattern):
                return Prompt(text, _Problem(pattern, tuple(shown)))

    def _telling_words(self, number: int, length: int, rng: np.random.Generator) -> dict[str, bool]:
        """Words that no other language with a pattern as short agrees with, each the best of some, then any others."""
        tables = self._languages.tables[:, : np.searchsorted(self._languages.lengths, length, side="right")]
        table, rivals = tables[:, number], np.arange(tables.shape[1])
        words: dict[str, bool] = {}
        while len(rivals) > 1 or len(words) < _WORDS:
            lengths = rng.integers(LONGEST_WORD + 1, size=_CHOICE if len(rivals) <= _FEW else 2)
            chosen = (1 << lengths) - 1 + rng.integers(1 << lengths)  # a word of each length
            agree = tables[chosen].take(rivals, axis=1) == table[chosen, None]
            best = int(np.count_nonzero(agree, axis=1).argmin())
            words[WORDS[chosen[best]]] = bool(table[chosen[best]])
            rivals = rivals[agree[best]]
        return words

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts words that a pattern of `longest` characters can tell apart."""
        fits = len(text) <= _MOST_CHARACTERS and _PROMPT.fullmatch(text)
        shown = tuple([(word[1:], word[0] == "+") for word in text.split(" ")[:-2]] if fits else [])
        words = dict(shown)
        agreeing = self._languages.agreeing(words) if len(words) == len(shown) else np.zeros(0, dtype=np.int64)
        if not words or len(agreeing) == 0:
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: such as '+ab +abb -b - = ', at most {_MOST_CHARACTERS} "
                f"characters, no word twice, and a pattern of at most {self.config.longest} agrees."
            )
        return Prompt(text, _Problem(self._languages.patterns[agreeing[0]], shown))

    def problem_key(self, prompt: Prompt) -> str:
        """The language, whatever its letters are called."""
        return self._languages.problem(prompt.data.pattern)

    # --- rewards ---------------------------------------------------------------------------------------------------

    def read_answer(self, completion: str) -> str | None:
        """A pattern, if it is one and RE2 takes it."""
        return completion if is_pattern(completion) and matches(completion) is not None else None

    def grade(self, prompt: Prompt, answer: str) -> Outcome:
        """Compares which words are matched with which should be."""
        problem: _Problem = prompt.data
        found, due = matches(answer), matches(problem.pattern)
        assert found is not None
        assert due is not None
        right = found == due
        accuracy, extra = float(_balanced(found, due)), max(0, len(answer) - len(problem.pattern))
        reward = accuracy
        if self.config.reward != "plain":
            floor = _floor(problem)
            lost = _LENGTH_SHARE * min(1.0, extra / len(problem.pattern))
            above = (accuracy - floor) / (1 - floor) if floor < 1 else float(right.all())
            reward = max(0.0, above) * (1 - lost)
        parts = {
            "well_formed": 1.0,
            "balanced_accuracy": accuracy,
            "hidden": float(right[-len(HIDDEN) :].mean()),
            "shown": float(np.mean([right[_NUMBER[word]] for word, _ in problem.words])),
            "extra_characters": float(extra),
        }
        outcome = Outcome(reward, bool(right.all()), parts)
        return outcome.paid_for_success() if self.config.reward == "success" else outcome

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The shortest pattern that agrees with the words."""
        pattern: str = prompt.data.pattern
        return pattern

    @property
    def accepted_findings(self) -> Mapping[str, Accepted]:
        """Other patterns may be as good; what the plain reward pays for any pattern."""
        return _KNOWN | _KNOWN_OF_PLAIN if self.config.reward == "plain" else _KNOWN

    def constant_completions(self) -> list[str]:
        """What the reward counts from, and what earned most of the patterns of up to six characters."""
        return [*_constants(), "b*..", "..a?b*", "a*...."]


_KNOWN = {
    "padding": Accepted("Brackets around a pattern change its length alone, which costs reward.", success=1.0),
    "mutation": Accepted("Other patterns have the same language.", unearned=0.95, success=0.2),
    "truncation": Accepted("Other patterns have the same language.", success=0.1),
    "two answers": Accepted("The other pattern's language may be a part of this one's.", success=0.3),
}
_KNOWN_OF_PLAIN = {
    **dict.fromkeys(
        (
            "constant answer",
            "copying the prompt",
            "enumeration",
            "another prompt's answer",
            "a reworded prompt's answer",
        ),
        Accepted("Any pattern has a balanced accuracy of a half or so; the strict reward counts from there.", 0.8),
    ),
    "two answers": Accepted("The other pattern may add few words to the right ones.", unearned=1.0, success=0.3),
}


@functools.cache
def _worth_seeking(longest: int, length: int) -> NDArray[np.int64]:
    """The numbers of the languages so long that are infinite, for something is repeated, and near no constant."""
    known = languages(longest)
    infinite = [number for number, name in enumerate(known.patterns) if len(name) == length and {*"*+"} & {*name}]
    tables = known.tables[:, infinite].T
    constants = _matched_by_constants()[:, [_NUMBER[word] for word in WORDS]]
    floors = np.array([_balanced(constants, table).max() for table in tables])
    return np.array(infinite)[floors <= _HIGHEST_FLOOR]


@functools.lru_cache(maxsize=4096)
def _is_seen_to_repeat(pattern: str) -> bool:
    """Whether words that prompts show tell `(aab.)*` from `(aab.)?`, which is no longer; longer words alone may."""
    found, once = matches(pattern), matches(pattern.replace("*", "?"))
    assert found is not None
    assert once is not None
    differ = found != once
    return bool(differ[: len(WORDS)].any() or not differ.any())


@functools.cache
def _constants() -> list[str]:
    return [*languages(_CONSTANT_LENGTH).patterns, *_MORE_CONSTANTS]


@functools.cache
def _matched_by_constants() -> NDArray[np.bool_]:
    return np.array([matches(pattern) for pattern in _constants()], dtype=np.bool_)


@functools.lru_cache(maxsize=4096)
def _floor(problem: _Problem) -> float:
    """The balanced accuracy that is nobody's merit: the best of the constants and of the list of shown words."""
    due = matches(problem.pattern)
    assert due is not None
    listed = np.zeros(len(JUDGED), dtype=np.bool_)
    listed[[_NUMBER[word] for word, has in problem.words if has]] = True
    return float(max(_balanced(listed, due), _balanced(_matched_by_constants(), due).max()))


def _balanced(found: NDArray[np.bool_], due: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of the shares of those due that are found and of the others that are not; of one share if it is alone.

    Args:
        found: bool [..., W].
        due: bool [W].

    Returns:
        float64 [...].
    """
    right = found == due
    shares = [right[..., due == side].mean(axis=-1) for side in (True, False) if (due == side).any()]
    mean: NDArray[np.float64] = sum(shares) / len(shares)
    return mean
