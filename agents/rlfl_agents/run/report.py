"""What is said about a run: the numbers of an update, a warning where its answers collapse, a word at its end."""

from __future__ import annotations

from pathlib import Path

from rlfl_agents.learn.diversity import commonest_share, distinct
from rlfl_agents.rollout.batch import Batch
from rlfl_agents.run.metrics import SAMPLES_FILE, readable_samples

__all__ = ["COLLAPSED", "batch_metrics", "before_and_after", "has_collapsed"]

COLLAPSED = (
    "Most prompts get one and the same answer, and mostly a wrong one. Try a --batch-entropy-coef (0.1, say, or more "
    "than now), a larger --group-size, a lower --learning-rate, or a higher --temperature."
)


def batch_metrics(batch: Batch) -> dict[str, float]:
    """The columns of metrics.csv that depend on the batch alone."""
    rollout = batch.rollout
    rewards, active = rollout.episode_rewards, rollout.active
    unexplained = (batch.returns - rollout.values)[active].var(correction=0)
    spread = batch.returns[active].var(correction=0)
    return {
        "reward": float(rewards.mean()),
        "reward_std": float(rewards.std(correction=0)),
        "success": float(rollout.is_success.float().mean()),
        "first_try": float(rollout.is_first_try.float().mean()),
        "flat_groups": float(rollout.is_flat.float().mean()),
        "length": float(active.sum() / len(active)),
        "distinct_1": distinct(rollout.completions, active, 1),
        "distinct_2": distinct(rollout.completions, active, 2),
        "explained_variance": float(1 - unexplained / spread) if spread > 0 else 0.0,
        "ref_kl": float(batch.ref_kl.mean()),
        **{f"part/{name}": float(part.mean()) for name, part in rollout.parts.items()},
    }


def has_collapsed(batch: Batch, batch_max_action: float) -> bool:
    """Whether different prompts get one answer that is wrong for most of them.

    Args:
        batch: What was sampled.
        batch_max_action: The largest entry of p̄, mean over positions, as the update measured it.

    Returns:
        True where that is above 0.9 or most completions are one and the same; but never where most are right, since
        prompts may have one right answer, nor where all prompts are one.
    """
    rollout = batch.rollout
    if float(rollout.is_success.float().mean()) > 0.5 or bool((rollout.prompts == rollout.prompts[0]).all()):
        return False
    return batch_max_action > 0.9 or commonest_share(rollout.completions, rollout.active) > 0.5


def before_and_after(run: Path, count: int = 5) -> str:
    """The first and the last greedy samples of a run, as a text to print."""
    samples, _ = readable_samples(run / SAMPLES_FILE)
    greedy = [entry for _, entry in samples if entry["kind"] == "greedy"]
    last = max((entry["update"] for entry in greedy), default=0)
    lines = []
    for title, update in (("before", 0), ("after", last)):
        lines.append(f"{title} training (update {update}), greedy, held-out prompts:")
        chosen = [entry for entry in greedy if entry["update"] == update][:count]
        lines += [f"    {e['prompt']} -> {e['completion'] or '(nothing)'}    reward {e['reward']:.3f}" for e in chosen]
    return "\n".join(lines)
