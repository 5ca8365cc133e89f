"""Attention of packed tokens is attention, and its gradient is that of the products it is made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rlfl_agents.learn.head import states_of
from rlfl_agents.model.packing import Packing, attend

GROUPS, MEMBERS, WIDTH, LENGTH, SIZE = 3, 2, 5, 4, 8
ROWS = GROUPS * MEMBERS


def packed_rows(lengths: list[int]) -> Packing:
    """Tokens position by position, as a policy packs them."""
    where = states_of(torch.arange(LENGTH) < torch.tensor(lengths)[:, None])
    return Packing.of(where % ROWS * LENGTH + where // ROWS, ROWS, LENGTH)


def row_by_row(
    query: Tensor, key: Tensor, value: Tensor, prompts: tuple[Tensor, Tensor], attended: Tensor, packing: Packing
) -> Tensor:
    """The same, one token after the other."""
    repeats = query.shape[1] // key.shape[1]
    found = []
    for n, place in enumerate(packing.where.tolist()):
        row, column = divmod(place, LENGTH)
        before = [i for i, other in enumerate(packing.where.tolist()) if row * LENGTH <= other <= row * LENGTH + column]
        seen, group = attended[row // MEMBERS], row // MEMBERS
        keys = torch.cat([prompts[0][group][:, seen], key[0][:, before]], dim=1).repeat_interleave(repeats, dim=0)
        values = torch.cat([prompts[1][group][:, seen], value[0][:, before]], dim=1).repeat_interleave(repeats, dim=0)
        weights = (keys @ query[0, :, n, :, None]).mul(0.5).softmax(dim=1)
        found.append((weights * values).sum(dim=1))
    return torch.stack(found)[None]


@pytest.mark.parametrize("lengths", [[4, 4, 4, 4, 4, 4], [4, 1, 0, 2, 3, 0]])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("is_padded", [True, False])
def test_it_is_attention(lengths: list[int], repeats: int, is_padded: bool) -> None:
    """Results and all gradients, where heads share keys, prompts are padded and rows end early."""
    generator = torch.Generator().manual_seed(0)
    packing = packed_rows(lengths)
    shapes = [(1, 2 * repeats, len(packing.where), SIZE), *[(1, 2, len(packing.where), SIZE)] * 2]
    shapes += [(GROUPS, 2, WIDTH, SIZE)] * 2
    given = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    query, key, value, *prompts = given
    attended = torch.ones(GROUPS, WIDTH, dtype=torch.bool)
    attended[1, :3] = not is_padded
    ours = attend(query, key, value, (prompts[0], prompts[1]), attended if is_padded else None, packing, 0.5)
    theirs = row_by_row(query, key, value, (prompts[0], prompts[1]), attended, packing)
    torch.testing.assert_close(ours, theirs)
    slope = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    of_ours, of_theirs = (torch.autograd.grad((found * slope).sum(), given) for found in (ours, theirs))
    torch.testing.assert_close(of_ours, of_theirs)


def test_autocast_decides_the_precision() -> None:
    """Products are bfloat16's under autocast, and gradients what the weights are."""
    packing = packed_rows([4] * ROWS)
    query, key, value = (torch.randn(1, 2, len(packing.where), SIZE, requires_grad=True) for _ in range(3))
    prompts = torch.randn(GROUPS, 2, WIDTH, SIZE), torch.randn(GROUPS, 2, WIDTH, SIZE)
    exact = attend(query, key, value, prompts, None, packing, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = attend(query, key, value, prompts, None, packing, 0.5)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)
    rough.sum().backward()
    assert query.grad is not None
    assert query.grad.dtype == torch.float32
