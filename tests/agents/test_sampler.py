"""The sampler: which prompts are chosen, what is remembered, and that a run with one resumes bit by bit."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlfl_agents.config import PPOConfig
from rlfl_agents.ppo import train
from rlfl_agents.rollout.sampler import Sampler
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import read_metrics
from rlfl_envs import ConfigError, Task, load_task

from .conftest import small_config

STEPS: Task = load_task("rlfl/ArithmeticSteps-v0")


def sampler(task: Task = STEPS, **changes: Any) -> Sampler:
    """Of runs with 64 prompts an update."""
    return Sampler(PPOConfig(**({"prompts": 64} | changes)), task)


def source(seed: int = 0) -> torch.Generator:
    """What is random in a run."""
    return torch.Generator().manual_seed(seed)


def operands(texts: list[str]) -> Counter[int]:
    """How many prompts have how many operands."""
    return Counter(text.partition("=")[0].count("+") + 1 for text in texts)


def observe(of: Sampler, solved: list[float], *, is_more: bool = False) -> None:
    """Tells a sampler of arithmetic which share of each prompt's completions solved it."""
    assert of._played is not None
    kinds = of.kinds_of([STEPS.parse_prompt(text) for text in of._played.texts])
    of.observe(torch.tensor(solved), torch.from_numpy(kinds), is_more=is_more)


def test_without_settings_the_environments_draw() -> None:
    """Nothing is chosen, and the generator stays as it was, so that older runs stay what they were."""
    generator = source()
    before = generator.get_state().tolist()
    assert sampler().choose(generator) is None
    assert generator.get_state().tolist() == before


def test_prompts_of_the_levels_by_weight() -> None:
    """Two levels in the proportion asked for, and none of the others; the success of each is told."""
    chosen = sampler(level_weights=(0.0, 3.0, 0.0, 0.0, 1.0), prompts=2000)
    counts = operands(chosen.choose(source()) or [])
    assert set(counts) == {2, 3, 4, 5}
    assert counts[2] + counts[3] == pytest.approx(1500, abs=80)
    observe(chosen, [1.0] * 2000)
    assert chosen.metrics["level/1"] == chosen.metrics["level/4"] == 1.0
    assert "level/0" not in chosen.metrics


def test_kinds_come_as_often_as_eight_times_as_many_prompts_allow() -> None:
    """One prompt in twenty has four operands; eight times that are chosen, or half where there are enough."""
    whole = operands([prompt.text for prompt in STEPS.sample_prompts(np.random.default_rng(0), 4000)])
    share = whole[4] / 4000
    counts = operands(sampler(sampler="kinds", prompts=1000).choose(source()) or [])
    assert counts[4] == pytest.approx(1000 * min(0.5, 8 * share), abs=60)
    even = operands(sampler(sampler="kinds", level_weights=(0.0, 0.0, 0.0, 1.0, 0.0)).choose(source()) or [])
    assert even[4] == 32


def test_chosen_prompts_are_of_training() -> None:
    """None is held out, whatever is asked of levels and kinds."""
    chosen = sampler(sampler="kinds", level_weights=(1.0,) * 5, prompts=400).choose(source()) or []
    assert STEPS.in_split([STEPS.parse_prompt(text) for text in chosen]).all()


def test_what_was_missed_is_drawn_again_until_it_is_solved() -> None:
    """A miss is a prompt that at most half of its completions solve; the share asked for is never exceeded."""
    chosen, generator = sampler(redraw=0.5), source()
    first = chosen.choose(generator) or []
    observe(chosen, [0.5] * 10 + [0.0] * 10 + [0.75] * 44)
    second = chosen.choose(generator) or []
    assert sorted(second[:20]) == sorted(first[:20])
    assert not set(second[20:]) & set(first[:20])
    observe(chosen, [1.0] * 20 + [0.0] * 44)
    third = chosen.choose(generator) or []
    assert len(set(third[:32])) == 32
    assert set(third[:32]) <= set(second[20:])
    assert len(third) == 64


def test_what_is_drawn_again_does_not_count_as_success() -> None:
    """Success by kind is that of prompts drawn afresh: those missed before would make it look lower."""
    chosen, generator = sampler(redraw=0.5), source()
    chosen.choose(generator)
    observe(chosen, [0.0] * 64)
    assert set(chosen.metrics.values()) == {0.0}
    chosen.choose(generator)
    observe(chosen, [0.0] * 32 + [1.0] * 32)
    assert set(chosen.metrics.values()) == {1.0}


def test_success_is_of_all_that_an_update_sampled() -> None:
    """What refills an update is told together with what it began with; the next update begins anew."""
    chosen, generator = sampler(level_weights=(0.0, 0.0, 0.0, 0.0, 1.0)), source()
    chosen.choose(generator)
    observe(chosen, [0.0] * 64)
    chosen.choose(generator)
    observe(chosen, [1.0] * 64, is_more=True)
    assert chosen.metrics["level/4"] == 0.5
    chosen.choose(generator)
    observe(chosen, [0.25] * 64)
    assert chosen.metrics["level/4"] == 0.25


def test_what_is_remembered_is_bounded() -> None:
    """The oldest misses are forgotten."""
    chosen, generator = sampler(redraw=0.1), source()
    for _ in range(30):
        chosen.choose(generator)
        observe(chosen, [0.0] * 64)
    assert len(chosen.state_dict()["missed"]) == 8 * 64


@pytest.mark.parametrize(
    "changes",
    [{"sampler": "target", "redraw": 0.25}, {"sampler": "progress"}, {"sampler": "kinds", "redraw": 0.5}],
)
def test_a_restored_sampler_chooses_the_same(changes: dict[str, Any]) -> None:
    """Through its state alone."""
    kept, restored = sampler(**changes), sampler(**changes)
    generator = source()
    for success in (1.0, 0.0, 1.0):
        kept.choose(generator)
        observe(kept, [success] * 40 + [0.0] * 24)
    restored.load_state_dict(kept.state_dict())
    assert kept.choose(source(1)) == restored.choose(source(1))


def test_what_a_new_process_cannot_read_is_forgotten() -> None:
    """Puzzles are drawn by number: a run that goes on elsewhere must not ask for texts that are unknown there."""
    kept, restored = sampler(redraw=0.5), sampler(redraw=0.5)
    texts = kept.choose(source()) or []
    observe(kept, [0.0] * 64)
    state = kept.state_dict()
    restored.load_state_dict(state | {"missed": ["a puzzle", *state["missed"]]})
    assert restored.state_dict()["missed"] == texts


@pytest.mark.parametrize("changes", [{"sampler": "target"}, {"level_weights": (1.0, 0.0), "redraw": 0.5}])
def test_a_run_goes_on_bit_by_bit(changes: dict[str, Any], tmp_path: Path) -> None:
    """Half a run resumed has the weights and the metrics of an unbroken one; levels are told apart in metrics.csv."""
    settings = changes | {
        "env_kwargs": {"alphabet": "abc", "length": 2, "split": "all"},
        "prompts": 16,
        "group_size": 2,
    }
    whole, half = (small_config(**settings, total_samples=32 * updates) for updates in (4, 2))
    train(whole, tmp_path / "unbroken", quiet=True)
    train(half, tmp_path / "broken", quiet=True)
    train(whole, tmp_path / "broken", resume=True, quiet=True)
    one, two = (load(latest(tmp_path / name) or tmp_path) for name in ("unbroken", "broken"))
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert one["sampler"] == two["sampler"]
    rows = [read_metrics(tmp_path / name) for name in ("unbroken", "broken")]
    assert repr(rows[0]["level/0"]) == repr(rows[1]["level/0"])
    assert len(rows[0]["level/0"]) == 5
    events = EventAccumulator(str(tmp_path / "unbroken" / "tensorboard")).Reload()
    told = {event.step: event.value for event in events.Scalars("level/0")}
    expected = {update: value for update, value in enumerate(rows[0]["level/0"]) if not math.isnan(value)}
    assert told == pytest.approx(expected)
    assert expected


def test_redrawing_helps_where_what_is_missed_is_rare(tmp_path: Path) -> None:
    """With a value head and with tries alike: a run takes the setting, and its prompts are those that were missed."""
    for name, changes in {
        "value": {"advantage": "gae", "group_size": 1},
        "tries": {
            "advantage": "tries",
            "tries": 2,
            "env_kwargs": {"alphabet": "ab", "length": 2, "split": "all", "rewards": "tokens"},
        },
    }.items():
        train(small_config(**changes, redraw=0.5), tmp_path / name, quiet=True)
        missed = load(latest(tmp_path / name) or tmp_path)["sampler"]["missed"]
        assert set(missed) <= {"aa", "ab", "ba", "bb"}
        assert len(missed) > 0


@pytest.mark.parametrize(
    ("task", "changes", "words"),
    [
        ("rlfl/Copy-v0", {"sampler": "kinds"}, "sampler='kinds' needs kinds of prompts, which Copy does not tell"),
        ("rlfl/HumanEval-v0", {"sampler": "target"}, "sampler='target' is not allowed; .* fewer than two levels"),
        ("rlfl/HumanEval-v0", {"level_weights": (1.0,)}, r"level_weights=\(1.0,\) is not allowed; allowed: \(\)"),
        ("rlfl/ArithmeticSteps-v0", {"level_weights": (1.0,)}, "allowed: 5 numbers of 0 or more, not all 0"),
        ("rlfl/ArithmeticSteps-v0", {"level_weights": (0.0,) * 5}, "allowed: 5 numbers of 0 or more, not all 0"),
    ],
)
def test_what_a_task_does_not_have_is_refused(task: str, changes: dict[str, Any], words: str) -> None:
    """By name, before anything is learned."""
    with pytest.raises(ConfigError, match=words):
        sampler(load_task(task), **changes)


@pytest.mark.parametrize(
    ("id", "changes", "words"),
    [
        ("rlfl/Copy-v0", {"sampler": "target"}, "allowed: 'uniform': level=1 plays one level alone"),
        ("rlfl/Copy-v0", {"level_weights": (1.0, 1.0)}, r"allowed: \(\): level=1 plays one level alone"),
        ("rlfl/Arithmetic-v0", {"sampler": "progress"}, "allowed: 'uniform' or 'kinds': level=1 plays one level alone"),
    ],
)
def test_within_a_level_there_are_no_others(id: str, changes: dict[str, Any], words: str) -> None:
    """The argument that leaves one level is named, and of other samplers only those that the task has."""
    with pytest.raises(ConfigError, match=words):
        sampler(load_task(id, level=1), **changes)


def test_two_rules_for_levels_are_refused() -> None:
    """A rule that finds weights takes none."""
    with pytest.raises(ConfigError, match=r"sampler='target' finds weights itself: level_weights must be \(\)"):
        PPOConfig(sampler="target", level_weights=(1.0, 2.0))
