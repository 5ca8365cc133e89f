"""What the tests of judging share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def hostile_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the judge `hostile` importable, in workers too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
