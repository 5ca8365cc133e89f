"""TokenVectorEnv: the same tasks, natively batched.

Equal to Gymnasium's SyncVectorEnv over scalar environments (observations, rewards, endings, infos, masks), but every
step is a handful of NumPy calls: prompts are recomputed from (stream, episode number), masks are numbers of rows,
and the episodes that end in a step are judged together, through the task's array path where it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rlfl_envs.arguments import check_type, check_value, is_integer
from rlfl_envs.credit import make_credit
from rlfl_envs.env_arguments import (
    check_actions,
    check_autoreset_mode,
    check_group_size,
    check_options,
    check_prompts,
    check_render_mode,
    check_reset_mask,
    check_seeds,
)
from rlfl_envs.episode import Outcome, OutcomeArrays, Prompt
from rlfl_envs.levels import Levels
from rlfl_envs.masks import BatchMasks, TokenMask, make_mask
from rlfl_envs.printing import printable
from rlfl_envs.prompting import make_prompted_task
from rlfl_envs.protocols import ArrayStarts, ArrayTask, StoppingTask
from rlfl_envs.task import Task
from rlfl_envs.token_env import TokenEnv, describe_episode, new_stream, stop_tokens
from rlfl_envs.vector.bank import PromptBank, TextBatch
from rlfl_envs.vector.infos import number_infos, text_infos
from rlfl_envs.vector.next_tokens import NextTokens

__all__ = ["TokenVectorEnv"]

_OPTIONS = ("reset_mask", "group_size", "level", "level_weights", "prompt", "judge_together", "action_mask")
_REASONS = np.array(["", "eos", "stop", "length", "illegal", "wrong"], dtype=object)
_PLAYING, _EOS, _STOP, _LENGTH, _ILLEGAL, _WRONG = range(len(_REASONS))


class TokenVectorEnv(NextTokens):
    """`num_envs` episodes side by side.

    Observations are int64 [N, P + C], actions [N] token ids, rewards float64 [N], endings bool [N]. Seeded with s,
    environment i plays what a `TokenEnv` seeded s + i plays. Infos follow Gymnasium's layout: `action_mask` int8 [N,
    V] at every step (to be read only; it never changes) and, for the episodes that end, `is_success` bool [N],
    `reward_parts` (a dictionary of float64 [N]), `completion`, `finish_reason` and `status`, object [N] of str; each
    key has a bool [N] mask under `_key`.

    Masks are kept as rows of a table, `mask_table`, and a number for each environment, `mask_rows`. Code that stores
    many masks stores the numbers.

    Attributes:
        task: The task.
        tokenizer: Its vocabulary.
        prompt_length: P.
        completion_length: C.
    """

    # The instance's own says which mode it is in.
    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's type)
        **TokenEnv.metadata,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        task: str | Task,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        text_infos: bool = True,
        rewards: str = "end",
        **arguments: Any,
    ) -> None:
        """Constructs the environment.

        Args:
            task: A task, or "module:Class" of one.
            num_envs: N, 1 or more.
            render_mode: None, "ansi" or "human".
            autoreset_mode: Gymnasium's enum or its string: "NextStep", "SameStep" or "Disabled". Under "Disabled" a
                finished environment ignores its action (reward 0, same observation, still terminated) until
                `reset(options={"reset_mask": ...})`.
            text_infos: False is for libraries that record infos as numbers. All infos then have the same keys, without
                texts, and `reward_parts` is one array, float64 [N, parts].
            rewards: "end", "tokens" or "shaped", as in `TokenEnv`.
            **arguments: The fields of the task's config, and `template`, `chat` and `answer`, as in `TokenEnv`.

        Raises:
            ConfigError: An argument is unknown or has a value that is not allowed.
        """
        check_render_mode(render_mode)
        check_type("text_infos", text_infos, bool)
        check_value("num_envs", num_envs, is_integer(num_envs) and num_envs >= 1, "an integer, 1 or more")
        super().__init__(int(num_envs))
        self.render_mode = render_mode
        self._text_infos = text_infos
        self.autoreset_mode = check_autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.task = make_prompted_task(task, arguments)
        self.tokenizer = self.task.tokenizer
        self.prompt_length = self.task.max_prompt_tokens
        self.completion_length = self.task.max_completion_tokens
        self._masks = BatchMasks(make_mask(self.task), self.num_envs)
        self._verdicts = None
        self._credit = make_credit(rewards, self.task, self.num_envs)
        columns, vocab_size = self.prompt_length + self.completion_length, self.tokenizer.vocab_size
        self.single_action_space = gymnasium.spaces.Discrete(vocab_size)
        self.single_observation_space = gymnasium.spaces.MultiDiscrete([vocab_size] * columns)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._stop_tokens = stop_tokens(self.task)
        self._is_eos = np.zeros(vocab_size, dtype=np.bool_)
        self._is_eos[list(self.tokenizer.eos_ids)] = True
        self._batch: ArrayTask = self.task if isinstance(self.task, ArrayTask) else TextBatch(self.task)
        self._array_starts = self.task if isinstance(self.task, ArrayStarts) else None

        n = self.num_envs
        self._streams = np.zeros(n, dtype=np.uint64)
        self._is_seeded = np.zeros(n, dtype=np.bool_)
        self._episodes = np.zeros(n, dtype=np.int64)  # prompts drawn from each stream so far
        self._leaders = np.arange(n)  # whose stream each environment reads
        self._ahead = np.zeros(n, dtype=np.int64)  # where it is in its leader's stream, less its own `_episodes`
        self._levels = Levels(self.task)
        self._bank = PromptBank(self._batch, self._levels, n, 1 if isinstance(self._batch, TextBatch) else 8)
        self._columns = np.full((n, columns), self.tokenizer.pad_id, dtype=np.int64)
        self._data = np.zeros(n, dtype=self._bank.data.dtype)
        self._lengths = np.zeros(n, dtype=np.int64)  # completion tokens without EOS
        self._shows_masks = True
        self._finished = np.ones(n, dtype=np.bool_)
        self._has_begun = np.zeros(n, dtype=np.bool_)
        self._judges_together = False
        self._unjudged = np.zeros(n, dtype=np.int64)  # why an episode ended that waits to be judged; 0 where none does
        self._endings: list[tuple[Outcome | None, str]] = [(None, "")] * n  # kept where there is a render mode
        self._always = np.ones(n, dtype=np.bool_)
        self._always.flags.writeable = False

    # --- reset -----------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Starts episodes in all environments, or in those of a mask.

        Args:
            seed: s, 0 or more, gives environment i the seed s + i; a list has one seed (or None) each; None lets the
                streams go on.
            options: Any of these keys.

                * `reset_mask`: bool [N], which environments to reset; all by default.
                * `group_size`: k, which must divide N. Environment i takes the prompts of environment k * (i // k), at
                  every reset from now on, until a reset without it; each environment's own stream is counted on as if
                  it had been used.
                * `level`: a level of the task, a list of N (None stands for the whole task), or None; and
                  `level_weights`: a weight for each level instead, by which each prompt's key chooses one. They hold at
                  every reset from now on, until a reset of all without them.
                * `prompt`: a prompt's text, or a list of N, to play instead; the streams stay where they are.
                * `judge_together`: whether to judge all episodes of this reset at once, under "Disabled": the step in
                  which the last one ends returns the rewards and infos of all, and the steps before it return none.
                  For rewards that are computed in parallel. Episodes that a later reset of some begins are waited for.
                * `action_mask`: False leaves masks out of infos until the next reset of all environments, for code that
                  reads `mask_table` and `mask_rows`; True by default.

        Returns:
            Observations, int64 [N, P + C], and infos with `action_mask`, 0 for environments that are not reset.

        Raises:
            ConfigError: A seed, or an option's name or value, is not allowed.
            PromptError: A given prompt is not one of this task.
        """
        options = check_options(options, _OPTIONS)
        chosen = check_reset_mask(options.get("reset_mask"), self.num_envs)
        rows, of_all = np.flatnonzero(chosen), "reset_mask" not in options
        together = options.get("judge_together", False)
        begins_anew = bool(chosen.all())
        can_wait = self.autoreset_mode is AutoresetMode.DISABLED and begins_anew
        is_allowed = together is False or (together is True and can_wait)
        check_value("judge_together", together, is_allowed, "a bool; True under 'Disabled', without a reset_mask")
        shows_masks = options.get("action_mask", True if of_all else self._shows_masks)
        check_value("action_mask", shows_masks, isinstance(shows_masks, bool), "a bool")
        seeds = check_seeds(seed, self.num_envs)
        regroups = of_all or "group_size" in options
        group_size = check_group_size(options.get("group_size", 1), self.num_envs)
        leaders = np.arange(self.num_envs) // group_size * group_size if regroups else self._leaders
        given = None
        if "prompt" in options:
            texts = check_prompts(options["prompt"], self.num_envs)
            asked = [texts[row] for row in rows.tolist()]
            read = {text: self.task.parse_prompt(text) for text in dict.fromkeys(asked)}  # a group's is read once
            given = self._batch.arrays_from_prompts([read[text] for text in asked])
        if of_all or {"level", "level_weights"} & set(options):
            are_others = self._levels.choose(options.get("level"), options.get("level_weights"), leaders)
        else:
            are_others = regroups and self._levels.follow(leaders)
        if are_others:
            self._bank.forget()
        # Nothing is wrong with what was asked; until here nothing has changed.
        self._judges_together = together if begins_anew else self._judges_together
        self._unjudged[rows] = 0
        self._shows_masks, self._leaders = shows_masks, leaders
        renewed = self._seed(seeds, rows)
        moved = regroups | renewed | renewed[leaders]
        self._ahead[moved] = (self._episodes[leaders] - self._episodes)[moved]
        if given is None:
            self._begin_next(rows)
        else:
            self._begin(rows, *given)
        self._print_if_human()
        return self._columns.copy(), self._with_numbers({}, chosen) | self._mask_info(chosen)

    def _seed(self, seeds: Sequence[int | None], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Begins the streams of rows that have a seed, and those that they read and nobody seeded; says which, [N]."""
        renewed = np.zeros(self.num_envs, dtype=np.bool_)
        renewed[self._leaders[rows]] = renewed[rows] = True
        renewed &= ~self._is_seeded
        renewed[[row for row in rows.tolist() if seeds[row] is not None]] = True
        for row in np.flatnonzero(renewed).tolist():
            if seeds[row] is not None:
                self._seed_generator(row, seeds[row])
            self._streams[row] = new_stream(self._generator(row)[0])[0]
        self._episodes[renewed], self._is_seeded[renewed] = 0, True
        return renewed

    def _begin_next(self, rows: NDArray[np.intp]) -> None:
        """Starts the next episode of each row's stream."""
        self._begin(rows, *self._bank.take(rows, self._streams[self._leaders], self._episodes + self._ahead))
        self._episodes[rows] += 1

    def draw_ahead(self) -> None:
        """Draws the prompts of the next reset, as far as streams go on: it finds them drawn. Nothing else changes."""
        self._bank.take(np.arange(self.num_envs), self._streams[self._leaders], self._episodes + self._ahead)

    def _begin(self, rows: NDArray[np.intp], columns: NDArray[np.int64], data: NDArray[Any]) -> None:
        goes_on = self._has_begun.copy()
        goes_on[rows] = False
        self._columns[rows, : self.prompt_length] = columns
        self._columns[rows, self.prompt_length :] = self.tokenizer.pad_id
        self._data[rows] = data
        self._lengths[rows] = 0
        self._finished[rows] = False
        self._has_begun[rows] = True
        if self._verdicts is not None:
            self._verdicts.forget(rows)
        if self._credit is not None:
            self._credit.begin(rows)
        if self.render_mode is not None:
            for row in rows.tolist():
                self._endings[row] = (None, "")
        self._masks.begin(rows, np.flatnonzero(goes_on), lambda mask: self._mask_starts(mask, rows))

    def _mask_starts(self, mask: TokenMask, rows: NDArray[np.intp]) -> list[int]:
        """Where the mask begins for each row's prompt."""
        if self._array_starts is not None:
            return [*map(mask.start_at, self._array_starts.start_states(self._data[rows]))]
        return [mask.start(self.prompt(row)) for row in rows.tolist()]

    # --- step ------------------------------------------------------------------------------------------------------

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Appends one token to every episode in play.

        Args:
            actions: integers [N]; those of environments that are finished (or about to autoreset) are ignored.

        Returns:
            Observations int64 [N, P + C], rewards float64 [N], terminated and truncated bool [N] (never truncated),
            infos.

        Raises:
            ActionError: An action is no token id, or their shape is not [N].
            gymnasium.error.ResetNeeded: An environment was never reset.
        """
        if not self._has_begun.all():
            raise ResetNeeded("An environment has no episode yet: call reset() before step().")
        actions = check_actions(actions, self.num_envs, self.tokenizer.vocab_size)
        playing = ~self._finished
        resting = np.flatnonzero(self._finished)
        right = self.judge_tokens(actions[:, None])[:, 0] if self._credit is not None else playing
        reasons = self._write(actions, playing)
        rewards = np.zeros(self.num_envs, dtype=np.float64)
        if self._credit is not None:
            rewards = self._credit.of_tokens(right)
            if self._credit.ends_at_wrong:
                reasons[playing & ~right & (reasons != _ILLEGAL)] = _WRONG
        self._finished = reasons > 0
        to_judge = reasons
        if self._judges_together:
            self._unjudged += reasons
            to_judge = self._unjudged.copy() if (self._unjudged > 0).all() else np.zeros_like(reasons)
            self._unjudged -= to_judge
        ended = np.flatnonzero(to_judge)
        infos: dict[str, Any] = self._end_infos(ended, to_judge, rewards) if len(ended) else {}
        if self.autoreset_mode is AutoresetMode.DISABLED:
            self._finished[resting] = True
        elif self.autoreset_mode is AutoresetMode.NEXT_STEP:
            if len(resting):
                self._begin_next(resting)
        elif len(ended):
            self._print_if_human()  # how they ended; what follows is drawn after the reset
            infos = self._reset_in_same_step(ended, infos)
        terminated = self._finished.copy() if self.autoreset_mode is AutoresetMode.DISABLED else reasons > 0
        infos = self._with_numbers(infos, self._always) | self._mask_info()
        self._print_if_human()
        return self._columns.copy(), rewards, terminated, np.zeros(self.num_envs, dtype=np.bool_), infos

    def _write(self, actions: NDArray[np.int64], playing: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Appends the legal tokens and says why episodes end: a code for each row, 0 where it plays on or rests."""
        legal = self._masks.are_legal(actions)
        is_eos = self._is_eos[actions]
        written = np.flatnonzero(playing & legal)
        self._columns[written, self.prompt_length + self._lengths[written]] = actions[written]
        grown = np.flatnonzero(playing & legal & ~is_eos)
        self._lengths[grown] += 1
        self._masks.follow(grown, actions[grown])
        reasons = np.zeros(self.num_envs, dtype=np.int64)
        reasons[grown] = np.where(self._lengths[grown] == self.completion_length, _LENGTH, _PLAYING)
        for row in grown[self._stop_tokens[actions[grown]]].tolist():
            if cast("StoppingTask", self.task).stops(self.prompt(row), self.current_completion(row)):
                reasons[row] = _STOP
        reasons[playing & is_eos] = _EOS
        reasons[playing & ~legal] = _ILLEGAL
        return reasons

    def _end_infos(
        self, ended: NDArray[np.intp], reasons: NDArray[np.int64], rewards: NDArray[np.float64]
    ) -> dict[str, Any]:
        """Judges the episodes that ended, fills their rewards in and builds their infos."""
        outcome = self._batch.evaluate_arrays(
            self._data[ended], self._columns[ended, self.prompt_length :], self._lengths[ended]
        )
        is_illegal = reasons[ended] == _ILLEGAL
        if is_illegal.any():
            outcome.put(is_illegal, OutcomeArrays.of([self.task.illegal_outcome()], self.task.part_names))
        if self._credit is None:
            rewards[ended] = outcome.reward
        else:
            rewards[ended] += self._credit.at_end(ended, outcome.reward, outcome.is_success)
        if self.render_mode is not None:
            self._keep_endings(ended, reasons, outcome)
        if not self._text_infos:
            return number_infos(self.num_envs, ended, outcome)
        completions = self.tokenizer.decode_rows(self._columns[ended, self.prompt_length :], self._lengths[ended])
        return text_infos(self.num_envs, ended, outcome, completions, _REASONS[reasons[ended]].tolist())

    def _with_numbers(self, infos: dict[str, Any], present: NDArray[np.bool_]) -> dict[str, Any]:
        """Without texts, gives infos the keys that every step has then, 0 where no episode ended."""
        if not self._text_infos:
            infos.setdefault("is_success", np.zeros(self.num_envs, dtype=np.bool_))
            infos.setdefault("reward_parts", np.zeros((self.num_envs, len(self.task.part_names))))
            infos["_is_success"], infos["_reward_parts"] = present.copy(), present.copy()
        return infos

    def _reset_in_same_step(self, ended: NDArray[np.intp], infos: dict[str, Any]) -> dict[str, Any]:
        """Moves what ended to `final_obs` and `final_info`, and starts the next episodes."""
        present = infos["_is_success"]
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in ended.tolist():
            final_obs[row] = self._columns[row].copy()
        final_info = infos | self._mask_info(present)
        self._begin_next(ended)
        self._finished[ended] = False
        return {
            "final_obs": final_obs,
            "_final_obs": present.copy(),
            "final_info": final_info,
            "_final_info": present.copy(),
        }

    def _mask_info(self, present: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """The masks of all environments, or of those that are present, and 0 elsewhere."""
        if not self._shows_masks:
            return {}
        return {
            "action_mask": self._masks.dense(present),
            "_action_mask": self._always if present is None else present.copy(),
        }

    # --- what is in play -------------------------------------------------------------------------------------------

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts in play, [N]. They are read back from the columns: ask for one where one will do."""
        return [self.prompt(row) for row in range(self.num_envs)]

    def prompt(self, row: int) -> Prompt:
        """The prompt that environment `row` plays.

        Raises:
            gymnasium.error.ResetNeeded: It was never reset.
        """
        if not self._has_begun[row]:
            raise ResetNeeded(f"Environment {row} has no prompt yet: call reset() first.")
        if self._data.dtype == object:
            return cast("Prompt", self._data[row])
        return self.task.parse_prompt(self.tokenizer.decode(self._columns[row, : self.prompt_length].tolist()))

    def current_prompt(self, row: int) -> Prompt | None:
        """The prompt that an environment plays; None before its first reset."""
        return self.prompt(row) if self._has_begun[row] else None

    def current_completion(self, row: int) -> str:
        """What an environment's episode has written so far, without EOS."""
        tokens = self._columns[row, self.prompt_length : self.prompt_length + self._lengths[row]]
        return self.tokenizer.decode(tokens.tolist())

    @property
    def rng_state(self) -> dict[str, NDArray[Any]]:
        """Arrays [N] from which later prompts go on exactly: streams uint64, episodes int64, is_seeded bool."""
        return {"streams": self._streams.copy(), "episodes": self._episodes.copy(), "is_seeded": self._is_seeded.copy()}

    @rng_state.setter
    def rng_state(self, state: dict[str, NDArray[Any]]) -> None:
        fits = isinstance(state, dict) and set(state) == set(self.rng_state)
        fits = fits and all(np.shape(values) == (self.num_envs,) for values in state.values())
        check_value("rng_state", state, fits, f"{sorted(self.rng_state)}, arrays of length {self.num_envs}")
        self._streams[:], self._episodes[:] = state["streams"], state["episodes"]
        self._is_seeded[:] = state["is_seeded"]

    def render(self) -> tuple[str, ...] | None:
        """Each episode as `TokenEnv.render` writes it: strings for "ansi", printed for "human"."""
        if self.render_mode == "ansi":
            return tuple(self._description(row) for row in range(self.num_envs))
        return None

    def _description(self, row: int) -> str:
        if not self._has_begun[row]:
            return ""
        return describe_episode(self.prompt(row).text, self.current_completion(row), *self._endings[row])

    def _keep_endings(self, ended: NDArray[np.intp], reasons: NDArray[np.int64], outcomes: OutcomeArrays) -> None:
        for i, row in enumerate(ended.tolist()):
            self._endings[row] = (outcomes.row(i), _REASONS[reasons[row]])

    def _print_if_human(self) -> None:
        if self.render_mode == "human":
            print(printable("\n".join(self._description(row) for row in range(self.num_envs))))
