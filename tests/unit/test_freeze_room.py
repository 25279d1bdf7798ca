"""A freeze without room for the next auxiliary volume: what passes is told from what stays."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import msgspec
import pytest

from control.limiter import Interrupted
from control.pool.errors import PoolFull
from control.rates import Growth, Rates
from control.timing import LAYERS_AT_MOST
from control.volume import Volume
from dm_tables.errors import FrazilError, Unavailable
from dm_tables.status import Usage
from dm_tables.units import MIB, Bytes, Sectors, bytes_to_sectors
from tests.soft.mirrored import mirrored
from tests.soft.replica import SoftReplica
from tests.soft.sites import Sites
from tests.soft.world import GROUP, World

CHUNK = 4096


@pytest.fixture
def world() -> Iterator[World]:
    """One volume that is mirrored, with an instant that its replica has, and a full pool."""
    made = World({"a": bytes(64 * CHUNK)}, ["a"], ["near"])
    made.add_mirror("on", "near")
    made.freeze()
    made.write("a", 0, b"1" * CHUNK)
    made.freeze()
    try:
        yield made
    finally:
        made.close()


def freeze(world: World) -> None:
    world.source.pool.limit = Bytes(0)
    try:
        world.roster.conductor(GROUP).freeze()
    finally:
        world.source.pool.limit = None


def test_what_the_replica_has_is_merged_first(world: World) -> None:
    assert world.copy("on") is None
    assert world.source.volume("a").next_merge() is not None
    with pytest.raises(Unavailable, match="until layers are merged"):
        freeze(world)


def test_nothing_gives_room_while_the_replica_lacks_it(world: World) -> None:
    assert world.source.volume("a").next_merge() is None
    layers = world.source.volume("a").layers
    with pytest.raises(PoolFull):
        freeze(world)
    assert world.source.volume("a").layers == layers


def test_a_mirror_that_is_away_keeps_no_layers_for_whose_room_another_one_stands_still(
    world: World,
) -> None:
    assert world.copy("on") is None
    while world.merge("a"):
        pass
    world.replicas["far"] = SoftReplica(world.directory / "far")
    world.add_mirror("away", "far")
    assert world.copy("away") is None
    world.direct("away", "pause")
    for chunk in (3, 4):
        world.write("a", chunk * CHUNK, b"3" * CHUNK)
        world.freeze()
        assert world.copy("on") is None
        assert not world.merge("a"), "it is kept for the mirror that is away"
    pool, newest = world.source.pool, world.source.volume("a").images()[0]
    pool.limit = Bytes(pool.used() + MIB - 1)
    for _ in range(2):
        world.freeze()
        world.merge("a")
    assert world.source.volume("a").images()[0].number > newest.number, "it stands still"
    pool.limit = None
    assert world.copy("on") is None
    world.direct("away", "resume")
    assert world.copy("away") is None
    world.check()


@pytest.mark.parametrize("lowered", [0, 2 * MIB])
@pytest.mark.parametrize("grown", "ab")
def test_live_layers_that_have_all_of_the_pool_are_not_there_for_ever(
    grown: str, lowered: int
) -> None:
    """Nothing can be frozen, so nothing is merged; and nobody writes, so nothing is given up."""
    with mirrored("ab") as made:
        made.write("a", 0, b"1" * CHUNK)
        while made.merge("a") or made.merge("b"):
            pass
        source, volume = made.source, made.source.volume(grown)
        volume.context.pool.open(volume.layers[-1].object_name).grow(Bytes(8 * MIB))
        before = made.roster.conductor(GROUP).group.next_number
        source.pool.limit = Bytes(source.pool.used() - lowered)
        made.freeze()
        assert made.roster.conductor(GROUP).group.newest_number() < before, "there is no room"
        source.host.room._give_way()
        made.freeze()
        assert made.roster.conductor(GROUP).group.newest_number() >= before
        assert not volume.stalled
        assert made.copy("m") is None
        made.check()


@pytest.mark.parametrize("error", [Interrupted("the daemon ends"), FrazilError("a disk failed")])
def test_a_head_that_gives_way_is_let_go_whatever_comes(error: FrazilError) -> None:
    with mirrored() as made:
        while made.merge("a"):
            pass
        source, volume = made.source, made.source.volume("a")
        volume.context.pool.open(volume.layers[-1].object_name).grow(Bytes(8 * MIB))
        source.pool.limit = source.pool.used()
        made.freeze()
        failing = mock.patch.object(Volume, "copy_into_spans", side_effect=error)
        with failing as copied:
            source.host.room._give_way()
        assert copied.called
        assert not volume.stalled
        made.write("a", 0, b"1" * CHUNK)
        source.pool.limit = None
        made.freeze()
        assert made.copy("m") is None
        made.check()


def test_a_high_stack_holds_back_freezes_and_no_copy() -> None:
    sites = Sites({"a": bytes(64 * CHUNK)})
    try:
        sites.freeze()
        assert sites.copy() is None
        group = sites.host.roster.conductor(GROUP).group
        while group.layers_at_most() < LAYERS_AT_MOST:
            sites.write("a", 0, bytes(CHUNK))
            sites.freeze()
        worker = sites.host.roster.worker("there")
        assert worker.readiness(group.newest()).due_in > 0
        assert sites.copy() is None
        assert worker.committed_number == group.newest_number(), "it is what lets layers go"
    finally:
        sites.close()


def test_no_member_of_a_group_takes_what_another_one_needs() -> None:
    """The forecast has each of them start with half of what is free: too much for the last."""
    names = "abc"
    made = World({name: bytes(8 * MIB) for name in names}, list(names), [])
    pool = made.source.pool
    try:
        with (
            mock.patch("control.pool.sizing.SMALLEST_START", MIB),
            mock.patch("control.volume.expected_room", lambda *_: Bytes(100 * MIB)),
        ):
            pool.limit = Bytes(3 * MIB)
            made.freeze()
        assert [len(made.source.volume(name).images()) for name in names] == [1, 1, 1]
        made.check()
    finally:
        made.close()


@pytest.fixture
def three() -> Iterator[World]:
    """Three volumes that are one group, mirrored, with a reserve of 1 MiB."""
    made = World({name: bytes(8 * MIB) for name in "abc"}, list("abc"), ["near"])
    host, pool = made.source, msgspec.structs.replace(made.source.config.pool, reserve=Bytes(MIB))
    try:
        host.config = msgspec.structs.replace(host.config, pool=pool)
        made.restart()
        made.add_mirror("on", "near")
        with mock.patch("control.pool.sizing.SMALLEST_START", MIB):
            yield made
    finally:
        made.close()


def test_growing_leaves_room_for_the_next_layers_of_a_whole_group(three: World) -> None:
    three.source.pool.limit = Bytes(9 * MIB)
    three.freeze()
    for _ in range(9):
        for name in "abc":
            half_full(three, name)
    three.freeze()
    assert [len(three.source.volume(name).layers) for name in "abc"] == [2, 2, 2]
    three.check()


def test_growing_leaves_no_room_for_what_can_never_be_frozen(three: World) -> None:
    three.source.pool.limit = Bytes(3 * MIB)
    three.freeze()
    volume = three.source.volume("a")
    before = volume.size_of_layer(volume.layers[-1])
    half_full(three, "a")
    assert volume.size_of_layer(volume.layers[-1]) > before


def test_nothing_is_given_up_for_what_can_never_be_frozen(three: World) -> None:
    three.source.pool.limit = Bytes(9 * MIB)
    three.freeze()
    three.freeze()
    volumes = three.source.host.volumes()
    assert all(len(volume.layers) == 2 for volume in volumes), "the soft kernel's are small"
    three.source.pool.limit = Bytes(2 * MIB)
    three.freeze()
    assert any(volume.wanted_room for volume in volumes)
    three.merge("a")
    assert len(three.source.volume("a").layers) == 2


def half_full(world: World, name: str) -> None:
    """What a look at the live layer of a volume comes to that has 60 in 100 of its room used."""
    volume = world.source.volume(name)
    live = volume.layers[-1]
    total = bytes_to_sectors(volume.size_of_layer(live))
    status = Usage(Sectors(total * 6 // 10), total, Sectors(16))
    with mock.patch.object(Rates, "look", lambda *_: Growth()):
        world.source.host.room._keep_room(volume, live, status)
