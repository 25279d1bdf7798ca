"""How fast auxiliary volumes fill: of late, and on average over half a minute."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

AVERAGE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Growth:
    """In bytes a second: between the last two looks, and as a moving average."""

    now: float = 0.0
    average: float = 0.0

    @property
    def expected(self) -> float:
        """What to be prepared for: a writer that rests writes on."""
        return max(self.now, self.average)


@dataclass(frozen=True, slots=True)
class Seen:
    """A live layer at the last look; ``at`` in seconds of any steady clock."""

    sequence: int
    used: int
    at: float
    growth: Growth = Growth()


def advance(before: Seen | None, sequence: int, used: int, at: float) -> Seen:
    """The next look. The average goes on across a freeze, after which the layer is a new one."""
    if before is None:
        return Seen(sequence, used, at)
    if at <= before.at:
        return before
    if sequence != before.sequence:
        return Seen(sequence, used, at, Growth(0.0, before.growth.average))
    seconds = at - before.at
    now = max(0.0, (used - before.used) / seconds)
    weight = -math.expm1(-seconds / AVERAGE_SECONDS)
    average = before.growth.average + weight * (now - before.growth.average)
    return Seen(sequence, used, at, Growth(now, average))


class Rates:
    """The newest look at every volume's live layer. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}

    def look(self, volume: str, sequence: int, used: int, at: float) -> Growth:
        """Note how many bytes of a live auxiliary volume are used."""
        with self._lock:
            seen = self._seen[volume] = advance(self._seen.get(volume), sequence, used, at)
        return seen.growth

    def seen(self, volume: str) -> Seen | None:
        """The newest look; None if there was none."""
        with self._lock:
            return self._seen.get(volume)

    def growth(self, volume: str) -> Growth:
        """How fast it fills."""
        seen = self.seen(volume)
        return seen.growth if seen is not None else Growth()

    def total(self) -> Growth:
        """How fast all fill together, which is how fast the pool does."""
        with self._lock:
            growths = [seen.growth for seen in self._seen.values()]
        return Growth(sum(one.now for one in growths), sum(one.average for one in growths))

    def forget(self, volume: str) -> None:
        """A volume is gone."""
        with self._lock:
            self._seen.pop(volume, None)
