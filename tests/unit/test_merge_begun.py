"""Once a layer's merge has begun the spans are a mixture: nothing is built on what they were.

A mirror may come at any time, to a replica that is of what the spans showed until then.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import msgspec
import pytest

from control.limiter import Interrupted, RateLimiter
from control.squashing import squash
from control.volume import Volume
from tests.soft.world import World

CHUNK = 4096


@pytest.fixture
def world() -> Iterator[World]:
    """Two replicas have the first image; only the one whose mirror is left has the layer on it."""
    made = World({"a": random.Random(1).randbytes(64 * CHUNK)}, ["a"], ["far", "near"])
    try:
        made.add_mirror("m", "far")
        made.add_mirror("n", "near")
        made.freeze()
        assert made.copy("m") is None
        assert made.copy("n") is None
        made.remove_mirror("n")
        for number in range(1, 9):
            made.write("a", number * CHUNK, bytes([number]) * CHUNK)
        made.freeze()
        assert made.copy("m") is None
        yield made
    finally:
        made.close()


def merged_while(world: World, comes: Callable[[], object], *, before: str, after: str) -> None:
    """Merge the lowest layer; another one comes before, or after, one step of it."""
    step = before or after
    real = getattr(Volume, step)

    def beside(self: Volume, *args: Any, **more: Any) -> Any:
        if before:
            comes()
        done = real(self, *args, **more)
        if after:
            comes()
        return done

    with mock.patch.object(Volume, step, beside):
        assert world.merge("a")


def goes_on(world: World) -> None:
    world.write("a", 20 * CHUNK, b"x" * CHUNK)
    world.freeze()
    assert world.copy("n") is None
    world.check()
    world.settle()


@pytest.mark.parametrize(
    ("before", "after"),
    [("begin_merge", ""), ("", "begin_merge"), ("copy_into_spans", ""), ("", "copy_into_spans")],
)
def test_a_mirror_that_comes_during_a_merge_lacks_nothing(
    world: World, before: str, after: str
) -> None:
    def comes() -> None:
        world.add_mirror("n", "near")
        world.copy_badly("n", ("cut", "a", 0))

    merged_while(world, comes, before=before, after=after)
    goes_on(world)


def test_what_is_the_same_is_not_looked_for_in_a_mixture(world: World) -> None:
    context = world.source.host.context
    copy = msgspec.structs.replace(context.config.copy, skip_same=True)
    # The context is the same for all that have it.
    object.__setattr__(context, "config", msgspec.structs.replace(context.config, copy=copy))

    def comes() -> None:
        world.add_mirror("n", "near")
        assert world.copy("n") is None

    merged_while(world, comes, before="", after="copy_into_spans")
    goes_on(world)


@pytest.mark.parametrize("begun", [True, False])
def test_a_squash_of_what_was_merged_in_part_leaves_a_mixture(world: World, begun: bool) -> None:
    world.write("a", 30 * CHUNK, b"y" * CHUNK)
    world.freeze()
    volume: Volume = world.source.volume("a")
    lower, upper = volume.layers[:2]
    bottom = volume.record.bottom
    if begun:
        with (
            mock.patch.object(Volume, "_merged", side_effect=Interrupted("stopped")),
            pytest.raises(Interrupted),
        ):
            volume.merge_lowest(lower, RateLimiter())
    squash(volume, lower, upper, RateLimiter())
    world.check()
    assert any(made.layer == bottom for made in volume.images()) is not begun
    volume.merge_lowest(volume.layers[0], RateLimiter())
    world.check()
    world.settle()
