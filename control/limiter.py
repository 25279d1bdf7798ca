"""A rate limit that can change while it runs, and a stop that is heard while it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dm_tables.errors import Unavailable, Usage
from dm_tables.units import Bytes

BURST_SECONDS = 0.1
"""How much of a second's allowance may be taken at once after idling."""


class Interrupted(Unavailable):
    """Stopped on request before it was done; what is durable stays, and it can go on later."""


class RateLimiter:
    """A token bucket in bytes a second, for any number of threads.

    :param rate: bytes a second; 0: no limit.
    :param stop: set by anyone who wants the work to end; heard within a tenth of a second.
    :param clock: seconds that never run backwards; for tests.

    A request larger than the bucket is let through and paid for afterwards, so the size of a
    read or write never depends on the rate.
    """

    def __init__(
        self,
        rate: int = 0,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop = stop if stop is not None else threading.Event()
        self._clock = clock
        self._changed = threading.Condition()
        self._rate = _checked(rate)
        self._level = 0.0
        self._at = clock()

    @property
    def rate(self) -> Bytes:
        """Bytes a second; 0: no limit."""
        return Bytes(self._rate)

    def set_rate(self, rate: int) -> None:
        """Change the limit; who waits for the old one is told. :raises Usage: a negative rate."""
        with self._changed:
            self._refill()
            self._rate = _checked(rate)
            # Without a limit nothing is owed; neither is it under a limit set afterwards.
            self._level = min(self._level, rate * BURST_SECONDS) if rate else 0.0
            self._changed.notify_all()

    def take(self, count: int, check: Callable[[], None] = lambda: None) -> None:
        """Wait until ``count`` bytes may move. :raises Interrupted: ``stop`` is set.

        :param check: called some times a second while it waits; what it raises ends the wait.
        """
        with self._changed:
            while not self.stop.is_set():
                check()
                self._refill()
                if self._rate == 0:
                    return
                if self._level >= 0:
                    self._level -= count
                    return
                # The stop is an event and the rate a condition: look at the one, wait on the other.
                self._changed.wait(min(max(-self._level / self._rate, 0.001), 0.1))
        raise Interrupted("stopped before it was done")

    def _refill(self) -> None:
        now = self._clock()
        most = self._rate * BURST_SECONDS
        self._level = min(most, self._level + (now - self._at) * self._rate)
        self._at = now


class RateLimiterUnless(RateLimiter):
    """As another one, but for as long as there is a hurry: then there is no limit."""

    def __init__(self, limiter: RateLimiter, hurry: Callable[[], bool]) -> None:
        super().__init__(0, limiter.stop)
        self._limiter = limiter
        self._hurry = hurry

    def take(self, count: int, check: Callable[[], None] = lambda: None) -> None:
        """See :meth:`RateLimiter.take`; who waits already is let through, too."""

        def look() -> None:
            check()
            if self._hurry():
                raise _InAHurryError

        try:
            self._limiter.take(count, look)
        except _InAHurryError:
            super().take(count, check)


class _InAHurryError(Exception):
    """The limit does not count now."""


def _checked(rate: int) -> int:
    if rate < 0:
        raise Usage(f"a rate of {rate} bytes a second is negative", "use 0 for no limit")
    return rate
