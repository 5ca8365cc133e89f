"""The settings of arithmetic.py: every experiment's variants, what is changed in what."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments import NO_BATCH_ENTROPY, THREE_DIGITS, Experiment, around
from from_nothing_settings import EXPERIMENTS as FROM_NOTHING
from from_nothing_settings import NOTHING_SAMPLED
from rlfl_agents.ppo import PPOConfig
from rlfl_agents.presets import preset
from rlfl_agents.sft import SFTConfig

# What `make demo` was until `RECIPE`, a third as long.
BASE = PPOConfig(
    env_id="rlfl/Arithmetic-v0",
    layers=2,
    width=64,
    heads=4,
    advantage="group_norm",
    group_size=64,
    prompts=64,
    epochs=1,
    learning_rate=3e-3,
    lr_schedule="linear",
    warmup=0.02,
    entropy_coef=0.05,
    entropy_coef_final=0.0,
    batch_entropy_coef=0.5,
    batch_entropy_coef_final=0.1,
    total_samples=1000 * 64 * 64,
    eval_every=50,
    eval_prompts=1000,
    save_every=10**6,
)
# Question by question, what is changed in the base. A name is one variant, and its file's.
SCREEN: dict[str, dict[str, dict[str, Any]]] = {
    "batch entropy": {
        "no c_B": {"batch_entropy_coef": 0.0, "batch_entropy_coef_final": None},
        "c_B 0.1": {"batch_entropy_coef": 0.1, "batch_entropy_coef_final": None},
        "c_B 0.3": {"batch_entropy_coef": 0.3, "batch_entropy_coef_final": None},
        "c_B 0.5": {"batch_entropy_coef": 0.5, "batch_entropy_coef_final": None},
        "c_B 0.5 to 0": {"batch_entropy_coef": 0.5, "batch_entropy_coef_final": 0.0},
    },
    "a target for it": {
        "batch entropy at 3.2": {"batch_entropy_target": 3.2, "batch_entropy_coef_final": None},
        "batch entropy at 3.4": {"batch_entropy_target": 3.4, "batch_entropy_coef_final": None},
    },
    "mutual information": {
        "c_B 0.3, c_H -0.3": {
            "batch_entropy_coef": 0.3,
            "batch_entropy_coef_final": None,
            "entropy_coef": -0.3,
            "entropy_coef_final": None,
        },
        "c_B 0.3, c_H -0.3 to 0": {
            "batch_entropy_coef": 0.3,
            "batch_entropy_coef_final": 0.0,
            "entropy_coef": -0.3,
            "entropy_coef_final": 0.0,
        },
    },
    "token entropy": {
        "no c_H": {"entropy_coef": 0.0, "entropy_coef_final": None},
        "c_H 0.05": {"entropy_coef": 0.05, "entropy_coef_final": None},
        "c_H 0.2 to 0": {"entropy_coef": 0.2},
        "neither": {
            "entropy_coef": 0.0,
            "entropy_coef_final": None,
            "batch_entropy_coef": 0.0,
            "batch_entropy_coef_final": None,
        },
    },
    "advantage": {
        "rloo": {"advantage": "rloo"},
        "learned value": {"advantage": "gae"},
        "learned value, separate": {"advantage": "gae", "critic": "separate"},
    },
    "answers to a prompt": {
        "1024 x 4": {"prompts": 1024, "group_size": 4},
        "256 x 16": {"prompts": 256, "group_size": 16},
        "16 x 256": {"prompts": 16, "group_size": 256},
    },
    "steps": {
        "2 minibatches": {"minibatches": 2},
        "4 minibatches": {"minibatches": 4},
        "4 epochs": {"epochs": 4},
    },
    "learning rate": {
        "lr 1e-3": {"learning_rate": 1e-3},
        "lr 1e-2": {"learning_rate": 1e-2},
        "lr constant": {"lr_schedule": "constant"},
        "lr cosine": {"lr_schedule": "cosine"},
    },
    "reward": {
        "reward scale 2": {"env_kwargs": {"reward_scale": 2.0}},
        "reward scale 50": {"env_kwargs": {"reward_scale": 50.0}},
    },
    "model": {
        "width 32": {"width": 32},
        "width 128": {"width": 128},
        "1 layer": {"layers": 1},
        "4 layers": {"layers": 4},
    },
}


# What the screen recommends: a learned value, and eight small steps an update.
RECIPE = dataclasses.replace(
    BASE, advantage="gae", prompts=128, group_size=32, minibatches=8, total_samples=1200 * 128 * 32
)
# Whole derivations, after a warm start, under the mask that keeps their form. A value learned as fast as the policy is
# what told numbers that pay from those that happen to stand beside them.
STEPS = dataclasses.replace(
    RECIPE,
    env_id="rlfl/ArithmeticSteps-v0",
    env_kwargs={"reward": "strict", "mask": "syntax"},
    gae_lambda=1.0,
    vf_coef=5.0,
    group_size=4,
    learning_rate=1e-3,
    warmup=0.0,
    entropy_coef=0.02,
    batch_entropy_positions="last",
    batch_entropy_coef=0.03,
    batch_entropy_coef_final=0.01,
    total_samples=1500 * 128 * 4,
    eval_every=100,
)
_STEPS_FIRST = dataclasses.replace(
    STEPS,
    entropy_coef=0.01,
    batch_entropy_positions="all",
    batch_entropy_coef=0.1,
    batch_entropy_coef_final=0.0,
)
IMITATION = SFTConfig("rlfl/ArithmeticSteps-v0", examples=256, epochs=120, layers=2, width=64, heads=4)
PAPER = preset("rlfl/Arithmetic-v0", recipe="paper", eval_every=64, eval_prompts=1000, save_every=10**6)
_REMEDIES: dict[str, dict[str, Any]] = {
    "PPO": {},
    "token entropy 0.3": {"entropy_coef": 0.3},
    "batch entropy 0.3": {"batch_entropy_coef": 0.3},
}
# GPT-2's width over this one's is 6: Adam's step in a narrower model may be longer in proportion, for as much of a
# change.
_SMALLER: dict[str, Any] = {"layers": 2, "width": 128, "heads": 4}
_PAPER_TABLE = (
    *("exact before", "exact", "sampled", "reward", "entropy", "batch entropy"),
    *("largest p̄", "different answers", "minutes"),
)

EXPERIMENTS: dict[str, Experiment] = FROM_NOTHING | {
    "screen": Experiment(
        around(BASE, {"base": {}} | {name: changed for group in SCREEN.values() for name, changed in group.items()})
    ),
    "confirm": Experiment(
        around(
            RECIPE,
            {
                "Arithmetic-v0": {},
                "ArithmeticAnswer-v0": {"env_id": "rlfl/ArithmeticAnswer-v0"},
                "Arithmetic-v0, other final sums": {"env_kwargs": {"split_by": "final_statement"}},
                "Arithmetic-v0, no batch entropy": {"batch_entropy_coef": 0.0, "batch_entropy_coef_final": 0.0},
            },
        ),
        seeds=range(10),
        table=("exact", "sampled", "unseen", "millions to 0.9", "millions to 0.99", "batch entropy", "minutes"),
    ),
    "ablate": Experiment(
        around(
            RECIPE,
            {
                "leave-one-out": {"advantage": "rloo"},
                "one step an update": {"minibatches": 1},
                "4 answers to a prompt": {"group_size": 4, "total_samples": 1200 * 128 * 4},
                "constant learning rate": {"lr_schedule": "constant"},
                "constant entropies": {"entropy_coef_final": None, "batch_entropy_coef_final": None},
            },
        ),
        table=("exact", "sampled", "millions to 0.9", "entropy", "batch entropy", "different answers", "minutes"),
        changed_from=("confirm", "Arithmetic-v0"),
    ),
    "precision": Experiment(
        {
            "sums, one token": dataclasses.replace(RECIPE, mixed_precision="bf16"),
            "whole derivations, by tries": dataclasses.replace(NOTHING_SAMPLED, mixed_precision="bf16"),
        },
        table=("exact", "sampled", "millions to 0.9", "entropy", "batch entropy", "minutes"),
        changed_from=("confirm", "Arithmetic-v0"),
    ),
    "carry": Experiment(
        around(
            RECIPE,
            {
                "+*": {"env_kwargs": {"operators": "+*"}},
                "three digits": {"env_kwargs": THREE_DIGITS},
                "+*, three digits": {"env_kwargs": THREE_DIGITS | {"operators": "+*"}},
            },
        ),
        table=("exact", "sampled", "reward", "millions to 0.9", "batch entropy", "different answers", "minutes"),
    ),
    "steps": Experiment(
        around(
            STEPS,
            {
                "no batch entropy": NO_BATCH_ENTROPY,
                "neither entropy": NO_BATCH_ENTROPY | {"entropy_coef": 0.0, "entropy_coef_final": None},
                "RLOO": {"advantage": "rloo"},
                "group-normalised": {"advantage": "group_norm"},
                "no mask, paper's reward": {"env_kwargs": {"reward": "paper"}},
            },
        ),
        warm_start=IMITATION,
        table=("exact", "sampled", "reward", "unearned", "worked out", "entropy", "batch entropy", "minutes"),
        changed_from=("steps-confirm", "ArithmeticSteps-v0"),
    ),
    "steps-first": Experiment(
        around(
            _STEPS_FIRST,
            {
                "ArithmeticSteps-v0": {},
                "ArithmeticSteps-v0, worked out": {"env_kwargs": STEPS.env_kwargs | {"reward": "worked_out"}},
            },
        ),
        seeds=(0, 1),
        warm_start=IMITATION,
        table=("exact before", "exact", "worked out", "millions to 0.9", "entropy", "batch entropy", "minutes"),
    ),
    "steps-confirm": Experiment(
        {"ArithmeticSteps-v0": STEPS},
        seeds=range(10),
        warm_start=IMITATION,
        table=("exact before", "exact", "sampled", "worked out", "millions to 0.9", "batch entropy", "minutes"),
    ),
    "paper": Experiment(
        around(
            dataclasses.replace(PAPER, **_SMALLER),
            {
                f"{name}, lr {rate}": {"learning_rate": rate} | coefficients
                for rate in (1.41e-5, 8.46e-5)
                for name, coefficients in _REMEDIES.items()
            },
        ),
        warm_start=SFTConfig("rlfl/Arithmetic-v0", examples=256, epochs=60, **_SMALLER),
        table=_PAPER_TABLE,
    ),
    "paper-gpt2": Experiment(
        around(PAPER, _REMEDIES),
        warm_start=SFTConfig(
            "rlfl/Arithmetic-v0", examples=256, epochs=60, learning_rate=1e-4, layers=12, width=768, heads=12
        ),
        table=_PAPER_TABLE[:-1],
    ),
}
# What was to be shown, row by row: in words, where it was run, and the share of exact answers asked for, if any.
TARGETS: Sequence[tuple[str, str, str, float | None]] = [
    ("sums, one token, from random weights", "confirm", "Arithmetic-v0", 0.99),
    ("the same, from the bare expression", "confirm", "ArithmeticAnswer-v0", 0.99),
    ("whole derivations, after imitating 256", "steps-confirm", "ArithmeticSteps-v0", 0.95),
    ("whole derivations, worked out, from random weights", "nothing", "ArithmeticSteps-v0", 0.99),
    ("the same with the sampler", "nothing-sampled", "ArithmeticSteps-v0", 0.99),
    ("sums of up to three digits, in characters, from random weights", "digits", "sums", 0.99),
    ("the same with numbers aligned", "digits-places", "sums", 0.99),
    ("one token by the paper's PPO, 128 wide, after imitating 256", "paper", "PPO, lr 1.41e-05", None),
    ("the same with batch entropy", "paper", "batch entropy 0.3, lr 1.41e-05", None),
    ("one token by the paper's PPO at GPT-2's size, after imitating 256", "paper-gpt2", "PPO", None),
    ("the same with batch entropy", "paper-gpt2", "batch entropy 0.3", None),
    ("one token with products, the first recipe as it is", "carry", "+*", None),
    ("three digits in characters, likewise", "carry", "three digits", None),
    ("both", "carry", "+*, three digits", None),
]
# Of which variants the answers are drawn.
HEAT_MAPS = {
    "screen": ("neither", "no c_B", "base"),
    "confirm": ("Arithmetic-v0", "ArithmeticAnswer-v0", "Arithmetic-v0, no batch entropy"),
    "ablate": ("leave-one-out", "one step an update", "constant learning rate"),
    "precision": (),
    "carry": ("+*",),
    "steps": ("neither entropy", "no batch entropy", "RLOO"),
    "steps-first": ("ArithmeticSteps-v0", "ArithmeticSteps-v0, worked out"),
    "steps-confirm": ("ArithmeticSteps-v0",),
    "nothing": (),
    "nothing-sampled": (),
    "nothing-without": (),
    "nothing-gpt2": (),
    "nothing-dense": (),
    "nothing-tried": (),
    "nothing-end": (),
    "nothing-end-longer": (),
    "nothing-end-whole": (),
    "digits": (),
    "digits-places": (),
    "digits-units": (),
    "long": (),
    "paper-gpt2": ("PPO", "token entropy 0.3", "batch entropy 0.3"),
    "paper": ("PPO, lr 8.46e-05", "token entropy 0.3, lr 8.46e-05", "batch entropy 0.3, lr 8.46e-05"),
}
