"""Ctrl-C and SIGTERM while a run is training: noted, so that the update under way is finished and saved."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

__all__ = ["Signals", "StoppedError", "noted"]

_KINDS = (signal.SIGINT, signal.SIGTERM)
_ONE_PRESS = 1.0  # seconds: torchrun and make pass on what the terminal has sent already
_SAID = b"\nStopping after this update; a second Ctrl-C ends at once.\n"
_SHOW_CURSOR = b"\x1b[?25h"  # which a live picture hides
_STANDARD_ERROR = 2


class StoppedError(KeyboardInterrupt):
    """A run was stopped by a signal, and has been saved.

    A KeyboardInterrupt, so that whatever runs many runs stops too.

    Attributes:
        number: The signal; a process that it ends has the exit status 128 + number.
    """

    def __init__(self, number: int) -> None:
        """Takes the signal's number."""
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        """Names the signal."""
        return f"stopped by {signal.Signals(self.number).name}"


class Signals:
    """Which signal has come.

    Attributes:
        number: The first one's number; 0 before.
    """

    def __init__(self, quiet: bool = False) -> None:
        """No signal has come; when one does, it is answered on stderr unless that should be quiet."""
        self.number = 0
        self._when = 0.0
        self._quiet = quiet

    def note(self, number: int, frame: FrameType | None) -> None:
        """Takes a signal. A second one ends the process at once, as it would without us."""
        if not self.number:
            self.number, self._when = number, time.monotonic()
            if not self._quiet:
                with contextlib.suppress(OSError):  # closed
                    os.write(_STANDARD_ERROR, _SAID)  # no `print`: this may come in the midst of another
        elif time.monotonic() - self._when > _ONE_PRESS:
            if os.isatty(_STANDARD_ERROR):
                os.write(_STANDARD_ERROR, _SHOW_CURSOR)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextlib.contextmanager
def noted(quiet: bool = False) -> Iterator[Signals]:
    """Notes signals while the block runs. In a thread, which gets none, it does nothing; one that is ignored stays so.

    Args:
        quiet: Answer nothing on stderr.
    """
    signals = Signals(quiet)
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {kind: signal.getsignal(kind) for kind in _KINDS}
    for kind, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(kind, signals.note)
    try:
        yield signals
    finally:
        for kind, handler in before.items():
            if handler is not None:  # None: set by other than Python
                signal.signal(kind, handler)
