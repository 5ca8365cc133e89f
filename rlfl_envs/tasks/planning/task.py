"""Planning: write the actions that lead to a goal."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from rlfl_envs.dice import first_drawn
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task
from rlfl_envs.tasks.planning.automaton import PlanAutomaton
from rlfl_envs.tasks.planning.config import PlanningConfig
from rlfl_envs.tasks.planning.domains import DOMAINS
from rlfl_envs.tasks.planning.fingerprints import fingerprint
from rlfl_envs.tasks.planning.loading import Goal, Loaded, load, worlds_of
from rlfl_envs.tasks.planning.pddl import Atom, PDDLError, read_domain, read_problem
from rlfl_envs.tasks.planning.viability import GoalAutomaton
from rlfl_envs.tasks.planning.worlds import FAR, World
from rlfl_envs.tokenization import Tokenizer, word_tokenizer

__all__ = ["Planning"]

MAX_TEXT = 8192  # characters; anything longer is malformed, so that judging takes bounded time
_WORD = r" ?\(|\)|\n| ?[^\s()]+| "
_BLANK, _NAME = r"[ \t-\r]", r"[^\s()\u212a]"  # of ASCII alone; U+212A would be a k in lower case
_ACTION = re.compile(rf"{_BLANK}*+\({_BLANK}*+({_NAME}++(?:{_BLANK}++{_NAME}++)*+){_BLANK}*+\)")
_PROBLEM = "(define (problem p)"


class Problem(NamedTuple):
    """What judging a completion needs.

    Attributes:
        world: Which world.
        start: The number of the state one is in.
        goal: Where one should be.
        shortest: How many actions the shortest plan has.
    """

    world: str
    start: int
    goal: Goal
    shortest: int


class Planning(Task):
    r"""Write a plan: the actions that lead from a state to a goal.

    Description:
        Classical planning, as STRIPS has it (Fikes & Nilsson 1971), in PDDL. In "blocks" towers are built, in "gripper"
        balls carried between two rooms, in "logistics" packages by trucks and a plane between two cities; in "lights"
        one walks through a row of rooms, into lit ones only, and switches the lamps next door. All states of a world
        are known, and so is the shortest plan from each. A start is any state, a goal what holds in another one.
        Problems that differ in names alone, or in the order of facts, are the same one, and in the same split.

    Prompt:
        The domain, then the problem: its objects, what holds (`:init`) and the goal.

    Observation:
        `MultiDiscrete([V] * (P + C))`, the prompt in the P columns to the left.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then a token for each word and bracket; with `vocabulary="characters"` for each
        character, else a Hugging Face tokenizer's tokens.

    Reward:
        A plan is actions such as `(stack a b)`; spaces and capitals do not matter. Actions are done until one cannot be
        done or read. Let s be the length of the shortest plan from the start, and d from the state reached.
        `reward="plain"` pays (s - d) / s, at least 0, and half of it where an action could not be done or read. So
        facts that hold at the start earn nothing, and neither do cycles. `reward="strict"` pays 1 for
        a success alone. A
        success is where every action can be done and the goal holds at the end; how long the plan is does not matter.
        Parts: `progress` ((s - d) / s), `executed` (the share of actions that could be done), `steps` (how many).
        Status: "ok"; "incomplete" (all is done, the goal does not hold); "inapplicable" (an action cannot be done, or a
        later one not read); "malformed" (not even the first can be read).

    Episode end:
        EOS, or the budget.

    Arguments:
        `domain`, `problems`, `min_size`, `max_size`, `min_steps`, `max_steps`, `domain_shown`, `reward`, and the common
        `split`, `vocabulary`, `mask`, `max_completion_tokens`, `min_completion_tokens`, `level`. Sizes are 3..5 blocks,
        1..4 balls, 3..7 rooms or 1..2 packages; with one ball there are only three problems. Level k has worlds of
        `min_size` + k. Of problems in files every state that can be reached is a start, and there are no levels; those
        with more than 500,000 pairs of state and action, or 2,000 instances of one action, are left out. With
        `mask="syntax"` only actions that are possible in some state of the prompt's world can be written. With any
        arguments there are `judge_tokens` and `rewards="tokens"`: after which tokens a plan can still lead to the goal.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Planning-v0", max_size=3, domain_shown=False)
        >>> prompt = task.parse_prompt(
        ...     "(define (problem p) (:domain blocks)\n(:objects a b c)\n"
        ...     "(:init (table a) (clear a) (table b) (clear b) (table c) (clear c) (empty))\n(:goal (and (on a b))))\n"
        ... )
        >>> outcomes = task.evaluate([prompt] * 3, [" (pick-up a) (stack a b)", " (pick-up a)", ""])
        >>> [outcome.reward for outcome in outcomes]
        [1.0, 0.5, 0.0]

    Known exploits:
        Tried: cycles, actions that undo each other, goals that hold at the start, the prompt's own text, other worlds'
        actions, plans that go on after the goal: each earns what its last state is worth. One action on the way earns
        1/s by chance; `reward="strict"` pays nothing for it.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[PlanningConfig]] = PlanningConfig
    part_names: ClassVar[tuple[str, ...]] = ("progress", "executed", "steps")
    instruction = (
        "Write a plan for the problem below: the actions that lead from the initial state to the goal, in order, each "
        "as its name and its objects in brackets, such as (move x y). Write nothing else."
    )
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "truncation": Accepted("The blank in front is not needed.", success=1.0),
        "mutation": Accepted("Blanks may stand elsewhere, and some actions in another order.", 0.3, 0.3),
        "two answers": Accepted("Another plan may go before one that still works, or undo itself.", success=0.05),
        "spaces": Accepted("Blanks change nothing.", success=1.0),
    }
    config: PlanningConfig
    syntax: PlanAutomaton

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of PlanningConfig by name.

        Raises:
            ConfigError: An argument is not allowed, or a file is not the PDDL that is known here.
            MissingDependencyError: pddlgym is not installed.
        """
        super().__init__(**kwargs)
        config = self.config
        text = self._loaded.text
        self._names = [*self._worlds]
        if config.domain in DOMAINS:
            least, most = config.sizes
            self._names = [str(size) for size in range(least, most + 1)]
        self._domain, self._domain_name = text if config.domain_shown else "", read_domain(text).name
        self._heads = {name: self._head(name) for name in self._worlds}
        size = _count_words if config.vocabulary == "word" else len
        self.syntax = PlanAutomaton({name: self._worlds[name].texts for name in self._names}, size)
        worlds, is_strict = partial(worlds_of, config.domain, config.problems), config.mask == "syntax"
        self.successes = GoalAutomaton(worlds, config.vocabulary == "word", is_strict)

    @property
    def _loaded(self) -> Loaded:
        """What there is once in a process, and does not travel with the task."""
        return load(self.config.domain, self.config.problems)

    @property
    def _worlds(self) -> Mapping[str, World]:
        return self._loaded.worlds

    # --- vocabulary and budgets ------------------------------------------------------------------------------------

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """A word a token, and characters."""
        return {"word": lambda: _tokenizer_of(self._texts()), **super().vocabularies()}

    def _texts(self) -> Iterator[str]:
        """Texts that have every word of a prompt or a plan, as it stands there."""
        yield self._domain
        for name, world in self._worlds.items():
            yield self._heads[name]
            yield f"\n(:init{''.join(map(_written, world.facts))})\n(:goal (and (not))))\n"
            yield "".join(f" {text}" for text in world.texts)

    def budgets(self) -> tuple[int, int]:
        """What the longest prompt takes, and `max_steps` of the longest action."""

        def size(text: str) -> int:
            return len(self.tokenizer.encode(text))

        longest = 0
        for name in self._names:
            world = self._worlds[name]
            sizes = np.array([size(_written(atom)) for atom in world.facts])
            held = np.array([[state >> bit & 1 for bit in range(len(sizes))] for state in world.states])
            goals = [[*_bits(goal.wanted), *_bits(goal.unwanted)] for goal in self._loaded.goals[name]]
            frame = size(self._domain + self._heads[name] + "\n(:init)\n(:goal (and)))\n")
            nots = max(goal.unwanted.bit_count() for goal in self._loaded.goals[name]) * size(" (not)")
            longest = max(longest, frame + int((held @ sizes).max()) + max(int(sizes[g].sum()) for g in goals) + nots)
        action = max(size(f" {text}") for name in self._names for text in self._worlds[name].texts)
        return longest, self.config.max_steps * action

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a world, a start and a goal.

        Raises:
            ConfigError: There are (nearly) no plans of the lengths that were asked for.
        """
        problem = first_drawn(
            lambda: self._draw(rng),
            f"min_steps={self.config.min_steps} and max_steps={self.config.max_steps} leave (nearly) no problem; "
            "allowed: lengths that the domain's plans have.",
        )
        return Prompt(self._write(problem), problem)

    def _draw(self, rng: np.random.Generator) -> Problem | None:
        """Draws one of any length; None where the shortest plan is not as long as asked for."""
        name = self._names[rng.integers(len(self._names))]
        world, goals = self._worlds[name], self._loaded.goals[name]
        start, goal = int(rng.integers(len(world.states))), goals[int(rng.integers(len(goals)))]
        shortest = int(world.distances(*goal)[start])
        is_wanted = self.config.min_steps <= shortest <= self.config.max_steps
        return Problem(name, start, goal, shortest) if is_wanted else None

    def _head(self, name: str) -> str:
        """The beginning of a world's problems: the objects, and the facts that never change."""
        by_kind: dict[str, list[str]] = {}
        for word, kind in self._worlds[name].objects.items():
            by_kind.setdefault(kind, []).append(word)
        objects = "".join(
            f" {' '.join(words)}" + ("" if [*by_kind] == ["object"] else f" - {kind}")
            for kind, words in by_kind.items()
        )
        fixed = "".join(map(_written, sorted(self._worlds[name].fixed)))
        return f"{_PROBLEM} (:domain {self._domain_name})\n(:objects{objects}){fixed and chr(10) + '(:init' + fixed}"

    def _write(self, problem: Problem) -> str:
        world = self._worlds[problem.world]
        head, _, fixed = self._heads[problem.world].partition("\n(:init")
        init = "".join(map(_written, world.atoms(world.states[problem.start])))
        goal = [_written(atom) for atom in world.atoms(problem.goal.wanted)]
        goal += [f" (not{_written(atom)})" for atom in world.atoms(problem.goal.unwanted)]
        return f"{self._domain}{head}\n(:init{fixed}{init})\n(:goal (and{''.join(goal)})))\n"

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts every problem of these worlds from which a plan leads to the goal, and in which it does not hold."""
        if len(text) <= 100_000 and text.startswith(self._domain):
            try:
                problem = self._read(text[len(self._domain) :])
            except PDDLError as error:
                raise PromptError(f"prompt={text!r} is not allowed: {error}") from error
            if problem is not None:
                return Prompt(text, problem)
        raise PromptError(
            f"prompt={text!r} is not allowed; allowed: {'the domain, then ' if self._domain else ''}a problem of "
            f"{self._domain_name!r} with the objects and states of {', '.join(self._names)}, and a goal that can be "
            "met."
        )

    def _read(self, text: str) -> Problem | None:
        found = read_problem(text)
        for name in self._names:
            world = self._worlds[name]
            if found.domain == self._domain_name and world.has(found):
                start, goal = world.number[world.state(found.init)], Goal(*world.goal(found.goal))
                if 0 < (shortest := int(world.distances(*goal)[start])) < FAR:
                    return Problem(name, start, goal, shortest)
        return None

    def problem_key(self, prompt: Prompt) -> str:
        """A hash of start and goal but for names and order."""
        problem: Problem = prompt.data
        world = self._worlds[problem.world]
        groups = [
            ("init", [*world.fixed, *world.atoms(world.states[problem.start])]),
            ("goal", world.atoms(problem.goal.wanted)),
            ("not", world.atoms(problem.goal.unwanted)),
        ]
        return f"{fingerprint(groups, world.objects):016x}"

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Does what is written, as far as it can be done."""
        return [self._judge(prompt.data, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def _judge(self, problem: Problem, completion: str) -> Outcome:
        world = self._worlds[problem.world]
        actions, is_whole = _read_plan(completion)
        state, done = problem.start, 0
        for action in actions:
            number = world.action.get(action)
            after = -1 if number is None else int(world.after[state, number])
            if after < 0:
                break
            state, done = after, done + 1
        left = int(world.distances(*problem.goal)[state])
        progress = max(0.0, (problem.shortest - left) / problem.shortest)
        is_done = is_whole and done == len(actions)
        is_success = is_done and left == 0
        reward = float(is_success) if self.config.reward == "strict" else progress if is_done else progress / 2
        status = "ok" if is_success else "incomplete" if is_done else "inapplicable" if actions else "malformed"
        executed = done / (len(actions) + (not is_whole)) if actions else 0.0
        return Outcome(reward, is_success, {"progress": progress, "executed": executed, "steps": float(done)}, status)

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """A shortest plan, always the same."""
        problem: Problem = prompt.data
        world, state, plan = self._worlds[problem.world], problem.start, []
        distances = world.distances(*problem.goal)
        while distances[state]:
            row = world.after[state]
            action = int(np.flatnonzero((row >= 0) & (distances[row] < distances[state]))[0])
            plan.append(f" {world.texts[action]}")
            state = int(row[action])
        return "".join(plan)

    def constant_completions(self) -> list[str]:
        """Nothing, single actions, and plans for other problems."""
        rng = np.random.default_rng(0)
        plans = [self.reference_completion(self.draw(rng), rng) for _ in range(30)]
        return ["", *(f" {text}" for text in self._worlds[self._names[0]].texts[:30]), *dict.fromkeys(plans)]


def _read_plan(completion: str) -> tuple[list[str], bool]:
    """The actions that can be read from the beginning on, and whether that is all there is."""
    if len(completion) > MAX_TEXT:
        return [], False
    actions, place = [], 0
    while match := _ACTION.match(completion, place):
        actions.append(f"({' '.join(match[1].lower().split())})")
        place = match.end()
    return actions, not completion[place:].strip(string.whitespace)


def _written(atom: Atom) -> str:
    return f" ({' '.join(atom)})"


def _bits(state: int) -> list[int]:
    return [bit for bit in range(state.bit_length()) if state >> bit & 1]


def _count_words(text: str) -> int:
    return len(re.findall(_WORD, text))


def _tokenizer_of(texts: Iterator[str]) -> Tokenizer:
    """A token for each word as it stands in the texts, with the space before it."""
    return word_tokenizer(dict.fromkeys(word for text in texts for word in re.findall(_WORD, text)), _WORD)
