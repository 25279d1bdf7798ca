"""Without room, and something fails as well: no write is lost, and no head waits for ever."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from unittest import mock

import pytest

from control.folding import fold
from control.frozen import FrozenVolume
from control.limiter import RateLimiter
from control.pool.sizing import Action, RoomPlan
from control.records import LayerRecord, LayerState
from control.room import RoomKeeper
from control.stack import StackDevices
from control.volume import Volume
from dm_tables.errors import FrazilError
from dm_tables.guard import leftovers
from dm_tables.status import Usage
from dm_tables.units import MIB, Bytes, Sectors
from tests.soft.mirrored import mirrored
from tests.soft.world import GROUP, World

CHUNK = 4096


@pytest.fixture
def world() -> Iterator[World]:
    """A volume whose newest generation its replica has; its live layer holds a chunk."""
    with mirrored(replicas=("far", "near")) as made:
        written(made, 1)
        yield made


def written(world: World, chunk: int) -> None:
    world.write("a", chunk * CHUNK, bytes([chunk]) * CHUNK)


def suspended(world: World) -> bool:
    return bool(world.mapper.devices[world.source.head("a")].suspended)


def once(real: Callable[..., Any], error: Exception, matches: Callable[..., bool]) -> Any:
    """A function that fails the first time."""
    left = [error]

    def fails(*args: Any, **more: Any) -> Any:
        if left and matches(*args):
            raise left.pop()
        return real(*args, **more)

    return fails


def goes_on(world: World) -> None:
    """The room keeper comes again and again, until writers go on; nothing is wrong then."""
    room, volume = world.source.host.room, world.source.volume("a")
    for _ in range(4):
        with suppress(FrazilError):
            room._look(volume)
    world.notice()
    assert not suspended(world)
    assert not volume.stalled
    assert not [one for one in volume.layers if one.state is LayerState.PREPARED]
    world.check()
    world.restart()
    assert not world.source.host.unassembled
    world.settle()


@pytest.mark.parametrize("what", ["create", "load", "resume"])
@pytest.mark.parametrize("how", ["moved", "folded"])
def test_a_call_that_fails_is_made_again(world: World, how: str, what: str) -> None:
    mapper, head = world.mapper, world.source.head("a")
    method = f"_run_{what}"

    def matches(words: list[str], *_: object) -> bool:
        return what == "create" or words[0] == head

    fails = once(getattr(mapper, method), OSError(errno.ENOMEM, "Cannot allocate"), matches)
    with mock.patch.object(mapper, method, fails), suppress(FrazilError):
        world.sacrifice("a", how)
    goes_on(world)


def test_a_fold_whose_swap_fails_is_ended(world: World) -> None:
    fails = once(StackDevices.settle, FrazilError("still running after 30 s"), lambda *_: True)
    with (
        mock.patch.object(StackDevices, "settle", fails),
        pytest.raises(FrazilError),
    ):
        world.sacrifice("a", "folded")
    assert suspended(world)
    goes_on(world)


def test_what_is_written_after_a_crash_in_a_fold_is_kept(world: World) -> None:
    class Killed(BaseException):
        """The daemon is no more."""

    volume, mapper, head = world.source.volume("a"), world.mapper, world.source.head("a")
    world.source.host.room._brake.stall(volume)
    with mock.patch.object(Volume, "drop_merged", side_effect=Killed), pytest.raises(Killed):
        fold(volume, RateLimiter())
    world.source.kill()

    def freed(*_: object) -> None:
        leftovers(mapper)
        mapper.write(head, 7 * CHUNK, bytes([7]) * CHUNK)
        world.models["a"].write(7 * CHUNK, bytes([7]) * CHUNK)

    with mock.patch("control.host.free_leftovers", freed):
        world.source.start()
    world.notice()
    assert mapper.image(head)[7 * CHUNK : 8 * CHUNK] == bytes([7]) * CHUNK
    world.check()


@pytest.mark.parametrize("tight", [True, False])
def test_who_waits_for_room_waits_on_over_a_restart(world: World, *, tight: bool) -> None:
    def watch_live(self: Volume) -> None:
        self.watched = "live" if tight else ""

    world.source.host.room._brake.stall(world.source.volume("a"))
    with mock.patch.object(Volume, "watch_live", watch_live):
        world.restart(killed=True)
    assert suspended(world) == tight
    assert world.source.volume("a").stalled == tight
    goes_on(world)


def only_the_live_layer(world: World) -> Volume:
    """All else is merged; the volume."""
    world.freeze()
    assert world.copy("m") is None
    while world.merge("a"):
        pass
    written(world, 2)
    volume: Volume = world.source.volume("a")
    assert len(volume.layers) == 1
    return volume


@pytest.mark.parametrize("below", [True, False])
def test_the_room_of_a_next_layer_is_taken_while_one_is_merged_only(
    world: World, *, below: bool
) -> None:
    volume = world.source.volume("a") if below else only_the_live_layer(world)
    if below:
        world.freeze()
        written(world, 2)
    live, pool = volume.layers[-1], world.source.pool
    size = pool.open(live.object_name).size()
    nearly_full = Usage(Sectors(90), Sectors(100), Sectors(16))
    pool.limit = Bytes(pool.used() + MIB)
    room = world.source.host.room
    room._brake.stall(volume)
    with (
        mock.patch.object(Volume, "layer_status", lambda *_: nearly_full),
        mock.patch("control.room.next_size", lambda *_, **__: Bytes(size + MIB)),
    ):
        room._make_room(volume, live, nearly_full)
    pool.limit = None
    if below:
        assert pool.open(live.object_name).size() == size + MIB
    else:
        assert volume.layers[-1].sequence == live.sequence + 1, "the head moved on"
        assert live.object_name not in pool.list(), "what it stood on was merged"
    goes_on(world)


def test_who_only_was_faster_than_the_room_grew_waits_for_no_copy(world: World) -> None:
    """A lone layer, and room enough: it grows by plan, and no copy is stopped for that."""
    volume, room = only_the_live_layer(world), world.source.host.room
    live, pool = volume.layers[-1], world.source.pool
    size = pool.open(live.object_name).size()
    nearly_full = Usage(Sectors(90), Sectors(100), Sectors(16))
    plan = RoomPlan(Action.GROW, Bytes(size + MIB), None)
    room._brake.stall(volume)
    with (
        mock.patch.object(Volume, "layer_status", lambda *_: nearly_full),
        mock.patch("control.room.plan_room", lambda *_, **__: plan),
        mock.patch.object(RoomKeeper, "_copies_stopped", side_effect=AssertionError),
    ):
        room._look(volume)
    assert pool.open(live.object_name).size() == size + MIB
    events = world.source.host.context.events.since(0)
    assert "sacrificed" not in {event.kind for event in events}
    goes_on(world)


def test_writers_that_wait_for_room_wait_for_no_limit_of_a_merge(world: World) -> None:
    for chunk in (2, 4, 6):
        written(world, chunk)
    world.freeze()
    assert world.copy("m") is None
    volume, host = world.source.volume("a"), world.source.host
    host.merger.limiter.set_rate(1)
    merging = threading.Thread(target=world.merge, args=("a",), daemon=True)
    merging.start()
    merging.join(0.5)
    assert merging.is_alive(), "it has hours to go"
    host.room._brake.stall(volume)
    merging.join(10)
    ended = not merging.is_alive()
    host.merger.limiter.set_rate(0)
    merging.join()
    assert ended, "writers wait for a merge that takes its time"
    goes_on(world)


@pytest.mark.parametrize("how", ["frozen", "moved", "folded"])
def test_writers_of_one_volume_do_not_wait_until_another_one_is_merged(how: str) -> None:
    with mirrored("ab") as made:
        room, other = made.source.host.room, made.source.volume("b")
        written(made, 1)
        if how != "folded":
            made.freeze()
        while made.merge("b"):
            pass
        live = other.layers[-1]
        grown = other.size_of_layer(live) + MIB
        plan = RoomPlan(Action.GROW, Bytes(grown), None)
        real = Volume.layer_status
        waited: list[bool] = []
        nearly_full = Usage(Sectors(90), Sectors(100), Sectors(16))

        def status(volume: Volume, layer: LayerRecord) -> Any:
            return nearly_full if volume is other else real(volume, layer)

        def copied(volume: Volume, *args: Any) -> None:
            room._looked = 0.0
            copy(volume, *args)
            waited.append(other.stalled)

        copy = Volume.copy_into_spans
        room._brake.stall(other)
        with (
            mock.patch.object(Volume, "layer_status", status),
            mock.patch.object(Volume, "copy_into_spans", copied),
            mock.patch("control.room.plan_room", lambda *_, **__: plan),
        ):
            made.sacrifice("a", how)
        assert not any(waited), "its writers wait, and there is room"
        assert waited
        assert other.size_of_layer(live) == grown
        made.check()


def test_nothing_is_folded_while_the_volume_changes_sides(world: World) -> None:
    volume = only_the_live_layer(world)
    world.source.journal.keep(volume.uuid, [volume.record.bottom])
    (path,) = {span.path for span in volume.stack.spans}
    before = path.read_bytes()
    with pytest.raises(FrazilError, match="changes sides"):
        world.sacrifice("a", "folded")
    same = path.read_bytes() == before
    assert same, "the kept image was merged over"


def test_who_reads_below_a_live_layer_that_is_folded_is_told(world: World) -> None:
    volume = only_the_live_layer(world)
    with volume.hold(volume.record.bottom) as taken:
        world.sacrifice("a", "folded")
        assert taken.is_set()
    world.check()


def test_a_fold_takes_its_locks_as_a_merge_does(world: World) -> None:
    """While it waits for a merge that is under way, that can swap a table."""
    volume = world.source.volume("a")
    with volume.merging:
        folding = threading.Thread(target=world.sacrifice, args=("a", "folded"), daemon=True)
        folding.start()
        folding.join(0.5)
        assert volume.tables.acquire(timeout=2)
        volume.tables.release()
    folding.join(60)
    world.check()


class Slow:
    """The image of a copy, beside which there is no room left when it is read first."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name
        self.refused: FrazilError | None = None
        self._read = False

    def read(self, address: int, length: int) -> bytes:
        data: bytes = self._world.mapper.image(self._name)[address : address + length]
        if not self._read:
            self._read = True
            self._sacrifice()
        return data

    def read_into(self, view: memoryview, address: int) -> int:
        view[:] = self.read(address, len(view))
        return len(view)

    def size(self) -> Bytes:
        return Bytes(64 * CHUNK)

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        """It stays."""

    def _sacrifice(self) -> None:
        """By a keeper that looked which mirrors there are before this one was made."""
        world = self._world
        others = [one for one in world.roster.workers() if one.mirror != "n"]
        with mock.patch.object(world.source.host.room, "_workers_of", lambda _: others):
            try:
                world.sacrifice("a", "moved")
            except FrazilError as error:
                self.refused = error


def test_a_first_copy_that_begins_meanwhile_has_its_image(world: World) -> None:
    world.freeze()
    assert world.copy("m") is None
    for chunk in (20, 40):
        written(world, chunk)
        world.freeze()
    world.add_mirror("n", "near")
    volume = world.source.volume("a")
    slow = Slow(world, str(volume.image(volume.images()[0]).name))
    with mock.patch.object(FrozenVolume, "open", lambda _: slow):
        assert world.copy("n") is None
    assert slow.refused is not None
    goes_on(world)


def test_a_journal_that_fails_after_the_window_says_what_happened_later(world: World) -> None:
    fails = once(Volume.freeze_happened, sqlite3.OperationalError("disk is full"), lambda *_: True)
    group, model = world.roster.conductor(GROUP).group, world.models["a"]
    world.source.freezer.frozen = model.freeze
    with mock.patch.object(Volume, "freeze_happened", fails):
        with pytest.raises(sqlite3.OperationalError):
            group.freeze()
        written(world, 30)
        world.freeze()
    assert world.copy("m") is None
    while world.merge("a"):
        pass
    goes_on(world)


def test_who_keeps_room_does_not_wait_for_a_volume_that_is_being_made(world: World) -> None:
    host = world.source.host
    seen: list[Volume] = []
    looking = threading.Thread(target=lambda: seen.extend(host.room._volumes()), daemon=True)
    with host._lock:
        looking.start()
        looking.join(5)
        assert [one.name for one in seen] == ["a"]
