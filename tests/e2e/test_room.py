"""Room: layers grow before they fill; without room the mirror gives way, never the head."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.pair import MIB, PATIENT, Pair, Volume, running_pair
from vagrant.cluster import HostSettings

pytestmark = pytest.mark.guest

SIZE = 48 * MIB
SMALL_POOL = f"""{PATIENT}
[pool]
initial = "8MiB"
limit = "28MiB"
reserve = "8MiB"
horizon = "4s"
"""
SLOW = "100KB/s"
PACE_S = 0.25


@pytest.fixture
def tight() -> Iterator[Pair]:
    """Two hosts; the source's pool has room for three auxiliary volumes of 8 MiB, no more."""
    with running_pair(source=HostSettings(extra=SMALL_POOL)) as started:
        yield started


def write(volume: Volume, first_mib: int, count_mib: int) -> None:
    """Write MiB after MiB of noise to the head at a steady pace; any I/O error fails the test."""
    for at in range(first_mib, first_mib + count_mib):
        volume.pair.source.guest.run(
            f"dd if=/dev/urandom of={volume.head} bs=1M count=1 seek={at} oflag=direct"
            f" conv=notrunc,fsync status=none && sleep {PACE_S}"
        )


def layers(volume: Volume) -> list[dict[str, int | str]]:
    """The volume's layers, lowest first."""
    found: list[dict[str, int | str]] = volume.pair.source.json("volume", "show", volume.name)[
        "layers"
    ]
    return found


def test_an_auxiliary_volume_grows_ahead_of_its_writer(tight: Pair) -> None:
    volume = tight.volume("grows", SIZE)
    volume.mirror()
    volume.sync()
    assert [layer["size_bytes"] for layer in layers(volume)] == [8 * MIB]
    write(volume, 0, 10)
    (live,) = layers(volume)
    assert int(live["size_bytes"]) > 10 * MIB
    assert live["state"] == "live"
    cycle = volume.sync()
    assert cycle.kind == "delta"
    assert volume.frozen_digest(2) == volume.replica_digest(2)


def test_a_full_pool_costs_the_mirror_its_step_and_the_head_nothing(tight: Pair) -> None:
    volume = tight.volume("full", SIZE)
    volume.mirror("--on-demand")
    volume.sync()
    write(volume, 0, 6)
    source = tight.source
    source.frazil("mirror", "set", "full", "--rate", SLOW)
    source.frazil("mirror", "sync-now", "full")
    source.until(
        "the copy crawls",
        lambda: source.json("mirror", "status", "full")["mirrors"][0]["phase"] == "copying",
    )

    write(volume, 4, 40)

    events = source.frazil("events", "--json").out.splitlines()
    assert "sacrificed" in {json.loads(event)["kind"] for event in events}
    (status,) = source.json("mirror", "status", "full")["mirrors"]
    assert status["lacking_bytes"] > 0
    assert volume.now().committed == 1, "the replica keeps its last whole instant"
    head = source.guest.call("tests.workload.device_io:digest_of", volume.head)

    source.frazil("mirror", "set", "full", "--rate", "none")
    cycle = volume.sync()
    kinds = [past.kind for past in volume.now().recent]
    assert "catch-up" in kinds, "what the replica lacked was remembered"
    assert kinds.count("whole") == 1, "and no whole copy was needed"
    assert volume.replica_digest(cycle.generation) == head
    assert volume.sync().kind == "delta", "and the mirror goes on as before"
    (status,) = source.json("mirror", "status", "full")["mirrors"]
    assert status["lacking_bytes"] == 0
