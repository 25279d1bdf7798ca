"""A group's conductor freezes between the hooks; a mirror's worker copies in its hours."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control.conductor import Conductor
from control.config import Config, StateSection
from control.cycle import Readiness
from control.events import Events
from control.group import Group
from control.hooks import HookEnded, HookFailed
from control.hooks_pending import Pending, note
from control.journal import Journal
from control.mirror import MirrorWorker
from control.mirrored import Instant
from control.records import GenerationRecord, GroupRecord, MirrorRecord, MirrorState
from dm_tables.errors import Unavailable

PATIENCE = 30.0


class Bench:
    """A group without devices: what would be done to them is written down."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.record = GroupRecord("db", implicit=False)
        self.reports: list[Exception] = []
        self.ready = Readiness(pending=False, due_in=0.0)
        self.error: Unavailable | None = None
        config = Config(state=StateSection(directory=directory))
        self.journal = Journal(directory / "journal.db")
        self.context: Any = cast(Any, SimpleNamespace)(
            config=config,
            events=Events(directory / "events.db"),
            journal=self.journal,
            tracing=SimpleNamespace(collect=lambda name: None),
        )
        self.group: Any = cast(Any, SimpleNamespace)(
            name="db",
            volumes=[SimpleNamespace(name="data"), SimpleNamespace(name="wal")],
            newest=lambda: None,
            freezes=threading.Lock(),
            sync=lambda: self.say("sync"),
            freeze=self.freeze,
        )
        worker = SimpleNamespace(
            mirror="m",
            readiness=lambda newest: self.ready,
            enter=lambda phase: None,
            report=lambda error, began: self.reports.append(error),
            look=lambda: None,
        )
        bench = self

        class Rig(Conductor):
            def step(self) -> float:
                bench.group.record = bench.record
                return self._step()

        self.conductor = Rig(self.group, self.context, lambda: [cast(MirrorWorker, worker)])

    def say(self, what: str) -> None:
        with self.log.open("a") as log:
            log.write(what + "\n")

    def freeze(self) -> Instant:
        if self.error is not None:
            raise self.error
        self.say("freeze")
        parts = [GenerationRecord(name, 1, "u", "", 5.0, 0, 2) for name in ("data", "wal")]
        return Instant.of(parts)

    def hook(self, name: str, then: str = "") -> tuple[str, ...]:
        path = self.directory / name
        said = "$FRAZIL_PHASE $FRAZIL_RESULT$FRAZIL_GROUP:$FRAZIL_VOLUMES"
        path.write_text(f"#!/bin/sh\necho {said} >>{self.log}\n{then}\n")
        path.chmod(0o755)
        return (str(path),)

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def events(self) -> list[tuple[str, str, str]]:
        return [(e.level, e.subject, e.kind) for e in self.context.events.since(0)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.context.events.close()
    made.journal.close()


def test_a_due_group_is_frozen_between_its_hooks(bench: Bench) -> None:
    bench.record = dataclasses.replace(
        bench.record, before=bench.hook("before"), after=bench.hook("after")
    )
    assert bench.conductor.step() == 0.0
    assert bench.lines == ["sync", "before db:data wal", "freeze", "after frozendb:data wal"]
    assert bench.events() == [("info", "db", "frozen")]


def test_a_before_that_fails_freezes_nothing(bench: Bench) -> None:
    bench.record = dataclasses.replace(
        bench.record, before=bench.hook("before", "exit 1"), after=bench.hook("after")
    )
    with pytest.raises(HookFailed):
        bench.conductor.step()
    assert bench.lines == ["sync", "before db:data wal", "after faileddb:data wal"]


def test_after_runs_when_the_freeze_fails(bench: Bench) -> None:
    bench.record = dataclasses.replace(bench.record, after=bench.hook("after", "exit 3"))
    bench.error = Unavailable("the window failed")
    with pytest.raises(Unavailable, match="the window failed"):
        bench.conductor.step()
    assert bench.lines == ["sync", "after faileddb:data wal"]
    assert bench.events() == [("error", "db", "HookFailed")]


def test_not_due_is_not_frozen(bench: Bench) -> None:
    bench.ready = Readiness(pending=False, due_in=7.0)
    assert bench.conductor.step() == 7.0
    assert bench.lines == []


def test_what_a_killed_daemon_owes_comes_first(bench: Bench) -> None:
    note(bench.context.config.paths.hooks, Pending("db", ("data",), bench.hook("owed"), 20.0))
    note(bench.context.config.paths.hooks, Pending("other", ("x",), bench.hook("not"), 20.0))
    bench.group.record = bench.record
    bench.conductor.start()
    until(lambda: "freeze" in bench.lines)
    bench.conductor.stop()
    bench.conductor.join(PATIENCE)
    assert bench.lines[0] == "after faileddb:data"
    assert not any("other" in line for line in bench.lines)
    left = [path.name for path in bench.context.config.paths.hooks.iterdir()]
    assert left == ["other.json"]


def test_a_daemon_that_ends_has_after_run_first(bench: Bench) -> None:
    """Whatever ``before`` waits for: nobody knows when there will be a daemon again."""
    bench.record = bench.group.record = dataclasses.replace(
        bench.record,
        before=bench.hook("before", "sleep 1000"),
        before_ms=900_000,
        after=bench.hook("after"),
    )
    bench.conductor.start()
    until(lambda: "before db:data wal" in bench.lines)
    bench.conductor.stop()
    bench.conductor.wait_ended(PATIENCE)
    assert not bench.conductor.is_alive()
    assert bench.lines == ["sync", "before db:data wal", "after faileddb:data wal"]
    assert list(bench.context.config.paths.hooks.iterdir()) == [], "nothing is owed"
    assert [type(error) for error in bench.reports] == [HookEnded]


def until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# A worker's hours.


class Hours:
    """A worker whose hours the test opens and closes, and whose copies last until interrupted."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        journal = bench.journal
        journal.save_group(bench.record)
        journal.save_mirror(
            MirrorRecord(
                "m", "db", "p:1", "{volume}", MirrorState.RUNNING, 0, 0, False, True, False
            )
        )
        self.shut = 0.0
        self.freezing = False
        self.closes: float | None = None
        self.copied = threading.Event()
        self.interrupted = threading.Event()
        part = GenerationRecord("data", 1, "u", "", 5.0, 0)
        self.instants = [Instant.of([part])]
        group: Any = SimpleNamespace(
            name="db",
            volumes=(),
            instants=lambda: self.instants,
            next_number=1,
            freezing=lambda: self.freezing,
        )
        self.worker = MirrorWorker("m", cast(Group, group), bench.context, lambda: None)
        timing = self.worker.timing
        monkeypatch.setattr(timing, "shut", lambda record, now: self.shut)
        monkeypatch.setattr(timing, "closes_in", lambda record, now: self.closes)
        monkeypatch.setattr(timing, "look_in", lambda record, standing, *, idle: self.shut)
        monkeypatch.setattr(self.worker, "_copy", self.copy)

    def copy(self, record: MirrorRecord, instant: Instant) -> None:
        self.copied.set()
        if self.worker._cancel.wait(PATIENCE):
            self.interrupted.set()
            raise Unavailable("stopped where it was")

    def end(self) -> None:
        self.worker.stop()
        self.worker.join(PATIENCE)
        assert not self.worker.is_alive()


@pytest.fixture
def hours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Hours:
    return Hours(bench, monkeypatch)


def test_outside_its_hours_a_mirror_copies_nothing(hours: Hours) -> None:
    hours.shut = 3600.0
    wait = hours.worker._step()
    assert wait == 60.0
    assert not hours.copied.is_set()
    assert hours.worker.now.next_attempt > time.time() + 3000
    assert hours.worker.now.phase == "idle"


def test_what_is_asked_for_is_copied_all_the_same(hours: Hours) -> None:
    hours.shut = 3600.0
    hours.closes = 0.0
    hours.worker.ask()
    hours.worker.start()
    assert hours.copied.wait(PATIENCE)
    assert not hours.interrupted.wait(0.2)
    hours.end()


def test_a_copy_stops_where_its_hours_end(hours: Hours) -> None:
    hours.closes = 0.05
    hours.worker.start()
    assert hours.copied.wait(PATIENCE)
    hours.shut = 3600.0
    assert hours.interrupted.wait(PATIENCE)
    until(lambda: hours.worker.now.next_attempt)
    assert hours.worker.now.problem == "", "that is no failure"
    hours.end()
    assert hours.interrupted.is_set()


def test_within_hours_without_an_end_nothing_stops_it(hours: Hours) -> None:
    """The negative control: the copy is still there when the test ends it."""
    hours.worker.start()
    assert hours.copied.wait(PATIENCE)
    assert not hours.interrupted.wait(0.3)
    hours.end()


def test_a_mirror_that_breaks_with_nothing_to_copy_need_not_wait(
    hours: Hours, bench: Bench
) -> None:
    hours.shut = 3600.0
    hours.instants = []
    bench.journal.change_mirror("m", state=MirrorState.BREAKING)
    hours.worker._step()
    assert hours.worker.record.state is MirrorState.BROKEN


def test_a_mirror_that_breaks_in_a_freeze_brings_what_is_frozen(hours: Hours, bench: Bench) -> None:
    frozen, hours.instants = hours.instants, []
    hours.freezing = True
    bench.journal.change_mirror("m", state=MirrorState.BREAKING)
    assert hours.worker._step() > 0
    assert hours.worker.record.state is MirrorState.BREAKING
    hours.freezing, hours.instants = False, frozen
    hours.worker.start()
    assert hours.copied.wait(PATIENCE)
    hours.end()
