"""What cannot be done is refused with one clear sentence and its exit code; nothing changes."""

from __future__ import annotations

import pytest

from dm_tables.errors import Kind
from tests.pair import DISK, MIB, Pair
from vagrant.cluster.host import Said

pytestmark = pytest.mark.guest


def refused(said: Said, kind: Kind, *words: str) -> None:
    """One sentence with these words on stderr, a hint at most, nothing else, and the code."""
    assert said.code == kind, said.err
    assert said.out == ""
    lines = said.err.splitlines()
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith("frazil: ")
    for word in words:
        assert word in said.err


def test_volumes_that_cannot_be(shared_pair: Pair) -> None:
    source = shared_pair.source
    refused(source.frazil("volume", "show", "nope", check=False), Kind.NOT_FOUND, "nope")

    def create(*spans: str) -> Said:
        return source.frazil("volume", "create", "bad", *spans, check=False)

    refused(create(f"{DISK}d0,length=512KiB"), Kind.USAGE, "1 MiB")
    refused(create(f"{DISK}d0,length=9TiB"), Kind.USAGE, "leave it")
    refused(create("/dev/nothing"), Kind.NOT_FOUND, "/dev/nothing")
    source.guest.run(f"mkfs.ext4 -q {DISK}d2 && mkdir -p /mnt/d2 && mount {DISK}d2 /mnt/d2")
    refused(create(f"{DISK}d2"), Kind.PRECONDITION, "/mnt/d2")
    source.guest.run("umount /mnt/d2")
    shared_pair.volume("taken", 4 * MIB, disk="d1")
    refused(create(f"{DISK}d1"), Kind.PRECONDITION, "taken")
    refused(source.frazil("volume", "create", "taken", f"{DISK}d3", check=False), Kind.EXISTS)
    names = [volume["name"] for volume in source.json("volume", "list")["volumes"]]
    assert names == ["taken"]


def test_a_peer_that_is_not_there(shared_pair: Pair) -> None:
    source = shared_pair.source
    shared_pair.volume("alone", 4 * MIB, disk="d3")
    source.frazil("mirror", "create", "alone", "alone", "replica:9", "--on-demand", "--start")
    words = ("mirror", "sync-now", "alone", "--wait", "--timeout", "5s")
    said = source.frazil(*words, check=False)
    assert said.code == Kind.UNAVAILABLE
    (mirror,) = source.json("mirror", "status", "alone")["mirrors"]
    assert mirror["health"] == "DEGRADED"
    assert "replica:9" in mirror["problem"]
    source.guest.run("dd if=/dev/urandom of=/dev/mapper/frazil-alone bs=1M count=1 oflag=direct")


def test_daemons_that_may_not_be(shared_pair: Pair) -> None:
    guest = shared_pair.source.guest
    second = guest.run(["sh", "-c", "exec frazild"], check=False)
    assert second.code == Kind.PRECONDITION
    assert b"another frazild" in second.stderr
    nobody = guest.run("setpriv --reuid=65534 --regid=65534 --clear-groups frazild", check=False)
    assert nobody.code == Kind.DENIED
    assert b"needs root" in nobody.stderr
    assert shared_pair.source.json("host")["name"] == "source", "the first one goes on"
