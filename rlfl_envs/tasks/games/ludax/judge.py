"""Ludax: compiles a game and plays it at random, in JAX, on one core.

Stock Ludax takes 3 to 20 seconds of a core for a new game, nearly all of it before the first move. Here its tables are
built by NumPy (`_numpy_tables`), the loop over turns is Python's, so that one turn is all there is to compile, and that
is compiled without optimisation as long as few turns are played (`Game`). They are the same playouts, move for move.

Of Ludax 1.0 this steps around: names of pieces, which are shared by all games and run out after five; `connected`,
which is wrong above 126 cells (its labels are int8), so that such games do not compile; and its public `step`, which
ends a game without a legal move as if it had been played: here such a playout does not end.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import time
import types
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial, wraps
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.judging import Judgement, Request
from rlfl_envs.tasks.games.bracketed import end_of_form, split_strings
from rlfl_envs.tasks.games.ludax.corpus import normalise
from rlfl_envs.tasks.games.playouts import measures

__all__ = ["judge", "normalise", "screen", "start", "version"]

_MAX_CHARACTERS = 10_000  # Ludax's own games have up to 1,600
_MAX_DEPTH = 50  # and are up to 12 deep
_MAX_NUMBER = 9_999
_MAX_CELLS = 400  # a table of adjacency has directions x cells x cells entries: 200 x 200 cells ask for 12 GB
_MAX_CONNECTED = 126
_GAME = re.compile(r"\(\s*game\b")
_FOREIGN = re.compile(r"[^\s!-~]")  # neither space nor printable ASCII: outside names no word of Ludax has such

# --- before a worker is asked ----------------------------------------------------------------------------------------


def screen(request: Request) -> Judgement | None:
    """Refuses what Ludax would, and what would keep it busy; in linear time, and without JAX.

    "no_parse": no `(game ...)`, more than one form, or characters that Ludax does not have; "no_compile": too long, too
    deep, or with a number that is beyond all sense.
    """
    text = request.text
    if len(text) > _MAX_CHARACTERS:
        return Judgement("no_compile")
    text = text.strip()
    if not _GAME.match(text) or end_of_form(text) != len(text):
        return Judgement("no_parse")
    bare = "".join(split_strings(text)[::2])
    depth = deepest = 0
    for mark in re.findall(r"[()]", bare):
        depth += 1 if mark == "(" else -1
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH or re.search(r"\d{5}", bare):
        return Judgement("no_compile")
    return Judgement("no_parse") if _FOREIGN.search(bare) else None


def version(request: Request) -> str:
    """Of the judgements: this module's, and Ludax's."""
    return f"2 {importlib.metadata.version('ludax')}"


# --- in the worker ---------------------------------------------------------------------------------------------------

# XLA's own threads would take the other workers' cores.
_FLAGS = "--xla_cpu_multi_thread_eigen=false --xla_cpu_parallel_codegen_split_count=1"
# A program that is compiled in a fifth of the usual time, and one that runs up to fifteen times as fast.
_QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
_FAST = _QUICK | {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}
# The fast one takes about three times as long to compile, which is done once the quick one has played, and would play
# as many turns more, for as long.
_LONGER, _AHEAD = 3, 50


class Playouts(NamedTuple):
    """What random playouts came to; integers and truth values.

    Attributes:
        winners: 1 or 2; 0 for nobody, [n].
        turns: How many turns were played, [n].
        has_ended: Whether by the game's rules, [n].
        choices: The numbers of legal moves, turn by turn, 0 after the last, [n, max_turns].
    """

    winners: NDArray[np.int64]
    turns: NDArray[np.int64]
    has_ended: NDArray[np.bool_]
    choices: NDArray[np.int64]


def start(settings: Mapping[str, int | float | str]) -> None:
    """Keeps JAX on the CPU and on one thread, before it is first imported; and imports it."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
    _parser()


def judge(request: Request) -> Judgement:
    """Compiles a game and plays it at random.

    Settings: `num_playouts` (100 by default) and `max_turns` (500). The parts are those of `measures`.
    """
    from lark.exceptions import LarkError

    settings = dict(request.settings)
    num_playouts, max_turns = int(settings.get("num_playouts", 100)), int(settings.get("max_turns", 500))
    try:
        tree = _parser().parse(request.text)
    except LarkError:
        return Judgement("no_parse")
    try:
        game = Game(tree, num_playouts)
    except Exception:  # noqa: BLE001 (Ludax raises whatever Python happens to raise)
        return Judgement("no_compile")
    try:
        played = game.play(max_turns, request.seed)
    except Exception:  # noqa: BLE001
        return Judgement("unplayable")
    if not played.turns.any():
        return Judgement("unplayable")
    parts = measures(
        played.winners.tolist(),
        played.turns.tolist(),
        played.has_ended.tolist(),
        [row[:count] for row, count in zip(played.choices, played.turns, strict=True)],
    )
    return Judgement("playable" if parts["mean_turns"] >= 2 else "unplayable", parts)


@lru_cache(maxsize=1)
def _parser() -> Any:
    """Ludax's own: Earley's algorithm, and the authority on what is a game."""
    import ludax
    from lark import Lark

    return Lark(ludax.grammar, start="game")


class Game:
    """A compiled game, of which so many playouts are played side by side."""

    def __init__(self, tree: Any, num_playouts: int) -> None:
        """Compiles a parsed game; raises what Ludax and JAX raise."""
        import jax

        environment = _environment(tree)
        first = jax.jit(environment.init).lower(jax.random.PRNGKey(0)).compile(compiler_options=_QUICK)
        one = first(jax.random.PRNGKey(0))
        self._first = jax.tree.map(lambda value: np.repeat(np.asarray(value)[None], num_playouts, axis=0), one)
        step = jax.vmap(partial(environment._step, key=None))
        self._step = jax.jit(step).lower(self._first, np.zeros(num_playouts, dtype=np.int32))
        began = time.process_time()
        self._quick = self._step.compile(compiler_options=_QUICK)
        self._compiling = time.process_time() - began

    def play(self, max_turns: int, seed: int) -> Playouts:
        """Plays until all have ended, or for so many turns; each legal move is as likely as any other.

        The k-th legal move is played, k being drawn by NumPy's generator of that seed, one number per turn and playout.
        """
        state, step = self._first, self._quick
        n = len(state.terminated)
        draws = np.random.default_rng(seed).random((max_turns, n), dtype=np.float32)
        winners, turns = np.zeros((2, n), dtype=np.int64)
        has_ended, choices = np.zeros(n, dtype=bool), np.zeros((n, max_turns), dtype=np.int64)
        playing = ~has_ended
        began = time.process_time()
        for turn in range(max_turns):
            legal = np.asarray(state.legal_action_mask)
            counts = legal.sum(axis=1)
            playing &= counts > 0
            if not playing.any():
                break
            # What has ended goes on without being looked at: leaving it out would be another program.
            place = np.cumsum(counts) - counts + (draws[turn] * counts.astype(np.float32)).astype(np.int64)
            moves = np.append(np.flatnonzero(legal) % legal.shape[1], 0)
            state = step(state, moves[place].astype(np.int32))
            turns += playing
            choices[playing, turn] = counts[playing]
            ends = playing & np.asarray(state.terminated)
            one, two = np.asarray(state.winners).T == 1  # both, in a draw
            winners[ends & one & ~two], winners[ends & two & ~one] = 1, 2
            has_ended |= ends
            playing &= ~ends
            if step is self._quick:
                a_turn = (time.process_time() - began) / (turn + 1)
                if a_turn * (turn + _AHEAD) > _LONGER * self._compiling:
                    step = self._step.compile(compiler_options=_FAST)
        return Playouts(winners, turns, has_ended, choices)


def _environment(tree: Any) -> Any:
    """A LudaxEnvironment of a game that is parsed already, its tables built by NumPy; raises what Ludax raises."""
    import ludax.environment
    from ludax.game_info import GameInfoExtractor, RenderingInfo

    RenderingInfo.piece_shape_mapping = {}
    info, _ = GameInfoExtractor()(tree)
    limit = _MAX_CONNECTED if "connected_components" in info.game_state_attributes else _MAX_CELLS
    if info.board_size > limit:
        raise ValueError(f"the board has {info.board_size} cells; allowed: {limit}.")
    parsed = types.SimpleNamespace(parse=lambda _: tree)
    RenderingInfo.piece_shape_mapping = {}
    with _numpy_tables(), _replaced(ludax.environment, Lark=lambda *_, **__: parsed):
        return ludax.environment.LudaxEnvironment(game_str="parsed")


# --- tables by NumPy -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _replaced(module: Any, **others: Any) -> Iterator[None]:
    """Gives a module other contents for a while."""
    own = {name: getattr(module, name) for name in others}
    try:
        for name, other in others.items():
            setattr(module, name, other)
        yield
    finally:
        for name, value in own.items():
            setattr(module, name, value)


@contextlib.contextmanager
def _numpy_tables() -> Iterator[None]:
    """Has Ludax build the tables of its rules with NumPy: by JAX, each small operation is compiled on its own."""
    import ludax.game_parser
    import ludax.utils

    constants = {name: np.int8(getattr(ludax.utils, name)) for name in ("EMPTY", "INVALID")}
    lax = types.SimpleNamespace(lax=types.SimpleNamespace(conv=_conv))
    lookups = {name: partial(_of_board, getattr(ludax.utils, name)) for name in _OF_BOARD}
    with (
        _replaced(ludax.utils, jnp=_NumPy(), jax=lax, **constants, **lookups),
        _replaced(ludax.game_parser, jnp=_NumPy()),
    ):
        yield


# The largest tables, which depend on the board alone: many games are played on the same.
_OF_BOARD = ("_get_adjacency_lookup", "_get_slide_lookup")
_boards: dict[tuple[Any, ...], _Table] = {}


def _of_board(build: Callable[[Any], _Table], info: Any) -> _Table:
    board = build.__name__, info.board_shape, *info.board_dims
    if board not in _boards:
        _boards[board] = build(info)
    return _boards[board]


class _Table(np.ndarray):
    """NumPy's while tables are built; JAX's once JAX traces a rule that uses it."""

    @property
    def at(self) -> Any:
        """JAX's way to write into a copy: `table.at[index].set(value)`."""
        return _At(self) if _is_building() else self._traced.at

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index) if _is_building() else self._traced[index]

    @property
    def _traced(self) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(self.view(np.ndarray))


class _At:
    def __init__(self, table: _Table) -> None:
        self._table = table

    def __getitem__(self, index: Any) -> types.SimpleNamespace:
        def written(value: Any) -> _Table:
            copy = self._table.copy()
            copy[index] = value
            return copy

        return types.SimpleNamespace(set=written)


def _is_building() -> bool:
    import ludax.utils

    return isinstance(ludax.utils.jnp, _NumPy)


class _NumPy:
    """NumPy's functions under their names, with tables as results."""

    newaxis = None

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if not callable(function) or isinstance(function, type):
            return function

        @wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            made = function(*arguments, **named)
            return made.view(_Table) if isinstance(made, np.ndarray) else made

        return called


def _conv(image: Any, kernel: Any, _strides: Any, _padding: str) -> _Table:
    """JAX's `conv` of one image and one channel, [1, 1, height, width], with padding "SAME" and an odd kernel."""
    height, width = image.shape[2:]
    rows, columns = kernel.shape[2:]
    padded = np.pad(image[0, 0], ((rows // 2, rows // 2), (columns // 2, columns // 2)))
    total = np.zeros((1, 1, height, width), dtype=image.dtype)
    for row, column in zip(*np.nonzero(kernel[0, 0]), strict=True):
        total[0, 0] += kernel[0, 0, row, column] * padded[row : row + height, column : column + width]
    return total.view(_Table)
