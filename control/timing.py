"""When the cycles of a mirror start, and when its copies may run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

from control.context import Context
from control.forecast import throughput
from control.hours import Hours, parse_hours
from control.local_time import local_datetime
from control.mirrored import MirroredGroup
from control.pace import CYCLES, Pace, PaceKind, due_in, expected_cycle, missed_target, parse_pace
from control.records import MirrorRecord, MirrorState, StandingRecord
from control.units_text import exact_duration, human_duration

POLL_SECONDS = 0.5
"""A continuous mirror looks this often whether anything was written."""

LOOK_SECONDS = 60.0
"""Nothing that goes by the clock on the wall sleeps longer: somebody may set it."""

LAYERS_AT_MOST = 8
FOREVER = 3600.0


@dataclass(frozen=True, slots=True)
class Timing:
    """A mirror's settings, read."""

    pace: Pace
    hours: Hours


def timing_of(record: MirrorRecord, window: str) -> Timing:
    """What a mirror's settings mean; ``window``: of those that have none of their own.

    :raises Usage: they mean nothing: see :func:`parse_pace` and :func:`parse_hours`.
    """
    settings = (record.interval_ms, record.schedule, record.rpo_ms, record.on_demand)
    return _timing(*settings, record.window or window)


@lru_cache(maxsize=1024)
def _timing(
    interval_ms: int, schedule: str, rpo_ms: int, on_demand: bool, window: str, /
) -> Timing:
    return Timing(parse_pace(interval_ms, schedule, rpo_ms, on_demand), parse_hours(window))


class MirrorTiming:
    """When one mirror is due, by its settings and what it did of late."""

    def __init__(self, mirror: str, group: MirroredGroup, context: Context) -> None:
        self._mirror = mirror
        self._group = group
        self._context = context

    def of(self, record: MirrorRecord) -> Timing:
        """The mirror's settings, read."""
        return timing_of(record, self._context.config.copy.window)

    def due(
        self, record: MirrorRecord, standing: StandingRecord | None, *, idle: bool
    ) -> float | None:
        """Seconds until the next cycle at the earliest (claim 18); None: only when asked.

        :param standing: what the replica has; None while it has nothing.
        """
        timing, now = self.of(record), time.time()
        due = due_in(
            timing.pace,
            now,
            standing.committed_frozen_at if standing is not None else None,
            idle=idle,
            expected_cycle_seconds=self._expected(timing.pace),
        )
        if due is None:
            return None
        return max(due, self.shut(record, now))

    def room_in(self, record: MirrorRecord, standing: StandingRecord | None) -> float:
        """Seconds that a freeze waits because the stack is high; 0: it is not.

        A copy of what is frozen already does not: it is what lets layers go.
        """
        if standing is None or not _bounded(self.of(record).pace):
            return 0.0
        return POLL_SECONDS if self._group.layers_at_most() >= LAYERS_AT_MOST else 0.0

    def look_in(
        self, record: MirrorRecord, standing: StandingRecord | None, *, idle: bool
    ) -> float:
        """Seconds until it is to be asked again whether a cycle is due; 0: one is."""
        due = self.due(record, standing, idle=idle)
        if due is None:
            return FOREVER
        return min(due, POLL_SECONDS if _bounded(self.of(record).pace) else LOOK_SECONDS)

    def shut(self, record: MirrorRecord, now: float) -> float:
        """Seconds until copies may run; 0: they may."""
        hours = self.of(record).hours
        if hours.always:
            return 0.0
        return max(0.0, hours.next_open(local_datetime(now)).timestamp() - now)

    def closes_in(self, record: MirrorRecord, now: float) -> float | None:
        """Seconds until copies may no longer run; None: they always may."""
        closes = self.of(record).hours.next_close(local_datetime(now))
        return None if closes is None else max(0.0, closes.timestamp() - now)

    def lateness(self, record: MirrorRecord, standing: StandingRecord | None) -> str:
        """Why a target is not kept, in one sentence; empty if it is, or there is none."""
        pace, now = self.of(record).pace, time.time()
        running = record.state is MirrorState.RUNNING and not self.shut(record, now)
        if pace.kind is not PaceKind.TARGET or standing is None or not running:
            return ""
        age = now - standing.committed_frozen_at
        if age > pace.seconds:
            return (
                f"the replica's newest instant is {human_duration(age)} old, older than the "
                f"target of {exact_duration(pace.seconds)}"
            )
        return missed_target(pace, self._expected(pace))

    def _expected(self, pace: Pace) -> float:
        """What a cycle that is frozen now takes; only a target asks for it."""
        if pace.kind is not PaceKind.TARGET:
            return 0.0
        recent = self._context.journal.cycles(self._mirror, CYCLES + 1)
        return expected_cycle(recent, round(self._group.changed()), throughput(recent))


def _bounded(pace: Pace) -> bool:
    """Whether what is written makes it due sooner."""
    return pace.kind in (PaceKind.CONTINUOUS, PaceKind.TARGET)
