"""The same tasks, natively batched."""

from rlfl_envs.vector.env import TokenVectorEnv

__all__ = ["TokenVectorEnv"]
