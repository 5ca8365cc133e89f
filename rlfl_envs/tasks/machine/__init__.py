"""Machine: programs for WebAssembly by example, the faster the better."""

from rlfl_envs.tasks.machine.config import MachineConfig
from rlfl_envs.tasks.machine.task import Machine

__all__ = ["Machine", "MachineConfig"]
