"""Observations as a `Box`, for libraries that know no `MultiDiscrete`: one-hot for linear layers, or ids to embed.

`OneHot` and `TokenIds` wrap what `gymnasium.make` gives, `VectorOneHot` and `VectorTokenIds` what `gymnasium.make_vec`
gives, in any autoreset mode.

Example:
    >>> import gymnasium
    >>> from rlfl_envs.wrappers import OneHot
    >>> env = OneHot(gymnasium.make("rlfl/Copy-v0", length=1, alphabet="ab"))
    >>> observation, info = env.reset(seed=0)  # BOS and a letter, then room for one; five tokens each
    >>> observation.reshape(3, 5).argmax(axis=1).tolist()
    [1, 4, 0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete, Space
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value

__all__ = ["OneHot", "TokenIds", "VectorOneHot", "VectorTokenIds"]


if TYPE_CHECKING:
    _VectorWrapper = VectorWrapper[NDArray[Any], Any, NDArray[np.int64], Any, Any]
else:
    _VectorWrapper = VectorWrapper  # generic from Gymnasium 1.4 on


class _Ids:
    """Observations as they are."""

    def __init__(self, tokens: Space[Any]) -> None:
        """Takes the space of one observation, `MultiDiscrete` of one size throughout."""
        is_tokens = isinstance(tokens, MultiDiscrete) and tokens.nvec.ndim == 1 and len({*tokens.nvec.tolist()}) == 1
        check_value("observation_space", tokens, is_tokens, "that of tokens, MultiDiscrete([V, V, ...])")
        assert isinstance(tokens, MultiDiscrete)
        self.columns, self.vocab_size = len(tokens.nvec), int(tokens.nvec[0])

    @property
    def space(self) -> Box:
        """The space of one observation."""
        return Box(0, self.vocab_size - 1, (self.columns,), np.int64)

    def __call__(self, tokens: NDArray[np.int64]) -> NDArray[Any]:
        """Observations of one environment, [columns], or of many, [N, columns]."""
        return tokens


class _Flat(_Ids):
    """Each column becomes V numbers, of which the token's own is 1."""

    @property
    def space(self) -> Box:
        """The space of one observation."""
        return Box(0.0, 1.0, (self.columns * self.vocab_size,), np.float32)

    def __call__(self, tokens: NDArray[np.int64]) -> NDArray[Any]:
        """Observations of one environment, [columns], or of many, [N, columns]."""
        one_hot = np.zeros((*tokens.shape, self.vocab_size), dtype=np.float32)
        np.put_along_axis(one_hot, tokens[..., None], 1.0, axis=-1)
        return one_hot.reshape(*tokens.shape[:-1], -1)


class TokenIds(gymnasium.ObservationWrapper[NDArray[Any], int, NDArray[np.int64]], RecordConstructorArgs):
    """Observations are a `Box` of token ids, int64 [P + C], 0..V-1."""

    _form: ClassVar[type[_Ids]] = _Ids

    def __init__(self, env: gymnasium.Env[NDArray[np.int64], int]) -> None:
        """Takes an environment of ours.

        Raises:
            ConfigError: Its observations are no tokens.
        """
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._convert = self._form(env.observation_space)
        self.observation_space = self._convert.space

    def observation(self, observation: NDArray[np.int64]) -> NDArray[Any]:
        """Converts an observation."""
        return self._convert(observation)


class OneHot(TokenIds):
    """Observations are a flat `Box` of zeros and ones, float32 [(P + C) * V], V for each column."""

    _form = _Flat


class VectorTokenIds(_VectorWrapper):
    """`TokenIds` of vector environments: int64 [N, P + C]; `final_obs` too."""

    _form: ClassVar[type[_Ids]] = _Ids

    def __init__(self, env: VectorEnv[NDArray[np.int64], Any, Any]) -> None:
        """Takes a vector environment of ours.

        Raises:
            ConfigError: Its observations are no tokens.
        """
        super().__init__(env)
        self._convert = self._form(env.single_observation_space)
        self.single_observation_space = self._convert.space
        self.observation_space = batch_space(self._convert.space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        """As in the environment."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._convert(observations), infos

    def step(self, actions: Any) -> tuple[NDArray[Any], Any, Any, Any, dict[str, Any]]:
        """As in the environment."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        if "final_obs" in infos:
            for row in np.flatnonzero(infos["_final_obs"]).tolist():
                infos["final_obs"][row] = self._convert(infos["final_obs"][row])
        return self._convert(observations), rewards, terminated, truncated, infos


class VectorOneHot(VectorTokenIds):
    """`OneHot` of vector environments: float32 [N, (P + C) * V]; `final_obs` too."""

    _form = _Flat
