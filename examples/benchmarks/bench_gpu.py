"""What one GPU makes of the agent, in at most eight minutes (`make bench-gpu`).

1. Head: memory and seconds of the loss's head at 512 x 16 states of 50,257 tokens, in pieces and whole.
2. GPT-2's shape (124M parameters): samples per second of PPO, 512 completions of 16 tokens, in TF32 and in bf16, with
   minibatches' passes recorded and run; sampling with a recorded decode step and kernel by kernel, in turns; and where
   a token's time and an update's goes.
3. The shape of Qwen2 1.5B, with LoRA on frozen bf16 weights: samples per second.
4. The shape of Llama 3 8B, likewise: samples per second, and memory.
5. TRL's GRPO on GPT-2's shape beside ours, 64 prompts x 8 completions of 16 tokens, where `trl` is installed.

Models have random weights and vocabularies of their size are made up: what is learned does not matter here. Each part
runs in a process of its own with a time limit, and what it measures is written as it comes: a part that fails, runs out
of memory or is too slow costs itself alone. `--toy` runs everything at tiny sizes, on a CPU too.

    python examples/benchmarks/bench_gpu.py [--out FOLDER] [--only head 8b ...] [--toy]
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig, Qwen2Config

from gpu_measures import (
    ENV_ID,
    TOKENS,
    WIDTH,
    begun,
    build,
    describe,
    device,
    environments,
    gigabytes,
    gradient_difference,
    in_turns,
    profiles,
    settings,
    synchronize,
    timed,
    token,
    training,
)
from rlfl_agents.learn.head import NEVER, summarise
from rlfl_agents.model.recorded import RecordedPasses, RecordedSteps

RESULTS = Path(__file__).parent / "results"
SECONDS = 450  # for all parts together

Note = Callable[..., None]
"""Writes entries of a part down: `note(samples_per_second=1.0)`."""


class Sizes(NamedTuple):
    """How large everything is."""

    rows: int = 512
    head: tuple[int, int, int, int] = (512, 16, 768, 50_257)  # rows, positions, hidden numbers, tokens
    updates: int = 6
    rows_8b: int = 128
    micro_batch_tokens: int = 16_384  # of the 1.5B shape; half of it for the 8B
    toy: bool = False

    def shape(self, name: str) -> PretrainedConfig:
        """The configuration of a model of this shape."""
        sizes: dict[str, Any]
        if self.toy:
            sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 700}
            sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0}
            gpt2 = GPT2Config(vocab_size=700, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
            return {"gpt2": gpt2, "1.5b": Qwen2Config(**sizes), "8b": LlamaConfig(**sizes)}[name]
        if name == "gpt2":
            return GPT2Config()
        if name == "1.5b":
            sizes = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "vocab_size": 151_936}
            return Qwen2Config(**sizes, num_attention_heads=12, num_key_value_heads=2, tie_word_embeddings=True)
        sizes = {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "vocab_size": 128_256}
        return LlamaConfig(**sizes, num_attention_heads=32, num_key_value_heads=8)


TOY = Sizes(rows=8, head=(8, 4, 16, 300), updates=1, rows_8b=4, micro_batch_tokens=64, toy=True)


def head(sizes: Sizes, note: Note, folder: Path) -> None:
    """The head's memory and seconds, in pieces and whole."""
    rows, length, width, vocab_size = sizes.head
    torch.manual_seed(0)
    hidden = torch.randn(rows, length, width, device=device(), requires_grad=True)
    weight = (torch.randn(vocab_size, width, device=device()) / width**0.5).requires_grad_()
    completions = torch.randint(vocab_size, (rows, length), device=device())
    active = torch.ones(rows, length, dtype=torch.bool, device=device())
    table = torch.ones(1, vocab_size, dtype=torch.bool, device=device())
    numbers = torch.zeros(1, 1, dtype=torch.int32, device=device())

    def of(log_probs: Tensor, entropy: Tensor, probs: Tensor) -> None:
        mean = probs / rows
        (log_probs.mean() + entropy.mean() - (mean * (mean + 1e-9).log()).sum() / length).backward()

    def in_pieces() -> None:
        summary = summarise(hidden, weight, None, completions, active, table, numbers, 0.9)
        of(summary.log_probs, summary.entropy, summary.probs)

    def whole() -> None:
        logits = torch.nn.functional.linear(hidden, weight) / 0.9
        log_dist = logits.masked_fill(~table[0], NEVER).log_softmax(dim=-1)
        log_probs = log_dist.gather(2, completions[:, :, None])
        of(log_probs, -(log_dist.exp() * log_dist).sum(dim=-1), log_dist.exp().sum(dim=0))

    gradients = {}
    for name, function in (("pieces", in_pieces), ("whole", whole)):
        seconds: list[float] = []
        for _ in range(3):
            hidden.grad = weight.grad = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            before = gigabytes()
            with timed(seconds):
                function()
        assert hidden.grad is not None
        assert weight.grad is not None
        gradients[name] = hidden.grad, weight.grad
        note(**{name: {"gigabytes": gigabytes() - before, "seconds": min(seconds)}})
    for name, ours, theirs in zip(("hidden", "weight"), *gradients.values(), strict=True):
        note(**{f"relative_difference_{name}": float((ours - theirs).norm() / theirs.norm())})


def gpt2(precision: Literal["no", "bf16"], sizes: Sizes, note: Note, folder: Path) -> None:
    """PPO on GPT-2's shape, and where a token's time goes."""
    shape = sizes.shape("gpt2")
    envs = environments(sizes.rows, shape.vocab_size, folder)
    torch.set_float32_matmul_precision("high")
    config = settings(sizes.rows, mixed_precision=precision, entropy_coef=0.01, batch_entropy_coef=0.01)
    policy = build(shape, envs)
    policy.recorded = RecordedSteps()
    state = begun(policy, envs, config)
    note(ppo_passes_run=training(state, config, sizes.updates), **describe(policy))
    policy.passes = RecordedPasses()
    note(ppo=training(state, config, sizes.updates), passes_recorded=policy.passes.works)
    note(gradient_difference=gradient_difference(state, config))
    note(sampling=in_turns(state, config, 2 if sizes.toy else 4))
    note(token=token(state, config))
    note(profile=profiles(state, config))
    if precision == "no" and not sizes.toy:
        torch.set_float32_matmul_precision("highest")
        policy.recorded, policy.passes = RecordedSteps(), RecordedPasses()
        note(ppo_float32=training(state, config, 3))


def with_lora(name: Literal["1.5b", "8b"], sizes: Sizes, note: Note, folder: Path) -> None:
    """PPO with adapters on frozen weights in bf16."""
    shape, rows = sizes.shape(name), sizes.rows if name == "1.5b" else sizes.rows_8b
    envs = environments(rows, shape.vocab_size, folder)
    torch.set_float32_matmul_precision("high")
    at_once = sizes.micro_batch_tokens if name == "1.5b" else sizes.micro_batch_tokens // 2
    config = settings(rows, lora_rank=16, mixed_precision="bf16", micro_batch_tokens=at_once)
    policy = build(shape, envs, lora_rank=16)
    policy.recorded, policy.passes = RecordedSteps(), RecordedPasses()
    state = begun(policy, envs, config)
    note(ppo=training(state, config, max(1, sizes.updates // 2)), passes_recorded=policy.passes.works)
    note(sampling=in_turns(state, config, 2), **describe(policy))
    if not sizes.toy and name == "1.5b":
        note(token=token(state, config), profile=profiles(state, config, both=False))


def trl(sizes: Sizes, note: Note, folder: Path) -> None:
    """GRPO on GPT-2's shape, TRL's and ours."""
    if importlib.util.find_spec("trl") is None:
        note(skipped="trl is not installed")
        return
    import trl as library
    from trl import GRPOConfig, GRPOTrainer

    from rlfl_envs.integrations.trl import prompt_dataset, reward_function, task_tokenizer

    warnings.simplefilter("ignore")
    shape, group = sizes.shape("gpt2"), 2 if sizes.toy else 8
    note(version=library.__version__)
    envs = environments(sizes.rows, shape.vocab_size, folder)
    config = settings(sizes.rows, mixed_precision="bf16")
    config = dataclasses.replace(config, prompts=sizes.rows // group, group_size=group, advantage="group_norm")
    policy = build(shape, envs, value=False)
    policy.recorded, policy.passes = RecordedSteps(), RecordedPasses()
    torch.set_float32_matmul_precision("high")
    note(ours=training(begun(policy, envs, config), config, sizes.updates))
    arguments: dict[str, Any] = {"length": WIDTH, "vocabulary": str(folder), "max_completion_tokens": TOKENS}
    seconds: list[float] = []

    class Clock(transformers.TrainerCallback):
        """Takes the time of updates."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            """Before TRL samples."""
            synchronize()
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """After the optimiser's step."""
            synchronize()
            seconds.append(time.perf_counter() - self.started)
            if len(seconds) > 2:
                note(trl={"samples_per_second": sizes.rows / statistics.median(seconds[2:]), "seconds": seconds})

    on_gpu = device().type == "cuda"
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_config(shape, dtype=torch.float32),
        reward_funcs=reward_function(ENV_ID, **arguments),
        args=GRPOConfig(
            output_dir=str(folder / "trl"),
            max_steps=sizes.updates + 2,
            per_device_train_batch_size=sizes.rows,
            num_generations=group,
            max_completion_length=TOKENS,
            bf16=on_gpu,
            tf32=True if on_gpu else None,
            use_cpu=not on_gpu,
            gradient_checkpointing=False,
            learning_rate=1e-6,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to=[],
        ),
        train_dataset=prompt_dataset(ENV_ID, num_prompts=(sizes.updates + 2) * sizes.rows, **arguments),
        processing_class=task_tokenizer(ENV_ID, **arguments),
        callbacks=[Clock()],
    )
    trainer.train()


PARTS: dict[str, tuple[Callable[[Sizes, Note, Path], None], int]] = {  # and the seconds that each may take
    "gpt2-bf16": (partial(gpt2, "bf16"), 90),
    "trl": (trl, 100),
    "1.5b": (partial(with_lora, "1.5b"), 110),
    "gpt2-tf32": (partial(gpt2, "no"), 100),
    "head": (head, 60),
    "8b": (partial(with_lora, "8b"), 110),
}


# What the table shows: in words, the part, and the run in it.
ROWS = [
    ("GPT-2's shape, PPO, 512 completions of 16 tokens, TF32", "gpt2-tf32", "ppo"),
    ("the same in bfloat16", "gpt2-bf16", "ppo"),
    ("the same in float32", "gpt2-tf32", "ppo_float32"),
    ("64 prompts x 8 completions", "trl", "ours"),
    ("TRL's GRPO on the same", "trl", "trl"),
    ("1.5 billion weights, LoRA", "1.5b", "ppo"),
    ("8 billion weights, LoRA, 128 completions", "8b", "ppo"),
]


def run_part(name: str, sizes: Sizes, path: Path) -> None:
    """Runs one part in this process; what it notes is in the file at once."""
    function, _ = PARTS[name]

    def note(**entries: Any) -> None:
        report = json.loads(path.read_text())
        report["parts"].setdefault(name, {}).update(entries)
        write(path, report)
        print(f"{name}: {json.dumps(entries)}", flush=True)

    if torch.cuda.is_available():
        report = json.loads(path.read_text())
        write(path, report | {"card": torch.cuda.get_device_name(), "memory": torch.cuda.mem_get_info()[1] / 1e9})
    try:
        with tempfile.TemporaryDirectory() as folder:
            function(sizes, note, Path(folder) / "vocabulary")
    except Exception as error:
        note(error=f"{type(error).__name__}: {error}"[:1000])
        raise


def write(path: Path, report: dict[str, Any]) -> None:
    """Replaces the file, so that it is whole at any moment."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(report, indent=1) + "\n")
    fresh.replace(path)


def tables() -> dict[str, str]:
    """What each card did, by the marks between which a page shows it."""
    lines = ["| | card | samples a second | GB at most |", "| --- " * 4 + "|"]
    for path in sorted(RESULTS.glob("bench_gpu-*.json")):
        report = json.loads(path.read_text())
        for words, part, run in ROWS:
            if found := report["parts"].get(part, {}).get(run):
                speed, peak = found["samples_per_second"], found.get("peak_gigabytes")
                memory = "" if peak is None else f"{peak:.0f}"
                lines.append(f"| {words} | {report['card']} | {speed:,.0f} | {memory} |")
    return {"gpu: speed": "\n".join(lines)}


def main(words: Sequence[str] | None = None) -> None:
    """Measures part by part, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the result")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--toy", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # in the process that measures it
    options = parser.parse_args(words)
    path = options.out / "bench_gpu.json"
    if options.part:
        run_part(options.part, TOY if options.toy else Sizes(), path)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    versions = {library.__name__: library.__version__ for library in (torch, transformers)}
    write(path, {"schema": 1, "card": "none", "toy": options.toy, "versions": versions, "parts": {}})
    deadline = time.monotonic() + SECONDS
    for name in options.only:
        started = time.monotonic()
        limit = min(PARTS[name][1], deadline - started)
        command = [sys.executable, __file__, "--part", name, "--out", str(options.out)] + ["--toy"] * options.toy
        error = None
        try:
            subprocess.run(command, check=True, timeout=limit)
        except subprocess.TimeoutExpired:
            error = f"It was stopped after {limit:.0f} seconds."
        except subprocess.CalledProcessError as failure:
            error = f"Its process ended with {failure.returncode}."
        report = json.loads(path.read_text())
        part = report["parts"].setdefault(name, {})
        part |= {"wall_seconds": time.monotonic() - started} | ({} if error is None else {"error": error} | part)
        write(path, report)
    if not options.toy and report["card"] != "none":
        path = path.rename(options.out / f"bench_gpu-{'-'.join(report['card'].split())}.json")
    print(path)


if __name__ == "__main__":
    main()
