"""When copies may run: hours of the week, such as ``Mon-Fri 22:00-06:00, Sat-Sun``.

Hours are those that the host's clocks show, so where the clock jumps they come sooner or later
with it, and last an hour more or less.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dm_tables.errors import Usage

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = 24 * 60
WEEK = 7 * DAY
ALWAYS = "always"

_TIMES = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_PART = re.compile(r"(?P<days>[a-z]+(?:\s*-\s*[a-z]+)?)?\s*(?P<times>\d.*)?", re.IGNORECASE)
_DAY_NAME = re.compile(r"(mon|tues?|wed(nes)?|thu(rs?)?|fri|sat(ur)?|sun)(day)?")


class BadHours(Usage):
    """Text that names no hours of the week. :ivar text: what was written. :ivar part: where."""

    def __init__(self, text: str, part: str, problem: str) -> None:
        super().__init__(
            f'the window "{text}": "{part}" {problem}',
            'write days, times or both, as in "Mon-Fri 22:00-06:00, Sat-Sun"',
        )
        self.text = text
        self.part = part


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of the week; made by :func:`parse_hours`. ``minutes`` has one byte for each."""

    text: str
    minutes: bytes = field(repr=False, compare=False)

    @property
    def always(self) -> bool:
        """Whether they have no end."""
        return 0 not in self.minutes

    def open_at(self, when: datetime) -> bool:
        """Whether ``when``, as its own clock shows it, lies within them."""
        return bool(self.minutes[_minute(when)])

    def next_open(self, when: datetime) -> datetime:
        """The first instant from ``when`` on that lies within them."""
        found = self._next(when, 1)
        assert found is not None, "hours without a minute are refused"
        return found

    def next_close(self, when: datetime) -> datetime | None:
        """The first instant from ``when`` on that does not; None: they have no end."""
        return self._next(when, 0)

    def _next(self, when: datetime, wanted: int) -> datetime | None:
        if wanted not in self.minutes:
            return None
        while self.minutes[_minute(when)] != wanted:
            at = _minute(when)
            found = self.minutes.find(wanted, at)
            ahead = found - at if found >= 0 else self.minutes.find(wanted) + WEEK - at
            when = when.replace(second=0, microsecond=0)
            # Where the clock jumps on the way, up to the jump first, and over it by a minute.
            while ahead > 1 and _later(when, ahead).utcoffset() != when.utcoffset():
                ahead //= 2
            when = _later(when, ahead)
        return when


def parse_hours(text: str) -> Hours:
    """What ``text`` means; nothing is ``always``, which can be written too.

    Parts are divided by commas: days (``Sat``, ``Mon-Fri``), times (``22:00-06:00``, every day),
    or both. Times that end before they begin end on the next day.

    :raises BadHours: a part that means nothing, named.
    """
    plain = " ".join(text.split())
    if plain in ("", ALWAYS):
        return Hours(ALWAYS, b"\1" * WEEK)
    minutes = bytearray(WEEK)
    for part in (piece.strip() for piece in plain.split(",")):
        match = _PART.fullmatch(part)
        if not part or match is None:
            raise BadHours(plain, part, "is neither days nor times")
        days = _days(plain, match["days"])
        begin, length = _times(plain, match["times"])
        for day in days:
            for minute in range(begin, begin + length):
                minutes[(day * DAY + minute) % WEEK] = 1
    return Hours(plain, bytes(minutes))


def _days(text: str, part: str | None) -> list[int]:
    if part is None:
        return list(range(7))
    names = [name.strip() for name in part.split("-")]
    for name in names:
        if not _DAY_NAME.fullmatch(name.lower()):
            raise BadHours(text, name, "is no day of the week")
    first, last = (DAYS.index(name.lower()[:3]) for name in (names[0], names[-1]))
    return [(first + more) % 7 for more in range((last - first) % 7 + 1)]


def _times(text: str, part: str | None) -> tuple[int, int]:
    """(first minute of the day, how many)."""
    if part is None:
        return 0, DAY
    match = _TIMES.fullmatch(part)
    if match is None:
        raise BadHours(text, part, "is not from one time of the day to another")
    begin, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (1, 3))
    for hour, minute, whole in ((match[1], match[2], begin), (match[3], match[4], end)):
        if int(minute) > 59 or whole > DAY:
            raise BadHours(text, f"{hour}:{minute}", "is no time of the day")
    if begin == DAY or ((end - begin) % DAY == 0 and not (begin == 0 and end == DAY)):
        raise BadHours(text, part, "ends where it begins")
    return begin, end - begin if end > begin else end - begin + DAY


def _minute(when: datetime) -> int:
    return when.weekday() * DAY + when.hour * 60 + when.minute


def _later(when: datetime, minutes: int) -> datetime:
    step = timedelta(minutes=minutes)
    if when.tzinfo is None:
        return when + step
    return (when.astimezone(UTC) + step).astimezone(when.tzinfo)
