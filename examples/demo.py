"""What `make demo` runs: a language model with random weights learns arithmetic from a programmed reward alone.

The prompt is a worked derivation up to its last "=", such as `2+3+4=5+4=`; the completion is one token; the reward says
how far off it is. No example of a right answer is ever shown. Batch entropy keeps the policy from giving every prompt
the same answer. About four minutes on one core; interrupt it at will, a second `make demo` resumes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rlfl_agents.cli import main as rlfl
from rlfl_agents.ppo import train
from rlfl_agents.presets import preset

RUN = Path("runs") / "demo"


def main() -> None:
    """Trains, shows samples before and after, and says how to go on."""
    train(preset("rlfl/Arithmetic-v0"), RUN, resume=True)
    rlfl(["eval", str(RUN)])
    print(f"\nLearning curves: {RUN / 'curves.png'}")
    print(f"Ask it yourself: {Path(sys.executable).parent / 'rlfl'} play rlfl/Arithmetic-v0 --model {RUN / 'policy'}")


if __name__ == "__main__":
    main()
