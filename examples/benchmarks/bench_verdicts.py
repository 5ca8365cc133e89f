"""What verdicts on tokens cost: their share of an update's time, where every token is judged at 32 tries.

Trains the preset of `rlfl/ArithmeticSteps-v0` for a few updates on one thread, from a policy that writes whole
derivations (a run's `policy/`), since early episodes are short. Prints the share of `judge_tokens` in the processor's
time; the verdicts that `step` asks for, to reward tokens, are counted.

    python examples/benchmarks/bench_verdicts.py runs/ArithmeticSteps-v0-seed0/policy
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlfl_agents.ppo import train
from rlfl_agents.presets import preset
from rlfl_envs import TokenVectorEnv

ENV_ID = "rlfl/ArithmeticSteps-v0"


class Stopwatch:
    """Counts the time and the verdicts of every `judge_tokens`."""

    def __init__(self) -> None:
        """Puts itself around the method."""
        self.seconds, self.verdicts = 0.0, 0
        judge = TokenVectorEnv.judge_tokens

        def judge_tokens(envs: TokenVectorEnv, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
            started = time.process_time()
            right = judge(envs, candidates)
            self.seconds += time.process_time() - started
            self.verdicts += right.size
            return right

        TokenVectorEnv.judge_tokens = judge_tokens  # type: ignore[assignment, method-assign]


def main() -> None:
    """Trains and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="a policy that writes whole derivations")
    parser.add_argument("--updates", type=int, default=20)
    chosen = parser.parse_args()
    config = dataclasses.replace(preset(ENV_ID, device="cpu"), model=str(chosen.policy), eval_every=0, eval_prompts=1)
    watch = Stopwatch()
    spent = []
    for updates in (1, 1 + chosen.updates):  # what is not an update is in both
        config = dataclasses.replace(config, total_samples=updates * config.rows)
        before, judged, verdicts = time.process_time(), watch.seconds, watch.verdicts
        with tempfile.TemporaryDirectory() as folder:
            train(config, Path(folder) / "run", quiet=True)
        spent.append((time.process_time() - before, watch.seconds - judged, watch.verdicts - verdicts))
    (fewer, fewer_judged, few), (more, more_judged, many) = spent
    seconds, judged, verdicts = more - fewer, more_judged - fewer_judged, many - few
    print(f"{verdicts / chosen.updates:,.0f} verdicts an update, {1e9 * judged / verdicts:,.0f} ns each")
    print(f"{seconds / chosen.updates:.3f} s an update, of which verdicts {judged / seconds:.1%}")


if __name__ == "__main__":
    main()
