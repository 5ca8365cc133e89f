"""Arithmetic: the paper's reward, what is drawn, and the array path."""
