"""A connection that breaks in the middle of a copy: the copy goes on where it was."""

from __future__ import annotations

import time

import pytest

from tests.pair import MIB, Pair, Volume
from vagrant.cluster.cycles import Cycle
from vagrant.cluster.watch import MirrorWatch

pytestmark = pytest.mark.guest

SIZE = 16 * MIB
RATE = "1MB/s"


def half_copied(volume: Volume) -> Cycle:
    """Fill the volume, start its mirror, and wait until about half of it was sent."""
    guest, source = volume.pair.source.guest, volume.pair.source
    fill = f"dd if=/dev/urandom of={volume.head} bs=1M count={SIZE // MIB} oflag=direct"
    guest.run(f"{fill} status=none")
    volume.mirror("--on-demand", "--rate", RATE)
    watch = MirrorWatch(source, volume.name)
    source.frazil("mirror", "sync-now", volume.name)
    found: Cycle = source.until("the copy is half done", lambda: watch.midway(0.9, 0.4), pause=0.1)
    watch.close()
    return found


def finished(volume: Volume) -> Cycle:
    """Wait for the commit; the copy is right, and was not begun anew."""
    source = volume.pair.source
    source.frazil("mirror", "set", volume.name, "--rate", "none")
    source.until("the copy is committed", lambda: volume.now().committed == 1)
    (cycle,) = volume.now().recent
    assert volume.frozen_digest(1) == volume.replica_digest(1)
    return cycle


def test_partition_in_the_middle_of_a_copy(shared_pair: Pair) -> None:
    pair = shared_pair
    volume = pair.volume("net", SIZE, disk="d0")
    half_copied(volume)
    pair.lab.partition(pair.source.guest, pair.replica.guest)
    pair.source.until("the mirror notices", lambda: volume.now().problem)
    assert pair.source.json("mirror", "status", "net")["mirrors"][0]["health"] != "OK"
    pair.lab.heal()
    cycle = finished(volume)
    assert cycle.resumed > 0
    # Only what was on its way when the connection broke is sent twice.
    assert SIZE <= cycle.sent < SIZE * 1.5


def test_replica_killed_in_the_middle_of_a_copy(shared_pair: Pair) -> None:
    pair = shared_pair
    volume = pair.volume("there", SIZE, disk="d1")
    half_copied(volume)
    pair.replica.kill()
    pair.source.until("the mirror notices", lambda: volume.now().problem)
    pair.replica.start()
    cycle = finished(volume)
    assert cycle.resumed > 0
    assert SIZE <= cycle.sent < SIZE * 1.5


def test_source_killed_in_the_middle_of_a_copy(shared_pair: Pair) -> None:
    pair = shared_pair
    volume = pair.volume("here", SIZE, disk="d2")
    half_copied(volume)
    pair.source.kill()
    pair.source.start()
    cycle = finished(volume)
    assert cycle.resumed > 0
    assert cycle.sent < SIZE * 1.5


def test_rate_changes_while_the_copy_runs(shared_pair: Pair) -> None:
    pair = shared_pair
    volume = pair.volume("rate", SIZE, disk="d3")
    half_copied(volume)
    pair.source.frazil("mirror", "set", "rate", "--rate", "50KB/s")
    # What was let through before is still on its way.
    time.sleep(2.0)
    before = volume.now().current
    time.sleep(3.0)
    after = volume.now().current
    assert before is not None and after is not None
    assert after.done - before.done <= 1 * MIB
    finished(volume)
