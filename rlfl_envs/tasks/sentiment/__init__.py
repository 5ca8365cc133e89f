"""Sentiment alignment: the task, its texts, and two judges."""

from rlfl_envs.tasks.sentiment.task import Sentiment, SentimentConfig

__all__ = ["Sentiment", "SentimentConfig"]
