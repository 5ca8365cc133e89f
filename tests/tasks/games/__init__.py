"""Tests of tasks/games."""
