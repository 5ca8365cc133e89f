"""How prompts are put to a model that was taught to follow instructions, and where in its text the answer stands.

A task's own prompt is as short as can be, and says nothing to a model that was not trained on it. `template`, `chat`
and `answer` are arguments of every environment. They change what the model reads and which part of its text is judged;
what a problem is, what a success is and what a syntax allows stay the task's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_type, check_value
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import ConfigError
from rlfl_envs.keys import Keys, mix
from rlfl_envs.protocols import ArrayAutomaton, ArrayTask, ArrayViableTask, Automaton, Grammar
from rlfl_envs.task import Split, Task, make_task
from rlfl_envs.tokenization import Tokenizer, around_message

__all__ = ["PROMPTING", "PromptedTask", "make_prompted_task"]

PROMPTING = ("template", "chat", "answer")
"""The arguments that say how prompts are put; every environment and `load_task` take them."""

_MEASURED = 256  # prompts on which P and C are measured
_MAX_DRAWS = 1000  # a template that makes this many prompts in a row too long will do so with all
# What a task may have besides (see `rlfl_envs.protocols`), and what of it takes all of a completion for the answer.
_OPTIONAL = ("accepted_findings", "baseline_prompts", "every_prompt", "illustrate", "kinds", "kinds_of")
_OPTIONAL_OF_ANSWERS = ("successes", "stop_characters", "stops")


def make_prompted_task(task: str | Task, arguments: Mapping[str, Any]) -> Task:
    """Constructs a task; with `template`, `chat` or `answer` among the arguments, as a `PromptedTask`.

    Raises:
        ConfigError: The reference leads to no task, or an argument is wrong.
    """
    asked = {name: value for name, value in arguments.items() if name in PROMPTING and value not in (None, False)}
    made = make_task(task, {name: value for name, value in arguments.items() if name not in PROMPTING})
    return PromptedTask(made, **asked) if asked else made


class PromptedTask(Task):
    """A task whose prompts are put to the model in a text around them.

    Its prompts are the task's own: `Prompt.text` is what the task wrote, and what `parse_prompt` takes. What the model
    reads is `text_for_model`, and P is what that needs.

    Attributes:
        chat: Whether the vocabulary's chat template stands around each prompt.
        answer: Where the answer stands in a completion, such as "Answer: {answer}"; None where all of it is the answer.
    """

    def __init__(
        self, task: Task, *, template: str | None = None, chat: bool = False, answer: str | None = None
    ) -> None:
        """Puts a text around a task's prompts.

        Args:
            task: The task.
            template: What the model reads, or with `chat` what the user says: "{prompt}" stands for the prompt, once,
                and "{instruction}" for the task's instruction. By default the prompt alone; with `chat`
                "{instruction}", an empty line, "{prompt}", and a line on `answer` where there is one. Special tokens
                that a template spells are read as such where there is no `chat`.
            chat: Writes a conversation by the vocabulary's chat template, in which the user says the above, up to where
                the model answers.
            answer: For models that talk before they answer, such as "Answer: {answer}" or "<a>{answer}</a>". Judged is
                what stands between the last such beginning and the next such end, or the end of the completion, without
                line ends before it and white space behind it. A completion without it earns the lowest reward, with
                status "unanswered". It goes with no mask but "none", and a task's own stopping rule is not asked.

        Raises:
            ConfigError: A value is not allowed.
        """
        check_type("template", template, str | None)
        check_type("chat", chat, bool)
        check_type("answer", answer, str | None)
        check_value("template", template, template is None or template.count("{prompt}") == 1, "a text with {prompt}")
        is_pattern = answer is None or (answer.count("{answer}") == 1 and not answer.startswith("{answer}"))
        check_value("answer", answer, is_pattern, "a text, then {answer}, such as 'Answer: {answer}'")
        if template is not None and "{instruction}" in template and not task.instruction:
            raise ConfigError(f"template={template!r} is not allowed; {task.name} has no instruction to put there.")
        if answer is not None and task.config.mask != "none":
            raise ConfigError(f"answer={answer!r} needs mask='none': under {task.config.mask!r} no model can talk.")
        self.chat, self.answer = chat, answer
        self._task, self._template = task, template
        self.config, self.tokenizer = task.config, task.tokenizer
        self.instruction, self.reward_range = task.instruction, task.reward_range
        self.part_names = task.part_names  # type: ignore[misc]
        self.references_succeed = task.references_succeed  # type: ignore[misc]
        self._levels: dict[int, Self] = {}
        for name in _OPTIONAL if answer is not None else (*_OPTIONAL, *_OPTIONAL_OF_ANSWERS):
            if hasattr(task, name):
                setattr(self, name, getattr(task, name))

    @property
    def syntax(self) -> Automaton | Grammar | None:  # type: ignore[override]
        """The task's; asked for late, since some tasks have to read it from elsewhere."""
        return self._task.syntax

    @cached_property
    def array_successes(self) -> ArrayAutomaton | None:
        """The task's, begun by prompts: they count a budget in tokens, as `successes` alone could not."""
        task = self._task
        arrays = task.array_successes if isinstance(task, ArrayViableTask) else None
        return _OfPrompts(task, arrays) if arrays is not None and isinstance(task, ArrayTask) else None

    @property
    def name(self) -> str:
        """The task's; with `answer`, that too, since single tokens can then not be judged."""
        return self._task.name if self.answer is None else f"{self._task.name} with answer={self.answer!r}"

    @property
    def card(self) -> str:
        """The task's."""
        return self._task.card

    @property
    def on_verdicts(self) -> str:
        """What the task's card says; nothing with `answer`, with which they are never there."""
        return self._task.on_verdicts if self.answer is None else ""

    @property
    def characters(self) -> str:
        """The task's."""
        return self._task.characters

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """The task's."""
        return self._task.vocabularies()

    def changed(self, **arguments: Any) -> Self:
        """The same task with other arguments of its own, its prompts put in the same way."""
        task = self._task.changed(**arguments)
        return type(self)(task, template=self._template, chat=self.chat, answer=self.answer)

    # --- what the model reads --------------------------------------------------------------------------------------

    def instruction_for(self, prompt: Prompt) -> str:
        """The task's."""
        return self._task.instruction_for(prompt)

    def template_for(self, prompt: Prompt) -> str:
        """The template with the instruction filled in: what the model reads, or the user says, but for "{prompt}"."""
        instruction = self.instruction_for(prompt)
        if self._template is not None:
            return self._template.replace("{instruction}", instruction)
        if not self.chat:
            return "{prompt}"
        if self.answer is not None:
            form = self.answer.replace("{answer}", "...")
            instruction = (
                f"{instruction}\nThink first if you like, and end with the answer in this form: {form}".lstrip()
            )
        return f"{instruction}\n\n{{prompt}}" if instruction else "{prompt}"

    def message(self, prompt: Prompt) -> str:
        """What the user says in a conversation: the template with the prompt, without white space at either end."""
        return self.template_for(prompt).replace("{prompt}", prompt.text).strip()

    def text_for_model(self, prompt: Prompt) -> str:
        """The prompt with what stands around it; special tokens are spelled."""
        return "".join(self._parts(prompt))

    def _parts(self, prompt: Prompt) -> tuple[str, str, str]:
        """What the model reads: what stands before the text that is the prompt's, that text, and what stands after."""
        if self.chat:
            before, after = around_message(self.tokenizer)
            return before, self.message(prompt), after
        before, _, after = self.template_for(prompt).partition("{prompt}")
        return before, prompt.text, after

    def _tokens(self, prompt: Prompt) -> list[int]:
        """The prompt's tokens. A chat template writes BOS where it wants it; else it comes first."""
        ids = self.tokenizer.encode_around(*self._parts(prompt))
        bos = self.tokenizer.bos_id
        if not self.chat and bos is not None:
            return [bos, *ids]
        if self.chat and bos is not None and bos == self.tokenizer.pad_id and ids[:1] != [bos]:
            raise ConfigError(
                f"chat=True: vocabulary={self.tokenizer.name!r} pads with BOS, and its chat template does not begin "
                "with it, so that where a prompt begins cannot be seen. Name another pad_token in its "
                "tokenizer_config.json."
            )
        return ids

    def encode_prompt(self, prompt: Prompt) -> NDArray[np.int64]:
        """Returns the columns of what the model reads: int64 [P], left-padded with PAD.

        Raises:
            PromptError: It does not fit into P tokens.
        """
        return self.columns_of(self._tokens(prompt), prompt)

    # --- budgets ---------------------------------------------------------------------------------------------------

    def budgets(self) -> tuple[int, int]:
        """The task's, and as many tokens more as what stands around prompts and answers took on prompts drawn."""
        whole = self._task if self.config.level is None else self._task.changed(level=None)
        rng, encode = np.random.default_rng(0), self.tokenizer.encode
        prompts = [whole.draw(rng) for _ in range(_MEASURED)]
        around = max(len(self._tokens(prompt)) - len(encode(prompt.text)) for prompt in prompts)
        own = whole.max_prompt_tokens - (self.tokenizer.bos_id is not None)
        if self.answer is None:
            return own + around, whole.default_budget
        references = [whole.reference_completion(prompt, rng) for prompt in prompts]
        texts = [text for text in references if text is not None] or [""]
        talk = max(len(encode(self._with_answer(text))) - len(encode(text)) for text in texts)
        return own + around, whole.default_budget + talk

    @cached_property
    def max_prompt_tokens(self) -> int:
        """P, the columns that what the model reads may fill, BOS included."""
        return self._budgets[0]

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """The task's."""
        return self._task.draw(rng)

    def draw_within(self, split: Split, rng: np.random.Generator) -> Prompt:
        """The task's."""
        return self._task.draw_within(split, rng)

    def prompts_from_keys(self, keys: Keys) -> list[Prompt]:
        """The task's; where what the model would read is longer than was measured, that of the next key which fits."""
        prompts = self._task.prompts_from_keys(keys)
        return [self._that_fits(prompt, keys[row : row + 1]) for row, prompt in enumerate(prompts)]

    def _that_fits(self, prompt: Prompt, key: Keys) -> Prompt:
        for _ in range(_MAX_DRAWS):
            if len(self._tokens(prompt)) <= self.max_prompt_tokens:
                return prompt
            key = mix(key)
            (prompt,) = self._task.prompts_from_keys(key)
        around = f"template={self._template!r} with chat={self.chat}"
        raise ConfigError(f"{around} makes all prompts longer than P = {self.max_prompt_tokens}.")

    def parse_prompt(self, text: str) -> Prompt:
        """The task's: takes a prompt without what stands around it."""
        return self._task.parse_prompt(text)

    def problem_key(self, prompt: Prompt) -> str:
        """The task's."""
        return self._task.problem_key(prompt)

    def novelty_key(self, prompt: Prompt) -> str:
        """The task's."""
        return self._task.novelty_key(prompt)

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """The task's."""
        return self._task.in_split(prompts)

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Lets the task judge the answers; where a completion has none, that earns the least."""
        answers = [self.answer_in(completion) for completion in completions]
        found = [row for row, answer in enumerate(answers) if answer is not None]
        judged = self._task.evaluate([prompts[row] for row in found], [answers[row] or "" for row in found])
        low, nothing = self.reward_range[0], dict.fromkeys(self.part_names, 0.0)
        outcomes = [Outcome(low, False, nothing, "unanswered")] * len(completions)
        for row, outcome in zip(found, judged, strict=True):
            outcomes[row] = outcome
        return outcomes

    def answer_in(self, completion: str) -> str | None:
        """The part of a completion that is judged; None where there is none."""
        if self.answer is None:
            return completion
        begin, _, end = self.answer.partition("{answer}")
        _, is_there, rest = completion.rpartition(begin)
        if not is_there:
            return None
        return (rest.partition(end)[0] if end else rest).lstrip("\r\n").rstrip()

    def _with_answer(self, text: str) -> str:
        return text if self.answer is None else self.answer.replace("{answer}", text)

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The task's, in the form that `answer` asks for."""
        reference = self._task.reference_completion(prompt, rng)
        return None if reference is None else self._with_answer(reference)

    def constant_completions(self) -> list[str]:
        """The task's, in the form that `answer` asks for."""
        return [*map(self._with_answer, self._task.constant_completions())]

    def corpus(self) -> Sequence[str]:
        """The task's."""
        return self._task.corpus()

    def illegal_outcome(self) -> Outcome:
        """The task's."""
        return self._task.illegal_outcome()


class _OfPrompts:
    """A task's arrays of successes where environments hold prompts, since a `PromptedTask` has no arrays."""

    def __init__(self, task: ArrayTask, arrays: ArrayAutomaton) -> None:
        self._task, self._arrays = task, arrays

    def start(self, data: NDArray[Any]) -> NDArray[Any]:
        """The states of prompts, object [n]."""
        return self._arrays.start(self._task.arrays_from_prompts(data.tolist())[1])

    def judge(self, states: NDArray[Any], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The arrays'."""
        return self._arrays.judge(states, candidates)

    def advance(self, states: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[Any]:
        """The arrays'."""
        return self._arrays.advance(states, tokens)
