"""Tests of tasks/sentiment."""
