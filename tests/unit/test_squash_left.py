"""A squash that breaks off leaves nothing in the pool, whatever is merged or squashed next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from unittest import mock

import pytest

from control.limiter import Interrupted, RateLimiter
from control.squashing import squash
from control.store.squash import Overlay
from tests.soft.mirrored import mirrored
from tests.soft.world import World

CHUNK = 4096


class Killed(BaseException):
    """The daemon is no more."""


@pytest.fixture
def world() -> Iterator[World]:
    """A volume with two layers that its replica lacks."""
    with mirrored() as made:
        for chunk in (1, 2, 3):
            made.write("a", chunk * CHUNK, bytes([chunk]) * CHUNK)
            made.freeze()
        yield made


def begun(world: World) -> None:
    volume = world.source.volume("a")
    lower, upper = volume.layers[1:3]
    squash(volume, lower, upper, RateLimiter())


@pytest.mark.parametrize("error", [Interrupted("the daemon ends"), Killed()])
def test_what_a_squash_had_made_goes(world: World, error: BaseException) -> None:
    real = Overlay.write

    def breaks(both: Overlay, path: str, *, limiter: RateLimiter) -> int:
        real(both, path, limiter=limiter)
        raise error

    with mock.patch.object(Overlay, "write", breaks), suppress(Interrupted, Killed):
        begun(world)
    world.restart(killed=isinstance(error, Killed))
    assert world.copy("m") is None
    while world.merge("a"):
        pass
    known = {layer.object_name for layer in world.source.volume("a").layers}
    assert set(world.source.pool.list()) == known, "room that nobody gives back"
    world.check()


def test_what_it_made_stays_when_it_ends_well(world: World) -> None:
    begun(world)
    world.restart(killed=True)
    world.check()
    assert world.copy("m") is None
    world.check()
