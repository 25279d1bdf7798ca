"""Every kind of data object (claims 16 and 20): adopted with what it holds, mirrored, given back.

Each ends in digests: of the frozen image, the replica's, the bare spans', and of a model that
knows only what was filled in and written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from dm_tables.errors import Kind
from tests.pair import DISK, MIB, PATIENT, SECTOR, Pair, Volume, digest
from tests.workload.spans import Span, size_of
from vagrant.cluster import Certificates, FrazilHost, HostSettings, start_all
from vagrant.lab import Guest, Lab

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

SPANS = "tests.workload.spans"
REPLICAS = "/srv/replica"
FILES = "/var/lib/frazil/files"
SLOW = 600.0

PREPARED = f"""
addpart {DISK}d1 1 2048 16395
addpart {DISK}d1 2 65536 524288
mkfs.ext4 -q /dev/vdc2
mkdir -p {REPLICAS} {FILES} /mnt/object
mount /dev/vdc2 {REPLICAS}
modprobe brd rd_nr=1 rd_size=8192
vgcreate -q --yes objects {DISK}d2
lvcreate -q --yes --zero n --wipesignatures n -L 4M -n volume objects
lvcreate -q --yes --zero n --wipesignatures n -L 4M -n between objects
lvextend -q -L +4M objects/volume
truncate -s {8 * MIB + 1000} {FILES}/odd.img
truncate -s {4 * MIB} {FILES}/part.img
"""
"""Partitions 1 (an odd number of sectors) and 2 of one disk, the replicas of the same host on the
second; a logical volume in two pieces; files."""

OBJECTS: dict[str, list[Span]] = {
    "whole-disk": [("/dev/ram0", 0, 8 * MIB)],
    "partition": [("/dev/vdc1", 0, 16395 * SECTOR)],
    "logical-volume": [("/dev/objects/volume", 0, 8 * MIB)],
    "part-of-a-device": [(f"{DISK}d0", MIB + SECTOR, 8 * MIB + 5 * SECTOR)],
    "parts-of-devices": [
        (f"{DISK}d0", 32 * MIB, 3 * MIB + SECTOR),
        (f"{DISK}d3", 7 * SECTOR, 2 * MIB + 3 * SECTOR),
        (f"{FILES}/part.img", 4096, MIB + 7 * SECTOR),
        (f"{DISK}d0", 16 * MIB, 2 * MIB),
    ],
    "file": [(f"{FILES}/odd.img", 0, 8 * MIB + SECTOR)],
}


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two hosts; the source is also a replica, of its own volumes."""
    with Lab() as lab:
        guests = lab.start("source", "replica")
        guests[0].run(PREPARED, timeout=SLOW)
        certificates = Certificates()
        own = f'{PATIENT}\n[replica]\ndirectory = "{REPLICAS}"\n'
        settings = (
            HostSettings(peers=("source",), extra=own),
            HostSettings(peers=("source",), extra=PATIENT),
        )
        source, replica = (
            FrazilHost(guest, certificates, one)
            for guest, one in zip(guests, settings, strict=True)
        )
        start_all([source, replica])
        yield Pair(lab, source, replica)
        if request.session.testsfailed:
            print(source.log_tail(120), replica.log_tail(120))


@dataclass(slots=True)
class Adopted:
    """A volume over spans that held something before, and a model of what it holds now."""

    volume: Volume
    spans: list[Span]
    seed: int
    writes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def guest(self) -> Guest:
        """The source's."""
        return self.volume.pair.source.guest

    def write(self, count: int = 12) -> None:
        """Write to the head, and into the model."""
        one = (self.seed + len(self.writes) + 1, count)
        self.guest.call(f"{SPANS}:write", self.volume.head, *one)
        self.writes.append(one)

    def expected(self) -> str:
        """The digest that the head must have."""
        found: str = self.guest.call(f"{SPANS}:after", self.volume.size, self.seed, self.writes)
        return found

    def bare(self) -> str:
        """The digest of the spans, read past frazil."""
        return digest_of(self.guest, self.spans)

    def cycle(self) -> str:
        """Write, and mirror it; the digest that source, replica and model agree on."""
        self.write()
        done = self.volume.sync(timeout=SLOW)
        expected = self.expected()
        assert self.volume.frozen_digest(done.generation) == expected
        assert self.volume.replica_digest(done.generation) == expected
        return expected

    def give_back(self) -> None:
        """Take the volume away."""
        self.volume.pair.source.frazil("mirror", "remove", self.volume.name)
        self.volume.pair.source.frazil("volume", "remove", self.volume.name, timeout=SLOW)


def digest_of(guest: Guest, spans: list[Span]) -> str:
    """BLAKE2b-256 of spans end to end."""
    found: str = guest.call(f"{SPANS}:digest", spans)
    return found


def around(guest: Guest, spans: list[Span]) -> str:
    """BLAKE2b-256 of what is before and behind each span."""
    found: str = guest.call(f"{SPANS}:around", spans)
    return found


def create(pair: Pair, name: str, spans: list[Span], *options: str) -> Volume:
    """A volume over spans; what they hold stays."""
    words = [f"{path},offset={offset},length={length}" for path, offset, length in spans]
    pair.source.frazil("volume", "create", name, *words, *options)
    return Volume(pair, name, size_of(spans), 0)


def adopt(pair: Pair, name: str, spans: list[Span], seed: int) -> Adopted:
    """Fill spans, and make them a volume: its head holds what they held."""
    pair.source.guest.call(f"{SPANS}:fill", spans, seed)
    adopted = Adopted(create(pair, name, spans), spans, seed)
    assert digest(pair.source.guest, adopted.volume.head) == adopted.bare() == adopted.expected()
    return adopted


@pytest.mark.parametrize("kind", OBJECTS)
def test_object(pair: Pair, kind: str) -> None:
    spans = OBJECTS[kind]
    neighbours = around(pair.source.guest, spans)
    adopted = adopt(pair, kind, spans, seed=100)
    adopted.volume.mirror()
    adopted.volume.sync(timeout=SLOW)
    mirrored = adopted.cycle()
    # What is on the live layer is merged when the volume goes.
    adopted.write()
    adopted.give_back()
    assert adopted.bare() == adopted.expected() != mirrored
    assert around(pair.source.guest, spans) == neighbours


def test_removal_merges_frozen_layers_and_is_refused_while_open(pair: Pair) -> None:
    source = pair.source
    adopted = adopt(pair, "layered", OBJECTS["part-of-a-device"], seed=200)
    adopted.volume.mirror()
    adopted.cycle()
    adopted.write()
    pair.lab.partition(source.guest, pair.replica.guest)
    try:
        source.frazil("mirror", "sync-now", "layered")
        source.until("it is frozen", lambda: len(layers(pair)) == 2)
        adopted.write()
        source.frazil("mirror", "remove", "layered", timeout=SLOW)
    finally:
        pair.lab.heal()
    reader = source.guest.spawn(f"exec sleep 600 <{adopted.volume.head}")
    said = source.frazil("volume", "remove", "layered", check=False)
    assert said.code == Kind.PRECONDITION
    assert "is in use" in said.err
    assert digest(source.guest, adopted.volume.head) == adopted.expected()
    reader.kill()
    reader.wait()
    source.frazil("volume", "remove", "layered", timeout=SLOW)
    assert adopted.bare() == adopted.expected()


def layers(pair: Pair) -> list[object]:
    """The layers of the volume ``layered``."""
    found: list[object] = pair.source.json("volume", "show", "layered")["layers"]
    return found


def test_negative_control_a_layer_that_is_dropped_unmerged(pair: Pair) -> None:
    source = pair.source
    source.kill()
    source.start_broken("nothing-is-merged")
    adopted = adopt(pair, "lost", OBJECTS["part-of-a-device"], seed=300)
    adopted.volume.mirror()
    adopted.cycle()
    before = adopted.expected()
    adopted.write()
    adopted.give_back()
    source.kill()
    source.start()
    assert adopted.bare() == before != adopted.expected()


@pytest.mark.parametrize("name", ["same-host", "same-device"])
def test_source_and_replica_on_one_host(pair: Pair, name: str) -> None:
    kind = {"same-host": "part-of-a-device", "same-device": "partition"}[name]
    alone = Pair(pair.lab, pair.source, pair.source)
    adopted = adopt(alone, name, OBJECTS[kind], seed=400)
    adopted.volume.mirror()
    adopted.volume.sync(timeout=SLOW)
    mirrored = adopted.cycle()
    stored = pair.source.guest.run(f"df --output=source {REPLICAS} | tail -n 1").text.strip()
    assert stored == "/dev/vdc2"
    adopted.give_back()
    assert adopted.bare() == mirrored
    pair.source.frazil("replica", "remove", name, "--yes")


@pytest.mark.parametrize(("kind", "options"), [("ext4", ""), ("xfs", "-f --unsupported")])
def test_mounted_filesystem(pair: Pair, kind: str, options: str) -> None:
    source, guest = pair.source, pair.source.guest
    spans: list[Span] = [(f"{DISK}d3", 64 * MIB, 40 * MIB + 7 * SECTOR)]
    (path, offset, length), name = spans[0], f"fs-{kind}"
    attach = f"losetup --find --show --offset {offset} --sizelimit {length} {path}"
    # What mkfs.xfs does not support is a filesystem of less than 300 MiB.
    make = f"mkfs.{kind} -q {options} $loop && losetup --detach $loop"
    guest.run(f"loop=$({attach}) && {make}", timeout=SLOW)
    volume = create(pair, name, spans)
    guest.run(f"mount {volume.head} /mnt/object && cp -r /opt/frazil/dm_tables /mnt/object/")
    volume.mirror()
    volume.sync(timeout=SLOW)
    guest.run("cp -r /opt/frazil/proto /mnt/object/ && rm -r /mnt/object/dm_tables/__pycache__")
    there = files(guest, "/mnt/object")
    cycle = volume.sync(timeout=SLOW)
    assert cycle.kind == "delta"
    assert volume.frozen_digest(cycle.generation) == volume.replica_digest(cycle.generation)
    guest.run("cp -r /opt/frazil/bpf /mnt/object/")
    here = files(guest, "/mnt/object")
    guest.run("umount /mnt/object")
    pair.replica.guest.run("mkdir -p /mnt/copy")
    pair.replica.frazil("replica", "mount", name, "/mnt/copy")
    assert files(pair.replica.guest, "/mnt/copy") == there != here
    pair.replica.frazil("replica", "unmount", name)
    head = digest(guest, volume.head)
    source.frazil("mirror", "remove", name)
    source.frazil("volume", "remove", name, timeout=SLOW)
    assert digest_of(guest, spans) == head
    guest.run(f"mount -o loop,offset={offset},sizelimit={length} {path} /mnt/object")
    assert files(guest, "/mnt/object") == here
    guest.run("umount /mnt/object")


def files(guest: Guest, directory: str) -> str:
    """The digest of every file below a directory, by name."""
    found = f"cd {directory} && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"
    return guest.run(found).text


def test_devices_that_are_taken_or_held(pair: Pair) -> None:
    source, guest = pair.source, pair.source.guest
    before = source.json("volume", "list")

    def refused(words: str, *spans: str, kind: Kind = Kind.PRECONDITION) -> None:
        said = source.frazil("volume", "create", "bad", *spans, check=False)
        assert said.code == kind, said
        assert words in said.err.splitlines()[0], said.err
        assert len(said.err.splitlines()) <= 2

    source.frazil("volume", "create", "taken", f"{DISK}d0,offset=64MiB,length=8MiB")
    try:
        refused("frazil's own device frazil-taken", "/dev/mapper/frazil-taken")
        refused("frazil's own device frazil-taken-0", "/dev/mapper/frazil-taken-0")
        guest.run("addpart /dev/vdb 1 131072 4096; addpart /dev/vdb 2 262144 4096")
        refused("/dev/vdb1 is already part of volume taken", "/dev/vdb1")
        refused("/dev/vdb, of which /dev/vdb2 is a partition, is held by frazil's", "/dev/vdb2")
        guest.run(f"losetup -o {65 * MIB} /dev/loop40 /dev/vdb")
        refused("/dev/loop40 is already part of volume taken", "/dev/loop40,length=2MiB")
        guest.run("losetup -d /dev/loop40; delpart /dev/vdb 1; delpart /dev/vdb 2")
    finally:
        source.frazil("volume", "remove", "taken")
    refused("is held by LVM's logical volume objects-", f"{DISK}d2")
    refused("/dev/vdc2, a partition of /dev/vdc, is mounted at /srv/replica", "/dev/vdc")
    refused("have bytes in common", "/dev/vdc1", f"{DISK}d1,offset=2MiB,length=2MiB")
    guest.run(f"mkfs.ext4 -q {FILES}/part.img && mount -o loop {FILES}/part.img /mnt/object")
    refused("is mounted at /mnt/object", f"{FILES}/part.img")
    guest.run("umount /mnt/object && blockdev --setro /dev/vde")
    refused("/dev/vde is read-only", "/dev/vde")
    guest.run("blockdev --setrw /dev/vde && mkswap -q /dev/vdc1 && swapon /dev/vdc1")
    refused("/dev/vdc1 is swap space", "/dev/vdc1")
    guest.run("swapoff /dev/vdc1")
    refused("would leave it", "/dev/vdc1,offset=7MiB,length=4MiB", kind=Kind.USAGE)
    refused("multiples of 512", "/dev/vdc1,offset=100,length=2MiB", kind=Kind.USAGE)
    refused("no bytes", "/dev/vdc1,length=0", kind=Kind.USAGE)
    assert source.json("volume", "list") == before
