"""A run's file for TensorBoard, written where it is asked to be.

TensorBoard's own writer writes in a thread of its own, which prints a traceback where the disk is full.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = ["Board"]


class Board:
    """Adds a file to a folder that TensorBoard reads."""

    def __init__(self, folder: Path, from_step: int) -> None:
        """Begins the file.

        Args:
            folder: The folder; it is made where it is missing.
            from_step: What earlier files have of this step and later ones no longer counts.

        Raises:
            OSError: It could not be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("wb"))
        self._write(Event(file_version="brain.Event:2"))
        if from_step > 0:
            self._write(Event(step=from_step, session_log=SessionLog(status=SessionLog.START)))
        self._records.flush()

    def row(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes a step's numbers.

        Raises:
            OSError: They could not be written.
        """
        values = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        self._write(Event(step=step, summary=Summary(value=values)))
        self._records.flush()

    def close(self) -> None:
        """Closes the file."""
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
