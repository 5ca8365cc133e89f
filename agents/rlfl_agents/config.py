"""The settings of `rlfl pretrain`, `rlfl sft` and `rlfl train`.

`SFTConfig` and `PPOConfig` share a model to begin from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from rlfl_agents.settings import (
    Allowed,
    Count,
    EnvId,
    LearningRate,
    NotNegative,
    Positive,
    Settings,
    Share,
    Weight,
)
from rlfl_envs import ConfigError, check_value

__all__ = ["PPOConfig", "PolicySettings", "PretrainConfig", "SFTConfig"]

_NOT_WITH_SEVERAL_TRIES = ("kl", "kl_cov", "kl_cov_coef", "refill")
"""What is done with whole completions or the tokens taken, and not with all that was tried."""
_NOT_WITH_TRIES = (
    *(*_NOT_WITH_SEVERAL_TRIES, "critic", "gamma", "gae_lambda", "whiten", "clip_range", "clip_range_high"),
    *("dual_clip", "value_clip", "vf_coef", "ratio_threshold", "target_kl"),
)
"""What has no part in the loss of "tries", which has neither values, nor advantages, nor ratios, nor penalties."""


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """Every setting of pretraining. The learning rate falls to 0 on a line, after a warm-up over 5% of the steps."""

    env_id: EnvId = "rlfl/Sentiment-v0"
    """Which environment's texts to learn, and in which vocabulary."""
    tokens: Count = 3_000_000
    """How many tokens are read in all, padding included."""
    context: Annotated[int, Allowed("2 or more", lambda value: value >= 2)] = 32
    """The longest text the model can read, prompt and completion together; longer texts are cut into pieces."""
    batch_size: Count = 64
    """Pieces per optimiser step."""
    learning_rate: LearningRate = 3e-3
    weight_decay: Weight = 0.1
    """AdamW's weight decay."""
    width: Count = 192
    heads: Count = 3
    mixed_precision: Literal["no", "bf16"] = "no"
    """Precision of the matrix products."""


@dataclass(frozen=True)
class PolicySettings(Settings):
    """What imitating and reinforcement learning share."""

    model: str | None = None
    """A Hugging Face name, a folder such as `rlfl sft` writes, "pretrained" (what `rlfl pretrain` left in the cache) or
    "smollm2" (likewise `rlfl from-gguf`). Without one, a GPT-2 of `layers`, `width` and `heads` starts from random
    weights. Unless `env_kwargs` names a vocabulary, the environment takes the model's."""
    position_ids: Literal["auto", "columns", "places", "text"] = "auto"
    """How positions are counted: "columns" gives the end of every prompt the same position; "places" too, and its
    numbers take up as many positions as each other, so that units stand below units; "text" counts from the first
    real token, as everybody who loads the policy elsewhere will. "auto" takes columns from random weights, which
    learn faster, and for a given model what it was trained with."""
    eval_prompts: Count = 512
    """How many held-out prompts an evaluation asks."""


@dataclass(frozen=True)
class SFTConfig(PolicySettings):
    """Every setting of a warm start. The learning rate falls to 0 on a line."""

    examples: Count = 256
    """How many prompts with their reference completions are drawn, once. The paper used 256."""
    epochs: Count = 20
    """Passes over the examples."""
    batch_size: Count = 32
    """Examples per optimiser step."""
    prompt_loss: bool = True
    """Learn to write the prompts too, as a language model of whole texts does (the paper), or the completions alone."""


@dataclass(frozen=True)
class PPOConfig(PolicySettings):
    """Every setting of a training run."""

    critic: Literal["shared", "separate"] = "shared"
    """Where the value head sits (with advantage "gae"): on the policy's own trunk, or on a copy of it that is
    trained apart."""
    lora_rank: NotNegative = 0
    """Trains LoRA adapters of this rank and leaves the model's own weights alone; 0 trains all weights."""
    lora_alpha: Count = 16
    """The adapters' scale is lora_alpha / lora_rank."""
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision in which LoRA leaves the model's own weights: bfloat16 takes half the memory, and is a model slightly
    different from the start."""
    gradient_checkpointing: bool = False
    """Keeps only the layers' inputs for the gradient and runs them again: less memory for a third more time."""

    total_samples: Count = 131_072
    """Completions learned from over the whole run; schedules end with it."""
    minutes: Weight | None = None
    """Stops after so many minutes of wall-clock training, if that comes first. Schedules do not look at it."""
    prompts: Count = 128
    """Prompts per update. With `group_size` completions each, an update learns from prompts * group_size
    completions."""
    group_size: Count = 1
    """Completions per prompt. A group is read once, so that a group of one-token answers costs about as much as one
    answer."""
    refill: NotNegative = 0
    """How often an update may sample once more for groups in place of those whose completions all earn the same, which
    teach nothing (DAPO's dynamic sampling). For advantages within groups, without a KL penalty."""
    epochs: Count = 4
    """Passes over each rollout."""
    sampler: Literal["uniform", "target", "progress", "kinds"] = "uniform"
    """Which prompts are played: as the id draws them, or its levels by `level_weights`; the levels about as hard as
    `target` says (AdaRFT's rule); the levels whose success changes most; or all kinds of prompts as often, where the id
    tells them apart, up to 8 times as often as the id draws them."""
    target: Share = 0.5
    """For the sampler "target": the share of its prompts that should be solved."""
    level_weights: tuple[float, ...] = ()
    """How often prompts of each of the id's levels are played in training, by weight, from easy to hard; without any,
    those of the whole id. What is rare in the whole may be common in a level."""
    redraw: Share = 0.0
    """The share of an update's prompts that is drawn from those missed lately, as far as there are any."""
    minibatches: Count = 1
    """Parts a rollout is cut into, one optimiser step each. Batch entropy is a statistic of the whole minibatch:
    small ones blur it."""
    accumulation: Count = 1
    """Cuts a minibatch into so many micro-batches to save memory. All terms stay exact; for batch entropy, the
    distributions of the whole minibatch are read once before."""
    micro_batch_tokens: NotNegative = 0
    """Cuts a minibatch into micro-batches of about so many tokens instead, prompts included, whatever the lengths; 0
    goes by `accumulation`."""
    temperature: Annotated[float, Allowed("1e-6 or more", lambda value: value >= 1e-6)] = 1.0
    """Divides the logits, when sampling and when learning alike."""

    advantage: Literal["gae", "rloo", "group_norm", "tries"] = "gae"
    """What a completion is compared with: a learned value (the paper), the mean of its group's others, or the
    group's mean in units of the group's standard deviation. These two need group_size >= 2 and train no value
    head; with several `tries` each token is compared with the others of its state instead. "tries" compares nothing:
    the policy learns to give the first right token and not the first wrong one."""
    tries: Count = 1
    """How many tokens are drawn at each state. Several are judged, whether a success can still follow; the episode goes
    on with the first right one, and ends where none is. That needs an environment that can tell, with env_kwargs
    `rewards=tokens`."""
    random_tries: NotNegative = 0
    """How many of them are uniform over the legal tokens: without any, a right token that the policy never draws stays
    unknown."""
    imitation_coef: Weight = 0.0
    """Weight of imitating successes of one's own: of -log p of their tokens, mask or not; 0 keeps none."""
    imitation_batch: Count = 64
    """How many of them each optimiser step imitates."""
    imitation_kept: Count = 4096
    """Of how many prompts the newest success is kept. What a whole group solves is not."""
    gamma: Share = 1.0
    """Discount per token, for "gae"."""
    gae_lambda: Share = 0.95
    """Lambda of GAE: 1 trusts the rewards alone, 0 the next value alone."""
    whiten: bool = True
    """Scales a rollout's advantages to mean 0 and variance 1."""

    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes to `lr_final` times itself over the run."""
    lr_final: Share = 0.0
    """The share of the learning rate that is left at the end of a linear or cosine schedule."""
    warmup: Share = 0.0
    """The share of the run over which the learning rate first rises from 0."""
    weight_decay: Weight = 0.0
    """AdamW's weight decay."""
    adam_eps: Positive = 1e-8
    """AdamW's epsilon. At 1e-5 rounding errors of gradients that should be 0 stay small instead of becoming steps."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    clip_range: Positive = 0.2
    """c of the clipped policy loss: beyond 1 ± c a ratio is not rewarded further."""
    clip_range_high: Positive | None = None
    """c of the upper bound alone (clip-higher): above `clip_range`, unlikely tokens may rise further. Without one it is
    `clip_range`."""
    dual_clip: Annotated[float, Allowed("above 1", lambda value: value > 1)] | None = None
    """Bounds the loss of a token with a negative advantage A by this times -A, however large its ratio (dual-clip)."""
    kl_cov: Share = 0.0
    """KL-Cov: so large a share of a rollout's tokens, those that make the policy surer fastest, is held back. The paper
    has 0.002."""
    kl_cov_coef: Weight = 1.0
    """The weight of abs(log r) of those tokens."""
    value_clip: Positive = 0.2
    """How far a value may move from the old one before it is clipped."""
    vf_coef: Weight = 0.1
    """Weight of the value loss."""
    ratio_threshold: float = 10.0
    """Micro-batches whose mean ratio of new to old probability exceeds this are skipped, as in TRL."""
    target_kl: Positive | None = None
    """Ends an update's epochs once a minibatch's approx_kl exceeds 1.5 times this; that one takes no step."""

    kl: Literal["off", "fixed", "adaptive"] = "off"
    """Penalty in the reward for leaving the starting model: none (right for random weights), of a fixed weight, or
    adaptive as in TRL."""
    kl_coef: Weight = 0.2
    """The penalty's weight at the start."""
    kl_target: Positive = 6.0
    """The ref_kl per completion (nats) that the adaptive controller steers to."""
    kl_horizon: Count = 10_000
    """Over how many completions the controller acts."""

    entropy_coef: float = 0.0
    """Weight of token entropy: every distribution is kept spread."""
    entropy_coef_final: float | None = None
    """Its weight at the end of the run, reached on a line; without one it stays."""
    entropy_target: float | None = None
    """Steers the weight so that token entropy meets this many nats; entropy_coef is then only the start."""
    batch_entropy_coef: float = 0.0
    """Weight of batch entropy: different prompts are asked to get different answers, while each may be sure of its
    own."""
    batch_entropy_coef_final: float | None = None
    """Its weight at the end of the run, reached on a line; without one it stays."""
    batch_entropy_target: float | None = None
    """Steers the weight so that batch entropy meets this many nats; batch_entropy_coef is then only the start."""
    entropy_rate: Weight = 0.05
    """How fast a steered weight moves: its logarithm changes by this times the distance from the target, per update."""
    batch_entropy_positions: Literal["all", "last"] = "all"
    """Which completion positions batch entropy reads: all, weighted by their active rows, or the last alone, as in
    the paper: the last that any row of the minibatch reaches, where shorter completions do not count."""

    eval_every: NotNegative = 25
    """Updates between evaluations on held-out prompts; 0 evaluates before and after only."""
    stop_at_success: Share | None = None
    """Ends the run once the greedy held-out success reaches this share."""
    save_every: Count = 50
    """Updates between checkpoints; there is always one at the end."""
    keep_last: Count = 2
    """How many checkpoints are kept. The best policy by held-out success is kept besides, in `best/`."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Precision of the matrix products; losses stay in float32."""
    matmul_precision: Literal["auto", "highest", "high", "medium"] = "auto"
    """Of products that are left in float32, as torch names it: "high" is TF32 on a GPU; on a CPU, "medium" lets oneDNN
    choose. "auto" is "highest", but on a CPU where oneDNN keeps float32."""
    shard: bool = False
    """Spreads weights, gradients and the optimiser's moments over the processes (FSDP) instead of holding all of them
    in each. For a rollout the weights are gathered."""
    cuda_graphs: bool = True
    """On a CUDA device, what is done again and again is recorded once and replayed: reading a token and choosing the
    next, reading a minibatch and computing its gradient."""
    report_to: tuple[str, ...] = ()
    """Further trackers, through Accelerate, such as wandb or mlflow."""

    def __post_init__(self) -> None:
        """Checks what depends on several fields.

        Raises:
            ConfigError: With the field, its value and what is allowed.
        """
        super().__post_init__()
        if self.prompts % (self.minibatches * self.accumulation):
            pieces = self.minibatches * self.accumulation
            raise ConfigError(f"prompts={self.prompts} must be a multiple of minibatches * accumulation = {pieces}.")
        self._check_tries()
        if self.frozen_dtype != "float32" and not self.lora_rank:
            raise ConfigError(
                f"frozen_dtype={self.frozen_dtype!r} is for weights that LoRA leaves alone: set lora_rank."
            )
        if self.shard and self.mixed_precision == "fp16":
            raise ConfigError("shard=True has no scaler of gradients: mixed_precision='fp16' must be 'bf16' or 'no'.")
        if self.level_weights and self.sampler in ("target", "progress"):
            raise ConfigError(f"sampler={self.sampler!r} finds weights itself: level_weights must be ().")
        if self.advantage in ("rloo", "group_norm") and self.group_size < 2 and not self.has_tries:
            raise ConfigError(
                f"advantage={self.advantage!r} compares the completions of a group: group_size must be 2 or more."
            )
        if self.refill and (self.advantage not in ("rloo", "group_norm") or self.kl != "off"):
            raise ConfigError(
                f"refill={self.refill} replaces groups: advantage={self.advantage!r} must be 'rloo' or 'group_norm', "
                f"and kl={self.kl!r} 'off'."
            )
        if self.stop_at_success is not None and not self.eval_every:
            raise ConfigError(
                f"stop_at_success={self.stop_at_success} is asked at evaluations: eval_every must be above 0."
            )
        for name in ("entropy", "batch_entropy"):
            coef, final, target = (getattr(self, f"{name}_{what}") for what in ("coef", "coef_final", "target"))
            if target is not None and (final is not None or coef <= 0):
                raise ConfigError(
                    f"{name}_target needs a positive {name}_coef to start from, and no {name}_coef_final."
                )

    def _check_tries(self) -> None:
        most = self.tries - 1  # a policy gradient needs a draw of the policy, and so has `first_try`
        check_value("random_tries", self.random_tries, self.random_tries <= most, f"0..{most}, with tries={self.tries}")
        if not self.has_tries:
            return
        rewards = self.env_kwargs.get("rewards", "end")
        check_value("rewards", rewards, rewards == "tokens", f"'tokens' with {self._tried}, among env_kwargs")
        for name in _NOT_WITH_TRIES if self.advantage == "tries" else _NOT_WITH_SEVERAL_TRIES:
            value, default = getattr(self, name), getattr(type(self), name)
            check_value(name, value, value == default, f"{default!r} with {self._tried}, where it has no part")

    @property
    def has_tries(self) -> bool:
        """Whether tokens are drawn to be judged."""
        return self.advantage == "tries" or self.tries > 1

    @property
    def _tried(self) -> str:
        return "advantage='tries'" if self.advantage == "tries" else f"tries={self.tries}"

    @property
    def rows(self) -> int:
        """Completions per update."""
        return self.prompts * self.group_size

    @property
    def updates(self) -> int:
        """Updates of the whole run."""
        return math.ceil(self.total_samples / self.rows)
