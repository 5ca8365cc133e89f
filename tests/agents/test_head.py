"""The summary of the head's distributions is what they are, and so are its gradients."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlfl_agents.learn import head
from rlfl_agents.learn.head import Summary, summarise

V = 11


def plain(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    completions: Tensor,
    active: Tensor,
    table: Tensor,
    rows: Tensor,
    temperature: float,
) -> Summary:
    """The same from the whole distributions, by autograd."""
    logits = torch.nn.functional.linear(hidden, weight, bias) / temperature
    n, length, _ = logits.shape
    log_dist = logits.masked_fill(~table[rows.expand(n, length).long()], head.NEVER).log_softmax(dim=-1)
    k = len(completions) // n
    log_probs = log_dist.repeat_interleave(k, dim=0).gather(2, completions[:, :, None]).squeeze(2)
    shared = active.view(n, k, length).any(dim=1)
    log_probs = log_probs * shared.repeat_interleave(k, dim=0)
    counts = active.view(n, k, length).sum(dim=1).to(logits.dtype)
    probs = torch.einsum("nt,ntv->tv", counts, log_dist.exp())
    return Summary(log_probs, -(log_dist.exp() * log_dist).sum(dim=-1) * shared, probs, counts)


def wanted(summary: Summary) -> Tensor:
    """A number that everything has a part in, and batch entropy among it."""
    mean = summary.probs / summary.counts.sum(dim=0).clamp(min=1)[:, None]
    batch = -(mean * (mean + 1e-9).log()).sum(dim=1)
    slopes = torch.linspace(-1, 2, summary.log_probs.numel(), dtype=mean.dtype).view_as(summary.log_probs)
    return (
        (summary.log_probs * slopes).sum()
        + (summary.entropy * summary.counts).sin().sum()
        + (batch * batch.detach()).sum()
    )


class Kernels:
    """What the kernels of fused.py compute, step by step."""

    @staticmethod
    def _log_dist(logits: Tensor, illegal: Tensor | None, numbers: Tensor | None, temperature: float) -> Tensor:
        logits = logits / temperature
        if illegal is not None and numbers is not None:
            logits = logits.masked_fill(illegal[numbers], head.NEVER)
        return logits.log_softmax(dim=1)

    @classmethod
    def statistics(cls, logits: Tensor, *masks: Any) -> tuple[Tensor, Tensor]:
        """The log of the sum of exponentials, which is where the likeliest log-probability comes from."""
        log_dist, found = cls._log_dist(logits, *masks), logits / masks[2]
        likeliest = log_dist.argmax(dim=1, keepdim=True)
        return (found - log_dist).gather(1, likeliest)[:, 0], -(log_dist.exp() * log_dist).sum(dim=1)

    @classmethod
    def block_sums(cls, logits: Tensor, *rest: Any) -> Tensor:
        """Adds up block by block."""
        *masks, _, block = rest
        dist = cls._log_dist(logits, *masks).exp()
        return torch.nn.functional.pad(dist, (0, -dist.shape[1] % block)).unflatten(1, (-1, block)).sum(dim=2)

    @classmethod
    def sums(cls, logits: Tensor, *rest: Any) -> None:
        """Adds up position by position."""
        *masks, _, counts, bounds, out = rest
        dist = cls._log_dist(logits, *masks).exp() * counts[:, None]
        for position, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
            out[position] += dist[first:last].sum(dim=0)

    @classmethod
    def slopes_(cls, logits: Tensor, *rest: Any) -> Tensor:
        """The gradient, by autograd but for what is chosen though it is illegal."""
        *masks, _, _, of_entropy, of_probs, positions, counts, of_log_probs, chosen = rest
        logits = logits.detach().requires_grad_()
        with torch.enable_grad():
            log_dist = cls._log_dist(logits, *masks)
            dist = log_dist.exp()
            wanted = (log_dist.gather(1, chosen) * of_log_probs).sum()
            wanted = wanted - ((dist * log_dist).sum(dim=1) * of_entropy).sum()
            wanted = wanted + (dist * counts[:, None] * of_probs[positions]).sum()
        return torch.autograd.grad(wanted, logits)[0]


@pytest.fixture(params=["as on a CPU", "as on a GPU", "with kernels"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ways in which states are read: a GPU has more tokens, and pieces of one position or kernels."""
    if request.param == "with kernels":
        monkeypatch.setattr(head, "kernels", lambda *_: Kernels)
        monkeypatch.setattr(head, "_BYTES_AT_ONCE", 3 * 8 * V)
    if request.param == "as on a GPU":
        monkeypatch.setattr(head, "_is_on_cpu", lambda _: False)
        monkeypatch.setitem(head._AT_ONCE, "cpu", head._AT_ONCE_ELSEWHERE)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("at_once", [1, 3 * V, 1000 * V])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", ["one row", "a row for each position", "a row for each state", "shared states"])
def test_it_is_what_the_whole_distributions_say(
    monkeypatch: pytest.MonkeyPatch, at_once: int, has_bias: bool, shape: str
) -> None:
    """Values and gradients equal autograd's to 1e-12 in float64, however the states are cut, masked and shared."""
    monkeypatch.setitem(head._AT_ONCE, "cpu", at_once)
    torch.manual_seed(0)
    n, length, k = (4, 1, 3) if shape == "shared states" else (4, 5, 1)
    table = torch.rand(6, V) < 0.6
    table[:, 2] = True
    size = {"one row": (1, 1), "a row for each position": (1, length)}.get(shape, (n, length))
    rows = torch.randint(6, size)
    completions = torch.full((n * k, length), 2)
    active = torch.rand(n * k, length) < 0.7
    found: list[Tensor] = []
    expected: list[Tensor] = []
    for function, ends in ((summarise, found), (plain, expected)):
        torch.manual_seed(1)
        hidden = torch.randn(n, length, 7, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(V, 7, dtype=torch.float64, requires_grad=True)
        bias = torch.randn(V, dtype=torch.float64, requires_grad=True) if has_bias else None
        summary = function(hidden, weight, bias, completions, active, table, rows, 0.7)
        wanted(summary).backward()
        ends += [*summary, hidden.grad, weight.grad] + ([bias.grad] if bias is not None else [])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_a_frozen_head_and_terms_that_nobody_asks_for_have_no_gradient() -> None:
    """With a frozen weight the hidden states still learn; entropies that are left out change nothing."""
    torch.manual_seed(0)
    hidden = torch.randn(2, 3, 4, requires_grad=True)
    weight = torch.randn(V, 4)
    completions, active = torch.randint(V, (2, 3)), torch.ones(2, 3, dtype=torch.bool)
    summary = summarise(hidden, weight, None, completions, active)
    summary.log_probs.sum().backward()
    again = hidden.detach().requires_grad_()
    (again @ weight.t()).log_softmax(dim=-1).gather(2, completions[:, :, None]).sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(hidden.grad, again.grad, atol=1e-6, rtol=1e-6)


def test_in_bf16_it_is_as_near_as_bf16_is() -> None:
    """Under autocast, and with states and weights in bf16, results are float32 and gradients have their dtype."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(4, 3, 16), torch.randn(V, 16) / 4
    completions, active = torch.randint(V, (4, 3)), torch.ones(4, 3, dtype=torch.bool)
    exact = summarise(hidden, weight, None, completions, active)
    ours, learned = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = summarise(ours, learned, None, completions, active)
    stored = summarise(hidden.bfloat16().requires_grad_(), weight.bfloat16(), None, completions, active)
    for summary in (cast, stored):
        assert summary.log_probs.dtype == torch.float32
        torch.testing.assert_close(summary.log_probs, exact.log_probs, atol=0.05, rtol=0)
    (cast.log_probs.sum() + cast.entropy.sum()).backward()
    for grad in (ours.grad, learned.grad):
        assert grad is not None
        assert grad.dtype == torch.float32


MEMORY = """
import re, torch
from pathlib import Path
from rlfl_agents.learn.head import summarise
length, width, vocab_size = 16, 64, 50257
def most_after(n):
    hidden = torch.randn(n, length, width, requires_grad=True)
    weight = torch.randn(vocab_size, width, requires_grad=True)
    completions, active = torch.randint(vocab_size, (n, length)), torch.ones(n, length, dtype=torch.bool)
    summary = summarise(hidden, weight, None, completions, active)
    (summary.log_probs.sum() + summary.entropy.sum() + summary.probs.square().sum()).backward()
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = most_after(1)
print(most_after(64) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much memory a process took at most")
def test_its_memory_does_not_grow_with_the_completions() -> None:
    """64 x 16 states of 50,257 tokens are 206 MB of logits; all of it, gradients included, takes less than 150 MB."""
    freed_at_once = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    process = subprocess.run(
        [sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True, env=freed_at_once
    )
    assert int(process.stdout) < 150 * 1024
