"""A reward of one's own as a plain function, with prompts as plain texts: the shortest way to an environment."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rlfl_envs.arguments import check_value
from rlfl_envs.corpora import read_lines
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import ConfigError, PromptError, TokenizationError
from rlfl_envs.keys import text_in_split
from rlfl_envs.task import Split, Task, TaskConfig

__all__ = ["FunctionTask", "FunctionTaskConfig", "Reward", "name_of"]

Reward = Callable[[str, str], float]
_NO_REFERENCES = 64  # C where there is nothing to go by
_NUMBERS = (int, float, np.integer, np.floating, np.bool_)  # True, which is an int, is 1
_HERE: dict[str, Reward] = {}  # by what `name_of` calls them; other processes find only those of a module


def name_of(reward: Reward) -> str:
    """What a spec calls a function: "module:name" where it can be found so, else a name that this process remembers."""
    called = getattr(reward, "__qualname__", type(reward).__qualname__)  # an object with __call__ has none of its own
    module = getattr(reward, "__module__", "")
    name = f"{module}:{called}"
    is_found = getattr(sys.modules.get(module), called, None) is reward
    if not is_found or _HERE.get(name, reward) is not reward:  # a module may give a name a second time
        name = f"this process:{called}-{id(reward):x}"
    _HERE[name] = reward
    return name


def _function(name: str) -> Reward:
    if name in _HERE:
        return _HERE[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # a TypeError for "..module"
        raise ConfigError(
            f"reward={name!r} cannot be found ({error}); allowed: 'package.module:function'. A function that is not at "
            "the top of a module is known in the process that registered it alone."
        ) from error
    check_value("reward", name, callable(found), "'package.module:function'")
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class FunctionTaskConfig(TaskConfig):
    """The arguments of FunctionTask.

    Attributes:
        reward: The function `reward(prompt, completion) -> float`, as "package.module:function".
        prompts: The prompts' texts, none twice; or a text file with one a line, spaces at its ends included.
        references: A good completion for each prompt, in their order; none by default.
        instruction: What chat=True tells a model to write, in one or two sentences.
        reward_range: The least and the largest reward.
        success: A reward from here on counts as solved; by default the largest.
        max_completion_tokens: The budget C, EOS included; by default what the references need, or 64.
        split: "all" by default, for a list of one's own is often short; "train" and "test" part it 9 to 1.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {**TaskConfig.files, "reward": (), "prompts": ()}

    reward: str = ""
    prompts: tuple[str, ...] | str = ()
    references: tuple[str, ...] = ()
    instruction: str = ""
    reward_range: tuple[float, float] = (0.0, 1.0)
    success: float | None = None
    split: Split = "all"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        low, high = self.reward_range
        check_value("reward_range", self.reward_range, low < high, "two numbers, the lower one first")
        check_value("reward", self.reward, bool(self.reward), "'package.module:function'")
        solves = self.success is None or low <= self.success <= high
        check_value("success", self.success, solves, f"None, or a number within reward_range={self.reward_range}")


class FunctionTask(Task):
    """Whatever a function of prompt and completion rewards.

    Description:
        For a reward that exists already as a function, and prompts that exist as texts. The function is trusted: what
        it raises is raised. It should take bounded time and must not execute what it is given. A reward that is no
        number, or outside `reward_range`, is an error; True counts as 1.

    Prompt:
        Uniform over the prompts of the split.

    Reward:
        The function's.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[FunctionTaskConfig]] = FunctionTaskConfig
    references_succeed: ClassVar[bool] = False  # good ones, by the user's word
    config: FunctionTaskConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of FunctionTaskConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        config = self.config
        given = config.prompts
        if isinstance(given, str):
            self._prompts = [line for line in read_lines(Path(given), "prompts") if line]
        else:
            self._prompts = list(given)
        counts = len(self._prompts), len(set(self._prompts)), len(config.references)
        check_value("prompts", given, counts[0] >= 1, "one text or more, or a file of them")
        check_value("prompts", f"{counts[0]} texts", counts[0] == counts[1], "texts of which none is there twice")
        check_value("references", f"{counts[2]} texts", counts[2] in (0, counts[0]), f"{counts[0]} texts, or none")
        self._references: Mapping[str, str] = dict(zip(self._prompts, config.references, strict=False))
        self.instruction = config.instruction
        low, high = map(float, config.reward_range)
        self.reward_range = (low, high)
        self._texts: dict[Split, list[str]] = {}  # by split
        _ = self._reward  # what cannot be found should be missed now

    @cached_property
    def _reward(self) -> Reward:
        return _function(self.config.reward)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the function out: it is found again by its name."""
        return {name: value for name, value in self.__dict__.items() if name != "_reward"}

    @property
    def characters(self) -> str:
        """Printable ASCII, the newline, and what else the prompts and references are written in."""
        return "".join(dict.fromkeys("".join([super().characters, *self._prompts, *self.config.references])))

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws any prompt."""
        return Prompt(self._prompts[int(rng.integers(len(self._prompts)))])

    def draw_within(self, split: Split, rng: np.random.Generator) -> Prompt:
        """Draws one of the split's prompts."""
        texts = self._texts_of(split)
        return Prompt(texts[int(rng.integers(len(texts)))])

    def every_prompt(self) -> list[Prompt]:
        """The split's prompts in their order, for evaluations that ask each once."""
        return [*map(Prompt, self._texts_of(self.config.split))]

    def _texts_of(self, split: Split) -> list[str]:
        if split not in self._texts:
            self._texts[split] = [text for text in self._prompts if text_in_split(text, split)]
        texts = self._texts[split]
        if not texts:
            raise ConfigError(f"split={split!r} holds none of {len(self._prompts)} prompts; allowed here: 'all'.")
        return texts

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any text: the function judges it."""
        try:
            self.tokenizer.encode(text)
        except TokenizationError as error:
            raise PromptError(f"prompt={text!r} is not allowed: {error}") from error
        return Prompt(text)

    def budgets(self) -> tuple[int, int]:
        """The longest of the prompts, and of the references."""
        prompts, references = (
            [len(self.tokenizer.encode(text)) for text in texts] for texts in (self._prompts, self.config.references)
        )
        return max(1, *prompts), max(1, *references) if references else _NO_REFERENCES

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Asks the function about each."""
        return [self._judge(prompt.text, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def _judge(self, prompt: str, completion: str) -> Outcome:
        low, high = self.reward_range
        reward = self._reward(prompt, completion)
        if not isinstance(reward, _NUMBERS) or not low <= reward <= high:
            raise ConfigError(
                f"reward={self.config.reward!r} gave {reward!r} for prompt={prompt!r} and completion={completion!r}; "
                f"allowed: a number within reward_range={self.reward_range}."
            )
        success = high if self.config.success is None else self.config.success
        return Outcome(float(reward), bool(reward >= success), {})

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The user's."""
        return self._references.get(prompt.text)
