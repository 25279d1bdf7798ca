"""A connection that breaks in the middle of a copy: the copy goes on where it was."""

from __future__ import annotations

import time

import pytest

from tests.pair import MIB, Pair, Volume
from vagrant.cluster.cycles import Cycle

pytestmark = pytest.mark.guest

SIZE = 24 * MIB
RATE = "2MB/s"


def half_copied(volume: Volume) -> Cycle:
    """Fill the volume, start its mirror, and wait until about half of it was sent."""
    guest = volume.pair.source.guest
    fill = f"dd if=/dev/urandom of={volume.head} bs=1M count={SIZE // MIB} oflag=direct"
    guest.run(f"{fill} status=none")
    volume.mirror("--on-demand", "--rate", RATE)
    volume.pair.source.frazil("mirror", "sync-now", volume.name)
    source = volume.pair.source

    def halfway() -> Cycle | None:
        current = volume.now().current
        return current if current and current.done > SIZE * 0.4 else None

    found: Cycle = source.until("the copy is half done", halfway)
    assert found.done < SIZE
    return found


def finished(volume: Volume) -> Cycle:
    """Wait for the commit; the copy is right, and was not begun anew."""
    source = volume.pair.source
    source.until("the copy is committed", lambda: volume.now().committed == 1)
    (cycle,) = volume.now().recent
    assert volume.frozen_digest(1) == volume.replica_digest(1)
    # What was in flight when the connection broke is sent again, no more than that.
    assert SIZE <= cycle.sent < SIZE * 1.35
    return cycle


def test_partition_in_the_middle_of_a_copy(pair: Pair) -> None:
    volume = pair.volume("net", SIZE)
    half_copied(volume)
    pair.lab.partition(pair.source.guest, pair.replica.guest)
    pair.source.until("the mirror notices", lambda: volume.now().problem, timeout=60)
    assert pair.source.json("mirror", "status", "net")["mirrors"][0]["health"] != "OK"
    pair.lab.heal()
    finished(volume)


def test_replica_killed_in_the_middle_of_a_copy(pair: Pair) -> None:
    volume = pair.volume("killed", SIZE)
    half_copied(volume)
    pair.replica.kill()
    time.sleep(1.0)
    pair.replica.start()
    finished(volume)


def test_source_killed_in_the_middle_of_a_copy(pair: Pair) -> None:
    volume = pair.volume("killed", SIZE)
    half_copied(volume)
    pair.source.kill()
    pair.source.start()
    finished(volume)


def test_rate_changes_while_the_copy_runs(pair: Pair) -> None:
    volume = pair.volume("rate", SIZE)
    half_copied(volume)
    pair.source.frazil("mirror", "set", "rate", "--rate", "100KB/s")
    time.sleep(1.5)
    before = volume.now().current
    time.sleep(3.0)
    after = volume.now().current
    assert before is not None and after is not None
    assert after.done - before.done < 2 * MIB
    pair.source.frazil("mirror", "set", "rate", "--rate", "none")
    finished(volume)
