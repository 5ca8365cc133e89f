"""Kernels choose the tokens that are chosen without them."""

from __future__ import annotations

import pytest
import torch

from rlfl_agents.model import choice

from .test_head import Kernels


@pytest.mark.parametrize("masks", [0, 1, 6])
@pytest.mark.parametrize("vocab_size", [4096 + 256, 9000])
def test_the_same_tokens_by_the_same_noise(monkeypatch: pytest.MonkeyPatch, vocab_size: int, masks: int) -> None:
    """But where noise falls between two tokens up to rounding; with their log-probabilities, and legal ones alone."""
    torch.manual_seed(0)
    logits, noise = torch.randn(6, vocab_size) * 3, torch.rand(6, 50, dtype=torch.float64)
    legal = torch.rand(masks, vocab_size) < 0.3 if masks else None
    if masks == 6 and legal is not None:
        legal[0] = torch.arange(vocab_size) == vocab_size - 1
    expected = choice.choose(logits, noise, legal, temperature=0.7, greedy=False)
    monkeypatch.setattr(choice, "kernels", lambda *_: Kernels)
    found = choice.choose(logits, noise, legal, temperature=0.7, greedy=False)
    same = found[0] == expected[0]
    assert float(same.float().mean()) > 0.99
    torch.testing.assert_close(found[1][same], expected[1][same], atol=5e-6, rtol=1e-6)
    assert legal is None or bool(legal.expand(6, -1).gather(1, found[0]).all())


def test_what_is_far_likelier_but_illegal_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share of what is legal is more than float32 holds."""
    torch.manual_seed(0)
    logits, noise = torch.randn(256, 5000), torch.rand(256, 1, dtype=torch.float64)
    legal = torch.arange(5000)[None] % 2 == 0
    logits[:, 1::40] = 60.0
    monkeypatch.setattr(choice, "kernels", lambda *_: Kernels)
    found, log_probs = choice.choose(logits, noise, legal, temperature=0.5, greedy=False)
    assert bool((found % 2 == 0).all())
    assert bool((log_probs <= 0).all())
