"""Tianshou trains on an id of ours."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.filterwarnings("default")  # Tianshou warns of itself
def test_example_learns(example: Callable[[str], Any]) -> None:
    """`examples/tianshou_ppo.py` learns to copy two letters, by token ids and masks."""
    pytest.importorskip("tianshou", reason="needs the extra tianshou")
    assert example("tianshou_ppo.py").main() >= 0.95
