"""`rlfl audit`."""

from __future__ import annotations

import json
from pathlib import Path

import rlfl_envs
from rlfl_agents.cli.words import NONE, EnvKwargs, find
from rlfl_agents.config import EnvId

__all__ = ["audit"]


def audit(
    env_id: EnvId,
    env_kwargs: EnvKwargs = NONE,
    prompts: int | None = None,
    seed: int = 0,
    output: Path | None = None,
) -> None:
    """Attack an id's reward, and show what it pays for; exit status 1 where that is more than its task accepts.

    Args:
        env_id: Which environment; "package.module:namespace/Name-v0" imports the module that registers it.
        env_kwargs: Its arguments.
        prompts: How many prompts are attacked; by default 200, or fewer where judging is slow.
        seed: Of prompts and texts.
        output: Write the findings to this file as well (JSON).
    """
    report = rlfl_envs.audit(rlfl_envs.load_task(find(env_id), **env_kwargs), num_prompts=prompts, seed=seed)
    print(report)
    if output is not None:
        output.write_text(json.dumps({"id": env_id, **report.to_json()}, indent=2) + "\n", encoding="utf-8")
    if report.new:
        raise SystemExit(1)
