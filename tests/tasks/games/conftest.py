"""Fixtures of the games."""

from __future__ import annotations

import pytest

from rlfl_envs.tasks.games.task import GameSynthesis
from tests.tasks.games.row import Judge


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Stands in for every pool."""
    judge = Judge()
    monkeypatch.setattr(GameSynthesis, "_pool", judge)
    return judge
