"""How different the completions of a batch are. Pure functions on int64 [B, T] and bool [B, T]."""

from __future__ import annotations

from torch import Tensor

__all__ = ["commonest_share", "distinct"]


def distinct(completions: Tensor, active: Tensor, n: int) -> float:
    """Distinct-n (Li et al. 2016, arXiv 1510.03055): the share of different n-grams among all of a batch's.

    It falls as the batch grows: compare batches of one size.

    Args:
        completions: Int64 [B, T].
        active: Bool [B, T], which tokens count.
        n: Tokens in a row.

    Returns:
        A share in (0, 1], or 0 where no completion has n tokens.
    """
    if completions.shape[1] < n:
        return 0.0
    grams = completions.unfold(1, n, 1)[active.unfold(1, n, 1).all(dim=2)]
    if not len(grams):
        return 0.0
    # Each different n-gram gets a number, token by token: `unique` over rows is a hundred times slower.
    numbers = grams[:, 0]
    for column in grams.T[1:]:
        numbers = (numbers * (completions.max() + 1) + column).unique(return_inverse=True)[1]
    return len(numbers.unique()) / len(grams)


def commonest_share(completions: Tensor, active: Tensor) -> float:
    """The share of rows that have the commonest completion.

    Args:
        completions: Int64 [B, T], at least one row.
        active: Bool [B, T], which tokens belong to the completion.

    Returns:
        A share in (0, 1].
    """
    written = completions.masked_fill(~active, -1)  # -1 is no token
    rows = written.new_zeros(len(written))
    for column in written.T:  # a hash of each row: `unique` over rows is twenty times slower
        rows = rows * 6364136223846793005 + column
    return int(rows.unique(return_counts=True)[1].max()) / len(rows)
