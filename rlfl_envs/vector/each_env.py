"""What SyncVectorEnv offers of its environments one by one, for environments that step as one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value
from rlfl_envs.episode import Prompt

__all__ = ["EachEnv"]

_METHODS = ("render", "action_masks")  # what each environment has for itself
_PER_ENV = ("prompt", "completion", "np_random", "np_random_seed")  # attributes of which each has its own


class EachEnv(VectorEnv[NDArray[np.int64], NDArray[np.int64], np.ndarray]):
    """Gymnasium's `call`, `get_attr`, `set_attr`, `np_random` and `np_random_seed`: a tuple of N, one for each."""

    def __init__(self, num_envs: int) -> None:
        """Takes N."""
        self.num_envs = num_envs
        self._attributes: dict[str, tuple[Any, ...]] = {}  # what `set_attr` was given
        self._generators: list[tuple[np.random.Generator, int] | None] = [None] * num_envs  # each with its seed

    @abstractmethod
    def current_prompt(self, row: int) -> Prompt | None:
        """The prompt that an environment plays; None before its first reset."""

    @abstractmethod
    def current_completion(self, row: int) -> str:
        """What an environment's episode has written so far, without EOS."""

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of each environment, or reads an attribute.

        Args:
            name: "render", "action_masks", or what `get_attr` reads.
            *args: The method's.
            **kwargs: The method's.

        Returns:
            What each environment says, [N].

        Raises:
            ConfigError: It is a method that environments which step as one do not have each for itself.
            AttributeError: There is nothing of this name.
        """
        if name in _METHODS:
            answers = getattr(self, name)(*args, **kwargs)
            return (None,) * self.num_envs if answers is None else tuple(answers)
        values = self.get_attr(name)
        check_value("name", name, not callable(values[0]), "'render', 'action_masks', or an attribute")
        return values

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Reads an attribute of each environment, [N]: its own, such as `prompt`, or one that all share, as `task`.

        Raises:
            AttributeError: There is nothing of this name.
        """
        if name in self._attributes:
            return self._attributes[name]
        if name == "prompt":
            return tuple(self.current_prompt(row) for row in range(self.num_envs))
        if name == "completion":
            return tuple(self.current_completion(row) for row in range(self.num_envs))
        if name in _PER_ENV:
            values: tuple[Any, ...] = getattr(self, name)
            return values
        shared = f"single_{name}" if name in ("action_space", "observation_space") else name
        return (getattr(self, shared),) * self.num_envs

    def set_attr(self, name: str, values: Any) -> None:
        """Gives each environment an attribute of the caller's own, for `get_attr` to read.

        Args:
            name: A name that the environment does not use itself.
            values: A list or tuple of N, or one value for all.

        Raises:
            ConfigError: The environment has an attribute of this name, or there are not N values.
        """
        is_free = name not in _PER_ENV and not hasattr(self, name)
        check_value("name", name, is_free, "a name that the environment does not use itself")
        given = values if isinstance(values, (list, tuple)) else [values] * self.num_envs
        check_value("values", values, len(given) == self.num_envs, f"one, or a list of num_envs={self.num_envs}")
        self._attributes[name] = tuple(given)

    # --- random generators -----------------------------------------------------------------------------------------

    @property  # type: ignore[misc]  # to be read only, and a tuple, as in SyncVectorEnv
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each environment's random generator, [N]. A seeded reset draws its stream of prompts from it."""
        return tuple(self._generator(row)[0] for row in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each environment's random generator, [N]."""
        return tuple(self._generator(row)[1] for row in range(self.num_envs))

    def _generator(self, row: int) -> tuple[np.random.Generator, int]:
        """An environment's random generator and its seed, a random one until a reset gives another."""
        generator = self._generators[row]
        return self._seed_generator(row, None) if generator is None else generator

    def _seed_generator(self, row: int, seed: int | None) -> tuple[np.random.Generator, int]:
        """Seeds an environment's random generator, at random for None."""
        generator = self._generators[row] = seeding.np_random(seed)
        return generator
