"""Devices for tests in a guest: volumes with a base, layers and a head, gone when it ends.

Bases are slices of /dev/vdb, auxiliary volumes slices of /dev/vdc; /dev/vdd is for logs.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

from dm_tables import names
from dm_tables.device import Device
from dm_tables.dmsetup import Dmsetup
from dm_tables.looking import Looks
from dm_tables.names import DmName, DmUuid
from dm_tables.table import Table
from dm_tables.targets import Linear, Snapshot
from dm_tables.units import KIB, MIB, SECTOR, Sectors
from dm_tables.window import HeadPlan

BASES, STORES, LOGS = "/dev/vdb", "/dev/vdc", "/dev/vdd"
SIZE = Sectors(32 * MIB // SECTOR)
STORE = Sectors(8 * MIB // SECTOR)
CHUNK = Sectors(64 * KIB // SECTOR)


class Made(Device):
    """A device whose number is asked for once: dmsetup is slow in a guest, and it never changes."""

    _number = ""

    @property
    def devno(self) -> str:
        """``major:minor``."""
        self._number = self._number or super().devno
        return self._number

    @property
    def path(self) -> Path:
        """Its node."""
        return Path(f"/dev/dm-{self.devno.split(':')[1]}")


class Rig:
    """Makes devices, and removes them newest first."""

    def __init__(self) -> None:
        self.dmsetup = Dmsetup(looks=Looks())
        self._made: list[str] = []
        self._taken = dict.fromkeys((BASES, STORES, LOGS), 0)

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A head's tables, the one that waits too, hold layers that were made after it.
        while there := [info for info in self.dmsetup.list("") if info.name in self._made]:
            for info in there:
                if info.inactive:
                    self.dmsetup.clear(DmName(info.name))
            free = [info.name for info in there if info.open_count == 0 and not info.inactive]
            if free:
                subprocess.run(["dmsetup", "remove", "--retry", *free], check=True)

    def make(self, name: str, table: Table, uuid: str = "") -> Device:
        """A device with a table."""
        device = Made(self.dmsetup, DmName(name), DmUuid(uuid or f"TEST-{name}"))
        self.dmsetup.create(device.name, device.uuid, table)
        self._made.append(device.name)
        return device

    def slice(self, disk: str, length: Sectors) -> Device:
        """A piece of a disk that nothing else of this rig uses."""
        start = self._taken[disk]
        self._taken[disk] += length
        name = f"slice-{Path(disk).name}-{start}"
        return self.make(name, Table.single(length, Linear(disk, Sectors(start))))

    def store(self) -> Device:
        """A blank auxiliary volume."""
        device = self.slice(STORES, STORE)
        blank(device)
        return device


class Volume:
    """A head over layers over a base; every freeze moves the head onto a layer made before."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        self.name = name
        self.uuid = uuid.uuid4()
        base = rig.slice(BASES, SIZE)
        self.layers = [self._layer(0, Table.single(SIZE, Linear(base.devno, Sectors(0))))]
        self.head = rig.make(names.head_name(name), self._over(0), names.head_uuid(self.uuid))
        self.top = 0

    def _layer(self, sequence: int, table: Table) -> Device:
        uuid = names.layer_uuid(self.uuid, sequence)
        return self.rig.make(names.layer_name(self.name, sequence), table, uuid)

    def _over(self, sequence: int) -> Table:
        return Table.single(SIZE, Linear(self.layers[sequence].devno, Sectors(0)))

    def push(self, store: Device | None = None) -> None:
        """Make the next layer and load the head's next table."""
        cow = store or self.rig.store()
        target = Snapshot(self.layers[-1].devno, cow.devno, CHUNK)
        self.layers.append(self._layer(len(self.layers), Table.single(SIZE, target)))
        self.load()

    def load(self) -> None:
        """Load the head's next table, over the newest layer."""
        self.rig.dmsetup.load(self.head.name, self._over(len(self.layers) - 1))

    def plan(self, *mountpoints: Path) -> HeadPlan:
        """The next freeze."""
        return HeadPlan(self.head.name, str(self.layers[self.on].path), mountpoints)

    @property
    def on(self) -> int:
        """The layer that the head is on, as the kernel has it."""
        table = self.head.table()
        assert table is not None
        (devno,) = table.devices()
        return [layer.devno for layer in self.layers].index(devno)


def blank(device: Device) -> None:
    """Zero the first two chunks of a store."""
    with open(device, "wb", buffering=0) as file:
        file.write(bytes(2 * CHUNK * SECTOR))
        os.fsync(file.fileno())


class Disk:
    """Sector-aligned reading and writing past the page cache."""

    def __init__(self, device: Device) -> None:
        self._fd = os.open(device, os.O_RDWR | os.O_DIRECT)
        self._page = mmap.mmap(-1, 4096)

    def write(self, number: int, at: int = 0) -> None:
        """Write a number into the 4 KiB at ``at``."""
        self._page[:8] = number.to_bytes(8, "little")
        os.pwrite(self._fd, self._page, at)

    def read(self, at: int = 0) -> int:
        """The number at ``at``."""
        os.preadv(self._fd, [self._page], at)
        return int.from_bytes(self._page[:8], "little")

    def flush(self) -> None:
        """What fsync() on the device does."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Let the device go."""
        os.close(self._fd)


class Writer:
    """A thread that counts onto devices, in order: never a number onto one before the one left
    of it has acknowledged it. Keeps the longest that a write took."""

    def __init__(self, *devices: Device) -> None:
        self._disks = [Disk(device) for device in devices]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.written = 0
        self.longest_us = 0
        self.error = ""
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for disk in self._disks:
                    began = time.monotonic_ns()
                    disk.write(self.written + 1)
                    took = (time.monotonic_ns() - began) // 1000
                    self.longest_us = max(self.longest_us, took)
                self.written += 1
        except OSError as error:
            self.error = str(error)

    def stop(self) -> None:
        """End after the round under way. :raises OSError: a write failed."""
        self._stop.set()
        self._thread.join()
        for disk in self._disks:
            disk.close()
        if self.error:
            raise OSError(self.error)

    def wait(self, rounds: int) -> None:
        """Until that many more rounds are written."""
        goal = self.written + rounds
        while self.written < goal and not self.error:
            time.sleep(0.002)
