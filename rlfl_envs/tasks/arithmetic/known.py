"""What an audit of Arithmetic finds and what is left as it is: the paper's reward is what it is."""

from __future__ import annotations

from rlfl_envs.protocols import Accepted
from rlfl_envs.tasks.arithmetic.config import ArithmeticConfig

__all__ = ["accepted_findings"]

_SCALE = "An error of 1 already earns 0.95, so that a middling number earns most of the reward."
_SPACES = "Spaces around operators are ignored, as two integers side by side are written with one."
_ANSWERS = {
    "constant answer": Accepted(_SCALE, unearned=0.8),
    "copying the prompt": Accepted(f"The prompt's last number is near the value. {_SCALE}", unearned=0.55),
    "another prompt's answer": Accepted(_SCALE, unearned=0.8, success=0.2),
    "a reworded prompt's answer": Accepted(_SCALE, unearned=0.95),
    "enumeration": Accepted(_SCALE, unearned=0.8),
    "random play": Accepted(_SCALE, unearned=0.5),
    "mutation": Accepted("An error of 1 earns 0.95.", unearned=0.95),
    "truncation": Accepted("A sign or a zero may go.", success=0.2),
    "spaces": Accepted(_SPACES, success=1.0),
    "trained attacker": Accepted(_SCALE, unearned=1.0),
}
_STEPS = {
    "a reworded prompt's answer": Accepted(
        "Statements are judged by their values, whatever is in them; `reward='worked_out'` asks for more.",
        unearned=0.3,
        success=1.0,
    ),
    "mutation": Accepted("A success is a right last number after as many statements as are due.", success=0.7),
    "truncation": Accepted("A success is a right last number after as many statements as are due.", success=0.3),
    "spaces": Accepted(_SPACES, success=1.0),
}
_STRICT = {
    **_STEPS,
    "trained attacker": Accepted(
        "Sums that are nearly right earn a part, which it finds after it has imitated right derivations; a smaller "
        "`reward_scale` pays less for them.",
        unearned=0.6,
    ),
}
_WORKED_OUT = {
    **_STEPS,
    "constant answer": Accepted(_SCALE, unearned=0.7),
    "another prompt's answer": Accepted(_SCALE, unearned=0.7),
    "a reworded prompt's answer": Accepted(_SCALE, unearned=0.8, success=0.4),
    "trained attacker": Accepted(_SCALE, unearned=0.9),
}
_PAPER = {
    "trained attacker": Accepted(
        "It writes chains that stop early, which is the paper's hole; `reward='strict'` pays nothing for them.", 1.0
    ),
    "constant answer": Accepted(f"A chain that stops early is judged by what it has. {_SCALE}", unearned=0.8),
    "truncation": Accepted(
        "A chain that stops early earns full reward. It is the paper's; `reward='strict'` pays nothing for it.",
        unearned=1.0,
        success=0.3,
    ),
}


def accepted_findings(config: ArithmeticConfig) -> dict[str, Accepted]:
    """What is known of the reward that the config asks for, by the attack."""
    if config.work == "required":
        known = {"paper": _STEPS | _PAPER, "strict": _STRICT, "success": _STEPS, "worked_out": _WORKED_OUT}
        return known[config.reward]
    if config.reward == "success":  # what may succeed may still
        return {attack: Accepted(known.why, success=known.success) for attack, known in _ANSWERS.items()}
    return _ANSWERS
