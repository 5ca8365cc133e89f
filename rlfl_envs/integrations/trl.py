"""TRL: a task's reward, prompts and vocabulary in the form that `GRPOTrainer` and `RLOOTrainer` take.

For a warm start, `reference_dataset` has what `SFTTrainer` takes.

The trainer samples the completions by itself, so what belongs to stepping is the trainer's: it has no action masks, and
its `max_completion_length` should be the task's `max_completion_tokens`. The reward is the environment's on the same
text, with `rewards="tokens"` the sum of what it pays for the text's tokens. `examples/trl_grpo.py` is a whole training
run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.credit import make_credit
from rlfl_envs.episode import Prompt
from rlfl_envs.errors import ConfigError, MissingDependencyError, PromptError, how_to_install
from rlfl_envs.prompting import PromptedTask
from rlfl_envs.registration import load_task
from rlfl_envs.task import Task
from rlfl_envs.text_rewards import TextRewards

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

__all__ = ["prompt_dataset", "reference_dataset", "reward_function", "task_tokenizer"]


def reward_function(id: str, **kwargs: Any) -> Callable[..., list[float]]:
    """Returns a task's reward as TRL calls it; TRL logs it under the id without its namespace ("Arithmetic-v0").

    It is called with `prompts` and `completions`, n of each, texts or conversations, and with the data set's columns,
    and returns n floats within the task's `reward_range`. What is judged against is the column `task_prompt` where
    there is one (see `prompt_dataset`), else the prompt itself, of a conversation its last message. Where TRL offers
    `log_metric`, the share of `success` and the mean of each reward part, `part/...`, are logged too. Whatever a
    completion is, it is judged and nothing is raised; a prompt that is none of the task's raises PromptError.

    TRL gives a completion one reward, so that with `rewards="tokens"` it is what the environment would have paid for
    all of the completion's tokens: those that the task's `vocabulary` writes it in, which should be the model's, and
    EOS (see `TextRewards`). A success earns the largest reward, anything else a share for each token before the first
    wrong one. What "shaped" pays adds up to the reward at the end.

    Args:
        id: Such as "rlfl/Arithmetic-v0".
        **kwargs: What `gymnasium.make(id, **kwargs)` takes.

    Raises:
        UnknownIdError: No such id.
        ConfigError: An argument is unknown or has a value that is not allowed; `mask` and `min_completion_tokens`
            must be left alone, since TRL would not keep to them.

    Example:
        >>> reward = reward_function("rlfl/Arithmetic-v0")
        >>> rewards = reward(prompts=["2+3+4=5+4="] * 2, completions=["9", "8"])
        >>> [round(reward, 3) for reward in rewards]
        [1.0, 0.95]
        >>> stepwise = {"reward": "worked_out", "rewards": "tokens", "max_completion_tokens": 10}
        >>> reward = reward_function("rlfl/ArithmeticSteps-v0", **stepwise)
        >>> rewards = reward(prompts=["2+3+4="] * 3, completions=["5+4=9", "5+4=8", "4+4=8"])
        >>> [round(reward, 3) for reward in rewards]
        [1.0, 0.4, 0.0]
    """
    task = _load(id, kwargs)
    of_tokens = TextRewards(task, "tokens") if kwargs.get("rewards") == "tokens" else None

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        asked = columns.get("task_prompt")
        texts = [_asked(prompt) for prompt in (prompts if asked is None else asked)]
        written = [_text(completion) for completion in completions]
        name, allowed = "prompts" if asked is None else "task_prompt", f"{len(written)}, one for each completion"
        check_value(f"len({name})", len(texts), len(texts) == len(written), allowed)
        parsed = {text: task.parse_prompt(text) for text in set(texts)}  # a group's completions share their prompt
        outcomes = task.evaluate([parsed[text] for text in texts], written)
        log_metric = columns.get("log_metric")
        if log_metric is not None and outcomes:
            log_metric("success", float(np.mean([outcome.is_success for outcome in outcomes])))
            for name in task.part_names:
                log_metric(f"part/{name}", float(np.mean([outcome.parts[name] for outcome in outcomes])))
        if of_tokens is not None:
            return [float(paid.sum()) for paid in of_tokens(texts, written)]
        return [float(outcome.reward) for outcome in outcomes]

    reward.__name__ = reward.__qualname__ = id.rpartition("/")[2]
    return reward


def prompt_dataset(id: str, *, num_prompts: int, seed: int = 0, **kwargs: Any) -> Dataset:
    """Draws prompts of a task's split as a data set; the same arguments always give the same.

    It has two columns: `prompt`, which the model reads, and `task_prompt`, which the reward goes by. They are the same
    text, unless a `template` stands around `prompt`, or `chat=True` makes a conversation of it: the model then reads in
    TRL what it reads in our environments. `prompt` may be rewritten at will.

    Args:
        id: Such as "rlfl/Arithmetic-v0".
        num_prompts: How many, 1 or more. Where a task has few, they repeat.
        seed: 0 or more; another seed gives other prompts.
        **kwargs: What `gymnasium.make(id, **kwargs)` takes: `split="test"` for an evaluation.

    Raises:
        UnknownIdError: No such id.
        ConfigError: An argument is unknown or has a value that is not allowed.
        MissingDependencyError: `datasets` is not installed.
    """
    task = _load(id, kwargs)
    prompts = _draw(task, num_prompts, seed)
    return _dataset({"prompt": _read(task, prompts), "task_prompt": [prompt.text for prompt in prompts]})


def reference_dataset(id: str, *, num_prompts: int, seed: int = 0, **kwargs: Any) -> Dataset:
    """Draws prompts as `prompt_dataset` does, with the task's reference completions, for `SFTTrainer`.

    It has the columns `prompt` and `completion`, messages with `chat=True`. The trainer puts EOS behind a completion.

    Args:
        id: Such as "rlfl/Arithmetic-v0".
        num_prompts: How many, 1 or more.
        seed: 0 or more.
        **kwargs: What `gymnasium.make(id, **kwargs)` takes.

    Raises:
        UnknownIdError: No such id.
        ConfigError: An argument is unknown or has a value that is not allowed, or the task has no references.
        MissingDependencyError: `datasets` is not installed.
    """
    task = _load(id, kwargs)
    prompts = _draw(task, num_prompts, seed)
    rng = np.random.default_rng(seed)
    references = [task.reference_completion(prompt, rng) for prompt in prompts]
    check_value("id", id, None not in references, "an id whose task has references")
    if _is_chat(task):
        return _dataset({"prompt": _read(task, prompts), "completion": [*map(_message("assistant"), references)]})
    return _dataset({"prompt": _read(task, prompts), "completion": references})


def task_tokenizer(id: str, **kwargs: Any) -> PreTrainedTokenizerFast:
    """Returns a task's vocabulary for a model from random weights, as the trainer's `processing_class`.

    Token ids and texts are those of the environment: BOS is put before a prompt where the vocabulary has one, special
    tokens are skipped when decoding, and nothing else is changed, no space added or removed. Only where a text spells a
    special token, such as "<eos>", is it read as that token, because `SFTTrainer` writes EOS so.

    Args:
        id: Such as "rlfl/Arithmetic-v0".
        **kwargs: What `gymnasium.make(id, **kwargs)` takes.

    Raises:
        UnknownIdError: No such id.
        ConfigError: An argument is unknown or has a value that is not allowed.
        MissingDependencyError: `transformers` is not installed.
    """
    vocabulary = _load(id, kwargs).tokenizer
    try:
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise _missing("transformers") from error
    ids = {"pad_token": vocabulary.pad_id, "eos_token": vocabulary.eos_id, "bos_token": vocabulary.bos_id}
    names = {role: vocabulary.id_to_token(token_id) for role, token_id in ids.items() if token_id is not None}
    return PreTrainedTokenizerFast(
        tokenizer_object=vocabulary.as_published(),
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=vocabulary.chat_template,
        **names,
    )


def _load(id: str, kwargs: dict[str, Any]) -> Task:
    """Loads a task, and refuses what would be promised and not kept."""
    arguments = {"min_completion_tokens": 0, **kwargs}
    rewards = arguments.pop("rewards", "end")
    task = load_task(id, **arguments)
    make_credit(rewards, task, 1)  # raises where they cannot be had
    for name, default in (("mask", "none"), ("min_completion_tokens", 0)):
        value = getattr(task.config, name)
        if value != default:
            raise ConfigError(f"{name}={value!r} is not allowed; allowed: {default!r}, since TRL knows no masks.")
    return task


def _draw(task: Task, num_prompts: int, seed: int) -> list[Prompt]:
    """Draws prompts of the task's split; the same arguments always give the same."""
    check_value("num_prompts", num_prompts, is_integer(num_prompts) and num_prompts >= 1, "an integer, 1 or more")
    check_value("seed", seed, is_integer(seed) and seed >= 0, "an integer, 0 or more")
    return task.sample_prompts(np.random.default_rng(seed), num_prompts)


def _is_chat(task: Task) -> bool:
    return isinstance(task, PromptedTask) and task.chat


def _message(role: str) -> Callable[[str | None], list[dict[str, Any]]]:
    """Makes conversations of one message each."""
    return lambda content: [{"role": role, "content": content}]


def _read(task: Task, prompts: Sequence[Prompt]) -> list[Any]:
    """What the model reads: texts, or conversations."""
    if isinstance(task, PromptedTask) and task.chat:
        return [*map(_message("user"), map(task.message, prompts))]
    return [*map(task.text_for_model, prompts)]


def _dataset(columns: dict[str, list[Any]]) -> Dataset:
    try:
        from datasets import Dataset
    except ImportError as error:
        raise _missing("datasets") from error
    return Dataset.from_dict(columns)


def _asked(given: Any) -> str:
    """The text of a prompt, of a conversation its last message."""
    text = _text(given)
    if not text and given != "":
        raise PromptError(f"prompt={given!r} is not allowed; allowed: a text, or a conversation that ends in one.")
    return text


def _text(given: Any) -> str:
    """A text itself, or what the last message of a conversation says; nothing where there is no text."""
    if isinstance(given, (list, tuple)):
        last = given[-1] if given else None
        given = last.get("content") if isinstance(last, dict) else None
    if isinstance(given, (list, tuple)):  # a message in parts, of which some may be images
        parts = [part.get("text") for part in given if isinstance(part, dict)]
        given = "".join([part for part in parts if isinstance(part, str)])
    return given if isinstance(given, str) else ""


def _missing(package: str) -> MissingDependencyError:
    return MissingDependencyError(f"{package} is not installed: {how_to_install('trl')}")
