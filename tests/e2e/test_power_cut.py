"""The source loses its power under an application: the replica holds one whole instant, and the
source goes on where it was when it comes back."""

from __future__ import annotations

import pytest

from tests.pair import MIB, Pair, Volume
from tests.workload.judge import EVERYTHING
from vagrant.cluster import Application
from vagrant.cluster.cycles import Cycle

pytestmark = pytest.mark.guest

SIZE = 64 * MIB
MOUNTPOINT = "/srv/app"
COPY = "/mnt/copy"


def mirrored_application(volume: Volume) -> Application:
    """An application that writes to a filesystem on the head, through four cycles and on."""
    source = volume.pair.source
    source.guest.run(f"mkfs.ext4 -q {volume.head} && mkdir -p {MOUNTPOINT}")
    source.guest.run(f"mount {volume.head} {MOUNTPOINT}")
    application = Application(source.guest, MOUNTPOINT)
    application.start()
    volume.mirror("--verify")
    source.until("four cycles", lambda: volume.now().committed >= 4, timeout=180)
    assert application.failure() == ""
    return application


def test_application_survives_on_the_replica(pair: Pair) -> None:
    volume = pair.volume("app", SIZE)
    source, replica = pair.source, pair.replica
    application = mirrored_application(volume)
    before = {cycle.generation: cycle for cycle in volume.now().recent}
    assert {cycle.verified for cycle in list(before.values())[:3]} == {"verified"}

    source.frazil("mirror", "set", "app", "--rate", "200KB/s")

    def midway() -> Cycle | None:
        now = volume.now()
        before.update({cycle.generation: cycle for cycle in now.recent})
        return now.midway(0.5)

    torn = source.until("the middle of a copy", midway, pause=0.2)
    source.guest.power_cut()
    evidence = application.evidence()

    newest = replica.json("replica", "show", "app")["newest"]["number"]
    assert newest == torn.generation - 1
    replica.guest.run(f"mkdir -p {COPY}")
    replica.frazil("replica", "mount", "app", COPY)
    device = replica.guest.run(["findmnt", "-no", "SOURCE", COPY]).text
    replica.guest.run(["e2fsck", "-f", "-n", device])
    verdict = evidence.judge(replica.guest, COPY, before[newest].window)
    assert verdict.faults == []
    assert verdict.newest > 0
    # The negative control: the same content is wrong for any other freeze.
    later = evidence.judge(replica.guest, COPY, torn.window)
    assert later.faults

    source.guest.restart()
    assert source.guest.run(["frazil", "activate"], check=False).code == 0
    source.guest.run(f"mkdir -p {MOUNTPOINT} && mount {volume.head} {MOUNTPOINT}")
    survived = evidence.judge(source.guest, MOUNTPOINT, EVERYTHING)
    assert survived.faults == []
    source.start()
    source.frazil("mirror", "set", "app", "--rate", "none")
    done = source.until("it goes on", lambda: volume.now().committed > torn.generation)
    assert done
    assert {cycle.kind for cycle in volume.now().recent if cycle.generation > 1} == {"delta"}
    # Mounted all the time, while newer generations came in and were merged.
    still = evidence.judge(replica.guest, COPY, before[newest].window)
    assert still.faults == []
    assert still.newest == verdict.newest
