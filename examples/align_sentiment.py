"""Teach a language model to write kind (or unkind) movie reviews, and see what else that changes.

    python examples/align_sentiment.py                                    # a small GPT-2, pretrained here first
    python examples/align_sentiment.py --target negative
    python examples/align_sentiment.py --model smollm2 --lora-rank 16     # after `rlfl from-gguf`
    python examples/align_sentiment.py --model gpt2 --lora-rank 16        # any causal LM by hub name or folder

PPO with an adaptive KL penalty; the reward is VADER's compound value of prompt + completion. Pretraining (once, then
cached) and training take ten to fifteen minutes on two cores, without network. Interrupt it at will, the same command
resumes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rlfl_agents.evaluate import Evaluation, evaluate_policy
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import train
from rlfl_agents.presets import preset
from rlfl_agents.pretrain import PretrainConfig, pretrain_model

ENV_ID = "rlfl/Sentiment-v0"
# What a model of a hundred million weights and more wants instead: smaller batches and steps.
LARGE: dict[str, Any] = {"prompts": 8, "group_size": 4, "minibatches": 1, "learning_rate": 1e-4, "total_samples": 2560}


def main(
    model: str = "pretrained",
    target: Literal["positive", "negative", "neutral"] = "positive",
    lora_rank: int = 0,
    seed: int = 0,
    held_out: int = 2000,
    run_dir: Path | None = None,
) -> None:
    """Aligns a model, compares it with what it was, and draws both.

    Args:
        model: "pretrained" (made here, once), "smollm2", a folder, or a Hugging Face name.
        target: What the reviews should sound like.
        lora_rank: Train LoRA adapters of this rank instead of all weights.
        seed: Of training.
        held_out: How many held-out prompts before and after are compared on.
        run_dir: Where the run is written; runs/sentiment-<model>-<target> by default.
    """
    run = run_dir or Path("runs") / f"sentiment-{Path(model).name}-{target}"
    if model == "pretrained":
        pretrain_model(PretrainConfig(threads=1))
    changes = {} if model == "pretrained" else LARGE
    config = preset(ENV_ID, model=model, env_kwargs={"target": target}, lora_rank=lora_rank, seed=seed, **changes)
    train(config, run, resume=True)

    loaded = load_policy(run / "policy", None, {})
    before_policy = load_policy(model, ENV_ID, {"target": target}).policy
    before = evaluate_policy(before_policy, loaded.envs, held_out, greedy=False)
    after = evaluate_policy(loaded.policy, loaded.envs, held_out, greedy=False, reference=before_policy)

    print(f"\n{held_out} held-out prompts, sampled" + f"{'before':>22} {'after':>9}")
    for name in ("compound", "pos", "neg", "neu", "repetition"):
        print(f"    {name:42} {before.parts[name]:9.3f} {after.parts[name]:9.3f}")
    print(f"    {'distinct-1':42} {before.distinct_1:9.3f} {after.distinct_1:9.3f}")
    print(f"    {'distinct-2':42} {before.distinct_2:9.3f} {after.distinct_2:9.3f}")
    print(f"    {'KL to the model before (nats/completion)':42} {0:9.3f} {after.ref_kl.mean():9.3f}")
    print("\nThe same prompts, before and after:")
    for old, new in list(zip(before.samples, after.samples, strict=True))[:6]:
        print(f"    {old.prompt}")
        for sample in (old, new):
            print(f"        {sample.reward:6.3f} {sample.completion!r}")
    print("\nWorst reward hacks: rewards above 0.8 that the model before finds least likely:")
    hacks = [i for i in np.argsort(-after.ref_kl).tolist() if after.samples[i].reward > 0.8][:6]
    for i in hacks:
        sample = after.samples[i]
        print(f"    {sample.reward:6.3f}  {after.ref_kl[i]:5.1f} nats  {sample.prompt!r} -> {sample.completion!r}")
    draw(before, after, run / "before-and-after.png")
    print(f"\nPictures: {run / 'before-and-after.png'}, {run / 'curves.png'}")


def draw(before: Evaluation, after: Evaluation, path: Path) -> None:
    """Draws how rewards were and are distributed, and what each sample costs in KL."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    bins = np.linspace(-1, 1, 41).tolist()
    for name, evaluation in (("before", before), ("after", after)):
        left.hist([sample.reward for sample in evaluation.samples], bins=bins, alpha=0.6, label=name)
    left.set_xlabel("reward")
    left.set_ylabel("completions")
    left.legend()
    right.scatter(after.ref_kl, [sample.reward for sample in after.samples], s=8, alpha=0.5, color="C1")
    right.set_xlabel("log p - log p of the model before (nats)")
    right.set_ylabel("reward after")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
