"""How a workload runs: until it is told to stop, or for a while, with a pause between steps."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType


class Pace:
    """``go()`` is true until SIGTERM or SIGINT came, the count is reached or time is up.

    :param seconds: 0 is without end. :param count: of steps; 0 is without end.
    :param pause: seconds between two steps.
    """

    def __init__(self, seconds: float = 0.0, count: int = 0, pause: float = 0.0) -> None:
        self._deadline = time.monotonic() + seconds if seconds else 0.0
        self._count = count
        self._pause = pause
        self._steps = 0
        self._stop = threading.Event()

    def listen(self) -> Pace:
        """Let SIGTERM and SIGINT end the run after the step under way."""
        signal.signal(signal.SIGTERM, self._stopped)
        signal.signal(signal.SIGINT, self._stopped)
        return self

    def stop(self) -> None:
        """End the run after the step under way."""
        self._stop.set()

    def go(self) -> bool:
        """Wait the pause; then, may another step be taken?"""
        if self._steps and self._pause and self._stop.wait(self._pause):
            return False
        over = self._deadline and time.monotonic() >= self._deadline
        if self._stop.is_set() or over or (self._count and self._steps >= self._count):
            return False
        self._steps += 1
        return True

    def _stopped(self, signum: int, frame: FrameType | None) -> None:
        self._stop.set()
