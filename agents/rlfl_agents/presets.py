"""The recipe of each id: what `rlfl train ID` does without further flags, on a 2-core CPU; and the paper's."""

from __future__ import annotations

from typing import Any, Literal

from rlfl_agents.config import PPOConfig
from rlfl_envs import ConfigError

__all__ = ["AFTER_WARM_START", "PAPER", "PRESETS", "preset"]

# A small model, learning from groups of completions. One thread: at this size a second one gains little, and loses much
# where the machine is busy.
_SMALL: dict[str, Any] = {
    "epochs": 1,
    "layers": 2,
    "width": 64,
    "heads": 4,
    "lr_schedule": "linear",
    "threads": 1,
}

# One-token answers: those to one prompt share its forward pass. What won in docs/research/arithmetic.md: a learned
# value, small steps, and a learning rate and entropies that fall together: what holds the answers apart must last until
# they are exact.
_ONE_TOKEN: dict[str, Any] = _SMALL | {
    "advantage": "gae",
    "group_size": 32,
    "prompts": 128,
    "minibatches": 8,
    "learning_rate": 3e-3,
    "warmup": 0.02,
    "entropy_coef": 0.05,
    "entropy_coef_final": 0.0,
    "batch_entropy_coef": 0.5,
    "batch_entropy_coef_final": 0.1,
    "total_samples": 1200 * 128 * 32,
    "eval_every": 50,
    "save_every": 200,
}

# A verdict on every token, at sixteen tries each, a quarter of them uniform.
_TRIES: dict[str, Any] = _SMALL | {
    "advantage": "tries",
    "tries": 16,
    "random_tries": 4,
    "prompts": 128,
    "minibatches": 4,
    "learning_rate": 3e-3,
    "weight_decay": 0.01,
    "warmup": 0.05,
    "batch_entropy_coef": 0.05,
    "batch_entropy_coef_final": 0.0,
}

# Whole derivations from random weights, unmasked, and really worked out: docs/research/from-nothing.md. Every token is
# judged, at 32 tries each, half of them uniform, so that no right token stays unknown for long. Prompts of four numbers
# are one in twenty, and played as often as those of five; half of all prompts are such as were missed lately.
_FROM_NOTHING: dict[str, Any] = _TRIES | {
    "env_kwargs": {"reward": "worked_out", "rewards": "tokens"},
    "tries": 32,
    "random_tries": 16,
    "prompts": 256,
    "sampler": "kinds",
    "redraw": 0.5,
    "total_samples": 900 * 256,
    "eval_every": 300,
    "save_every": 300,
}

# The same after `rlfl sft` on some of them: what won in docs/research/arithmetic.md. The mask keeps their form, a value
# learned as fast as the policy tells which number paid, and batch entropy of the last one alone keeps rare sums given.
_DERIVATION: dict[str, Any] = _SMALL | {
    "env_kwargs": {"reward": "strict", "mask": "syntax"},
    "advantage": "gae",
    "gae_lambda": 1.0,
    "vf_coef": 5.0,
    "group_size": 4,
    "prompts": 128,
    "minibatches": 8,
    "learning_rate": 1e-3,
    "entropy_coef": 0.02,
    "entropy_coef_final": 0.0,
    "batch_entropy_positions": "last",
    "batch_entropy_coef": 0.03,
    "batch_entropy_coef_final": 0.01,
    "total_samples": 1500 * 128 * 4,
    "eval_every": 100,
    "save_every": 200,
}

# Answers of several digits, a character each: docs/research/from-nothing.md. Numbers are aligned, so that units stand
# below units; sums of three numbers, one prompt in fourteen, are played as often as those of two.
_DIGITS: dict[str, Any] = _FROM_NOTHING | {
    "env_kwargs": {"rewards": "tokens"},
    "position_ids": "places",
    "width": 128,
    "tries": 16,
    "random_tries": 8,
    "learning_rate": 1.5e-3,
    "batch_entropy_coef": 0.02,
    "total_samples": 800 * 256,
    "eval_every": 200,
    "save_every": 200,
}

# After a warm start on the corpus. A new game takes half a second or more to judge, a hundred times what it takes to
# write and learn from it: so games are small and few playouts judge them. What a batch is too small to tell would
# otherwise wear the model down, above all its spelling of names: more prompts a batch, a low learning rate and the
# penalty for leaving the warm start hold against that.
_GAMES: dict[str, Any] = _SMALL | {
    "advantage": "rloo",
    "group_size": 8,
    "prompts": 24,
    "epochs": 2,
    "minibatches": 4,
    "learning_rate": 3e-4,
    "warmup": 0.15,
    "kl": "fixed",
    "kl_coef": 0.1,
    "batch_entropy_coef": 0.02,
    "total_samples": 40 * 24 * 8,
    "eval_prompts": 32,
    "eval_every": 0,
    "save_every": 2,
}
_GAME_KWARGS: dict[str, Any] = {"reward": "strict", "workers": 2, "num_playouts": 32, "max_turns": 200, "timeout": 15.0}

PRESETS: dict[str, dict[str, Any]] = {
    "rlfl/Arithmetic-v0": _ONE_TOKEN,
    "rlfl/ArithmeticAnswer-v0": _ONE_TOKEN,
    "rlfl/ArithmeticSteps-v0": _FROM_NOTHING,
    "rlfl/Copy-v0": _SMALL
    | {
        "advantage": "rloo",
        "group_size": 16,
        "prompts": 64,
        "learning_rate": 3e-3,
        "batch_entropy_coef": 0.05,
        "total_samples": 200_000,
    },
    # A learned value and four passes over each rollout: 0.99 after 30,000 completions (one seed). Groups of 16 learned
    # slower here, from ten times as many.
    "rlfl/Brackets-v0": _SMALL
    | {
        "advantage": "gae",
        "prompts": 256,
        "epochs": 4,
        "minibatches": 4,
        "learning_rate": 1e-3,
        "warmup": 0.02,
        "entropy_coef": 0.02,
        "total_samples": 60_000,
    },
    # Three numbers under the mask, every token judged: docs/research/countdown.md. 0.68 to 0.70 held out.
    "rlfl/Countdown-v0": _TRIES
    | {
        "env_kwargs": {"mask": "syntax", "max_numbers": 3, "rewards": "tokens"},
        "prompts": 256,
        "total_samples": 1200 * 256,
        "eval_every": 100,
        "save_every": 400,
    },
    # The first level of each under the mask, every token judged, from random weights: docs/research/languages.md. On
    # three seeds each Json ends at 0.91 to 0.98 of held-out problems, Regex at 0.62 to 0.64 of new prompts, Proof at
    # 0.33 to 0.39 of held-out problems.
    "rlfl/Json-v0": _TRIES
    | {
        "env_kwargs": {"most": 1, "mask": "syntax", "rewards": "tokens", "max_completion_tokens": 20},
        "total_samples": 25_000,
        "eval_every": 50,
    },
    "rlfl/Regex-v0": _TRIES
    | {
        "env_kwargs": {"longest": 4, "split": "all", "mask": "syntax", "rewards": "tokens"},
        "total_samples": 45_000,
        "eval_every": 50,
    },
    "rlfl/Proof-v0": _TRIES
    | {
        "env_kwargs": {"max_steps": 2, "axioms": "", "mask": "syntax", "rewards": "tokens"},
        "total_samples": 45_000,
        "eval_every": 50,
    },
    # `rlfl sft rlfl/LudaxGame-v0`, then `rlfl train --model`; or examples/synthesise_games.py.
    "rlfl/LudaxGame-v0": _GAMES | {"env_kwargs": _GAME_KWARGS | {"mask": "syntax", "max_game_tokens": 128}},
    "rlfl/LudiiGame-v0": _GAMES | {"env_kwargs": _GAME_KWARGS},
    # The model of `rlfl pretrain rlfl/Sentiment-v0`, held near itself by the adaptive KL penalty; a touch of batch
    # entropy keeps its completions different. Sampling is cheaper than learning here: each is learned from once.
    "rlfl/Sentiment-v0": {
        "model": "pretrained",
        "advantage": "rloo",
        "group_size": 8,
        "prompts": 32,
        "epochs": 1,
        "minibatches": 4,
        "learning_rate": 3e-4,
        "lr_schedule": "linear",
        "kl": "adaptive",
        "kl_coef": 0.05,
        "kl_target": 7.0,
        "batch_entropy_coef": 0.02,
        "total_samples": 120 * 32 * 8,
        "eval_every": 20,
        "threads": 1,
    },
}

# A task of one's own, about which nothing is known: groups, so that no value has to be learned; batch entropy, so that
# one answer to everything does not pay; enough samples to see within minutes whether it learns. Tried on two tasks, one
# seed each: held-out success of 0.98 at sorting five letters, and of 1.00 at naming the most frequent of four.
_ANY: dict[str, Any] = _SMALL | {
    "advantage": "rloo",
    "group_size": 8,
    "prompts": 64,
    "minibatches": 2,
    "learning_rate": 3e-3,
    "warmup": 0.02,
    "entropy_coef": 0.01,
    "entropy_coef_final": 0.0,
    "batch_entropy_coef": 0.1,
    "batch_entropy_coef_final": 0.02,
    "total_samples": 100_000,
}

# The same from a model that can do something already: smaller steps, and held near itself, as for Sentiment.
_ANY_WITH_MODEL: dict[str, Any] = _ANY | {
    "learning_rate": 3e-4,
    "kl": "adaptive",
    "kl_coef": 0.05,
    "entropy_coef": 0.0,
    "entropy_coef_final": None,
}

# Whose preset goes on from what `rlfl sft` leaves; from random weights it learns next to nothing.
AFTER_WARM_START = ("rlfl/LudaxGame-v0", "rlfl/LudiiGame-v0")

# What replaces an id's preset where a model is given, such as `rlfl sft` leaves.
_WITH_MODEL: dict[str, dict[str, Any]] = {
    "rlfl/ArithmeticSteps-v0": _DERIVATION,
    "rlfl/Json-v0": _ANY_WITH_MODEL,
    "rlfl/Proof-v0": _ANY_WITH_MODEL,
    "rlfl/Regex-v0": _ANY_WITH_MODEL,
}

# Likewise with `vocabulary=characters`, where that is not the id's own.
_IN_CHARACTERS: dict[str, dict[str, Any]] = {"rlfl/ArithmeticAnswer-v0": _DIGITS}

# Padula & Soemers 2024: TRL's defaults but for the batch.
_PAPER: dict[str, Any] = {
    "advantage": "gae",
    "epochs": 4,
    "learning_rate": 1.41e-5,
    "vf_coef": 0.1,
    "kl": "adaptive",
    "kl_coef": 0.2,
    "kl_target": 6.0,
    "kl_horizon": 10_000,
}
PAPER: dict[str, dict[str, Any]] = {
    # In GPT-2's shape, after `rlfl sft` on 256 derivations or as many as this samples; give that folder as `model`. The
    # remedies are batch_entropy_coef=0.3 and entropy_coef=0.3.
    "rlfl/Arithmetic-v0": _PAPER | {"layers": 12, "width": 768, "heads": 12, "prompts": 128, "total_samples": 131_072},
    # A model from the hub, and a GPU for comfort. Two minibatches of TRL's default 128; one pass over the 24,888
    # reviews.
    "rlfl/Sentiment-v0": _PAPER
    | {"model": "lvwerra/gpt2-imdb", "prompts": 256, "minibatches": 2, "total_samples": 24_888},
}


def preset(env_id: str, recipe: Literal["ours", "paper"] = "ours", **changes: Any) -> PPOConfig:
    """The settings that suit an id; ones that suit many tasks where nobody has tuned it.

    Args:
        env_id: Such as "rlfl/Arithmetic-v0", or any other id, with its module or without.
        recipe: "paper" for those of Padula & Soemers 2024, where they have such a task.
        **changes: Settings of one's own on top; `env_kwargs` are added to the recipe's.

    Raises:
        ConfigError: There is no such recipe for this id.
    """
    name = env_id.rpartition(":")[2]
    if recipe not in ("ours", "paper") or (recipe == "paper" and name not in PAPER):
        raise ConfigError(f"recipe={recipe!r} is not allowed; allowed: 'ours', and 'paper' for {', '.join(PAPER)}.")
    settings = PAPER[name] if recipe == "paper" else PRESETS.get(name, _ANY)
    if recipe == "ours" and changes.get("model") is not None:
        settings = _WITH_MODEL.get(name) or PRESETS.get(name, _ANY_WITH_MODEL)
    elif recipe == "ours" and changes.get("env_kwargs", {}).get("vocabulary") == "characters":
        settings = _IN_CHARACTERS.get(name, settings)
    env_kwargs = settings.get("env_kwargs", {}) | changes.get("env_kwargs", {})
    return PPOConfig(**(settings | {"env_id": env_id} | changes | {"env_kwargs": env_kwargs}))
