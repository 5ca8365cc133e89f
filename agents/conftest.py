"""Kernels for GPUs are collected where what compiles them is installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["rlfl_agents/learn/fused.py"]
