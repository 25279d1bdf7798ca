"""Which generations are kept, and how many layers that takes, against the rules said plainly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.replica.planning import MOST_OPEN, Plan, PlannedLayer
from control.replica.retention import (
    DAY,
    HOUR,
    MOST_POINTS,
    Instant,
    Retention,
    Rule,
    TooManyPoints,
    kept_by,
)
from dm_tables.units import MIB, Bytes

START = int(datetime(2024, 2, 26, 22, 10, tzinfo=UTC).timestamp()) * 10**9
counts = st.integers(0, 5)
retentions = st.builds(Retention, counts, counts, counts, counts)


@st.composite
def histories(draw: st.DrawFn) -> list[Instant]:
    """Generations at rising times: minutes, hours or days apart, numbers with gaps."""
    found, at, number = [], START, 0
    for _ in range(draw(st.integers(1, 60))):
        number += draw(st.sampled_from([1, 1, 3]))
        at += draw(st.sampled_from([HOUR // 7, HOUR // 2, HOUR, 7 * HOUR, DAY, 8 * DAY]))
        found.append(Instant(number, at))
    return found


def period_of(rule: Rule, one: Instant) -> tuple[int, ...]:
    """The hour, day or week as a calendar has it."""
    at = datetime.fromtimestamp(one.frozen_at / 10**9, UTC)
    if rule is Rule.WEEKLY:
        return tuple(at.isocalendar())[:2]
    day = (at.year, at.month, at.day)
    return (*day, at.hour) if rule is Rule.HOURLY else day


def wanted_by(rule: Rule, count: int, history: list[Instant]) -> set[int]:
    """The newest of each of the newest so many periods that have any."""
    newest: dict[tuple[int, ...], int] = {}
    for one in history:
        newest[period_of(rule, one)] = one.number
    return {newest[period] for period in sorted(newest)[len(newest) - min(count, len(newest)) :]}


@given(histories(), retentions)
@settings(max_examples=200)
def test_the_rules_are_the_calendars(history: list[Instant], kept: Retention) -> None:
    found = kept_by(reversed(history), kept)
    of = {rule: {number for number, rules in found.items() if rule in rules} for rule in Rule}
    numbers = [one.number for one in history]
    assert of[Rule.NEWEST] == {numbers[-1]}
    assert of[Rule.LAST] == set(numbers[len(numbers) - min(kept.last, len(numbers)) :])
    assert of[Rule.HOURLY] == wanted_by(Rule.HOURLY, kept.hourly, history)
    assert of[Rule.DAILY] == wanted_by(Rule.DAILY, kept.daily, history)
    assert of[Rule.WEEKLY] == wanted_by(Rule.WEEKLY, kept.weekly, history)


@given(histories(), retentions)
@settings(max_examples=200)
def test_what_is_dropped_on_the_way_is_never_missed(
    history: list[Instant], retention: Retention
) -> None:
    """Applied after each generation, to what is left, it keeps what it would of all at once."""
    there: list[Instant] = []
    for one in history:
        there.append(one)
        kept = kept_by(there, retention)
        there = [left for left in there if left.number in kept]
    assert kept_by(there, retention) == kept_by(history, retention)


@given(histories(), retentions)
def test_members_of_a_group_keep_the_same(history: list[Instant], retention: Retention) -> None:
    """One that joined late keeps of the common instants what the others do."""
    late = history[len(history) // 2 :]
    early, joined = kept_by(history, retention), kept_by(late, retention)
    common = {one.number for one in late}
    assert set(early) & common <= set(joined)
    assert kept_by(list(history), retention) == early


@given(histories(), retentions, st.sampled_from(sorted(Rule)))
def test_what_is_wanted_is_kept_and_changes_nothing_else(
    history: list[Instant], retention: Retention, rule: Rule
) -> None:
    plain = kept_by(history, retention)
    oldest = history[0].number
    pinned = kept_by(history, retention, {oldest: {rule}, 10**6: {rule}})
    assert pinned[oldest] == (*plain.get(oldest, ()), rule)
    assert {n: r for n, r in pinned.items() if n != oldest} == {
        n: r for n, r in plain.items() if n != oldest
    }


def test_a_clock_that_went_back_keeps_the_newest() -> None:
    history = [Instant(1, START), Instant(2, START + 5 * DAY), Instant(3, START + HOUR)]
    found = kept_by(history, Retention(daily=1))
    assert found == {3: (Rule.NEWEST,), 2: (Rule.DAILY,)}


def test_more_than_can_be_shown_is_refused() -> None:
    Retention(last=MOST_POINTS)
    with pytest.raises(TooManyPoints, match="257"):
        Retention(last=MOST_POINTS, weekly=1)


# Layers.


class Layers:
    """A replica's layers as they come and go, without any bytes."""

    def __init__(self, retention: Retention) -> None:
        self.retention = retention
        self.base: Instant | None = None
        self.layers: list[tuple[Instant, int]] = []
        self.wanted: Mapping[int, set[Rule]] = {}
        self.written = 0

    def add(self, one: Instant, stored: int) -> None:
        if self.base is None:
            self.base = one
        else:
            self.layers.append((one, stored))
            self.written += stored

    def kept(self) -> dict[int, tuple[Rule, ...]]:
        assert self.base is not None
        return kept_by([self.base, *(one for one, _ in self.layers)], self.retention, self.wanted)

    def plan(self) -> Plan:
        assert self.base is not None
        planned = [PlannedLayer(one.number, Bytes(n), Bytes(MIB)) for one, n in self.layers]
        return Plan(self.base.number, tuple(planned), self.kept())

    def settle(self, most: int) -> None:
        """Do what is planned; each step must leave every kept generation where it is."""
        for _ in range(1000):
            plan, kept = self.plan(), set(self.kept())
            pair = plan.squashes()
            if plan.merges():
                self.base = self.layers.pop(0)[0]
            elif pair is not None:
                self._squash(pair, most)
            else:
                return
            assert self.base is not None
            assert kept <= {self.base.number, *(one.number for one, _ in self.layers)}
        raise AssertionError("it never ends")

    def _squash(self, pair: tuple[int, int], most: int) -> None:
        numbers = [one.number for one, _ in self.layers]
        at = numbers.index(pair[0])
        assert numbers[at + 1] == pair[1]
        (_, below), (upper, above) = self.layers[at : at + 2]
        size = min(below + above, most)
        self.written += size
        self.layers[at : at + 2] = [(upper, size)]


@given(histories(), retentions)
@settings(max_examples=200)
def test_layers_are_as_many_as_kept_points_ask_for(
    history: list[Instant], retention: Retention
) -> None:
    model = Layers(retention)
    for one in history:
        model.add(one, 100)
        model.settle(most=10**6)
        assert model.base is not None
        there = {model.base.number, *(n.number for n, _ in model.layers)}
        surplus = there - set(model.kept())
        assert len(surplus) <= MOST_OPEN
        if retention == Retention():
            assert not model.layers
        if retention.hourly == retention.daily == retention.weekly == 0:
            assert not surplus


@given(histories(), retentions)
def test_a_gap_that_is_closed_is_one_layer(history: list[Instant], retention: Retention) -> None:
    """Below the newest instant that an hour, day or week keeps there is nothing but kept ones."""
    model = Layers(retention)
    for one in history:
        model.add(one, 100)
        model.settle(most=10**6)
    lasting = {Rule.HOURLY, Rule.DAILY, Rule.WEEKLY}
    kept = model.kept()
    closed = [n for n, rules in kept.items() if Rule.NEWEST not in rules and lasting & set(rules)]
    assert model.base is not None
    there = {model.base.number, *(n.number for n, _ in model.layers)}
    assert {number for number in there if number <= max(closed, default=0)} <= set(kept)


def test_a_day_of_short_cycles_is_not_written_anew_each_time() -> None:
    """An hour of 3-second cycles: each byte is written some ten times over, not 600 times."""
    model = Layers(Retention(hourly=24))
    for number in range(1, 1201):
        model.add(Instant(number, START - START % HOUR + number * 3 * 10**9), 100)
        model.settle(most=10**6)
    brought = 1200 * 100
    assert model.written < 15 * brought
    assert len(model.layers) <= 2 + MOST_OPEN


def test_a_held_generation_does_not_let_layers_pile_up() -> None:
    model = Layers(Retention())
    for number in range(1, 6):
        model.add(Instant(number, START + number), 100)
    model.wanted = {3: {Rule.HELD}}
    for number in range(6, 100):
        model.add(Instant(number, START + number), 100)
        model.settle(most=10**6)
        assert len(model.layers) <= MOST_OPEN + 1
    assert model.base == Instant(3, START + 3)


def test_what_devices_stand_on_and_what_grew_is_not_squashed() -> None:
    kept = {1: (Rule.HOURLY,), 12: (Rule.HOURLY,), 20: (Rule.NEWEST,)}
    numbers = (5, 8, 12, 20)

    def plan(fixed: int = 0, grown: int = 99) -> Plan:
        layers = [
            PlannedLayer(n, Bytes(10), Bytes(MIB * (2 if n >= grown else 1)), n == fixed)
            for n in numbers
        ]
        return Plan(1, tuple(layers), kept)

    assert plan().squashes() == (5, 8)
    assert plan(fixed=5).squashes() == (8, 12)
    assert plan(fixed=8).squashes() is None
    assert plan(grown=8).squashes() == (8, 12)
    assert plan(grown=12).squashes() == (5, 8)


def test_only_what_retention_keeps_gives_way() -> None:
    layers = (PlannedLayer(2, Bytes(1), Bytes(1)),)
    newest = {2: (Rule.NEWEST,)}
    assert Plan(1, layers, {1: (Rule.HOURLY, Rule.LAST), **newest}).gives_way() == 1
    for rule in (Rule.HELD, Rule.READING, Rule.DIVERGED, Rule.CASCADE):
        assert Plan(1, layers, {1: (Rule.HOURLY, rule), **newest}).gives_way() is None
    assert Plan(1, (), {1: (Rule.NEWEST, Rule.LAST)}).gives_way() is None
    assert Plan(None, layers, newest).gives_way() is None
    assert Plan(1, layers, newest).gives_way() is None
