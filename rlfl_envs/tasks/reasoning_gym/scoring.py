r"""The judge of answers: reasoning-gym's own scorers, behind two walls.

Some scorers call `eval`, or SymPy's `parse_expr`, which does. The first wall: an answer to their datasets must have the
form that is asked for, a formula, or numbers or quoted letters in brackets, which leaves nothing to execute but
arithmetic and lists. The second: all scorers work in cells (`rlfl_envs.judging.cell`), processes without rights below
a worker. Where text is executed a cell is replaced after 32 answers, and after any that is not scored: a fork takes as
long as some answers.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping

from rlfl_envs.judging import Judgement, Request
from rlfl_envs.judging.cell import Cell
from rlfl_envs.tasks.reasoning_gym import library

__all__ = ["FORMS", "FUNCTIONS", "MOST", "SECONDS", "batch", "judge", "screen", "start"]

batch = 16

MOST = 16_384  # characters of an answer
SECONDS = 2.0  # for an answer
_MEMORY_MB = 1024
_KEPT = 8  # cells
_USES = 32  # of a cell in which text is executed
FUNCTIONS = (
    *("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("exp", "log", "ln", "sqrt", "E", "pi"),
)
_NAMES = "|".join(["[A-Za-z]", *FUNCTIONS])
_NUMBER = r"[0-9]{1,18}+(?:\.[0-9]{0,9}+)?(?![0-9])"  # possessive, so that matching takes linear time
_FORMULA = re.compile(rf"(?:\s|{_NUMBER}|[-+*/()]|\b(?:{_NAMES})\b)*+")
_ARITHMETIC = re.compile(rf"(?:\s|{_NUMBER}|[-+/()]|\*(?!\*))*+")
_MATRIX = re.compile(r"[-0-9,\s\[\]]*")
# The datasets whose scorers execute text, and the form of their answers. A test looks for others in the library.
FORMS: Mapping[str, re.Pattern[str]] = {
    "binary_matrix": _MATRIX,
    "countdown": _ARITHMETIC,
    "intermediate_integration": _FORMULA,
    "n_queens": re.compile(r"[_Q,'\"\s\[\]]*"),
    "polynomial_multiplication": _FORMULA,
    "puzzle24": _ARITHMETIC,
    "simple_integration": _FORMULA,
    "spiral_matrix": _MATRIX,
    "string_insertion": re.compile(r"[A-E,'\"\s\[\]]*"),
}
_SYMPY = ("functions", "integrals", "matrices", "ntheory", "polys", "series", "sets", "simplify", "solvers")

_cells: dict[tuple[str, int], tuple[Cell, int]] = {}  # with how often each has been used
_met: set[str] = set()  # the datasets that a cell has been made for


# --- before a worker is asked ----------------------------------------------------------------------------------------


def screen(request: Request) -> Judgement | None:
    """Refuses what is too long, no text, or not of the form that an executing scorer may see."""
    if len(request.text) > MOST:
        return Judgement("malformed")
    try:
        request.text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return Judgement("malformed")
    form = FORMS.get(str(dict(request.settings)["dataset"]))
    return None if form is None or form.fullmatch(request.text) else Judgement("malformed")


# --- in the worker ---------------------------------------------------------------------------------------------------


def start(_: Mapping[str, int | float | str]) -> None:
    """Silences what the library prints."""
    library.silence()


def judge(request: Request) -> Judgement:
    """Asks a cell. The context is the packed entry; "scored" comes with the part `score`, 0..1."""
    settings = dict(request.settings)
    key = str(settings["dataset"]), int(settings["difficulty"])
    cell, uses = _cells.pop(key) if key in _cells else (_made(*key, request.context), 0)
    is_well = False
    try:
        found = float(cell.ask(json.dumps([request.text, request.context]).encode(), SECONDS))
        is_well = 0 <= found <= 1
        return Judgement("scored", {"score": found}) if is_well else Judgement("crash")
    except TimeoutError:
        return Judgement("timeout")
    except (ChildProcessError, ValueError):
        return Judgement("crash")
    finally:
        if is_well and (key[0] not in FORMS or uses + 1 < _USES):
            _keep(key, cell, uses + 1)
        else:
            cell.end()


def _keep(key: tuple[str, int], cell: Cell, uses: int) -> None:
    """Keeps a cell for the next answer; the one that has waited longest makes room."""
    _cells[key] = cell, uses
    if len(_cells) > _KEPT:
        oldest, _ = _cells.pop(next(iter(_cells)))
        oldest.end()


def _made(name: str, difficulty: int, packed: str) -> Cell:
    """Makes a cell, once all is loaded that the scorer needs: in the cell nothing can be loaded any more."""
    answers = [""]  # ours, none of them a model's
    entry = library.unpack(packed)
    if name not in _met:
        answers += ["1", "x", "True", "[1]", entry["answer"]]
        for package in _SYMPY if FORMS.get(name) in (_FORMULA, _ARITHMETIC) else ():
            library.import_all_of(f"sympy.{package}")
        _met.add(name)
    for answer in answers:
        with contextlib.suppress(Exception):
            library.score(name, difficulty, entry, answer)
    return Cell(lambda question: _score(name, difficulty, question), memory_mb=_MEMORY_MB)


def _score(name: str, difficulty: int, question: bytes) -> bytes:
    """What happens in the cell. A scorer that raises pays nothing."""
    answer, packed = json.loads(question)
    try:
        return repr(library.score(name, difficulty, library.unpack(packed), answer)).encode()
    except Exception:  # noqa: BLE001 (whatever an answer provokes in a scorer)
        return b"0.0"
