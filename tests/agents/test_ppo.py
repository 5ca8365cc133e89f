"""Training: it learns, is reproducible, refuses what cannot work, and stops when it diverges."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlfl_agents.config import PPOConfig
from rlfl_agents.learn import losses
from rlfl_agents.ppo import DivergedError, train
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import METRICS, read_metrics
from rlfl_envs import ConfigError

from .conftest import small_config


def without_clock(run: Path) -> dict[str, str]:
    """The metrics whose values do not depend on the machine's load."""
    return {name: repr(column) for name, column in read_metrics(run).items() if not name.startswith("clock/")}


@pytest.mark.parametrize(
    "changes",
    [
        {"advantage": "rloo", "group_size": 8},
        {"advantage": "group_norm", "group_size": 8, "whiten": False},
        {"advantage": "gae", "group_size": 8, "vf_coef": 0.5, "epochs": 2},
    ],
    ids=["rloo", "group_norm", "gae"],
)
def test_it_learns_to_copy(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Two letters twice, from random weights, in seconds."""
    config = small_config(
        prompts=16,
        total_samples=16 * 8 * 120,
        eval_every=10,
        stop_at_success=0.95,
        width=32,
        batch_entropy_coef=0.1,
        **changes,
    )
    row = train(config, tmp_path / "run", quiet=True)
    assert row["eval/success"] >= 0.95


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    """Bit by bit, but for the clock; another seed gives another run."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(small_config(seed=seed, advantage="gae", minibatches=2, epochs=2), tmp_path / name, quiet=True)
    assert without_clock(tmp_path / "a") == without_clock(tmp_path / "b")
    assert without_clock(tmp_path / "a") != without_clock(tmp_path / "c")


def test_a_batch_may_end_before_the_budget(tmp_path: Path) -> None:
    """Where all completions are shorter than the budget, what follows them is neither sampled nor learned from."""
    config = small_config(env_kwargs={"max_completion_tokens": 200}, advantage="rloo", group_size=4, total_samples=32)
    row = train(config, tmp_path / "run", quiet=True)
    assert 0 < row["length"] < 100


def test_a_run_directory_has_what_a_person_reads(tmp_path: Path) -> None:
    """Every file, and metrics that are complete and finite."""
    run = tmp_path / "run"
    train(small_config(), run, quiet=True)
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.json", "metrics.csv", "samples.jsonl", "tensorboard", "curves.png", "policy", "best"}
    assert not list(run.rglob(".writing-*"))
    metrics = read_metrics(run)
    assert metrics["update"] == [0, 1, 2, 3, 4, 5, 6]
    assert set(METRICS) <= set(metrics)
    for name in METRICS:
        assert all(value == value for value in metrics[name][1:]), name
    assert metrics["samples"][-1] == 192
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert sorted({sample["update"] for sample in samples}) == [0, 2, 4, 6]
    assert set(samples[0]) == {"update", "kind", "prompt", "completion", "reward", "is_success"}
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["update-000004", "update-000006"]


def test_the_policy_loads_as_a_hugging_face_model(tmp_path: Path) -> None:
    """Weights, tokenizer and special tokens survive the round trip."""
    run = tmp_path / "run"
    train(small_config(), run, quiet=True)
    model = AutoModelForCausalLM.from_pretrained(run / "policy")
    tokenizer = AutoTokenizer.from_pretrained(run / "policy")
    found = latest(run)
    assert found is not None
    state = load(found)["model"]
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, state[f"model.{name}"], rtol=0, atol=0)
    assert tokenizer("ab", add_special_tokens=False)["input_ids"] == [3, 4]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert "rlfl/Copy-v0" in (run / "policy" / "README.md").read_text()
    again = train(small_config(model=str(run / "policy"), total_samples=32), tmp_path / "again", quiet=True)
    assert again["update"] == 1


def test_accumulation_changes_nothing(tmp_path: Path) -> None:
    """Four micro-batches with episodes of different lengths take the same steps as one."""
    settings = {
        "env_kwargs": {"alphabet": "ab", "length": 3, "split": "all"},
        "epochs": 2,
        "adam_eps": 1e-5,
        "advantage": "gae",
    }
    for accumulation in (1, 4):
        config = small_config(accumulation=accumulation, **settings)
        train(config, tmp_path / str(accumulation), quiet=True)
    one, four = (load(latest(tmp_path / name))["model"] for name in ("1", "4"))
    for name in one:
        torch.testing.assert_close(one[name], four[name], atol=1e-5, rtol=1e-4)


def test_a_reference_holds_the_policy_near(tmp_path: Path) -> None:
    """ref_kl starts at 0, grows, and the adaptive controller moves its weight."""
    config = small_config(
        kl="adaptive", kl_coef=0.05, kl_target=0.01, kl_horizon=100, total_samples=32 * 20, eval_every=0
    )
    train(config, tmp_path / "run", quiet=True)
    metrics = read_metrics(tmp_path / "run")
    assert metrics["ref_kl"][1] == pytest.approx(0, abs=1e-5)
    assert abs(metrics["ref_kl"][-1]) > 1e-4
    assert metrics["kl_coef"][1] == 0.05
    assert metrics["kl_coef"][-1] != 0.05


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_lora_trains_adapters_only(tmp_path: Path) -> None:
    """The base weights stay; the merged policy and the adapters are both saved."""
    pytest.importorskip("peft")
    base = tmp_path / "base"
    train(small_config(), base, quiet=True)
    run = tmp_path / "run"
    config = small_config(model=str(base / "policy"), lora_rank=2, kl="fixed", advantage="gae", learning_rate=1e-2)
    train(config, run, quiet=True)
    before = AutoModelForCausalLM.from_pretrained(base / "policy").state_dict()
    found = load(latest(run))["model"]
    adapters = [name for name in found if "lora_" in name]
    assert adapters
    for name, weight in found.items():
        if name.endswith("base_layer.weight"):
            plain = name.replace("model.base_model.model.", "").replace("base_layer.", "")
            torch.testing.assert_close(weight, before[plain])
    assert (run / "policy" / "adapter" / "adapter_config.json").exists()
    merged = AutoModelForCausalLM.from_pretrained(run / "policy").state_dict()
    assert any(not torch.equal(merged[name], before[name]) for name in before)


def test_a_steered_coefficient_moves_towards_its_target(tmp_path: Path) -> None:
    """Entropy is above the target, so its weight falls."""
    config = small_config(entropy_coef=0.1, entropy_target=0.1, batch_entropy_coef=0.2, batch_entropy_coef_final=0.0)
    train(config, tmp_path / "run", quiet=True)
    metrics = read_metrics(tmp_path / "run")
    assert metrics["entropy_coef"][-1] < metrics["entropy_coef"][1] == pytest.approx(0.1)
    assert metrics["batch_entropy_coef"][1:] == pytest.approx([0.2 * (1 - i / 6) for i in range(6)])


def test_micro_batches_with_a_wild_ratio_are_skipped(tmp_path: Path) -> None:
    """With a threshold of 0 every one is, and the run says so instead of going on for nothing."""
    with pytest.raises(DivergedError, match="mean ratio above 0"):
        train(small_config(ratio_threshold=0.0), tmp_path / "run", quiet=True)


def test_skipped_micro_batches_do_not_count_in_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means are over what was learned from: with every second micro-batch skipped, a ratio of 1 stays 1."""
    calls = []
    real = losses.clipped_policy_loss

    def wild(*args: object, **options: object) -> object:
        calls.append(1)
        return real(*args, **options)._replace(ratio_mean=torch.tensor(99.0 if len(calls) % 2 else 1.0))

    monkeypatch.setattr(losses, "clipped_policy_loss", wild)
    row = train(small_config(accumulation=2, total_samples=32), tmp_path / "run", quiet=True)
    assert row["skipped"] == 0.5
    assert row["ratio_mean"] == pytest.approx(1.0)


def test_divergence_stops_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN in the loss from the fifth update on: the checkpoint of the fourth stays, the message says what to try."""
    calls = []
    real = losses.clipped_policy_loss

    def poisoned(*args: object, **options: object) -> object:
        calls.append(1)
        found = real(*args, **options)
        return found._replace(loss=found.loss * float("nan")) if len(calls) >= 5 else found

    monkeypatch.setattr(losses, "clipped_policy_loss", poisoned)
    run = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"The loss is nan\. .*--learning-rate.*update-000004"):
        train(small_config(), run, quiet=True)
    assert all(bool(weight.isfinite().all()) for weight in load(latest(run))["model"].values())
    assert read_metrics(run)["update"][-1] == 4


def test_target_kl_ends_the_epochs_early(tmp_path: Path) -> None:
    """With a high learning rate the second epoch is already too far."""
    config = small_config(epochs=8, target_kl=1e-3, learning_rate=0.05, eval_every=0)
    train(config, tmp_path / "run", quiet=True)
    assert min(read_metrics(tmp_path / "run")["minibatches"][1:]) < 8


def test_a_run_stops_once_it_succeeds(tmp_path: Path) -> None:
    """Any success at all is enough here."""
    config = small_config(stop_at_success=0.0, total_samples=32 * 100)
    assert train(config, tmp_path / "run", quiet=True)["update"] == 2
    assert train(config, tmp_path / "run", quiet=True, resume=True)["update"] == 2


def test_time_ends_a_run(tmp_path: Path) -> None:
    """No minutes at all: one update, saved and evaluated."""
    config = small_config(minutes=0.0, total_samples=32 * 3)
    row = train(config, tmp_path / "run", quiet=True)
    assert row["update"] == 1
    assert "eval/success" in row
    assert train(config, tmp_path / "run", quiet=True, resume=True) == row
    more = dataclasses.replace(config, minutes=1.0)
    assert train(more, tmp_path / "run", quiet=True, resume=True)["update"] == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": 9, "minibatches": 2}, "prompts=9 must be a multiple of minibatches"),
        ({"group_size": 1}, "group_size must be 2 or more"),
        ({"temperature": 0.0}, "temperature=0.0 is not allowed"),
        ({"entropy_target": 1.0}, "entropy_target needs a positive entropy_coef"),
        ({"epochs": 0}, "epochs=0 is not allowed"),
        ({"advantage": "grpo"}, "advantage='grpo' is not allowed; allowed: 'gae', 'rloo', 'group_norm'"),
        ({"lr_schedule": "lin"}, "lr_schedule='lin' is not allowed"),
        ({"save_every": 0}, "save_every=0 is not allowed; allowed: 1 or more"),
        ({"eval_prompts": 0}, "eval_prompts=0 is not allowed"),
        ({"kl_target": 0.0}, "kl_target=0.0 is not allowed; allowed: above 0"),
        ({"seed": -1}, "seed=-1 is not allowed; allowed: 0 or more"),
        ({"seed": 2**32}, r"seed=4294967296 is not allowed; allowed: 0 or more, below 2\*\*32"),
        ({"width": 0}, "width=0 is not allowed; allowed: 1 or more"),
        ({"max_grad_norm": -1.0}, r"max_grad_norm=-1\.0 is not allowed; allowed: above 0"),
        ({"target_kl": 0.0}, r"target_kl=0\.0 is not allowed; allowed: above 0"),
        ({"learning_rate": -1.0}, r"learning_rate=-1\.0 is not allowed; allowed: 0 or more"),
        ({"minutes": -1.0}, r"minutes=-1\.0 is not allowed; allowed: 0 or more"),
        ({"gamma": 2.0}, r"gamma=2\.0 is not allowed; allowed: 0 to 1"),
        ({"stop_at_success": 1.5}, r"stop_at_success=1\.5 is not allowed; allowed: 0 to 1"),
        ({"stop_at_success": 0.9, "eval_every": 0}, "eval_every must be above 0"),
        ({"shard": True, "mixed_precision": "fp16"}, "mixed_precision='fp16' must be 'bf16' or 'no'"),
        ({"env_kwargs": {"num_envs": 4}}, "env_kwargs={'num_envs': ...} is not allowed; allowed: the task's arguments"),
    ],
)
def test_settings_that_cannot_work_are_named(changes: dict[str, Any], message: str) -> None:
    """When the config is made, not minutes later."""
    with pytest.raises(ConfigError, match=message):
        small_config(**changes)


def test_a_directory_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    """Without --resume it is refused, and with it only the same run goes on."""
    train(small_config(total_samples=32), tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        train(small_config(), tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match=r"learning_rate=0\.5, but the run .* was begun with 0\.003"):
        train(small_config(learning_rate=0.5), tmp_path / "run", resume=True, quiet=True)
    row = train(small_config(), tmp_path / "run", resume=True, quiet=True)
    assert row["update"] == 6
    assert train(small_config(), tmp_path / "run", resume=True, quiet=True) == row


def test_trackers_get_the_metrics_and_a_missing_one_is_named(tmp_path: Path) -> None:
    """Accelerate would leave out silently what is not installed."""
    with pytest.raises(ConfigError, match="report_to='no such tracker'"):
        train(small_config(report_to=("no such tracker",)), tmp_path / "a", quiet=True)
    train(small_config(report_to=("tensorboard",)), tmp_path / "b", quiet=True)
    assert list((tmp_path / "b" / "rlfl").rglob("events.*"))


def test_settings_survive_json() -> None:
    """What config.json holds makes the same config again."""
    config = PPOConfig(report_to=("wandb",), env_kwargs={"operators": "+*"})
    assert PPOConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
