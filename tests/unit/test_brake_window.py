"""The brake beside the freeze window: only one of them has a head, and nothing ends the brake."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import msgspec
import pytest

from control import room as room_module
from control.brake import Brake
from control.group import HeadStayed
from control.records import LayerState
from control.room import RoomKeeper
from control.volume import Volume
from dm_tables.errors import Unavailable
from dm_tables.ioctl import State
from tests.soft.mirrored import mirrored
from tests.soft.world import GROUP, World

CHUNK = 4096


@pytest.fixture
def world() -> Iterator[World]:
    """Two volumes that are mirrored; what the one's replica lacks was just written."""
    with mirrored("ab") as made:
        made.write("a", CHUNK, b"1" * CHUNK)
        yield made


def brake_of(world: World) -> Brake:
    return world.source.host.room._brake


def live_device(volume: Volume) -> str:
    live = next(one for one in volume.layers if one.state is LayerState.LIVE)
    return str(volume.stack.layer(live.sequence).name)


def freeze(world: World, inside: Callable[[], object] = lambda: None) -> None:
    """Freeze the group; what fails is raised. ``inside`` is done while all heads are suspended."""

    def frozen() -> None:
        for model in world.models.values():
            model.freeze()
        inside()

    world.source.freezer.frozen = frozen
    try:
        world.roster.conductor(GROUP).group.freeze()
    finally:
        world.source.freezer.frozen = lambda: None
        world.notice()


def before_suspend(world: World, action: Callable[[], object]) -> None:
    """Do it once, when the next one is about to suspend the head of ``a``."""
    step = f"suspend {world.source.head('a')}"

    def before() -> None:
        del world.mapper.before[step]
        action()

    world.mapper.before[step] = before


def goes_on(world: World) -> None:
    """Heads run on the live layers, and what is written from here on is mirrored and merged."""
    for name in world.models:
        volume = world.source.volume(name)
        head = world.mapper.devices[world.source.head(name)]
        assert not head.suspended
        assert not volume.stalled
        assert not volume.window.locked()
        live = next(one for one in volume.layers if one.state is LayerState.LIVE)
        assert volume.stack.head.matches(
            volume.stack.linear_over(volume.stack.layer(live.sequence))
        )
    world.write("a", 30 * CHUNK, b"B" * CHUNK)
    assert world.copy("m") is None
    world.write("a", 31 * CHUNK, b"C" * CHUNK)
    world.merge("a")
    world.check()
    world.settle()


# The one beside the other.


@pytest.mark.parametrize("released", [True, False])
def test_the_brake_keeps_off_a_head_that_is_about_to_be_suspended(
    world: World, released: bool
) -> None:
    volume, brake = world.source.volume("a"), brake_of(world)
    stalled: list[bool] = []
    before_suspend(world, lambda: stalled.append(brake.stall(volume)))
    freeze(world, lambda: brake.release(volume) if released else None)
    goes_on(world)
    assert stalled == [False]


def test_the_brake_keeps_off_a_head_that_it_saw_running_before_the_window(world: World) -> None:
    volume, brake = world.source.volume("a"), brake_of(world)
    seen = world.mapper.state(world.source.head("a"))
    assert not seen.suspended

    def inside() -> None:
        with mock.patch.object(world.mapper, "state", lambda name: seen):
            assert not brake.stall(volume)
        brake.release(volume)

    freeze(world, inside)
    goes_on(world)


def test_a_look_of_the_brake_waits_for_the_window(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.brake.BRAKE_AT", 0.0)
    volume, brake = world.source.volume("a"), brake_of(world)
    volume.watched = live_device(volume)
    before_suspend(world, lambda: brake._look(volume))
    freeze(world)
    assert not volume.stalled
    # As a control: it would have braked.
    volume.watched = live_device(volume)
    brake._look(volume)
    assert volume.stalled
    brake.release(volume)
    goes_on(world)


def test_the_brake_looks_at_what_is_written_as_soon_as_the_window_is_over(world: World) -> None:
    volume = world.source.volume("a")
    before = volume.watched = live_device(volume)
    seen: list[tuple[str, bool]] = []
    real = Volume.freeze_happened

    def happened(self: Volume, *args: Any, **others: Any) -> Any:
        seen.append((self.watched, self.window.locked()))
        return real(self, *args, **others)

    with mock.patch.object(Volume, "freeze_happened", happened):
        freeze(world)
    assert seen[0] == (live_device(volume), False)
    assert seen[0][0] != before
    goes_on(world)


def test_the_brake_works_while_all_is_written_out_and_then_nothing_is_frozen(world: World) -> None:
    volume, brake = world.source.volume("a"), brake_of(world)
    generations = world.source.journal.generations("a")
    stalled: list[bool] = []
    world.source.freezer.written_out = lambda: stalled.append(brake.stall(volume))
    with pytest.raises(Unavailable, match="writers of a wait for room"):
        freeze(world)
    world.source.freezer.written_out = lambda: None
    assert stalled == [True]
    assert world.mapper.devices[world.source.head("a")].suspended
    assert world.source.journal.generations("a") == generations
    brake.release(volume)
    freeze(world)
    goes_on(world)


def test_a_brake_that_hangs_in_the_kernel_holds_no_freeze_for_long(world: World) -> None:
    group = world.roster.conductor(GROUP).group
    config = group.context.config
    soon = msgspec.structs.replace(config.freeze, deadline=0.01)
    group.context = dataclasses.replace(
        group.context, config=msgspec.structs.replace(config, freeze=soon)
    )
    with world.source.volume("b").window:
        with pytest.raises(Unavailable, match="the head of b is being suspended"):
            freeze(world)
        assert not world.source.volume("a").window.locked()
    freeze(world)
    goes_on(world)


# What a window says is not taken for granted.


@pytest.mark.parametrize("stays", ["a", "b", "ab"])
def test_a_head_that_did_not_move_is_not_taken_for_frozen(world: World, stays: str) -> None:
    live = {name: live_device(world.source.volume(name)) for name in "ab"}

    def lost() -> None:
        # As if somebody had let the head go within the window.
        for name in stays:
            world.mapper.devices[world.source.head(name)].inactive = None

    with pytest.raises(HeadStayed, match=rf"frazil-{stays[0]} is not on frazil-{stays[0]}"):
        freeze(world, lost)
    for name in stays:
        volume = world.source.volume(name)
        assert live_device(volume) == live[name]
        assert volume.watched in ("", live[name])
        assert all(one.frozen_at is not None for one in world.source.journal.generations(name))
    world.write("a", 2 * CHUNK, b"2" * CHUNK)
    freeze(world)
    goes_on(world)


# Without room.


def test_nothing_is_folded_or_moved_while_the_window_has_the_head(world: World) -> None:
    room, volume = world.source.host.room, world.source.volume("a")
    done: list[str] = []

    def full() -> None:
        with (
            mock.patch.object(RoomKeeper, "_merge_frozen", lambda *_: None),
            mock.patch.object(RoomKeeper, "_has_room", lambda *_: False),
            mock.patch.object(room_module, "fold", lambda *_: done.append("fold")),
            mock.patch.object(room_module, "move_on", lambda *_: done.append("move on")),
        ):
            for overflown in (True, False):
                room._sacrifice(volume, overflown=overflown)

    freeze(world, full)
    assert not done
    # As a control: they are done when nobody has it.
    full()
    assert done == ["fold", "move on"]
    goes_on(world)


@pytest.mark.parametrize("how", ["moved", "folded"])
def test_writers_that_were_only_believed_to_wait_are_made_to(world: World, how: str) -> None:
    volume, head = world.source.volume("a"), world.source.head("a")
    volume.stalled = True
    waited: list[bool] = []
    real = Volume.prepare

    def prepare(self: Volume, *args: Any) -> Any:
        waited.append(world.mapper.devices[head].suspended)
        return real(self, *args)

    with (
        mock.patch.object(Volume, "prepare", prepare),
        mock.patch.object(RoomKeeper, "_grown_to_the_last", lambda *_: False),
    ):
        world.sacrifice("a", how)
    assert waited == [True]
    freeze(world)
    goes_on(world)


# The thread.


class Refusing:
    """A device-mapper with a full layer, whose heads cannot be suspended."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked = 0
        self.often = threading.Event()

    def status(self, name: str) -> tuple[Any, ...]:
        return (mock.Mock(kind="snapshot", text="90/100 16"),)

    def state(self, name: str) -> State:
        return State(name, "", "253:0", suspended=False, live=True, inactive=False)

    def prepare(self, names: object, *, lockfs: bool) -> None:
        """It needs nothing."""

    def suspend(self, name: str) -> None:
        self.asked += 1
        if self.asked > 3:
            self.often.set()
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EINVAL, 1), (errno.ENXIO, 0), (errno.ENOMEM, 1)]
)
def test_a_refusal_does_not_end_the_brake_and_is_told_once(number: int, told: int) -> None:
    """EINVAL: somebody else's suspend ended first; ENXIO: the head is gone."""
    events, kernel = mock.Mock(), Refusing(number)
    volume = mock.Mock(watched="layer", stalled=False, window=threading.Lock())
    volume.name = "a"
    brake = Brake(events, lambda: [volume], threading.Event(), lambda: None)
    brake._dm = kernel  # type: ignore[assignment]
    died: list[object] = []

    def ended(found: object) -> None:
        died.append(found)
        kernel.often.set()

    with mock.patch.object(threading, "excepthook", ended):
        thread = threading.Thread(target=brake.run, daemon=True)
        thread.start()
        assert kernel.often.wait(20)
        brake.stop()
        thread.join(20)
    assert not died
    assert not volume.stalled
    assert not volume.window.locked()
    assert [call.args[2] for call in events.add.call_args_list] == ["brake-failed"] * told


def test_the_brake_looks_at_a_layer_behind_which_the_volume_grew() -> None:
    kernel = Refusing(errno.EINVAL)
    grown = mock.Mock(kind="linear", text="")
    lines = (*kernel.status("layer"), grown)
    volume = mock.Mock(watched="layer", stalled=False, window=threading.Lock())
    brake = Brake(mock.Mock(), list, threading.Event(), lambda: None)
    brake._dm = kernel  # type: ignore[assignment]
    with mock.patch.object(kernel, "status", lambda name: lines), pytest.raises(OSError):
        brake._look(volume)
    assert kernel.asked == 1


def test_the_brake_sleeps_until_a_layer_could_overflow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.brake.SLEEP_SECONDS", 600.0)
    volume, rounds, looked = world.source.volume("a"), threading.Semaphore(0), threading.Event()
    volume.watched = ""

    def volumes() -> list[Volume]:
        rounds.release()
        return [volume]

    brake = Brake(mock.Mock(), volumes, volume.context.watching, lambda: None)
    with mock.patch.object(Brake, "_look", lambda *_: looked.set()):
        thread = threading.Thread(target=brake.run, daemon=True)
        thread.start()
        # What was set before it began costs at most a second round.
        assert rounds.acquire(timeout=20)
        rounds.acquire(timeout=0.5)
        assert not rounds.acquire(timeout=0.5), "nothing to look at, and it looks"
        assert not looked.is_set()
        volume.watched = live_device(volume)
        assert looked.wait(20)
        brake.stop()
        thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("dead", ["brake", "room", "merger", ""])
def test_the_daemon_is_not_at_work_without_its_threads(world: World, dead: str) -> None:
    host = world.source.host
    threads: dict[str, threading.Thread | None] = {
        "brake": host.room._brake,
        "room": host.room,
        "merger": host.merger,
        "": None,
    }
    with mock.patch.object(threading.Thread, "is_alive", lambda self: self is not threads[dead]):
        assert host.at_work() is (dead == "")
