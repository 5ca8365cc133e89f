"""The run directory that a person can read, and what the terminal shows meanwhile.

config.json      every setting of the run
metrics.csv      one row per update (see METRICS), written as it happens
samples.jsonl    sampled and greedy completions over time
tensorboard/     the same numbers for TensorBoard
curves.png       reward, success, entropies, reference KL
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rlfl_agents.files import naming, write_text
from rlfl_agents.run.board import Board
from rlfl_agents.run.metrics import METRICS_FILE, SAMPLES_FILE, Sample, readable_rows, readable_samples
from rlfl_agents.terminal import say
from rlfl_envs import printable

__all__ = ["Log", "RunLog"]


class Log:
    """Keeps and shows nothing: the log of every process but the main one."""

    def row(self, row: Mapping[str, float], shown: Sequence[Sample] = ()) -> None:
        """Takes one update's metrics, and a few samples to show beside them."""

    def samples(self, update: int, kind: str, samples: Sequence[Sample]) -> None:
        """Takes sampled completions; `kind` says how they were chosen ("train", "greedy")."""

    def note(self, text: str) -> None:
        """Takes a line to be shown, once however often it comes."""

    def sync(self) -> None:
        """Puts what was taken on the disk, before a checkpoint that counts on it."""

    def close(self) -> None:
        """Takes no more."""


class RunLog(Log):
    """Writes the run directory's metrics and samples, and shows progress."""

    def __init__(
        self,
        run: Path,
        names: Sequence[str],
        updates: int,
        from_update: int,
        quiet: bool = False,
        minutes: float | None = None,
    ) -> None:
        """Opens the files.

        Args:
            run: The run's directory.
            names: The columns of metrics.csv.
            updates: How many updates the run will have.
            from_update: Rows and samples of later updates, which a killed run left, are dropped first; -1 drops all.
                So is what cannot be read; the damaged file stays beside the new one.
            quiet: Show nothing.
            minutes: The run ends after so many minutes of training, if that comes first.
        """
        self._names = list(names)
        self._updates = updates
        self._minutes = math.inf if minutes is None else minutes
        self._first = max(0, from_update)
        self._begun = time.monotonic()
        self._run = run
        self._noted: set[str] = set()
        self._quiet = quiet
        self._live: Live | None = None
        with naming(run / METRICS_FILE):
            evaluated = self._truncate(from_update)
            self._csv = (run / METRICS_FILE).open("a", newline="", encoding="utf-8")
            self._writer = csv.DictWriter(self._csv, self._names, lineterminator="\n")
        with naming(run / SAMPLES_FILE):
            self._truncate_samples(from_update, evaluated)
            self._samples = (run / SAMPLES_FILE).open("a", encoding="utf-8", errors="backslashreplace")
        with naming(run / "tensorboard"):
            self._board = Board(run / "tensorboard", from_update + 1)
        self._latest: dict[str, float] = {}
        self._evaluated = 0
        self._shown: list[Sample] = []
        self._last_line = 0.0
        if not quiet and sys.stdout.isatty():
            self._live = Live(console=Console(), refresh_per_second=4)
            self._live.start()

    def row(self, row: Mapping[str, float], shown: Sequence[Sample] = ()) -> None:
        """Writes one update's metrics and shows them beside a few samples; names missing from the row stay empty."""
        with naming(self._run / METRICS_FILE):
            self._writer.writerow({name: _text(row[name]) for name in self._names if name in row})
            self._csv.flush()
        with naming(self._run / "tensorboard"):
            self._board.row(int(row["update"]), row)
        self._latest |= row
        if "eval/success" in row:
            self._evaluated = int(row["update"])
        self._shown = list(shown)
        if self._live is not None:
            self._live.update(self._picture())
        elif not self._quiet and (
            time.monotonic() - self._last_line > 10 or "eval/success" in row or row["update"] == self._updates
        ):
            self._last_line = time.monotonic()
            say(self._line())

    def samples(self, update: int, kind: str, samples: Sequence[Sample]) -> None:
        """Keeps sampled completions; `kind` says how they were chosen ("train", "greedy")."""
        with naming(self._run / SAMPLES_FILE):
            for sample in samples:
                entry = {"update": update, "kind": kind, **sample._asdict()}
                self._samples.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._samples.flush()

    def note(self, text: str) -> None:
        """Prints a line above the live picture, once however often it comes."""
        if text in self._noted:
            return
        self._noted.add(text)
        if self._live is not None:
            self._live.console.print(printable(text), markup=False)
        elif not self._quiet:
            say(text)

    def sync(self) -> None:
        """Asks the operating system to put rows and samples on the disk."""
        for path, file in ((METRICS_FILE, self._csv), (SAMPLES_FILE, self._samples)):
            with naming(self._run / path):
                os.fsync(file.fileno())

    def close(self) -> None:
        """Closes the files; the last picture stays on the screen."""
        if self._live is not None:
            self._live.stop()
        for file in (self._csv, self._samples, self._board):
            with contextlib.suppress(
                OSError
            ):  # each row has been flushed: what a full disk does not take was said then
                file.close()

    def _truncate(self, last: int) -> set[int]:
        """Keeps the header and the rows of updates 0..last; returns at which of them there was an evaluation."""
        path = self._run / METRICS_FILE
        table = readable_rows(path)
        kept = {int(row["update"]): row for row in table.rows if int(row["update"]) <= last}
        lost = [update for update in range(last + 1) if update not in kept]
        if not table.is_whole or lost:
            self._put_aside(path, f"it now lacks {len(lost)} of {last + 1} rows" if lost else "no row is lost")
        lines = [",".join(row.get(name, "") for name in self._names) for row in kept.values()]
        write_text(path, "\n".join([",".join(self._names), *lines]) + "\n")
        return {update for update, row in kept.items() if row.get("eval/success")}

    def _truncate_samples(self, last: int, evaluated: set[int]) -> None:
        """Keeps the samples of updates 0..last; each evaluation has left some."""
        path = self._run / SAMPLES_FILE
        samples, is_whole = readable_samples(path)
        if not is_whole or not evaluated <= {entry["update"] for _, entry in samples}:
            self._put_aside(path, "it now lacks samples")
        write_text(path, "".join(f"{line}\n" for line, entry in samples if entry["update"] <= last))

    def _put_aside(self, path: Path, effect: str) -> None:
        """Keeps a damaged file under another name, and says so."""
        aside = path.with_name(f"damaged-{path.name}")
        where = "not there"
        if path.exists():
            path.replace(aside)
            where = f"kept as {aside.name}"
        self.note(f"{path} was damaged: {effect}. What was there is {where}.")

    def _line(self) -> str:
        shown = (f"{label} {value}" for label, value in self._shown_numbers())
        return "  ".join([f"update {int(self._latest['update'])}/{self._updates}", *shown])

    def _shown_numbers(self) -> list[tuple[str, str]]:
        """Labels and values, how old the held-out success is, and how long the run will still take."""
        shown = []
        for name, label, form in _LINE:
            if name in self._latest:
                is_old = name == "eval/success" and self._evaluated != self._latest["update"]
                value = f"{self._latest[name]:{form}}" + (f" (update {self._evaluated})" if is_old else "")
                shown.append((label, value))
        done = int(self._latest["update"])
        if self._first < done < self._updates:
            seconds = (time.monotonic() - self._begun) / (done - self._first) * (self._updates - done)
            seconds = min(seconds, 60 * (self._minutes - self._latest.get("clock/minutes", 0.0)))
            shown.append(("time left", _duration(max(0.0, seconds))))
        return shown

    def _picture(self) -> Group:
        numbers = Table.grid(padding=(0, 3))
        shown = self._shown_numbers()
        for _ in range(4):
            numbers.add_column()
        for i in range(0, len(shown), 4):
            numbers.add_row(*(f"{label} [bold]{value}[/bold]" for label, value in shown[i : i + 4]))
        texts = Table("prompt", "completion", "reward", expand=False)
        for sample in self._shown[:6]:
            mark = "green" if sample.is_success else "white"
            prompt, completion = printable(sample.prompt), printable(sample.completion)
            texts.add_row(Text(prompt), Text(completion, style=mark), f"{sample.reward:.3f}")
        title = f"update {int(self._latest['update'])} of {self._updates}"
        return Group(title, numbers, texts)


_LINE = (
    ("samples", "samples", ",.0f"),
    ("reward", "reward", ".3f"),
    ("success", "success", ".3f"),
    ("entropy", "entropy", ".2f"),
    ("batch_entropy", "batch entropy", ".2f"),
    ("ref_kl", "ref_kl", ".2f"),
    ("eval/success", "held-out success", ".3f"),
    ("clock/samples_per_second", "samples/s", ",.0f"),
    ("clock/minutes", "minutes", ".1f"),
)


def _duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _text(value: float) -> str:
    """Integers as they are, floats so that reading them back gives the same bits."""
    return str(value) if isinstance(value, int) else repr(float(value))
