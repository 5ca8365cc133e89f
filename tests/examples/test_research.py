"""The research scripts: runs in small, from training to the table."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rlfl_agents.presets import preset
from rlfl_agents.run.results import append_result, changed_settings, read_results
from rlfl_envs import ConfigError, PromptError, TokenEnv, load_task

SMALL: dict[str, Any] = {"total_samples": 4 * 64, "layers": 1, "width": 16, "heads": 2, "eval_every": 1}


@pytest.fixture
def script(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The experiments' script, with its results and pictures elsewhere."""
    script = example("research/arithmetic.py")
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "PICTURES", tmp_path)
    return script


@pytest.mark.parametrize(
    ("name", "variant"),
    [("screen", "base"), ("steps", "RLOO"), ("paper", "batch entropy 0.3, lr 8.46e-05")],
)
def test_run(name: str, variant: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run leaves which answers it gives, with a warm start or without, and the table shows it."""
    experiment = script.EXPERIMENTS[name]
    shape = {key: SMALL[key] for key in ("layers", "width", "heads")}
    start = experiment.warm_start and dataclasses.replace(experiment.warm_start, epochs=1, eval_prompts=8, **shape)
    small = dataclasses.replace(
        experiment.variants[variant], prompts=64 // experiment.variants[variant].group_size, **SMALL
    )
    alone = dataclasses.replace(experiment, variants={variant: small}, seeds=(0,), warm_start=start)
    monkeypatch.setitem(script.EXPERIMENTS, name, alone)
    (job,) = script.jobs(name, [variant], [0])
    result = job.work()
    assert sum(count for _, _, count in result["answers"]) == 4000
    assert result["distinct_answers"] == len({given for _, given, _ in result["answers"]})
    assert all(0 <= due <= 99 for due, _, _ in result["answers"])
    solved = sum(count for due, given, count in result["answers"] if due == given) / 4000
    assert abs(solved - result["final"]["eval/success"]) < 0.1
    unseen, right = result["unseen"]
    assert 0 <= right <= unseen <= 4000
    assert 0 <= result["worked_out"] <= solved
    assert result["unearned"] == 0  # neither one-token answers nor the strict reward give what is not deserved
    assert result["settings"].get("model") == ("warm start" if start else None)
    assert ("warm_start" in result) == (start is not None)
    append_result(job.results, {**job.key, **result})
    script.main([name, "--plot-only"])
    assert script.tables()[f"research: {name}"].splitlines()[2].startswith(f"| {variant} | 1 |")
    assert (tmp_path / f"research-answers-{name}.png").exists()


def test_targets(script: ModuleType, tmp_path: Path) -> None:
    """How many seeds reach what was asked is counted; what has not been run has no row."""
    name, variant = script.TARGETS[0][1:3]
    for seed, exact in enumerate((0.991, 0.985)):
        result = {"variant": variant, "seed": seed, "final": {"eval/success": exact}, "minutes": 2.0}
        append_result(tmp_path / f"{name}.jsonl", result)
    (row,) = script.targets().splitlines()[2:]
    assert "| 2 | 0.988 (0.985 to 0.991) | 0.99: 1 of 2 | 2.0 (2.0 to 2.0) | `confirm` |" in row


def test_every_result_belongs_to_a_variant(example: Callable[[str], ModuleType]) -> None:
    """No run is left over from other variants or seeds, and each was run with its variant's settings."""
    script = example("research/arithmetic.py")
    assert {path.stem for path in script.RESULTS.iterdir()} <= set(script.EXPERIMENTS)
    for name, experiment in script.EXPERIMENTS.items():
        for result in read_results(script.RESULTS / f"{name}.jsonl"):
            assert result["seed"] in experiment.seeds
            expected = changed_settings(
                dataclasses.replace(experiment.variants[result["variant"]], seed=result["seed"])
            )
            warm_start = {"model": "warm start"} if experiment.warm_start else {}
            assert result["settings"] == expected | warm_start, (name, result["variant"], result["seed"])


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("confirm", "rlfl/Arithmetic-v0"),
        ("confirm", "rlfl/ArithmeticAnswer-v0"),
        ("nothing-sampled", "rlfl/ArithmeticSteps-v0"),
        ("steps-confirm", "rlfl/ArithmeticSteps-v0"),
    ],
)
def test_preset_is_what_was_confirmed(name: str, env_id: str, script: ModuleType) -> None:
    """`rlfl train ID` and `make demo` learn as the seeds did; with a model, as those that had a warm start."""
    confirmed = script.EXPERIMENTS[name].variants[env_id.removeprefix("rlfl/")]
    model = "warm" if script.EXPERIMENTS[name].warm_start else None
    found = preset(env_id, model=model, eval_prompts=1000, save_every=10**6, threads=0)
    assert found == dataclasses.replace(confirmed, model=model)


def test_the_preset_for_characters_is_what_was_confirmed(script: ModuleType) -> None:
    """`rlfl train rlfl/ArithmeticAnswer-v0 --env-kwargs vocabulary=characters ...` learns as the seeds did."""
    confirmed = script.EXPERIMENTS["digits-places"].variants["sums"]
    arguments = confirmed.env_kwargs
    assert preset(confirmed.env_id, env_kwargs=arguments, eval_prompts=1000, save_every=10**6, threads=0) == confirmed


@pytest.mark.parametrize(
    ("derivation", "is_worked_out"),
    [
        ("2+3+4=5+4=9", True),
        ("2+3+4=2+7=9", True),
        ("2+3+4=9", False),  # two steps at once
        ("2+3+4=5+4", False),  # not done
        ("2+3+4=9+0=9", False),  # the total is right, but no neighbours were added
        ("2+3+4=6+3=9", False),
        ("2+3+4=5+4=8", False),
        ("2+3+4=", False),
        ("2*3+4=6+4=10", False),
    ],
)
def test_is_worked_out(derivation: str, is_worked_out: bool, script: ModuleType) -> None:
    """Only neighbours added, one pair a statement, make a derivation."""
    assert script.is_worked_out(derivation) is is_worked_out


def test_every_variant_can_be_run(script: ModuleType) -> None:
    """Its task takes its arguments; and no question's variant is left out of its experiment."""
    for name, experiment in script.EXPERIMENTS.items():
        for config in experiment.variants.values():
            load_task(config.env_id, **config.env_kwargs)  # raises where an argument is wrong
        assert set(script.HEAT_MAPS[name]) <= set(experiment.variants)
    assert len(script.EXPERIMENTS["screen"].variants) == 1 + sum(map(len, script.SCREEN.values()))


def test_revealed_prompts_go_on_to_a_success(script: ModuleType) -> None:
    """What is left grows from a token to the whole reference, earns full reward, and fits the mask; texts are read."""
    task = load_task("research/RevealedSteps-v0", mask="syntax")
    keys = np.arange(20, dtype=np.uint64)
    left = []
    for level in range(len(task.levels)):
        prompts = task.at_level(level).prompts_from_keys(keys)
        rests = [task.at_level(level).reference_completion(prompt, np.random.default_rng(0)) for prompt in prompts]
        assert [outcome.is_success for outcome in task.evaluate(prompts, rests)] == [True] * 20
        for prompt, rest in zip(prompts, rests, strict=True):
            read = task.parse_prompt(prompt.text)
            assert (read.text, read.data.revealed) == (prompt.text, prompt.data.revealed)
            state = task.syntax.start(read)
            for character in rest:
                state = task.syntax.advance(state, character)
            assert task.syntax.is_final(state)
        assert task.in_split(prompts).all()
        left.append(np.mean([len(task.tokenizer.encode(rest)) for rest in rests]))
    assert left[0] == 1
    assert left == sorted(left)
    whole = load_task("rlfl/ArithmeticSteps-v0", reward="worked_out")
    assert [prompt.text for prompt in prompts] == [prompt.text for prompt in whole.prompts_from_keys(keys)]
    with pytest.raises(PromptError, match="allowed: a prompt of rlfl/ArithmeticSteps-v0 and what follows it"):
        task.parse_prompt("2+3")


def test_growing_numbers_change_nothing_else(script: ModuleType) -> None:
    """The whole is the id's own; a level has five operands, up to its number."""
    task = load_task("research/GrowingSteps-v0")
    keys = np.arange(50, dtype=np.uint64)
    prompts = task.at_level(2).prompts_from_keys(keys)
    operands = [[int(number) for number in prompt.text.removesuffix("=").split("+")] for prompt in prompts]
    assert {len(numbers) for numbers in operands} == {5}
    assert {number for numbers in operands for number in numbers} == {0, 1, 2, 3}
    texts = [prompt.text for prompt in task.prompts_from_keys(keys)]
    assert texts == [prompt.text for prompt in load_task("rlfl/ArithmeticSteps-v0").prompts_from_keys(keys)]


def test_units_first_turns_the_answer_around(script: ModuleType) -> None:
    """Prompts are the id's own, the reward goes by what the answer says, and a token is right where it is the next."""
    arguments = {"max_operand": 500, "max_value": 999, "expression_length": 7, "vocabulary": "characters"}
    task = load_task("research/UnitsFirst-v0", **arguments)
    plain = load_task("rlfl/ArithmeticAnswer-v0", **arguments)
    prompt = task.parse_prompt("120+300=")
    assert task.reference_completion(prompt, np.random.default_rng(0)) == "024"
    right, other = task.evaluate([prompt] * 2, ["024", "420"])
    assert right.is_success
    assert (other.reward, other.is_success) == (plain.evaluate([prompt], ["024"])[0].reward, False)
    keys = np.arange(50, dtype=np.uint64)
    assert [each.text for each in task.prompts_from_keys(keys)] == [each.text for each in plain.prompts_from_keys(keys)]
    env = TokenEnv(task, rewards="tokens")
    env.reset(options={"prompt": "120+300="})
    digits = np.array([[task.tokenizer.encode(digit)[0] for digit in "0123456789"]])
    for due in "024":
        assert np.flatnonzero(env.judge_tokens(digits[0])).tolist() == [int(due)]
        env.step(int(digits[0, int(due)]))
    with pytest.raises(ConfigError, match="mask"):
        load_task("research/UnitsFirst-v0", **arguments, mask="syntax")


def test_what_is_asked_is_run_once_and_elsewhere(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Single variants come first where they are named first; what the repository has a result of is not run again."""
    asked: list[Any] = []
    monkeypatch.setattr(script, "run_missing", lambda jobs, processes: asked.extend([*jobs, processes]))
    append_result(tmp_path / "digits.jsonl", {"variant": "sums", "seed": 1, "minutes": 1.0})
    script.main(
        ["digits:sums", "long", "digits:sums", "--seeds", "0", "1", "--jobs", "3", "--results", str(tmp_path / "o")]
    )
    *jobs, processes = asked
    assert processes == 3
    assert [job.name for job in jobs] == [
        "sums, seed 0",
        "Copy, 40 characters, seed 0",
        "Brackets, 80 of them, seed 0",
        "Copy, 40 characters, seed 1",
        "Brackets, 80 of them, seed 1",
    ]
    assert {job.results for job in jobs} == {tmp_path / "o" / "digits.jsonl", tmp_path / "o" / "long.jsonl"}
    with pytest.raises(SystemExit):
        script.main(["digits:products"])
    assert "no such experiment or variant: digits:products; there are: sums," in capsys.readouterr().err


def test_a_limit_of_minutes_ends_all(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of a run, without a failure: what has no result yet is run the next time."""
    ended: list[int] = []
    over = threading.Event()

    def end(code: int) -> None:
        ended.append(code)
        over.set()

    monkeypatch.setattr(script.os, "_exit", end)
    monkeypatch.setattr(script, "run_missing", lambda *_: over.wait(10))
    script.main(["long", "--minutes", "0.001"])
    assert ended == [0]


def test_countdown(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every variant leaves a line with its curve, and the table has a row for each that was run."""
    script = example("research/countdown.py")
    monkeypatch.setattr(script, "RESULTS", tmp_path / "numbers.jsonl")
    monkeypatch.setattr(script, "PICTURES", tmp_path)
    shape = SMALL | {"prompts": 64, "eval_prompts": 8}
    small = {name: dataclasses.replace(config, **shape) for name, config in script.VARIANTS.items()}
    monkeypatch.setattr(script, "VARIANTS", small)
    for job in script.jobs(["tries", "end"], [0]):
        append_result(job.results, {**job.key, **job.work()})
    script.main(["--plot-only"])
    rows = script.tables()["research: countdown"].splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| tries", "| end"]
    assert (tmp_path / "research-countdown.png").exists()
