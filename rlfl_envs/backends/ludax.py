"""Ludax: compiles a game and plays it at random, in JAX, on one core.

Stock Ludax takes 5 to 15 seconds of a core for a new game, nearly all of it before the first move. Here its tables are
built by NumPy (`_numpy_tables`), and all playouts are one program, compiled once and with little optimisation; they are
the same playouts, move for move.

Of Ludax 1.0 this steps around: names of pieces, which are shared by all games and run out after five; `connected`,
which is wrong above 126 cells (its labels are int8), so that such games do not compile; and its public `step`, which
ends a game without a legal move as if it had been played: here such a playout does not end.
"""

from __future__ import annotations

import contextlib
import os
import re
import types
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from typing import Any

import numpy as np

from rlfl_envs.backends.playouts import measures
from rlfl_envs.backends.pool import Judgement, Request
from rlfl_envs.bracketed import end_of_form
from rlfl_envs.ludax_games import normalise

__all__ = ["VERSION", "judge", "normalise", "screen", "start"]

VERSION = "1"  # of the judgements: another one makes those obsolete that were kept

_MAX_CHARACTERS = 10_000  # Ludax's own games have up to 1,600
_MAX_DEPTH = 50  # and are up to 12 deep
_MAX_NUMBER = 9_999
_MAX_CELLS = 400  # a table of adjacency has directions x cells x cells entries: 200 x 200 cells ask for 12 GB
_MAX_CONNECTED = 126
_GAME = re.compile(r"\(\s*game\b")
_BRACKETS = re.compile(r'"[^"]*"|([()])')

# --- before a worker is asked ----------------------------------------------------------------------------------------


def screen(request: Request) -> Judgement | None:
    """Refuses what Ludax would, and what would keep it busy; in linear time, and without JAX.

    "no_parse": no `(game ...)`, or more than one form; "no_compile": too long, too deep, or with a number that is
    beyond all sense.
    """
    text = request.text
    if len(text) > _MAX_CHARACTERS:
        return Judgement("no_compile", {})
    text = text.strip()
    if not _GAME.match(text) or end_of_form(text) != len(text):
        return Judgement("no_parse", {})
    depth = deepest = 0
    for mark in _BRACKETS.finditer(text):
        depth += {"(": 1, ")": -1}.get(mark[1], 0)
        deepest = max(deepest, depth)
    is_sane = deepest <= _MAX_DEPTH and not re.search(r"\d{5}", re.sub(r'"[^"]*"', "", text))
    return None if is_sane else Judgement("no_compile", {})


# --- in the worker ---------------------------------------------------------------------------------------------------

# XLA's own threads would take the other workers' cores.
_FLAGS = "--xla_cpu_multi_thread_eigen=false --xla_cpu_parallel_codegen_split_count=1"
# A game is played for a second at most: what optimises its program costs more than it saves. Without any optimisation
# draughts take half a minute.
_COMPILER: dict[str, Any] = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}


def start() -> None:
    """Keeps JAX on the CPU and on one thread; before it is first imported."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
    _parser()


def judge(request: Request) -> Judgement:
    """Compiles a game and plays it at random.

    Settings: `num_playouts` (100 by default) and `max_turns` (500). The parts are those of `measures`.
    """
    import jax
    from lark.exceptions import LarkError

    settings = dict(request.settings)
    num_playouts, max_turns = int(settings.get("num_playouts", 100)), int(settings.get("max_turns", 500))
    try:
        tree = _parser().parse(request.text)
    except LarkError:
        return Judgement("no_parse", {})
    try:
        play = _program(tree, num_playouts, max_turns)
    except Exception:  # noqa: BLE001 (Ludax raises whatever Python happens to raise)
        return Judgement("no_compile", {})
    try:
        winners, turns, has_ended, choices = map(np.asarray, play(jax.random.PRNGKey(request.seed)))
    except Exception:  # noqa: BLE001
        return Judgement("unplayable", {})
    if not choices[:, 0].any():
        return Judgement("unplayable", {})
    parts = measures(
        winners.tolist(),
        turns.tolist(),
        has_ended.tolist(),
        [row[:count] for row, count in zip(choices, turns, strict=True)],
    )
    return Judgement("playable" if parts["mean_turns"] >= 2 else "unplayable", parts)


@lru_cache(maxsize=1)
def _parser() -> Any:
    """Ludax's own: Earley's algorithm, and the authority on what is a game."""
    import ludax
    from lark import Lark

    return Lark(ludax.grammar, start="game")


def _program(tree: Any, num_playouts: int, max_turns: int) -> Callable[[Any], Any]:
    """Compiles a game's playouts.

    Returns:
        A function of a JAX key. It returns winners (0 for nobody), turns and whether each playout ended, [n], and the
        numbers of legal moves, [n, max_turns].
    """
    import jax
    import jax.numpy as jnp

    game = _environment(tree)

    def playout(key: Any) -> Any:
        def goes_on(carry: Any) -> Any:
            state, _, turn, _ = carry
            return ~state.terminated & state.legal_action_mask.any() & (turn < max_turns)

        def turn(carry: Any) -> Any:
            state, key, turn, choices = carry
            key, draw = jax.random.split(key)
            legal = state.legal_action_mask
            action = jax.random.categorical(draw, jnp.where(legal, 0.0, -jnp.inf))
            choices = choices.at[turn].set(legal.sum(dtype=jnp.int32))
            return game._step(state, action, None), key, turn + 1, choices

        begin = (game.init(key), key, jnp.int32(0), jnp.zeros(max_turns, dtype=jnp.int32))
        state, _, turns, choices = jax.lax.while_loop(goes_on, turn, begin)
        one, two = state.winners == 1  # both, in a draw
        winner = jnp.where(one & ~two, 1, jnp.where(two & ~one, 2, 0))
        return winner, turns, state.terminated, choices

    def playouts(key: Any) -> Any:
        return jax.vmap(playout)(jax.random.split(key, num_playouts))

    compiled: Callable[[Any], Any] = jax.jit(playouts).lower(jax.random.PRNGKey(0)).compile(compiler_options=_COMPILER)
    return compiled


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

# Functions of ludax.utils that build tables, one small operation of JAX after the other, each compiled on its own.
_TABLES = (
    "_get_adjacency_lookup",
    "_get_column_indices",
    "_get_connected_components_fn",
    "_get_corner_indices",
    "_get_custodial_indices",
    "_get_edge_indices",
    "_get_line_indices",
    "_get_pattern_indices",
    "_get_row_indices",
    "_get_slide_lookup",
)


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
    """Has the functions in `_TABLES` build their tables with NumPy; what they return is JAX's again."""
    import ludax.utils

    stand_ins = {
        "jnp": _NumPy(),
        "jax": types.SimpleNamespace(lax=types.SimpleNamespace(conv=_conv)),
        "EMPTY": np.int8(ludax.utils.EMPTY),
        "INVALID": np.int8(ludax.utils.INVALID),
    }

    def by_numpy(build: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(build)
        def built(*arguments: Any, **named: Any) -> Any:
            if ludax.utils.jnp is stand_ins["jnp"]:  # one table on the way to another
                return build(*arguments, **named)
            with _replaced(ludax.utils, **stand_ins):
                made = build(*map(_to_numpy, arguments), **{name: _to_numpy(value) for name, value in named.items()})
            return _to_jax(made)

        return built

    with _replaced(ludax.utils, **{name: by_numpy(getattr(ludax.utils, name)) for name in _TABLES}):
        yield


class _Table(np.ndarray):
    """An array with JAX's way to write into a copy, `table.at[index].set(value)`."""

    @property
    def at(self) -> _At:
        return _At(self)


class _At:
    def __init__(self, table: _Table) -> None:
        self._table = table

    def __getitem__(self, index: Any) -> types.SimpleNamespace:
        def written(value: Any) -> _Table:
            copy = self._table.copy()
            copy[index] = value
            return copy

        return types.SimpleNamespace(set=written)


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


def _to_numpy(value: Any) -> Any:
    import jax

    return np.asarray(value).view(_Table) if isinstance(value, jax.Array) else value


def _to_jax(value: Any) -> Any:
    """The same with JAX's arrays for tables, also where a function has closed over one."""
    import jax.numpy as jnp

    if isinstance(value, np.ndarray):
        return jnp.asarray(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(_to_jax, value))
    if isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            cell.cell_contents = _to_jax(cell.cell_contents)
    return value
