"""Sql: from tables and a question to a query."""

from rlfl_envs.tasks.sql.task import Sql, SqlConfig

__all__ = ["Sql", "SqlConfig"]
