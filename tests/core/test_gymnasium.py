"""What Gymnasium asks of a vector environment of its own: all that SyncVectorEnv does, in every autoreset mode."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rlfl_envs import ArgumentError, ConfigError, TokenVectorEnv
from tests.settings import BRACKETS, COPY, STEPS

NUM_ENVS = 4
ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    (COPY, {"length": 2, "alphabet": "ab"}),
    (STEPS, {"mask": "syntax", "max_completion_tokens": 9}),
    (BRACKETS, {"mask": "syntax", "max_completion_tokens": 6}),
]
over_ids = pytest.mark.parametrize(("id", "arguments"), ARGUMENTS, ids=[id for id, _ in ARGUMENTS])
over_modes = pytest.mark.parametrize("mode", [*AutoresetMode], ids=lambda mode: mode.value)


def native_and_sync(id: str, mode: AutoresetMode, **arguments: Any) -> tuple[TokenVectorEnv, SyncVectorEnv]:
    """The native environments of an id and Gymnasium's, from `make_vec`."""
    native = gymnasium.make_vec(id, num_envs=NUM_ENVS, autoreset_mode=mode, **arguments)
    modes = {"autoreset_mode": mode}
    sync = gymnasium.make_vec(id, num_envs=NUM_ENVS, vectorization_mode="sync", vector_kwargs=modes, **arguments)
    assert isinstance(native, TokenVectorEnv)
    assert isinstance(sync, SyncVectorEnv)
    return native, sync


def masks_agree(infos: dict[str, Any]) -> bool:
    """Whether what is not present is filler: 0, False or None."""
    for key, value in infos.items():
        if key.startswith("_"):
            continue
        if isinstance(value, dict):
            if not masks_agree(value):
                return False
        elif value[~infos[f"_{key}"]].any():
            return False
    return True


@over_ids
@over_modes
@pytest.mark.parametrize("text_infos", [True, False])
def test_equals_sync(id: str, arguments: dict[str, Any], mode: AutoresetMode, text_infos: bool) -> None:
    """Spaces, observations, rewards, endings and infos equal SyncVectorEnv's, fillers and `_key` masks included.

    Under "Disabled" what has ended is reset by a `reset_mask`, as Gymnasium demands.
    """
    native, sync = native_and_sync(id, mode, text_infos=text_infos, **arguments)
    for name in ("num_envs", "observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(native, name) == getattr(sync, name)
    rng = np.random.default_rng(0)
    assert data_equivalence(native.reset(seed=7), sync.reset(seed=7))
    partial_ends = 0
    for step in range(100):
        masks = native.action_masks()
        legal = [rng.choice(np.flatnonzero(mask)) for mask in masks]
        actions = np.array(legal) if step % 10 else rng.integers(native.tokenizer.vocab_size, size=NUM_ENVS)
        ours, theirs = native.step(actions), sync.step(actions)
        assert data_equivalence(ours, theirs)
        assert masks_agree(ours[-1])
        ended = ours[2]
        partial_ends += 0 < ended.sum() < NUM_ENVS
        if mode is AutoresetMode.DISABLED and ended.any():
            begun, others = (envs.reset(options={"reset_mask": ended.copy()}) for envs in (native, sync))
            assert data_equivalence(begun, others)
            assert masks_agree(begun[-1])
    assert partial_ends > 1


@over_ids
@over_modes
def test_numbers_alone(id: str, arguments: dict[str, Any], mode: AutoresetMode) -> None:
    """With `text_infos=False` every info of an id has the same keys, shapes and types, scalar and vector."""
    env = gymnasium.make(id, text_infos=False, **arguments)
    parts = len(env.unwrapped.task.part_names)
    vocab_size = int(env.action_space.n)
    expected = {
        "action_mask": ((vocab_size,), "int8"),
        "is_success": ((), "bool"),
        "reward_parts": ((parts,), "float64"),
    }
    envs = gymnasium.make_vec(id, num_envs=NUM_ENVS, autoreset_mode=mode, text_infos=False, **arguments)
    _, info = env.reset(seed=0)
    _, infos = envs.reset(seed=0)
    for _ in range(30):
        assert {key: (value.shape, value.dtype.name) for key, value in info.items()} == expected
        for key, (shape, dtype) in expected.items():
            assert infos[key].shape == (NUM_ENVS, *shape)
            assert infos[key].dtype == dtype
            assert infos[f"_{key}"].all()
        _, _, ended, _, info = env.step(int(np.flatnonzero(info["action_mask"])[-1]))
        _, _, _, _, infos = envs.step(envs.action_masks().argmax(axis=1))
        if ended:
            assert info["is_success"] == (env.unwrapped._outcome.is_success)
            _, info = env.reset()


@over_ids
def test_seeds_are_tuples(id: str, arguments: dict[str, Any]) -> None:
    """`np_random_seed` and `np_random` have one for each, as SyncVectorEnv; without a seed they differ and stay."""
    native, sync = native_and_sync(id, AutoresetMode.NEXT_STEP, **arguments)
    drawn = native.np_random_seed
    assert len(set(drawn)) == NUM_ENVS
    native.reset()
    assert native.np_random_seed == drawn
    alike, _ = gymnasium.make_vec(id, num_envs=NUM_ENVS, **arguments).reset(seed=[*drawn])
    native, sync = native_and_sync(id, AutoresetMode.NEXT_STEP, **arguments)
    for seed in (42, None, [3, None, 5, None]):
        for envs in (native, sync):
            envs.reset(seed=seed)
        assert native.np_random_seed == sync.np_random_seed
    assert native.np_random_seed == (3, 43, 5, 45)
    assert [rng.random() for rng in native.np_random] == [rng.random() for rng in sync.np_random]
    assert alike.shape == native.observation_space.shape


def test_a_seed_read_before_the_first_reset_is_the_one_played() -> None:
    """What `np_random_seed` says before a reset without a seed is what makes the prompts."""
    envs = gymnasium.make_vec(COPY, num_envs=NUM_ENVS)
    seeds: Any = envs.np_random_seed
    first, _ = envs.reset()
    again, _ = envs.reset(seed=list(seeds))
    np.testing.assert_array_equal(first, again)


@over_ids
def test_call_and_attributes(id: str, arguments: dict[str, Any]) -> None:
    """`call`, `get_attr` and `set_attr` answer as SyncVectorEnv does, one value for each environment."""
    native, sync = native_and_sync(id, AutoresetMode.SAME_STEP, render_mode="ansi", **arguments)
    assert native.get_attr("prompt") == sync.get_attr("prompt") == (None,) * NUM_ENVS
    native.reset(seed=0)
    actions = np.array([np.flatnonzero(mask)[-1] for mask in native.action_masks()])
    sync.reset(seed=0)
    for envs in (native, sync):
        envs.step(actions)
        envs.set_attr("nickname", ["a", "b", "c", "d"])
        envs.set_attr("weight", 2.0)
    for name in ("prompt", "completion", "action_space", "observation_space", "render_mode", "nickname", "weight"):
        assert native.get_attr(name) == sync.get_attr(name)
    for name in ("prompt_length", "completion_length", "np_random_seed", "render"):
        assert native.call(name) == sync.call(name)
    np.testing.assert_array_equal(native.call("action_masks"), sync.call("action_masks"))
    assert native.get_attr("task") == (native.task,) * NUM_ENVS
    for envs in (native, sync):
        with pytest.raises(AttributeError, match="gravity"):
            envs.get_attr("gravity")
        with pytest.raises(ValueError, match="values"):
            envs.set_attr("nickname", ["a", "b"])


@pytest.mark.parametrize("name", ["task", "num_envs", "prompt", "render", "step", "_columns"])
def test_own_attributes_are_not_set(name: str) -> None:
    """What the environment uses itself is not the caller's to set, and is as it was."""
    envs = gymnasium.make_vec(COPY, num_envs=2)
    with pytest.raises(ConfigError, match=f"name='{name}' is not allowed; allowed: a name that the environment does"):
        envs.set_attr(name, None)
    envs.reset(seed=0)


def test_methods_of_all_are_not_called_of_each() -> None:
    """`step` and `reset` are for all environments at once."""
    envs = gymnasium.make_vec(COPY, num_envs=2)
    with pytest.raises(ConfigError, match="name='reset' is not allowed; allowed: 'render', 'action_masks', or an"):
        envs.call("reset")


@over_modes
def test_either_form_of_autoreset_mode(mode: AutoresetMode) -> None:
    """Gymnasium's enum or its string, for native environments and, as `vector_kwargs`, for Gymnasium's own."""
    for given in (mode, mode.value):
        native = gymnasium.make_vec(COPY, num_envs=2, autoreset_mode=given)
        in_kwargs = {"vector_kwargs": {"autoreset_mode": given}}
        sync = gymnasium.make_vec(COPY, num_envs=2, vectorization_mode="sync", **in_kwargs)
        assert native.metadata["autoreset_mode"] is sync.metadata["autoreset_mode"] is mode
        assert gymnasium.make_vec(native.spec).metadata["autoreset_mode"] is mode
        # The other form is refused: by Gymnasium for native environments, and by ours for each of Gymnasium's.
        with pytest.raises(gymnasium.error.Error, match="vector_kwargs"):
            gymnasium.make_vec(COPY, num_envs=2, **in_kwargs)
        with pytest.raises(ArgumentError, match=r"write vector_kwargs=\{'autoreset_mode': \.\.\.\} in make_vec"):
            gymnasium.make_vec(COPY, num_envs=2, vectorization_mode="sync", autoreset_mode=given)
