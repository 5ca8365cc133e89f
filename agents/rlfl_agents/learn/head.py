"""What a loss asks of the distributions over V tokens, without ever holding them all.

A model's last layer makes V numbers of every hidden state: at 512 completions of 16 tokens of GPT-2's 50,257 these are
1.6 GB in float32, and what autograd keeps of their softmax, entropy and mean is six times that. But the loss asks for
little: the chosen tokens' log-probabilities, each state's entropy, and the sum of the distributions at each position.
So the states are read in pieces, and their distributions are made again when the gradient asks for them. On NVIDIA's
GPUs there are kernels for that (see fused.py), where they can be compiled.

Shapes: B rows (episodes), N states' rows (N divides B: the members of a group may share their state), T positions, H
hidden numbers, V tokens.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

__all__ = ["NEVER", "Summary", "aligned", "kernels", "padding", "states_of", "summarise", "summary_of"]

NEVER = -1e9
"""The logit of an illegal token: finite, so that 0 * log 0 is 0 in an entropy and not NaN; exp() of it is exactly 0."""

_AT_ONCE = {"cpu": 2**22}
"""How many logits are held at a time: few on a CPU, whose caches they should fit into."""
_AT_ONCE_ELSEWHERE = 2**25
_BYTES_AT_ONCE = 2**28
"""Where there are kernels, logits are all that is held: so many bytes of them."""
_ALIGNED = 64


class Summary(NamedTuple):
    """What is known of the distributions; all have gradients.

    Attributes:
        log_probs: Float [B, T], of the chosen tokens.
        entropy: Float [N, T], of each state's distribution, nats.
        probs: Float [T, V], the distributions of a position added up over its active rows.
        counts: Float [N, T], how many active rows each state stands for.
    """

    log_probs: Tensor
    entropy: Tensor
    probs: Tensor
    counts: Tensor

    def plus(self, other: Summary) -> Summary:
        """Both together, where rows are concerned one below the other."""
        names = ("log_probs", "entropy", "counts")
        rows = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names}
        return Summary(probs=self.probs + other.probs, **rows)


def summarise(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    completions: Tensor,
    active: Tensor,
    table: Tensor | None = None,
    rows: Tensor | None = None,
    temperature: float = 1.0,
) -> Summary:
    """Reads the distributions softmax((weight · hidden + bias) / temperature) over the legal tokens.

    Under autocast the products are made in its precision; everything else is float32 (float64 where `hidden` is).

    Args:
        hidden: Float [N, T, H], or [M, H]: of the states that are active alone, in the order of `states_of`.
        weight: Float [V, H].
        bias: Float [V], or None.
        completions: Int64 [B, T], the chosen tokens; the rows that share a state are adjacent.
        active: Bool [B, T], which of them count. The others are not looked at: theirs is 0 everywhere.
        table: Bool [R, V], True = legal, or None where all are.
        rows: Int [N, T], or broadcasting to it: each state's row of the table.
        temperature: Above 0.

    Returns:
        The summary. Its memory is that of its results and of a few million logits at a time.
    """
    length, vocab_size, more = completions.shape[1], len(weight), padding(weight)
    if more:
        bias = None if bias is None else pad(bias, (0, more))
        if table is None:
            table, rows = active.new_ones(1, vocab_size), completions.new_zeros(1, 1)
        table = pad(table, (0, more))
    n = len(hidden) if hidden.ndim == 3 else len(completions)
    counts = active.view(n, -1, length).sum(dim=1)
    where = states_of(counts > 0)
    columns, numbers = where // n, None
    if rows is not None:
        numbers = rows.flatten() if rows.numel() == 1 else rows.expand(n, length).t().flatten()[where]
    chosen = completions.view(n, -1, length).permute(2, 0, 1).flatten(0, 1)  # [T * N, k]
    log_probs, entropy, probs = cast(
        "tuple[Tensor, Tensor, Tensor]",
        _Summary.apply(  # type: ignore[no-untyped-call]
            hidden if hidden.ndim == 2 else hidden.transpose(0, 1).flatten(0, 1)[where],
            weight,
            bias,
            chosen[where],
            counts.t().flatten()[where],
            columns,
            None if table is None else ~table,
            numbers,
            temperature,
            length,
        ),
    )
    probs = probs[:, :vocab_size] if more else probs
    log_probs = log_probs.new_zeros(chosen.shape).index_copy(0, where, log_probs)
    entropy = entropy.new_zeros(n * length).index_copy(0, where, entropy)
    log_probs = log_probs.view(length, n, -1).permute(1, 2, 0).reshape(completions.shape)
    return Summary(log_probs, entropy.view(length, n).t(), probs, counts.to(entropy.dtype))


def padding(weight: Tensor) -> int:
    """How many tokens a head [V, H] lacks that products with it are fast: 0 on a CPU. Nobody may choose them.

    A GPU's best kernels need rows that begin at even places: with GPT-2's 50,257 tokens they cannot be had.
    """
    return 0 if _is_on_cpu(weight) else -len(weight) % _ALIGNED


def aligned(weight: Tensor) -> Tensor:
    """A head [V, H] with the tokens that it lacks, as zeros."""
    more = padding(weight)
    return pad(weight, (0, 0, 0, more)) if more else weight


def summary_of(log_dist: Tensor, completions: Tensor, active: Tensor) -> Summary:
    """The same of log-probabilities [N, T, V] that are there already; inactive rows count in `probs` alone as 0."""
    n, length, _ = log_dist.shape
    chosen = completions.view(n, -1, length).transpose(1, 2)
    log_probs = log_dist.gather(2, chosen).transpose(1, 2).reshape(completions.shape)
    counts = active.view(n, -1, length).sum(dim=1).to(log_dist.dtype)
    dist = log_dist.softmax(dim=-1)
    return Summary(log_probs, -(dist * log_dist).sum(dim=-1), torch.einsum("nt,ntv->tv", counts, dist), counts)


def states_of(active: Tensor) -> Tensor:
    """Where True stands in bool [N, T], position by position: int64 [M] of T * N."""
    return active.t().flatten().nonzero().squeeze(1)


class _Summary(torch.autograd.Function):
    """M states in the order of their positions, a piece at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        chosen: Tensor,
        counts: Tensor,
        columns: Tensor,
        illegal: Tensor | None,
        numbers: Tensor | None,
        temperature: float,
        length: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        device, dtype = states.device.type, states.dtype
        wide = torch.promote_types(dtype, torch.float32)
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        matrix, states, counts = aligned(weight.to(narrow)), states.to(narrow), counts.to(wide)
        log_probs, entropy = states.new_empty(chosen.shape, dtype=wide), states.new_empty(len(states), dtype=wide)
        probs = states.new_zeros(length, len(matrix), dtype=wide)
        fused = kernels(states.device, wide) if bias is None else None
        log_dist, log_sums = None, torch.empty_like(entropy)
        with torch.autocast(device, enabled=False):
            if fused is not None:
                at_once = max(1, _BYTES_AT_ONCE // (matrix.itemsize * len(matrix)))
                pieces = _pieces(columns, length, at_once, by_position=False)
                bounds = torch.searchsorted(columns, torch.arange(length + 1, device=columns.device))
            else:
                at_once = max(1, _AT_ONCE.get(device, _AT_ONCE_ELSEWHERE) // len(matrix))
                pieces = _pieces(columns, length, at_once, by_position=not _is_on_cpu(columns))
            for piece, first, last in pieces:
                legal = illegal, _part(numbers, piece)
                if fused is not None:
                    logits = states[piece] @ matrix.t()
                    log_sums[piece], entropy[piece] = fused.statistics(logits, *legal, temperature)
                    log_probs[piece] = _of_chosen(logits, chosen[piece], *legal, temperature, log_sums[piece])
                    own = (bounds[first : last + 2] - piece.start).clamp(0, len(logits))
                    added = log_sums[piece], counts[piece], own, probs[first : last + 1]
                    fused.sums(logits, *legal, temperature, *added)
                    continue
                log_dist = _log_dist(states[piece], matrix, bias, *legal, temperature, wide)
                torch.gather(log_dist, 1, chosen[piece], out=log_probs[piece])
                dist = log_dist.softmax(dim=-1)
                positions = torch.arange(first, last + 1, device=columns.device)[:, None]
                probs[first : last + 1] += (counts[piece] * (columns[piece] == positions)) @ dist
                entropy[piece] = -dist.mul_(log_dist).sum(dim=-1)
        kept = log_dist if len(pieces) == 1 else None
        ctx.save_for_backward(states, weight, bias, chosen, counts, columns, illegal, numbers, entropy, log_sums, kept)
        ctx.settings = (temperature, pieces, narrow, wide, dtype, fused)
        ctx.set_materialize_grads(False)
        return log_probs, entropy, probs

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_log_probs: Tensor | None, of_entropy: Tensor | None, of_probs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        states, weight, bias, chosen, counts, columns, illegal, numbers, entropy, log_sums, kept = ctx.saved_tensors
        temperature, pieces, narrow, wide, dtype, fused = ctx.settings
        matrix = aligned(weight.to(narrow))
        learns_weight, learns_bias = ctx.needs_input_grad[1:3]
        to_states = torch.empty_like(states)
        to_weight = torch.zeros_like(matrix, dtype=weight.dtype) if learns_weight else None
        to_bias = torch.zeros_like(bias) if learns_bias and bias is not None else None
        with torch.autocast(states.device.type, enabled=False):
            for piece, first, _ in pieces:
                legal = illegal, _part(numbers, piece)
                if fused is not None:
                    slope = fused.slopes_(
                        states[piece] @ matrix.t(),
                        *legal,
                        temperature,
                        log_sums[piece],
                        entropy[piece],
                        None if of_entropy is None else of_entropy[piece],
                        None if of_probs is None else of_probs,
                        columns[piece],
                        counts[piece],
                        None if of_log_probs is None else of_log_probs[piece],
                        chosen[piece],
                    )
                else:
                    log_dist = kept
                    if kept is None:
                        log_dist = _log_dist(states[piece], matrix, bias, *legal, temperature, wide)
                    slope = (_slope if _is_on_cpu(columns) else _slope_in_fewer_steps)(
                        cast("Tensor", log_dist),
                        None if of_entropy is None else (of_entropy[piece], entropy[piece]),
                        None if of_probs is None else (_wanted(of_probs, columns[piece], first), counts[piece]),
                        None if of_log_probs is None else (of_log_probs[piece], chosen[piece]),
                    )
                    if temperature != 1:
                        slope /= temperature
                if to_bias is not None:
                    to_bias += slope.sum(dim=0)
                slope = slope.to(narrow)
                torch.mm(slope, matrix, out=to_states[piece])
                if to_weight is not None and to_weight.dtype == slope.dtype:
                    to_weight.addmm_(slope.t(), states[piece])
                elif to_weight is not None:
                    to_weight += slope.t() @ states[piece]
        return to_states.to(dtype), None if to_weight is None else to_weight[: len(weight)], to_bias, *[None] * 7


def _is_on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


@cache
def kernels(device: torch.device, dtype: torch.dtype) -> Any:
    """The module `fused`, for results of this type; None where its kernels cannot be had."""
    if device.type != "cuda" or dtype != torch.float32:
        return None
    try:
        fused = importlib.import_module("rlfl_agents.learn.fused")
        fused.statistics(torch.zeros(1, _ALIGNED, device=device), None, None, 1.0)
    except ImportError:
        return None
    except Exception as error:  # noqa: BLE001 (whatever Triton, its compiler or the card's driver says)
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"The head's kernels cannot be compiled, and it is read step by step ({reason}).", stacklevel=2)
        return None
    return fused


def _of_chosen(
    logits: Tensor, chosen: Tensor, illegal: Tensor | None, numbers: Tensor | None, temperature: float, log_sums: Tensor
) -> Tensor:
    """Log-probabilities of chosen tokens [m, k], of logits [m, V] and what a softmax divides by, [m]."""
    found = logits.gather(1, chosen).to(log_sums.dtype) / temperature
    if illegal is not None and numbers is not None:
        found = found.masked_fill(illegal[numbers[:, None], chosen], NEVER)
    return found - log_sums[:, None]


def _pieces(columns: Tensor, length: int, at_once: int, *, by_position: bool) -> list[tuple[slice, int, int]]:
    """Cuts states into pieces: which, and their first and last position.

    Args:
        columns: Int64 [M], the position of each, ascending.
        length: T.
        at_once: How many states a piece may have.
        by_position: Whether a piece has one position alone.
    """
    if by_position:
        sizes = torch.bincount(columns, minlength=length).tolist()
        return [
            (slice(first, min(first + at_once, end)), position, position)
            for position, (size, end) in enumerate(zip(sizes, accumulate(sizes), strict=True))
            for first in range(end - size, end, at_once)
        ]
    count = len(columns)
    pieces = [slice(first, min(first + at_once, count)) for first in range(0, count, at_once)]
    ends = columns[[*(piece.start for piece in pieces), *(piece.stop - 1 for piece in pieces)]].tolist()
    return [*zip(pieces, ends[: len(pieces)], ends[len(pieces) :], strict=True)]


def _wanted(of_probs: Tensor, columns: Tensor, position: int) -> Tensor:
    """What `_slope` is told of a sum's gradient [T, V]: [m, V], or [V] where all states are of one position."""
    return of_probs[columns] if _is_on_cpu(columns) else of_probs[position]


def _part(numbers: Tensor | None, rows: slice) -> Tensor | None:
    return numbers if numbers is None or len(numbers) == 1 else numbers[rows]


def _log_dist(
    states: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    illegal: Tensor | None,
    numbers: Tensor | None,
    temperature: float,
    wide: torch.dtype,
) -> Tensor:
    """The log-probabilities of every token, [m, V], about -1e9 for what is illegal.

    Their softmax is the distribution: a CPU's exp takes ten times as long where the result is 0.
    """
    logits = (states @ matrix.t()).to(wide)
    if bias is not None:
        logits += bias
    if temperature != 1:
        logits /= temperature
    if illegal is not None and numbers is not None:
        logits.masked_fill_(illegal[numbers], NEVER)
    return logits.log_softmax(dim=-1)


def _slope(
    log_dist: Tensor,
    entropy: tuple[Tensor, Tensor] | None,
    probs: tuple[Tensor, Tensor] | None,
    log_probs: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """The gradient with respect to the logits over the temperature, [m, V].

    With p = exp(log_dist): an entropy's is -p (log p + entropy); that of a sum of distributions, w p (G - <p, G>); that
    of a chosen token's log-probability, [v is chosen] - p.

    Args:
        log_dist: Float [m, V].
        entropy: The gradient with respect to the entropies and the entropies, [m] each.
        probs: The gradient with respect to the sum that each state is in, [m, V], and how often it counts there, [m].
        log_probs: The gradient with respect to the chosen tokens' log-probabilities, and these tokens, [m, k] each.
    """
    dist = log_dist.softmax(dim=-1)
    factor = torch.zeros_like(log_dist[:, :1])
    if entropy is not None:
        factor = (log_dist + entropy[1][:, None]).mul_(-entropy[0][:, None])
    if probs is not None:
        wanted, counts = probs
        factor = factor + counts[:, None] * (wanted - (dist * wanted).sum(dim=1, keepdim=True))
    if log_probs is not None:
        factor = factor - log_probs[0].sum(dim=1, keepdim=True)
    slope = dist * factor
    if log_probs is not None:
        slope.scatter_add_(1, log_probs[1], log_probs[0].to(slope.dtype))
    return slope


def _slope_in_fewer_steps(
    log_dist: Tensor,
    entropy: tuple[Tensor, Tensor] | None,
    probs: tuple[Tensor, Tensor] | None,
    log_probs: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """What `_slope` returns, for states of one position; the gradient with respect to their sum is [V] alone.

    A GPU reads and writes all of [m, V] at every step, and does little else.
    """
    dist = log_dist.exp()
    factor = torch.zeros_like(log_dist[:, :1])
    if entropy is not None:
        factor = factor - (entropy[0] * entropy[1])[:, None]
    if probs is not None:
        factor = factor - (probs[1] * (dist @ probs[0]))[:, None]
    if log_probs is not None:
        factor = factor - log_probs[0].sum(dim=1, keepdim=True)
    if entropy is not None:
        factor = torch.addcmul(factor, log_dist, -entropy[0][:, None])
    if probs is not None:
        factor = torch.addcmul(factor, probs[1][:, None], probs[0])
    slope = dist.mul_(factor)
    if log_probs is not None:
        slope.scatter_add_(1, log_probs[1], log_probs[0].to(slope.dtype))
    return slope
