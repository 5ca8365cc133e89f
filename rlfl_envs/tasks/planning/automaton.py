"""The syntax of plans: actions of the prompt's world, each after a space."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from rlfl_envs.episode import Prompt

__all__ = ["PlanAutomaton"]


class State(NamedTuple):
    """Where in a plan.

    Attributes:
        world: Which world's actions there are.
        begun: What is written of an action, its space included.
        is_plan: Whether an action is complete.
    """

    world: str
    begun: str = ""
    is_plan: bool = False


class PlanAutomaton:
    """The prefixes of ` (pick-up a) (stack a b)` and the like. Prompts of one world share their states."""

    def __init__(self, actions: Mapping[str, Sequence[str]], size: Callable[[str], int]) -> None:
        """Takes the actions of each world, and how much a text counts: its characters, or words that are tokens."""
        self.alphabet = "".join(
            sorted({character for texts in actions.values() for text in texts for character in text} | {" "})
        )
        # Of every beginning of an action: how much is missing to the nearest end.
        self._left: dict[str, dict[str, int]] = {}
        for world, texts in actions.items():
            left = self._left[world] = {}
            for text in texts:
                whole = f" {text}"
                for length in range(len(whole) + 1):
                    begun = whole[:length]
                    missing = size(whole) - size(begun)
                    left[begun] = min(left.get(begun, missing), missing)

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written."""
        return State(prompt.data.world)

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where nothing well-formed starts like this."""
        begun = state.begun + character
        left = self._left[state.world].get(begun)
        if left is None:
            return None
        return State(state.world, "", True) if left == 0 else State(state.world, begun, state.is_plan)

    def is_final(self, state: Any) -> bool:
        """Whether there are actions, and all are complete."""
        return bool(state.is_plan and not state.begun)

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a well-formed end."""
        return 0 if self.is_final(state) else self._left[state.world][state.begun]
