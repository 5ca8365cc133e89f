"""What masks cost in a large vocabulary (`make bench-masks`).

1,024 environments play random legal tokens out of phase in GPT-2's vocabulary (V = 50,257). For each id: a step's
processor time, medians; the part of it that the info's dense masks take; how long it takes to gather these masks anew,
as version 0.1 did at each step; and how many rows there are after all steps.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from rlfl_envs import TokenVectorEnv, load_task

NUM_ENVS, STEPS, WARM_UP = 1024, 150, 50
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("rlfl/ArithmeticSteps-v0", {}),
    ("rlfl/Copy-v0", {"length": 16}),
    ("rlfl/Brackets-v0", {"depth": 8, "length": 64}),
]


def legal_tokens(envs: TokenVectorEnv, rng: np.random.Generator) -> np.ndarray:
    """A random legal token for each environment, int64 [N]."""
    rows, tokens = envs.mask_rows, np.zeros(envs.num_envs, dtype=np.int64)
    for row in np.unique(rows):
        tokens[rows == row] = rng.choice(np.flatnonzero(envs.mask_table[row]), size=(rows == row).sum())
    return tokens


def measure(envs: TokenVectorEnv, is_dense: bool) -> tuple[float, float]:
    """Plays.

    Returns:
        A step's processor time, and that of gathering its masks anew, in milliseconds: medians.
    """
    rng = np.random.default_rng(0)
    envs.reset(seed=0, options={"action_mask": is_dense})
    steps, gathers = [], []
    infos: dict[str, Any] = {}  # held from one step to the next, as an agent would
    for _ in range(STEPS):
        tokens = legal_tokens(envs, rng)
        start = time.process_time()
        *_, infos = envs.step(tokens)
        steps.append(time.process_time() - start)
        start = time.process_time()
        masks = envs.mask_table[envs.mask_rows]
        gathers.append(time.process_time() - start)
        assert not is_dense or np.array_equal(infos["action_mask"], masks)
        del masks
    return 1000 * statistics.median(steps[WARM_UP:]), 1000 * statistics.median(gathers[WARM_UP:])


def main() -> None:
    """Measures each id, and prints a table."""
    print(f"{'id':<26}{'step':>8}{'dense':>8}{'anew':>8}   ms a step of {NUM_ENVS} environments")
    for id, arguments in SETTINGS:
        envs = TokenVectorEnv(load_task(id, vocabulary="gpt2", mask="syntax", **arguments), NUM_ENVS)
        measure(envs, is_dense=True)  # meets most states
        without, _ = measure(envs, is_dense=False)
        step, anew = measure(envs, is_dense=True)
        print(f"{id:<26}{step:>8.2f}{step - without:>8.2f}{anew:>8.2f}   {len(envs.mask_table)} rows")


if __name__ == "__main__":
    main()
