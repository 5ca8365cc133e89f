"""A task of your own, from end to end: SortLetters, "dbca>" to "abcd".

Run it: it checks the task, then plays one episode as an agent would, token by token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import gymnasium
import numpy as np

import rlfl_envs
from rlfl_envs import Outcome, Prompt, PromptError, Task, TaskConfig, check_value


@dataclass(frozen=True)
class SortLettersConfig(TaskConfig):
    """The arguments of SortLetters, next to the common ones.

    Attributes:
        alphabet: The letters to draw from.
        length: How many letters a prompt has, 2..64.
    """

    alphabet: str = "abcdefgh"
    length: int = 5

    def __post_init__(self) -> None:
        """Checks the arguments. Their types are checked already."""
        super().__post_init__()
        check_value("length", self.length, 2 <= self.length <= 64, "2..64")


class SortLetters(Task):
    """Write the prompt's letters in alphabetical order.

    Reward:
        letters * order, in [0, 1]. Parts: `letters`, the share of the prompt's letters that are there, repetitions and
        all; `order`, the share of neighbours in the completion that are in order. A completion that is too long is
        paid as much less.

    Known exploits:
        A single letter is always in order, and earns 1 / length if the prompt has it.
    """

    Config = SortLettersConfig
    part_names = ("letters", "order")
    config: SortLettersConfig

    @property
    def characters(self) -> str:
        """What the vocabulary "characters" has: no more than is needed. Without it, all of printable ASCII."""
        return self.config.alphabet + ">"

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws letters. The split is none of a task's business: prompts of the other one are drawn again."""
        letters = rng.choice([*self.config.alphabet], size=self.config.length)
        return self.parse_prompt("".join(letters) + ">")

    def parse_prompt(self, text: str) -> Prompt:
        """Makes a prompt of a text, with what judging needs as its data."""
        letters = text.removesuffix(">")
        if len(letters) != self.config.length or text == letters or not set(letters) <= set(self.config.alphabet):
            raise PromptError(f"prompt={text!r} is not allowed; allowed: {self.config.length} letters, then '>'.")
        return Prompt(text, "".join(sorted(letters)))

    def problem_key(self, prompt: Prompt) -> str:
        """Two orders of the same letters have the same answer, so they belong to the same split."""
        return str(prompt.data)

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Judges a batch. Whatever a completion says, this returns, and soon."""
        outcomes = []
        for prompt, completion in zip(prompts, completions, strict=True):
            found = (Counter(prompt.data) & Counter(completion)).total()
            letters = found / max(len(prompt.data), len(completion))
            order = np.mean([a <= b for a, b in pairwise(completion)] or [True])
            parts = {"letters": letters, "order": float(order)}
            outcomes.append(Outcome(letters * float(order), completion == prompt.data, parts))
        return outcomes

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The answer."""
        return str(prompt.data)


rlfl_envs.register_task("example/SortLetters-v0", SortLetters)

if __name__ == "__main__":
    task = rlfl_envs.load_task("example/SortLetters-v0")
    rlfl_envs.check_task(task)
    rlfl_envs.check_task(task.changed(vocabulary="gpt2"))  # any Hugging Face tokenizer, without a word about it

    env = gymnasium.make("example/SortLetters-v0", length=4, render_mode="human")
    env.reset(seed=0, options={"prompt": "dbca>"})
    for token in task.tokenizer.encode("abdc"):
        _, reward, terminated, _, info = env.step(token)
    assert terminated
    print(f"{info['completion']!r} earns {reward:.2f}, of {info['reward_parts']}.")
