"""What somebody reads is not merged over, whenever he comes; a freeze that begins keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control.cycle import Limits
from control.limiter import RateLimiter
from control.merger import outgrew
from control.volume import Volume
from tests.soft.sites import Sites

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
        volume.merge_lowest(layer, RateLimiter())
        assert held <= {made.uuid for made in volume.images()}
        sites.check()
    volume.merge_lowest(layer, RateLimiter())
    assert not held & {made.uuid for made in volume.images()}
    sites.check()


def test_a_layer_that_is_only_prepared_counts_for_nobody(sites: Sites) -> None:
    volume: Volume = sites.leader.soft.volume("a")
    (worker,) = sites.host.roster.workers()
    prepared = volume.prepare(volume.next_number, "0" * 32)
    volume.context.pool.open(prepared.object_name).delete()
    assert not outgrew(worker, volume, Limits())
