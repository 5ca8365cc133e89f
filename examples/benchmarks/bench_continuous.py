"""Transformers' continuous batching beside the agent's own sampling (`make bench-continuous`), on one core.

Completions of very different lengths (Copy, random weights, mostly a few tokens and up to 48), without a mask:

1. Processor seconds of both.
2. Whether the log-probabilities that it returns are those that the policy gives its completions.
3. How many completions stay the same when the same seed is used again, and when requests come in another order.

    python examples/benchmarks/bench_continuous.py
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.utils import logging

from rlfl_agents.environments import make_envs
from rlfl_agents.model.build import build_policy
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.rollout import Rollout
from rlfl_agents.run.results import append_result, find_results

RESULTS = Path(__file__).parent / "results" / "continuous.jsonl"
ROWS, LONGEST, ROUNDS = 128, 48, 3
SHAPES = {"4 layers of width 256": (4, 256, 4)}


def compared(layers: int, width: int, heads: int) -> dict[str, Any]:
    """A line."""
    envs = make_envs("rlfl/Copy-v0", ROWS, alphabet="ab", length=4, max_completion_tokens=LONGEST)
    torch.manual_seed(0)
    size: dict[str, Any] = {"layers": layers, "width": width, "heads": heads, "position_ids": "text"}
    policy = build_policy(envs.tokenizer, envs.prompt_length, envs.completion_length, **size)
    model: Any = policy.language_model
    tokenizer = envs.tokenizer
    pad, ends = tokenizer.pad_id, [*tokenizer.eos_ids]
    generation = GenerationConfig(
        do_sample=True,
        max_new_tokens=LONGEST,
        suppress_tokens=[i for i in range(tokenizer.vocab_size) if not tokenizer.ordinary[i] and i not in ends],
        eos_token_id=ends,
        pad_token_id=pad,
        top_k=0,
    )
    sizes: dict[str, Any] = {"num_blocks": 512, "page_size": 16, "max_batch_tokens": 1024, "use_cuda_graph": False}
    batching = ContinuousBatchingConfig(return_logprobs=True, seed=0, **sizes)

    def ours(seed: int) -> Rollout:
        return collect(policy, envs, torch.Generator().manual_seed(seed), seed=seed)

    def theirs(prompts: list[list[int]]) -> list[Any]:
        found = model.generate_batch(prompts, generation, batching, warmup=False)
        return sorted(found.values(), key=lambda output: int(output.request_id.rpartition("_")[2]))

    rollout = ours(0)
    prompts = [[token for token in row if token != pad] for row in rollout.prompts.tolist()]
    first, again, backwards = theirs(prompts), theirs(prompts), theirs(prompts[::-1])[::-1]
    return {
        "ours_processor": statistics.median(seconds(lambda: ours(1)) for _ in range(ROUNDS)),
        "theirs_processor": statistics.median(seconds(lambda: theirs(prompts)) for _ in range(ROUNDS)),
        "tokens": sum(len(output.generated_tokens) for output in first) / ROWS,
        "longest": max(len(output.generated_tokens) for output in first),
        "difference": difference(policy, rollout, first, pad),
        "same_again": same(first, again),
        "same_backwards": same(first, backwards),
    }


def seconds(run: Callable[[], object]) -> float:
    """Of the processor."""
    began = time.process_time()
    run()
    return time.process_time() - began


def same(some: list[Any], others: list[Any]) -> int:
    """How many completions are equal."""
    return sum(a.generated_tokens == b.generated_tokens for a, b in zip(some, others, strict=True))


@torch.no_grad()
def difference(policy: Any, rollout: Rollout, outputs: list[Any], pad: int) -> float:
    """The most by which a log-probability differs from the policy's."""

    def columns(rows: list[Tensor], empty: float) -> Tensor:
        return pad_sequence(rows, batch_first=True, padding_value=empty)

    completions = columns([torch.tensor(output.generated_tokens) for output in outputs], pad)
    active = columns([torch.ones(len(output.generated_tokens)) for output in outputs], 0).bool()
    theirs = columns([torch.tensor(output.logprobs) for output in outputs], 0)
    legal = rollout.masks._replace(rows=rollout.mask_rows[:1, :1])  # without a mask all states have the same
    summary, _ = policy(rollout.prompts, completions, legal, 1.0, active)
    return float((summary.log_probs - theirs)[active].abs().max())


def tables() -> dict[str, str]:
    """Both beside each other, by the marks between which a page shows it."""
    titles = ("processor seconds", "ours", "continuous", "log-probabilities differ by", "same again")
    shown = [f"| {' | '.join([*titles, 'same, backwards'])} |", "| --- " * (len(titles) + 1) + "|"]
    for words in SHAPES:
        for line in find_results(RESULTS, variant=words):
            numbers = [f"{line[f'{who}_processor']:.2f}" for who in ("ours", "theirs")]
            numbers += [f"{line['difference']:.0e}", f"{line['same_again']} of {ROWS}", str(line["same_backwards"])]
            shown.append(f"| {words} | {' | '.join(numbers)} |")
    return {"continuous: beside ours": "\n".join(shown)}


def main() -> None:
    """Measures what has no line yet."""
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")  # of processors that "might not be supported": whether this one is, is measured
    for words, shape in SHAPES.items():
        if not find_results(RESULTS, variant=words, seed=0):
            append_result(RESULTS, {"experiment": "continuous", "variant": words, "seed": 0, **compared(*shape)})


if __name__ == "__main__":
    main()
