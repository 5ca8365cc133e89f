"""What training takes of memory, by size and setting (`make bench-needs`): counted, and measured on a CPU.

1. Counted: a shape's weights; gradients and AdamW's two moments of what learns; and what autograd keeps of a token,
   found by reading a few tokens with one layer and with two, the layers' widths as they are, as a GPU computes them.
2. Measured: GPT-2's shape on a CPU, a rollout and an update of 64 completions of 16 tokens, in one process and in two:
   the most that a process holds beside what it held before there was a model.

Each leaves a line of results/needs.jsonl; what has one is not run again.

    python examples/benchmarks/bench_needs.py
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM, PretrainedConfig

from bench_gpu import Sizes
from gpu_measures import begun, build, environments, sample, settings
from rlfl_agents.model.adapters import with_adapters
from rlfl_agents.model.kernels import fuse
from rlfl_agents.rollout.batch import compare
from rlfl_agents.run.results import append_result, read_results
from rlfl_agents.update import improve

RESULTS = Path(__file__).parent / "results" / "needs.jsonl"
SHAPES = {"gpt2": "GPT-2, 124 million", "1.5b": "Qwen2, 1.5 billion", "8b": "Llama 3, 8 billion"}
RANK = 16
TOKENS, PROCESSES = 16_384, 8  # of an update, and of those that share
HEAD = 2**28 * 3  # bytes: logits at once, in bfloat16 and float32 (learn/head.py)


class Setting(NamedTuple):
    """How GPT-2's shape is trained, and in how many processes."""

    words: str
    checkpointing: bool = False
    processes: int = 1
    shard: bool = False


MEASURED = (
    Setting("all weights"),
    Setting("all weights, `--gradient-checkpointing`", checkpointing=True),
    Setting("all weights, two processes", processes=2),
    Setting("all weights, two processes, `--shard`", processes=2, shard=True),
)


# Counted.


def kept_by_autograd(shape: PretrainedConfig, layers: int, lora: bool) -> tuple[int, int]:
    """Bytes that autograd keeps for each token of a model with so many layers, and bytes of its hidden state."""
    rows, length = 4, 8
    sizes: dict[str, Any] = {"vocab_size": 16, "num_hidden_layers": layers, "bos_token_id": 0, "eos_token_id": 0}
    cut = type(shape)(**{name: value for name, value in shape.to_dict().items() if name != "layer_types"} | sizes)
    model = AutoModelForCausalLM.from_config(cut, dtype=torch.bfloat16 if lora else torch.float32)
    whole = with_adapters(model, RANK, 2 * RANK) if lora else model
    fuse(whole.eval(), autocast=True)
    weights = {weight.untyped_storage().data_ptr() for weight in whole.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.zeros(rows, length, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16), saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    # Autocast's copies of weights are kept too, once, however many tokens there are.
    found = sum(each.untyped_storage().nbytes() for each in kept.values() if each.shape[0] in (rows, rows * length))
    return found // (rows * length), hidden.itemsize * hidden.shape[-1]


def counted(name: str, lora: bool) -> dict[str, Any]:
    """A line: bytes of everything, activations for each token."""
    shape = Sizes().shape(name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16 if lora else torch.float32)
        plain = sum(weight.numel() * weight.itemsize for weight in model.parameters())
        whole = with_adapters(model, RANK, 2 * RANK) if lora else model
    learns = sum(weight.numel() * 4 for weight in whole.parameters() if weight.requires_grad)
    one, hidden = kept_by_autograd(shape, 1, lora)
    two, _ = kept_by_autograd(shape, 2, lora)
    return {
        "experiment": "counted",
        "id": name,
        "variant": "LoRA" if lora else "all weights",
        "weights": plain + learns * lora,
        "gradients": learns,
        "moments": 2 * learns,
        "layer": two - one,
        "hidden": hidden,
        "layers": shape.num_hidden_layers,
    }


# Measured.


@contextmanager
def peak(found: dict[str, float], name: str, before: float) -> Iterator[None]:
    """Notes the most gigabytes that this process holds inside, beside what it held before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    yield
    found[name] = held("VmHWM") - before


def held(what: str) -> float:
    """Gigabytes, by a line of /proc/self/status."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024 / 1e9


def measure(setting: Setting) -> None:
    """A rollout and an update, twice; the first process leaves the line."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = settings(64, shard=setting.shard, device="cpu")
    shape = Sizes().shape("gpt2")
    with tempfile.TemporaryDirectory() as folder:
        envs = environments(config.rows // setting.processes, shape.vocab_size, Path(folder))
    found: dict[str, float] = {}
    gc.collect()
    before = held("VmRSS")
    policy = build(shape, envs)
    policy.checkpoints_gradients = setting.checkpointing
    state = begun(policy, envs, config)
    for seed in (0, 1):
        with peak(found, "rollout", before):
            rollout = sample(state, config, seed)
        batch = compare(rollout, rollout.log_probs, 0.0, config)
        with peak(found, "update", before):
            improve(config, state, batch, state.rates(config))
    if state.accelerator.is_main_process:
        names = {"experiment": "measured", "id": "gpt2", "variant": setting.words}
        append_result(RESULTS, names | found | {"tokens": int(rollout.prompts.shape[1] + rollout.completions.shape[1])})


# Shown.


def tables() -> dict[str, str]:
    """What was counted and what was measured, by the marks between which a page shows it."""
    lines = read_results(RESULTS)
    return {
        "memory: counted": _counted([line for line in lines if line["experiment"] == "counted"]),
        "memory: measured": _measured([line for line in lines if line["experiment"] == "measured"]),
    }


def _counted(lines: list[dict[str, Any]]) -> str:
    titles = ("GB", "weights", "gradients", "moments", f"{TOKENS:,} tokens", "checkpointed", "update")
    rows = [*titles, "checkpointed", f"one of {PROCESSES} with `--shard`", "its rollout"]
    shown = [f"| {' | '.join(rows)} |", "| --- " * len(rows) + "|"]
    for line in lines:
        lasting = [line[name] for name in ("weights", "gradients", "moments")]
        plain = TOKENS * line["layers"] * line["layer"]
        few = TOKENS * (line["layers"] * line["hidden"] + line["layer"])
        is_lora = line["variant"] == "LoRA"
        shape = Sizes().shape(line["id"])
        ends = shape.vocab_size * shape.hidden_size * (2 - shape.tie_word_embeddings) * (2 if is_lora else 4)
        # What lies outside of layers is gathered for a whole pass, a layer while it and the next are read; with their
        # gradients, where they learn.
        gathered = (ends + 2 * (line["weights"] - ends) / line["layers"]) * (1 if is_lora else 2)
        # While a gradient is computed autocast keeps all weights in bfloat16. Where they are not sharded copies for
        # rollouts stay, too: layers with adapters merged into them, or all weights in bfloat16.
        merged = is_lora * (line["weights"] - line["gradients"] - ends)
        cast = 0 if is_lora else line["weights"] / 2
        lasts, share = sum(lasting) + merged + 2 * cast + HEAD, sum(lasting) / PROCESSES
        totals = [lasts + plain, lasts + few, share + gathered + cast + few + HEAD]
        numbers = [*lasting, plain, few, *totals, share + line["weights"] + merged]
        how = "LoRA on bfloat16" if is_lora else "all weights"
        shown.append(f"| {SHAPES[line['id']]}: {how} | {' | '.join(f'{n / 1e9:.1f}' for n in numbers)} |")
    return "\n".join(shown)


def _measured(lines: list[dict[str, Any]]) -> str:
    shown = ["| GPT-2's shape on a CPU, GB for each process | rollout | update |", "| --- " * 3 + "|"]
    shown += [f"| {line['variant']} | {line['rollout']:.2f} | {line['update']:.2f} |" for line in lines]
    return "\n".join(shown)


def main() -> None:
    """Counts and measures what has no line yet, each measure in processes of its own."""
    if len(sys.argv) > 1:
        measure(MEASURED[int(sys.argv[1])])
        return
    done = {(line["experiment"], line["id"], line["variant"]) for line in read_results(RESULTS)}
    for name in SHAPES:
        for lora in (False, True):
            if ("counted", name, "LoRA" if lora else "all weights") not in done:
                append_result(RESULTS, counted(name, lora))
    # Freed memory goes back to the system at once, so that the peak is what was used at a time.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    for number, setting in enumerate(MEASURED):
        if ("measured", "gpt2", setting.words) not in done:
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={setting.processes}"]
            command = [sys.executable, *(launcher if setting.processes > 1 else []), __file__, str(number)]
            subprocess.run(command, check=True, env=environment | {"OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
