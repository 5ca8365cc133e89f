"""What an audit found: as text, and as JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from rlfl_envs.printing import printable

__all__ = ["Audit", "Finding", "Verdict"]

Verdict = Literal["holds", "accepted", "new", "broken"]
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one attack, by its best way.

    Attributes:
        attack: The attack's name.
        meaning: What it tries, in a sentence.
        way: Which of its ways earned most.
        tries: Over how many prompts the numbers are.
        reward: Its mean reward.
        success: The share of its texts that are a success, 0..1.
        unearned: What its texts earn that are no success: the mean over all of them of reward / the highest reward,
            where a success counts as 0 and so does a reward below 0; 0..1.
        prompt: The prompt of the example, its last line.
        text: The example: of its texts the one that counts most.
        text_reward: What that text earns.
        verdict: "holds": it pays too little to be learned. "accepted": the task says that this is known, and why.
            "new": it is not. "broken": judging failed, which no task may accept.
        why: Why it is or is not acceptable.
    """

    attack: str
    meaning: str
    way: str
    tries: int
    reward: float
    success: float
    unearned: float
    prompt: str
    text: str
    text_reward: float
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """An audit of one task.

    Attributes:
        task: The task's name.
        arguments: What it was made with.
        prompts: How many prompts were attacked.
        seed: Of all choices.
        findings: What came of each attack.
    """

    task: str
    arguments: dict[str, Any]
    prompts: int
    seed: int
    findings: tuple[Finding, ...]

    @property
    def new(self) -> list[Finding]:
        """What nobody has accepted: empty where the reward holds."""
        return [finding for finding in self.findings if finding.verdict in ("new", "broken")]

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """A table, then a word on each finding that does not simply hold."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        lines = [f"{self.task}{arguments}: {self.prompts} prompts, seed {self.seed}", ""]
        lines.append(f"{'attack':27} {'reward':>7} {'success':>8} {'unearned':>9}  verdict")
        lines += [
            f"{each.attack:27} {each.reward:7.3f} {each.success:8.3f} {each.unearned:9.3f}  {each.verdict}"
            for each in self.findings
        ]
        for each in self.findings:
            if each.verdict != "holds":
                lines += ["", f"{each.attack} ({each.way}): {each.verdict}. {each.why}"]
                lines.append(f"    {_short(each.prompt)} -> {_short(each.text)}  {each.text_reward:.3f}")
        return printable("\n".join(lines))


def _short(text: str) -> str:
    """A text in quotes, in one line, without its middle where it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]}")
