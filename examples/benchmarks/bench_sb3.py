"""How many tokens a second Stable-Baselines3 gets from the environments, masks included (`make bench-sb3`).

`TokenVecEnv` against `DummyVecEnv` over `gymnasium.make`, neither monitored, the same random tokens for both, in turns,
in one process on one thread. Each step asks for the masks, as MaskablePPO does. Prints the medians and their ratio, and
adds them to results/sb3.jsonl, a line a run.
"""

from __future__ import annotations

import platform
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
from stable_baselines3.common.vec_env import DummyVecEnv

import rlfl_envs
from rlfl_agents.run.results import append_result
from rlfl_envs.integrations.sb3 import make_sb3

RESULTS = Path(__file__).parent / "results" / "sb3.jsonl"
NUM_ENVS = (64, 1024)
REPEATS = 5
SECONDS = 0.5  # about how long one measurement takes


def rate(envs: Any, tape: np.ndarray) -> float:
    """Steps along a tape of tokens, int64 [T, N], from its beginning, and returns tokens per second."""
    envs.seed(0)
    envs.reset()
    steps, begin = 0, time.perf_counter()
    while (seconds := time.perf_counter() - begin) < SECONDS:
        envs.step(tape[steps % len(tape)])
        envs.env_method("action_masks")
        steps += 1
    return float(steps * envs.num_envs / seconds)


def main() -> None:
    """Measures, prints and saves."""
    rng = np.random.default_rng(0)
    rows = []
    print(f"{'id':<26}{'envs':>6}{'DummyVecEnv':>14}{'TokenVecEnv':>12}{'ratio':>8}")
    for id in [id for id in rlfl_envs.list_ids() if not id.endswith("Game-v0")]:  # judging games takes seconds
        for num_envs in NUM_ENVS:
            native = make_sb3(id, num_envs).unwrapped
            contenders = {"DummyVecEnv": DummyVecEnv([partial(gymnasium.make, id)] * num_envs), "TokenVecEnv": native}
            vocab_size = rlfl_envs.load_task(id).tokenizer.vocab_size
            tape = rng.integers(2, vocab_size, size=(64, num_envs))  # no PAD, no BOS
            rates: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(REPEATS):
                for name, envs in contenders.items():
                    rates[name].append(rate(envs, tape))
            medians = {name: statistics.median(values) for name, values in rates.items()}
            ratio = medians["TokenVecEnv"] / medians["DummyVecEnv"]
            rows.append({"id": id, "num_envs": num_envs, **medians, "ratio": ratio})
            print(
                f"{id.removeprefix('rlfl/'):<26}{num_envs:>6}{medians['DummyVecEnv']:>14,.0f}"
                f"{medians['TokenVecEnv']:>12,.0f}{ratio:>8.1f}",
                flush=True,
            )
    report = {
        "command": "make bench-sb3",
        "python": platform.python_version(),
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
        "stable_baselines3": stable_baselines3.__version__,
        "repeats": REPEATS,
        "rows": rows,
    }
    append_result(RESULTS, report)


if __name__ == "__main__":
    main()
