"""A volume grows while it is used, and its replica with it; what a slow replica costs nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pair import DISK, MIB, PATIENT, Pair, digest, running_pair
from vagrant.cluster import HostSettings

SIZE = 8 * MIB + 512
"""No multiple of a chunk: what the last one holds behind it must not show after growing."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    allowed = HostSettings(peers=("source",), extra=PATIENT)
    with running_pair(HostSettings(extra=PATIENT), allowed) as made:
        yield made


def write(pair: Pair, head: str, seed: int, at: int, length: int) -> None:
    """``length`` bytes of noise at byte ``at``, both multiples of 512."""
    command = (
        f"head -c {length} /dev/urandom > /tmp/noise.{seed} && "
        f"dd if=/tmp/noise.{seed} of={head} bs=512 seek={at // 512} conv=fsync,notrunc"
    )
    pair.source.guest.run(command)


def test_a_volume_grows_under_its_writer_and_the_replica_with_it(pair: Pair) -> None:
    volume = pair.volume("grows", SIZE)
    volume.mirror()
    write(pair, volume.head, 1, 0, SIZE)
    volume.sync()
    write(pair, volume.head, 2, SIZE - 4096 - 512, 4096 + 512)
    pair.source.frazil("mirror", "pause", "grows")
    more = f"{DISK}d0,offset={32 * MIB},length={3 * MIB + 1024}"
    pair.source.guest.run(f"dd if=/dev/urandom of={DISK}d0 bs=1M seek=32 count=4 conv=fsync")
    writer = pair.source.guest.spawn(
        ["sh", "-c", f"while :; do dd if=/dev/zero of={volume.head} bs=4096 seek=9 count=1 "
         "oflag=direct conv=notrunc 2>/dev/null || echo failed; done"],
        log="/tmp/writer.log",
    )  # fmt: skip
    pair.source.frazil("volume", "grow", "grows", "--span", more)
    writer.kill(9)
    writer.wait()
    assert b"failed" not in pair.source.guest.get("/tmp/writer.log")
    size = int(pair.source.guest.run(f"blockdev --getsize64 {volume.head}").text)
    assert size == SIZE + 3 * MIB + 1024
    write(pair, volume.head, 3, SIZE + MIB, 64 * 1024)

    pair.source.frazil("mirror", "start", "grows")
    cycle = volume.sync()
    kinds = [one.kind for one in volume.now().recent]
    assert kinds[0] == "whole" and "catch-up" in kinds[1:], "what is new was sent once, and only it"
    head = digest(pair.source.guest, volume.head)
    assert volume.replica_digest(cycle.generation) == head
    write(pair, volume.head, 4, SIZE - 512, 2048)
    cycle = volume.sync()
    assert cycle.kind == "delta"
    assert volume.replica_digest(cycle.generation) == digest(pair.source.guest, volume.head)
    assert "same at both ends" in pair.source.frazil("verify", "grows").out


def test_nothing_to_grow_is_said(pair: Pair) -> None:
    pair.source.guest.run("truncate -s 4M /var/lib/frazil/small.img")
    pair.source.frazil("volume", "create", "small", "/var/lib/frazil/small.img")
    refused = pair.source.frazil("volume", "grow", "small", check=False)
    assert refused.code != 0
    assert "no more than the volume uses" in refused.err
    pair.source.guest.run("truncate -s 6M /var/lib/frazil/small.img")
    pair.source.frazil("volume", "grow", "small")
    size = int(pair.source.guest.run("blockdev --getsize64 /dev/mapper/frazil-small").text)
    assert size == 6 * MIB
