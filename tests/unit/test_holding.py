"""What somebody reads is not merged over, whenever he comes; a freeze that begins keeps nothing.

But where there is no room the application comes first: who reads is told, and ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from control.comparing import MergedOver
from control.cycle import Limits
from control.folding import fold
from control.limiter import RateLimiter
from control.merger import outgrew
from control.volume import Volume
from dm_tables.errors import Precondition
from tests.soft.mirrored import mirrored
from tests.soft.sites import Sites
from tests.soft.world import World

CHUNK = 4096


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A volume with a layer that the replica has, and that may be merged."""
    made = Sites({"a": bytes(64 * CHUNK)})
    try:
        made.freeze()
        assert made.copy() is None
        made.write("a", 0, b"1" * CHUNK)
        made.freeze()
        volume: Volume = made.leader.soft.volume("a")
        with volume.hold(min(one.layer for one in volume.images())):
            assert made.copy() is None
        yield made
    finally:
        made.close()


def test_what_is_held_after_the_merge_was_decided_on_is_not_merged_over(sites: Sites) -> None:
    volume: Volume = sites.leader.soft.volume("a")
    layer = volume.next_merge()
    assert layer is not None
    below = min(made.layer for made in volume.images())
    assert below < layer.sequence
    with volume.hold(below):
        held = {made.uuid for made in volume.images() if made.layer == below}
        assert not volume.merge_lowest(layer, RateLimiter())
        assert held <= {made.uuid for made in volume.images()}
        sites.check()
    assert volume.merge_lowest(layer, RateLimiter())
    assert not held & {made.uuid for made in volume.images()}
    sites.check()


def test_a_layer_that_is_only_prepared_counts_for_nobody(sites: Sites) -> None:
    volume: Volume = sites.leader.soft.volume("a")
    (worker,) = sites.host.roster.workers()
    prepared = volume.prepare(volume.next_number, "0" * 32)
    volume.context.pool.open(prepared.object_name).delete()
    assert not outgrew(worker, volume, Limits())


@pytest.fixture
def world() -> Iterator[World]:
    """A volume whose replica has its first image; two layers stand on that, and one is live."""
    with mirrored() as made:
        for number in (1, 2, 3):
            made.write("a", number * CHUNK, bytes([number]) * CHUNK)
            made.write("a", 9 * CHUNK, bytes([number]) * CHUNK)
            if number < 3:
                made.freeze()
        yield made


@pytest.mark.parametrize("how", ["frozen", "moved", "folded", "untracked"])
def test_without_room_who_reads_is_told_and_nothing_is_lost(world: World, how: str) -> None:
    volume: Volume = world.source.volume("a")
    lowest = min(made.layer for made in volume.images())
    with volume.hold(lowest) as taken:
        world.sacrifice("a", how)
        assert taken.is_set()
        world.check()
        assert volume.next_merge() is None or lowest not in volume.held_layers()
    world.check()
    world.restart()
    world.settle()


def test_what_is_compared_and_taken_away_is_told_and_not_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume: Volume = world.source.volume("a")
    comparisons = world.roster.worker("m").comparisons
    [(_, generation)] = comparisons.members()
    kept: list[str] = []

    def away(*_: object) -> None:
        if not kept:
            kept.append("began")
            world.sacrifice("a", "frozen")

    with pytest.raises(MergedOver):
        comparisons.compare(
            volume,
            generation,
            cancel=threading.Event(),
            block_bytes=CHUNK,
            progress=away,
            save=kept.append,
        )
    assert kept == ["began"], "no position that was found in something else"


def test_the_live_layer_is_not_folded_over_one_that_is_not_merged(world: World) -> None:
    volume: Volume = world.source.volume("a")
    with pytest.raises(Precondition, match="stands on layer"):
        fold(volume, RateLimiter())
    with pytest.raises(Precondition, match="stands on layer"):
        volume.merge_lowest(volume.layers[1], RateLimiter())
    world.check()


def test_a_volume_that_is_read_is_not_removed(world: World) -> None:
    world.roster.remove_mirror("m")
    volume: Volume = world.source.volume("a")
    with (
        volume.hold(min(made.layer for made in volume.images())),
        pytest.raises(Precondition, match="being read"),
    ):
        volume.remove(lambda *_: None)
    assert world.mapper.image(world.source.head("a")) == bytes(world.models["a"].head)


def test_a_copy_that_comes_in_between_keeps_a_volume_from_being_removed(world: World) -> None:
    world.roster.remove_mirror("m")
    volume: Volume = world.source.volume("a")
    newest = volume.images()[0]
    world.mapper.flush(str(volume.stack.layer(volume.top).name))
    with ExitStack() as copy:

        def begins(done: int, _: int) -> None:
            if done == len(volume.layers) - 1:
                copy.enter_context(volume.hold(newest.layer, firm=True))

        with pytest.raises(Precondition, match="being read"):
            volume.remove(begins)
        assert volume.layers
    volume.remove(lambda *_: None)
    (path,) = {span.path for span in volume.stack.spans}
    raw = path.read_bytes()
    shown = b"".join(raw[one.offset : one.offset + one.length] for one in volume.stack.spans)
    same = shown == bytes(world.models["a"].head)
    assert same, "the bare device is the head"
