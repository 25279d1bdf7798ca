"""A site dies in the middle of a cycle, under a filesystem and a database; the other one goes on
with them, and gives them back: what a committed generation has is never lost, nor copied twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.pair import MIB, PATIENT, Pair, Volume, running_pair
from tests.workload.judge import EVERYTHING
from vagrant.cluster import Application, HostSettings
from vagrant.cluster.application import Evidence
from vagrant.cluster.cycles import Cycle

SIZE = 64 * MIB
HERE = "/srv/app"
SECOND = f"{HERE}/second"


@pytest.fixture
def pair() -> Iterator[Pair]:
    settings = HostSettings(peers=("source", "replica"), extra=PATIENT)
    with running_pair(settings, settings) as made:
        yield made


def begin(volume: Volume) -> Application:
    """An application on a filesystem on the head, through three cycles."""
    source = volume.pair.source
    source.guest.run(f"mkfs.ext4 -q {volume.head} && mkdir -p {HERE} && mount {volume.head} {HERE}")
    application = Application(source.guest, HERE)
    application.start()
    volume.mirror("--interval", "1s")
    source.until("three cycles", lambda: volume.now().committed >= 3, timeout=180)
    assert application.failure() == ""
    return application


def die_midway(volume: Volume, application: Application) -> tuple[Evidence, Cycle]:
    """Pull the plug while a delta is being copied. :return: the last committed cycle too."""
    source = volume.pair.source
    before = {cycle.generation: cycle for cycle in volume.now().recent}
    source.frazil("mirror", "set", "app", "--rate", "200KB/s")

    def midway() -> Cycle | None:
        now = volume.now()
        before.update({cycle.generation: cycle for cycle in now.recent})
        return now.midway(0.5)

    source.until("the middle of a copy", midway, pause=0.2)
    source.guest.power_cut()
    newest = volume.pair.replica.json("replica", "show", "app")["newest"]["number"]
    return application.evidence(), before[newest]


def test_a_database_goes_on_at_the_other_site_and_comes_back(pair: Pair) -> None:
    volume = pair.volume("app", SIZE)
    source, replica = pair.source, pair.replica
    first, committed = die_midway(volume, begin(volume))

    replica.frazil("replica", "promote", "app", "--force")
    replica.guest.run(f"mkdir -p {HERE} && mount {volume.head} {HERE}")
    verdict = first.judge(replica.guest, HERE, committed.window)
    assert verdict.faults == []
    assert verdict.newest > 0
    # The negative control: the same content is wrong for the moment of the power cut.
    assert first.judge(replica.guest, HERE, EVERYTHING).faults

    replica.guest.run(f"mkdir -p {SECOND}")
    second = Application(replica.guest, SECOND, log_disk="d1")
    second.start()
    source.guest.restart()
    source.start()
    source.until("it knows", lambda: source.json("volume", "show", "app")["state"] == "inactive")
    source.frazil("volume", "demote", "app", "--identity", "replica", "--force")
    replica.frazil("mirror", "set", "app.back", "--peer", source.peer)
    replica.frazil("mirror", "start", "app.back")
    back = replace(volume, pair=replace(pair, source=replica, replica=source))

    def cycles() -> list[Cycle]:
        status = replica.json("mirror", "status", "app.back")["mirrors"][0]
        return [Cycle.of(one) for one in status["recent"]]

    replica.until("two cycles back", lambda: len(cycles()) >= 2, timeout=240)
    assert {cycle.kind for cycle in cycles()} == {"delta"}, "no full copy"
    assert sum(cycle.sent for cycle in cycles()) < SIZE / 2
    assert second.failure() == ""
    second.stop()
    evidence = second.evidence()
    replica.guest.run(f"umount {HERE}")
    source.frazil("replica", "keep", "app", "--drop-diverged")
    replica.frazil("mirror", "switch", "app.back", "--reverse", replica.peer, timeout=300)

    source.guest.run(f"mkdir -p {HERE} && mount {back.head} {HERE}")
    returned = evidence.judge(source.guest, SECOND, EVERYTHING)
    assert returned.faults == []
    assert returned.newest > 0
    assert first.judge(source.guest, HERE, committed.window).faults == []
