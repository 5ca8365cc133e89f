"""check_task: the contract test that third parties run on a task of theirs."""

from __future__ import annotations

import contextlib
import math
import pickle
from collections.abc import Iterator, Sequence

import numpy as np

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import RLFLError
from rlfl_envs.masks import make_mask
from rlfl_envs.protocols import ArrayStarts, ArrayTask, KindTask, StoppingTask, ViableTask
from rlfl_envs.task import Task
from rlfl_envs.token_env import TokenEnv, stops
from rlfl_envs.tokenization import Tokenizer

__all__ = ["check_task"]

_PROTOCOLS = {  # some of a protocol's members alone would be ignored
    ArrayTask: ("arrays_from_keys", "arrays_from_prompts", "evaluate_arrays"),
    StoppingTask: ("stops", "stop_characters"),
}
_WALKS = 8  # of right tokens drawn at random
_GARBAGE = [
    "",
    " ",
    "\x00",
    "\n\t",
    "=" * 50,
    "((((",
    "0" * 5000,
    "9" * 300,
    "-1",
    "1e999",
    "nan",
    "é漢🙂",
    "__import__('os')",
    "A" * 100_000,
]


def check_task(task: Task, *, num_prompts: int = 64, seed: int = 0, vocabularies: Sequence[str] = ()) -> None:
    """Checks that a task keeps the contract that the environments and the agent rely on.

    Prompts are the same for the same seed, do not depend on how many are drawn at once, fit into P tokens, can be
    parsed back from their text, and those of "train" and "test" share no problem. Prompts of every level are the whole
    task's too, in the same columns, and earn the same. References fit the budget, are legal under the mask and, unless
    the task says that they need not, succeed and earn the upper end of `reward_range`. Prompts and references, and the
    one after the other, can be read back from their tokens. Any completion, garbage included, gets an outcome: reward
    in range, the declared parts, the same twice. An array path gives what the text path gives. No token of a reference
    is wrong where the task can tell, and right tokens lead to a success. Kinds of prompts, where the task tells them
    apart, are those that it names. An optional protocol is there as a whole or not at all. The task can be pickled.

    Args:
        task: The task to check.
        num_prompts: How many prompts to draw.
        seed: Of the prompts.
        vocabularies: What else to check it with, made anew with each as its argument `vocabulary`.

    Raises:
        AssertionError: The contract is broken; the message says what and where.
        ConfigError: `task` is something else, such as an id.
    """
    check_value("task", task, isinstance(task, Task), "a Task, as load_task makes it")
    check_value("num_prompts", num_prompts, is_integer(num_prompts) and num_prompts >= 1, "an integer, 1 or more")
    check_value("seed", seed, is_integer(seed) and seed >= 0, "an integer, 0 or more")
    _check_in_one_vocabulary(task, num_prompts, seed)
    for vocabulary in vocabularies:
        with _no_error(f"the task cannot be made with vocabulary={vocabulary!r}"):
            other = task.changed(vocabulary=vocabulary)
            ours, theirs = (each.tokenizer for each in (task, other))
        differs = (ours.name, ours.token_bytes) != (theirs.name, theirs.token_bytes)
        assert differs or vocabulary == task.config.vocabulary, f"vocabulary={vocabulary!r} is ignored."
        try:
            _check_in_one_vocabulary(other, num_prompts, seed)
        except AssertionError as error:
            raise AssertionError(f"with vocabulary={vocabulary!r}: {error}") from error


def _check_in_one_vocabulary(task: Task, num_prompts: int, seed: int) -> None:
    low, high = task.reward_range
    assert -math.inf < low < high < math.inf, f"reward_range={task.reward_range} is no range."
    prompts = task.sample_prompts(np.random.default_rng(seed), num_prompts)
    _check_prompts(task, prompts, seed)
    _check_tokens(task, prompts, seed)
    _check_splits(task, num_prompts, seed)
    _check_references(task, prompts, seed)
    _check_levels(task, seed)
    rng = np.random.default_rng(seed)
    noise = [task.tokenizer.decode(rng.integers(task.tokenizer.vocab_size, size=8).tolist()) for _ in prompts]
    for completions in (noise, *([text] * min(4, num_prompts) for text in _GARBAGE)):
        _check_outcomes(task, prompts[: len(completions)], completions)
    for protocol, members in _PROTOCOLS.items():
        missing = [member for member in members if getattr(task, member, None) is None]
        assert len(missing) in (0, len(members)), f"the task has no {missing[0]}, so that it is no {protocol.__name__}."
    if isinstance(task, ArrayTask):
        _check_arrays(task, seed, num_prompts)
    if isinstance(task, ViableTask) and task.references_succeed:
        _check_successes(task, prompts, seed)
    if isinstance(task, KindTask):
        kinds = task.kinds_of(prompts).tolist()
        is_named = len(kinds) == len(prompts) and set(kinds) <= set(range(len(task.kinds)))
        assert is_named, f"kinds_of gives {kinds} for {len(prompts)} prompts; there are {len(task.kinds)} kinds."
    illegal = task.illegal_outcome()
    expected = Outcome(low, False, illegal.parts, illegal.status)
    assert illegal == expected, f"illegal_outcome() is {illegal}; its reward should be {low}, and no success."
    assert set(illegal.parts) == set(task.part_names), f"illegal_outcome() has parts {sorted(illegal.parts)}."
    with _no_error("the task cannot be pickled"):
        copy = pickle.loads(pickle.dumps(task))
    again = copy.sample_prompts(np.random.default_rng(seed), num_prompts)
    assert [prompt.text for prompt in again] == [prompt.text for prompt in prompts], (
        "A pickled copy draws other prompts."
    )


def _check_prompts(task: Task, prompts: Sequence[Prompt], seed: int) -> None:
    again = task.sample_prompts(np.random.default_rng(seed), len(prompts))
    assert again == list(prompts), "sample_prompts gives other prompts for the same seed."
    rng = np.random.default_rng(seed)
    singly = [task.sample_prompts(rng, 1)[0] for _ in prompts]
    assert singly == list(prompts), "sample_prompts(rng, n) differs from n draws of one prompt."
    for prompt in prompts:
        with _no_error(f"prompt {prompt.text!r} cannot be encoded"):
            columns = task.encode_prompt(prompt)
        assert columns.shape == (task.max_prompt_tokens,), (
            f"prompt {prompt.text!r} is encoded to shape {columns.shape}."
        )
        with _no_error(f"prompt {prompt.text!r} was drawn, but parse_prompt refuses it"):
            parsed = task.parse_prompt(prompt.text)
        assert parsed == prompt, f"parse_prompt({prompt.text!r}) gives {parsed}, not the prompt that was drawn."


def _check_tokens(task: Task, prompts: Sequence[Prompt], seed: int) -> None:
    """Writes prompts and references in tokens and reads them back, alone and the one after the other."""
    rng, tokenizer = np.random.default_rng(seed), task.tokenizer
    texts: dict[bytes, str] = {}
    for prompt in prompts:
        where = f"prompt {prompt.text!r}"
        tokens = _read_back(tokenizer, prompt.text, where)
        other = texts.setdefault(task.encode_prompt(prompt).tobytes(), prompt.text)
        assert other == prompt.text, f"{where} has the tokens of prompt {other!r}."
        reference = task.reference_completion(prompt, rng)
        if reference is not None:
            tokens += _read_back(tokenizer, reference, f"the reference {reference!r} of {where}")
            both = tokenizer.decode(tokens)
            assert both == prompt.text + reference, (
                f"{where} and its reference {reference!r} are read back as {both!r}."
            )


def _read_back(tokenizer: Tokenizer, text: str, where: str) -> list[int]:
    """The tokens of a text: ordinary ones, that say it and nothing else."""
    with _no_error(f"{where} cannot be encoded"):
        tokens = tokenizer.encode(text)
    assert set(tokens) <= set(range(tokenizer.vocab_size)), (
        f"{where} has token ids outside 0..{tokenizer.vocab_size - 1}."
    )
    assert tokenizer.ordinary[tokens].all(), f"{where} has tokens that write nothing: {tokens}."
    found = tokenizer.decode(tokens)
    assert found == text, f"{where} is read back from its tokens as {found!r}."
    return tokens


def _check_splits(task: Task, num_prompts: int, seed: int) -> None:
    keys = {}
    for split in ("train", "test"):
        try:
            part = task.changed(split=split)
        except RLFLError:
            return  # too few problems for two splits
        try:
            keys[split] = {
                part.problem_key(p) for p in part.sample_prompts(np.random.default_rng(seed), 4 * num_prompts)
            }
        except RLFLError:
            return
    common = keys["train"] & keys["test"]
    assert not common, f"the splits share problems, such as {next(iter(common))!r}."


def _check_levels(task: Task, seed: int) -> None:
    """Compares what the whole task and a level make of the same prompts, a few for each level."""
    for number in range(len(task.levels)):
        level, rng = task.at_level(number), np.random.default_rng(seed)
        for prompt in level.sample_prompts(rng, 4):
            where = f"prompt {prompt.text!r} of level {number}"
            with _no_error(f"the whole task refuses {where}"):
                parsed = task.parse_prompt(prompt.text)
                columns = task.encode_prompt(parsed)
            assert np.array_equal(columns, level.encode_prompt(prompt)), f"{where} has other columns in the whole task."
            answers = [level.reference_completion(prompt, rng) or "", ""]
            whole, own = task.evaluate([parsed] * 2, answers), level.evaluate([prompt] * 2, answers)
            assert whole == own, f"{where} earns {own[0]} in its level and {whole[0]} in the whole task."


def _check_references(task: Task, prompts: Sequence[Prompt], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, tokenizer = make_mask(task), task.tokenizer
    for prompt in prompts:
        reference = task.reference_completion(prompt, rng)
        if reference is None:
            continue
        where = f"the reference {reference!r} of prompt {prompt.text!r}"
        _check_outcomes(task, [prompt], [reference])
        outcome = task.evaluate([prompt], [reference])[0]
        if task.references_succeed:
            assert outcome.is_success, f"{where} is no success: {outcome}."
            assert math.isclose(outcome.reward, task.reward_range[1]), (
                f"{where} earns {outcome.reward}, not {task.reward_range[1]}."
            )
        with _no_error(f"{where} cannot be encoded"):
            tokens = tokenizer.encode(reference)
        assert len(tokens) <= task.max_completion_tokens, (
            f"{where} has {len(tokens)} tokens; C is {task.max_completion_tokens}."
        )
        state = mask.start(prompt)
        silent = ~tokenizer.ordinary
        silent[[*tokenizer.eos_ids]] = False
        assert not mask.row(state)[silent].any(), f"{where}: the mask allows tokens that write nothing."
        for token in tokens:
            assert mask.row(state)[token], (
                f"{where} has the token {tokenizer.id_to_token(token)!r}, which the mask forbids."
            )
            state = mask.next_state(state, token)
        if len(tokens) < task.max_completion_tokens and not stops(task, prompt, reference):
            assert mask.row(state)[tokenizer.eos_id], f"{where} cannot be ended: the mask forbids EOS."


def _check_outcomes(task: Task, prompts: Sequence[Prompt], completions: Sequence[str]) -> None:
    with _no_error(f"evaluate raises for a completion such as {completions[0][:80]!r}"):
        outcomes = task.evaluate(prompts, completions)
    assert len(outcomes) == len(prompts), f"evaluate returns {len(outcomes)} outcomes for {len(prompts)} completions."
    low, high = task.reward_range
    for completion, outcome in zip(completions, outcomes, strict=True):
        where = f"completion {completion[:80]!r}"
        assert isinstance(outcome, Outcome), f"{where} gets {type(outcome).__name__}, not an Outcome."
        assert low <= outcome.reward <= high, f"{where} earns {outcome.reward}, outside [{low}, {high}]."
        assert set(outcome.parts) == set(task.part_names), (
            f"{where} has parts {sorted(outcome.parts)}, not {sorted(task.part_names)}."
        )
    assert task.evaluate(prompts, completions) == outcomes, (
        f"evaluate gives other outcomes the second time for {completions[0][:80]!r}."
    )


def _check_arrays(task: Task, seed: int, num_prompts: int) -> None:
    """Compares the array path with the text path, on noise and on references, some of them cut short."""
    assert isinstance(task, ArrayTask)
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 2**64, size=num_prompts, dtype=np.uint64)
    prompts, tokenizer, budget = task.prompts_from_keys(keys), task.tokenizer, task.max_completion_tokens
    columns, data = task.arrays_from_keys(keys)
    expected = np.stack([task.encode_prompt(prompt) for prompt in prompts])
    assert np.array_equal(columns, expected), "arrays_from_keys gives other columns than prompts_from_keys."
    ordinary = np.flatnonzero(tokenizer.ordinary)
    completions = rng.choice(ordinary, size=(num_prompts, budget))
    lengths = rng.integers(budget + 1, size=num_prompts)
    for row in range(0, num_prompts, 2):
        tokens = tokenizer.encode(task.reference_completion(prompts[row], rng) or "")[:budget]
        completions[row, : len(tokens)] = tokens
        lengths[row] = len(tokens) if row % 4 else min(lengths[row], len(tokens))
    if isinstance(task, ArrayStarts) and task.syntax is not None:
        starts = [task.syntax.start(prompt) for prompt in prompts]
        assert list(task.start_states(data)) == starts, "start_states gives other states than syntax.start."
    texts = [tokenizer.decode(completions[row, : lengths[row]].tolist()) for row in range(num_prompts)]
    arrays = task.evaluate_arrays(data, completions, lengths)
    for row, outcome in enumerate(task.evaluate(prompts, texts)):
        found = arrays.row(row)
        assert found == outcome, f"evaluate_arrays gives {found} for {texts[row]!r}, evaluate gives {outcome}."


def _check_successes(task: Task, prompts: Sequence[Prompt], seed: int) -> None:
    """References are right token by token, so far as they fit the budget; random right tokens lead to a success."""
    rng, env = np.random.default_rng(seed), TokenEnv(task)
    for prompt in prompts:
        reference = task.reference_completion(prompt, rng)
        tokens = [] if reference is None else task.tokenizer.encode(reference)
        if not task.config.min_completion_tokens <= len(tokens) <= task.max_completion_tokens:
            continue
        env.reset(options={"prompt": prompt.text})
        for place, token in enumerate(tokens):
            assert env.judge_tokens(np.array([token]))[0], (
                f"the reference {reference!r} of prompt {prompt.text!r} goes wrong at token {place}, say its successes."
            )
            env.step(token)
    if task.config.min_completion_tokens == 0:  # a least length is not looked ahead to
        for prompt in prompts[:_WALKS]:
            _check_right_tokens(env, prompt, rng)


def _check_right_tokens(env: TokenEnv, prompt: Prompt, rng: np.random.Generator) -> None:
    """Where tokens are right and allowed by the mask, others follow, up to a success."""
    every = np.arange(env.tokenizer.vocab_size)
    _, info = env.reset(options={"prompt": prompt.text})
    right = env.judge_tokens(every)
    while right.any():
        where = f"after {env.completion!r} of prompt {prompt.text!r}"
        *_, is_over, _, info = env.step(int(rng.choice(every[right])))
        right = env.judge_tokens(every)
        assert is_over or right.any(), f"{where} a token was right, say its successes, but no right one follows."
        assert info.get("is_success", True), f"{where} a token was right, say its successes, and the last; it failed."


@contextlib.contextmanager
def _no_error(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}.") from error
