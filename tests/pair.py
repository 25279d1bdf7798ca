"""A source and a replica on two guests: volumes, mirrors, and looks past frazil at the devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.workload.judge import Window
from vagrant.cluster import Certificates, FrazilHost, HostSettings, start_all
from vagrant.cluster.cycles import Cycle, MirrorNow
from vagrant.lab import Guest, GuestProcess, Lab

DISK: Final = "/dev/disk/by-id/virtio-"
SECTOR: Final = 512
MIB: Final = 1 << 20

PATIENT: Final = """
[freeze]
deadline = "30s"
[copy]
retry_first = "200ms"
retry_longest = "2s"
stall = "5s"
"""
"""Limits for machines that are slow, and waits for tests that are not patient."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts that trust each other; ``replica`` lets ``source`` write everything."""

    lab: Lab
    source: FrazilHost
    replica: FrazilHost

    def volume(
        self,
        name: str,
        size: int,
        *,
        chunk: int | None = 65536,
        disk: str = "d0",
        offset: int = MIB,
    ) -> Volume:
        """Make a volume of ``size`` bytes on part of a disk of the source.

        :param chunk: bytes; None: as the daemon chooses, from 64 KiB on.
        """
        span = f"{DISK}{disk},offset={offset},length={size}"
        words = ("--chunk", str(chunk)) if chunk else ()
        self.source.frazil("volume", "create", name, span, *words)
        return Volume(self, name, size, chunk or 65536)


@contextmanager
def running_pair(
    source: HostSettings | None = None, replica: HostSettings | None = None
) -> Iterator[Pair]:
    """A lab with both hosts configured and started."""
    with Lab() as lab:
        guests = lab.start("source", "replica")
        certificates = Certificates()
        settings = (
            source or HostSettings(extra=PATIENT),
            replica or HostSettings(peers=("source",), extra=PATIENT),
        )
        hosts = [
            FrazilHost(guest, certificates, chosen)
            for guest, chosen in zip(guests, settings, strict=True)
        ]
        start_all(hosts)
        yield Pair(lab, hosts[0], hosts[1])


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of the source, with one mirror of the same name."""

    pair: Pair
    name: str
    size: int
    chunk: int

    @property
    def head(self) -> str:
        """What applications open."""
        return f"/dev/mapper/frazil-{self.name}"

    def frozen(self, generation: int) -> str:
        """The layer device whose image the generation is, while it is the newest one."""
        return f"{self.head}-{generation - 1}"

    def mirror(self, *options: str) -> None:
        """Mirror it to the replica; cycles only when asked unless ``options`` say otherwise."""
        given = options or ("--on-demand",)
        peer = self.pair.replica.peer
        self.pair.source.frazil("mirror", "create", self.name, self.name, peer, *given, "--start")

    def now(self) -> MirrorNow:
        """The mirror now."""
        status = self.pair.source.json("mirror", "status", self.name)
        return MirrorNow.of(status["mirrors"][0])

    def sync(self, timeout: float = 900.0) -> Cycle:
        """Freeze, copy and commit; the cycle, as the mirror tells of it."""
        words = ("mirror", "sync-now", self.name, "--wait")
        number = self.pair.source.json(*words, timeout=timeout)["generation"]["number"]
        return next(cycle for cycle in self.now().recent if cycle.generation == number)

    def frozen_digest(self, generation: int) -> str:
        """The digest of the source's frozen image, read from its device."""
        return digest(self.pair.source.guest, self.frozen(generation))

    def replica_digest(self, generation: int) -> str:
        """The digest of the replica's image, read from the device that it offers."""
        replica = self.pair.replica
        number = str(generation)
        attached = replica.json("replica", "mount", self.name, "--generation", number)
        try:
            return digest(replica.guest, attached["device"])
        finally:
            replica.frazil("replica", "unmount", self.name, "--generation", number)

    def changed_chunks(self) -> frozenset[int]:
        """The chunks that the newest layer's freeze table has an address for."""
        table = self.pair.source.json("freeze-table", self.name, "--changed")
        return frozenset(
            chunk
            for run in table["runs"]
            for chunk in range(run["first_chunk"], run["first_chunk"] + run["count"])
        )

    def writer(self, seed: int = 1) -> Writer:
        """A random writer on the head, with a model of what the head must hold."""
        return Writer.start(self, seed)


def digest(guest: Guest, device: str) -> str:
    """BLAKE2b-256 of a device in a guest, read with O_DIRECT."""
    found: str = guest.call("tests.workload.device_io:digest_of", device, timeout=400.0)
    return found


@dataclass(frozen=True, slots=True)
class Writer:
    """A ``block_writer`` process in the source's guest."""

    guest: Guest
    process: GuestProcess
    socket: str

    @classmethod
    def start(cls, volume: Volume, seed: int) -> Writer:
        """Start it, and wait until it serves."""
        guest = volume.pair.source.guest
        socket = f"/run/writer-{volume.name}.sock"
        words = ["python3", "-m", "tests.workload.block_writer", volume.head, socket]
        words += ["--chunk", str(volume.chunk), "--seed", str(seed)]
        process = guest.spawn(words)
        guest.run(f"until [ -S {socket} ]; do sleep 0.1; done", timeout=240)
        return cls(guest, process, socket)

    def ask(self, do: str, **keywords: object) -> Any:
        """Give it a command; its answer. See :class:`tests.workload.block_writer.Service`."""
        target = "tests.workload.block_writer:ask"
        return self.guest.call(target, self.socket, do, timeout=300.0, **keywords)

    def write(self, count: int, pattern: str = "mixed", pause: float = 0.0) -> None:
        """That many random writes, and a flush."""
        done = self.ask("write", count=count, pattern=pattern, pause=pause)
        assert done["failed"] == ""

    def digest(self) -> str:
        """The digest of what the head must hold now."""
        found: str = self.ask("digest")["digest"]
        return found

    def wrong_sectors(self, device: str) -> list[int]:
        """The sectors of a device that are not as the head must be now."""
        found: list[int] = self.ask("compare", path=device)["wrong"]
        return found

    def faults_of(self, device: str, window: Window) -> list[str]:
        """What is wrong with a frozen device; instants in the order of their freezes."""
        found: list[str] = self.ask(
            "judge", path=device, begin_ns=window.begin_ns, end_ns=window.end_ns
        )["faults"]
        return found

    def quit(self) -> None:
        """Let go of the head."""
        self.ask("quit")
        self.process.wait()
