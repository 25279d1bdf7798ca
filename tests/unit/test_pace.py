"""When the next cycle starts, by each kind of pace, and where the clock jumps."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest

from control.local_time import local_datetime, local_zone
from control.pace import (
    BadPace,
    BadSchedule,
    Pace,
    PaceKind,
    TwoPaces,
    due_in,
    expected_cycle,
    missed_target,
    next_start,
    parse_pace,
)
from control.records import CycleKind, CycleRecord
from dm_tables.errors import Kind
from tests.clocks import CENTRAL, zone_file


def instant(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=CENTRAL, fold=fold).timestamp()


def shown(at: float | None) -> str:
    assert at is not None
    return local_datetime(at, CENTRAL).isoformat(" ", "minutes")


def test_settings_mean_a_pace() -> None:
    assert parse_pace() == Pace()
    assert parse_pace(interval_ms=30_000) == Pace(PaceKind.INTERVAL, 30.0)  # type: ignore[arg-type]
    assert parse_pace(rpo_ms=5000).kind is PaceKind.TARGET
    assert parse_pace(on_demand=True).kind is PaceKind.ON_DEMAND
    assert parse_pace(schedule=" 0  2 * *  mon-fri ").schedule == "0 2 * * mon-fri"
    assert parse_pace(schedule="  ") == Pace()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"interval_ms": 30_000, "rpo_ms": 5000}, "an interval of 30s and a target of 5s were"),
        (
            {"schedule": "* * * * *", "on_demand": True},
            'the schedule "* * * * *" and cycles on demand only were',
        ),
        (
            {"interval_ms": 1, "schedule": "x", "rpo_ms": 1, "on_demand": True},
            'an interval of 1ms and the schedule "x" and',
        ),
    ],
)
def test_one_pace_at_a_time(settings: dict[str, object], says: str) -> None:
    with pytest.raises(TwoPaces) as caught:
        parse_pace(**settings)  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert caught.value.kind is Kind.USAGE


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rpo_ms": 999}, "a target of 999ms is out of bounds (from 1s to 52w2d)"),
        ({"interval_ms": 2**63}, "an interval of"),
        ({"interval_ms": -5}, "an interval of"),
    ],
)
def test_lengths_that_cannot_be_meant(settings: dict[str, int], says: str) -> None:
    with pytest.raises(BadPace) as caught:
        parse_pace(**settings)  # type: ignore[arg-type]
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("61 * * * *", 'the schedule "61 * * * *" has a minute that cannot be'),
        ("* 24 * * *", "has a hour that cannot be"),
        ("* * 32 * *", "has a day-of-month that cannot be"),
        ("* * 31 2 *", "has a day-of-month that cannot be"),
        ("* * * mai *", "has a month that cannot be"),
        ("* * * * 1-0", "has a day-of-week that cannot be"),
        ("*/0 * * * *", "has a minute that cannot be"),
        ("@daily", "has 1 fields instead of 5"),
        ("*/5 * * * * *", "has 6 fields instead of 5"),
        ("* * */20 * 1L", "never comes"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_named(text: str, says: str) -> None:
    with pytest.raises(BadSchedule) as caught:
        parse_pace(schedule=text)
    assert says in str(caught.value)
    assert caught.value.kind is Kind.USAGE


def test_a_schedule_is_the_clock_on_the_wall() -> None:
    assert shown(next_start("0 2 * * *", instant("2026-01-15 02:00"), CENTRAL)) == (
        "2026-01-16 02:00+01:00"
    )
    summer = next_start("0 2 * * *", instant("2026-07-15 01:59"), CENTRAL)
    assert shown(summer) == "2026-07-15 02:00+02:00"


def test_a_start_that_the_spring_skips_is_made_up_for_at_once_and_once() -> None:
    made_up = next_start("30 2 * * *", instant("2026-03-28 12:00"), CENTRAL)
    assert shown(made_up) == "2026-03-29 03:00+02:00"
    assert made_up is not None
    assert shown(next_start("30 2 * * *", made_up + 0.5, CENTRAL)) == "2026-03-30 02:30+02:00"


def test_a_start_that_comes_twice_in_autumn_is_taken_once() -> None:
    first = next_start("30 2 * * *", instant("2026-10-24 12:00"), CENTRAL)
    assert shown(first) == "2026-10-25 02:30+02:00"
    assert first is not None
    assert shown(next_start("30 2 * * *", first + 0.5, CENTRAL)) == "2026-10-26 02:30+01:00"
    asked = instant("2026-10-25 02:10", fold=1)
    assert shown(next_start("30 2 * * *", asked, CENTRAL)) == "2026-10-26 02:30+01:00"


@pytest.mark.parametrize(("day", "starts"), [("2026-10-25", 10), ("2026-03-29", 6)])
def test_a_schedule_finer_than_an_hour_goes_on_through_both(day: str, starts: int) -> None:
    """Every half hour of real time from 0:01 to 4:00, of which one is longer and one shorter."""
    at: float | None = instant(f"{day} 00:01")
    found = []
    while at is not None and at < instant(f"{day} 04:00"):
        at = next_start("*/30 * * * *", at, CENTRAL)
        found.append(at)
    assert len(found) == starts
    assert {b - a for a, b in itertools.pairwise(found) if a and b} == {1800.0}


def test_the_hosts_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TZ", raising=False)
    localtime = tmp_path / "localtime"
    localtime.write_bytes(zone_file())
    shown = local_datetime(instant("2026-07-01 12:00"), local_zone(localtime))
    assert shown.isoformat() == "2026-07-01T12:00:00+02:00"
    localtime.write_bytes(b"no zone")
    assert local_zone(localtime) is UTC
    assert local_zone(tmp_path / "none") is UTC
    localtime.write_bytes(zone_file())
    monkeypatch.setenv("TZ", "No/Such")
    assert local_zone(localtime) is UTC
    assert local_datetime(1e9).timestamp() == 1e9


def due(
    pace: Pace, waited: float | None, *, idle: bool = False, cycle: float = 0.0
) -> float | None:
    now = instant("2026-11-22 12:00")
    frozen = None if waited is None else now - waited
    return due_in(pace, now, frozen, idle=idle, expected_cycle_seconds=cycle, zone=CENTRAL)


def test_continuously() -> None:
    assert due(Pace(), 10.0) == 0.0
    assert due(Pace(), 10.0, idle=True) == 50.0
    assert due(Pace(), 70.0, idle=True) == 0.0


def test_at_intervals_and_on_demand() -> None:
    assert due(parse_pace(interval_ms=30_000), 10.0, idle=True) == 20.0
    assert due(parse_pace(interval_ms=5_000), 10.0) == 0.0
    assert due(parse_pace(on_demand=True), 1e9) is None
    assert due(parse_pace(on_demand=True), None) is None


def test_by_a_schedule() -> None:
    pace = parse_pace(schedule="15 * * * *")
    assert due(pace, 600.0) == 900.0
    assert due(pace, 46 * 60.0) == 0.0, "the start at 11:15 was missed"


def test_for_a_target_it_starts_early_enough_to_end_in_time() -> None:
    pace = parse_pace(rpo_ms=60_000)
    assert due(pace, 10.0, cycle=8.0) == 60 - 10 - (1.25 * 8 + 1)
    assert due(pace, 10.0, idle=True) == 49.0, "a resting volume's instant becomes old too"
    assert due(pace, 10.0, cycle=40.0) == 0.0


@pytest.mark.parametrize("taken", [0.2, 3.0, 11.0, 20.0])
def test_a_target_that_can_be_kept_is_kept(taken: float) -> None:
    """Cycles that take as long as expected: the age right before each commit."""
    pace, frozen, now = parse_pace(rpo_ms=40_000), 1000.0, 1000.0 + taken
    assert missed_target(pace, taken) == ""
    for _ in range(20):
        wait = due_in(pace, now, frozen, idle=False, expected_cycle_seconds=taken)
        assert wait is not None
        commit = now + wait + taken
        assert commit - frozen <= 40.0 + 1e-6
        frozen, now = now + wait, commit


def test_a_target_that_cannot_be_kept_is_told_of() -> None:
    said = missed_target(parse_pace(rpo_ms=30_000), 20.0)
    assert said.startswith("the target of 30s cannot be kept: cycles take 20.0 s")
    assert "becomes 40.0 s old" in said
    assert missed_target(parse_pace(interval_ms=1), 1e6) == ""


@pytest.mark.parametrize("pace", [Pace(), parse_pace(3600_000), parse_pace(schedule="0 0 1 1 *")])
def test_the_first_cycle_is_due_at_once_and_so_after_a_clock_set_back(pace: Pace) -> None:
    assert due(pace, None, idle=True) == 0.0
    assert due(pace, -7200.0, idle=True) == 0.0


CYCLE = CycleRecord(
    "m", "u", 1, 100.0, CycleKind.DELTA, "committed", changed_bytes=1000, committed_at=104.0
)


def test_what_a_cycle_is_expected_to_take() -> None:
    whole = dataclasses.replace(CYCLE, kind=CycleKind.WHOLE, committed_at=9999.0)
    running = dataclasses.replace(CYCLE, state="copying", committed_at=0.0)
    slow = dataclasses.replace(CYCLE, committed_at=107.0)
    assert expected_cycle([running, whole, CYCLE, slow], 0, 0.0) == 7.0
    assert expected_cycle([CYCLE] * 5 + [slow], 0, 0.0) == 4.0, "an old one is forgotten"
    assert expected_cycle([CYCLE], 9000, 1000.0) == 9.0
    assert expected_cycle([], 0, 0.0) == 0.0
