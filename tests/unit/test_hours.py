"""Hours of the week: what is open when, over midnight, the week's end and clocks that jump."""

from __future__ import annotations

from datetime import datetime

import pytest

from control.hours import BadHours, parse_hours
from dm_tables.errors import Kind
from tests.clocks import CENTRAL

NIGHTS = parse_hours("Mon-Fri 22:00-06:00, Sat-Sun")


def at(text: str, fold: int = 0) -> datetime:
    """``2026-11-23`` is a Monday."""
    return datetime.fromisoformat(text).replace(tzinfo=CENTRAL, fold=fold)


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("2026-11-23 05:59", False),
        ("2026-11-23 21:59", False),
        ("2026-11-23 22:00", True),
        ("2026-11-24 05:59:59", True),
        ("2026-11-24 06:00", False),
        ("2026-11-27 23:00", True),
        ("2026-11-28 07:00", True),
        ("2026-11-29 23:59:59", True),
        ("2026-11-30 00:00", False),
    ],
)
def test_nights_and_weekends(when: str, is_open: bool) -> None:
    assert NIGHTS.open_at(at(when)) is is_open
    assert NIGHTS.open_at(at(when).replace(tzinfo=None)) is is_open


def test_when_it_opens_and_closes_next() -> None:
    assert NIGHTS.next_open(at("2026-11-23 12:34:56")) == at("2026-11-23 22:00")
    assert NIGHTS.next_open(at("2026-11-23 22:10:11")) == at("2026-11-23 22:10:11")
    assert NIGHTS.next_close(at("2026-11-27 23:00")) == at("2026-11-30 00:00")
    assert NIGHTS.next_close(at("2026-11-30 00:00:05")) == at("2026-11-30 00:00:05")
    seldom = parse_hours("Sun 23:00-01:00")
    assert seldom.next_open(at("2026-11-23 01:00")) == at("2026-11-29 23:00")
    assert seldom.open_at(at("2026-11-23 00:30"))


def test_nothing_is_always() -> None:
    for text in ("", "  ", "Mon-Sun", "00:00-24:00", "Tue-Mon"):
        always = parse_hours(text)
        assert always.always
        assert always.next_close(at("2026-11-23 12:00")) is None
        assert always.next_open(at("2026-11-23 12:00")) == at("2026-11-23 12:00")
    assert not NIGHTS.always


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("monday-FRIDAY 22:00 - 06:00,sat-sun", "Mon-Fri 22:00-06:00, Sat-Sun"),
        ("1:00-02:30", "Mon-Sun 01:00-02:30"),
        ("Sat-Mon 9:00-10:00", "Sat 9:00-10:00, Sun 9:00-10:00, Mon 9:00-10:00"),
        ("Fri 20:00-24:00", "Friday 20:00-00:00"),
    ],
)
def test_ways_to_write_the_same(text: str, same: str) -> None:
    assert parse_hours(text).minutes == parse_hours(same).minutes


@pytest.mark.parametrize(
    ("text", "part", "says"),
    [
        ("Mon-Fry 22:00-06:00", "Fry", '"Fry" is no day of the week'),
        ("Mon-Fri 22:00-06:00, whenever", "whenever", "is no day"),
        ("Mon 25:00-26:00", "25:00", "is no time of the day"),
        ("Mon 10:00-10:61", "10:61", "is no time of the day"),
        ("10:00-24:01", "24:01", "is no time of the day"),
        ("Mon 10:00", "10:00", "is not from one time"),
        ("Mon 10-12", "10-12", "is not from one time"),
        ("Mon 10:00-10:00", "10:00-10:00", "ends where it begins"),
        ("24:00-00:00", "24:00-00:00", "ends where it begins"),
        ("Mon,,Tue", "", "is neither"),
        ("*", "*", "is neither"),
        ("Mon-Fri-Sun", "Mon-Fri-Sun", "is neither"),
    ],
)
def test_what_is_wrong_is_named(text: str, part: str, says: str) -> None:
    with pytest.raises(BadHours) as caught:
        parse_hours(text)
    assert caught.value.part == part
    assert says in str(caught.value)
    assert caught.value.kind is Kind.USAGE


def test_hours_that_the_spring_skips_open_at_the_jump() -> None:
    hours = parse_hours("02:30-04:00")
    assert hours.next_open(at("2026-03-29 01:00")) == at("2026-03-29 03:00")
    assert hours.next_open(at("2026-03-28 05:00")) == at("2026-03-29 03:00")


def test_hours_that_come_twice_in_autumn_open_twice() -> None:
    hours = parse_hours("02:30-02:45")
    assert hours.next_open(at("2026-10-25 01:00")).fold == 0
    again = hours.next_open(at("2026-10-25 02:50"))
    assert (again.isoformat(), again.fold) == ("2026-10-25T02:30:00+01:00", 1)
    assert hours.next_open(at("2026-10-25 02:50", fold=1)) == at("2026-10-26 02:30")
