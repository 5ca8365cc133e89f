"""The play of `make bench-memory`: legal tokens, all of them, whatever the mask table forgets."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from rlfl_envs import TokenVectorEnv, load_task
from rlfl_envs.masks.base import MaskTable
from tests.settings import ALL_IDS, BRACKETS, COPY, LUDII


def test_tokens_are_legal_and_all_are_drawn(
    example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the table is cleared between episodes, so that numbers of rows mean others."""
    monkeypatch.setattr(MaskTable, "_LARGE", 0)
    envs = TokenVectorEnv(load_task(BRACKETS, mask="syntax", length=6, kinds=4), 3, autoreset_mode="Disabled")
    legal, rng = example("benchmarks/bench_memory.py").LegalTokens(envs), np.random.default_rng(0)
    epochs, drawn, allowed = set(), set(), set()
    for batch in range(200):
        envs.reset(seed=0 if batch == 0 else None)
        finished = np.zeros(3, dtype=np.bool_)
        while not finished.all():
            tokens, masks = legal.draw(rng), envs.action_masks()
            assert masks[np.arange(3), tokens].all()
            drawn |= {*tokens.tolist()}
            allowed |= {*np.flatnonzero(masks.any(axis=0)).tolist()}
            epochs.add(envs.mask_epoch)
            _, _, finished, _, _ = envs.step(tokens)
    assert len(epochs) > 1
    assert drawn == allowed


def test_memory_is_noted_twice(example: Callable[[str], ModuleType]) -> None:
    """After a tenth of the episodes and after all, however few."""
    first, last = example("benchmarks/bench_memory.py").play(COPY, {}, 200)
    assert 0 < first <= last * 1.5


def test_every_id_is_played(example: Callable[[str], ModuleType]) -> None:
    """All but Ludii's games, whose jar nobody may ship."""
    bench = example("benchmarks/bench_memory.py")
    assert {id for id, *_ in bench.SETTINGS} == {*ALL_IDS} - {LUDII}
