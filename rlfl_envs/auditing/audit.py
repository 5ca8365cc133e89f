"""audit: attacks a task's reward, and says what it pays for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.auditing.attacks import ATTACKS, Attack, Target, targets
from rlfl_envs.auditing.report import Audit, Finding, Verdict
from rlfl_envs.auditing.search import Grade, best_constants
from rlfl_envs.baselines import play_at_random
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.protocols import AuditedTask, SlowTask
from rlfl_envs.task import Task

__all__ = ["audit", "judge_attack", "worth"]

_PROMPTS = 200
_FEWEST = 8  # values whose mean says anything
_TRIFLE = 1e-9  # so that a limit of 0 allows nothing at all


class _Limit(NamedTuple):
    """What an attack may earn without success, how often it may succeed, and what to say where it does not."""

    unearned: float
    success: float
    holds: str


_IGNORANT = _Limit(0.3, 0.1, "It pays too little to be learned.")
# A graded reward pays a part to what is nearly right; it should not pay all, and nothing wrong should succeed.
_NEAR = _Limit(0.9, 0.0, "It is no success, and earns less than a right answer.")
_TRAINED = _Limit(0.3, 1.0, "What it is paid for is success.")


class _Try(NamedTuple):
    """A text that was judged."""

    prompt: Prompt
    text: str
    outcome: Outcome
    unearned: float


class _Count(NamedTuple):
    """What one way of an attack earns: means, and what they surely are at the least."""

    reward: float
    unearned: float
    success: float
    surely_unearned: float
    surely_successful: float

    @classmethod
    def of(cls, tried: Sequence[_Try]) -> _Count:
        """Counts."""
        unearned = np.array([each.unearned for each in tried])
        success = np.array([each.outcome.is_success for each in tried], dtype=np.float64)
        reward = float(np.mean([each.outcome.reward for each in tried]))
        return cls(reward, float(unearned.mean()), float(success.mean()), _at_least(unearned), _at_least(success))

    def beyond(self, limit: _Limit) -> float:
        """How far it goes beyond a limit, more than by chance; 0 or less where it does not."""
        return max(self.surely_unearned - limit.unearned, self.surely_successful - limit.success)


def _at_least(values: NDArray[np.float64]) -> float:
    """What the mean of values, 0 or more, surely is: two standard errors less, and a trifle where any is above 0."""
    if not values.any():
        return 0.0
    least = float(values.mean() - 2 * values.std() / math.sqrt(len(values))) if len(values) >= _FEWEST else 0.0
    return max(least, _TRIFLE)


def audit(task: Task, *, num_prompts: int | None = None, seed: int = 0) -> Audit:
    """Attacks a task's reward.

    Sought is the best constant answer; the other attacks answer prompt by prompt (see `rlfl_envs.auditing.attacks`).
    Each is counted by its best way. Answers that know nothing are a finding where they earn more than 0.3 of the
    highest reward without success, on average, or succeed more often than one time in ten, both by more than two
    standard errors. Answers that are made of a right one are a finding where they earn more than 0.9 without success,
    or ever succeed. What a task has in `accepted_findings` (an `AuditedTask`) is known; all else is new. A judge that
    raises, leaves the range of rewards or judges differently the second time is broken.

    Args:
        task: The task, as `load_task` makes it.
        num_prompts: How many prompts are attacked, 4 or more; 200 by default, or what a `SlowTask` says.
        seed: Of prompts and texts.

    Raises:
        ConfigError: `task` is something else, such as an id, or `num_prompts` is not allowed.
    """
    check_value("task", task, isinstance(task, Task), "a Task, as load_task makes it")
    if num_prompts is None:
        num_prompts = task.baseline_prompts if isinstance(task, SlowTask) else _PROMPTS
    check_value(
        "num_prompts", num_prompts, is_integer(num_prompts) and num_prompts >= 4, "an integer, 4 or more, or None"
    )
    check_value("seed", seed, is_integer(seed) and seed >= 0, "an integer, 0 or more")
    rng = np.random.default_rng(seed)
    attacked = targets(task, num_prompts, rng)
    found = [
        _unless_broken("random play", lambda: _random_play(task, num_prompts, seed)),
        _unless_broken("constant answer", lambda: _constant(task, attacked, rng)),
    ]
    found += [_by(attack, task, attacked, rng) for attack in ATTACKS]
    return Audit(
        task=type(task).__name__,
        arguments=_changed_arguments(task),
        prompts=num_prompts,
        seed=seed,
        findings=tuple(found),
    )


def _changed_arguments(task: Task) -> dict[str, Any]:
    """The arguments that are not what they are by default."""
    values = {argument.name: getattr(task.config, argument.name) for argument in dataclasses.fields(task.config)}
    defaults = {argument.name: argument.default for argument in dataclasses.fields(task.config)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def worth(task: Task, reward: float) -> float:
    """A reward as a share of the highest, 0..1: what a policy has to gain; nothing where it is below 0."""
    low, high = task.reward_range
    floor = low if high <= 0 or low > 0 else 0.0
    return min(1.0, max(0.0, (reward - floor) / (high - floor)))


def _unless_broken(name: str, attack: Callable[[], Finding]) -> Finding:
    """An attack that has texts judged while it seeks them, which a broken judge may not survive."""
    try:
        return attack()
    except Exception as error:  # noqa: BLE001 - whatever a task raises is what is reported
        return _broken(name, "", f"Judging raises {error!r}.")


# --- attacks on all prompts at once --------------------------------------------------------------------------------


def _random_play(task: Task, num_prompts: int, seed: int) -> Finding:
    """Random tokens, and random legal ones, on prompts of their own."""
    written = []
    for way, legal in (("random tokens", False), ("random legal tokens", True)):
        played = play_at_random(task, num_prompts, seed, legal=legal)
        written += [(prompt, way, text) for prompt, text in zip(played.prompts, played.texts, strict=True)]
    return _judge(task, "random play", "Tokens are drawn at random.", written, _IGNORANT)


def _constant(task: Task, attacked: Sequence[Target], rng: np.random.Generator) -> Finding:
    """The best constant answers, by success and by what is earned without: sought on other prompts."""
    others = targets(task, len(attacked), rng)
    prompts = [target.prompt for target in others]
    answers = [target.reference for target in others if target.reference is not None]
    aims: dict[str, Callable[[_Try], float]] = {
        "unearned reward": lambda tried: tried.unearned,
        "success": lambda tried: float(tried.outcome.is_success),
    }
    texts: dict[str, str] = {}
    for name, aim in aims.items():
        grade = _grade(task, aim)
        found = best_constants(task, prompts, answers, grade, max(1, len(prompts) // 10), rng)
        texts |= {f"number {place} by {name}": text for place, text in enumerate(found, start=1)}
    written = [(target.prompt, way, text) for target in attacked for way, text in texts.items()]
    meaning = "The same is said to every prompt; what earns most is sought."
    return _judge(task, "constant answer", meaning, written, _IGNORANT)


def _grade(task: Task, aim: Callable[[_Try], float]) -> Grade:
    """What a search for constants goes by."""
    return lambda prompts, texts: [aim(tried) for tried in _judged(task, prompts, texts)]


# --- attacks prompt by prompt --------------------------------------------------------------------------------------


def _by(attack: Attack, task: Task, attacked: Sequence[Target], rng: np.random.Generator) -> Finding:
    """What comes of an attack."""
    if attack.knows:
        attacked = [target for target in attacked if target.reference is not None]
    written = [(target.prompt, way, text) for target in attacked for way, text in attack.write(target, rng).items()]
    return _judge(task, attack.name, attack.meaning, written, _NEAR if attack.knows else _IGNORANT)


def judge_attack(task: Task, name: str, meaning: str, written: Sequence[tuple[Prompt, str, str]]) -> Finding:
    """Counts an attack of one's own, such as what a policy writes that was trained for the reward.

    It is a finding where its texts earn more than 0.3 of the highest reward without success; succeed they may.

    Args:
        task: The task.
        name: What the task's `accepted_findings` call the attack.
        meaning: What it tries, in a sentence.
        written: Prompts, the ways in which texts were made, and the texts.
    """
    return _judge(task, name, meaning, written, _TRAINED)


def _judge(task: Task, name: str, meaning: str, written: Sequence[tuple[Prompt, str, str]], limit: _Limit) -> Finding:
    """Judges texts, twice, and counts."""
    if not written:
        return _nothing_tried(name, meaning)
    prompts, ways, texts = map(list, zip(*written, strict=True))
    try:
        tried, again = _judged(task, prompts, texts), _judged(task, prompts, texts)
    except Exception:  # noqa: BLE001 - whatever a task raises is what is reported
        return _raises(task, name, meaning, written)
    low, high = task.reward_range
    for each, second in zip(tried, again, strict=True):
        if not low <= each.outcome.reward <= high:
            why = f"It earns {each.outcome.reward}, outside [{low}, {high}]."
        elif each.outcome != second.outcome:
            why = f"Judged again it is {second.outcome}."
        else:
            continue
        return _broken(name, meaning, why, each.prompt, each.text, each.outcome.reward)
    by_way: dict[str, list[_Try]] = {}
    for way, each in zip(ways, tried, strict=True):
        by_way.setdefault(way, []).append(each)
    return _finding(task, name, meaning, by_way, limit)


def _judged(task: Task, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[_Try]:
    """Has texts judged."""
    outcomes = task.evaluate(prompts, texts)
    return [
        _Try(prompt, text, outcome, 0.0 if outcome.is_success else worth(task, outcome.reward))
        for prompt, text, outcome in zip(prompts, texts, outcomes, strict=True)
    ]


def _finding(task: Task, attack: str, meaning: str, by_way: dict[str, list[_Try]], limit: _Limit) -> Finding:
    """Counts the way that goes furthest beyond what is allowed."""
    counts = {way: _Count.of(tried) for way, tried in by_way.items()}
    way = max(by_way, key=lambda way: (counts[way].beyond(limit), counts[way].reward))
    count, tried = counts[way], by_way[way]
    succeeds = count.surely_successful - limit.success > count.surely_unearned - limit.unearned
    example = max(tried, key=lambda each: (each.outcome.is_success == succeeds, each.outcome.reward))
    verdict, why = _verdict(task, attack, [*counts.values()], limit)
    return Finding(
        attack=attack,
        meaning=meaning,
        way=way,
        tries=len(tried),
        reward=count.reward,
        success=count.success,
        unearned=count.unearned,
        prompt=_last_line(example.prompt),
        text=example.text,
        text_reward=example.outcome.reward,
        verdict=verdict,
        why=why,
    )


def _verdict(task: Task, attack: str, counts: Sequence[_Count], limit: _Limit) -> tuple[Verdict, str]:
    """Whether what the ways of an attack earn is allowed, accepted or new, and why."""
    worst = max(counts, key=lambda count: count.beyond(limit))
    if worst.beyond(limit) <= 0:
        return "holds", limit.holds
    known = task.accepted_findings.get(attack) if isinstance(task, AuditedTask) else None
    if known is not None:
        accepted = _Limit(max(known.unearned, limit.unearned), max(known.success, limit.success), known.why)
        worst = max(counts, key=lambda count: count.beyond(accepted))
        if worst.beyond(accepted) <= 0:
            return "accepted", known.why
    more = "" if known is None else f" More than was accepted: {known.unearned} and {known.success}."
    return "new", (
        f"It earns {worst.unearned:.3f} of the highest reward without success, and succeeds in {worst.success:.3f} of "
        f"its tries; allowed: {limit.unearned} and {limit.success}.{more}"
    )


def _nothing_tried(attack: str, meaning: str) -> Finding:
    """Of an attack that has nothing to make its texts of."""
    why = "There is nothing to make such an answer of."
    return Finding(attack, meaning, "", 0, 0.0, 0.0, 0.0, "", "", 0.0, "holds", why)


def _raises(task: Task, name: str, meaning: str, written: Sequence[tuple[Prompt, str, str]]) -> Finding:
    """Says which text it is that cannot be judged."""
    for prompt, _, text in written:
        try:
            task.evaluate([prompt], [text])
        except Exception as error:  # noqa: BLE001 - as above
            return _broken(name, meaning, f"Judging it raises {error!r}.", prompt, text)
    return _broken(name, meaning, f"Judging {len(written)} texts together raises what none of them raises alone.")


def _broken(
    attack: str, meaning: str, why: str, prompt: Prompt | None = None, text: str = "", reward: float = math.nan
) -> Finding:
    """Of a judge that cannot take what an attack says."""
    shown = "" if prompt is None else _last_line(prompt)
    return Finding(attack, meaning, "", 0, math.nan, math.nan, math.nan, shown, text, reward, "broken", why)


def _last_line(prompt: Prompt) -> str:
    return (prompt.text.splitlines() or [""])[-1]
