"""What bench_gpu.py measures a policy by: updates, sampling in two ways, a token's parts, what the host asks for."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PretrainedConfig

from rlfl_agents.config import PPOConfig
from rlfl_agents.environments import make_envs
from rlfl_agents.learn.schedules import Coefficient, KLController
from rlfl_agents.model.adapters import with_adapters
from rlfl_agents.model.choice import choose, draw
from rlfl_agents.model.kernels import fuse
from rlfl_agents.model.masks import masked_log_dist
from rlfl_agents.model.policy import Policy
from rlfl_agents.rollout.batch import compare
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.processes import place, prepared
from rlfl_agents.rollout.rollout import Rollout
from rlfl_agents.rollout.sampler import Sampler
from rlfl_agents.run.state import TrainState
from rlfl_agents.update import improve
from rlfl_envs import TokenVectorEnv

ENV_ID = "rlfl/Copy-v0"
TOKENS = 16  # of each completion
WIDTH = 12  # characters of each prompt


def device() -> torch.device:
    """The GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Waits for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gigabytes() -> float:
    """The most memory that tensors have taken on the GPU since `reset_peak_memory_stats`, beside what graphs hold."""
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0


@contextlib.contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Adds the seconds of what is inside, the GPU's work included."""
    synchronize()
    started = time.perf_counter()
    yield
    synchronize()
    seconds.append(time.perf_counter() - started)


def vocabulary(size: int, folder: Path) -> str:
    """Writes a byte-level vocabulary of so many tokens: bytes, and each token with one more byte, as far as they go."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens, merges = list(letters), list[tuple[str, str]]()
    while len(tokens) < size - 1:
        parent, letter = divmod(len(tokens) - len(letters), len(letters))
        merges.append((tokens[parent], letters[letter]))
        tokens.append(tokens[parent] + letters[letter])
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate([*tokens, "<|endoftext|>"])}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return str(folder)


def environments(rows: int, vocab_size: int, folder: Path, **changes: Any) -> TokenVectorEnv:
    """Copies of a few letters, `TOKENS` tokens each, in a vocabulary of this size."""
    exactly = {"max_completion_tokens": TOKENS, "min_completion_tokens": TOKENS}
    return make_envs(ENV_ID, rows, length=WIDTH, vocabulary=vocabulary(vocab_size, folder), **(exactly | changes))


def build(shape: PretrainedConfig, envs: TokenVectorEnv, lora_rank: int = 0, value: bool = True) -> Policy:
    """A policy of this shape on the device; with adapters, on weights in bf16."""
    dtype = torch.bfloat16 if lora_rank else torch.float32
    with torch.device(device()):
        model = AutoModelForCausalLM.from_config(shape, dtype=dtype)
        wrapped = with_adapters(model, lora_rank, 2 * lora_rank) if lora_rank else model
        policy = Policy(wrapped, envs.tokenizer, value="shared" if value else "none", position_ids="text")
    if device().type == "cuda":
        fuse(policy, autocast=lora_rank > 0)
    return policy.to(device())


def describe(policy: Policy) -> dict[str, Any]:
    """How it is read, once it was."""
    return {
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "reads_groups": policy.reader.is_grouped,
        "head_in_pieces": policy.reader.plain_head(policy.language_model) is not None,
    }


def begun(policy: Policy, envs: TokenVectorEnv, config: PPOConfig) -> TrainState:
    """A training run of this policy that has not learned anything yet."""
    accelerator = Accelerator(cpu=device().type == "cpu", mixed_precision=config.mixed_precision)
    policy = place(policy, accelerator, config.shard)
    weights = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(weights, lr=1e-6, fused=device().type == "cuda" or None)
    model, optimizer = prepared(policy, optimizer, accelerator)
    return TrainState(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        envs=envs,
        sampler=Sampler(config, envs.task),
        generator=torch.Generator().manual_seed(0),
        kl=KLController(0.0, None, 1),
        entropy_coef=Coefficient(config.entropy_coef),
        batch_entropy_coef=Coefficient(config.batch_entropy_coef),
    )


def settings(rows: int, **changes: Any) -> PPOConfig:
    """PPO with one pass over a batch of `rows` completions."""
    return PPOConfig(env_id=ENV_ID, prompts=rows, epochs=1, total_samples=10**6 * rows, learning_rate=1e-6, **changes)


def sample(state: TrainState, config: PPOConfig, seed: int | None = None) -> Rollout:
    """One rollout."""
    with state.accelerator.autocast():
        return collect(state.policy, state.envs, state.generator, group_size=config.group_size, seed=seed)


def training(state: TrainState, config: PPOConfig, updates: int) -> dict[str, Any]:
    """Times whole updates, after two that do not count: recording, and what allocators and libraries do at first."""
    totals: list[float] = []
    parts: dict[str, list[float]] = {"sample": [], "learn": []}
    learned: dict[str, float] = {}
    for update in range(updates + 2):
        if update == 2:
            totals.clear()
            for seconds in parts.values():
                seconds.clear()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
        with timed(totals):
            with timed(parts["sample"]):
                rollout = sample(state, config, seed=0 if update == 0 else None)
                batch = compare(rollout, rollout.log_probs, 0.0, config)
            with timed(parts["learn"]):
                learned = improve(config, state, batch, state.rates(config))
        state.update += 1
    rows = config.rows
    return {
        "samples_per_second": rows / statistics.median(totals),
        "updates": updates,
        "seconds": totals,
        "seconds_sample": statistics.median(parts["sample"]),
        "seconds_learn": statistics.median(parts["learn"]),
        "seconds_env": rollout.seconds_env,
        "prompt_tokens": rollout.prompts.shape[1],
        "completion_tokens": float(rollout.active.sum() / rows),
        "peak_gigabytes": gigabytes(),
        "ratio_mean": learned["ratio_mean"],  # 1 where what was sampled and what is learned are one policy
        "approx_kl": learned["approx_kl"],
    }


def in_turns(state: TrainState, config: PPOConfig, rounds: int) -> dict[str, Any]:
    """Seconds of sampling with a recorded step and kernel by kernel, in turns; of the same noise, the same tokens."""
    recorded = state.policy.recorded
    times: dict[str, list[float]] = {"recorded": [], "kernel by kernel": []}
    same = []
    for _ in range(rounds):
        noise, found = state.generator.get_state(), []
        for name, steps in (("recorded", recorded), ("kernel by kernel", None)):
            state.policy.recorded = steps
            state.generator.set_state(noise)
            with timed(times[name]):
                found.append(sample(state, config, seed=1))
        same.append(float((found[0].completions == found[1].completions).float().mean()))
    state.policy.recorded = recorded
    speedup = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
    works = recorded is not None and recorded.works
    return {"seconds": times, "speedup": speedup, "same_tokens": min(same), "recorded": works}


def gradient_difference(state: TrainState, config: PPOConfig) -> float:
    """How far a replayed gradient is from one that is computed, over its size."""
    policy, passes = state.policy, state.policy.passes
    rollout = sample(state, config, seed=4)
    found = []
    for way in (passes, None):
        policy.passes = way
        state.optimizer.zero_grad()
        with state.accelerator.autocast():
            summary, values = policy(rollout.prompts, rollout.completions, rollout.masks, 1.0, rollout.active)
        (summary.log_probs.mean() + summary.entropy.mean() + values.mean()).backward()
        found.append(torch.cat([each.grad.flatten() for each in policy.parameters() if each.grad is not None]))
    state.optimizer.zero_grad()
    policy.passes = passes
    return float((found[0] - found[1]).norm() / found[1].norm())


def token(state: TrainState, config: PPOConfig, repeats: int = TOKENS - 4) -> dict[str, float]:
    """Milliseconds of one token's parts: reading, and choosing, by kernels or by masking and drawing.

    What the environments take is a rollout's, over its tokens: nearly all of it is the reset and the judging.
    """
    policy = state.policy
    rollout = sample(state, config, seed=2)
    found: dict[str, float] = {"env": 1000 * rollout.seconds_env / rollout.completions.shape[1]}
    with state.accelerator.autocast(), policy.sampling():
        decoding = policy.start(rollout.prompts, config.rows, room=TOKENS - 1)
        legal = rollout.mask_table[:1]
        noise = torch.rand(config.rows, dtype=torch.float64, device=rollout.prompts.device)
        policy.sample(decoding, noise, legal)
        policy.read_ahead(decoding)
        assert decoding.ahead is not None
        logits = decoding.ahead[0].clone()
        log_dist = masked_log_dist(logits, legal, 1.0)

        def read() -> None:
            if decoding.step is not None:
                decoding.step(decoding.pending)

        for name, run in (
            ("read", read),
            ("mask", lambda: masked_log_dist(logits, legal, 1.0)),
            ("draw", lambda: draw(log_dist, noise[:, None])),
            ("choose", lambda: choose(logits, noise[:, None], legal, temperature=1.0, greedy=False)),
        ):
            run()
            seconds: list[float] = []
            with timed(seconds):
                for _ in range(repeats):
                    run()
            found[name] = 1000 * seconds[0] / repeats
    return found


COUNTED = ("cudaLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize", "cudaEventSynchronize")


def profile(run: Callable[[], Any], parts: int) -> dict[str, Any]:
    """What the host asked the device for, for each of so many parts, the beginning and the end included."""
    run()
    whole: list[float] = []
    with timed(whole):
        run()
    with torch.profiler.profile() as profiler:
        run()
        synchronize()
    averages = profiler.key_averages()
    counts = {event.key: event.count / parts for event in averages if event.key.startswith(COUNTED)}
    copies = {
        event.key: event.count / parts for event in averages if event.key.startswith(("Memcpy", "aten::_local_scalar"))
    }
    kernels = [event for event in averages if str(event.device_type).endswith("CUDA")]
    device_ms = sum(event.self_device_time_total for event in kernels) / 1000 / parts
    slowest = sorted(kernels, key=lambda event: -event.self_device_time_total)[:12]
    return {
        "milliseconds": 1000 * whole[0] / parts,
        "calls": counts,
        "copies": copies,
        "device_milliseconds": device_ms,
        "dispatches": sum(event.count for event in averages if event.key.startswith("aten::")) / parts,
        "slowest": {event.key[:80]: event.self_device_time_total / 1000 / parts for event in slowest},
    }


def profiles(state: TrainState, config: PPOConfig, both: bool = True) -> dict[str, Any]:
    """Of each token of a rollout, with what is recorded and, if both are wanted, kernel by kernel; and of an update."""
    batch = compare((rollout := sample(state, config, seed=3)), rollout.log_probs, 0.0, config)
    found = {"recorded": profile(lambda: sample(state, config), TOKENS)}
    found["update"] = profile(lambda: improve(config, state, batch, state.rates(config)), 1)
    if both:
        recorded, state.policy.recorded = state.policy.recorded, None
        found["kernel by kernel"] = profile(lambda: sample(state, config), TOKENS)
        state.policy.recorded = recorded
    return found
