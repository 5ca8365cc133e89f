"""No test of this folder plays a game for its judgement, unless it asks for REAL_POOL."""

import pytest


@pytest.fixture(autouse=True)
def _made_up_pool(made_up_pool: None) -> None:
    """Uses the shared fixture everywhere."""
