"""A mixture: several tasks as one, of one vocabulary and one P and C."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import ConfigError, PromptError, TokenizationError
from rlfl_envs.protocols import Accepted, AuditedTask, Automaton, Grammar, StoppingTask, ViableTask
from rlfl_envs.task import Split, Task, TaskConfig, make_task, task_class

__all__ = ["Mixture", "MixtureConfig"]


@dataclass(frozen=True)
class MixtureConfig(TaskConfig):
    """The arguments of Mixture.

    Attributes:
        tasks: The parts: an id each, or a dictionary of "id" and arguments, such as `{"id": "rlfl/Copy-v0", "length":
            3}`. Parts cannot have `split`, `vocabulary`, `mask`, `min_completion_tokens` or `level`:
            these are the mixture's.
        weights: How often each is drawn, 0 or more and not all 0; alike by default.
    """

    tasks: tuple[str | dict[str, Any], ...] = ("rlfl/Copy-v0", "rlfl/Brackets-v0")
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("tasks", self.tasks, len(self.tasks) >= 1, "one id or more")
        shares = self.weights if self.weights is not None else (1.0,) * len(self.tasks)
        is_allowed = len(shares) == len(self.tasks) and min(shares) >= 0 and 0 < sum(shares) < math.inf
        check_value("weights", self.weights, is_allowed, f"{len(self.tasks)} numbers of 0 or more, not all 0")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Each part alone, in the order of `tasks`: name the easiest first."""
        return [{"weights": tuple(float(i == part) for i in range(len(self.tasks)))} for part in range(len(self.tasks))]


class Of(NamedTuple):
    """What a prompt of a mixture carries: which part it is of, and that part's own prompt."""

    part: int
    prompt: Prompt


class Mixture(Task):
    """Several tasks as one: each prompt is of one of them, and so is its reward.

    Description:
        For a policy that should learn several languages at once, and for curricula: the parts are the mixture's levels,
        so that `reset(options={"level_weights": ...})` changes how often each is drawn. P and C are the largest of the
        parts', their own `max_completion_tokens` included.

    Prompt:
        A part is drawn by `weights`, then a prompt of it. The text does not say which: parts whose prompts look alike
        cannot be told apart, and a text that several parts accept is taken to be the first's.

    Action:
        The vocabulary "characters" has every character that a part's own has; otherwise it is a Hugging Face
        tokenizer's. Where all parts have them, there are `judge_tokens` and `rewards="tokens"`.

    Reward:
        The part's. The range runs from the lowest reward of any part to the highest. Reward parts: those of all parts,
        0 where a part has none of that name; and `part`, the part's number, from 0.

    Arguments:
        `tasks`, `weights`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Level k has the k-th part alone. `mask="syntax"` needs a syntax in every part,
        and none that is a grammar for llguidance, as Sql's is. HumanEval and the games cannot be parts: they end
        episodes by rules of their own.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[MixtureConfig]] = MixtureConfig
    config: MixtureConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of MixtureConfig by name; raises ConfigError and UnknownIdError."""
        super().__init__(**kwargs)
        config = self.config
        self.parts = [self._part(entry) for entry in config.tasks]
        self._weights = np.array(config.weights or (1.0,) * len(self.parts))
        names = dict.fromkeys(name for part in self.parts for name in part.part_names)
        self.part_names = (*names, "part")  # type: ignore[misc]
        self.references_succeed = all(part.references_succeed for part in self.parts)  # type: ignore[misc]
        self.instruction = "\n".join(dict.fromkeys(part.instruction for part in self.parts if part.instruction))
        lows, highs = zip(*(part.reward_range for part in self.parts), strict=True)
        self.reward_range = (min(lows), max(highs))
        if any(isinstance(part, StoppingTask) for part in self.parts):
            raise ConfigError(f"tasks={config.tasks!r} cannot be mixed: one of them has a stopping rule of its own.")
        automata = [part.syntax for part in self.parts if part.syntax and not isinstance(part.syntax, Grammar)]
        if len(automata) == len(self.parts):
            self.syntax = MixtureAutomaton(automata)
        # What a success is may depend on the budget, which is the mixture's.
        budget = {"max_completion_tokens": self.max_completion_tokens}
        viable = [part.changed(**budget) for part in self.parts if isinstance(part, ViableTask)]
        successes = [part.successes for part in viable if isinstance(part, ViableTask)]
        if len(successes) == len(self.parts):
            self.successes = MixtureAutomaton(successes)

    @classmethod
    def arguments_that_load(cls, arguments: Mapping[str, Any]) -> list[str]:
        """Those of its own; and `tasks`, where a part has such arguments, or an id whose module would be imported."""
        parts = arguments.get("tasks", ())
        loads = not isinstance(parts, (list, tuple)) or any(map(_loads, parts))
        return [*super().arguments_that_load(arguments), *(["tasks"] if loads else [])]

    def _part(self, entry: str | dict[str, Any]) -> Task:
        """Makes a part, which is played in the mixture's vocabulary and split."""
        given = {"id": entry} if isinstance(entry, str) else dict(entry)
        id = given.pop("id", None)
        try:
            arguments = {**gymnasium.spec(str(id)).kwargs, **given}
            task = arguments.pop("task")
        except (gymnasium.error.Error, KeyError) as error:  # no such id, or not one of a task
            raise ConfigError(f"tasks: {entry!r} is not allowed; allowed: an id, or {{'id': ..., ...}}.") from error
        shared = {"vocabulary": self.config.vocabulary, "split": self.config.split, "mask": self.config.mask}
        clash = sorted({*shared, "min_completion_tokens", "level", "task"} & set(given))
        check_value("tasks", entry, not clash, f"arguments but {', '.join(clash)}, which a part cannot have")
        return make_task(task, {**arguments, **shared})

    @property
    def characters(self) -> str:
        """All characters of all parts."""
        return "".join(dict.fromkeys("".join(part.characters for part in self.parts)))

    def budgets(self) -> tuple[int, int]:
        """The largest of the parts'."""
        begins = self.parts[0].tokenizer.bos_id is not None
        return (
            max(part.max_prompt_tokens for part in self.parts) - begins,
            max(part.max_completion_tokens for part in self.parts),
        )

    # --- prompts ---------------------------------------------------------------------------------------------------

    def instruction_for(self, prompt: Prompt) -> str:
        """The part's."""
        return self._own(prompt).instruction_for(prompt.data.prompt)

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a part, then a prompt of it."""
        return self.draw_within("all", rng)

    def draw_within(self, split: Split, rng: np.random.Generator) -> Prompt:
        """Draws a part, then a prompt of it."""
        part = int(rng.choice(len(self.parts), p=self._weights / self._weights.sum()))
        return _of(part, self.parts[part].draw_within(split, rng))

    def parse_prompt(self, text: str) -> Prompt:
        """Takes the first part that accepts the text."""
        for number, part in enumerate(self.parts):
            with contextlib.suppress(PromptError, TokenizationError):
                return _of(number, part.parse_prompt(text))
        raise PromptError(f"prompt={text!r} is not allowed; allowed: a prompt of one of the mixture's tasks.")

    def problem_key(self, prompt: Prompt) -> str:
        """The part's, after its number."""
        return f"{prompt.data.part}:{self._own(prompt).problem_key(prompt.data.prompt)}"

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """As the parts say; bool [n]."""
        return np.array([self._own(prompt).in_split([prompt.data.prompt])[0] for prompt in prompts], dtype=np.bool_)

    def _fits(self, prompt: Prompt) -> bool:
        """Whether the part's budgets hold it, where they were measured."""
        return self._own(prompt)._fits(prompt.data.prompt)

    def novelty_key(self, prompt: Prompt) -> str:
        """The part's, after its number."""
        return f"{prompt.data.part}:{self._own(prompt).novelty_key(prompt.data.prompt)}"

    def _own(self, prompt: Prompt) -> Task:
        part: int = prompt.data.part
        return self.parts[part]

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Lets each part judge its own, all at once."""
        outcomes: list[Outcome] = [self.illegal_outcome()] * len(prompts)
        for number, part in enumerate(self.parts):
            rows = [row for row, prompt in enumerate(prompts) if prompt.data.part == number]
            own = part.evaluate([prompts[row].data.prompt for row in rows], [completions[row] for row in rows])
            for row, outcome in zip(rows, own, strict=True):
                parts = {**dict.fromkeys(self.part_names, 0.0), **outcome.parts, "part": float(number)}
                outcomes[row] = Outcome(outcome.reward, outcome.is_success, parts, outcome.status)
        return outcomes

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The part's."""
        return self._own(prompt).reference_completion(prompt.data.prompt, rng)

    def constant_completions(self) -> list[str]:
        """All parts'."""
        return [*dict.fromkeys(text for part in self.parts for text in part.constant_completions())]

    @property
    def accepted_findings(self) -> dict[str, Accepted]:
        """All parts': of each attack the most that any accepts."""
        found: dict[str, Accepted] = {}
        for part in self.parts:
            for attack, known in part.accepted_findings.items() if isinstance(part, AuditedTask) else ():
                other = found.get(attack, known)
                why = known.why if known.why == other.why else f"{other.why} {known.why}"
                found[attack] = Accepted(why, max(known.unearned, other.unearned), max(known.success, other.success))
        return found

    def corpus(self) -> list[str]:
        """All parts'."""
        return [text for part in self.parts for text in part.corpus()]


def _of(part: int, prompt: Prompt) -> Prompt:
    return Prompt(prompt.text, Of(part, prompt))


def _loads(entry: Any) -> bool:
    """Whether a part would make code, a file or a download be loaded."""
    given = {"id": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
    id = given.pop("id", None)
    if not isinstance(id, str) or ":" in id or "task" in given or id not in gymnasium.registry:
        return True
    task = gymnasium.spec(id).kwargs.get("task")
    return not isinstance(task, str) or bool(task_class(task).arguments_that_load(given))


class MixtureAutomaton:
    """Well-formed is what the prompt's own part says; a state is the part and its automaton's state."""

    def __init__(self, automata: Sequence[Automaton]) -> None:
        """Takes one automaton for each part."""
        self._automata = automata
        self.alphabet = "".join(dict.fromkeys("".join(automaton.alphabet for automaton in automata)))

    def start(self, prompt: Prompt) -> Hashable:
        """The part's first state."""
        part, own = prompt.data
        return part, self._automata[part].start(own)

    def advance(self, state: Any, character: str) -> Hashable | None:
        """Reads one character, if the part knows it."""
        part, own = state
        automaton = self._automata[part]
        following = automaton.advance(own, character) if character in automaton.alphabet else None
        return None if following is None else (part, following)

    def is_final(self, state: Any) -> bool:
        """Whether the part's automaton may end here."""
        part, own = state
        return bool(self._automata[part].is_final(own))

    def characters_left(self, state: Any) -> int:
        """As the part's automaton counts."""
        part, own = state
        return int(self._automata[part].characters_left(own))
