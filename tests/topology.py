"""Several hosts that mirror to each other: volumes, groups, and digests at every replica."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.pair import DISK, MIB, PATIENT, SECTOR, digest
from vagrant.cluster import Certificates, FrazilHost, HostSettings, start_all
from vagrant.cluster.cycles import MirrorNow
from vagrant.cluster.host import Said
from vagrant.lab import Lab

SPANS = "tests.workload.spans"
SIZE = 4 * MIB + 3 * SECTOR
SLOW = 600.0


@dataclass(frozen=True, slots=True)
class Site:
    """Hosts by name."""

    lab: Lab
    hosts: Mapping[str, FrazilHost]

    def __getitem__(self, name: str) -> FrazilHost:
        return self.hosts[name]

    def last_words(self, request: pytest.FixtureRequest) -> None:
        """What the daemons said last, if a test failed."""
        if request.session.testsfailed:
            for host in self.hosts.values():
                print(f"--- {host.name}\n{host.log_tail(80)}")

    def member(self, host: str, name: str, disk: int, slot: int = 0) -> Member:
        """A volume of a host: slot ``slot`` of one of its disks, with something in it."""
        span = f"{DISK}d{disk},offset={(1 + 8 * slot) * MIB},length={SIZE}"
        self[host].frazil("volume", "create", name, span, "--chunk", "64KiB")
        made = Member(self[host], name)
        made.write()
        return made


@contextmanager
def running(*names: str, extra: Mapping[str, str] | None = None) -> Iterator[Site]:
    """A lab with a frazil on each guest; each may write replicas on each.

    :param extra: TOML for a host, by its name; one that gives ``[[replica.allow]]`` gives all.
    """
    more = extra or {}
    with Lab() as lab:
        guests = lab.start(*names)
        certificates = Certificates()
        hosts: dict[str, FrazilHost] = {}
        for guest in guests:
            own = more.get(guest.name, "")
            peers = () if "replica.allow" in own else names
            settings = HostSettings(peers=peers, extra=PATIENT + own)
            hosts[guest.name] = FrazilHost(guest, certificates, settings)
        start_all(list(hosts.values()))
        yield Site(lab, hosts)


@dataclass(slots=True)
class Member:
    """A volume of a host, and what was written to it."""

    host: FrazilHost
    name: str
    seeds: Iterator[int] = field(default_factory=lambda: iter(range(1, 1 << 30)))

    @property
    def head(self) -> str:
        """What applications open."""
        return f"/dev/mapper/frazil-{self.name}"

    def write(self, count: int = 8) -> None:
        """Some writes, flushed; the first of them to its very end."""
        self.host.guest.call(f"{SPANS}:write", self.head, next(self.seeds), count)

    def touch(self) -> None:
        """One small write."""
        words = f"dd if=/dev/urandom of={self.head} bs=4096 count=1 seek={next(self.seeds)}"
        self.host.guest.run(f"{words} oflag=direct conv=notrunc,fsync status=none")

    def fill(self) -> None:
        """Noise everywhere, so that a copy takes a while."""
        self.host.guest.call(f"{SPANS}:fill", [(self.head, 0, SIZE)], next(self.seeds))

    def frozen(self) -> str:
        """The digest of the newest frozen image: the device that the live layer stands on."""
        # In one breath: a freeze may come between two questions.
        below = "$(dmsetup table --target linear {}); dmsetup table -j ${{4%:*}} -m ${{4#*:}}"
        table = self.host.guest.run("set -- " + below.format(self.head)).text
        kind, origin = table.split()[2:4]
        assert kind == "snapshot"
        return digest(self.host.guest, f"/dev/dm-{origin.split(':')[1]}")

    def at(self, replica: FrazilHost, generation: int = 0) -> str:
        """The digest of a replica of it: of a generation, or of the newest one."""
        number = ("--generation", str(generation)) if generation else ()
        device = replica.json("replica", "mount", self.name, *number)["device"]
        try:
            return digest(replica.guest, device)
        finally:
            replica.frazil("replica", "unmount", self.name, *number)


@dataclass(frozen=True, slots=True)
class Mirroring:
    """A mirror of a volume or a group to one replica."""

    name: str
    source: FrazilHost
    replica: FrazilHost
    members: Sequence[Member]

    @classmethod
    def of_volume(
        cls, member: Member, replica: FrazilHost, rhythm: str = "--on-demand"
    ) -> Mirroring:
        """A volume by itself."""
        name = f"{member.name}-to-{replica.name}"
        words = ("mirror", "create", name, member.name, replica.peer, rhythm, "--start")
        member.host.frazil(*words)
        return cls(name, member.host, replica, [member])

    @classmethod
    def of_group(
        cls, group: str, members: Sequence[Member], replica: FrazilHost, rhythm: str = "--on-demand"
    ) -> Mirroring:
        """A group."""
        name, source = f"{group}-to-{replica.name}", members[0].host
        words = ("mirror", "create", name, "--group", group, "--peer", replica.peer)
        source.frazil(*words, rhythm, "--start")
        return cls(name, source, replica, members)

    def sync(self) -> int:
        """One cycle; the generation that it committed."""
        words = ("mirror", "sync-now", self.name, "--wait")
        found: int = self.source.json(*words, timeout=SLOW)["generation"]["number"]
        return found

    def status(self) -> dict[str, Any]:
        """The mirror, as ``mirror status`` has it."""
        (mirror,) = self.source.json("mirror", "status", self.name)["mirrors"]
        return dict(mirror)

    def now(self) -> MirrorNow:
        """The mirror now."""
        return MirrorNow.of(self.status())

    def committed(self) -> int:
        """The newest generation that the replica has."""
        return self.now().committed

    def ask(self, limit: str = "30s") -> Said:
        """A cycle that may fail."""
        words = ("mirror", "sync-now", self.name, "--wait", "--timeout", limit)
        return self.source.frazil(*words, check=False, timeout=SLOW)

    def end(self) -> None:
        """Remove it, with the replicas."""
        self.source.frazil("mirror", "remove", self.name)
        for member in self.members:
            self.replica.frazil("replica", "remove", member.name, "--yes")


def cycles(mirrorings: Sequence[Mirroring], count: int = 2) -> None:
    """Write and mirror that many times; every replica is every member's frozen image.

    Nothing is written from the first cycle's start to the comparison, so that all instants of
    that time are the same.
    """
    members = {member.name: member for one in mirrorings for member in one.members}
    for _ in range(count):
        for member in members.values():
            member.write()
        for one in mirrorings:
            one.sync()
        frozen = {name: member.frozen() for name, member in members.items()}
        for one in mirrorings:
            for member in one.members:
                assert member.at(one.replica) == frozen[member.name]
