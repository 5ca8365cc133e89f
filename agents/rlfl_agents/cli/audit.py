"""`rlfl audit`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import rlfl_envs
from rlfl_agents.cli.words import NONE, EnvKwargs, find, need_agent
from rlfl_agents.settings import EnvId
from rlfl_envs import check_value

if TYPE_CHECKING:
    from rlfl_agents.attack import Kind

__all__ = ["audit"]

_SHOWN = 12  # kinds of completions of the attacker


def audit(
    env_id: EnvId,
    env_kwargs: EnvKwargs = NONE,
    prompts: int | None = None,
    seed: int = 0,
    attacker: bool = False,
    attacker_samples: int = 20_480,
    output: Path | None = None,
) -> None:
    """Attack an id's reward, and show what it pays for; exit status 1 where that is more than its task accepts.

    Args:
        env_id: Which environment; "package.module:namespace/Name-v0" imports the module that registers it.
        env_kwargs: Its arguments.
        prompts: How many prompts are attacked; by default 200, or fewer where judging is slow.
        seed: Of prompts and texts.
        attacker: Train a small policy for the reward, too, and show what it is paid for without success; takes minutes.
        attacker_samples: How many completions it learns from.
        output: Write the findings to this file as well (JSON).
    """
    check_value("attacker_samples", attacker_samples, attacker_samples >= 4, "4 or more")
    task = rlfl_envs.load_task(find(env_id), **env_kwargs)
    if output is not None:  # now, and not after everything is measured
        output.parent.mkdir(parents=True, exist_ok=True)
    report = rlfl_envs.audit(task, num_prompts=prompts, seed=seed)
    kinds: list[Kind] = []
    if attacker:
        need_agent("audit --attacker")
        from rlfl_agents.attack import attack

        masked = {"mask": "syntax"} if task.syntax is not None else {}
        finding, kinds = attack(env_id, masked | env_kwargs, samples=attacker_samples, seed=seed)
        report = dataclasses.replace(report, findings=(*report.findings, finding))
    print(report)
    for kind in kinds[:_SHOWN]:
        print(rlfl_envs.printable(f"    {kind.reward:5.2f} {kind.status:12} {kind.share:6.1%}  {kind.text!r}"))
    if output is not None:
        output.write_text(
            json.dumps({"id": env_id, **report.to_json(), "attacker": [kind._asdict() for kind in kinds]}, indent=2)
            + "\n",
            encoding="utf-8",
        )
    if report.new:
        raise SystemExit(1)
