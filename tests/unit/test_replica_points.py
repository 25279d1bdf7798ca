"""Recovery points of a replica: what stays, what is squashed, what gives way, what is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from control.blocks import Extent
from control.limiter import Interrupted, RateLimiter
from control.pool.files import FilesPool
from control.replica import database, points, squashing
from control.replica.describe import describe
from control.replica.merging import ReplicaMerger
from control.replica.points import MergeStep, SquashStep, is_short, next_step
from control.replica.quota import allocated_bytes
from control.replica.receive import Pace
from control.replica.retention import DAY, HOUR, Retention, Rule
from control.replica.squashing import squash_layers
from control.store.squash import Overlay
from control.wire.errors import GenerationNotFound, KeepsPoints, ReplicaNotFound
from dm_tables.units import GIB, MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import Replica, messages, noise, patched, say, whole

CHUNK = 4096
SIZE = CHUNK * 40 + 512
START = 1_700_000_000 * 10**9 // DAY * DAY


class Kept:
    """A replica with a retention, and generations at chosen times."""

    def __init__(self, directory: Path, retention: Retention) -> None:
        self.replica = Replica(directory, Pace(bytes=1))
        self.replica.store.retention = retention
        self.images = {0: bytes(SIZE)}
        self.given_up: list[tuple[str, int]] = []
        self.merger = self.merger_of(self.replica)

    def merger_of(self, replica: Replica) -> ReplicaMerger:
        return ReplicaMerger(
            replica.store, on_given_up=lambda name, number: self.given_up.append((name, number))
        )

    def add(self, number: int, hours: float, chunk: int = CHUNK) -> None:
        """One more generation, ``hours`` after the first midnight; the first one is whole."""
        base = max(self.images)
        last = SIZE // chunk
        changed = {n % (last + 1): noise(chunk) for n in (number, 3 * number, last)}
        self.images[number] = patched(self.images[base], chunk, changed)
        extents = [Extent(Bytes(n * chunk), Bytes(chunk)) for n in sorted(changed)]
        delta = whole(self.images[number], chunk, extents if base else None)
        said = messages(number, delta, base=base)
        at = START + int(hours * HOUR)
        said[0].manifest.generation.frozen_at.FromNanoseconds(at)
        say(self.replica, said)

    def settle(self) -> None:
        while self.merger.merge_next():
            pass

    def reopen(self) -> None:
        retention = self.replica.store.retention
        self.replica = self.replica.reopened()
        self.replica.store.retention = retention
        self.merger = self.merger_of(self.replica)

    def shown(self) -> list[int]:
        """The generations that can be shown, each compared with what it must be."""
        found = []
        for number in sorted(self.images)[1:]:
            try:
                same = self.replica.image(number) == self.images[number]
            except GenerationNotFound:
                continue
            assert same
            found.append(number)
        return found

    def layers(self) -> list[int]:
        return [layer.number for layer in self.replica.store.journal.layers("data")]

    def points(self) -> dict[int, list[str]]:
        said = describe(self.replica.store, "data")
        return {point.generation.number: list(point.kept_by) for point in said.points}


@pytest.fixture
def make(tmp_path: Path) -> Callable[[Retention], Kept]:
    return lambda retention: Kept(tmp_path / "replica", retention)


Make = Callable[[Retention], Kept]


def test_nothing_is_kept_but_the_newest_without_retention(make: Make) -> None:
    kept = make(Retention())
    for number in range(1, 6):
        kept.add(number, number)
    assert kept.points() == {5: ["newest"], **{n: ["passing"] for n in (4, 3, 2, 1)}}
    kept.settle()
    assert kept.points() == {5: ["newest"]}
    assert kept.layers() == []


def test_the_last_so_many_stay(make: Make) -> None:
    kept = make(Retention(last=3))
    for number in range(1, 8):
        kept.add(number, number)
        kept.settle()
    assert kept.shown() == [5, 6, 7]
    assert kept.layers() == [6, 7]
    assert kept.points() == {7: ["newest", "last"], 6: ["last"], 5: ["last"]}


def test_hours_are_squashed_together(make: Make) -> None:
    kept = make(Retention(hourly=3))
    number = 0
    for hour in range(5):
        for part in range(4):
            number += 1
            kept.add(number, hour + part / 4, 4096 if part % 2 else 16384)
            kept.settle()
    assert kept.points()[20] == ["newest", "hourly"]
    assert {n: why for n, why in kept.points().items() if why == ["hourly"]} == {
        16: ["hourly"],
        12: ["hourly"],
    }
    # One layer for a closed hour, and what has come since.
    assert kept.layers() == [16, 17, 18, 19, 20]
    assert set(kept.shown()) == {12, 16, 17, 18, 19, 20}
    assert len(kept.replica.pool.list()) == 6
    kept.reopen()
    assert set(kept.shown()) == {12, 16, 17, 18, 19, 20}


def test_a_squashed_away_generation_is_not_shown(make: Make) -> None:
    kept = make(Retention(hourly=3))
    for number, hours in enumerate((0, 1, 1.5, 2), 1):
        kept.add(number, hours)
        kept.settle()
    with pytest.raises(GenerationNotFound, match="past generation 2") as caught:
        kept.replica.store.chain("data", 2)
    assert caught.value.hint == "there are: 1, 3, 4"


def test_a_point_tells_its_times_its_bytes_and_its_devices(make: Make) -> None:
    kept = make(Retention(last=2))
    for number in (1, 2):
        kept.add(number, number)
    store = kept.replica.store
    store.hold("data", 1)
    store.journal.points.set_scratch("data", 1, "data.test9")
    newest, oldest = describe(store, "data").points
    assert newest.generation.frozen_at.ToNanoseconds() == START + 2 * HOUR
    assert newest.HasField("committed_at")
    for point, kind in ((newest, "layer"), (oldest, "base")):
        [path] = kept.replica.pool.directory.glob(f"data.{kind}*")
        assert point.bytes == path.stat().st_blocks * 512 > 0
    assert not newest.devices
    assert list(oldest.devices) == ["/dev/mapper/frazil-data-g1", "/dev/mapper/frazil-data-g1-test"]
    assert list(oldest.kept_by) == ["last", "held"]
    said = describe(store, "data").retention
    assert said == replica_pb2.Retention(last=2)


def test_retention_is_a_volumes_own_and_survives(make: Make) -> None:
    kept = make(Retention(last=1))
    for number in (1, 2, 3, 4):
        kept.add(number, number)
    kept.replica.store.set_retention("data", Retention(last=3))
    kept.settle()
    kept.reopen()
    assert kept.shown() == [2, 3, 4]
    kept.replica.store.set_retention("data", Retention())
    kept.settle()
    assert kept.shown() == [4]
    with pytest.raises(ReplicaNotFound):
        kept.replica.store.set_retention("nothing", Retention())


def test_what_is_pinned_stays(make: Make) -> None:
    kept = make(Retention())
    for number in range(1, 5):
        kept.add(number, number)
    journal = kept.replica.store.journal.points
    journal.pin("data", 2, Rule.DIVERGED)
    journal.pin("data", 2, Rule.CASCADE)
    kept.settle()
    assert kept.points() == {4: ["newest"], 3: ["passing"], 2: ["cascade", "diverged"]}
    journal.unpin("data", 2, Rule.DIVERGED)
    kept.settle()
    assert 2 in kept.shown()
    journal.unpin("data", 2, Rule.CASCADE)
    kept.settle()
    assert kept.shown() == [4]


def test_layers_above_a_held_generation_do_not_pile_up(make: Make) -> None:
    kept = make(Retention())
    for number in (1, 2, 3):
        kept.add(number, number)
    chain = kept.replica.store.hold("data", 2)
    for number in range(4, 30):
        kept.add(number, number)
        kept.settle()
    assert {2, 29} <= set(kept.shown())
    assert len(kept.layers()) <= 10
    # What was squashed gave its room back, although a device is there.
    assert len(kept.replica.pool.list()) == 1 + len(kept.layers())
    assert chain.objects <= set(kept.replica.pool.list())
    kept.replica.store.release("data", 2)
    kept.settle()
    assert kept.shown() == [29]


def test_history_reaches_as_far_as_the_points(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.replica.journal.KEPT_GENERATIONS", 2)
    kept = make(Retention(daily=3))
    for number in range(1, 12):
        kept.add(number, 6 * number)
        kept.settle()
    assert {3, 7, 11} <= set(kept.shown())


def test_layers_from_before_and_after_growing_stay_apart(make: Make) -> None:
    kept = make(Retention(hourly=3))
    squash_step(kept)
    store = kept.replica.store
    grown = "UPDATE generations SET size = size + 512 WHERE number >= 3"
    store.journal._db.write(grown)
    assert next_step(store, set()) is None
    store.journal._db.write("UPDATE generations SET size = size + 512 WHERE number < 3")
    step = next_step(store, set())
    assert isinstance(step, SquashStep)
    assert step.size == SIZE + 512


# While it is being squashed.


def squash_step(kept: Kept) -> SquashStep:
    """Two layers that are to become one: generation 2 is to go."""
    for number, hours in enumerate((0, 1, 1.5, 2), 1):
        kept.add(number, hours)
    step = next_step(kept.replica.store, set())
    assert isinstance(step, SquashStep)
    assert (step.lower.number, step.upper.number) == (2, 3)
    return step


def meanwhile(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> None:
    """Let something happen after the new store is written, before it takes its place."""
    real = Overlay.write

    def write(self: Overlay, *args: object, **named: object) -> int:
        count = real(self, *args, **named)  # type: ignore[arg-type]
        what()
        return count

    monkeypatch.setattr(Overlay, "write", write)


def test_a_device_that_comes_meanwhile_wins(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = make(Retention(hourly=3))
    step = squash_step(kept)
    store = kept.replica.store
    meanwhile(monkeypatch, lambda: store.hold("data", 3))
    assert not squash_layers(store, step, RateLimiter())
    assert kept.shown() == [1, 2, 3, 4]
    assert len(kept.replica.pool.list()) == 4
    # And it is not tried again and again.
    assert next_step(store, set()) is None


def test_a_generation_that_is_wanted_meanwhile_stays(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = make(Retention(hourly=3))
    step = squash_step(kept)
    store = kept.replica.store
    meanwhile(monkeypatch, lambda: store.set_retention("data", Retention(last=5)))
    assert not squash_layers(store, step, RateLimiter())
    assert kept.shown() == [1, 2, 3, 4]


def test_a_reader_reads_on(make: Make) -> None:
    kept = make(Retention(hourly=3))
    step = squash_step(kept)
    store = kept.replica.store
    with store.reading("data", 3) as chain:
        assert squash_layers(store, step, RateLimiter())
        assert chain.objects <= set(kept.replica.pool.list())
        assert kept.shown() == [1, 3, 4]
    assert len(kept.replica.pool.list()) == 3


def test_a_whole_copy_meanwhile_wins(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = make(Retention(hourly=3))
    step = squash_step(kept)
    kept.images[9] = noise(SIZE)
    said = messages(9, whole(kept.images[9], CHUNK))

    def replaced() -> None:
        kept.replica.store.retention = Retention()
        say(kept.replica, said)

    meanwhile(monkeypatch, replaced)
    assert not squash_layers(kept.replica.store, step, RateLimiter())
    assert kept.shown() == [9]
    assert len(kept.replica.pool.list()) == 1


def test_a_whole_copy_takes_no_recovery_point_away(make: Make) -> None:
    kept = make(Retention(last=2))
    for number in (1, 2, 3):
        kept.add(number, number)
    kept.settle()
    points = kept.shown()
    assert points == [2, 3]
    kept.images[9] = noise(SIZE)
    said = messages(9, whole(kept.images[9], CHUNK))
    with pytest.raises(KeepsPoints, match="data keeps 1 earlier generations here"):
        say(kept.replica, said)
    assert kept.shown() == points
    assert kept.replica.store.standing("data").incoming is None
    kept.replica.store.retention = Retention()
    say(kept.replica, said)
    assert kept.shown() == [9]


def test_a_stopped_squash_leaves_nothing(make: Make) -> None:
    kept = make(Retention(hourly=3))
    step = squash_step(kept)
    limiter = RateLimiter()
    limiter.stop.set()
    with pytest.raises(Interrupted):
        squash_layers(kept.replica.store, step, limiter)
    assert kept.shown() == [1, 2, 3, 4]
    assert len(kept.replica.pool.list()) == 4


def test_negative_control_a_squash_that_swaps_the_wrong_way_is_seen(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Overlay):
        def __init__(self, lower: object, upper: object) -> None:
            super().__init__(upper, lower)  # type: ignore[arg-type]

    monkeypatch.setattr(squashing, "Overlay", Wrong)
    kept = make(Retention(hourly=3))
    squash_layers(kept.replica.store, squash_step(kept), RateLimiter())
    with pytest.raises(AssertionError):
        kept.shown()


# When room is short.


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How much the pool says it has free."""
    room = {"bytes": GIB}
    monkeypatch.setattr(FilesPool, "free", lambda self: room["bytes"])
    return room


def test_the_oldest_gives_way_and_the_newest_never(make: Make, free: dict[str, int]) -> None:
    kept = make(Retention(last=9))
    for number in range(1, 6):
        kept.add(number, number)
    kept.settle()
    assert kept.shown() == [1, 2, 3, 4, 5]
    free["bytes"] = 8 * MIB
    assert kept.merger.merge_next()
    assert kept.given_up == [("data", 1)]
    free["bytes"] = GIB
    kept.settle()
    assert kept.shown() == [2, 3, 4, 5]
    free["bytes"] = 0
    kept.settle()
    assert kept.given_up == [("data", number) for number in (1, 2, 3, 4)]
    assert kept.shown() == [5]


def test_what_is_held_does_not_give_way(make: Make, free: dict[str, int]) -> None:
    kept = make(Retention(last=9))
    for number in range(1, 5):
        kept.add(number, number)
    kept.replica.store.hold("data", 2)
    free["bytes"] = 0
    kept.settle()
    assert kept.given_up == [("data", 1)]
    assert kept.shown() == [2, 3, 4]


def test_the_oldest_of_all_volumes_gives_way(make: Make, free: dict[str, int]) -> None:
    kept = make(Retention(last=9))
    for number in (1, 2):
        kept.add(number, number)
    for number in (1, 2):
        delta = whole(bytes(SIZE), CHUNK, [Extent(Bytes(0), Bytes(CHUNK))])
        said = messages(number, delta, base=number - 1, volume="aaa")
        said[0].manifest.generation.frozen_at.FromNanoseconds(START + (5 + number) * HOUR)
        say(kept.replica, said)
    free["bytes"] = 0
    step = next_step(kept.replica.store, set())
    assert isinstance(step, MergeStep)
    assert (step.volume.name, step.given_up) == ("data", 1)


def test_a_quota_that_is_used_up_takes_its_writers_oldest(make: Make) -> None:
    kept = make(Retention(last=9))
    for number in range(1, 5):
        kept.add(number, number)
    store = kept.replica.store
    used = allocated_bytes(store, "data")
    assert next_step(store, set(), lambda identity: used + 3 * CHUNK) is None
    assert next_step(store, set(), lambda identity: 0 if identity == "other" else None) is None
    step = next_step(store, set(), lambda identity: used)
    assert isinstance(step, MergeStep)
    assert step.given_up == 1


def test_room_is_short_where_a_next_generation_may_not_fit(
    make: Make, free: dict[str, int]
) -> None:
    kept = make(Retention(last=9))
    kept.add(1, 1)
    kept.add(2, 2)
    store = kept.replica.store
    enough = points._must_stay_free(store, store.volume("data")) + 3 * CHUNK
    free["bytes"] = enough
    assert not is_short(store)
    free["bytes"] = enough - 2 * CHUNK
    assert is_short(store)


def test_without_room_nothing_is_squashed(make: Make, free: dict[str, int]) -> None:
    kept = make(Retention(hourly=3))
    squash_step(kept)
    journal = kept.replica.store.journal
    for number in (1, 2, 3, 4):
        journal.points.pin("data", number, Rule.CASCADE)
    journal.points.unpin("data", 2, Rule.CASCADE)
    free["bytes"] = 8 * MIB
    assert next_step(kept.replica.store, set()) is None
    free["bytes"] = GIB
    assert isinstance(next_step(kept.replica.store, set()), SquashStep)


# The journal.


def test_a_journal_of_the_first_version_is_brought_up(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "replica.db") as old:
        for statement in database.FIRST.split(";\n"):
            old.execute(statement)
        old.execute("INSERT INTO volumes VALUES ('data', 'u', 'who', 4096, 'data.base1', 3)")
        old.execute("INSERT INTO held VALUES ('data', 3, 'g', '', 7, 'data.base1', '[]')")
        old.execute("PRAGMA user_version=1")
    journal = Replica(tmp_path).store.journal
    assert journal.points.shown("data") == {3}
    assert journal.points.scratches("data") == {}
    assert journal.points.retention("data") is None
    [chain] = journal.held("data")
    assert chain.generation.number == 3
