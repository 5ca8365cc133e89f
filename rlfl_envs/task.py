"""A task: a prompt distribution plus a programmed reward, in text.

No tokens are stepped here and no Gymnasium is needed. This is the surface for people who train with something else than
Gymnasium, and what a new task implements: `draw`, `parse_prompt`, `evaluate` and, where there is one,
`reference_completion`.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import re
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_path, check_type, check_value
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import ArgumentError, ConfigError, PromptError, suggest
from rlfl_envs.keys import Keys, generators, text_in_split
from rlfl_envs.protocols import Automaton, Grammar
from rlfl_envs.tokenization import Tokenizer, character_tokenizer, load_tokenizer

__all__ = ["Split", "Task", "TaskConfig", "make_task", "task_class"]

Split = Literal["train", "test", "all"]
_MAX_DRAWS = 10_000  # a split or a filter that rejects this many prompts in a row will reject them all
_MEASURED = 256  # prompts on which budgets are measured
_SPARE = 1.25
_NO_REFERENCES = 64  # C of a task without references, unless it says otherwise
_PRINTABLE = "".join(map(chr, range(32, 127))) + "\n"


@dataclass(frozen=True)
class TaskConfig:
    """The arguments that every task takes.

    Attributes:
        split: Which problems are drawn: 90% "train", 10% "test", or "all". Decided by a stable hash of the problem.
        vocabulary: A built-in vocabulary's name, or a Hugging Face tokenizer by name or path.
        mask: "none" leaves every ordinary token legal; "syntax" only those that keep the completion a prefix of
            something well-formed.
        max_completion_tokens: The budget C, EOS included; by default what the longest reference completion takes.
        min_completion_tokens: EOS is masked until the completion has this many tokens.
        level: Where the task has levels, plays one of them alone, 0 the easiest; vocabulary, P and C are the whole
            task's.
    """

    # The arguments that may name code, a file or a download, each with the texts besides its default that name none. A
    # run folder from elsewhere may set them to another text only with the user's consent.
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"vocabulary": ("characters",)}

    split: Split = "train"
    vocabulary: str = "characters"
    mask: Literal["none", "syntax"] = "none"
    max_completion_tokens: int | None = None
    min_completion_tokens: int = 0
    level: int | None = None

    def __post_init__(self) -> None:
        """Checks every argument's type and the common ones' ranges; a subclass calls this, then checks its own."""
        hints = typing.get_type_hints(type(self))
        for argument in fields(self):
            value = getattr(self, argument.name)
            check_type(argument.name, value, hints[argument.name])
            if argument.name in self.files and isinstance(value, str):
                check_path(argument.name, value)
        budget = self.max_completion_tokens
        check_value("max_completion_tokens", budget, budget is None or 1 <= budget <= 65536, "1..65536, or None")
        least = self.min_completion_tokens
        check_value("min_completion_tokens", least, 0 <= least <= 65536, "0..65536")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """The task's levels, from easy to hard: of each, the arguments that differ; none by default.

        A level narrows which prompts are drawn. The whole task accepts and judges them all.
        """
        return ()


class Task(ABC):
    """A prompt distribution plus a programmed reward.

    A subclass implements `draw`, `parse_prompt`, `evaluate` and, where there is one, `reference_completion`; it names
    its `part_names`, and a `Config` if it has arguments of its own. Its docstring is its card. Vocabulary and budgets
    follow from what it draws; `vocabularies` and `budgets` are there to say better. What more a task may have is in
    `rlfl_envs.protocols`.

    Attributes:
        config: The arguments, checked; those of a level with what differs in it.
        part_names: The names of the reward parts.
        reward_range: The least and the largest reward.
        packages: Optional packages, by import name, that the task cannot do without.
        syntax: For `mask="syntax"`: an `Automaton` or a `Grammar`; None where the task has no syntax.
        references_succeed: Whether a reference completion always succeeds and earns full reward. Where not, it is a
            good example.
        instruction: One or two sentences that tell a model in plain English what to write and in which form; "" where
            nobody has written them. Environments that are made with chat=True put them before each prompt.
    """

    Config: ClassVar[type[TaskConfig]] = TaskConfig
    part_names: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    references_succeed: ClassVar[bool] = True
    reward_range: tuple[float, float] = (0.0, 1.0)
    syntax: Automaton | Grammar | None = None
    instruction: str = ""

    config: TaskConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of `Config` by name.

        Raises:
            ConfigError: A name is unknown or a value not allowed.
        """
        known = [argument.name for argument in fields(self.Config)]
        for name in kwargs:
            if name not in known:
                hint = f"{suggest(name, known)} Allowed: {', '.join(known)}."
                raise ArgumentError(f"{type(self).__name__} got an unexpected keyword argument {name!r}.{hint}")
        self.config = self.Config(**kwargs)
        self._arguments = kwargs
        self._levels: dict[int, Self] = {}
        level = self.config.level
        if level is not None:
            levels = self.config.levels()
            allowed = f"None, or 0..{len(levels) - 1}" if levels else f"None: {type(self).__name__} has no levels"
            check_value("level", level, 0 <= level < len(levels), allowed)
            whole = type(self)(**{**kwargs, "level": None})
            self.config = dataclasses.replace(self.config, **levels[level])
            self.tokenizer = whole.tokenizer
            self.max_prompt_tokens, self.default_budget = whole.max_prompt_tokens, whole.default_budget

    @property
    def card(self) -> str:
        """What there is to know of the task: its docstring."""
        return inspect.cleandoc(type(self).__doc__ or "")

    @property
    def on_verdicts(self) -> str:
        """What the card says of `judge_tokens`, and so with which arguments they are there; "" where it does not."""
        found = re.search(r"[^.]*`judge_tokens`[^.]*\.", " ".join(self.card.split()))
        return found[0].strip() if found else ""

    @property
    def name(self) -> str:
        """What errors call the task: its class."""
        return type(self).__name__

    @classmethod
    def arguments_that_load(cls, arguments: Mapping[str, Any]) -> list[str]:
        """Which of these arguments would make code, a file or a download be loaded (see `TaskConfig.files`)."""
        harmless = {
            argument.name: (*cls.Config.files[argument.name], argument.default)
            for argument in fields(cls.Config)
            if argument.name in cls.Config.files
        }
        return [
            name
            for name, value in arguments.items()
            if name in harmless and isinstance(value, str) and value not in harmless[name]
        ]

    # --- vocabulary and budgets ------------------------------------------------------------------------------------

    @property
    def characters(self) -> str:
        """What the vocabulary "characters" can write: printable ASCII and the newline unless a task says otherwise."""
        return _PRINTABLE

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """The built-in vocabularies by name, each made when it is asked for; others are Hugging Face tokenizers."""
        return {"characters": lambda: character_tokenizer(self.characters)}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary the task is played in."""
        make = self.vocabularies().get(self.config.vocabulary)
        return make() if make is not None else load_tokenizer(self.config.vocabulary)

    def budgets(self) -> tuple[int, int]:
        """The most tokens of a prompt, BOS left out, and of a reference completion.

        They are measured on prompts drawn at random, with a quarter to spare where lengths differ; a prompt that turns
        out longer, or whose reference does, is drawn again. A task that knows its bounds says so here.
        """
        rng = np.random.default_rng(0)
        prompts = [self.draw(rng) for _ in range(_MEASURED)]
        references = [self.reference_completion(prompt, rng) for prompt in prompts]
        given = [len(self.tokenizer.encode(prompt.text)) for prompt in prompts]
        due = [len(self.tokenizer.encode(reference)) for reference in references if reference is not None]
        return _with_spare(given), _with_spare(due) if due else _NO_REFERENCES

    def most_tokens(self, count: int, characters: str) -> int:
        """A bound of the tokens of a text of `count` characters: one each, or their bytes in a vocabulary of pieces."""
        per_character = 1 if self.tokenizer.closed else max(len(character.encode()) for character in characters)
        return count * per_character

    @cached_property
    def _budgets(self) -> tuple[int, int]:
        return self.budgets()

    @cached_property
    def max_prompt_tokens(self) -> int:
        """P, the columns a prompt may fill, BOS included."""
        return self._budgets[0] + (self.tokenizer.bos_id is not None)

    @cached_property
    def default_budget(self) -> int:
        """How many tokens a reference completion takes at most."""
        return self._budgets[1]

    @property
    def max_completion_tokens(self) -> int:
        """C, the budget of a completion in tokens, EOS included."""
        return self.config.max_completion_tokens or self.default_budget

    # --- prompts ---------------------------------------------------------------------------------------------------

    def instruction_for(self, prompt: Prompt) -> str:
        """The instruction for one prompt, where a task has several."""
        return self.instruction

    def text_for_model(self, prompt: Prompt) -> str:
        """What the model reads: the prompt itself, unless the environment was asked to put something around it."""
        return prompt.text

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a prompt from the whole distribution, whatever the split."""

    def draw_within(self, split: Split, rng: np.random.Generator) -> Prompt:
        """Draws a prompt that may be of a split: where texts are split before prompts are, of the split's own texts."""
        return self.draw(rng)

    @abstractmethod
    def parse_prompt(self, text: str) -> Prompt:
        """Makes a prompt of any legal prompt text, so that other code can bring its own.

        Raises:
            PromptError: The text is not a prompt of this task.
        """

    def problem_key(self, prompt: Prompt) -> str:
        """What makes the problem; prompts that share it fall into the same split."""
        return prompt.text

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """Which prompts belong to this task's split, bool [n]: what decides it, here and everywhere."""
        split = self.config.split
        return np.array([text_in_split(self.problem_key(prompt), split) for prompt in prompts], dtype=np.bool_)

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """Returns the prompt that each key stands for, within the split; a pure function of the key.

        Args:
            keys: uint64 [n].
        """
        return [self._draw_one(rng) for rng in generators(keys)]

    def prompts_at(self, keys: Keys, levels: NDArray[np.int64]) -> list[Prompt]:
        """The same, each at a level of its own.

        Args:
            keys: uint64 [n].
            levels: int64 [n], below 0 for the whole task.
        """
        prompts: list[Prompt] = [Prompt("")] * len(keys)
        for level in np.unique(levels).tolist():
            rows = np.flatnonzero(levels == level)
            task = self if level < 0 else self.at_level(level)
            for row, prompt in zip(rows.tolist(), task.prompts_from_keys(keys[rows]), strict=True):
                prompts[row] = prompt
        return prompts

    def _draw_one(self, rng: np.random.Generator) -> Prompt:
        for _ in range(_MAX_DRAWS):
            prompt = self.draw_within(self.config.split, rng)
            if self.in_split([prompt])[0] and self._fits(prompt):
                return prompt
        raise ConfigError(f"split={self.config.split!r} holds none of {_MAX_DRAWS} prompts drawn; allowed here: 'all'.")

    def _fits(self, prompt: Prompt) -> bool:
        """Whether budgets that were measured hold this prompt and its reference."""
        if type(self).budgets is not Task.budgets:
            return True
        begins = self.tokenizer.bos_id is not None
        if len(self.tokenizer.encode(prompt.text)) + begins > self.max_prompt_tokens:
            return False
        reference = self.reference_completion(prompt, np.random.default_rng(0))
        return reference is None or len(self.tokenizer.encode(reference)) <= self.default_budget

    def sample_prompts(self, rng: np.random.Generator, n: int) -> list[Prompt]:
        """Draws n prompts of the split; the same as n draws of one."""
        return self.prompts_from_keys(rng.integers(0, 2**64, size=n, dtype=np.uint64))

    def encode_prompt(self, prompt: Prompt) -> NDArray[np.int64]:
        """Returns the prompt's columns: int64 [P], left-padded with PAD, BOS first where the vocabulary has one.

        Raises:
            PromptError: The prompt does not fit into P tokens.
        """
        ids = self.tokenizer.encode(prompt.text)
        if self.tokenizer.bos_id is not None:
            ids.insert(0, self.tokenizer.bos_id)
        return self.columns_of(ids, prompt)

    def columns_of(self, ids: Sequence[int], prompt: Prompt) -> NDArray[np.int64]:
        """Returns a prompt's tokens, BOS included, as columns: int64 [P], left-padded with PAD.

        Raises:
            PromptError: They are more than P.
        """
        if len(ids) > self.max_prompt_tokens:
            text = self.text_for_model(prompt)
            raise PromptError(f"prompt={text!r} has {len(ids)} tokens; allowed: at most {self.max_prompt_tokens}.")
        columns = np.full(self.max_prompt_tokens, self.tokenizer.pad_id, dtype=np.int64)
        columns[self.max_prompt_tokens - len(ids) :] = ids
        return columns

    # --- levels ----------------------------------------------------------------------------------------------------

    @property
    def levels(self) -> Sequence[Mapping[str, Any]]:
        """The task's levels, from easy to hard (see `TaskConfig.levels`); none within a level."""
        return self.config.levels() if self.config.level is None else ()

    def at_level(self, level: int) -> Self:
        """The same task with the prompts of one level alone; made once.

        Raises:
            ConfigError: There is no such level.
        """
        if level not in self._levels:
            self._levels[level] = self.changed(level=level)
        return self._levels[level]

    def changed(self, **arguments: Any) -> Self:
        """The same task with other arguments.

        Raises:
            ConfigError: A name is unknown or a value not allowed.
        """
        return type(self)(**{**self._arguments, **arguments})

    @cached_property
    def unsplit(self) -> Self:
        """The same task with `split="all"`."""
        return self.changed(split="all")

    # --- rewards ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Judges a batch of completions. Never raises because of what one says, and takes bounded time."""

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """A completion to imitate (see `references_succeed`), or None where there is none to give."""
        return None

    def constant_completions(self) -> list[str]:
        """Candidates for the best constant answer: what a model could say to every prompt."""
        return []

    def corpus(self) -> Sequence[str]:
        """Texts of this split in the task's language, to pretrain a model on; none where the task has no such texts."""
        return ()

    def illegal_outcome(self) -> Outcome:
        """What an episode earns that ends in an illegal token: the lowest reward."""
        return Outcome(self.reward_range[0], False, dict.fromkeys(self.part_names, 0.0), "illegal")

    def novelty_key(self, prompt: Prompt) -> str:
        """What has to be known to answer; evaluation reports apart the prompts whose key training never met."""
        return self.problem_key(prompt)


def _with_spare(lengths: Sequence[int]) -> int:
    """The longest of some lengths, 1 at the least, with a quarter to spare unless all are alike."""
    longest = max(lengths)
    return max(1, longest if longest == min(lengths) else math.ceil(_SPARE * longest))


# --- arguments -----------------------------------------------------------------------------------------------------


def make_task(task: str | Task, arguments: Mapping[str, Any]) -> Task:
    """Constructs the task that "module:Class" names, with its vocabulary.

    Raises:
        ConfigError: The reference leads to no task, or an argument is wrong.
    """
    if isinstance(task, Task):
        if arguments:
            raise ConfigError(f"task={task!r} is made already and takes no more arguments: {', '.join(arguments)}.")
        return task
    made = task_class(task)(**arguments)
    _ = made.tokenizer  # a vocabulary that cannot be had should be missed now
    return made


def task_class(task: str) -> type[Task]:
    """Resolves "module:Class".

    Raises:
        ConfigError: The reference leads to no task.
    """
    check_value("task", task, isinstance(task, str), "a Task, or 'package.module:Class'")
    module_name, _, class_name = task.partition(":")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # a TypeError for "..module"
        raise ConfigError(f"task={task!r} cannot be loaded ({error}); allowed: 'package.module:Class'.") from error
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise ConfigError(f"task={task!r} is not a subclass of rlfl_envs.Task.")
    return cls
