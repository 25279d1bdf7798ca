"""A mirror's timing as its worker and its group's conductor see it."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control import timing as timing_module
from control.config import Config, CopySection
from control.hours import BadHours
from control.pace import BadSchedule, TwoPaces
from control.records import CycleKind, CycleRecord, MirrorRecord, MirrorState, StandingRecord
from control.timing import FOREVER, LAYERS_AT_MOST, MirrorTiming, timing_of
from tests.clocks import CENTRAL

RECORD = MirrorRecord("m", "data", "p:1", "data", MirrorState.RUNNING, 0, 0, False, True, False)
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=CENTRAL).timestamp()
"""A Monday."""


class Bench:
    """A mirror's timing at a time that the test sets."""

    def __init__(self, window: str = "always") -> None:
        self.now = NOON
        self.layers = 1
        self.changed = 0.0
        self.cycles: list[CycleRecord] = []
        context = SimpleNamespace(
            config=Config(copy=CopySection(window=window)),
            journal=SimpleNamespace(cycles=lambda mirror, limit: self.cycles[:limit]),
        )
        group = SimpleNamespace(layers_at_most=lambda: self.layers, changed=lambda: self.changed)
        self.timing = MirrorTiming("m", cast(Any, group), cast(Any, context))

    def standing(self, age: float) -> StandingRecord:
        return StandingRecord("m", "data", "u", 1, 0, committed_frozen_at=self.now - age)

    def due(self, age: float | None, *, idle: bool = False, **fields: Any) -> float | None:
        standing = None if age is None else self.standing(age)
        return self.timing.due(dataclasses.replace(RECORD, **fields), standing, idle=idle)

    def look_in(self, age: float, *, idle: bool = False, **fields: Any) -> float:
        record = dataclasses.replace(RECORD, **fields)
        return self.timing.look_in(record, self.standing(age), idle=idle)

    def room_in(self, age: float | None, **fields: Any) -> float:
        standing = None if age is None else self.standing(age)
        return self.timing.room_in(dataclasses.replace(RECORD, **fields), standing)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return prepared(monkeypatch)


def prepared(monkeypatch: pytest.MonkeyPatch, window: str = "always") -> Bench:
    made = Bench(window)
    monkeypatch.setattr(timing_module, "time", SimpleNamespace(time=lambda: made.now))
    monkeypatch.setattr("control.local_time.local_zone", lambda: CENTRAL)
    return made


def test_a_continuous_mirror_is_due_when_something_was_written(bench: Bench) -> None:
    assert bench.due(5.0) == 0.0
    assert bench.due(5.0, idle=True) == 55.0
    assert bench.look_in(5.0, idle=True) == 0.5, "it has to be asked again before"
    assert bench.room_in(5.0) == 0.0
    bench.layers = LAYERS_AT_MOST
    assert bench.room_in(5.0) == 0.5, "merges come before a freeze"
    assert bench.room_in(5.0, on_demand=True) == 0.0
    assert bench.room_in(None) == 0.0
    assert bench.look_in(5.0) == 0.0, "what is frozen is copied"
    assert bench.due(None) == 0.0


def test_each_setting_counts(bench: Bench) -> None:
    assert bench.due(5.0, interval_ms=30_000) == 25.0
    assert bench.due(5.0, on_demand=True) is None
    assert bench.look_in(5.0, on_demand=True) == FOREVER
    assert bench.due(5.0, schedule="30 12 * * *") == 1800.0
    assert bench.look_in(5.0, schedule="30 12 * * *") == 60.0, "somebody may set the clock"


def cycle(seconds: float, changed: int) -> CycleRecord:
    return CycleRecord(
        "m",
        "u",
        1,
        100.0,
        CycleKind.DELTA,
        "committed",
        changed_bytes=changed,
        copy_seconds=seconds,
        committed_at=100.0 + seconds,
    )


def test_for_a_target_it_counts_what_is_written_by_now(bench: Bench) -> None:
    bench.cycles = [cycle(4.0, 4_000)]
    assert bench.due(10.0, rpo_ms=60_000) == 60 - 10 - (1.25 * 4 + 1)
    bench.changed = 20_000
    assert bench.due(10.0, rpo_ms=60_000) == 60 - 10 - (1.25 * 20 + 1)
    assert bench.look_in(10.0, rpo_ms=60_000) == 0.5
    bench.changed = 50_000
    assert bench.due(10.0, rpo_ms=60_000) == 0.0


def test_a_target_that_is_missed_is_told(bench: Bench) -> None:
    record = dataclasses.replace(RECORD, rpo_ms=60_000)
    assert bench.timing.lateness(record, bench.standing(10.0)) == ""
    late = bench.timing.lateness(record, bench.standing(61.0))
    assert late.startswith("the replica's newest instant is 1m 1s old, older than the target of 1m")
    bench.cycles = [cycle(40.0, 1)]
    assert "cannot be kept" in bench.timing.lateness(record, bench.standing(10.0))
    paused = dataclasses.replace(record, state=MirrorState.PAUSED)
    assert bench.timing.lateness(paused, bench.standing(61.0)) == ""
    assert bench.timing.lateness(RECORD, bench.standing(1e6)) == ""
    assert bench.timing.lateness(record, None) == ""


def test_outside_its_hours_nothing_is_due(bench: Bench) -> None:
    nights: dict[str, Any] = {"window": "22:00-06:00"}
    assert bench.due(5.0, **nights) == 10 * 3600.0
    assert bench.due(None, **nights) == 10 * 3600.0
    assert bench.look_in(5.0, **nights) == 0.5
    assert bench.look_in(5.0, interval_ms=1, **nights) == 60.0
    record = dataclasses.replace(RECORD, rpo_ms=60_000, **nights)
    assert bench.timing.lateness(record, bench.standing(1e6)) == ""
    bench.now += 11 * 3600
    assert bench.due(5.0, **nights) == 0.0
    assert bench.timing.closes_in(record, bench.now) == 7 * 3600.0
    assert bench.timing.closes_in(RECORD, bench.now) is None


def test_a_mirror_of_its_own_hours_does_not_go_by_the_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = prepared(monkeypatch, "Sat-Sun")
    assert bench.timing.shut(RECORD, bench.now) == 4.5 * 86400
    assert bench.due(5.0, window="always") == 0.0
    assert bench.due(5.0, window="Mon") == 0.0


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(TwoPaces):
        timing_of(dataclasses.replace(RECORD, interval_ms=5, rpo_ms=5000), "")
    with pytest.raises(BadSchedule):
        timing_of(dataclasses.replace(RECORD, schedule="x"), "")
    with pytest.raises(BadHours):
        timing_of(dataclasses.replace(RECORD, window="x"), "")


def test_the_hosts_own_clock_is_used(tmp_path: Path) -> None:
    """Without a test's clock: whatever it is, always is open and a minute ends within one."""
    made = Bench()
    assert made.timing.shut(RECORD, time.time()) == 0.0
    minutely = dataclasses.replace(RECORD, schedule="* * * * *")
    made.now = time.time()
    left = made.timing.due(minutely, made.standing(0.0), idle=True)
    assert left is not None
    assert 0.0 <= left <= 60.0
