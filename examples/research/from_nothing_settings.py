"""The settings of docs/research/from-nothing.md: learned from random weights, token by token or by the end alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import growing  # noqa: F401 -- registers research/GrowingSteps-v0
import revealed  # noqa: F401 -- registers research/RevealedSteps-v0
import units_first  # noqa: F401 -- registers research/UnitsFirst-v0
from experiments import NO_BATCH_ENTROPY, THREE_DIGITS, TRIES, Experiment, around
from rlfl_agents.ppo import PPOConfig

# Whole derivations from random weights: every token is judged, at several tries each.
NOTHING = PPOConfig(
    **TRIES,
    env_id="rlfl/ArithmeticSteps-v0",
    env_kwargs={"reward": "worked_out", "rewards": "tokens"},
    level_weights=(0.0, 0.0, 0.0, 0.5, 0.5),
    total_samples=700 * 256,
    eval_every=200,
    eval_prompts=1000,
)
# The same with the sampler: what the preset is now.
NOTHING_SAMPLED = dataclasses.replace(
    NOTHING,
    tries=32,
    random_tries=16,
    level_weights=(),
    sampler="kinds",
    redraw=0.5,
    total_samples=900 * 256,
    eval_every=300,
)
# Answers of up to three digits, a character each, by tries. With `expression_length=7` nearly all are sums of two.
DIGITS = dataclasses.replace(
    NOTHING_SAMPLED,
    env_id="rlfl/ArithmeticAnswer-v0",
    env_kwargs={**THREE_DIGITS, "expression_length": 7, "rewards": "tokens"},
    sampler="uniform",
    tries=16,
    random_tries=8,
    width=128,
    learning_rate=1.5e-3,
    batch_entropy_coef=0.02,
    total_samples=2000 * 256,
    eval_every=500,
)
# The same with numbers aligned, so that units stand below units, and kinds of prompts as often.
PLACES = dataclasses.replace(DIGITS, position_ids="places", sampler="kinds", total_samples=800 * 256, eval_every=200)
# The prompts of `carry`, twice as long: the last value of a derivation that is given.
_GIVEN: dict[str, Any] = {"env_id": "rlfl/Arithmetic-v0", "total_samples": 1000 * 256, "eval_every": 250}
# Copy and Brackets at ten times their length.
LONG = dataclasses.replace(
    NOTHING_SAMPLED,
    env_id="rlfl/Copy-v0",
    env_kwargs={"length": 40, "rewards": "tokens"},
    sampler="uniform",
    prompts=128,
    total_samples=100 * 128,
    eval_every=25,
)
# Given derivations with products, of which the last value is asked, in numbers that are aligned.
_PRODUCTS: dict[str, Any] = {
    "env_id": "rlfl/Arithmetic-v0",
    "env_kwargs": THREE_DIGITS | {"operators": "+*", "rewards": "tokens"},
    "sampler": "uniform",
    "width": 64,
    "learning_rate": 3e-3,
    "total_samples": 750 * 256,
    "eval_every": 250,
}
# Whole derivations from random weights by the reward at the end: the form is given, and prompts of all lengths are
# played from the start, since those of the whole id pay next to nothing at first. Each idea is one change.
END = PPOConfig(
    env_id="rlfl/ArithmeticSteps-v0",
    env_kwargs={"reward": "worked_out", "mask": "syntax"},
    layers=2,
    width=64,
    heads=4,
    advantage="rloo",
    group_size=16,
    prompts=32,
    level_weights=(1.0, 1.0, 1.0, 1.0, 1.0),
    epochs=1,
    minibatches=2,
    learning_rate=1e-3,
    warmup=0.0,
    entropy_coef=0.02,
    batch_entropy_coef=0.05,
    total_samples=10**6,  # more than there is time for
    minutes=1.5,
    eval_every=100,
    eval_prompts=256,
    save_every=10**6,
)
_LEARNED_VALUE: dict[str, Any] = {
    "advantage": "gae",
    "gae_lambda": 1.0,
    "vf_coef": 5.0,
    "group_size": 4,
    "prompts": 128,
}
# The same for longer, by a value that tells token by token what the reward at the end will be. The reward is so wide
# that the first errors pay.
END_LONGER = dataclasses.replace(
    END,
    env_kwargs=END.env_kwargs | {"reward_scale": 50.0},
    advantage="gae",
    gae_lambda=1.0,
    vf_coef=1.0,
    level_weights=(),
    sampler="target",
    group_size=4,
    prompts=64,
    epochs=2,
    minibatches=4,
    learning_rate=2e-3,
    lr_schedule="linear",
    lr_final=0.1,
    entropy_coef=0.05,
    entropy_coef_final=0.02,
    batch_entropy_coef=0.1,
    batch_entropy_coef_final=0.0,
    total_samples=2400 * 256,
    minutes=8.5,
    eval_every=150,
    eval_prompts=512,
)
_GROWING: dict[str, Any] = {"env_id": "research/GrowingSteps-v0"}
_REVEALED: dict[str, Any] = {
    "env_id": "research/RevealedSteps-v0",
    "env_kwargs": {
        "mask": "syntax",
        "arguments": {"reward": "worked_out", "vocabulary": "number", "reward_scale": 20.0},  # shorter tails err less
    },
    "position_ids": "text",
}
_MIXED: dict[str, Any] = {"level_weights": (1.0,) * 10, "sampler": "uniform"}
_BATCH_ENTROPY_KEPT: dict[str, Any] = {
    "batch_entropy_coef": 0.3,
    "batch_entropy_coef_final": 0.1,
    "sampler": "kinds",
}
# The best of these with its whole schedule.
END_WHOLE = dataclasses.replace(
    END_LONGER, **_GROWING, **_MIXED, total_samples=8000 * 256, minutes=60.0, eval_every=400
)

EXPERIMENTS: dict[str, Experiment] = {
    "nothing": Experiment(
        {"ArithmeticSteps-v0": NOTHING},
        seeds=range(10),
        table=("exact", "four operands", "sampled", "millions to 0.9", "entropy", "batch entropy", "minutes"),
    ),
    "nothing-sampled": Experiment(
        {"ArithmeticSteps-v0": NOTHING_SAMPLED},
        seeds=range(10),
        table=("exact", "four operands", "sampled", "millions to 0.9", "entropy", "batch entropy", "minutes"),
        changed_from=("nothing", "ArithmeticSteps-v0"),
    ),
    "nothing-without": Experiment(
        around(
            NOTHING_SAMPLED,
            {
                "nothing drawn again": {"redraw": 0.0},
                "kinds as they come": {"sampler": "uniform"},
                "neither": {"sampler": "uniform", "redraw": 0.0},
                "4 of 16 tries uniform": {"tries": 16, "random_tries": 4},
                "no uniform tries": {"random_tries": 0},
                "no batch entropy": NO_BATCH_ENTROPY,
            },
        ),
        table=("exact", "four operands", "sampled", "millions to 0.9", "entropy", "batch entropy", "minutes"),
        changed_from=("nothing-sampled", "ArithmeticSteps-v0"),
    ),
    "nothing-gpt2": Experiment(
        {
            "GPT-2's shape": dataclasses.replace(
                NOTHING_SAMPLED,
                layers=12,
                width=768,
                heads=12,
                learning_rate=3e-4,
                mixed_precision="bf16",
                total_samples=300 * 256,
                eval_every=100,
            )
        },
        seeds=(1,),
        table=("exact", "four operands", "sampled", "millions to 0.9", "entropy", "batch entropy", "minutes"),
        changed_from=("nothing-sampled", "ArithmeticSteps-v0"),
    ),
    "nothing-dense": Experiment(
        around(
            dataclasses.replace(
                NOTHING_SAMPLED,
                advantage="gae",
                tries=1,
                random_tries=0,
                epochs=2,
                gae_lambda=0.9,
                vf_coef=0.5,
                learning_rate=1e-3,
                entropy_coef=0.02,
                entropy_coef_final=0.0,
                total_samples=800 * 256,
                eval_every=100,
            ),
            {
                rewards: {"env_kwargs": {"reward": "worked_out", "rewards": rewards}}
                for rewards in ("tokens", "shaped", "end")
            },
        ),
        table=("exact", "sampled", "reward", "entropy", "batch entropy", "minutes"),
    ),
    "nothing-tried": Experiment(
        around(
            dataclasses.replace(
                NOTHING_SAMPLED,
                advantage="group_norm",
                epochs=2,
                learning_rate=1e-3,
                entropy_coef=0.05,
                entropy_coef_final=0.0,
                total_samples=800 * 256,
                eval_every=100,
            ),
            {
                "in units of the state's spread": {},
                "against the state's others": {"advantage": "rloo"},
                "a learned value": {"advantage": "gae", "gae_lambda": 0.9, "vf_coef": 0.5},
            },
        ),
        seeds=(0, 1, 3),
        table=("exact", "four operands", "sampled", "entropy", "batch entropy", "minutes"),
    ),
    "nothing-end": Experiment(
        around(
            END,
            {
                "levels mixed": {},
                "the whole id alone": {"level_weights": ()},
                "learned value": _LEARNED_VALUE,
                "a wide reward": {"env_kwargs": END.env_kwargs | {"reward_scale": 50.0}},
                "levels about half solved": {"level_weights": (), "sampler": "target"},
                "levels that change most": {"level_weights": (), "sampler": "progress"},
                "the missed again": {"redraw": 0.5},
                "flat groups refilled, clip-higher": {
                    "advantage": "group_norm",
                    "epochs": 2,
                    "clip_range_high": 0.28,
                    "refill": 2,
                },
                "learned value, a wide reward": _LEARNED_VALUE
                | {"env_kwargs": END.env_kwargs | {"reward_scale": 50.0}},
                "no mask": {"env_kwargs": {"reward": "worked_out"}},
            },
        ),
        seeds=(0,),
        table=("exact", "by level", "reward", "entropy", "batch entropy", "minutes"),
    ),
    "nothing-end-longer": Experiment(
        around(
            END_LONGER,
            {
                "numbers grow": _GROWING,
                "a reference revealed, successes imitated": _REVEALED | {"imitation_coef": 0.2},
                "numbers grow, successes imitated": _GROWING | {"imitation_coef": 0.2},
                "operands grow": {},
                "numbers grow, mixed": _GROWING | _MIXED,
                "the whole id alone": {"sampler": "uniform"},
                "numbers grow, groups of 16": _GROWING | {"advantage": "rloo", "group_size": 16, "prompts": 16},
                "a reference revealed": _REVEALED,
                "a reference revealed, mixed, successes imitated": _REVEALED | _MIXED | {"imitation_coef": 0.2},
            },
        ),
        table=("exact", "sampled", "by level", "reward", "entropy", "batch entropy", "minutes"),
    ),
    "nothing-end-whole": Experiment(
        around(
            END_WHOLE,
            {
                "numbers grow, mixed": {},
                "batch entropy kept, kinds as often": _BATCH_ENTROPY_KEPT,
                "the same, steps held": _BATCH_ENTROPY_KEPT | {"max_grad_norm": 0.3, "target_kl": 0.02},
            },
        ),
        seeds=range(4),
        table=("exact", "sampled", "by level", "reward", "entropy", "batch entropy", "minutes"),
    ),
    "long": Experiment(
        around(
            LONG,
            {
                "Copy, 40 characters": {},
                "Brackets, 80 of them": {
                    "env_id": "rlfl/Brackets-v0",
                    "env_kwargs": {"length": 80, "rewards": "tokens"},
                    "total_samples": 750 * 128,
                    "eval_every": 250,
                },
            },
        ),
        table=("exact", "sampled", "millions to 0.9", "entropy", "batch entropy", "minutes"),
    ),
    "digits-places": Experiment(
        around(
            PLACES,
            {
                "sums": {},
                "+*, three digits, as in carry": _PRODUCTS,
                "the same, 1,500 updates": _PRODUCTS | {"total_samples": 1500 * 256, "eval_every": 500},
                "half the rate, kinds as often": _PRODUCTS
                | {"learning_rate": 1.5e-3, "sampler": "kinds", "total_samples": 1000 * 256},
            },
        ),
        seeds=range(10),
        table=("exact", "sampled", "three operands", "unseen", "millions to 0.9", "batch entropy", "minutes"),
        changed_from=("digits", "sums"),
    ),
    "digits-units": Experiment(
        around(
            PLACES,
            {
                "units last, in columns": {"position_ids": "columns"},
                "units first, in columns": {"env_id": "research/UnitsFirst-v0", "position_ids": "columns"},
                "units first, aligned": {"env_id": "research/UnitsFirst-v0"},
            },
        ),
        table=("exact", "sampled", "millions to 0.9", "batch entropy", "minutes"),
        changed_from=("digits-places", "sums"),
    ),
    "digits": Experiment(
        around(
            DIGITS,
            {
                "sums": {},
                "sums, as in carry": _GIVEN | {"env_kwargs": THREE_DIGITS | {"rewards": "tokens"}},
                "+*, as in carry": _GIVEN | {"env_kwargs": {"operators": "+*", "rewards": "tokens"}},
                "the same, 24 of 32 tries uniform": _GIVEN
                | {"env_kwargs": {"operators": "+*", "rewards": "tokens"}, "tries": 32, "random_tries": 24},
                "+*, three digits, as in carry": _GIVEN
                | {"env_kwargs": THREE_DIGITS | {"operators": "+*", "rewards": "tokens"}},
            },
        ),
        seeds=range(10),
        table=("exact", "sampled", "unseen", "millions to 0.9", "batch entropy", "different answers", "minutes"),
    ),
}
