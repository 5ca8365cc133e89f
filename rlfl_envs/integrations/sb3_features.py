"""Feature extractors for SB3's policies: token ids in, one vector for each text out.

Give one to any algorithm on a `TokenVecEnv`:
`PPO("MlpPolicy", envs, policy_kwargs={"features_extractor_class": TransformerFeatures})`. Without one, SB3's policies
read the ids as numbers.
"""

from __future__ import annotations

# First, because it says what to install where SB3 is missing.
from rlfl_envs.integrations.sb3 import TokenSpace  # isort: split

from typing import Any

import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.errors import ConfigError

__all__ = ["GRUFeatures", "MeanFeatures", "PartFeatures", "TokenFeatures", "TransformerFeatures"]


class TokenFeatures(BaseFeaturesExtractor):
    """Embeds a text, and leaves out PAD: what an extractor computes does not depend on how much of it there is.

    The tokens move to the front, in their order, each with the column it came from. The column says how far it is from
    the end of the prompt, and the last token's how much of the budget is left.
    """

    def __init__(self, observation_space: TokenSpace, features_dim: int = 64) -> None:
        """Makes the two embeddings.

        Args:
            observation_space: A `TokenVecEnv`'s.
            features_dim: D, the width of everything.

        Raises:
            ConfigError: The space is another one, or the width not allowed.
        """
        is_width = is_integer(features_dim) and features_dim >= 1
        check_value("features_dim", features_dim, is_width, "an integer, 1 or more")
        is_ours = isinstance(observation_space, TokenSpace)
        check_value("observation_space", observation_space, is_ours, "the TokenSpace of a TokenVecEnv")
        super().__init__(observation_space, features_dim)
        self.pad_id = observation_space.pad_id
        self.tokens = nn.Embedding(observation_space.vocab_size, features_dim)
        self.columns = nn.Embedding(observation_space.shape[0], features_dim)

    def forward(self, observations: Tensor) -> Tensor:
        """Computes the features.

        Args:
            observations: [B, T] token ids; SB3 hands them over as float32.

        Returns:
            float32 [B, D].

        Raises:
            ConfigError: They are no ids, as `VecNormalize` makes them.
        """
        ids = _read_ids(observations)
        is_pad = ids == self.pad_id
        columns = is_pad.to(torch.int8).argsort(dim=1, stable=True)
        lengths = (~is_pad).sum(dim=1)
        return self.summarize(self.tokens(ids.gather(1, columns)), self.columns(columns), lengths)

    def summarize(self, tokens: Tensor, columns: Tensor, lengths: Tensor) -> Tensor:
        """Makes one vector of a text.

        Args:
            tokens: float32 [B, T, D], embedded, PAD last.
            columns: float32 [B, T, D], each token's column, embedded.
            lengths: int64 [B], how many tokens are not PAD; 0 where there is no text.

        Returns:
            float32 [B, D].
        """
        raise NotImplementedError("Take MeanFeatures, GRUFeatures or TransformerFeatures, or write your own.")


class MeanFeatures(TokenFeatures):
    """The mean over the text of token times column, entry by entry.

    A sum of the two embeddings would tell which tokens there are, but not where.
    """

    def forward(self, observations: Tensor) -> Tensor:
        """Computes the features; see `TokenFeatures`.

        All products are in one table, a row for each token in each column: there are fewer of them than tokens in a
        batch, and PyTorch adds up rows of a table without copying them first.
        """
        return self.mean(_read_ids(observations))

    def mean(self, ids: Tensor, first: int = 0) -> Tensor:
        """The mean over some columns.

        Args:
            ids: int64 [B, K], their tokens.
            first: The number of the first of them.

        Returns:
            float32 [B, D]; 0 where there is no text.
        """
        places = self.columns.weight[first : first + ids.shape[1]]
        products = places[:, None] * self.tokens.weight  # [K, V, D]
        is_pad = torch.arange(len(self.tokens.weight), device=ids.device) == self.pad_id
        table = products.masked_fill(is_pad[:, None], 0.0).flatten(0, 1)
        rows = ids + torch.arange(ids.shape[1], device=ids.device) * len(self.tokens.weight)
        total: Tensor = _SumRows.apply(table, rows)  # type: ignore[no-untyped-call]
        return total / (ids != self.pad_id).sum(dim=1).clamp(min=1)[:, None]


class PartFeatures(MeanFeatures):
    """Three parts side by side: the mean of the prompt, that of the completion, and where the text stands.

    The means are those of `MeanFeatures`, so that what the prompt says stays the same while the completion grows. Their
    columns begin near 1, where a token means the same wherever it stands: what is learned of a number in one column is
    learned of it in all, until the columns come apart. Where the text stands is the sum of an embedding of the last
    token and one of the completion's length: for the syntax.
    """

    def __init__(self, observation_space: TokenSpace, features_dim: int = 192) -> None:
        """Makes the embeddings.

        Args:
            observation_space: A `TokenVecEnv`'s.
            features_dim: D of the three together, a multiple of 3.

        Raises:
            ConfigError: The space is another one, or the width not allowed.
        """
        is_width = is_integer(features_dim) and features_dim >= 3 and features_dim % 3 == 0
        check_value("features_dim", features_dim, is_width, "a multiple of 3")
        super().__init__(observation_space, features_dim // 3)
        self._features_dim = features_dim
        nn.init.normal_(self.columns.weight, mean=1.0, std=0.1)
        self.prompt_length = observation_space.prompt_length
        self.last = nn.Embedding(observation_space.vocab_size, features_dim // 3)
        self.lengths = nn.Embedding(observation_space.shape[0] - self.prompt_length + 1, features_dim // 3)

    def forward(self, observations: Tensor) -> Tensor:
        """Computes the features; see `TokenFeatures`."""
        ids = _read_ids(observations)
        prompt, completion = ids[:, : self.prompt_length], ids[:, self.prompt_length :]
        lengths = (completion != self.pad_id).sum(dim=1)
        last = ids.gather(1, (self.prompt_length - 1 + lengths[:, None]).clamp(min=0))[:, 0]
        stands = self.last(last) + self.lengths(lengths)
        return torch.cat([self.mean(prompt), self.mean(completion, self.prompt_length), stands], dim=1)


class _SumRows(torch.autograd.Function):
    """Sums of a table's rows, [R, D] and int64 [B, T] to [B, D].

    It is PyTorch's `embedding_bag`, with a second derivative, which TRPO needs: the map is linear in the table.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = len(table)
        return nn.functional.embedding_bag(rows, table, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        table: Tensor = _AddToRows.apply(gradients[0], ctx.saved_tensors[0], ctx.size)  # type: ignore[no-untyped-call]
        return table, None


class _AddToRows(torch.autograd.Function):
    """The transpose: adds each vector of [B, D] to the rows, int64 [B, T], of a table [R, D] of zeros."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, rows: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(rows)
        with torch.enable_grad():  # the derivative of the sums, which PyTorch knows how to compute fast
            table = vectors.new_zeros(size, vectors.shape[1], requires_grad=True)
            sums = nn.functional.embedding_bag(rows, table, mode="sum")
        return torch.autograd.grad(sums, table, vectors)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        vectors: Tensor = _SumRows.apply(gradients[0], ctx.saved_tensors[0])  # type: ignore[no-untyped-call]
        return vectors, None, None


class GRUFeatures(TokenFeatures):
    """The state of a GRU after the last token."""

    def __init__(self, observation_space: TokenSpace, features_dim: int = 64) -> None:
        """Makes a GRU of one layer; see `TokenFeatures`."""
        super().__init__(observation_space, features_dim)
        self.gru = nn.GRU(features_dim, features_dim, batch_first=True)

    def summarize(self, tokens: Tensor, columns: Tensor, lengths: Tensor) -> Tensor:
        """Runs over the text."""
        return _at_last(self.gru(tokens + columns)[0], lengths)


class TransformerFeatures(TokenFeatures):
    """What a small causal transformer makes of the last token."""

    def __init__(self, observation_space: TokenSpace, features_dim: int = 64, layers: int = 2, heads: int = 4) -> None:
        """Makes the layers.

        Args:
            observation_space: A `TokenVecEnv`'s.
            features_dim: D, a multiple of `heads`.
            layers: How many blocks of attention and feed-forward, 1 or more.
            heads: Of attention, 1 or more.

        Raises:
            ConfigError: An argument has a value that is not allowed.
        """
        super().__init__(observation_space, features_dim)
        check_value("layers", layers, is_integer(layers) and layers >= 1, "an integer, 1 or more")
        is_divisor = is_integer(heads) and heads >= 1 and features_dim % heads == 0
        check_value("heads", heads, is_divisor, f"an integer that divides {features_dim}")
        self.blocks = nn.Sequential(*[_Block(features_dim, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(features_dim)

    def summarize(self, tokens: Tensor, columns: Tensor, lengths: Tensor) -> Tensor:
        """Runs the blocks. Looking back only, no token sees the PAD behind the text."""
        features: Tensor = self.norm(_at_last(self.blocks(tokens + columns), lengths))
        return features


class _Block(nn.Module):
    """Attention, then feed-forward, each added to what it read (pre-norm, as in GPT-2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.queries_keys_values(self.norms[0](x)).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        # Written out, as TRPO needs second derivatives, which PyTorch's own attention does not have.
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        is_later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        heard = scores.masked_fill(is_later, -torch.inf).softmax(dim=-1) @ values
        x = x + self.mix(heard.transpose(1, 2).reshape(batch, length, width))
        read: Tensor = self.feed_forward(self.norms[1](x))
        return x + read


def _at_last(x: Tensor, lengths: Tensor) -> Tensor:
    """Picks each text's last token: [B, T, D] to [B, D]."""
    return x[torch.arange(len(x), device=x.device), lengths.clamp(min=1) - 1]


def _read_ids(observations: Tensor) -> Tensor:
    """Token ids, int64, of the floats that SB3 makes of them.

    Raises:
        ConfigError: They are no ids, as `VecNormalize` makes them.
    """
    ids = observations.long()
    if not torch.equal(ids.to(observations.dtype), observations):
        raise ConfigError(
            "The observations are no token ids; allowed: those of a TokenVecEnv as they are (with VecNormalize, "
            "norm_obs=False)."
        )
    return ids
