"""TorchRL trains on an id of ours."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.filterwarnings("default")  # TorchRL warns of itself
def test_example_learns(example: Callable[[str], Any]) -> None:
    """`examples/torchrl_ppo.py` learns to copy two letters, by token ids and masks."""
    pytest.importorskip("torchrl", reason="needs the extra torchrl")
    assert example("torchrl_ppo.py").main(total_steps=60_000) >= 0.95
