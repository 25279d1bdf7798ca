"""A volume grows while it is copied, or its freeze fails: what is new arrives, and is tracked."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import pytest

from control.adopt import NothingToGrow
from control.blocks import BLOCK
from control.hooks import HookMissing
from control.pool.errors import PoolFull
from dm_tables.units import Bytes
from tests.soft.racing import beside, committing, finished
from tests.soft.world import GROUP, World

CHUNK = 4096
SIZE = 40 * CHUNK + 1024
"""No multiple of a chunk: what a layer's last one holds behind it must not show."""
MORE = random.Random(7).randbytes(9 * CHUNK)
"""What the added span holds before it is added."""


@pytest.fixture
def world() -> Iterator[World]:
    """Two volumes that are mirrored to one host, which has the newest of two instants."""
    chance = random.Random(1)
    volumes = {name: chance.randbytes(SIZE) for name in ("data", "log")}
    made = World(volumes, ["data", "log"], ["near", "far"])
    try:
        (made.directory / "more.disk").write_bytes(MORE)
        made.add_mirror("to-near", "near")
        made.freeze()
        assert made.copy("to-near") is None
        yield made
    finally:
        made.close()


def write(world: World, seed: int) -> None:
    """Near the end too, in the last chunk."""
    for name, model in world.models.items():
        world.write(name, seed * CHUNK, random.Random(seed).randbytes(CHUNK))
        world.write(name, len(model.head) - 512, random.Random(-seed).randbytes(512))


def grow(world: World, *, again: bool = False) -> None:
    """Make ``data`` longer; its model follows at the instant of the freeze."""

    def frozen() -> None:
        model = world.models["data"]
        model.since.update(range(len(model.head) // BLOCK, -(-(SIZE + len(MORE)) // BLOCK)))
        model.head.extend(MORE)
        for each in world.models.values():
            each.freeze()

    world.source.freezer.frozen = frozen
    spans = [] if again else [(str(world.directory / "more.disk"), 0, 0)]
    try:
        world.source.host.grow_volume("data", spans, dry_run=False)
    finally:
        world.source.freezer.frozen = lambda: None
        world.notice()


def same(world: World, *replicas: str) -> None:
    """Heads, the images of instants, and replicas are what they must be."""
    for name, model in world.models.items():
        head = world.mapper.image(world.source.head(name))
        assert len(head) == len(model.head), f"the head of {name} has {len(head)} bytes"
        right = head == bytes(model.head)
        assert right, f"the head of {name} is wrong"
        for place in replicas:
            world._check_replica(place, world.replicas[place], name)


def arrives(world: World, *replicas: str) -> None:
    """Everything does, with nothing else than that merged."""
    for seed in (5, 6):
        for place in replicas:
            for _ in range(3):
                assert world.copy(f"to-{place}") is None
        same(world, *replicas)
        for name in world.models:
            while world.merge(name):
                pass
        write(world, seed)
        world.freeze()
    for place in replicas:
        assert world.copy(f"to-{place}") is None
        newest = world.source.volume("data").images()[0].uuid
        assert world.replicas[place].newest("data") == newest
        assert len(world.replicas[place].replica.image(name="data")) == SIZE + len(MORE)
    same(world, *replicas)


def test_while_a_delta_is_committed(world: World) -> None:
    write(world, 2)
    world.freeze()
    worker = world.roster.worker("to-near")
    with committing(world, "near") as commit:
        growing = beside(worker, lambda: grow(world))
        commit()
        assert finished(growing)
    arrives(world, "near")


def test_while_a_first_copy_is_committed(world: World) -> None:
    world.add_mirror("to-far", "far")
    worker = world.roster.worker("to-far")
    with committing(world, "far") as commit:
        growing = beside(worker, lambda: grow(world))
        commit()
        assert finished(growing)
    arrives(world, "near", "far")


@pytest.mark.parametrize("first", [True, False])
def test_after_a_commit_whose_answer_was_lost(world: World, *, first: bool) -> None:
    place = "far" if first else "near"
    if first:
        world.add_mirror("to-far", "far")
    else:
        write(world, 2)
        world.freeze()
    world.replicas[place].faults.commit = "after"
    assert world.copy(f"to-{place}") is not None
    grow(world)
    arrives(world, "near", "far") if first else arrives(world, "near")


def test_a_first_copy_that_broke_off_goes_on_where_it_was(world: World) -> None:
    world.add_mirror("to-far", "far")
    world.replicas["far"].faults.commit = "before"
    assert world.copy("to-far") is not None
    grow(world)
    assert world.copy("to-far") is None
    first = world.source.journal.cycles("to-far")[-1]
    assert first.committed_at and not first.payload_bytes, "it was sent anew"
    arrives(world, "near", "far")


def fails(world: World) -> None:
    world.source.pool.limit = Bytes(0)
    try:
        with pytest.raises(PoolFull, match="frazil volume grow data"):
            grow(world)
    finally:
        world.source.pool.limit = None


@pytest.mark.parametrize("end", ["none", "stopped", "killed", "power"])
@pytest.mark.parametrize("again", [True, False])
def test_a_freeze_that_fails_is_made_up_for(world: World, end: str, *, again: bool) -> None:
    write(world, 2)
    world.freeze()
    write(world, 3)
    fails(world)
    if end != "none":
        world.restart(power=end == "power", killed=end != "stopped")
    same(world, "near")
    # The instant before it is still on its way, and knows nothing of what is new.
    write(world, 4)
    assert world.copy("to-near") is None
    same(world, "near")
    grow(world, again=again)
    write(world, 8)
    arrives(world, "near")
    with pytest.raises(NothingToGrow):
        grow(world, again=True)


@pytest.mark.parametrize("dies", range(1, 12))
@pytest.mark.parametrize("power", [True, False])
def test_a_crash_on_the_way(world: World, dies: int, *, power: bool) -> None:
    write(world, 2)
    world.freeze()
    write(world, 3)
    with world.mortal(dies, power=power):
        grow(world)
    if world.source.volume("data").growing:
        grow(world, again=True)
    elif world.source.volume("data").size == SIZE:
        grow(world)
    write(world, 4)
    arrives(world, "near")


def test_a_hook_that_is_gone_names_both_what_to_do(world: World) -> None:
    group = world.roster.conductor(GROUP).group.record
    journal = world.source.journal
    journal.save_group(dataclasses.replace(group, before=("/nowhere/hook",)))
    with pytest.raises(HookMissing) as refused:
        grow(world)
    assert "change the group" in refused.value.hint
    assert "frazil volume grow data" in refused.value.hint
    journal.save_group(group)
    grow(world, again=True)
    arrives(world, "near")
