"""kill -9 of either daemon in every phase of a cycle: it goes on by itself, without a full copy.

The head is written meanwhile; afterwards it is byte for byte what was written, and the
replica's generations are the source's frozen images.
"""

from __future__ import annotations

import pytest

from tests.pair import MIB, SECTOR, Pair, Volume, Writer
from vagrant.cluster import FrazilHost
from vagrant.cluster.cycles import Cycle

pytestmark = pytest.mark.guest

SIZE = 16 * MIB + 3 * SECTOR
WRITES = 8


class Running:
    """A mirrored volume under a writer; shared by the tests of this module."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.volume: Volume = pair.volume("crash", SIZE)
        self.writer: Writer = self.volume.writer(seed=11)
        self.writer.write(WRITES)
        self.volume.mirror()
        assert self.settled().kind == "whole"

    def ask(self) -> None:
        """Ask for a cycle, and do not wait for it."""
        self.writer.write(WRITES)
        self.pair.source.frazil("mirror", "sync-now", "crash")

    def dies(self, host: FrazilHost, *faults: str) -> None:
        """Run a cycle with ``faults`` in the daemon of ``host``, which dies of them."""
        host.kill()
        host.start_broken(*faults)
        self.ask()
        assert host.daemon.wait(timeout=60) == -9

    def goes_on(self, host: FrazilHost) -> None:
        """Start the daemon again, nothing else: everything holds, and nothing is sent whole."""
        self.writer.write(WRITES)
        host.start()
        self.pair.source.until("what was frozen is committed", self.is_committed)
        self.check(self.settled())

    def is_committed(self) -> bool:
        """Whether the replica has the newest frozen generation."""
        newest = self.pair.source.json("volume", "show", "crash")["newest"]
        return bool(newest["number"] == self.volume.now().committed)

    def settled(self) -> Cycle:
        """One more cycle, after which nothing is under way."""
        self.writer.write(WRITES)
        cycle = self.volume.sync()
        self.pair.source.until("everything is merged", self.is_merged)
        return cycle

    def is_merged(self) -> bool:
        """Whether the live layer is the only one."""
        return len(self.pair.source.json("volume", "show", "crash")["layers"]) == 1

    def check(self, cycle: Cycle) -> None:
        """Head, frozen image and replica are what the model says; every cycle was a delta."""
        model = self.writer.digest()
        assert self.writer.wrong_sectors(self.volume.head) == []
        assert self.volume.frozen_digest(cycle.generation) == model
        assert self.volume.replica_digest(cycle.generation) == model
        kinds = {done.kind for done in self.volume.now().recent if done.generation > 1}
        assert kinds == {"delta"}


@pytest.fixture(scope="module")
def running(shared_pair: Pair) -> Running:
    return Running(shared_pair)


SOURCE_PHASES = {
    "prepared, not frozen": "die-before dm_tables.freezer:Freezer.freeze",
    "frozen, not journaled": "die-after dm_tables.freezer:Freezer.freeze",
    "frozen and journaled": "die-after control.volume:Volume.freeze_happened",
    "about to copy": "die-before control.copying:Copier.run",
    "committed there, not journaled here": "die-after control.copying:Copier.run",
    "journaled, not merged": "die-after control.mirror:MirrorWorker._note_committed",
    "merged, not journaled": "die-before control.volume:Volume._merged",
    # The first call is at the start of the daemon.
    "merged and journaled, not dropped": "die-before control.stack:StackDevices.settle 2",
}

REPLICA_PHASES = {
    "before anything is staged": "die-before control.replica.receive:open_staging",
    "staged, not committed": "die-before control.replica.store:ReplicaStore.commit",
    "committed, not told": "die-after control.replica.store:ReplicaStore.commit",
}


@pytest.mark.parametrize("phase", SOURCE_PHASES)
def test_source_killed(running: Running, phase: str) -> None:
    running.dies(running.pair.source, SOURCE_PHASES[phase])
    running.goes_on(running.pair.source)


@pytest.mark.parametrize("phase", REPLICA_PHASES)
def test_replica_killed(running: Running, phase: str) -> None:
    running.dies(running.pair.replica, REPLICA_PHASES[phase])
    running.goes_on(running.pair.replica)
