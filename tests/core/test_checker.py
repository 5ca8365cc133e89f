"""check_task: it passes a sound task and names what is wrong with each of many broken ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from rlfl_envs import ConfigError, Outcome, Prompt, PromptError, Task, check_task, load_task
from rlfl_envs.tasks.arithmetic import Arithmetic
from rlfl_envs.tasks.copy import Copy, CopyAutomaton
from tests.settings import Parentheses


def worse(outcomes: list[Outcome], **changes: Any) -> list[Outcome]:
    """The same outcomes with some fields changed."""
    return [dataclasses.replace(outcome, **changes) for outcome in outcomes]


class NoRange(Copy):
    """Its least reward is its largest."""

    def __init__(self, **kwargs: Any) -> None:
        """Spoils the range."""
        super().__init__(**kwargs)
        self.reward_range = (1.0, 1.0)


class EndlessRange(Copy):
    """Its rewards have no least."""

    def __init__(self, **kwargs: Any) -> None:
        """Spoils the range."""
        super().__init__(**kwargs)
        self.reward_range = (-math.inf, 1.0)


class OtherPromptsEachTime(Copy):
    """Draws from a generator of its own."""

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Ignores the seed."""
        return super().draw(np.random.default_rng())


class PromptsDependOnTheBatch(Copy):
    """The first prompt of three differs from the first of one."""

    def sample_prompts(self, rng: np.random.Generator, n: int) -> list[Prompt]:
        """Turns them round."""
        return super().sample_prompts(rng, n)[::-1]


class PromptsDoNotFit(Copy):
    """P is one too few."""

    def __init__(self, **kwargs: Any) -> None:
        """Spoils the budget."""
        super().__init__(**kwargs)
        self.max_prompt_tokens -= 1


class ParsingLosesData(Copy):
    """What is drawn has data that the text does not give back."""

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Adds data."""
        return dataclasses.replace(super().draw(rng), data=7)


class ParsingRefuses(Copy):
    """Does not read what it draws."""

    def parse_prompt(self, text: str) -> Prompt:
        """Refuses."""
        raise PromptError(f"prompt={text!r} is not allowed; allowed: none.")


class SplitsShareProblems(Copy):
    """Draws whatever comes, in each split."""

    def prompts_from_keys(self, keys: np.ndarray) -> list[Prompt]:
        """Forgets the split."""
        return [self.draw(np.random.default_rng(int(key))) for key in keys]


class ReferenceIsWrong(Copy):
    """Its reference is another string."""

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Turns it round."""
        return prompt.text[::-1]


class ReferenceEarnsLess(Copy):
    """A success, yet not full reward."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Halves."""
        return [dataclasses.replace(o, reward=o.reward / 2) for o in super().evaluate(prompts, completions)]


class ReferenceDoesNotFit(Copy):
    """C is one too few."""

    def __init__(self, **kwargs: Any) -> None:
        """Spoils the budget."""
        super().__init__(**kwargs)
        self.default_budget -= 1


class ReferenceCannotBeWritten(Copy):
    """Its reference has a character that the vocabulary has not."""

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Adds one."""
        return prompt.text + "!"

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Does not mind."""
        return super().evaluate(prompts, [completion.removesuffix("!") for completion in completions])


class NoA(CopyAutomaton):
    """Forgets a character."""

    def advance(self, state: Any, character: str) -> Hashable | None:
        """Refuses "a"."""
        return None if character == "a" else super().advance(state, character)


class ReferenceIsMasked(Copy):
    """Its syntax refuses a character of its references."""

    def __init__(self, **kwargs: Any) -> None:
        """Spoils the automaton."""
        super().__init__(**{**kwargs, "mask": "syntax"})
        self.syntax = NoA(self.config.alphabet)


class OneMore(CopyAutomaton):
    """Wants a character more than the prompt has."""

    def start(self, prompt: Prompt) -> Hashable:
        """One more."""
        return len(prompt.text) + 1


class ReferenceCannotEnd(Copy):
    """Its syntax wants a character more than its references have."""

    def __init__(self, **kwargs: Any) -> None:
        """Spoils the automaton."""
        super().__init__(**{**kwargs, "mask": "syntax", "max_completion_tokens": 9})
        self.syntax = OneMore(self.config.alphabet)


class RaisesOnGarbage(Copy):
    """Reads completions as numbers."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Trips over a null byte."""
        if any("\x00" in completion for completion in completions):
            raise ValueError("embedded null byte")
        return super().evaluate(prompts, completions)


class RewardOutOfRange(Copy):
    """Pays more for longer completions."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Pays too much."""
        outcomes = super().evaluate(prompts, completions)
        return [
            dataclasses.replace(outcome, reward=outcome.reward + 2 * (len(completion) > 100))
            for outcome, completion in zip(outcomes, completions, strict=True)
        ]


class RewardIsNotANumber(Copy):
    """Divides by the number of right characters."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Pays NaN for nothing."""
        return [
            o if o.reward else dataclasses.replace(o, reward=math.nan) for o in super().evaluate(prompts, completions)
        ]


class PartsAreMissing(Copy):
    """Reports none of the parts that it declares."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Forgets."""
        return worse(super().evaluate(prompts, completions), parts={})


class OutcomesAreMissing(Copy):
    """Judges each completion once."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Leaves repetitions out."""
        return super().evaluate(prompts[:1], completions[:1])


class OutcomesAreNumbers(Copy):
    """Returns rewards alone."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Any]:
        """Returns numbers."""
        return [outcome.reward for outcome in super().evaluate(prompts, completions)]


class OutcomesDiffer(Copy):
    """Remembers how often it was asked."""

    asked = 0

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Counts."""
        self.asked += 1
        return worse(super().evaluate(prompts, completions), status=f"asked {self.asked} times")


class IllegalIsNotTheLowest(Parentheses):
    """Pays for illegal tokens what it pays for a wrong answer."""

    def illegal_outcome(self) -> Outcome:
        """Half the way down."""
        return Outcome(-0.5, False, {"closed": 0.0}, "illegal")


class IllegalHasNoParts(Copy):
    """Forgets the parts."""

    def illegal_outcome(self) -> Outcome:
        """None."""
        return Outcome(0.0, False, {}, "illegal")


class CannotBePickled(Copy):
    """Holds a function made on the spot."""

    def __init__(self, **kwargs: Any) -> None:
        """Makes it."""
        super().__init__(**kwargs)
        self.measure = lambda text: len(text)


class DrawsOtherArrays(Arithmetic):
    """Its array path draws from other keys."""

    def arrays_from_keys(self, keys: np.ndarray) -> Any:
        """Adds one."""
        return super().arrays_from_keys(keys + np.uint64(1))


class JudgesArraysOtherwise(Arithmetic):
    """Its array path forgets what success is."""

    def evaluate_arrays(self, data: Any, completions: Any, lengths: Any) -> Any:
        """All succeed."""
        outcomes = super().evaluate_arrays(data, completions, lengths)
        outcomes.is_success[:] = True
        return outcomes


class StopsUnheard(Copy):
    """Would stop, but does not say after which characters."""

    def stops(self, prompt: Prompt, completion: str) -> bool:
        """At once."""
        return True


class StartsElsewhere(Arithmetic):
    """Its arrays start masks where no text begins."""

    def start_states(self, data: Any) -> Any:
        """Nowhere."""
        return ["nowhere"] * len(data)


class ReferencesAreWrong(Copy):
    """Takes a success for none: that of a prompt written backwards."""

    def __init__(self, **kwargs: Any) -> None:
        """Spoils the automaton of successes."""
        super().__init__(**kwargs)
        self.successes.start = lambda prompt: prompt.text[::-1]  # type: ignore[method-assign]


class RightTokensLeadNowhere(Copy):
    """Takes a wrong letter for right, after which none is."""

    def __init__(self, **kwargs: Any) -> None:
        """Lets the automaton of successes go on with what no letter is."""
        super().__init__(**kwargs)
        advance = self.successes.advance

        def lenient(state: Any, character: str) -> Any:
            after = advance(state, character)
            return "\0" if after is None else after

        self.successes.advance = lenient  # type: ignore[method-assign]


class NamelessKinds(Copy):
    """It tells more kinds of prompts apart than it names."""

    kinds = ("one",)

    def kinds_of(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """Each is of a kind of its own."""
        return np.arange(len(prompts))


BROKEN = {
    StopsUnheard: "the task has no stop_characters, so that it is no StoppingTask",
    StartsElsewhere: "start_states gives other states than syntax.start",
    ReferencesAreWrong: "goes wrong at token 0, say its successes",
    RightTokensLeadNowhere: "a token was right, say its successes, but no right one follows",
    NoRange: "is no range",
    EndlessRange: "is no range",
    OtherPromptsEachTime: "gives other prompts for the same seed",
    PromptsDependOnTheBatch: "differs from n draws of one prompt",
    PromptsDoNotFit: "has 5 tokens; allowed: at most 4",
    ParsingLosesData: "not the prompt that was drawn",
    ParsingRefuses: "was drawn, but parse_prompt refuses it",
    SplitsShareProblems: "the splits share problems, such as",
    ReferenceIsWrong: "is no success",
    ReferenceEarnsLess: "earns 0.5, not 1.0",
    ReferenceDoesNotFit: "has 4 tokens; C is 3",
    ReferenceCannotBeWritten: "cannot be encoded: TokenizationError",
    ReferenceIsMasked: "has the token 'a', which the mask forbids",
    ReferenceCannotEnd: "cannot be ended: the mask forbids EOS",
    RaisesOnGarbage: r"evaluate raises for a completion such as '\x00': ValueError('embedded null byte')",
    RewardOutOfRange: "outside [0.0, 1.0]",
    RewardIsNotANumber: "earns nan, outside",
    PartsAreMissing: "has parts [], not ['right_characters']",
    OutcomesAreMissing: "returns 1 outcomes for 64 completions",
    OutcomesAreNumbers: "gets float, not an Outcome",
    OutcomesDiffer: "gives other outcomes the second time",
    IllegalIsNotTheLowest: "its reward should be -1.0",
    IllegalHasNoParts: "illegal_outcome() has parts []",
    CannotBePickled: "the task cannot be pickled",
    DrawsOtherArrays: "arrays_from_keys gives other columns",
    JudgesArraysOtherwise: "evaluate_arrays gives",
    NamelessKinds: "for 64 prompts; there are 1 kinds",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_each_break_is_found(broken: type[Task]) -> None:
    """An AssertionError that says what is wrong, and shows it."""
    with pytest.raises(AssertionError) as error:
        check_task(broken())
    assert BROKEN[broken] in str(error.value)


@pytest.mark.parametrize("task", [Parentheses(), load_task("rlfl/Copy-v0", alphabet="ab", length=1, split="all")])
def test_sound_tasks_pass(task: Task) -> None:
    """A stopping rule, or too few problems for two splits, is no fault."""
    check_task(task)


def test_takes_a_task() -> None:
    """An id is none yet, which is no fault of the task's."""
    with pytest.raises(ConfigError, match=r"^task='rlfl/Copy-v0' is not allowed; allowed: a Task, as load_task"):
        check_task("rlfl/Copy-v0")


@pytest.mark.parametrize("arguments", [{"num_prompts": 0}, {"num_prompts": "3"}, {"seed": None}, {"seed": -1}])
def test_numbers_that_are_none(arguments: dict[str, Any]) -> None:
    """They are refused by name, and no task is accused."""
    with pytest.raises(ConfigError, match=rf"^{next(iter(arguments))}=.* is not allowed; allowed: an integer, [01] or"):
        check_task(Parentheses(), **arguments)


def test_other_seeds_and_sizes() -> None:
    """The arguments choose what is tried."""
    check_task(Parentheses(), num_prompts=1, seed=3)
    check_task(load_task("rlfl/ArithmeticSteps-v0"), num_prompts=3, seed=3)


class LevelsDiffer(Copy):
    """Pays half in its levels."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Less, where there is a level."""
        whole = super().evaluate(prompts, completions)
        share = 1.0 if self.config.level is None else 0.5
        return [Outcome(each.reward * share, each.is_success, each.parts) for each in whole]


def test_levels_that_pay_otherwise_are_found() -> None:
    """A level is judged as the whole task judges it."""
    with pytest.raises(AssertionError, match="of level 0 earns"):
        check_task(LevelsDiffer())
