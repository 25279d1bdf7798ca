"""Which generations a replica keeps to be shown: decided from their times alone.

Hours, days and weeks (from Monday on) are UTC's. All members of a group have the same times, so
they keep the same instants. What the rules drop they would never ask for again, whatever comes:
the newest of an hour was the newest of all when it came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dm_tables.errors import Usage

HOUR = 3600 * 10**9
DAY = 24 * HOUR
MOST_POINTS = 256
"""A generation that is shown stands on as many devices as there are layers below it."""


class Rule(StrEnum):
    """Why a generation is kept."""

    NEWEST = "newest"
    LAST = "last"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    DIVERGED = "diverged"
    """A demoted source wrote it, and no other host has it."""
    CASCADE = "cascade"
    """Another host is to have it from here."""
    HELD = "held"
    """A device shows it."""
    READING = "reading"
    """It is being compared."""


POLICY = frozenset({Rule.LAST, Rule.HOURLY, Rule.DAILY, Rule.WEEKLY})
"""What retention says; a generation that nothing else keeps gives way when room is short."""


class TooManyPoints(Usage):
    """A retention that would keep more generations than can be shown."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How many generations are kept; all 0: only the newest.

    ``last``: the newest so many; the others: the newest of each of so many hours, days, weeks
    that have any.

    :raises TooManyPoints: more than 256 in all.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0

    def __post_init__(self) -> None:
        points = self.last + self.hourly + self.daily + self.weekly
        if points > MOST_POINTS:
            raise TooManyPoints(
                f"{points} recovery points are more than the {MOST_POINTS} that can be kept",
                "keep fewer of the last, hourly, daily or weekly ones",
            )


@dataclass(frozen=True, slots=True)
class Instant:
    """A generation as retention sees it; ``frozen_at`` in ns since the epoch."""

    number: int
    frozen_at: int


def kept_by(
    instants: Iterable[Instant],
    retention: Retention,
    wanted: Mapping[int, Collection[Rule]] | None = None,
) -> dict[int, tuple[Rule, ...]]:
    """The numbers of the generations that are kept, each with why.

    :param instants: the generations whose image is there.
    :param wanted: what is kept for other reasons than its time.
    """
    newest_first = sorted(instants, key=lambda one: one.number, reverse=True)
    found: dict[int, list[Rule]] = {one.number: [] for one in newest_first}
    for one in newest_first[:1]:
        found[one.number].append(Rule.NEWEST)
    for one in newest_first[: retention.last]:
        found[one.number].append(Rule.LAST)
    for rule, count, period in (
        (Rule.HOURLY, retention.hourly, _hour),
        (Rule.DAILY, retention.daily, _day),
        (Rule.WEEKLY, retention.weekly, _week),
    ):
        # The first one seen of each period is its newest.
        periods: dict[int, int] = {}
        for one in newest_first:
            periods.setdefault(period(one.frozen_at), one.number)
        for which in sorted(periods, reverse=True)[:count]:
            found[periods[which]].append(rule)
    for number, rules in (wanted or {}).items():
        if number in found:
            found[number] += sorted(rules)
    return {number: tuple(rules) for number, rules in found.items() if rules}


def _hour(at: int) -> int:
    return at // HOUR


def _day(at: int) -> int:
    return at // DAY


def _week(at: int) -> int:
    # The epoch was a Thursday.
    return (at // DAY + 3) // 7
