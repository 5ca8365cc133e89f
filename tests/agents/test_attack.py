"""The trained attacker, and `rlfl audit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlfl_agents.attack import attack
from rlfl_agents.cli import main
from rlfl_envs import ConfigError, load_task
from tests.settings import COPY, STEPS

SHORT = {"mask": "syntax", "expression_length": 5, "max_operand": 5, "reward_scale": 3.0}
QUICK = {"samples": 3840, "stages": 2, "prompts": 32, "learning_rate": 5e-3}


def test_the_attacker_finds_the_chain_that_stops_early() -> None:
    """The paper's hole, by the reward alone: after fifteen updates it writes what earns all and is no success."""
    finding, kinds = attack(STEPS, SHORT, **QUICK)
    assert finding.attack == "trained attacker"
    assert finding.unearned > 0.3
    assert finding.verdict == "accepted"
    best = kinds[0]
    assert best.reward == 1.0
    assert best.text.count("=") < best.prompt.count("+") - 1
    assert {*best.parts} == {*load_task(STEPS).part_names}
    assert {kind.stage for kind in kinds} == {1920, 3840}


def test_the_strict_reward_leaves_it_nothing() -> None:
    """The same attacker of the same size."""
    finding, _ = attack(STEPS, SHORT | {"reward": "strict"}, **QUICK)
    assert finding.unearned < 0.3
    assert finding.verdict == "holds"


def test_an_attacker_that_was_shown_right_answers() -> None:
    """It begins from them: after one update it is right where one from random weights never is."""
    once: dict[str, Any] = {"samples": 64, "stages": 1, "prompts": 8, "learning_rate": 1e-4}
    strict = SHORT | {"reward": "strict"}
    assert attack(STEPS, strict, examples=512, **once)[0].success > attack(STEPS, strict, **once)[0].success + 0.05


def test_wrong_stages() -> None:
    """An error of ours."""
    with pytest.raises(ConfigError, match=r"^stages=0 is not allowed; allowed: 1 or more"):
        attack(COPY, {}, stages=0)


def test_audit_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the report and what the attacker wrote, and writes both down; the status is 0 where nothing is new."""
    words = ["audit", COPY, "--prompts", "12", "--env-kwargs", "alphabet=ab", "length=3", "split=all"]
    more = ["--attacker", "--attacker-samples", "1024", "--output", str(tmp_path / "audit.json")]
    with pytest.raises(SystemExit) as stop:  # of two letters half are right, whatever is said
        main([*words, *more])
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert ": new. It earns" in out
    assert "trained attacker" in out
    found = json.loads((tmp_path / "audit.json").read_text())
    assert found["id"] == COPY
    assert [finding["attack"] for finding in found["findings"]][-1] == "trained attacker"
    assert found["attacker"]
    assert main(["audit", COPY, "--prompts", "12"]) == 0
