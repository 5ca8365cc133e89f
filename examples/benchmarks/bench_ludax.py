"""Our Ludax backend against stock Ludax: the same playouts? how many seconds? (`make bench-ludax`).

1. Each game that Ludax ships, and 52 mutants (two of them on a board that is refused), is judged by both from the same
   seed, 100 playouts of up to 200 turns, in one process on one core: are winners, turns, ends and numbers of legal
   moves the same, move for move? Seconds are the processor's, of a game that was not met before: parsing, tables,
   compiling and playing. Stock Ludax plays the same loop by its public interface, compiled with JAX's defaults. Each
   game leaves one line of results/ludax.jsonl and is not run again: stop it and go on at will. Budget: half an hour of
   one core.
2. Games per second of 64 further mutants: a pool of one worker, of two, and two processes of stock Ludax.

    python examples/benchmarks/bench_ludax.py [--mutants 52]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rlfl_agents.run.results import append_result, read_results
from rlfl_envs.judging import Pool, Request
from rlfl_envs.tasks.games.ludax import corpus as ludax_games
from rlfl_envs.tasks.games.ludax import judge as ludax

RESULTS = Path(__file__).parent / "results" / "ludax.jsonl"
PLAYOUTS, TURNS, SEED = 100, 200, 0
SETTINGS = (("max_turns", TURNS), ("num_playouts", PLAYOUTS))
# Where pieces are only placed: small programs.
PLACEMENT = ("connect_four", "connect_six", "gomoku", "hex", "pente", "reversi", "tic_tac_toe", "yavalath", "yavalax")


def our_playouts(game: str, num_playouts: int, max_turns: int, seed: int) -> list[np.ndarray]:
    """Winners (0 for nobody), turns, ends and numbers of legal moves, as the backend finds them."""
    return [*ludax.Game(ludax._parser().parse(game), num_playouts).play(max_turns, seed)]


def stock_playouts(game: str, num_playouts: int, max_turns: int, seed: int) -> list[np.ndarray]:
    """The same by stock Ludax's public interface, with the same draws: the k-th legal move is played."""
    import jax
    import jax.numpy as jnp
    from ludax import LudaxEnvironment
    from ludax.game_info import RenderingInfo

    RenderingInfo.piece_shape_mapping = {}  # shared by all games, and full after five names of pieces
    environment = LudaxEnvironment(game_str=game)

    def goes_on(carry: Any) -> Any:
        state, turns, _ = carry
        return ~state.terminated & state.legal_action_mask.any() & (turns < max_turns)

    def playout(draws: Any) -> Any:
        def turn(carry: Any) -> Any:
            state, turns, choices = carry
            count = state.legal_action_mask.sum(dtype=jnp.int32)
            k = (draws[turns] * count).astype(jnp.int32)
            action = jnp.argmax(jnp.cumsum(state.legal_action_mask, dtype=jnp.int32) > k)
            return environment.step(state, action), turns + 1, choices.at[turns].set(count)

        begin = (environment.init(jax.random.PRNGKey(0)), 0, jnp.zeros(max_turns, dtype=jnp.int32))
        state, turns, choices = jax.lax.while_loop(goes_on, turn, begin)
        return state.winners, turns, state.terminated, choices

    draws = np.random.default_rng(seed).random((max_turns, num_playouts), dtype=np.float32).T
    pairs, *others = map(np.asarray, jax.jit(jax.vmap(playout))(draws))
    winners = [{(1, 0): 1, (0, 1): 2}.get((one, two), 0) for one, two in pairs.tolist()]
    return [np.array(winners), *others]


def timed(playouts: Callable[..., list[np.ndarray]], game: str) -> tuple[list[np.ndarray], float]:
    """A game's playouts, and the processor's seconds they took."""
    started = time.process_time()
    return playouts(game, PLAYOUTS, TURNS, SEED), time.process_time() - started


def compare(name: str, game: str) -> dict[str, Any]:
    """Judges a game both ways; reads the result where there is one."""
    for result in read_results(RESULTS):
        if result.get("game") == name:
            return result
    result = {"game": name}
    try:
        ours, result["seconds"] = timed(our_playouts, game)
    except ValueError as error:  # a board that is too large for its rules
        result["refused"] = str(error)
    else:
        stock, result["stock_seconds"] = timed(stock_playouts, game)
        result["identical"] = all(map(np.array_equal, ours, stock))
        result["mean_turns"] = float(ours[1].mean())
    append_result(RESULTS, result)
    return result


def throughput(games: Sequence[str]) -> dict[str, float]:
    """Games per second: all games by one worker and by two, the first 16 by two processes of stock Ludax; all warm."""
    rates = {}
    small = ludax_games.shipped()["tic_tac_toe"]
    for workers in (1, 2):
        with Pool("rlfl_envs.tasks.games.ludax.judge", workers=workers, timeout=120.0) as pool:
            pool.evaluate([Request(small, SETTINGS, seed) for seed in range(2 * workers)])
            started = time.perf_counter()
            pool.evaluate([Request(game, SETTINGS, SEED) for game in games])
            rates[f"workers={workers}"] = len(games) / (time.perf_counter() - started)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=ludax.start, initargs=({},)) as processes:
        stock = partial(stock_playouts, num_playouts=PLAYOUTS, max_turns=TURNS, seed=SEED)
        [*processes.map(stock, [small] * 4)]
        started = time.perf_counter()
        [*processes.map(stock, games[:16])]
        rates["stock, 2 processes"] = 16 / (time.perf_counter() - started)
    return rates


def summary(title: str, results: Sequence[dict[str, Any]]) -> str:
    """A line: how many are identical, median and p90 of seconds, against stock."""
    judged = [result for result in results if "seconds" in result]
    seconds, stock = ([result[name] for result in judged] for name in ("seconds", "stock_seconds"))
    cells = [f"{sum(result['identical'] for result in judged)} of {len(judged)}"]
    for values in (seconds, stock):
        cells += [f"{statistics.median(values):.2f}", f"{np.quantile(values, 0.9):.2f}"]
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    """Compares, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=52, help="how many besides the shipped games")
    count = parser.parse_args().mutants
    ludax.start({})
    for playouts in (our_playouts, stock_playouts):  # what is loaded and compiled once is no game's
        playouts(ludax_games.shipped()["tic_tac_toe"], PLAYOUTS, TURNS, SEED)
    shipped = [compare(name, game) for name, game in ludax_games.shipped().items()]
    mutants = ludax_games.mutants(count + 64)
    others = [compare(f"mutant-{i}", game) for i, game in enumerate(mutants[:count])]
    print("| games | identical | s, median | p90 | stock: s, median | p90 |")
    print("| --- " * 6 + "|")
    print(summary("shipped, placement", [result for result in shipped if result["game"] in PLACEMENT]))
    print(summary("shipped, all", shipped))
    if others:
        print(summary("mutants", others))
    for result in [*shipped, *others]:
        if "refused" in result:
            print(f"{result['game']} is refused: {result['refused']}")
    rates = next((result["throughput"] for result in read_results(RESULTS) if "throughput" in result), None)
    if rates is None:
        rates = throughput(mutants[count:])
        append_result(RESULTS, {"throughput": rates})
    print(", ".join(f"{name} {rate:.2f}" for name, rate in rates.items()))


if __name__ == "__main__":
    main()
