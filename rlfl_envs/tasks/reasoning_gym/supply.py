"""Items by number: drawn in workers, the next ones ahead of time, a few thousand remembered."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from rlfl_envs.errors import RLFLError
from rlfl_envs.judging import Judgement, Pool, Request

__all__ = ["Item", "Supply", "supply"]

_REMEMBERED = 4096  # items
_NAMED = 1 << 16  # questions whose numbers are remembered: 16 bytes and what a dictionary adds
_JUDGE = "rlfl_envs.tasks.reasoning_gym.drawing"


class Item(NamedTuple):
    """What is known of a number.

    Attributes:
        status: "drawn", or why there is no item: "long", "unsound" or "failed".
        question: The text of the prompt.
        answer: A right answer, or None.
        problem: What makes the problem, however it is put into words.
        packed: All that scoring needs; for the workers that score, and nobody else to read.
    """

    status: str
    question: str = ""
    answer: str | None = None
    problem: str = ""
    packed: str = ""


class Supply:
    """What this process has drawn. Threads may share it."""

    def __init__(self, workers: int) -> None:
        """Takes how many processes draw; starts nothing."""
        self._pool = Pool(_JUDGE, workers=workers, timeout=600.0, max_tasks=10_000, remembered=1)
        self._items: dict[Request, Item] = {}
        self._requests: dict[bytes, Request] = {}  # by a hash of dataset and question
        self._lock = threading.Lock()  # of the two above, and of who draws ahead
        self._ahead: threading.Thread | None = None
        self._wanted: frozenset[Request] = frozenset()  # what that thread draws

    def get(self, requests: Sequence[Request]) -> list[Item]:
        """The items of requests, in their order.

        Raises:
            RLFLError: A worker died of one, or took ten minutes.
        """
        with self._lock:
            found = {request: self._items[request] for request in requests if request in self._items}
            ahead, wanted = self._ahead, self._wanted
        missing = [request for request in dict.fromkeys(requests) if request not in found]
        if ahead is not None and not wanted.isdisjoint(missing):
            ahead.join()
            return self.get(requests)
        found.update(self._draw(missing))
        return [found[request] for request in requests]

    def draw_ahead(self, requests: Sequence[Request]) -> None:
        """Draws in the background, unless it is being done already; the most urgent come first."""
        with self._lock:
            if self._ahead is None:
                self._wanted = frozenset(requests) - self._items.keys()
                wanted = [request for request in requests if request in self._wanted]
                self._ahead = threading.Thread(target=self._draw_ahead, args=(wanted,), daemon=True)
                self._ahead.start()

    def _draw_ahead(self, requests: Sequence[Request]) -> None:
        try:
            self._draw(requests)
        except RLFLError:
            pass  # whoever needs the item will be told
        finally:
            with self._lock:
                self._ahead = None

    def _draw(self, requests: Sequence[Request]) -> dict[Request, Item]:
        if not requests:
            return {}
        judgements = self._pool.evaluate(requests)
        found = {request: _item(request, judged) for request, judged in zip(requests, judgements, strict=True)}
        with self._lock:
            self._items.update(found)
            for request, item in found.items():
                if item.status == "drawn":
                    self._requests[_digest(request, item.question)] = request
            _forget(self._items, _REMEMBERED)
            _forget(self._requests, _NAMED)
        return found

    def find(self, request: Request, question: str) -> Request | None:
        """Which request, with the same dataset as the one given, drew a question; None where none did."""
        with self._lock:
            return self._requests.get(_digest(request, question))


def _forget(known: dict[Any, Any], most: int) -> None:
    """Drops the oldest of more than so many."""
    for key in [*itertools.islice(known, max(0, len(known) - most))]:
        del known[key]


def _digest(request: Request, question: str) -> bytes:
    name = str(dict(request.settings)["dataset"])
    return hashlib.blake2b(f"{name}\0{question}".encode(errors="replace"), digest_size=16).digest()


def _item(request: Request, judgement: Judgement) -> Item:
    data: Any = judgement.data
    if judgement.status in ("timeout", "crash"):
        raise RLFLError(f"drawing item {request.seed} of {dict(request.settings)} ended in a {judgement.status}.")
    return Item(judgement.status, *data) if data else Item(judgement.status)


@cache
def supply(workers: int, process: int) -> Supply:
    """The supply of a process, by its number: a fork has no share in its parent's."""
    return Supply(workers)
