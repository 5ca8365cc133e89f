"""Audits: no reward pays what nobody has accepted, and what an audit is for it finds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import AnswerTask, ConfigError, Outcome, Prompt, PromptError, Task, audit, judge_attack, load_task
from rlfl_envs.auditing.hostile import LOOK_ALIKES, hostile_texts, long_texts, look_alike
from rlfl_envs.episode import UNEARNED
from rlfl_envs.protocols import Accepted
from tests.settings import (
    ANSWER,
    BRACKETS,
    COPY,
    COUNTDOWN,
    GIVEN,
    HUMAN_EVAL,
    IDS,
    JSON,
    LUDAX,
    LUDII,
    MACHINE,
    PLANNING,
    PROGRAM,
    PROOF,
    REASONING_GYM,
    REGEX,
    SAT,
    SENTIMENT,
    SQL,
    STEPS,
    SYMBOLIC,
    missing,
)

# Those whose judges play or run what they judge are asked less; `make audit` asks all alike.
_PROMPTS = {PROGRAM: 8, HUMAN_EVAL: 6, SENTIMENT: 8, SQL: 16}
_MORE: list[tuple[str, dict[str, Any]]] = [
    (STEPS, {"reward": "strict"}),
    (STEPS, {"reward": "worked_out"}),
    (ANSWER, {"operators": "+-*"}),
    (COUNTDOWN, {"reward": "strict"}),
    (SAT, {"reward": "strict"}),
    (REGEX, {"reward": "plain"}),
    (SQL, {"reward": "plain"}),
    *((id, {"reward": "success"}) for id in (COPY, BRACKETS, STEPS, ANSWER, JSON, REGEX)),
]
_ALL = [*((id, {}) for id in IDS if id not in (LUDAX, LUDII)), *(each for each in _MORE if not missing(each[0]))]


@pytest.mark.parametrize(("id", "arguments"), _ALL, ids=[f"{id}{arguments or ''}" for id, arguments in _ALL])
def test_no_reward_pays_what_is_not_accepted(id: str, arguments: dict[str, Any]) -> None:
    """Of every id; where this fails, close the hole, or write into the task's `accepted_findings` why it may stay."""
    found = audit(load_task(id, **arguments), num_prompts=_PROMPTS.get(id, 24))
    assert not found.new, str(found)


_ALL_OR_NOTHING = [id for id in (COUNTDOWN, PLANNING, PROOF, REASONING_GYM, SAT, SYMBOLIC) if not missing(id)]


@pytest.mark.parametrize("id", _ALL_OR_NOTHING)
def test_strict_rewards_that_pay_for_success_alone(id: str) -> None:
    """Right answers, what is left of them and what is made of them: without success each earns nothing."""
    task, rng = load_task(id, reward="strict"), np.random.default_rng(0)
    written: list[tuple[Prompt, str]] = []
    for prompt in task.sample_prompts(rng, 24):
        text = task.reference_completion(prompt, rng)
        assert text is not None
        cut = int(rng.integers(len(text)))
        other = text[int(rng.integers(len(text)))]
        changed = text[:cut] + other + text[cut + 1 :]
        written += [(prompt, each) for each in (text, text[:cut], text[cut:], changed, text + other, text * 2, "")]
    outcomes = task.evaluate([prompt for prompt, _ in written], [text for _, text in written])
    assert {outcome.is_success for outcome in outcomes} == {True, False}
    assert all(outcome.reward == float(outcome.is_success) for outcome in outcomes)


# The rewards that come before: "success" pays what they pay where it is a success, and a quarter where it is none.
_GRADED = dict.fromkeys((COPY, BRACKETS, JSON), "plain") | dict.fromkeys(
    (STEPS, GIVEN, ANSWER, REGEX, SQL, MACHINE, PROGRAM), "strict"
)
_GRADED = {id: before for id, before in _GRADED.items() if not missing(id)}
_made: dict[tuple[str, str], Task] = {}


def made(id: str, reward: str) -> Task:
    """A task with this reward, made once."""
    if (id, reward) not in _made:
        _made[id, reward] = load_task(id, reward=reward)
    return _made[id, reward]


@pytest.mark.parametrize("id", _GRADED)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_success_pays_a_quarter_for_what_is_none(id: str, seed: int) -> None:
    """Whatever is written: right answers, those to other prompts, and both spoilt in many ways."""
    task, before, rng = made(id, "success"), made(id, _GRADED[id]), np.random.default_rng(seed)
    prompts = task.sample_prompts(rng, 4)
    answers = [text for prompt in prompts if (text := task.reference_completion(prompt, rng)) is not None]
    spoilt = [*hostile_texts(answers, task.characters, rng, 12)]
    written = [(prompt, text) for prompt in prompts for text in (*answers, *(text[:-1] for text in answers), *spoilt)]
    asked = [prompt for prompt, _ in written], [text for _, text in written]
    for outcome, graded in zip(task.evaluate(*asked), before.evaluate(*asked), strict=True):
        assert outcome.is_success == graded.is_success
        assert outcome.reward == graded.reward * (1 if graded.is_success else UNEARNED)
        assert outcome.is_success or outcome.reward <= 0.25
        assert (outcome.parts, outcome.status) == (graded.parts, graded.status)


class Digits(AnswerTask):
    """Write the prompt's number, read as carelessly as one may."""

    accepted_findings: ClassVar[dict[str, Accepted]] = {}

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a number."""
        return self.parse_prompt(f"number {rng.integers(100, 1000)}:")

    def parse_prompt(self, text: str) -> Prompt:
        """A number between two words."""
        if not re.fullmatch("number [1-9][0-9]{2}:", text):
            raise PromptError(f"prompt={text!r} is not allowed.")
        return Prompt(text, int(text[7:-1]))

    def read_answer(self, completion: str) -> int | None:
        """Python's own reading, which takes any script's digits, spaces and underscores."""
        try:
            return int(completion[:20])
        except ValueError:
            return None

    def grade(self, prompt: Prompt, answer: Any) -> float | Outcome:
        """A part for the right size."""
        return 1.0 if answer == prompt.data else 0.5 * (100 <= answer < 1000)

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The number."""
        return str(prompt.data)


def verdicts(task: AnswerTask) -> dict[str, str]:
    """What an audit says of each attack."""
    return {finding.attack: finding.verdict for finding in audit(task, num_prompts=24).findings}


def test_a_careless_judge_is_found_out() -> None:
    """Any three digits earn half; Arabic digits, spaces and the number in the prompt succeed."""
    found = verdicts(Digits())
    new = {attack for attack, verdict in found.items() if verdict == "new"}
    assert {"constant answer", "another prompt's answer", "look-alikes", "spaces", "copying the prompt"} <= new
    assert found["nothing"] == found["truncation"] == "holds"


def test_what_is_accepted_is_accepted_up_to_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """What earns more than was accepted is new again."""
    known = {
        "constant answer": Accepted("of the right size", unearned=0.6),
        "spaces": Accepted("Python's", success=1.0),
    }
    monkeypatch.setattr(Digits, "accepted_findings", known)
    found = verdicts(Digits())
    assert found["constant answer"] == found["spaces"] == "accepted"
    assert found["look-alikes"] == "new"
    monkeypatch.setattr(Digits, "accepted_findings", {"constant answer": Accepted("of the right size", unearned=0.4)})
    report = audit(Digits(), num_prompts=24)
    (constant,) = (finding for finding in report.findings if finding.attack == "constant answer")
    assert constant.verdict == "new"
    assert "More than was accepted: 0.4" in constant.why


class Raises(Digits):
    """Does not take every text."""

    def read_answer(self, completion: str) -> int | None:
        """Fails where there is no number."""
        return int(completion) if completion.isdigit() else None  # "²" is a digit, and no number


class Forgets(Digits):
    """Judges by how often it was asked."""

    asked = 0

    def grade(self, prompt: Prompt, answer: Any) -> float | Outcome:
        """Another each time."""
        self.asked += 1
        return self.asked % 7 / 10


class Generous(Digits):
    """Leaves its range."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Two."""
        return [Outcome(2.0, False, {"well_formed": 1.0}) for _ in prompts]


@pytest.mark.parametrize("task", [Raises, Forgets, Generous])
def test_a_broken_judge_is_found_out(task: type[Digits]) -> None:
    """And cannot be accepted; the report says what happened."""
    broken = [finding for finding in audit(task(), num_prompts=16).new if finding.verdict == "broken"]
    assert broken
    says = {"Raises": "raises ValueError", "Forgets": "Judged again", "Generous": r"earns 2.0, outside"}[task.__name__]
    assert says in broken[0].why
    assert broken[0].prompt.startswith("number ")
    if task is Raises:  # of all texts the report shows the one
        with pytest.raises(ValueError, match="invalid literal"):
            int(broken[0].text)


class RaisesAtNothing(Digits):
    """Does not expect the empty completion, which random play and the search for constants have."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Fails at it."""
        if "" in completions:
            raise RuntimeError("nothing")
        return super().evaluate(prompts, completions)


def test_a_judge_that_breaks_while_texts_are_sought_is_found_out() -> None:
    """The search that it breaks is told like any other attack."""
    broken = [finding for finding in audit(RaisesAtNothing(), num_prompts=8).new if finding.verdict == "broken"]
    assert any(finding.attack == "constant answer" and "RuntimeError" in finding.why for finding in broken)


class RaisesTogether(Digits):
    """Takes one text at a time."""

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Fails where two are alike."""
        if len({*completions}) < len(completions):
            raise RuntimeError("twice")
        return super().evaluate(prompts, completions)


def test_a_judge_that_cannot_take_texts_together_is_found_out() -> None:
    """Where no single text is to blame, the report says so."""
    prompt = RaisesTogether().parse_prompt("number 123:")
    finding = judge_attack(RaisesTogether(), "mine", "It says the same twice.", [(prompt, "twice", "1")] * 2)
    assert finding.verdict == "broken"
    assert finding.why == "Judging 2 texts together raises what none of them raises alone."


class Mute(Digits):
    """Asks nothing: the prompt is empty, and the same each time."""

    def draw(self, rng: np.random.Generator) -> Prompt:
        """The empty prompt."""
        return self.parse_prompt("")

    def parse_prompt(self, text: str) -> Prompt:
        """Nothing else."""
        return Prompt(text, 123)

    def in_split(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """The one problem is in each split."""
        return np.ones(len(prompts), dtype=np.bool_)


def test_a_task_without_prompts_is_audited() -> None:
    """There is nothing to copy and no other problem; the one answer is found by the search for constants."""
    report = audit(Mute(), num_prompts=8)
    assert {finding.attack for finding in report.new} >= {"constant answer"}
    assert not [finding for finding in report.findings if finding.verdict == "broken"]
    assert next(finding for finding in report.findings if finding.attack == "constant answer").success == 1.0


def test_the_best_constant_is_sought() -> None:
    """What no list of candidates has, the search makes of pieces: in Steps the paper's hole, a chain that stops."""
    found = {finding.attack: finding for finding in audit(load_task(STEPS), num_prompts=24).findings}
    assert found["constant answer"].unearned > 0.6
    assert found["truncation"].unearned == 1.0
    assert found["truncation"].way == "up to its last mark"


def test_a_report_is_the_same_again_and_is_plain_data() -> None:
    """As text it shows no character that a terminal would obey."""
    first, second = (audit(load_task(SAT), num_prompts=8, seed=3) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first.to_json()))["task"] == "Sat"
    assert all(character.isprintable() or character == "\n" for character in str(first))
    assert "mutation" in str(first)


def test_wrong_arguments() -> None:
    """An id is no task yet."""
    with pytest.raises(ConfigError, match=r"^task='rlfl/Copy-v0' is not allowed; allowed: a Task"):
        audit("rlfl/Copy-v0")
    for wrong in (3, 0, 4.0, True):
        with pytest.raises(ConfigError, match=rf"^num_prompts={wrong} is not allowed; allowed: an integer, 4 or more"):
            audit(Digits(), num_prompts=wrong)
    with pytest.raises(ConfigError, match=r"^seed=-1 is not allowed; allowed: an integer, 0 or more"):
        audit(Digits(), seed=-1)


def test_hostile_texts_are_the_same_for_the_same_seed() -> None:
    """And hardly one twice."""
    texts, again = (list(hostile_texts(["12", "a"], "ab", np.random.default_rng(0), 600)) for _ in range(2))
    assert texts == again
    assert len({*texts}) > 450
    assert any("\ud800" <= character <= "\udfff" for text in texts for character in text)


def test_long_texts_are_long() -> None:
    """To within a unit."""
    assert all(9000 < len(text) <= 10_010 for text in long_texts(["answer"], 10_000).values())


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_look_alikes_look_alike(name: str) -> None:
    """Other characters, as many."""
    text = 'ace 19 -*="x", (1|2)'
    assert look_alike(text, name) != text
    assert len(look_alike(text, name)) == len(text)
