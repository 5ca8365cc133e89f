"""The library reasoning-gym, as workers see it: nothing else imports it."""

from __future__ import annotations

import base64
import contextlib
import importlib
import os
import pickle
import pkgutil
import random
import warnings
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["DEFAULTS", "draw", "import_all_of", "pack", "score", "silence", "unpack"]

DEFAULTS = -1  # the difficulty that is a dataset's own settings, not those of its curriculum
# These choose by place in a list made for one seed and size: an item is the first of a dataset of its own.
_ONE_BY_ONE = frozenset({"acre", "gsm_symbolic", "list_functions", "word_ladder"})

Entry = Mapping[str, Any]


def draw(name: str, difficulty: int, number: int) -> Entry:
    """The entry of a number, 0..2**32-1: question, answer (None where the library gives none), metadata.

    Raises:
        Exception: Whatever the library raises, as it does for some numbers.
    """
    random.seed(number)  # some programs of codeio draw from Python's own generator
    np.random.seed(number)  # noqa: NPY002 - or from NumPy's
    if name in _ONE_BY_ONE:
        entry: Entry = _make(name, difficulty, seed=number, size=1)[0]
    else:
        entry = _dataset(name, difficulty)[number]
    return entry


def score(name: str, difficulty: int, entry: Entry, answer: str) -> float:
    """What the library pays for an answer, cut to 0..1. It may execute the answer, or raise anything."""
    found = float(_dataset(name, difficulty).score_answer(answer, entry))
    return min(max(found, 0.0), 1.0) if found == found else 0.0


@lru_cache(maxsize=8)
def _dataset(name: str, difficulty: int) -> Any:
    return _make(name, difficulty, seed=0, size=1 if name in _ONE_BY_ONE else 500)


def _make(name: str, difficulty: int, **settings: int) -> Any:
    """A dataset of the library, with its own settings or those of a level of its curriculum."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS, create_curriculum

    if difficulty == DEFAULTS:
        return reasoning_gym.create_dataset(name, **settings)
    curriculum: Any = create_curriculum(name)
    curriculum.set_global_level(difficulty)
    return DATASETS[name][0](config=curriculum.generate_configuration(settings))


def pack(entry: Entry) -> str:
    """An entry as a text, for `unpack` alone: only a worker that a model's text has not reached may have written it."""
    return base64.b85encode(zlib.compress(pickle.dumps(entry), 1)).decode()


def unpack(packed: str) -> Entry:
    """Reads what `pack` wrote."""
    entry: Entry = pickle.loads(zlib.decompress(base64.b85decode(packed)))
    return entry


def import_all_of(package: str) -> None:
    """Imports a package with its modules, tests and what lacks a package of its own left out."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        with contextlib.suppress(ImportError), warnings.catch_warnings(action="ignore"):
            if module.name.rpartition(".")[2] not in ("tests", "benchmarks"):
                importlib.import_module(module.name)


def silence() -> None:
    """Sees to it that nobody reads what the library's programs print."""
    null = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(null, standard)
    os.close(null)
