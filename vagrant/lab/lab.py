"""A lab: guests on one private network, gone without a trace when it ends."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from types import TracebackType

from . import network
from .cache import hold
from .errors import LabError
from .guest import Guest
from .qemu import DATA_DISKS, STATE_DISK
from .template import Template, make_disk, template

RUN = Path("/var/tmp")  # noqa: S108 - the folder made in it is its owner's alone


def run_base() -> Path:
    """Where labs keep their sockets and disks; short, for a socket's path has 107 bytes."""
    path = Path(os.environ.get("FRAZIL_LAB_RUN") or RUN / f"frazil-lab-{os.geteuid()}")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def sweep() -> None:
    """Remove what labs left whose process was killed."""
    for folder in run_base().iterdir():
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its owner lives
        finally:
            os.close(lock)


class Lab:
    """Start guests, cut their network, and stop them all; a context manager."""

    def __init__(self) -> None:
        """Build whatever of image and template is missing, with progress on stderr."""
        self.template: Template = template()
        found = self.template
        self._held = [hold(folder) for folder in (found.image, found.boot, found.folder)]
        sweep()
        self.guests: dict[str, Guest] = {}
        self._switch = network.switch()
        self.folder = run_base() / secrets.token_hex(4)
        self.folder.mkdir(mode=0o700)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(
        self,
        *names: str,
        disks: str = "raw",
        cache: str = "unsafe",
        cold: bool = False,
        cpus: int = 1,
    ) -> list[Guest]:
        """Start guests by these names, all at once; returns them in that order.

        Each has four blank 2 GiB disks, /dev/disk/by-id/virtio-d0 to -d3 (vdb to vde),
        and a 4 GiB one that keeps /var/lib/frazil and /etc/frazil over power cuts.
        disks: "raw": a power cut loses nothing that the guest's kernel has sent to the
        disk, flushed or not. "qcow2": it loses what went to areas new to the disk since
        the last flush; "lossy" is another word for it.
        cache: "unsafe" makes the guest's flushes cheap (safe against power cuts of the
        guest, not of the host); "writeback" passes them to the host's disk, for
        benchmarks. cold: boot instead of cloning the template (10 to 30 s). cpus: processors;
        guests of more than one boot from cold.
        Raises LabError when a name is taken or no host name, or a guest does not start.
        """
        kind = "qcow2" if disks == "lossy" else disks
        if kind not in ("raw", "qcow2") or cache not in ("unsafe", "writeback"):
            raise LabError(f"disks={disks!r}, cache={cache!r}: see Lab.start for the choices")
        fresh = [self._define(name, kind, cache, cpus) for name in names]
        with ThreadPoolExecutor(max(1, len(fresh))) as pool:
            list(pool.map(lambda guest: guest.boot() if cold else guest.restart(), fresh))
            others = [guest for guest in self.guests.values() if guest not in fresh]
            list(pool.map(self._tell_hosts, [guest for guest in others if guest.running]))
        return fresh

    def _define(self, name: str, kind: str, cache: str, cpus: int) -> Guest:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,20}", name) or name in self.guests:
            raise LabError(f"{name!r} is taken, or no host name: pick another")
        number = len(self.guests) + 1
        if number > network.MAX_GUESTS:
            raise LabError(f"a lab has at most {network.MAX_GUESTS} guests")
        folder = self.folder / name
        folder.mkdir()
        drives = tuple(
            make_disk(serial, folder, self.template.boot, kind, cache)
            for serial in (*DATA_DISKS, STATE_DISK)
        )
        guest = Guest(
            name,
            number,
            folder,
            drives,
            cpus=cpus,
            template=self.template,
            switch=self._switch,
            hosts=self.hosts,
        )
        self.guests[name] = guest
        return guest

    def hosts(self) -> dict[str, str]:
        """The guests' names and addresses, as every guest's /etc/hosts has them."""
        return {name: guest.address for name, guest in self.guests.items()}

    def _tell_hosts(self, guest: Guest) -> None:
        guest.channel.ask("hosts", hosts=self.hosts())

    def partition(self, *guests: Guest, one_way: bool = False) -> None:
        """Lose silently what these guests send to each other; a single one: to all others.

        one_way: only what the first one sends to the rest is lost. Connections hang until
        time-outs strike, as with a cut cable; heal() undoes it.
        """
        group = list(guests) if len(guests) > 1 else [*guests, *self._others(guests)]
        cuts: dict[str, list[str]] = {}
        for one, other in permutations(group, 2):
            if len(guests) == 1 and guests[0] not in (one, other):
                continue
            if one_way and one is not group[0]:
                continue
            cuts.setdefault(one.name, []).append(other.address)
        for name, addresses in cuts.items():
            self.guests[name].call("lab_inside.shape:cut", addresses)

    def _others(self, guests: Iterable[Guest]) -> list[Guest]:
        chosen = set(guests)
        return [each for each in self.guests.values() if each not in chosen and each.running]

    def heal(self) -> None:
        """End every partition."""
        for guest in self.guests.values():
            if guest.running:
                guest.call("lab_inside.shape:mend")

    def stop(self) -> None:
        """End all guests and remove everything they had; can be called twice."""
        for guest in self.guests.values():
            guest.power_cut()
        shutil.rmtree(self.folder, ignore_errors=True)
        held, self._held = [*self._held, self._lock], []
        for descriptor in held if self._lock >= 0 else []:
            os.close(descriptor)
        self._lock = -1
