"""How fast the agent is, and where its time goes (`make bench-agent`, about six minutes on two cores).

1. Training: episodes per second, and the share of time spent choosing tokens, in the environment and learning, for a
   two-layer model and one of GPT-2's size; for the latter also what share of the machine's matrix-product peak the
   update reaches. What the updates of both spend their time on, by kind of operation.
2. Sampling at GPT-2's size (124M parameters, 50,257 tokens): `rollout.collect` against `model.generate`, equal batch,
   16 tokens; and eight completions of one 64-token prompt read once, against `generate` reading it eight times. Both
   multiply as training does (`matmul_precision`), and `generate` also as torch comes.

Everything is measured in one run and reported as ratios, since machines differ. Adds a line to results/agent.jsonl.
"""

from __future__ import annotations

import contextlib
import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rlfl_agents.environments import make_envs
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.products import matmul_precision
from rlfl_agents.ppo import PPOConfig, train
from rlfl_agents.rollout.collect import collect
from rlfl_agents.run.results import append_result
from rlfl_agents.update import improve

RESULTS = Path(__file__).parent / "results" / "agent.jsonl"
GPT2_LAYERS, GPT2_WIDTH, GPT2_PROMPTS = 12, 768, (16, 64)
CPU = torch.device("cpu")
CORES = torch.get_num_threads()
PARTS = ("sample", "env", "learn")
# What an update spends its time on, by the beginnings of PyTorch's names.
KINDS: dict[str, tuple[str, ...]] = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention and softmax": ("aten::_scaled_dot_product", "aten::_softmax", "aten::_log_softmax"),
    "copies": ("aten::copy_", "aten::cat", "aten::fill_", "aten::masked_fill"),
    "activations and norms": ("aten::threshold", "aten::clamp_min", "aten::gelu", "aten::native_layer_norm"),
    "the optimiser": ("aten::_fused_adamw", "Optimizer.step"),
}
REPEATS = 5


def seconds(*runs: Callable[[], Any], repeats: int = REPEATS) -> list[list[float]]:
    """Times calls in turns, so that a busy moment hits all alike, after a round that does not count."""
    times: list[list[float]] = [[] for _ in runs]
    for repeat in range(repeats + 1):
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            if repeat:
                taken.append(time.perf_counter() - start)
    return times


def within(context: Callable[[], AbstractContextManager[None]], run: Callable[[], Any]) -> Any:
    """Runs in a context of its own."""
    with context():
        return run()


def matmul_peak() -> float:
    """The machine's float32 matrix product, floating-point operations per second: the best of ten, 2048 x 2048.

    By whichever is faster: as torch comes, or as a policy's products are made.
    """
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    times = seconds(lambda: a @ b, partial(within, partial(matmul_precision, "auto", CPU), lambda: a @ b), repeats=10)
    return 2 * 2048**3 / min(map(min, times))


def training(name: str, updates: int, **settings: Any) -> dict[str, Any]:
    """Trains a few updates and reads where the time went."""
    config = PPOConfig(
        total_samples=updates * settings["prompts"] * settings.get("group_size", 1),
        eval_every=0,
        eval_prompts=16,
        save_every=10**6,
        device="cpu",
        **settings,
    )
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder) / "run", quiet=True)
        with (Path(folder) / "run" / "metrics.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["update"]) > 1]  # the first one warms up
    clock = {part: statistics.median(float(row[f"clock/{part}"]) for row in rows) for part in PARTS}
    total = sum(clock.values())
    return {
        "name": name,
        "episodes_per_second": statistics.median(float(row["clock/samples_per_second"]) for row in rows),
        "share": {part: value / total for part, value in clock.items()},
        "seconds_learn": clock["learn"],
        "length": statistics.mean(float(row["length"]) for row in rows),
    }


def kinds_of_work(**settings: Any) -> dict[str, float]:
    """The share of an update's processor time by kind of operation; the last of three updates is profiled."""
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    done = 0

    def profiled(*arguments: Any) -> dict[str, float]:
        nonlocal done
        done += 1
        with profiler if done == 3 else contextlib.nullcontext():
            return improve(*arguments)

    with mock.patch("rlfl_agents.ppo.improve", profiled):
        training("profiled", 3, **settings)
    times = dict.fromkeys([*KINDS, "all else"], 0.0)
    for operation in profiler.key_averages():
        kind = next((kind for kind, names in KINDS.items() if operation.key.startswith(names)), "all else")
        times[kind] += operation.self_cpu_time_total
    return {kind: time / sum(times.values()) for kind, time in times.items()}


def sampling(model: Any, policy: Policy) -> list[dict[str, Any]]:
    """Times sampling against `model.generate`, alone and in groups."""
    tokens, prompt_tokens = 16, 64
    found = []
    for batch, group_size in ((16, 1), (32, 8)):
        envs = make_envs(
            "rlfl/Copy-v0",
            batch,
            length=prompt_tokens - 1,  # and BOS
            max_completion_tokens=tokens,
            min_completion_tokens=tokens,
        )
        generator = torch.Generator().manual_seed(0)
        observation, _ = envs.reset(seed=0, options={"group_size": group_size})
        prompts = torch.as_tensor(observation[:, :prompt_tokens])

        settings: dict[str, Any] = {"do_sample": True, "top_k": 0, "max_new_tokens": tokens, "min_new_tokens": tokens}
        as_in_training = partial(matmul_precision, "auto", CPU)
        generate = partial(model.generate, prompts, attention_mask=torch.ones_like(prompts), **settings)
        our_times, their_times, as_it_comes = seconds(
            partial(within, as_in_training, partial(collect, policy, envs, generator, group_size=group_size)),
            partial(within, as_in_training, generate),
            generate,
        )
        found.append(
            {
                "batch": batch,
                "group_size": group_size,
                "prompt_tokens": prompt_tokens,
                "tokens": tokens,
                "seconds": our_times,
                "generate_seconds": their_times,
                "speedup": statistics.median(t / o for o, t in zip(our_times, their_times, strict=True)),
                "speedup_as_it_comes": statistics.median(t / o for o, t in zip(our_times, as_it_comes, strict=True)),
            }
        )
    return found


def main() -> None:
    """Measures, prints and keeps."""
    model = GPT2LMHeadModel(GPT2Config(bos_token_id=1, eos_token_id=2, pad_token_id=0)).eval()
    policy = Policy(model, make_envs("rlfl/Copy-v0", 1).tokenizer, position_ids="text")
    peak = matmul_peak()
    steps, steps_kwargs = "rlfl/ArithmeticSteps-v0", {"mask": "syntax"}
    small = {"advantage": "group_norm", "group_size": 64, "prompts": 64, "epochs": 1, "layers": 2, "width": 64}
    large = {"prompts": 16, "epochs": 1, "layers": GPT2_LAYERS, "width": GPT2_WIDTH, "heads": 12}
    runs = [
        training("2 x 64, Arithmetic-v0, 64 x 64", 30, env_id="rlfl/Arithmetic-v0", threads=1, **small),
        training("2 x 64, ArithmeticSteps-v0, 64 x 64", 6, env_id=steps, env_kwargs=steps_kwargs, threads=1, **small),
        *(
            training(
                f"GPT-2 size, ArithmeticSteps-v0, {prompts} x 1",
                4,
                env_id=steps,
                env_kwargs=steps_kwargs,
                threads=CORES,
                **large | {"prompts": prompts},
            )
            for prompts in GPT2_PROMPTS
        ),
    ]
    torch.set_num_threads(CORES)
    print(f"{'training':42} {'episodes/s':>10} {'sample':>7} {'env':>7} {'learn':>7}")
    for run in runs:
        shares = " ".join(f"{run['share'][part]:7.1%}" for part in PARTS)
        print(f"{run['name']:42} {run['episodes_per_second']:10.1f} {shares}")
    # Forward and backward of a transformer cost about six operations per weight and token.
    weights = 12 * GPT2_LAYERS * GPT2_WIDTH**2
    peak = max(peak, matmul_peak())  # of two moments, in case something else was running in one
    utilisation = {}
    for prompts, run in zip(GPT2_PROMPTS, runs[-2:], strict=True):
        operations = 6 * weights * prompts * (make_envs(steps, 1).prompt_length + run["length"])
        utilisation[run["name"]] = share = operations / run["seconds_learn"] / peak
        print(f"An update of {run['name']}: {share:.0%} of the matrix product peak ({peak / 1e9:.0f} GFLOP/s).")
    work = {
        name: kinds_of_work(env_id=steps, env_kwargs=steps_kwargs, **settings)
        for name, settings in (("2 x 64", {"threads": 1, **small}), ("GPT-2 size", {"threads": CORES, **large}))
    }
    for name, kinds in work.items():
        print(f"{name}: an update is {', '.join(f'{kind} ({share:.0%})' for kind, share in kinds.items())}.")
    samples = sampling(model, policy)
    print(f"\n{'sampling at GPT-2 size':50} {'ours':>9} {'generate':>9} {'speed-up':>9} {'as it comes':>12}")
    for row in samples:
        name = f"{row['batch']} rows, groups of {row['group_size']}, {row['prompt_tokens']} + {row['tokens']} tokens"
        ours, theirs = statistics.median(row["seconds"]), statistics.median(row["generate_seconds"])
        print(f"{name:50} {ours:8.2f}s {theirs:8.2f}s {row['speedup']:8.2f}x {row['speedup_as_it_comes']:11.2f}x")
    report = {"matmul_peak_flops": peak, "training": runs, "update_share_of_peak": utilisation, "work": work}
    append_result(RESULTS, report | {"sampling": samples})


if __name__ == "__main__":
    main()
