"""The best constant answer: sought, not only listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rlfl_envs.episode import Prompt
from rlfl_envs.task import Task

__all__ = ["best_constants"]

_CANDIDATES = 256  # that the search begins with
_KEPT = 4
_CHANGES = 12  # of each that was kept, in a round

Grade = Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]
"""What texts are worth, prompt by prompt."""


def best_constants(
    task: Task, prompts: Sequence[Prompt], answers: Sequence[str], grade: Grade, rounds: int, rng: np.random.Generator
) -> list[str]:
    """Seeks texts that are paid much whatever the prompt.

    The search begins with the task's own candidates and with right answers to other prompts; the half that earns less
    is dropped as often as more prompts are asked. Then the best are changed at random, round by round.

    Args:
        task: The task.
        prompts: The prompts that decide.
        answers: Right answers to other prompts, whole and cut.
        grade: What is sought; the mean over prompts counts.
        rounds: How often the best are changed, 0 or more.
        rng: Of all choices.

    Returns:
        The best, best first: at most four.
    """
    beginnings = [answer[: int(rng.integers(1, len(answer) + 1))] for answer in answers if answer]
    texts = [*dict.fromkeys([*task.constant_completions(), *answers, *beginnings, ""])]
    if len(texts) > _CANDIDATES:
        texts = [texts[i] for i in sorted(rng.choice(len(texts), _CANDIDATES, replace=False).tolist())]
    asked = min(4, len(prompts))
    while True:
        means = _means(texts, prompts[:asked], grade)
        order = sorted(range(len(texts)), key=lambda row: -means[row])
        is_last = asked == len(prompts)
        texts = [texts[row] for row in order[: _KEPT if is_last else max(_KEPT, len(texts) // 2)]]
        if is_last:
            break
        asked = min(2 * asked, len(prompts))
    known = {text: means[row] for text, row in zip(texts, order, strict=False)}
    pieces = _pieces(task, answers)
    for _ in range(rounds):
        new = [_changed(text, [*known], pieces, rng) for text in known for _ in range(_CHANGES)]
        new = [text for text in dict.fromkeys(new) if text not in known]
        known |= dict(zip(new, _means(new, prompts, grade), strict=True))
        known = dict(sorted(known.items(), key=lambda pair: -pair[1])[:_KEPT])
    return [*known]


def _means(texts: Sequence[str], prompts: Sequence[Prompt], grade: Grade) -> list[float]:
    """What each text earns over the prompts."""
    grades = np.array(grade([*prompts] * len(texts), [text for text in texts for _ in prompts]))
    return [float(mean) for mean in grades.reshape(len(texts), len(prompts)).mean(axis=1)]


def _pieces(task: Task, answers: Sequence[str]) -> list[str]:
    """What texts are made of: tokens that answers have."""
    tokenizer = task.tokenizer
    tokens = {token for answer in answers[:64] for token in tokenizer.encode(answer)}
    pieces = [tokenizer.decode([token]) for token in sorted(tokens)]
    return pieces or [tokenizer.decode([token]) for token in np.flatnonzero(tokenizer.ordinary)[:64].tolist()]


def _changed(text: str, others: Sequence[str], pieces: Sequence[str], rng: np.random.Generator) -> str:
    """A text with a piece more, less or another, or with the end of another text."""
    start = int(rng.integers(len(text) + 1))
    end = min(len(text), start + int(rng.integers(1, 4)))
    piece = pieces[int(rng.integers(len(pieces)))]
    other = others[int(rng.integers(len(others)))]
    ways = (text[:start] + piece + text[start:], text[:start] + piece + text[end:], text[:start] + text[end:])
    return (*ways, text[:start] + other[int(rng.integers(len(other) + 1)) :])[int(rng.integers(4))]
