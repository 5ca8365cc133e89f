"""The Ludax backend: the same playouts as stock Ludax's, each hostile text stopped where it should be."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ludax", reason="needs the extra ludax")
pytest.importorskip("pebble", reason="needs the extra ludax")
from lark.exceptions import LarkError

from rlfl_envs.judging import Judgement, Pool, Request
from rlfl_envs.tasks.games.ludax import corpus as ludax_games
from rlfl_envs.tasks.games.ludax import judge as ludax
from tests.settings import EXAMPLES

GAMES = ludax_games.shipped()
SETTINGS = (("max_turns", 60), ("num_playouts", 20))
CROSSES = GAMES["tic_tac_toe"]


@pytest.fixture(scope="module", autouse=True)
def started() -> None:
    """As in a worker."""
    ludax.start({})


@pytest.mark.parametrize("name", ["tic_tac_toe", "yavalath", "connect_four"])
def test_playouts_are_those_of_stock_ludax(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same winners, turns, ends and legal moves from the same seed (`make bench-ludax` asks all games)."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    from bench_ludax import our_playouts, stock_playouts

    ours, stock = (playouts(GAMES[name], 20, 60, seed=3) for playouts in (our_playouts, stock_playouts))
    assert len({*ours[0].tolist()}) > 1
    for found, expected in zip(ours, stock, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_both_programs_play_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick program and the fast one, which takes over in the midst of play, come to the same playouts."""
    game = ludax.Game(ludax._parser().parse(GAMES["wolf_and_sheep"]), 20)
    monkeypatch.setattr(ludax, "_LONGER", np.inf)
    quick = game.play(60, seed=0)
    monkeypatch.setattr(ludax, "_LONGER", 0)
    for found, expected in zip(game.play(60, seed=0), quick, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "board", ["(square 4)", "(rectangle 3 5)", "(hexagon 5)", "(hex_rectangle 3 4)"], ids=lambda board: board[1:-1]
)
def test_tables_are_those_of_stock_ludax(board: str) -> None:
    """What NumPy builds is what JAX builds, on a board of each kind."""
    from ludax import utils
    from ludax.config import EdgeTypes, Orientations
    from ludax.game_info import GameInfoExtractor

    game = CROSSES.replace("(square 3)", board)
    assert game != CROSSES
    info, _ = GameInfoExtractor()(ludax._parser().parse(game))
    adjacency = utils._get_adjacency_lookup(info)
    builders: list[Callable[[], Any]] = [
        lambda: utils._get_adjacency_lookup(info),
        lambda: utils._get_slide_lookup(info),
        *(lambda n=n, o=o: utils._get_line_indices(info, n, o) for n in (2, 3) for o in Orientations),
        *(lambda o=o: utils._get_custodial_indices(info, 1, o) for o in Orientations),
        *(partial(utils._get_edge_indices, info, edge) for edge in utils._get_valid_edge_types(info)),
        lambda: utils._get_corner_indices(info),
        lambda: utils._get_row_indices(info, 1),
    ]
    assert {*utils._get_valid_edge_types(info)} <= {*EdgeTypes}
    for build in builders:
        stock = outcome(build)
        with ludax._numpy_tables():
            ours = outcome(build)
        assert repr(ours) == repr(stock)
    with ludax._numpy_tables():
        components = utils._get_connected_components_fn(info, adjacency)
    stock_components = utils._get_connected_components_fn(info, adjacency)
    np.testing.assert_array_equal(*(np.asarray(inner_table(function)) for function in (components, stock_components)))


def outcome(build: Callable[[], Any]) -> Any:
    """What a table is, or which error there is instead."""
    try:
        made = build()
    except (AssertionError, NotImplementedError, ValueError) as error:
        return type(error)
    return [np.asarray(table).tolist() for table in (made if isinstance(made, tuple) else (made,))]


def inner_table(function: Any) -> Any:
    """The table that a function inside a function has closed over."""
    (inner,) = (cell.cell_contents for cell in function.__closure__ if callable(cell.cell_contents))
    (table,) = (cell.cell_contents for cell in inner.__closure__ if hasattr(cell.cell_contents, "shape"))
    return table


# --- what comes of a text --------------------------------------------------------------------------------------------


def judged(game: str) -> Judgement:
    """As the pool does it, in this process."""
    request = Request(game, SETTINGS)
    return ludax.screen(request) or ludax.judge(request)


def test_crosses() -> None:
    """A game that everybody knows; the same seed gives the same, another seed another result."""
    first = judged(CROSSES)
    assert first.status == "playable"
    assert 5 <= first.parts["mean_turns"] <= 9
    assert first.parts["completion"] == 1
    assert sum(first.parts[name] for name in ("wins_1", "wins_2", "draws")) == 20
    assert judged(CROSSES) == first
    assert ludax.judge(Request(CROSSES, SETTINGS, seed=1)) != first


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (("(square 3)", "(square 19)"), "playable"),
        (("(square 3)", "(square 200)"), "no_compile"),
        (("(square 3)", "(square200)"), "no_compile"),  # Ludax wants no space here
        (("(square 3)", "(square 100000)"), "no_compile"),
        (("(square 3)", "(square -3)"), "no_parse"),
        (("(square 3)", "(square 0)"), "no_parse"),
        (("(square 3)", "(hexagon 4)"), "no_parse"),
        (("(square 3)", "(triangle 3)"), "no_parse"),
        (("(square 3)", "(square 3"), "no_parse"),
        (('(place "token"', '(place "tokens"'), "no_compile"),
        (("(line ", "(line  \n"), "playable"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else None,
)
def test_statuses(change: tuple[str, str], status: str) -> None:
    """A game with one change."""
    assert change[0] in CROSSES
    assert judged(CROSSES.replace(*change)).status == status


@pytest.mark.timing
@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", "no_parse"),
        ("(game", "no_parse"),
        ("(game )", "no_parse"),
        (CROSSES + CROSSES, "no_parse"),
        (f"a game: {CROSSES}", "no_parse"),
        (f"{CROSSES} and more", "no_parse"),
        (CROSSES[:-1], "no_parse"),
        ("(" * 100_000, "no_compile"),
        ("(game " + "(" * 200 + ")" * 200 + ")", "no_compile"),
        ("(game " + "(a) " * 5000 + ")", "no_compile"),
        ('(game "' + "x" * 20_000 + '")', "no_compile"),
        ("(game " + "\x00\ud800\N{GRINNING FACE}" * 9 + ")", "no_parse"),
    ],
    ids=range(12),
)
def test_hostile_texts(text: str, status: str) -> None:
    """Garbage, two games, depth and length: known in no time."""
    began = time.process_time()
    assert judged(text).status == status
    assert time.process_time() - began < 2


def test_what_the_screen_does_not_read_ludax_does_not_read() -> None:
    """Games with any character anywhere, in names or beside them: each that is refused at once has no parse."""
    rng, refused, passed = np.random.default_rng(0), 0, 0
    characters = [*"\x00\x0b\x1c\x7f\x85\u00ad\u00e9\u0661\u2003\u200b\u2212\uff08\U0001d7cf\\\"'?{;", "", " "]
    for _ in range(150):
        place = int(rng.integers(len(CROSSES) + 1))
        game = CROSSES[:place] + str(rng.choice(characters)) + CROSSES[place + int(rng.integers(2)) :]
        if (found := ludax.screen(Request(game))) is None:
            passed += 1
        elif found.status == "no_parse":
            refused += 1
            with pytest.raises(LarkError):
                ludax._parser().parse(ludax.normalise(game))
    assert refused > 50
    assert passed > 20


@pytest.mark.timing
def test_random_strings() -> None:
    """Ten thousand strings of the language's own characters are refused before any slow parse."""
    rng = np.random.default_rng(0)
    alphabet = np.array([*'()"" ', *"abcdefgh12", "(game ", "(board ", "(square 3)"])
    texts = ["".join(rng.choice(alphabet, size=int(n))) for n in rng.integers(1, 300, size=10_000)]
    began = time.process_time()
    refused = [ludax.screen(Request(text)) for text in texts]
    assert time.process_time() - began < 10
    assert sum(judgement is not None for judgement in refused) > 9_990


def test_a_hundred_ends() -> None:
    """Many end rules take longer, and are stopped if they take too long; the worker's successor goes on."""
    rule = '(if (line "token" 3) (mover win)) '
    assert rule in CROSSES
    many = CROSSES.replace("(end ", "(end " + 99 * rule)
    with Pool("rlfl_envs.tasks.games.ludax.judge", timeout=10.0) as pool:
        found, after = pool.evaluate([Request(many, SETTINGS), Request(CROSSES, SETTINGS)])
    assert found.status in ("playable", "timeout", "crash")
    assert after == judged(CROSSES)


def test_large_boards_with_connections_are_refused() -> None:
    """Above 126 cells Ludax's `connected` is wrong."""
    hexes = GAMES["hex"]
    assert "connected" in hexes
    assert judged(hexes.replace("11 11", "12 12").replace("11", "12")).status == "no_compile"
