"""A task: a prompt distribution plus a programmed reward, in text.

No tokens are stepped here and no Gymnasium is needed.

This is the surface for people who train with something else than Gymnasium, and what a new task implements: `draw` and
`evaluate`, a config, a tokenizer and two budgets.
"""

from __future__ import annotations

import importlib
import typing
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_type, check_value
from rlfl_envs.errors import ConfigError, PromptError, suggest
from rlfl_envs.keys import Keys, text_in_split
from rlfl_envs.tokenization import Tokenizer

__all__ = [
    "ArrayTask",
    "Automaton",
    "Grammar",
    "Outcome",
    "OutcomeArrays",
    "Prompt",
    "Task",
    "TaskConfig",
    "check_value",
    "make_task",
    "task_class",
]

Split = Literal["train", "test", "all"]
_MAX_DRAWS = 10_000  # a split or a filter that rejects this many prompts in a row will reject them all


@dataclass(frozen=True, slots=True)
class Prompt:
    """Given text.

    Attributes:
        text: What the model reads; may be empty.
        data: What the task needs to judge a completion; its own business.
    """

    text: str
    data: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a completion earned.

    Attributes:
        reward: Within the task's `reward_range`.
        is_success: Whether the task counts as solved.
        parts: Named quantities behind the reward, one float for each of the task's `part_names`.
        status: One word for what happened, "ok" unless the task says otherwise.
    """

    reward: float
    is_success: bool
    parts: Mapping[str, float]
    status: str = "ok"


@dataclass(frozen=True, slots=True)
class OutcomeArrays:
    """The outcomes of n completions as arrays: what `ArrayTask.evaluate_arrays` returns.

    Attributes:
        reward: float64 [n].
        is_success: bool [n].
        parts: float64 [n] for each of the task's `part_names`.
        status: object [n] of str.
    """

    reward: NDArray[np.float64]
    is_success: NDArray[np.bool_]
    parts: Mapping[str, NDArray[np.float64]]
    status: NDArray[np.object_]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], part_names: Sequence[str]) -> OutcomeArrays:
        """Turns outcomes into arrays."""
        return cls(
            reward=np.array([outcome.reward for outcome in outcomes], dtype=np.float64),
            is_success=np.array([outcome.is_success for outcome in outcomes], dtype=np.bool_),
            parts={name: np.array([o.parts[name] for o in outcomes], dtype=np.float64) for name in part_names},
            status=np.array([outcome.status for outcome in outcomes], dtype=object),
        )

    def put(self, rows: NDArray[np.bool_], others: OutcomeArrays) -> None:
        """Replaces the outcomes of some rows, bool [n], by others: one each, or one for all."""
        self.reward[rows], self.is_success[rows], self.status[rows] = others.reward, others.is_success, others.status
        for name, values in self.parts.items():
            values[rows] = others.parts[name]


class Automaton(Protocol):
    """Recognises the prefixes of well-formed completions, character by character; `mask="syntax"` is made from it.

    States are hashable values of the automaton's own choice, and few.
    """

    alphabet: str
    """Every character that a well-formed completion can have."""

    def start(self, prompt: Prompt) -> Hashable:
        """The state before the first character."""

    def advance(self, state: Hashable, character: str) -> Hashable | None:
        """The state after one more character, or None where nothing well-formed starts like this."""

    def is_final(self, state: Hashable) -> bool:
        """Whether the text so far is a well-formed completion."""

    def characters_left(self, state: Hashable) -> int:
        """The least number of characters that makes the text well-formed; 0 in a final state."""


class Grammar(ABC):
    """The well-formed completions as a context-free grammar; `mask="syntax"` is made from it by llguidance."""

    @abstractmethod
    def start(self, prompt: Prompt) -> str:
        """A grammar in llguidance's dialect of Lark, whose `start` derives the well-formed completions of a prompt."""


@dataclass(frozen=True)
class TaskConfig:
    """The arguments that every task takes.

    Attributes:
        split: Which problems are drawn: 90% "train", 10% "test", or "all". Decided by a stable hash of the problem.
        vocabulary: A built-in vocabulary's name, or a Hugging Face tokenizer by name or path.
        mask: "none" leaves every ordinary token legal; "syntax" only those that keep the completion a prefix of
            something well-formed.
        max_completion_tokens: The budget C, EOS included; by default the longest reference completion.
        min_completion_tokens: EOS is masked until the completion has this many tokens.
    """

    split: Split = "train"
    vocabulary: str = "characters"
    mask: Literal["none", "syntax"] = "none"
    max_completion_tokens: int | None = None
    min_completion_tokens: int = 0

    def __post_init__(self) -> None:
        """Checks every argument's type and the common ones' ranges; a subclass calls this, then checks its own."""
        hints = typing.get_type_hints(type(self))
        for argument in fields(self):
            check_type(argument.name, getattr(self, argument.name), hints[argument.name])
        budget = self.max_completion_tokens
        check_value("max_completion_tokens", budget, budget is None or 1 <= budget <= 65536, "1..65536, or None")
        least = self.min_completion_tokens
        check_value("min_completion_tokens", least, 0 <= least <= 65536, "0..65536")


class Task(ABC):
    """A prompt distribution plus a programmed reward.

    A subclass sets `Config`, `part_names`, `reward_range`, `tokenizer`, `max_prompt_tokens` and `default_budget` (the
    last four usually in its `__init__`, after `super().__init__(**kwargs)`) and implements `draw`, `parse_prompt`,
    `evaluate` and, where there is one, `reference_completion`. Its docstring is its card.

    Attributes:
        config: The arguments, checked.
        tokenizer: The vocabulary the task is played in.
        reward_range: The least and the largest reward.
        max_prompt_tokens: P, the columns a prompt may fill, BOS included.
        default_budget: The longest reference completion in tokens.
        part_names: The names of the reward parts.
        baseline_prompts: Over how many prompts `baselines` averages unless told otherwise.
        stop_characters: Where not empty, `stops` is asked only after a token that has one of these.
        packages: Optional packages, by import name, that the task cannot do without.
        syntax: For `mask="syntax"`: an `Automaton` or a `Grammar`; None where the task has no syntax.
        references_succeed: Whether a reference completion always succeeds and earns full reward. Where not, it is a
            good example.
    """

    Config: ClassVar[type[TaskConfig]] = TaskConfig
    part_names: ClassVar[tuple[str, ...]] = ()
    baseline_prompts: ClassVar[int] = 500
    stop_characters: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()
    syntax: Automaton | Grammar | None = None
    references_succeed: ClassVar[bool] = True

    config: TaskConfig
    tokenizer: Tokenizer
    reward_range: tuple[float, float]
    max_prompt_tokens: int
    default_budget: int

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of `Config` by name.

        Raises:
            ConfigError: A name is unknown or a value not allowed.
        """
        known = [argument.name for argument in fields(self.Config)]
        for name in kwargs:
            if name not in known:
                hint = f"{suggest(name, known)} Allowed: {', '.join(known)}."
                raise ConfigError(f"{type(self).__name__} takes no argument {name!r}.{hint}")
        self.config = self.Config(**kwargs)

    # --- prompts ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a prompt from the whole distribution, whatever the split."""

    @abstractmethod
    def parse_prompt(self, text: str) -> Prompt:
        """Makes a prompt of any legal prompt text, so that other code can bring its own.

        Raises:
            PromptError: The text is not a prompt of this task.
        """

    def problem_key(self, prompt: Prompt) -> str:
        """What makes the problem; prompts that share it fall into the same split."""
        return prompt.text

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """Returns the prompt that each key stands for, within the split; a pure function of the key.

        Args:
            keys: uint64 [n].
        """
        return [self._prompt_from_key(int(key)) for key in keys]

    def _prompt_from_key(self, key: int) -> Prompt:
        rng = np.random.default_rng(key)
        for _ in range(_MAX_DRAWS):
            prompt = self.draw(rng)
            if text_in_split(self.problem_key(prompt), self.config.split):
                return prompt
        raise ConfigError(f"split={self.config.split!r} holds none of {_MAX_DRAWS} prompts drawn; allowed here: 'all'.")

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
        if len(ids) > self.max_prompt_tokens:
            raise PromptError(
                f"prompt={prompt.text!r} has {len(ids)} tokens; allowed: at most {self.max_prompt_tokens}."
            )
        columns = np.full(self.max_prompt_tokens, self.tokenizer.pad_id, dtype=np.int64)
        columns[self.max_prompt_tokens - len(ids) :] = ids
        return columns

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

    def illustrate(self, path: Path, text: str | None = None, seed: int = 0) -> str:
        """Draws a picture of one of the task's texts.

        Args:
            path: The picture's file (PNG).
            text: The text; one of the task's own by default.
            seed: Of all choices.

        Returns:
            What there is to say about it, in lines.

        Raises:
            ConfigError: The task has no pictures.
        """
        raise ConfigError(f"picture={str(path)!r} is not allowed; {type(self).__name__} has no pictures.")

    def novelty_key(self, prompt: Prompt) -> str:
        """What has to be known to answer; evaluation reports apart the prompts whose key training never met."""
        return self.problem_key(prompt)

    def stops(self, prompt: Prompt, completion: str) -> bool:
        """The task's own stopping rule: whether a completion is over without EOS. Asked after every token."""
        return False

    def stop_tokens(self) -> NDArray[np.bool_]:
        """After which tokens `stops` is to be asked, bool [V]: none where there is no such rule."""
        if type(self).stops is Task.stops:
            return np.zeros(self.tokenizer.vocab_size, dtype=np.bool_)
        if not self.stop_characters:
            return np.ones(self.tokenizer.vocab_size, dtype=np.bool_)
        characters = set(self.stop_characters)
        return np.array([not characters.isdisjoint(text) for text in self.tokenizer.token_texts])

    @property
    def max_completion_tokens(self) -> int:
        """C, the budget of a completion in tokens, EOS included."""
        return self.config.max_completion_tokens or self.default_budget


@runtime_checkable
class ArrayTask(Protocol):
    """The array fast path that a task may add for the vector environment; outcome for outcome the text path."""

    def arrays_from_keys(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """Returns the prompts' columns, int64 [n, P], and a structured array [n] of what judging them needs."""

    def arrays_from_prompts(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The same for prompts that exist already."""

    def start_states(self, data: NDArray[np.void]) -> list[Hashable]:
        """`automaton.start` for each row of the structured array."""

    def evaluate_arrays(
        self, data: NDArray[np.void], completions: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> OutcomeArrays:
        """Judges completions given as token ids.

        Args:
            data: structured array [n].
            completions: int64 [n, C]; columns from `lengths` on are to be ignored.
            lengths: int64 [n], tokens without EOS.
        """


# --- arguments -----------------------------------------------------------------------------------------------------


def make_task(task: str | Task, arguments: Mapping[str, Any]) -> Task:
    """Constructs the task that "module:Class" names.

    Raises:
        ConfigError: The reference leads to no task, or an argument is wrong.
    """
    if isinstance(task, Task):
        if arguments:
            raise ConfigError(f"task={task!r} is made already and takes no more arguments: {', '.join(arguments)}.")
        return task
    return task_class(task)(**arguments)


def task_class(task: str) -> type[Task]:
    """Resolves "module:Class".

    Raises:
        ConfigError: The reference leads to no task.
    """
    module_name, _, class_name = task.partition(":")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"task={task!r} cannot be loaded ({error}); allowed: 'package.module:Class'.") from error
    if not (isinstance(cls, type) and issubclass(cls, Task)):
        raise ConfigError(f"task={task!r} is not a subclass of rlfl_envs.Task.")
    return cls
