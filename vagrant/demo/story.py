"""What the demo does, phase by phase."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from control.units_text import human_size
from vagrant.cluster import Application, Certificates, FrazilHost, HostSettings, start_all
from vagrant.cluster.application import Evidence, Verdict
from vagrant.cluster.cycles import Cycle, MirrorNow
from vagrant.cluster.watch import MirrorWatch
from vagrant.lab import Guest, Lab

from .rows import COLUMNS, cells
from .screen import Screen

VOLUME: Final = "app"
SPAN: Final = "/dev/disk/by-id/virtio-d0,offset=1MiB,length=256MiB"
HEAD: Final = f"/dev/mapper/frazil-{VOLUME}"
MOUNTPOINT: Final = "/srv/app"
COPY: Final = "/mnt/copy"
CYCLES: Final = 6
SLOW_RATE: Final = "300KB/s"
CYCLE_LIMIT_S: Final = 90.0
CUT_BEFORE: Final = 0.6
POLL_S: Final = 0.3


class DemoFailed(Exception):
    """Something was not as it must be; the text says what."""


@dataclass(slots=True)
class Demo:
    """Two hosts, and what was seen of them so far."""

    screen: Screen
    source: FrazilHost
    replica: FrazilHost
    application: Application
    seen: dict[int, Cycle] = field(default_factory=dict)
    watch: MirrorWatch | None = None
    sums: bytes = b""
    evidence: Evidence = field(default_factory=lambda: Evidence([], []))
    wrong: list[str] = field(default_factory=list)

    def check(self, sound: bool, text: str) -> None:
        """Show something that has to be so, and remember it if it is not."""
        if sound:
            self.screen.good(text)
        else:
            self.screen.bad(text)
            self.wrong.append(text)


def begin(screen: Screen, lab: Lab) -> Demo:
    """Two guests with frazil, trusting each other's certificates."""
    screen.phase("Two hosts")
    source, replica = lab.start("source", "replica")
    screen.note(f"source {source.address} and replica {replica.address}, {lab.template.accel}")
    certificates = Certificates()
    demo = Demo(
        screen,
        FrazilHost(source, certificates, HostSettings()),
        FrazilHost(replica, certificates, HostSettings(peers=("source",))),
        Application(source, MOUNTPOINT),
    )
    screen.note('TLS with both sides\' certificates; the replica lets only "source" write')
    with screen.waiting("starting frazild on both"):
        start_all((demo.source, demo.replica))
    return demo


def make_volume(demo: Demo) -> None:
    """A volume on part of a disk, a filesystem on its head, and an application on that."""
    source, screen = demo.source, demo.screen
    screen.phase("A volume of 256 MiB, with an application on it")
    run(demo, source, f"volume create {VOLUME} {SPAN}")
    shell(demo, source.guest, f"mkfs.ext4 -q {HEAD} && mkdir -p {MOUNTPOINT}")
    shell(demo, source.guest, f"mount {HEAD} {MOUNTPOINT}")
    shell(demo, source.guest, f"cp -r /usr/lib/python3.11 {MOUNTPOINT}/library")
    # Digests of what does not change, kept outside the volume: the copy is judged by them.
    sums = f"cd {MOUNTPOINT} && find library -type f -print0 | xargs -0 b2sum"
    demo.sums = source.guest.run(sums).stdout
    demo.application.start()
    screen.note(
        "it writes from now on, without a break: SQLite (WAL, synchronous=FULL), and files with "
        "checksums"
    )


def mirror(demo: Demo) -> None:
    """Cycle after cycle, each shown when the replica has it and both ends compared it."""
    screen, source = demo.screen, demo.source
    screen.phase(f"The mirror: freeze, copy, commit, compare; {CYCLES} cycles and more")
    run(demo, source, f"mirror create {VOLUME} {VOLUME} {demo.replica.peer} --verify --start")
    demo.watch = MirrorWatch(source, VOLUME)
    screen.header(COLUMNS)
    shown: set[int] = set()
    deadline = time.monotonic() + CYCLE_LIMIT_S
    while len(shown) < CYCLES:
        now = look(demo)
        for cycle in now.recent if now else ():
            if cycle.is_over and cycle.generation not in shown:
                shown.add(cycle.generation)
                deadline = time.monotonic() + CYCLE_LIMIT_S
                _show(demo, cycle)
        if time.monotonic() > deadline:
            raise DemoFailed(f"no cycle ended within {CYCLE_LIMIT_S:.0f} s")
        time.sleep(POLL_S)


def _show(demo: Demo, cycle: Cycle) -> None:
    sound = cycle.verified == "verified"
    demo.screen.row(COLUMNS, cells(cycle), "" if sound else "bold red")
    if not sound:
        demo.wrong.append(f"generation {cycle.generation} differs at the replica")


def look(demo: Demo) -> MirrorNow | None:
    """The mirror now. :raises DemoFailed: the application ended."""
    failure = demo.application.failure()
    if failure:
        raise DemoFailed(f"the application failed: {failure}")
    now = demo.watch.now() if demo.watch else None
    if now is not None:
        for cycle in (*now.recent, *([now.current] if now.current else [])):
            demo.seen[cycle.generation] = cycle
    return now


def cut(demo: Demo) -> int:
    """Cut the source's power in the middle of a copy; the newest generation committed before."""
    screen, source = demo.screen, demo.source
    screen.phase("The source loses its power in the middle of a cycle")
    run(demo, source, f"mirror set {VOLUME} --rate {SLOW_RATE}")
    with screen.waiting("waiting for the middle of a copy"):
        committed, running = _middle_of_a_copy(demo)
        source.guest.power_cut()
    screen.note(
        f"power cut: generation {running.generation} had {human_size(running.done)} of "
        f"{human_size(running.total)} copied; committed is generation {committed}"
    )
    return committed


def _middle_of_a_copy(demo: Demo) -> tuple[int, Cycle]:
    """Wait for it; the newest generation that is committed, and the cycle that is copying."""
    deadline = time.monotonic() + CYCLE_LIMIT_S
    while time.monotonic() < deadline:
        now = look(demo)
        running = now.midway(CUT_BEFORE) if now else None
        if now and running:
            return now.committed, running
        time.sleep(POLL_S)
    raise DemoFailed(f"no copy was under way within {CYCLE_LIMIT_S:.0f} s")


def judge(demo: Demo, committed: int) -> Verdict:
    """Mount what the replica has, and judge it by the application's own log."""
    screen, replica = demo.screen, demo.replica
    screen.phase("The replica: its last committed generation")
    shell(demo, replica.guest, f"mkdir -p {COPY}")
    run(demo, replica, f"replica mount {VOLUME} {COPY}")
    number = replica.json("replica", "show", VOLUME)["newest"]["number"]
    demo.check(number == committed, f"generation {number} is there, whole, and none newer")
    device = replica.guest.run(["findmnt", "-no", "SOURCE", COPY]).text
    fsck = replica.guest.run(["e2fsck", "-f", "-n", device], check=False)
    demo.check(fsck.code == 0, f"e2fsck -f -n {device}: clean")
    sums = check_library(demo)
    demo.evidence = demo.application.evidence()
    if number not in demo.seen:
        raise DemoFailed(f"generation {number} is at the replica, and was never seen at the source")
    verdict = demo.evidence.judge(replica.guest, COPY, demo.seen[number].window)
    _show_verdict(demo, verdict, sums)
    return verdict


def check_library(demo: Demo) -> tuple[int, bool]:
    """How many files of the library there are, and whether each is what it was."""
    guest = demo.replica.guest
    guest.put(demo.sums, "/run/sums")
    done = guest.run(f"cd {COPY} && b2sum -c --quiet /run/sums", check=False)
    return demo.sums.count(b"\n"), done.code == 0


def _show_verdict(demo: Demo, verdict: Verdict, sums: tuple[int, bool]) -> None:
    allowed = verdict.allowed
    for fault in verdict.faults:
        demo.check(False, fault)
    if not verdict.faults:
        demo.check(True, "PRAGMA integrity_check: ok; every row's checksum is right")
        demo.check(
            allowed.least <= verdict.newest <= allowed.most and verdict.newest > 0,
            f"the newest transaction is {verdict.newest}: by the freeze {allowed.least} were "
            f"acknowledged and {allowed.most} begun; none is missing",
        )
        demo.check(verdict.files > 0, f"{verdict.files} files: every checksum right, one instant")
    demo.check(sums[1], f"{sums[0]} files that did not change: every checksum right")


def run(demo: Demo, host: FrazilHost, words: str) -> None:
    """A frazil command, shown as it is typed. :raises vagrant.cluster.FrazilFailed: it failed."""
    demo.screen.command(host.name, f"frazil {words}")
    host.frazil(*words.split())


def shell(demo: Demo, guest: Guest, command: str) -> None:
    """A shell command, shown as it is typed."""
    demo.screen.command(guest.name, command)
    guest.run(command)
