"""What cannot be meant or cannot be done: one clear sentence, what to do, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from dm_tables.errors import Kind
from tests.pair import DISK, MIB, PATIENT, Pair
from vagrant.cluster import FrazilHost, HostSettings
from vagrant.cluster.host import Said
from vagrant.lab import Lab

pytestmark = pytest.mark.guest

SPAN = f"{DISK}d0,offset=1MiB,length=16MiB"


def refused(said: Said, kind: Kind, *fragments: str) -> None:
    """The exit code, one sentence with ``fragments`` in it, and a hint on a line of its own."""
    assert said.code == kind, said
    lines = said.err.splitlines()
    # Progress stands before it, on what takes a while.
    first = next(i for i, line in enumerate(lines) if line.startswith(("frazil: ", "frazild: ")))
    hint = lines[first + 1 :]
    for fragment in fragments:
        assert fragment in said.err, said.err
    assert "Traceback" not in said.err
    assert len(hint) <= 1
    assert all(line.startswith("  ") for line in hint)


def ask(host: FrazilHost, *words: str) -> Said:
    """A command that may fail."""
    return host.frazil(*words, check=False)


def frazild(host: FrazilHost, *words: str) -> Said:
    """Run a frazild that should end by itself."""
    done = host.guest.run(words or ["frazild"], check=False, timeout=60)
    return Said(done.code, done.text, done.stderr.decode().rstrip())


@pytest.fixture(scope="module")
def source(shared_pair: Pair) -> Iterator[FrazilHost]:
    yield shared_pair.source


def test_names_that_nothing_has(source: FrazilHost) -> None:
    refused(ask(source, "volume", "show", "nope"), Kind.NOT_FOUND, "nope")
    refused(ask(source, "freeze-table", "nope"), Kind.NOT_FOUND, "nope")
    refused(ask(source, "mirror", "status", "nope"), Kind.NOT_FOUND, "nope")
    refused(ask(source, "replica", "show", "nope"), Kind.NOT_FOUND, "nope")
    said = ask(source, "mirror", "create", "m", "nope", "replica:7420")
    refused(said, Kind.NOT_FOUND, "nope")


def test_failures_as_json(source: FrazilHost) -> None:
    said = ask(source, "volume", "show", "nope", "--json")
    error = json.loads(said.out)["error"]
    assert (error["kind"], error["exit_code"]) == ("not_found", Kind.NOT_FOUND)
    assert "nope" in error["message"]
    assert said.code == Kind.NOT_FOUND


def test_volume_too_small(source: FrazilHost) -> None:
    span = f"{DISK}d0,offset=1MiB,length=64KiB"
    refused(ask(source, "volume", "create", "small", span), Kind.USAGE, "1 MiB")


def test_span_past_the_end_or_missing(source: FrazilHost) -> None:
    refused(ask(source, "volume", "create", "v", f"{DISK}d0,length=9GiB"), Kind.USAGE, "leave it")
    refused(ask(source, "volume", "create", "v", "/dev/nope"), Kind.NOT_FOUND, "/dev/nope")


def test_impossible_chunk(source: FrazilHost) -> None:
    refused(ask(source, "volume", "create", "v", SPAN, "--chunk", "5KiB"), Kind.USAGE, "power of")


def test_device_that_is_mounted(source: FrazilHost) -> None:
    guest = source.guest
    guest.run(f"mkfs.ext4 -q {DISK}d1 64M && mkdir -p /mnt/other && mount {DISK}d1 /mnt/other")
    try:
        said = ask(source, "volume", "create", "v", f"{DISK}d1")
        refused(said, Kind.PRECONDITION, "/mnt/other")
    finally:
        guest.run("umount /mnt/other")


def test_device_that_is_in_use(source: FrazilHost) -> None:
    guest = source.guest
    guest.run(["dmsetup", "create", "user", "--table", f"0 2048 linear {DISK}d1 0"])
    try:
        said = ask(source, "volume", "create", "v", f"{DISK}d1")
        refused(said, Kind.PRECONDITION, "d1")
    finally:
        guest.run(["dmsetup", "remove", "--retry", "user"])


def test_volume_that_is_there_already(source: FrazilHost) -> None:
    source.frazil("volume", "create", "twice", SPAN)
    refused(ask(source, "volume", "create", "twice", f"{DISK}d2"), Kind.EXISTS, "twice")
    refused(ask(source, "volume", "create", "other", SPAN), Kind.PRECONDITION, "twice")
    guest = source.guest
    guest.run("mkfs.ext4 -q /dev/mapper/frazil-twice && mkdir -p /mnt/v")
    guest.run("mount /dev/mapper/frazil-twice /mnt/v")
    try:
        refused(ask(source, "volume", "remove", "twice"), Kind.PRECONDITION, "/mnt/v")
    finally:
        guest.run("umount /mnt/v")
    source.frazil("volume", "remove", "twice")
    assert source.json("volume", "list")["volumes"] == []


def test_peer_that_cannot_be_reached(source: FrazilHost) -> None:
    source.frazil("volume", "create", "alone", SPAN)
    source.frazil("mirror", "create", "alone", "alone", "replica:9", "--start", "--on-demand")
    try:
        said = ask(source, "mirror", "sync-now", "alone", "--wait", "--timeout", "6s")
        refused(said, Kind.UNAVAILABLE, "replica:9 cannot be reached")
        # The application goes on all the same.
        source.guest.run("dd if=/dev/zero of=/dev/mapper/frazil-alone bs=1M count=1 oflag=direct")
        health = ask(source, "mirror", "status", "alone", "--exit-code")
        assert health.code == Kind.DEGRADED
        assert "replica:9 cannot be reached" in health.out
    finally:
        source.frazil("mirror", "remove", "alone")
        source.frazil("volume", "remove", "alone")


def test_peer_of_another_protocol_version(shared_pair: Pair) -> None:
    source, replica = shared_pair.source, shared_pair.replica
    source.frazil("volume", "create", "proto", SPAN)
    replica.kill()
    replica.start_broken("other-protocol")
    source.frazil("mirror", "create", "proto", "proto", replica.peer, "--start")
    try:
        said = source.until(
            "the versions are compared",
            lambda: "version" in (now := ask(source, "mirror", "status", "proto")).out and now,
        )
        assert "speaks version 99 of the protocol" in said.out
        assert "same release of frazil on both hosts" in said.out
        assert ask(source, "mirror", "status", "proto", "--exit-code").code == Kind.FAILED
    finally:
        source.frazil("mirror", "remove", "proto")
        source.frazil("volume", "remove", "proto")
        replica.kill()
        replica.start()


def test_not_root(source: FrazilHost) -> None:
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"]
    refused(frazild(source, *nobody, "python3", "-m", "control.daemon"), Kind.DENIED, "root")
    said = frazild(source, *nobody, "python3", "-m", "control.cli", "volume", "list")
    refused(said, Kind.DENIED, "root")


def test_second_daemon_on_the_same_state(source: FrazilHost) -> None:
    refused(frazild(source), Kind.PRECONDITION, "/var/lib/frazil", str(source.daemon.pid))
    assert source.json("host")["name"] == "source", "the first one goes on"


def test_no_daemon(shared_pair: Pair) -> None:
    replica = shared_pair.replica
    assert replica.stop() == Kind.OK
    refused(ask(replica, "host"), Kind.UNAVAILABLE, "frazild")
    replica.start()


def test_wrong_configuration(shared_pair: Pair) -> None:
    replica = shared_pair.replica
    replica.guest.put(b"[listen]\nadress = 'x'\n", "/tmp/wrong.toml")
    said = frazild(replica, "frazild", "--config", "/tmp/wrong.toml")
    refused(said, Kind.USAGE, "/tmp/wrong.toml", "adress", "address")
    replica.guest.put(b"[listen]\naddress = '0.0.0.0:7420'\n", "/tmp/open.toml")
    refused(frazild(replica, "frazild", "--config", "/tmp/open.toml"), Kind.USAGE, "tls")


def test_missing_tools(shared_pair: Pair) -> None:
    replica = shared_pair.replica
    replica.stop()
    try:
        path = "PATH=/nowhere /usr/bin/python3 -m control.daemon"
        refused(frazild(replica, "sh", "-c", path), Kind.PRECONDITION, "losetup")
    finally:
        replica.start()


def test_pool_that_is_full(lab: Lab) -> None:
    from vagrant.cluster import Certificates

    (guest,) = lab.start("full")
    guest.run(
        "mkdir -p /var/lib/frazil/pool && mount -t tmpfs -o size=24m none /var/lib/frazil/pool"
    )
    host = FrazilHost(guest, Certificates(), HostSettings(extra=PATIENT))
    host.configure()
    host.start()
    host.frazil("volume", "create", "big", f"{DISK}d0,length={256 * MIB}")
    host.frazil("mirror", "create", "big", "big", "full:7420", "--start", "--on-demand")
    said = ask(host, "mirror", "sync-now", "big", "--wait", "--timeout", "60s")
    refused(said, Kind.EXHAUSTED, "the pool of auxiliary volumes has no room")
    # The application goes on all the same.
    guest.run("dd if=/dev/zero of=/dev/mapper/frazil-big bs=1M count=4 oflag=direct")
