"""A chunk less, two payloads swapped, a delta on the wrong generation: each is noticed.

The faults are put in below every check of the wire, so that frazil itself takes the generation
for good; then the tests' own oracle (digests of the frozen device and of the replica's) and
``frazil verify`` must both call it wrong. Where a check of the wire can notice, it must refuse.
"""

from __future__ import annotations

import pytest

from dm_tables.errors import Kind
from tests.pair import MIB, SECTOR, Pair, Volume, Writer

pytestmark = pytest.mark.guest

SIZE = 8 * MIB + SECTOR


def mirrored(pair: Pair, name: str, disk: str) -> tuple[Volume, Writer]:
    """A volume whose first generation is at the replica, and is the same there."""
    volume = pair.volume(name, SIZE, disk=disk, chunk=4096)
    writer = volume.writer(seed=5)
    writer.write(6)
    volume.mirror()
    first = volume.sync()
    assert volume.frozen_digest(first.generation) == volume.replica_digest(first.generation)
    writer.write(6)
    return volume, writer


def differs(volume: Volume, generation: int) -> bool:
    """What the oracle says, and that ``frazil verify`` says the same."""
    said = volume.pair.source.frazil("verify", volume.name, check=False)
    different = volume.frozen_digest(generation) != volume.replica_digest(generation)
    assert (said.code == Kind.CORRUPT) == different
    return different


@pytest.mark.parametrize(("fault", "disk"), [("one-chunk-less", "d0"), ("swapped-payloads", "d1")])
def test_a_source_that_sends_the_wrong_thing(shared_pair: Pair, fault: str, disk: str) -> None:
    volume, writer = mirrored(shared_pair, fault, disk)
    source = shared_pair.source
    source.kill()
    source.start_broken(fault)
    wrong = volume.sync()
    writer.quit()
    source.kill()
    source.start()
    assert differs(volume, wrong.generation)


def test_a_sound_source_passes_the_same_oracle(shared_pair: Pair) -> None:
    volume, writer = mirrored(shared_pair, "sound", "d2")
    right = volume.sync()
    writer.quit()
    assert not differs(volume, right.generation)


def test_a_delta_fits_only_its_own_base(shared_pair: Pair) -> None:
    volume, writer = mirrored(shared_pair, "base", "d3")
    source, replica = shared_pair.source, shared_pair.replica
    source.kill()
    source.start_broken("delta-lost-on-the-wire")
    lost = volume.sync().generation
    source.kill()
    source.start()
    writer.write(6)
    source.frazil("mirror", "sync-now", volume.name)
    source.until("the replica refuses", lambda: "builds on" in volume.now().problem)
    assert replica.json("replica", "show", volume.name)["newest"]["number"] == lost - 1

    replica.kill()
    replica.start_broken("any-base-fits")
    source.until("the broken replica takes it", lambda: volume.now().committed == lost + 1)
    writer.quit()
    replica.kill()
    replica.start()
    assert differs(volume, lost + 1)
