"""The head's distributions in four kernels, for GPUs: each reads the logits once or twice and keeps nothing else.

PyTorch would read and write all of [m, V] at every step from logits to a loss and back, a dozen times in float32: on a
GPU that takes longer than the products that make the logits. See head.py for what is computed.

Triton compiles these where they first run. It comes with PyTorch for NVIDIA's GPUs, and needs a C compiler.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["block_sums", "slopes_", "statistics", "sums"]

_BLOCK, _WARPS = 4096, 8  # tokens that a row's program reads at a time, and with how many warps
_ROWS, _TOKENS = 32, 128  # states and tokens that a sum's program reads at a time


def statistics(
    logits: Tensor, illegal: Tensor | None, numbers: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor]:
    """What a softmax divides by, and its entropy.

    Args:
        logits: Float [m, V], whose rows are contiguous.
        illegal: Bool [R, V], or None.
        numbers: Int64 [m] or [1], each state's row of it.
        temperature: Divides the logits.

    Returns:
        The log of the sum of exponentials and the entropy in nats, float32 [m] each.
    """
    rows, vocab_size = logits.shape
    log_sums, entropy = (logits.new_empty(rows, dtype=torch.float32) for _ in range(2))
    _statistics[(rows,)](
        logits,
        *_masks(logits, illegal, numbers),
        log_sums,
        entropy,
        1 / temperature,
        logits.stride(0),
        vocab_size,
        illegal is not None,
        _BLOCK,
        num_warps=_WARPS,
    )
    return log_sums, entropy


def block_sums(
    logits: Tensor, illegal: Tensor | None, numbers: Tensor | None, temperature: float, log_sums: Tensor, block: int
) -> Tensor:
    """The probability of each block of tokens, float32 [m, V / block, rounded up].

    Args:
        logits: As above, and so on.
        illegal: Likewise.
        numbers: Likewise.
        temperature: Likewise.
        log_sums: From `statistics`.
        block: How many tokens each has; a power of 2, at most 4096.
    """
    rows, vocab_size = logits.shape
    found = logits.new_empty(rows, triton.cdiv(vocab_size, block), dtype=torch.float32)
    _block_sums[(rows, triton.cdiv(vocab_size, _BLOCK))](
        logits,
        *_masks(logits, illegal, numbers),
        log_sums,
        found,
        1 / temperature,
        logits.stride(0),
        vocab_size,
        found.shape[1],
        illegal is not None,
        block,
        _BLOCK,
    )
    return found


def sums(
    logits: Tensor,
    illegal: Tensor | None,
    numbers: Tensor | None,
    temperature: float,
    log_sums: Tensor,
    counts: Tensor,
    bounds: Tensor,
    out: Tensor,
) -> None:
    """Adds distributions up position by position.

    Args:
        logits: As above, and so on.
        illegal: Likewise.
        numbers: Likewise.
        temperature: Likewise.
        log_sums: From `statistics`.
        counts: Float32 [m], how often each state counts.
        bounds: Int64 [t + 1], between which states each of t positions has its own.
        out: Float32 [t, V], contiguous; what is there is added to.
    """
    vocab_size = logits.shape[1]
    grid = (triton.cdiv(vocab_size, _TOKENS), len(out))
    _sums[grid](
        logits,
        *_masks(logits, illegal, numbers),
        log_sums,
        counts,
        bounds,
        out,
        1 / temperature,
        logits.stride(0),
        vocab_size,
        illegal is not None,
        _ROWS,
        _TOKENS,
    )


def slopes_(
    logits: Tensor,
    illegal: Tensor | None,
    numbers: Tensor | None,
    temperature: float,
    log_sums: Tensor,
    entropy: Tensor,
    of_entropy: Tensor | None,
    of_probs: Tensor | None,
    positions: Tensor,
    counts: Tensor,
    of_log_probs: Tensor | None,
    chosen: Tensor,
) -> Tensor:
    """Writes the gradient with respect to the logits over them, and returns them.

    Args:
        logits: As above, and so on.
        illegal: Likewise.
        numbers: Likewise.
        temperature: Likewise.
        log_sums: From `statistics`.
        entropy: Likewise.
        of_entropy: Float32 [m], the gradient with respect to it; or None.
        of_probs: Float32 [T, V], the gradient with respect to the sums; or None.
        positions: Int64 [m], which of the sums each state is in.
        counts: Float32 [m], how often.
        of_log_probs: Float32 [m, k], the gradient with respect to chosen tokens' log-probabilities; or None.
        chosen: Int64 [m, k], these tokens.
    """
    rows, vocab_size = logits.shape
    of_entropy = torch.zeros_like(entropy) if of_entropy is None else of_entropy
    of_log_probs = entropy.new_zeros(chosen.shape) if of_log_probs is None else of_log_probs
    _slopes[(rows,)](
        logits,
        *_masks(logits, illegal, numbers),
        log_sums,
        entropy,
        of_entropy.contiguous(),
        logits if of_probs is None else of_probs.contiguous(),
        positions,
        counts,
        of_log_probs.contiguous(),
        chosen.contiguous(),
        1 / temperature,
        logits.stride(0),
        vocab_size,
        illegal is not None,
        of_probs is not None,
        chosen.shape[1],
        _BLOCK,
        num_warps=_WARPS,
    )
    return logits


def _masks(logits: Tensor, illegal: Tensor | None, numbers: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """The table, the rows' numbers, and the step from one row's number to the next."""
    if illegal is None or numbers is None:
        return logits, logits, 0
    return illegal.contiguous().view(torch.uint8), numbers.long().contiguous(), int(len(numbers) > 1)


@triton.jit
def _scaled(logits, illegal, row, number, tokens, inverse, stride, vocab_size, is_masked: tl.constexpr):
    """Logits over the temperature, in float32; -1e9 for what is illegal or beyond the vocabulary."""
    is_there = tokens < vocab_size
    found = tl.load(logits + row * stride + tokens, mask=is_there, other=0.0).to(tl.float32) * inverse
    if is_masked:
        is_there = is_there & (tl.load(illegal + number * vocab_size + tokens, mask=is_there, other=1) == 0)
    return tl.where(is_there, found, -1e9)


@triton.jit
def _statistics(
    logits,
    illegal,
    numbers,
    step,
    log_sums,
    entropy,
    inverse,
    stride,
    vocab_size,
    is_masked: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    number = row * 0
    if is_masked:
        number = tl.load(numbers + row * step)
    largest = -4e9  # of what was read so far; what follows is in units of its exponential
    total = 0.0  # of the exponentials
    weighted = 0.0  # of the exponentials times their logits, less the largest
    for start in range(0, vocab_size, block):
        tokens = start + tl.arange(0, block)
        found = _scaled(logits, illegal, row, number, tokens, inverse, stride, vocab_size, is_masked)
        larger = tl.maximum(largest, tl.max(found, axis=0))
        shrink = tl.exp(largest - larger)
        each = tl.exp(found - larger)
        weighted = (weighted + (largest - larger) * total) * shrink + tl.sum(each * (found - larger), axis=0)
        total = total * shrink + tl.sum(each, axis=0)
        largest = larger
    tl.store(log_sums + row, largest + tl.log(total))
    tl.store(entropy + row, tl.log(total) - weighted / total)


@triton.jit
def _block_sums(
    logits,
    illegal,
    numbers,
    step,
    log_sums,
    out,
    inverse,
    stride,
    vocab_size,
    blocks,
    is_masked: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    number = row * 0
    if is_masked:
        number = tl.load(numbers + row * step)
    tokens = tl.program_id(1) * block + tl.arange(0, block)
    found = _scaled(logits, illegal, row, number, tokens, inverse, stride, vocab_size, is_masked)
    probs = tl.reshape(tl.exp(found - tl.load(log_sums + row)), [block // size, size])
    places = tl.program_id(1) * (block // size) + tl.arange(0, block // size)
    tl.store(out + row * blocks + places, tl.sum(probs, axis=1), mask=places < blocks)


@triton.jit
def _sums(
    logits,
    illegal,
    numbers,
    step,
    log_sums,
    counts,
    bounds,
    out,
    inverse,
    stride,
    vocab_size,
    is_masked: tl.constexpr,
    at_once: tl.constexpr,
    width: tl.constexpr,
):
    tokens = tl.program_id(0) * width + tl.arange(0, width)
    position = tl.program_id(1)
    first, last = tl.load(bounds + position), tl.load(bounds + position + 1)
    added = tl.zeros([width], dtype=tl.float32)
    for start in range(first, last, at_once):
        rows = start + tl.arange(0, at_once).to(tl.int64)
        are_there = rows < last
        rows = tl.where(are_there, rows, first)[:, None]
        number = rows * 0
        if is_masked:
            number = tl.load(numbers + rows * step)
        found = _scaled(logits, illegal, rows, number, tokens[None, :], inverse, stride, vocab_size, is_masked)
        weights = tl.where(are_there[:, None], tl.load(counts + rows), 0.0)
        added += tl.sum(tl.exp(found - tl.load(log_sums + rows)) * weights, axis=0)
    places = out + position.to(tl.int64) * vocab_size + tokens
    is_there = tokens < vocab_size
    tl.store(places, tl.load(places, mask=is_there) + added, mask=is_there)


@triton.jit
def _slopes(
    logits,
    illegal,
    numbers,
    step,
    log_sums,
    entropy,
    of_entropy,
    of_probs,
    positions,
    counts,
    of_log_probs,
    chosen,
    inverse,
    stride,
    vocab_size,
    is_masked: tl.constexpr,
    has_sums: tl.constexpr,
    count: tl.constexpr,
    block: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    number = row * 0
    if is_masked:
        number = tl.load(numbers + row * step)
    log_sum, weight, slope = tl.load(log_sums + row), tl.load(counts + row), -tl.load(of_entropy + row)
    constant = slope * tl.load(entropy + row)
    for i in range(count):
        constant -= tl.load(of_log_probs + row * count + i)
    wanted = of_probs + tl.load(positions + row) * vocab_size
    if has_sums:
        mean = 0.0
        for start in range(0, vocab_size, block):
            tokens = start + tl.arange(0, block)
            found = _scaled(logits, illegal, row, number, tokens, inverse, stride, vocab_size, is_masked)
            mean += tl.sum(
                tl.exp(found - log_sum) * tl.load(wanted + tokens, mask=tokens < vocab_size, other=0.0), axis=0
            )
        constant -= weight * mean
    for start in range(0, vocab_size, block):
        tokens = start + tl.arange(0, block)
        log_dist = _scaled(logits, illegal, row, number, tokens, inverse, stride, vocab_size, is_masked) - log_sum
        factor = constant + slope * log_dist
        if has_sums:
            factor += weight * tl.load(wanted + tokens, mask=tokens < vocab_size, other=0.0)
        found = tl.exp(log_dist) * factor
        for i in range(count):
            is_chosen = tokens == tl.load(chosen + row * count + i)
            found += tl.where(is_chosen, tl.load(of_log_probs + row * count + i), 0.0)
        places = logits + row * stride + tokens
        tl.store(places, (found * inverse).to(logits.dtype.element_ty), mask=tokens < vocab_size)
