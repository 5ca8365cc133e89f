"""The arguments of Arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.errors import ConfigError
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.arithmetic.expressions import SYMBOLS

__all__ = ["INSTRUCTIONS", "LARGEST_TOKEN", "ArithmeticConfig"]

LARGEST_TOKEN = 99  # of the number vocabulary

INSTRUCTIONS = {  # by `work`
    "given": "The line works out an expression step by step. Write the integer that comes last, its value, and nothing "
    "else.",
    "required": "Work out the expression one operation at a time, products before sums, and write each step after an "
    "equals sign until one integer is left: 2+3+4= goes on with 5+4=9. Write nothing else.",
    "skipped": "Work out the expression. Write its value as one integer and nothing else.",
}


@dataclass(frozen=True)
class ArithmeticConfig(TaskConfig):
    """The arguments of Arithmetic.

    Attributes:
        work: "given" (the prompt is the derivation up to its last "="), "required" (the model writes it), "skipped"
            (one bare integer).
        operators: Which of "+", "-" and "*" an expression draws from, such as "+" or "+*", none twice.
        max_operand: Operands are uniform over 0..max_operand, 1..99, or 1..10**6 outside the vocabulary "number".
        expression_length: Expressions are cut to this many characters, 3..64.
        max_value: Expressions with a larger absolute value are drawn again; in the same range as max_operand.
        reward_scale: What the error is divided by.
        reward: "paper"; "strict", which gives a derivation that stops early the reward of a malformed one; "success",
            a quarter of the strict reward where the last value is wrong; or "worked_out" (needs work="required",
            operators="+"), strict, which also asks that every statement adds two neighbours of the one before.
        vocabulary: "number" (0..99 one token each), "characters", or a Hugging Face tokenizer by name or path.
        split_by: What the split goes by: the "expression", or with work="given" also the "final_statement" (the one
            before the answer), so that held-out prompts end in sums that no training prompt ends in, either way round.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"vocabulary": ("characters", "number")}

    work: Literal["given", "required", "skipped"] = "given"
    operators: str = "+"
    max_operand: int = 10
    expression_length: int = 10
    max_value: int = LARGEST_TOKEN
    reward_scale: float = 10.0
    reward: Literal["paper", "strict", "success", "worked_out"] = "paper"
    vocabulary: str = "number"
    split_by: Literal["expression", "final_statement"] = "expression"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        distinct = len(set(self.operators)) == len(self.operators) >= 1 and set(SYMBOLS).issuperset(self.operators)
        check_value("operators", self.operators, distinct, "one or more of '+', '-' and '*', none twice, such as '+*'")
        largest, why = (LARGEST_TOKEN, " in the number vocabulary") if self.vocabulary == "number" else (10**6, "")
        check_value("max_operand", self.max_operand, 1 <= self.max_operand <= largest, f"1..{largest}{why}")
        check_value("max_value", self.max_value, 1 <= self.max_value <= largest, f"1..{largest}{why}")
        check_value("expression_length", self.expression_length, 3 <= self.expression_length <= 64, "3..64")
        check_value("reward_scale", self.reward_scale, self.reward_scale > 0, "a number above 0")
        if self.reward == "worked_out" and (self.work, self.operators) != ("required", "+"):
            asked = f"work={self.work!r} and operators={self.operators!r}"
            raise ConfigError(f"reward='worked_out' needs work='required' and operators='+', not {asked}.")
        if self.split_by == "final_statement" and self.work != "given":
            raise ConfigError(f"split_by='final_statement' needs work='given', not {self.work!r}.")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Expressions of one operator, of up to two, and so on, up to the whole length."""
        lengths = [*range(3, self.expression_length, 2), self.expression_length]
        return [{"expression_length": length} for length in lengths]
