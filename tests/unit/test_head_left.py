"""A head that something left suspended, whatever it was: its writers do not wait for ever."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any
from unittest import mock

import pytest

from control.folding import fold
from control.limiter import RateLimiter
from control.stack import StackDevices
from control.volume import Volume
from dm_tables.errors import FrazilError
from dm_tables.status import Invalid
from tests.soft.mirrored import mirrored
from tests.soft.world import GROUP, World

CHUNK = 4096


@pytest.fixture
def world() -> Iterator[World]:
    """A volume whose newest generation its replica has; its live layer holds a chunk."""
    with mirrored() as made:
        made.write("a", CHUNK, b"1" * CHUNK)
        yield made


def suspended(world: World) -> bool:
    return bool(world.mapper.devices[world.source.head("a")].suspended)


def look(world: World) -> None:
    """What the room keeper does again and again."""
    for _ in range(3):
        with suppress(FrazilError):
            world.source.host.room._look(world.source.volume("a"))


def test_writers_to_a_layer_whose_disk_failed_do_not_wait_for_room(world: World) -> None:
    volume = world.source.volume("a")
    world.source.host.room._brake.stall(volume)
    with mock.patch.object(Volume, "layer_status", lambda *_: Invalid()):
        look(world)
    assert not suspended(world)
    assert not volume.stalled
    assert "its disk failed" in volume.problem


def test_a_head_whose_swap_failed_and_that_could_not_be_freed_then_is_freed(world: World) -> None:
    mapper, head = world.mapper, world.source.head("a")
    real, left = mapper.resume, 2

    def refused(name: str) -> None:
        nonlocal left
        if name == head and left:
            left -= 1
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        real(name)

    merged: list[Any] = []
    with mock.patch.object(mapper, "resume", refused), pytest.raises(FrazilError):
        world.roster.conductor(GROUP).group.freeze()
    assert suspended(world)
    with mock.patch.object(Volume, "merge_lowest", lambda *a, **m: merged.append(a)):
        look(world)
    assert not suspended(world)
    assert not merged, "nothing is sacrificed: there is room"
    world.freeze()
    world.check()
    world.settle()


@pytest.mark.parametrize("told", [True, False])
def test_a_head_waits_until_its_fold_is_ended_also_over_a_restart(
    world: World, *, told: bool
) -> None:
    """What is written to a layer that is merged, and still in the kernel, would be lost."""
    head = world.source.head("a")
    failing = mock.patch.object(
        StackDevices, "settle", side_effect=FrazilError("still running after 30 s")
    )
    silent = mock.patch.object(StackDevices, "is_suspended", side_effect=FrazilError("silent"))
    volume = world.source.volume("a")
    world.source.host.room._brake.stall(volume)
    with failing:
        with pytest.raises(FrazilError):
            fold(volume, RateLimiter())
        world.source.kill()
        with silent if not told else nullcontext():
            world.source.start()
        assert suspended(world)
    world.source.host.assemble(world.source.volume("a"))
    look(world)
    assert not suspended(world)
    world.mapper.write(head, 7 * CHUNK, bytes([7]) * CHUNK)
    world.models["a"].write(7 * CHUNK, bytes([7]) * CHUNK)
    world.notice()
    world.check()
    world.settle()
