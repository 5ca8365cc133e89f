"""Rewards that are slow, native or hostile: judged in processes of their own, several at a time, each only once."""

from rlfl_envs.judging.judge import Judge, Judgement, Request, load_judge
from rlfl_envs.judging.kept import kept
from rlfl_envs.judging.pool import Pool, shared_pool

__all__ = ["Judge", "Judgement", "Pool", "Request", "kept", "load_judge", "shared_pool"]
