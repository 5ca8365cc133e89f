"""How many tokens a second the environments take, with masks, rewards and infos (`make bench-envs`).

Every environment plays the same reference completions, worked out before the clock starts. Each step makes its masks,
and its rewards and infos where an episode ends. Autoreset is Gymnasium's default, NEXT_STEP: the step that resets an
environment is no step of an episode, so it is not counted, but its time is; so is that of the first reset. The variants
take turns, several rounds long, in one process; nothing here uses more than one thread (but AsyncVectorEnv has eight
more processes, on whatever cores there are).

Prints the medians, their spread and the ratio to SyncVectorEnv, and adds them to results/envs.jsonl, a line a run.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

import rlfl_envs
from rlfl_agents.run.results import append_result

RESULTS = Path(__file__).parent / "results" / "envs.jsonl"
REPEATS = 5
SECONDS = 0.25  # about how long one measurement takes
SEED = 0

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("rlfl/ArithmeticSteps-v0", {}),
    ("rlfl/ArithmeticSteps-v0", {"mask": "syntax"}),
    ("rlfl/Arithmetic-v0", {}),
    ("rlfl/ArithmeticAnswer-v0", {}),
    ("rlfl/Copy-v0", {}),
]
# How many environments, and for how many steps their actions are worked out.
TAPES = {64: 256, 1024: 128, 4096: 48}


@dataclass(frozen=True)
class Tape:
    """Reference actions for N environments.

    Attributes:
        actions: int64 [T, N].
        counts: bool [T, N], whether the step belongs to an episode (and is not a reset).
    """

    actions: np.ndarray
    counts: np.ndarray

    def first(self, num_envs: int) -> Tape:
        """The tape of the first environments."""
        return Tape(self.actions[:, :num_envs], self.counts[:, :num_envs])


@dataclass(frozen=True)
class Variant:
    """One way to run the environments.

    Attributes:
        name: What the table calls it.
        num_envs: How many of the tape's environments it plays.
        tape: Which tape: a key of TAPES.
        make: Makes the environment.
    """

    name: str
    num_envs: int
    tape: int
    make: Callable[..., Any]


def _sync(id: str, **arguments: Any) -> SyncVectorEnv:
    return SyncVectorEnv([partial(gymnasium.make, id, **arguments)] * 64)


def _async(id: str, **arguments: Any) -> AsyncVectorEnv:
    return AsyncVectorEnv([partial(gymnasium.make, id, **arguments)] * 8)


def _raw(id: str, **arguments: Any) -> gymnasium.Env:
    return rlfl_envs.TokenEnv(rlfl_envs.load_task(id, **arguments))


def _native(num_envs: int) -> Callable[..., Any]:
    return partial(gymnasium.make_vec, num_envs=num_envs)


VARIANTS = [
    Variant("TokenEnv", 1, 64, _raw),
    Variant("gymnasium.make", 1, 64, gymnasium.make),
    Variant("SyncVectorEnv 64", 64, 64, _sync),
    Variant("AsyncVectorEnv 8", 8, 64, _async),
    Variant("native 64", 64, 64, _native(64)),
    Variant("native 1024", 1024, 1024, _native(1024)),
    Variant("native 4096", 4096, 4096, _native(4096)),
]


def record(id: str, num_envs: int, steps: int) -> Tape:
    """Plays references once and keeps the actions."""
    envs = gymnasium.make_vec(id, num_envs=num_envs).unwrapped
    assert isinstance(envs, rlfl_envs.TokenVectorEnv)
    task, tokenizer = envs.task, envs.tokenizer
    envs.reset(seed=SEED)
    rng = np.random.default_rng(SEED)
    actions = np.full((steps, num_envs), tokenizer.eos_id)
    counts = np.ones((steps, num_envs), dtype=np.bool_)
    starts, finished = np.zeros(num_envs, dtype=int), np.zeros(num_envs, dtype=np.bool_)
    for step in range(steps):
        for i in np.flatnonzero(starts == step).tolist():
            reference = task.reference_completion(envs.prompt(i), rng)
            assert reference is not None
            tokens = tokenizer.encode(reference)[: steps - step]
            actions[step : step + len(tokens), i] = tokens  # then EOS, if there is time for it
        _, _, now, _, _ = envs.step(actions[step])
        counts[step] = ~finished
        starts[finished] = step + 1
        finished = now
    return Tape(actions, counts)


def play(envs: Any, tape: Tape) -> None:
    """Steps vector environments along a tape."""
    for actions in tape.actions:
        envs.step(actions)


def play_one(env: Any, tape: Tape) -> None:
    """Steps one environment along a tape, and resets it where the tape says so."""
    for action, is_counted in zip(tape.actions[:, 0].tolist(), tape.counts[:, 0].tolist(), strict=True):
        if is_counted:
            env.step(action)
        else:
            env.reset()


def time_once(env: Any, tape: Tape) -> float:
    """Seconds for a tape from its beginning."""
    if isinstance(env, rlfl_envs.TokenVectorEnv):
        # Back to the first prompts without seeding a thousand generators; none is left over that was drawn before.
        env.reset(seed=SEED)
        streams = {**env.rng_state, "episodes": np.zeros(env.num_envs, dtype=np.int64)}
        env.reset(seed=SEED + 10**6)
        begin = time.perf_counter()
        env.rng_state = streams
        env.reset()
    else:
        begin = time.perf_counter()
        env.reset(seed=SEED)
    (play_one if tape.actions.shape[1] == 1 else play)(env, tape)
    return time.perf_counter() - begin


def measure(id: str, arguments: dict[str, Any], tapes: dict[int, Tape]) -> list[dict[str, Any]]:
    """Times every variant, in turns."""
    rates: dict[str, list[float]] = {variant.name: [] for variant in VARIANTS}
    envs = {variant.name: variant.make(id, **arguments) for variant in VARIANTS}
    passes: dict[str, int] = {}
    for repeat in range(REPEATS + 1):
        for variant in VARIANTS:
            tape = tapes[variant.tape].first(variant.num_envs)
            count = passes.get(variant.name, 1)
            seconds = sum(time_once(envs[variant.name], tape) for _ in range(count))
            if repeat:
                rates[variant.name].append(count * int(tape.counts.sum()) / seconds)
            else:  # warms up, and finds out how often the tape fits into a measurement
                passes[variant.name] = max(1, round(SECONDS / seconds))
    for env in envs.values():
        env.close()
    sync = statistics.median(rates["SyncVectorEnv 64"])
    return [
        {
            "id": id,
            "arguments": arguments,
            "variant": name,
            "steps_per_second": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
            "times_sync": statistics.median(values) / sync,
        }
        for name, values in rates.items()
    ]


def main() -> None:
    """Measures, prints and saves."""
    begun = time.perf_counter()
    print(f"{'id':<26}{'variant':<18}{'steps/s':>12}{'lowest':>12}{'highest':>12}{'x Sync 64':>11}")
    rows: list[dict[str, Any]] = []
    tapes: dict[str, dict[int, Tape]] = {}
    for id, arguments in SETTINGS:
        if id not in tapes:
            tapes[id] = {num_envs: record(id, num_envs, steps) for num_envs, steps in TAPES.items()}
        label = id + "".join(f" {value}" for value in arguments.values())
        for row in measure(id, arguments, tapes[id]):
            rows.append(row)
            print(
                f"{label.removeprefix('rlfl/'):<26}{row['variant']:<18}{row['steps_per_second']:>12,.0f}"
                f"{row['lowest']:>12,.0f}{row['highest']:>12,.0f}{row['times_sync']:>11.1f}",
                flush=True,
            )
    report = {
        "command": "make bench-envs",
        "python": platform.python_version(),
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "repeats": REPEATS,
        "rows": rows,
    }
    append_result(RESULTS, report)
    print(f"\nAdded to {RESULTS.name} after {time.perf_counter() - begun:.0f} s.")


if __name__ == "__main__":
    main()
