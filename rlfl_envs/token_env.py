"""TokenEnv: a task played one token per step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from rlfl_envs.arguments import check_type, check_value
from rlfl_envs.credit import make_credit
from rlfl_envs.env_arguments import RENDER_MODES, check_candidates, check_options, check_render_mode, check_seed
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import ActionError, ArgumentError
from rlfl_envs.keys import key_at
from rlfl_envs.levels import Levels
from rlfl_envs.masks import Verdicts, make_mask
from rlfl_envs.printing import printable
from rlfl_envs.prompting import make_prompted_task
from rlfl_envs.protocols import ArrayTask, StoppingTask
from rlfl_envs.task import Task
from rlfl_envs.tokenization import Tokenizer

__all__ = ["TokenEnv", "describe_episode", "end_info", "new_stream", "number_info", "stop_tokens", "stops"]

_ALONE = np.zeros(1, dtype=np.intp)  # the only row of what counts in rows; it leads itself


class TokenEnv(gymnasium.Env[NDArray[np.int64], int]):
    """One episode is one prompt, its completion token by token, and the reward at the end.

    Observations are int64 [P + C] over `MultiDiscrete([V] * (P + C))`: the prompt, left-padded to P columns, then the
    completion so far, then PAD. Actions are token ids, `Discrete(V)`. The last step carries the reward and, in its
    info, `is_success`, `reward_parts`, `completion`, `finish_reason` ("eos", "stop", "length", "illegal", or "wrong"
    with rewards for tokens) and `status`; every info has `action_mask`, int8 [V]. Every ending is `terminated`.

    Attributes:
        task: The task.
        tokenizer: Its vocabulary.
        prompt: The prompt in play; None before the first reset.
        prompt_length: P.
        completion_length: C.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 4}  # noqa: RUF012 (Gymnasium's type)

    def __init__(
        self,
        task: str | Task,
        *,
        render_mode: str | None = None,
        text_infos: bool = True,
        rewards: str = "end",
        **arguments: Any,
    ) -> None:
        """Constructs the environment.

        Args:
            task: A task, or "module:Class" of one.
            render_mode: None, "ansi" (`render` returns a text) or "human" (every step prints it).
            text_infos: False is for libraries that record infos as numbers. Every info then has the same keys, arrays
                alone: `action_mask`, `is_success` bool [] and `reward_parts` float64 [parts], 0 until the last step.
            rewards: When they are paid. A token is right if a success can still follow (`judge_tokens`); the others
                need a task that can tell, a `ViableTask`.

                * "end": the task's reward, at the last step.
                * "tokens": each right token earns 1 / C of the task's largest reward, and the token that completes a
                  success the rest of it. The first wrong one ends the episode and earns nothing (`finish_reason`
                  "wrong"; it is written, and `status` and `reward_parts` are what the task says of the completion).
                * "shaped": the task's reward at the last step, and at every step by how much the potential grows: 1 / C
                  of the largest reward for each right token up to the first wrong one, 0 once the episode is over. So
                  without a discount (gamma 1) every episode adds up to its reward at the end, and what is best stays
                  best (Ng, Harada and Russell, 1999).
            **arguments: The fields of the task's config; and `template`, `chat` and `answer`, which say how prompts are
                put to a model that follows instructions, and where its answer stands (see `PromptedTask`).

        Raises:
            ConfigError: An argument is unknown or has a value that is not allowed.
        """
        check_render_mode(render_mode)
        check_type("text_infos", text_infos, bool)
        if "autoreset_mode" in arguments:
            raise ArgumentError(
                f"autoreset_mode={arguments['autoreset_mode']!r} is not allowed; allowed: none, since one environment "
                "does not reset itself. For SyncVectorEnv, write vector_kwargs={'autoreset_mode': ...} in make_vec."
            )
        self.render_mode = render_mode
        self._text_infos = text_infos
        self.task = make_prompted_task(task, arguments)
        self.tokenizer: Tokenizer = self.task.tokenizer
        self.prompt_length = self.task.max_prompt_tokens
        self.completion_length = self.task.max_completion_tokens
        self._mask = make_mask(self.task)
        self._verdicts: Verdicts | None = None  # made when it is first asked
        self._credit = make_credit(rewards, self.task, 1)
        vocab_size = self.tokenizer.vocab_size
        self.action_space = gymnasium.spaces.Discrete(vocab_size)  # type: ignore[assignment]  # ints do as NumPy ints
        self.observation_space = gymnasium.spaces.MultiDiscrete(
            [vocab_size] * (self.prompt_length + self.completion_length)
        )
        self._stop_tokens = stop_tokens(self.task)
        self._levels = Levels(self.task)
        self.prompt: Prompt | None = None
        self._stream: np.ndarray[Any, np.dtype[np.uint64]] | None = None
        self._episode = 0  # prompts taken from the stream so far
        # A task that draws with NumPy draws many prompts for little more than the price of one.
        self._lookahead = 16 if isinstance(self.task, ArrayTask) else 1
        self._drawn: deque[Prompt] = deque()  # prompts drawn ahead
        self._columns = np.full(self.prompt_length + self.completion_length, self.tokenizer.pad_id, dtype=np.int64)
        self._completion: list[int] = []
        self._state = 0
        self._outcome: Outcome | None = None
        self._finish_reason = ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Restarts the stream of prompts, 0 or more; without one the stream goes on.
            options: Any of these keys.

                * `prompt`: a text to play as the prompt; the stream stays where it is.
                * `level`: which of the task's levels this episode's prompt is of; None for the whole task.
                * `level_weights`: a weight for each level, by which the prompt's key chooses one.

        Returns:
            The observation, int64 [P + C], and `{"action_mask": int8 [V]}`.

        Raises:
            ConfigError: The seed, or an option's name or value, is not allowed.
            PromptError: The given prompt is not one of this task.
        """
        seed = check_seed(seed)
        options = check_options(options, ("prompt", "level", "level_weights"))
        given = None
        if "prompt" in options:
            check_value("prompt", options["prompt"], isinstance(options["prompt"], str), "a string")
            given = self.task.parse_prompt(options["prompt"])
            self.task.encode_prompt(given)  # what does not fit is found out while nothing has changed
        if self._levels.choose(options.get("level"), options.get("level_weights"), _ALONE):
            self._drawn.clear()
        super().reset(seed=seed)
        if seed is not None or self._stream is None:
            self._stream, self._episode = new_stream(self.np_random), 0
            self._drawn.clear()
        self.prompt = prompt = self._next_prompt() if given is None else given
        self._columns[: self.prompt_length] = self.task.encode_prompt(prompt)
        self._columns[self.prompt_length :] = self.tokenizer.pad_id
        self._completion = []
        self._mask.keep(np.zeros(0, dtype=np.int64))
        self._state = self._mask.start(prompt)
        self._outcome, self._finish_reason = None, ""
        if self._verdicts is not None:
            self._verdicts.forget(_ALONE)
        if self._credit is not None:
            self._credit.begin(_ALONE)
        self._print_if_human()
        return self._columns.copy(), self._info()

    def _next_prompt(self) -> Prompt:
        """The stream's next."""
        if not self._drawn:
            assert self._stream is not None
            # Levels may change with every reset.
            episodes = self._episode + np.arange(self._lookahead if self._levels.are_whole else 1)
            self._drawn.extend(self._levels.prompts(key_at(self._stream, episodes), np.zeros_like(episodes)))
        self._episode += 1
        return self._drawn.popleft()

    def step(self, action: int) -> tuple[NDArray[np.int64], float, bool, bool, dict[str, Any]]:
        """Appends one token.

        Args:
            action: A token id. An illegal one (PAD, BOS, masked) ends the episode with the lowest reward; it is not
                written.

        Raises:
            ActionError: The action is no token id at all.
            gymnasium.error.ResetNeeded: There is no episode under way.
        """
        if self.prompt is None or self._finish_reason:
            raise ResetNeeded("The episode is over, or none was begun: call reset() before step().")
        if not self._is_token(action):
            raise ActionError(
                f"action={action!r} is not allowed; allowed: an integer 0..{self.tokenizer.vocab_size - 1}."
            )
        token = int(action)
        right = self.judge_tokens(np.array([token])) if self._credit is not None else None
        if not self._mask.row(self._state)[token]:
            self._finish("illegal")
        else:
            self._columns[self.prompt_length + len(self._completion)] = token
            is_wrong = self._credit is not None and self._credit.ends_at_wrong and not right
            is_end = token in self.tokenizer.eos_ids
            if not is_end:
                self._completion.append(token)
                self._state = self._mask.next_state(self._state, token)
            if is_wrong:
                self._finish("wrong")
            elif is_end:
                self._finish("eos")
            elif self._stop_tokens[token] and cast("StoppingTask", self.task).stops(self.prompt, self.completion):
                self._finish("stop")
            elif len(self._completion) == self.completion_length:
                self._finish("length")
        reward = self._reward(right)
        self._print_if_human()
        return self._columns.copy(), reward, self._outcome is not None, False, self._info()

    def _reward(self, right: NDArray[np.bool_] | None) -> float:
        """What a step earns whose token was judged right or wrong, bool [1]; None where only the end is rewarded."""
        outcome = self._outcome
        if self._credit is None or right is None:
            return 0.0 if outcome is None else float(outcome.reward)
        rewards = self._credit.of_tokens(right)
        if outcome is not None:
            rewards += self._credit.at_end(_ALONE, np.array([outcome.reward]), np.array([outcome.is_success]))
        return float(rewards[0])

    def _is_token(self, action: Any) -> bool:
        if isinstance(action, int):  # Gymnasium's own check overflows before 1.4
            return not isinstance(action, bool) and 0 <= action < self.tokenizer.vocab_size
        return bool(self.action_space.contains(action))

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"action_mask": self._mask.row(self._state).copy()}
        if not self._text_infos:
            info |= number_info(self._outcome, self.task.part_names)
        elif self._outcome is not None:
            info |= end_info(self._outcome, self.completion, self._finish_reason)
        return info

    def _finish(self, reason: str) -> None:
        assert self.prompt is not None
        self._finish_reason = reason
        self._outcome = (
            self.task.illegal_outcome()
            if reason == "illegal"
            else self.task.evaluate([self.prompt], [self.completion])[0]
        )

    @property
    def completion(self) -> str:
        """The completion so far, without EOS."""
        return self.tokenizer.decode(self._completion)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which tokens may come next, bool [V] (the name and type that sb3-contrib's MaskablePPO looks for).

        Raises:
            gymnasium.error.ResetNeeded: There was no reset yet.
        """
        if self.prompt is None:
            raise ResetNeeded("No episode was begun: call reset() before action_masks().")
        mask: NDArray[np.bool_] = self._mask.row(self._state).astype(np.bool_)
        return mask

    def judge_tokens(self, candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a success can still follow each of k tokens that may be written next. Nothing moves.

        Args:
            candidates: integers [k], token ids.

        Returns:
            bool [k], as `TokenVectorEnv.judge_tokens` says.

        Raises:
            ConfigError: The task is no `ViableTask`.
            ActionError: A candidate is no token id, or there are no [k] of them.
            gymnasium.error.ResetNeeded: There was no reset yet.
        """
        if self.prompt is None:
            raise ResetNeeded("No episode was begun: call reset() before judge_tokens().")
        tokens = check_candidates(candidates, (), self.tokenizer.vocab_size)[None]
        if self._verdicts is None:
            self._verdicts = Verdicts(self.task, 1)
        prompt = self.prompt
        data = self.task.arrays_from_prompts([prompt])[1] if isinstance(self.task, ArrayTask) else _alone(prompt)
        written, length = self._columns[None, self.prompt_length :], np.array([len(self._completion)])
        right = self._verdicts.judge(tokens, data, lambda _: prompt, written, length)[0]
        legal = self._mask.row(self._state)[tokens[0]] != 0
        found: NDArray[np.bool_] = right & legal & (self._outcome is None)
        return found

    def render(self) -> str | None:
        """Prompt, completion and, at the end, reward and parts: a string for "ansi"; "human" prints at each step."""
        if self.render_mode == "ansi":
            return self._description()
        return None

    def _description(self) -> str:
        if self.prompt is None:
            return ""
        return describe_episode(self.prompt.text, self.completion, self._outcome, self._finish_reason)

    def _print_if_human(self) -> None:
        if self.render_mode == "human":
            print(printable(self._description()))


def _alone(prompt: Prompt) -> NDArray[Any]:
    """The prompt as the vector environment has it where a task has no arrays: object [1]."""
    data = np.empty(1, dtype=object)
    data[0] = prompt
    return data


def new_stream(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Draws the 64-bit number that a stream of prompts is made of; uint64 [1]."""
    return rng.integers(0, 2**64, size=1, dtype=np.uint64)


def stop_tokens(task: Task) -> NDArray[np.bool_]:
    """After which tokens `stops` is to be asked, bool [V]: none where the task has no such rule."""
    if not isinstance(task, StoppingTask):
        return np.zeros(task.tokenizer.vocab_size, dtype=np.bool_)
    characters = set(task.stop_characters)
    return np.array([not characters or not characters.isdisjoint(text) for text in task.tokenizer.token_texts])


def stops(task: Task, prompt: Prompt, completion: str) -> bool:
    """Whether a completion is over by the task's own stopping rule, where it has one."""
    return isinstance(task, StoppingTask) and task.stops(prompt, completion)


def end_info(outcome: Outcome, completion: str, finish_reason: str) -> dict[str, Any]:
    """What the last step's info says about an episode."""
    return {
        "is_success": bool(outcome.is_success),
        "reward_parts": {name: float(value) for name, value in outcome.parts.items()},
        "completion": completion,
        "finish_reason": finish_reason,
        "status": outcome.status,
    }


def number_info(outcome: Outcome | None, part_names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What every step's info says about an episode in numbers: bool [] and float64 [parts], 0 until it is over."""
    parts = [0.0 if outcome is None else outcome.parts[name] for name in part_names]
    return {
        "is_success": np.array(outcome is not None and outcome.is_success, dtype=np.bool_),
        "reward_parts": np.array(parts, dtype=np.float64),
    }


def describe_episode(prompt: str, completion: str, outcome: Outcome | None, finish_reason: str) -> str:
    """Writes an episode for people: prompt and completion, and once it is over the reward and its parts."""
    text = f"{prompt}[{completion}"
    if outcome is None:
        return text
    parts = ", ".join(f"{name}={value:.4g}" for name, value in outcome.parts.items())
    mark = "success" if outcome.is_success else "no success"
    return f"{text}]  reward={outcome.reward:.4g} ({mark}, {outcome.status}, ended by {finish_reason}; {parts})"
