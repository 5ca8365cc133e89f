"""Judgements kept from one run to the next: a folder with a JSON file each."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from rlfl_envs.cache import write
from rlfl_envs.judging.judge import Judgement, Request

__all__ = ["Folder", "kept"]

_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)  # what damaged JSON leads to


class Folder:
    """A folder of judgements, each named by all that it depends on."""

    def __init__(self, path: Path) -> None:
        """Takes the path; the folder is made with its first file."""
        self._path = path

    def find(self, judge: str, version: str, request: Request) -> Judgement | None:
        """Reads a judgement; None where there is none, or none that can be read."""
        try:
            found, judgement = _read(self._file(judge, version, request))
        except _UNREADABLE:
            return None
        return judgement if found == request else None

    def add(self, judge: str, version: str, request: Request, judgement: Judgement) -> None:
        """Writes a judgement; where the disk is full, it is judged again next time."""
        entry = json.dumps({"request": asdict(request), "judgement": asdict(judgement)})
        with contextlib.suppress(OSError):
            write(self._file(judge, version, request), entry.encode())

    def _file(self, judge: str, version: str, request: Request) -> Path:
        what = repr((judge, version, request)).encode(errors="replace")
        return self._path / f"{hashlib.blake2b(what, digest_size=16).hexdigest()}.json"


def kept(cache: str | Path) -> list[tuple[Request, Judgement]]:
    """Reads a pool's folder: what was judged (texts as their judge normalises them), and what came of it.

    Files that cannot be read are left out: the pool would judge them anew.
    """
    found = []
    for file in sorted(Path(cache).glob("*.json")):
        with contextlib.suppress(*_UNREADABLE):
            found.append(_read(file))
    return found


def _read(file: Path) -> tuple[Request, Judgement]:
    entry = json.loads(file.read_text(encoding="utf-8"))
    request, judgement = entry["request"], entry["judgement"]
    settings = tuple((name, value) for name, value in request.pop("settings"))
    parts = {name: float(value) for name, value in judgement.pop("parts").items()}
    if not isinstance(judgement["status"], str):
        raise TypeError("a status is a text")
    return Request(settings=settings, **request), Judgement(parts=parts, **judgement)
