"""Json: from a schema and some facts to a document."""

from rlfl_envs.tasks.json.task import Json, JsonConfig

__all__ = ["Json", "JsonConfig"]
