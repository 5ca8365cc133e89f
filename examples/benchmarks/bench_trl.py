"""Our agent against TRL's GRPO: the same model, prompts, batch and machine, one thread (`make bench-trl`).

1. Speed: episodes per second of whole updates, on an id with one-token answers and on one with whole derivations; of
   the latter also with a smaller batch, and with ours under the syntax mask, which TRL does not have. The two take
   turns, each in a process of its own; the ratio is the median over the rounds. Of ours also where the time goes.
2. Learning: our agent trains `rlfl/Arithmetic-v0` from random weights to 0.9 greedy success on held-out prompts, with
   the id's preset but for GRPO's advantages and one step an update. TRL then trains for the same time, with the same
   batch, learning rate and token entropy; batch entropy it does not know.

The model is GPT-2 with two layers of width 64. TRL trains in float32, without dropout and without recomputing
activations, in micro-batches of 512 (4,096 at once were no faster, 128 slower); so does ours where answers are longer
than one token. Seconds are the processor's, so that a busy machine does not slow one side more than the other. Each
finding is a line of results/trl.jsonl.

    python examples/benchmarks/bench_trl.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import torch
import transformers
import trl
from datasets.utils.logging import disable_progress_bar
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from rlfl_agents.environments import make_envs
from rlfl_agents.evaluate import evaluate_policy
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.policy import Policy
from rlfl_agents.ppo import PPOConfig, train
from rlfl_agents.presets import preset
from rlfl_agents.run.results import append_result
from rlfl_envs import TokenVectorEnv, load_task
from rlfl_envs.integrations.trl import prompt_dataset, reward_function, task_tokenizer

RESULTS = Path(__file__).parent / "results" / "trl.jsonl"
MICRO_BATCH = 512
MODEL: dict[str, Any] = {"layers": 2, "width": 64, "heads": 4}
GOAL = 0.9
EVAL_PROMPTS = 512
GRPO: dict[str, Any] = {
    "advantage": "group_norm",
    "prompts": 64,
    "group_size": 64,
    "minibatches": 1,
    "total_samples": 3000 * 64 * 64,
}


class Clock(TrainerCallback):
    """Takes the time of TRL's updates, and ends training once it has had its seconds.

    Attributes:
        seconds: Of the processor, of each update.
        sampled: Completion tokens so far, EOS included.
    """

    def __init__(self, budget: float = math.inf) -> None:
        """Takes the seconds that training may last."""
        self.budget = budget
        self.seconds: list[float] = []
        self.sampled = 0
        self.started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Called before TRL samples."""
        self.started = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after the optimiser's step."""
        self.seconds.append(time.process_time() - self.started)
        control.should_training_stop |= sum(self.seconds) >= self.budget


class Watch(Clock):
    """Evaluates now and then, too.

    Attributes:
        tokens: Sampled so far, at each evaluation.
        marks: Seconds of training so far.
        successes: Greedy, on held-out prompts.
    """

    def __init__(self, env_id: str, every: int) -> None:
        """Takes the id, and how many updates lie between two evaluations."""
        super().__init__()
        self.envs = make_envs(env_id, 1000, split="test")
        self.every = every
        self.tokens: list[float] = []
        self.marks: list[float] = []
        self.successes: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Called after the optimiser's step."""
        super().on_step_end(args, state, control)
        if state.global_step % self.every and state.global_step < state.max_steps:
            return
        self.tokens.append(self.sampled)
        self.marks.append(sum(self.seconds))
        self.successes.append(held_out_success(model, self.envs))


def held_out_success(model: PreTrainedModel, envs: TokenVectorEnv) -> float:
    """Plays the held-out prompts, one in each environment, greedy."""
    policy = Policy(model, envs.tokenizer, position_ids="text")  # positions as `generate` counts them
    return evaluate_policy(policy, envs, envs.num_envs).success.mean


def their_training(
    env_id: str, prompts: int, group_size: int, updates: int, clock: Clock, seed: int = 0, **settings: Any
) -> PreTrainedModel:
    """Trains a new model with TRL's GRPO and returns it."""
    torch.manual_seed(seed)
    task = load_task(env_id)
    model = build_policy(task.tokenizer, task.max_prompt_tokens, task.max_completion_tokens, **MODEL).language_model
    judge = reward_function(env_id)

    def reward(completion_ids: list[list[int]], **columns: Any) -> list[float]:
        clock.sampled += sum(map(len, completion_ids))
        return judge(completion_ids=completion_ids, **columns)

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            max_steps=updates,
            per_device_train_batch_size=min(MICRO_BATCH, prompts * group_size),
            gradient_accumulation_steps=max(1, prompts * group_size // MICRO_BATCH),
            num_generations=group_size,
            max_completion_length=task.max_completion_tokens,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to=[],
            seed=seed,
            **settings,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=prompt_dataset(env_id, num_prompts=updates * prompts, seed=seed),
            processing_class=task_tokenizer(env_id),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model


def our_training(config: PPOConfig) -> tuple[float, dict[str, float]]:
    """Trains with our agent; returns the seconds, all told, and the last row of metrics."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        last = train(config, Path(folder) / "run", quiet=True)
        return time.process_time() - started, last


def our_speed(config: PPOConfig, updates: int) -> tuple[float, dict[str, float]]:
    """Episodes per second of whole updates, and the last row of metrics."""
    one, _ = our_training(config)
    more, last = our_training(dataclasses.replace(config, total_samples=(updates + 1) * config.rows))
    return updates * config.rows / (more - one), last


def their_speed(env_id: str, prompts: int, group_size: int, updates: int, learning_rate: float) -> float:
    """Episodes per second of the median update."""
    clock = Clock()
    their_training(env_id, prompts, group_size, updates + 1, clock, learning_rate=learning_rate)
    return prompts * group_size / statistics.median(clock.seconds[1:])


def prepare() -> None:
    """What every process begins with."""
    torch.set_num_threads(1)
    disable_progress_bar()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore", FutureWarning)  # TRL uses names that Transformers is about to change


def alone(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Measures in a process of its own: what one side sets in its process is none of the other's."""
    with get_context("spawn").Pool(1, prepare) as pool:
        return pool.apply(measure, arguments)


def speed(
    env_id: str, prompts: int, group_size: int, our_updates: int, their_updates: int, mask: str, rounds: int
) -> dict[str, Any]:
    """Times whole updates of both, in turns. What starting costs is left out, and the first update with it.

    The mask is ours alone. `share` is the part of our last update that each kind of work takes.
    """
    rows = prompts * group_size
    has_long_answers = load_task(env_id).max_completion_tokens > 1  # a group of one-token answers is read as one row
    config = PPOConfig(
        env_id=env_id,
        env_kwargs={"mask": mask},
        total_samples=rows,
        prompts=prompts,
        group_size=group_size,
        accumulation=rows // MICRO_BATCH if has_long_answers else 1,
        advantage="group_norm",
        epochs=1,
        eval_every=0,
        eval_prompts=16,
        save_every=10**6,
        threads=1,
        device="cpu",
        **MODEL,
    )
    ours, theirs, last = [], [], dict[str, float]()
    for _ in range(rounds):
        found, last = alone(our_speed, config, our_updates)
        ours.append(found)
        theirs.append(alone(their_speed, env_id, prompts, group_size, their_updates, config.learning_rate))
    clocks = {part: last[f"clock/{part}"] for part in ("sample", "env", "learn")}
    return {
        "env_id": env_id,
        "mask": mask,
        "prompts": prompts,
        "group_size": group_size,
        "share": {part: round(clock / sum(clocks.values()), 3) for part, clock in clocks.items()},
        "episodes_per_second": ours,
        "trl_episodes_per_second": theirs,
        "speedup": statistics.median(o / t for o, t in zip(ours, theirs, strict=True)),
    }


def learning(env_id: str) -> dict[str, Any]:
    """Trains ours to the goal and TRL for as long."""
    config = preset(env_id, **GRPO, stop_at_success=GOAL, eval_prompts=EVAL_PROMPTS, eval_every=50, device="cpu")
    seconds, last = our_training(config)
    clock = Clock(seconds)
    model = their_training(
        env_id,
        config.prompts,
        config.group_size,
        config.updates,
        clock,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(config.warmup * config.updates),
        entropy_coef=config.entropy_coef,
    )
    return {
        "env_id": env_id,
        "goal": GOAL,
        "ours": {"success": last["eval/success"], "samples": int(last["samples"]), "seconds": seconds},
        "trl": {
            "success": held_out_success(model, make_envs(env_id, EVAL_PROMPTS, split="test")),
            "samples": len(clock.seconds) * config.rows,
            "seconds": sum(clock.seconds),
        },
    }


def main() -> None:
    """Measures, prints and keeps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of the first part")
    rounds = parser.parse_args().rounds
    prepare()
    setting: dict[str, Any] = {"trl_version": trl.__version__, "model": MODEL}
    print(f"{'episodes per second, TRL ' + trl.__version__:50} {'ours':>9} {'TRL':>9} {'speed-up':>9}")
    for case in (
        ("rlfl/Arithmetic-v0", 64, 64, 30, 2, "none"),
        ("rlfl/ArithmeticSteps-v0", 64, 64, 8, 3, "none"),
        ("rlfl/ArithmeticSteps-v0", 32, 16, 40, 6, "none"),
        ("rlfl/ArithmeticSteps-v0", 64, 64, 8, 3, "syntax"),
        ("rlfl/ArithmeticSteps-v0", 32, 16, 40, 6, "syntax"),
    ):
        found = speed(*case, rounds)
        ours, theirs = (statistics.median(found[f"{whose}episodes_per_second"]) for whose in ("", "trl_"))
        name = f"{case[0]}, {case[1]} x {case[2]}, mask {case[5]}"
        shares = ", ".join(f"{part} {share:.0%}" for part, share in found["share"].items())
        print(f"{name:50} {ours:9.0f} {theirs:9.0f} {found['speedup']:8.1f}x  {shares}", flush=True)
        append_result(RESULTS, {"measured": "speed", **setting, **found})

    learned = learning("rlfl/Arithmetic-v0")
    append_result(RESULTS, {"measured": "learning", **setting, **learned})
    print(f"\n{learned['env_id']}: to {GOAL} held-out success, and TRL as long")
    for name in ("ours", "trl"):
        row = learned[name]
        print(f"{name:36} {row['success']:.3f} after {row['samples']:,} samples and {row['seconds']:.0f} s")


if __name__ == "__main__":
    main()
