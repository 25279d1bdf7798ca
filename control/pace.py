"""When a mirror's cycles start: continuously, at intervals, by a schedule, by a target, or asked.

Claim 18 has the next cycle begin when the one before has ended, or after a time. A schedule is
five cron fields in the host's local time, read as Debian's cron does, also where the clock jumps.
A target (RPO) bounds how old the replica's newest instant may become; the pace follows from how
long cycles take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum

from cronsim import CronSim, CronSimError

from control.local_time import local_datetime
from control.records import CycleKind, CycleRecord
from control.units_text import Seconds, exact_duration, human_duration
from dm_tables.errors import Usage

IDLE_SECONDS = 60.0
"""A continuous mirror whose volume rests is frozen this often, to say that it rested."""

LONGEST_MS = 366 * 86_400_000
SHORTEST_TARGET_MS = 1000

MARGIN = 1.25
SPARE_SECONDS = 1.0
"""A cycle for a target starts so much earlier than cycles of late would need."""

CYCLES = 5
"""The newest so many tell how long a cycle takes."""

FIELDS = 5
_EXAMPLE = '"*/15 8-18 * * Mon-Fri": minute, hour, day of the month, month, day of the week'


class PaceKind(StrEnum):
    """What a mirror goes by."""

    CONTINUOUS = "continuous"
    INTERVAL = "interval"
    SCHEDULE = "schedule"
    TARGET = "target"
    ON_DEMAND = "on demand"


class BadPace(Usage):
    """An interval or a target that cannot be meant."""


class TwoPaces(Usage):
    """A mirror was given more than one."""


class BadSchedule(Usage):
    """Text that is no schedule. :ivar text: what was written."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f'the schedule "{text}" {problem}', f"five fields such as {_EXAMPLE}")
        self.text = text


@dataclass(frozen=True, slots=True)
class Pace:
    """When cycles start; made by :func:`parse_pace`.

    :ivar seconds: of an interval, from one freeze to the next; of a target, the age that the
        replica's newest instant may reach. :ivar schedule: five cron fields.
    """

    kind: PaceKind = PaceKind.CONTINUOUS
    seconds: Seconds = Seconds(0.0)
    schedule: str = ""


def parse_pace(
    interval_ms: int = 0, schedule: str = "", rpo_ms: int = 0, on_demand: bool = False
) -> Pace:
    """The pace that a mirror's settings mean; none of them is continuous.

    :raises TwoPaces: more than one of them is set.
    :raises BadPace: a length of time that cannot be meant.
    :raises BadSchedule: text that is no schedule, or one that never comes.
    """
    text = " ".join(schedule.split())
    given = {
        f"an interval of {_shown(interval_ms)}": interval_ms,
        f'the schedule "{text}"': text,
        f"a target of {_shown(rpo_ms)}": rpo_ms,
        "cycles on demand only": on_demand,
    }
    chosen = [words for words, value in given.items() if value]
    if len(chosen) > 1:
        raise TwoPaces(
            f"a mirror goes by one pace, and {' and '.join(chosen)} were asked for",
            "set the others to 0, or to nothing",
        )
    if text:
        check_schedule(text)
        return Pace(PaceKind.SCHEDULE, schedule=text)
    if on_demand:
        return Pace(PaceKind.ON_DEMAND)
    if interval_ms:
        return Pace(PaceKind.INTERVAL, _length("an interval", interval_ms, 1))
    if rpo_ms:
        return Pace(PaceKind.TARGET, _length("a target", rpo_ms, SHORTEST_TARGET_MS))
    return Pace()


def _shown(milliseconds: int) -> str:
    return exact_duration(Seconds(milliseconds / 1000))


def _length(what: str, milliseconds: int, least: int) -> Seconds:
    if not least <= milliseconds <= LONGEST_MS:
        raise BadPace(
            f"{what} of {_shown(milliseconds)} is out of bounds",
            f"from {_shown(least)} to {_shown(LONGEST_MS)}",
        )
    return Seconds(milliseconds / 1000)


# Schedules.


def check_schedule(text: str) -> None:
    """:raises BadSchedule: not five cron fields, or no day ever fits them."""
    if len(text.split()) != FIELDS:
        raise BadSchedule(text, f"has {len(text.split())} fields instead of {FIELDS}")
    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise BadSchedule(text, f"has a {field} that cannot be") from None
    except StopIteration:
        raise BadSchedule(text, "never comes") from None


def next_start(schedule: str, after: float, zone: tzinfo | None = None) -> float | None:
    """The first start of a checked schedule later than ``after``; both in epoch seconds.

    Where the clock is put forward past a start, the start is right behind the jump; where it is
    put back, what runs less than hourly does so once. None: there is none in 50 years.
    """
    for start in CronSim(schedule, local_datetime(after, zone)):
        # In an hour that comes twice the library means the first of them.
        if start.timestamp() > after:
            return start.timestamp()
    return None


# What is due.


def due_in(
    pace: Pace,
    now: float,
    committed_frozen_at: float | None,
    *,
    idle: bool,
    expected_cycle_seconds: float = 0.0,
    zone: tzinfo | None = None,
) -> float | None:
    """Seconds until the next freeze at the earliest; 0 for now, None: only when asked.

    The first cycle is due at once whatever the pace, and so is one that was missed while nothing
    ran; a start missed several times is made up for once.

    :param now: seconds since the epoch. :param committed_frozen_at: the replica's newest instant;
        None while it has none.
    :param idle: nothing was written since the last freeze.
    :param expected_cycle_seconds: from a freeze now to its commit, see :func:`expected_cycle`.
    :param zone: of a schedule; the host's own by default.
    """
    if pace.kind is PaceKind.ON_DEMAND:
        return None
    # An instant yet to come tells of a clock that was set back: no reason to wait until then.
    if committed_frozen_at is None or committed_frozen_at > now:
        return 0.0
    waited = now - committed_frozen_at
    match pace.kind:
        case PaceKind.INTERVAL:
            left = pace.seconds - waited
        case PaceKind.SCHEDULE:
            start = next_start(pace.schedule, committed_frozen_at, zone)
            if start is None:
                return None
            left = start - now
        case PaceKind.TARGET:
            left = pace.seconds - waited - _headroom(expected_cycle_seconds)
        case _:
            left = IDLE_SECONDS - waited if idle else 0.0
    return max(0.0, left)


def _headroom(cycle_seconds: float) -> float:
    return MARGIN * cycle_seconds + SPARE_SECONDS


def expected_cycle(recent: Sequence[CycleRecord], changed: int, throughput: float) -> Seconds:
    """Seconds from a freeze now to its commit: as the slowest of late, or what its size takes.

    :param recent: cycles, newest first; whole copies and running ones do not count.
    :param changed: bytes that the live layer holds. :param throughput: bytes a second of the
        copies of late; 0 if none is known.
    """
    done = [
        cycle
        for cycle in recent
        if cycle.state == "committed" and cycle.kind is not CycleKind.WHOLE
    ]
    longest = max((cycle.committed_at - cycle.frozen_at for cycle in done[:CYCLES]), default=0.0)
    own = changed / throughput if throughput > 0 else 0.0
    return Seconds(max(0.0, longest, own))


def missed_target(pace: Pace, cycle_seconds: float) -> str:
    """Why a target cannot be kept, in one sentence; empty if it can, or there is none.

    Right before a commit the replica's newest instant is older than the frozen one by a cycle at
    least: one starts when the one before it is committed.
    """
    oldest = 2 * cycle_seconds
    if pace.kind is not PaceKind.TARGET or oldest <= pace.seconds:
        return ""
    return (
        f"the target of {exact_duration(pace.seconds)} cannot be kept: cycles take "
        f"{human_duration(cycle_seconds)} from freeze to commit, so that the replica's newest "
        f"instant becomes {human_duration(oldest)} old"
    )
