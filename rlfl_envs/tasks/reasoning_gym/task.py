"""ReasoningGym: answer a puzzle of the library reasoning-gym."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import ConfigError, MissingDependencyError, PromptError, how_to_install
from rlfl_envs.judging import Judgement, Pool, Request, shared_pool
from rlfl_envs.judging.cell import can_fork
from rlfl_envs.judging.judge import Settings
from rlfl_envs.keys import Keys, follower, key_at, text_in_split
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task
from rlfl_envs.tasks.reasoning_gym.config import ReasoningGymConfig, datasets
from rlfl_envs.tasks.reasoning_gym.supply import Item, supply

__all__ = ["ReasoningGym", "is_answer"]

_JUDGE = "rlfl_envs.tasks.reasoning_gym.scoring"
_DEFAULTS = -1  # the difficulty that is a dataset's own settings
_MAX_DRAWS = 1000  # a split or a filter that rejects so many items in a row will reject them all
_AT_ONCE = 1024
_AHEAD = 4  # prompts of each stream
_SPARE = 1.25
_MEASURED = 32  # prompts on which budgets are measured where a token may have several characters
_INTEGER = re.compile(r"[0-9]+")
_TOLERANCE = 1e-4  # of `coin_flip`'s scorer


@dataclass(frozen=True, slots=True)
class Puzzle:
    """What judging a completion needs. Puzzles are equal that ask the same, whatever number drew them.

    Attributes:
        difficulty: -1 for the dataset's own settings, or the level of its curriculum that drew the puzzle.
        answer: A right answer, or None.
        problem: What makes the problem, however it is put into words.
        packed: What the library's scorer needs, for the workers that score.
    """

    difficulty: int = field(compare=False)
    answer: str | None
    problem: str
    packed: str = field(compare=False, repr=False)


class ReasoningGym(Task):
    """Answer a puzzle: 105 generators of the library reasoning-gym, each with its own scorer.

    Description:
        Stojanovski et al. (2025), "Reasoning Gym: Reasoning environments for reinforcement learning with verifiable
        rewards". Each dataset also has an id, such as `rlfl/ReasoningGym.chain_sum-v0`. Prompts follow from the seed,
        whatever `workers` is. Workers draw them, the next ones of each environment ahead of time. An item is drawn
        again if it is longer than the dataset's budgets, or if its scorer does not pay the library's answer in full.
        Splits go by the problem: for the 16 datasets that say the same in several ways by what is asked, for all others
        by the text, whatever its case and spaces.

    Prompt:
        The library's question, as it is: `State the final answer to the following arithmetic problem: 5 + 6 + 4 + 4 =`
        As `options={"prompt": text}` only questions are accepted that this process has drawn.

    Observation:
        `MultiDiscrete([V] * (P + C))`, the prompt in the P columns to the left.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then a token for each printable character, the newline, and what else the
        dataset's texts have; with `vocabulary` a Hugging Face tokenizer's name or path, its tokens.

    Reward:
        In [0, 1]. "plain" is what the library's scorer pays. Some pay for nothing: 0.01 for any answer, 0.05 for what
        has the right form. "strict" pays 1 for a success and 0 for all else. A success is what the scorer pays in full;
        of `puzzle24` only with the prompt's own numbers, of `game_of_life_halting` only the right word, of
        `complex_arithmetic` and `number_sorting` without NaN, of `coin_flip` the whole number, and of `gsm_symbolic`
        with the right sign: their scorers do not ask for that. Part: `score` (the scorer's). Status: "ok"; "partial";
        "wrong"; "malformed" (longer than 16,384 characters, or not of the form that scorers which execute text may
        see); "timeout" (2 s); "crash".

    Episode end:
        EOS, or the budget.

    Arguments:
        `dataset`, `difficulty`, `reward`, `workers`, and the common `split`, `vocabulary`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Levels are the difficulties of the dataset's curriculum. There is no syntax
        mask. Needs the extra `puzzles`, and Linux or macOS.

    Example:
        >>> import numpy as np
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/ReasoningGym-v0", dataset="chain_sum")  # doctest: +SKIP
        >>> (prompt,) = task.sample_prompts(np.random.default_rng(0), 1)  # doctest: +SKIP
        >>> prompt.text  # doctest: +SKIP
        'State the final answer to the following arithmetic problem: 67 - 42 - 11 - 72 - 29 - 73 ='
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 2, ["-160", "0"])]  # doctest: +SKIP
        [1.0, 0.0]

    Known exploits:
        Nine of the library's scorers execute what the model wrote (`eval`, or SymPy's `parse_expr`): answers there may
        have nothing but numbers, brackets, operators, variables of one letter, names of functions and, in two of them,
        quoted letters. The process that scores them can open no file, start no process and reach no network.
        `reward="plain"` pays in full for 24 made of other numbers in `puzzle24`, and for what else is no success. In
        `propositional_logic` all premises, joined by ∧, are nearly always a success. Where there are few answers (yes
        or no), a constant is often right: the page "Puzzles of reasoning-gym" says how often, for each dataset.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[ReasoningGymConfig]] = ReasoningGymConfig
    part_names: ClassVar[tuple[str, ...]] = ("score",)
    packages: ClassVar[tuple[str, ...]] = ("reasoning_gym", "pebble")
    baseline_prompts = 200
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "padding": Accepted("Scorers that read a number take it with zeros in front.", success=1.0),
        "mutation": Accepted("Such a zero may be what is one more.", success=0.1),
        "two answers": Accepted("A wrong answer of 0 is such a zero.", success=0.2),
        "spaces": Accepted("Many scorers strip the answer.", success=1.0),
        "look-alikes": Accepted("Scorers that read a number by Python take any decimal digits.", success=1.0),
    }
    instruction = "Answer the question below. Write the answer alone, in the form that is asked for, and nothing else."
    config: ReasoningGymConfig

    def __init__(self, **kwargs: object) -> None:
        """Takes the fields of ReasoningGymConfig by name; raises ConfigError and MissingDependencyError."""
        if not can_fork():
            raise ConfigError("ReasoningGym needs os.fork, to hold the library's scorers: Linux or macOS.")
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise MissingDependencyError(f"ReasoningGym needs the package {package}: {how_to_install('puzzles')}")
        super().__init__(**kwargs)
        self._measured = datasets()[self.config.dataset]
        self._expected: Keys = np.zeros(0, dtype=np.uint64)

    @property
    def characters(self) -> str:
        """Printable ASCII, and what else the dataset's texts have."""
        return super().characters + self._measured.characters

    def budgets(self) -> tuple[int, int]:
        """The longest texts that were measured, a token a character; where tokens have more, what some prompts take."""
        sizes = self._measured.question, self._measured.answer
        if self.tokenizer.closed:
            return sizes
        prompts = [self._prompt(item, _DEFAULTS) for item in self._search(np.arange(_MEASURED, dtype=np.uint64), [])]
        texts = [[prompt.text for prompt in prompts], [prompt.data.answer or "" for prompt in prompts]]
        longest = [max(len(self.tokenizer.encode(text)) for text in group) for group in texts]
        question, answer = (math.ceil(_SPARE * length) for length in longest)
        return question, answer if self._measured.references else sizes[1]

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws one prompt; `prompts_from_keys` is what the environments use."""
        return self.unsplit.sample_prompts(rng, 1)[0]

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """Draws a prompt of the split for each key, uint64 [n]; those that follow in their streams next, ahead of time.

        Raises:
            ConfigError: The split holds (nearly) nothing.
            RLFLError: A worker died.
        """
        sizes = self.max_prompt_tokens - (self.tokenizer.bos_id is not None), self.default_budget
        prompts: list[Prompt] = []
        for first in range(0, len(keys), _AT_ONCE):
            items = self._search(keys[first : first + _AT_ONCE], sizes)
            prompts += [self._prompt(item, self._difficulty) for item in items]
        self._draw_ahead(keys)
        return prompts

    @property
    def _difficulty(self) -> int:
        return _DEFAULTS if self.config.difficulty is None else self.config.difficulty

    @cached_property
    def _settings(self) -> Settings:
        """Of all requests for items; one object, since many requests are remembered."""
        return (
            ("answer", self._measured.answer),
            ("dataset", self.config.dataset),
            ("difficulty", self._difficulty),
            ("question", self._measured.question),
        )

    def _request(self, number: int) -> Request:
        return Request("", self._settings, number)

    def _requests(self, keys: Keys, attempt: int) -> list[Request]:
        numbers = key_at(keys, np.array([attempt])) >> np.uint64(32)
        return [self._request(number) for number in numbers.tolist()]

    def _search(self, keys: Keys, sizes: Sequence[int]) -> list[Item]:
        """For each key the first of its items that is of the split and fits into so many tokens, if any are said."""
        found: dict[int, Item] = {}
        for attempt in range(_MAX_DRAWS):
            rows = [row for row in range(len(keys)) if row not in found]
            if not rows:
                return [found[row] for row in range(len(keys))]
            items = supply(self.config.workers, os.getpid()).get(self._requests(keys[rows], attempt))
            found.update({row: item for row, item in zip(rows, items, strict=True) if self._is_wanted(item, sizes)})
        raise ConfigError(f"split={self.config.split!r} holds none of {_MAX_DRAWS} items drawn; allowed here: 'all'.")

    def _is_wanted(self, item: Item, sizes: Sequence[int]) -> bool:
        if item.status != "drawn" or not text_in_split(item.problem, self.config.split):
            return False
        texts = item.question, item.answer or ""
        if self.tokenizer.closed:
            return set("".join(texts)) <= set(self.characters)
        return all(len(self.tokenizer.encode(text)) <= size for text, size in zip(texts, sizes, strict=False))

    def _prompt(self, item: Item, difficulty: int) -> Prompt:
        return Prompt(item.question, Puzzle(difficulty, item.answer, item.problem, item.packed))

    def _draw_ahead(self, keys: Keys) -> None:
        """Draws in the background, where streams are being followed: these keys come after some that were asked for."""
        following = keys[np.isin(keys, self._expected)]
        self._expected = follower(keys)
        wanted: list[Request] = []
        for _ in range(_AHEAD if len(following) else 0):
            following = follower(following)
            wanted += self._requests(following[:_AT_ONCE], 0)
        if wanted:
            supply(self.config.workers, os.getpid()).draw_ahead(wanted)

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts what this process has drawn: the last 65,536 questions, of any level."""
        drawn = supply(self.config.workers, os.getpid())
        request = drawn.find(self._request(0), text)
        if request is None:
            raise PromptError(f"prompt={text!r} is not allowed; allowed: questions that were drawn in this process.")
        (item,) = drawn.get([request])
        return self._prompt(item, int(dict(request.settings)["difficulty"]))

    def problem_key(self, prompt: Prompt) -> str:
        """What is asked, however it is put into words."""
        problem: str = prompt.data.problem
        return problem

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The library's answer, which its scorer pays in full; None where it gives none."""
        answer: str | None = prompt.data.answer
        return answer

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Asks the library's scorer, in processes without rights."""
        requests = [
            Request(
                completion,
                (("dataset", self.config.dataset), ("difficulty", prompt.data.difficulty)),
                context=prompt.data.packed,
            )
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        judged = self._pool.evaluate(requests)
        return [self._outcome(*each) for each in zip(prompts, completions, judged, strict=True)]

    @property
    def _pool(self) -> Pool:
        return shared_pool(_JUDGE, workers=self.config.workers, timeout=60.0)

    def _outcome(self, prompt: Prompt, completion: str, judgement: Judgement) -> Outcome:
        score = judgement.parts.get("score", 0.0)
        is_success = score == 1 and is_answer(self.config.dataset, completion, prompt.data.answer)
        status = "ok" if is_success else "partial" if score > 0 else "wrong"
        reward = score if self.config.reward == "plain" else float(is_success)
        return Outcome(reward, is_success, {"score": score}, status if judgement.parts else judgement.status)

    def constant_completions(self) -> list[str]:
        """The answers that paid best when they were given to every prompt."""
        return [*self._measured.constants]


def is_answer(dataset: str, completion: str, answer: str | None) -> bool:
    """What six scorers forget to ask of a completion that they pay in full, where there is a right answer."""
    if dataset == "puzzle24" and answer is not None:
        return sorted(_INTEGER.findall(completion)) == sorted(_INTEGER.findall(answer))
    if dataset in ("complex_arithmetic", "number_sorting"):  # which take any distance of NaN for none
        return "nan" not in completion.lower()
    if dataset == "coin_flip" and answer is not None:  # which pays in full for how the answer begins, such as 0
        return abs(_ratio(completion) - _ratio(answer)) <= _TOLERANCE
    if dataset == "gsm_symbolic" and answer is not None:  # which looks past a sign
        return completion.lstrip().startswith("-") == answer.startswith("-")
    return dataset != "game_of_life_halting" or completion.strip() == answer


def _ratio(text: str) -> float:
    """A number or a fraction, as `coin_flip`'s scorer reads them; NaN where it is none."""
    above, _, below = text.replace(",", "").partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return math.nan
