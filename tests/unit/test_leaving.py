"""A volume leaves its group while it is copied, and what comes of the copy when it is back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from unittest import mock

import pytest

from control.mirror import MirrorWorker
from control.records import StandingRecord
from tests.soft.racing import beside, committing, finished
from tests.soft.world import GROUP, World

CHUNK = 4096
SIZE = 32 * CHUNK


@pytest.fixture
def world() -> Iterator[World]:
    """A group that is mirrored to two hosts, each of which has its first instant."""
    made = World({"data": bytes(SIZE), "log": bytes(SIZE)}, ["data", "log"], ["near", "far"])
    try:
        for replica in ("near", "far"):
            made.add_mirror(f"to-{replica}", replica)
        made.freeze()
        assert [made.copy(mirror) for mirror in made.mirrors] == [None, None]
        yield made
    finally:
        made.close()


def cycle(world: World, seed: int) -> None:
    for name in world.models:
        world.write(name, seed * CHUNK, bytes([seed]) * CHUNK)
    world.freeze()


def leave(world: World, worker: MirrorWorker) -> threading.Thread:
    return beside(worker, lambda: world.change_members(remove=["log"]))


def test_who_leaves_during_a_commit_comes_back_whole(world: World) -> None:
    worker = world.roster.worker("to-far")
    cycle(world, 2)
    with committing(world, "far") as commit:
        cycle(world, 3)
        assert world.copy("to-near") is None
        leaving = leave(world, worker)
        commit()
    assert finished(leaving)
    log = world.source.volume("log")
    assert world.source.journal.standing("to-far", "log") == StandingRecord("to-far", "log")
    while log.next_merge() is not None:
        world.merge("log")
    assert len(log.layers) == 1, "what the replica lacks is merged, and nothing is remembered"
    world.change_members(add=["log"])
    cycle(world, 4)
    for _ in range(3):
        assert [world.copy(mirror) for mirror in world.mirrors] == [None, None]
    world.check()
    world.settle()


def test_what_stays_goes_on_where_it_was(world: World) -> None:
    """The copy of an instant of more volumes is still one of those that are left."""
    worker = world.roster.worker("to-far")
    cycle(world, 2)
    with committing(world, "far") as commit:
        leaving = leave(world, worker)
        commit()
    assert finished(leaving)
    assert world.copy("to-far") is None
    newest = world.source.volume("data").images()[0]
    assert world.replicas["far"].newest("data") == newest.uuid
    world.settle()


def test_a_late_commit_writes_nothing_down_for_who_has_left(world: World) -> None:
    """As by a mirror that was made while its workers were being quieted."""
    worker = world.roster.worker("to-far")
    cycle(world, 2)
    with committing(world, "far") as commit:
        with mock.patch.object(worker, "quiet", nullcontext):
            world.change_members(remove=["log"])
        commit()
    journal = world.source.journal
    assert [one.volume for one in journal.standings(mirror="to-far")] == ["data"]


def test_a_first_copy_that_waits_for_another_does_not_begin_once_it_has_left(world: World) -> None:
    world.change_members(remove=["log"])
    world.change_members(add=["log"])
    cycle(world, 2)
    worker = world.roster.worker("to-far")
    before = world.replicas["far"].newest("log")
    with worker._joining:
        copying = threading.Thread(target=world.copy, args=["to-far"])
        copying.start()
        while not worker.joining("log"):
            copying.join(0.01)
        with mock.patch.object(worker, "quiet", nullcontext):
            world.change_members(remove=["log"])
        while world.merge("log"):
            pass
    assert finished(copying)
    assert world.replicas["far"].newest("log") == before
    world.check()


def test_a_change_and_a_conductor_do_not_wait_for_each_other(world: World) -> None:
    """The conductor asks for the group's workers while it holds the group's freezes."""
    conductor = world.roster.conductor(GROUP)
    asked, goes_on = threading.Event(), threading.Event()
    newest = conductor.group.newest

    def waits() -> object:
        asked.set()
        goes_on.wait(60)
        return newest()

    with mock.patch.object(conductor.group, "newest", waits):
        conducting = threading.Thread(target=conductor._step, daemon=True)
        conducting.start()
        assert asked.wait(60)
        changing = threading.Thread(
            target=lambda: world.change_members(remove=["log"]), daemon=True
        )
        changing.start()
        changing.join(0.5)
        goes_on.set()
        conducting.join(5)
        changing.join(5)
    assert not conducting.is_alive() and not changing.is_alive()
