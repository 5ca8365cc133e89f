"""Stable-Baselines3: the environments as a `VecEnv`, with the tokens as ids.

SB3 turns the `MultiDiscrete` observations of `gymnasium.make` into one-hot floats, V for each column, and its
`DummyVecEnv` steps one environment after the other. Here observations stay ids, for the extractors in `sb3_features` to
embed, and all environments step at once.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value
from rlfl_envs.cache import digest
from rlfl_envs.env_arguments import check_options, check_seed
from rlfl_envs.errors import ConfigError, MissingDependencyError, how_to_install
from rlfl_envs.printing import printable
from rlfl_envs.registration import find_id, load_task
from rlfl_envs.tokenization import Tokenizer
from rlfl_envs.vector import TokenVectorEnv

try:
    from stable_baselines3.common.vec_env import VecEnv, VecMonitor
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn
except ImportError as error:
    raise MissingDependencyError(
        f"rlfl_envs.integrations.sb3 needs Stable-Baselines3: {how_to_install('sb3')}"
    ) from error

__all__ = ["TokenSpace", "TokenVecEnv", "make_sb3"]

_END_KEYS = ("is_success", "completion", "finish_reason", "status")
_METHODS = ("action_masks", "render")  # what the native environment answers for all at once


def make_sb3(
    id: str, num_envs: int = 1, *, seed: int | None = None, render_mode: str | None = None, **arguments: Any
) -> VecMonitor:
    """Makes the environments of an id, ready for any of SB3's algorithms.

    Args:
        id: Such as "rlfl/Copy-v0".
        num_envs: N, 1 or more.
        seed: s seeds environment i with s + i at the first reset; None seeds them at random.
        render_mode: None, "ansi" or "human".
        **arguments: `rewards`, and the task's, as `gymnasium.make(id, **arguments)` takes them.

    Returns:
        A `TokenVecEnv` within a `VecMonitor`, which tells SB3 the return and the length of each episode.

    Raises:
        UnknownIdError: No such id.
        ConfigError: An argument is unknown or has a value that is not allowed.
    """
    if "n_envs" in arguments:
        raise ConfigError(f"n_envs={arguments['n_envs']!r} is not allowed; allowed: num_envs, as Gymnasium calls it.")
    seed = check_seed(seed)
    mode = arguments.pop("autoreset_mode", "SameStep")  # no choice, but refused by name rather than ignored
    text_infos = arguments.pop("text_infos", True)  # likewise
    check_value("text_infos", text_infos, text_infos is True, "True, as SB3 takes infos as they are")
    native = TokenVectorEnv(
        load_task(id, **arguments),
        num_envs,
        render_mode=render_mode,
        autoreset_mode=mode,
        rewards=arguments.get("rewards", "end"),
    )
    native.spec = copy.deepcopy(gymnasium.spec(find_id(id)))
    native.spec.kwargs |= arguments
    envs = TokenVecEnv(native)
    if seed is not None:
        envs.seed(seed)
    return VecMonitor(envs)


class TokenSpace(gymnasium.spaces.Box):
    """Token ids as SB3 leaves them alone: a `Box` of int64 [P + C], 0..V-1.

    Two are equal where their vocabularies are, so that SB3 refuses a saved model on an id with other tokens.

    Attributes:
        prompt_length: P, how many of the columns are the prompt's, whose text is at their end.
        vocab_size: V.
        pad_id: The token that stands where there is no text.
        vocabulary: A digest of the tokens.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_length: int, completion_length: int) -> None:
        """Takes the vocabulary and the numbers of columns, P and C."""
        super().__init__(0, tokenizer.vocab_size - 1, (prompt_length + completion_length,), np.int64)
        self.prompt_length = prompt_length
        self.vocab_size = tokenizer.vocab_size
        self.pad_id = tokenizer.pad_id
        tokens = tokenizer.backend.get_vocab()
        self.vocabulary = digest(sorted(tokens, key=tokens.__getitem__))

    def __eq__(self, other: object) -> bool:
        """Whether it is as large, and its tokens are the same."""
        return super().__eq__(other) and isinstance(other, TokenSpace) and self.vocabulary == other.vocabulary


class TokenVecEnv(VecEnv):
    """A `TokenVectorEnv` under SB3's interface; plays as `DummyVecEnv` over `gymnasium.make` does, step for step.

    Observations are int64 [N, P + C] token ids, actions [N] token ids, rewards float32 [N], endings bool [N]. An
    episode's last step has, in its info, what `gymnasium.make` gives (`is_success`, `reward_parts`, `completion`,
    `finish_reason`, `status`) and SB3's `terminal_observation`. No episode is ever cut off: `TimeLimit.truncated` is
    False throughout. Masks are not in the infos; `env_method("action_masks")` has them, where sb3-contrib looks.

    Attributes:
        envs: The native environment.
    """

    def __init__(self, envs: TokenVectorEnv) -> None:
        """Takes the native environment, in autoreset mode SAME_STEP, which is SB3's.

        Raises:
            ConfigError: It is something else, or in another mode.
        """
        check_value("envs", envs, isinstance(envs, TokenVectorEnv), "a TokenVectorEnv; make_sb3 makes one from an id")
        mode = envs.autoreset_mode
        check_value("autoreset_mode", mode.value, mode is AutoresetMode.SAME_STEP, "'SameStep'")
        check_value("text_infos", envs._text_infos, envs._text_infos, "True, as SB3 takes infos as they are")
        self.envs = envs
        self._actions = np.zeros(0, dtype=np.int64)
        space = TokenSpace(envs.tokenizer, envs.prompt_length, envs.completion_length)
        super().__init__(envs.num_envs, space, envs.single_action_space)

    def reset(self) -> NDArray[np.int64]:
        """Starts an episode everywhere, with what `seed` and `set_options` left for it.

        An environment's options are the `prompt` of its first episode, and the `level` of its prompts, which holds
        until the next reset.

        Raises:
            ConfigError: An option is unknown, or a prompt is given for some environments and not for others.
        """
        options = [check_options(options, ("prompt", "level")) for options in self._options]
        prompts = [options["prompt"] for options in options if "prompt" in options]
        if len(prompts) not in (0, self.num_envs):
            raise ConfigError(
                f"options={self._options!r} is not allowed; allowed: a prompt for each environment, or for none."
            )
        asked: dict[str, Any] = {"prompt": prompts} if prompts else {}
        if any("level" in each for each in options):
            asked["level"] = [each.get("level") for each in options]
        observations, _ = self.envs.reset(seed=self._seeds, options=asked or None)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Keeps the actions, [N] token ids, for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Appends a token to each episode; those that end begin anew.

        Returns:
            Observations int64 [N, P + C], rewards float32 [N], endings bool [N] and a list of N infos.

        Raises:
            ActionError: An action is no token id, or their shape is not [N].
        """
        observations, rewards, ended, _, native = self.envs.step(self._actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        if ended.any():
            rows, final = np.flatnonzero(ended), native["final_info"]
            ends = {key: final[key][rows].tolist() for key in _END_KEYS}
            parts = {name: final["reward_parts"][name][rows].tolist() for name in self.envs.task.part_names}
            for j, i in enumerate(rows.tolist()):
                infos[i] |= {key: values[j] for key, values in ends.items()}
                infos[i]["reward_parts"] = {name: values[j] for name, values in parts.items()}
                infos[i]["terminal_observation"] = native["final_obs"][i]
        return observations, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Closes the native environment."""
        self.envs.close()

    def render(self, mode: str | None = None) -> None:
        """Prints each episode, prompt and completion, on a line; with render mode "human" every step does so anyway."""
        if self.render_mode == "ansi":
            print(printable("\n".join(self.env_method("render"))))

    # --- one environment's share ------------------------------------------------------------------------------------

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method for all environments at once and returns what it says of each: `action_masks` or `render`.

        Raises:
            ConfigError: It is another method.
        """
        check_value("method_name", method_name, method_name in _METHODS, " or ".join(map(repr, _METHODS)))
        answers = self.envs.call(method_name, *method_args, **method_kwargs)
        return [answers[i] for i in self._rows(indices)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of each environment: its own, such as `prompt`, or what all of them share.

        Raises:
            AttributeError: There is no such attribute.
        """
        is_space = attr_name in ("observation_space", "action_space")  # where SB3's differ from Gymnasium's
        values = (getattr(self, attr_name),) * self.num_envs if is_space else self.envs.get_attr(attr_name)
        return [values[i] for i in self._rows(indices)]

    def _rows(self, indices: VecEnvIndices) -> list[int]:
        """Which environments are meant. An index out of range is an IndexError, as elsewhere in SB3."""
        return [range(self.num_envs)[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of all environments.

        Raises:
            ConfigError: Indices are given: the environments share their attributes.
        """
        check_value("indices", indices, indices is None, "None, as the environments share their attributes")
        setattr(self.envs, attr_name, value)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Returns False for each environment: a native one has no wrappers."""
        return [False for _ in self._rows(indices)]
