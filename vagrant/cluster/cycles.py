"""Mirrors and their cycles, as ``frazil mirror status --json`` tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tests.workload.judge import Window

SLACK: Final = 0.0005
"""Seconds: more than a clock's reading is rounded by, less than any write takes."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle, from ``frazil mirror status --json``. Sizes in bytes, times in seconds."""

    generation: int
    uuid: str
    frozen_at: float
    kind: str
    state: str
    pause: float
    chunks: int
    changed: int
    sent: int
    done: int
    total: int
    copying: float
    lag: float
    verified: str
    resumed: int

    @property
    def window(self) -> Window:
        """When its generation was frozen, on the source's clock.

        ``frozen_at`` is taken while the head is suspended: what had not begun by then cannot
        be in, and what was acknowledged a whole pause earlier must be.
        """
        first, last = self.frozen_at - self.pause - SLACK, self.frozen_at + SLACK
        return Window(int(first * 1e9), int(last * 1e9))

    @staticmethod
    def of(document: Mapping[str, Any]) -> Cycle:
        """From the JSON of a ``Cycle`` message."""
        generation = document["generation"]
        return Cycle(
            generation=generation["number"],
            uuid=generation["uuid"],
            frozen_at=seconds_of(generation["frozen_at"]),
            kind=document["kind"],
            state=document["state"],
            pause=document["freeze_pause_us"] / 1e6,
            chunks=document["chunks"],
            changed=document["changed_bytes"],
            sent=document["sent_bytes"],
            done=document["done_bytes"],
            total=document["total_bytes"],
            copying=document["copy_ms"] / 1e3,
            lag=document["lag_ms"] / 1e3,
            verified=document["verified"],
            resumed=document["resumed"],
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing about it will change any more."""
        return self.state == "committed" and self.verified != "unverified"


@dataclass(frozen=True, slots=True)
class MirrorNow:
    """A mirror at this moment. ``recent`` is oldest first."""

    committed: int
    problem: str
    current: Cycle | None
    recent: tuple[Cycle, ...]

    @staticmethod
    def of(document: Mapping[str, Any]) -> MirrorNow:
        """From the JSON of a ``Mirror`` message."""
        committed, current = document["committed"], document["current"]
        # A cycle without a generation is one that was not frozen yet.
        running = current is not None and current["generation"] is not None
        return MirrorNow(
            committed=committed["number"] if committed else 0,
            problem=document["problem"],
            current=Cycle.of(current) if running else None,
            recent=tuple(Cycle.of(cycle) for cycle in reversed(document["recent"])),
        )

    def midway(self, share: float) -> Cycle | None:
        """The cycle that is copying, if something of it was sent and less than ``share``."""
        running = self.current
        if running is None or running.state != "copying" or running.generation <= self.committed:
            return None
        return running if 0 < running.done < share * running.total else None


def seconds_of(stamp: str | None) -> float:
    """An ISO 8601 time as seconds since the epoch; 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
