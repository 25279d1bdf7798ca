"""While a volume is being made, which takes a while, nothing waits that it may wait for."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from control.records import GroupRecord
from control.roster import Roster
from tests.soft.world import World

CHUNK = 4096


@pytest.fixture
def world() -> Iterator[World]:
    """A volume in a group, and one by itself."""
    made = World({name: bytes(16 * CHUNK) for name in "ab"}, ["a"], ["far"])
    try:
        yield made
    finally:
        made.close()


def make(world: World, name: str) -> None:
    disk = world.directory / f"{name}.disk"
    disk.write_bytes(random.Random(1).randbytes(16 * CHUNK))
    world.source.host.create_volume(name, [(str(disk), 0, 0)], 0, dry_run=False)


def test_a_group_is_made_meanwhile(world: World) -> None:
    """Else the one who makes a group has the lock that the other one takes at the end."""
    host = world.source.host
    group = GroupRecord("g", implicit=False)
    making = threading.Thread(target=host.roster.create_group, args=(group, ["b"]), daemon=True)
    with host._lock:
        making.start()
        making.join(5)
        stuck = making.is_alive()
    making.join(20)
    assert not stuck
    assert host.context.journal.group_of("b") == "g"


def test_a_volume_that_is_taken_into_a_group_at_once_has_one_conductor(world: World) -> None:
    roster, real = world.roster, Roster.add_volume

    def add_volume(self: Roster, name: str) -> Any:
        roster.create_group(GroupRecord("g", implicit=False), [name])
        return real(self, name)

    with mock.patch.object(Roster, "add_volume", add_volume):
        make(world, "c")
    assert [one.group.name for one in roster.conductors()] == ["b", "g", "shop"]
    world.roster.conductor("g").group.freeze()
