"""Pools on real filesystems, loop devices and LVM: run inside a guest.

The volume group is on /dev/vdc, small filesystems are made on /dev/vdd.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from control.config import PoolSection
from control.pool.errors import LvmFailed, ObjectBusy, PoolFull, ToolTimedOut
from control.pool.files import FilesPool
from control.pool.lvm import LvmPool
from control.pool.pool import Pool, PoolObject
from control.pool.sizing import Action, Fill, plan_room
from control.pool.tools import Tool
from control.units_text import Seconds
from dm_tables.device import Device
from dm_tables.status import Usage, parse_snapshot
from dm_tables.table import Table
from dm_tables.targets import Linear, Snapshot
from dm_tables.units import KIB, MIB, SECTOR, Bytes, Sectors, bytes_to_sectors
from tests.guest.inside.rig import BASES, Rig

GROUP, GROUP_DISK, SMALL_DISK = "frazil-test", "/dev/vdc", "/dev/vdd"
PERSISTENT, VOLATILE = Path("/var/lib/frazil/pool"), Path("/run/pool")
ORIGIN = Bytes(64 * MIB)


def make_group() -> None:
    """The volume group that LVM's pools are in."""
    subprocess.run(["vgcreate", "--yes", GROUP, GROUP_DISK], check=True, capture_output=True)


def pool_of(kind: str) -> Pool:
    """An empty pool: ``ext4``, ``tmpfs`` or ``lvm``."""
    if kind == "lvm":
        return LvmPool(GROUP)
    return FilesPool(PERSISTENT if kind == "ext4" else VOLATILE)


def life(kind: str) -> dict[str, Any]:
    """One object from creation to deletion; what was seen on the way."""
    pool = pool_of(kind)
    pool.check()
    free = pool.free()
    made = pool.create("db.1", Bytes(8 * MIB))
    device = made.attach()
    seen: dict[str, Any] = {
        "again": made.attach() == device == pool.open("db.1").attached(),
        "taken": free - pool.free() >= 8 * MIB,
    }
    pattern = os.urandom(64 * KIB)
    put(device, 4 * MIB, pattern)
    seen["coherent"] = get(str(made.path), 4 * MIB, 64 * KIB) == pattern
    seen["grown"] = made.grow(Bytes(20 * MIB)), capacity(device)
    put(device, 20 * MIB - 4096, pattern[:4096])
    seen["kept"] = get(device, 4 * MIB, 64 * KIB) == pattern
    with on_top_of(device):
        seen["busy"] = [refused(made.detach), refused(made.delete), pool.list()]
    made.detach()
    seen["detached"] = made.attached() is None
    seen["after detach"] = get(pool.open("db.1").attach(), 4 * MIB, 64 * KIB) == pattern
    made.delete()
    seen["gone"] = pool.list() == () and pool.free() >= free - MIB
    return seen


def full(kind: str) -> dict[str, Any]:
    """A filesystem of 64 MiB that has less than the pool believes."""
    mountpoint = Path("/mnt/small")
    mountpoint.mkdir(exist_ok=True)
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mountpoint)]
    else:
        subprocess.run(["mkfs.ext4", "-q", "-F", SMALL_DISK, "64M"], check=True)
        command = ["mount", SMALL_DISK, str(mountpoint)]
    subprocess.run(command, check=True)
    try:
        pool = Believer(mountpoint / "pool")
        made = pool.create("db.1", Bytes(20 * MIB))
        before = FilesPool.free(pool)
        seen = [
            refused(lambda: pool.create("db.2", Bytes(60 * MIB))),
            refused(lambda: made.grow(Bytes(80 * MIB))),
        ]
        left = sorted(path.name for path in pool.directory.iterdir())
        given_back = FilesPool.free(pool) >= before - 64 * KIB
        return {"refused": seen, "left": left, "size": made.size(), "given back": given_back}
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)


class Believer(FilesPool):
    """A pool that thinks that there is always room, as when others fill the filesystem."""

    def take(self, name: str, wanted: int) -> None:
        """Never too little."""


def grown(kind: str, start: int, written: int, rate: float, grow: bool) -> dict[str, Any]:
    """A paced writer fills a snapshot whose auxiliary volume has ``start`` bytes at first.

    :param grow: act on :func:`plan_room` meanwhile, as the daemon does.
    :return: what became of the snapshot and of the writes, and the sizes that it went through.
    """
    policy = PoolSection(grow_at=0.2, horizon=Seconds(8.0), reserve=Bytes(0))
    pool = pool_of(kind)
    with Rig() as rig, stacked(rig, pool, start, 64 * KIB) as (snapshot, made):
        writer = PacedWriter(str(snapshot.path), written, rate)
        sizes = [int(made.size())]
        while writer.is_alive():
            status = status_of(snapshot)
            if grow and isinstance(status, Usage):
                used = Bytes(status.allocated * SECTOR)
                fill = Fill(used, Bytes(status.total * SECTOR), rate)
                plan = plan_room(
                    fill, ORIGIN, Bytes(64 * KIB), pool.free(), policy, granularity=pool.granularity
                )
                if plan.action is Action.GROW:
                    sizes.append(int(made.grow(plan.to)))
            time.sleep(0.02)
        end = status_of(snapshot)
        return {
            "status": type(end).__name__,
            "used": end.allocated * SECTOR if isinstance(end, Usage) else None,
            "sizes": sizes,
            "error": writer.error,
            "wrong": writer.wrong(),
        }


def last_area(cow_bytes: int) -> str:
    """What becomes of a snapshot of 4 KiB chunks when its first metadata area fills up."""
    pool = pool_of("tmpfs")
    with Rig() as rig, stacked(rig, pool, cow_bytes, 4 * KIB) as (snapshot, _):
        with suppress(OSError):
            put(str(snapshot.path), 0, bytes(256 * 4 * KIB))
        return type(status_of(snapshot)).__name__


def beside_a_suspended_device() -> dict[str, Any]:
    """LVM works while a freeze holds a device; without our option it would wait for it."""
    pool = LvmPool(GROUP)
    with Rig() as rig:
        length = bytes_to_sectors(ORIGIN)  # Devices under 2 MiB are none of LVM's business.
        held = rig.make("held", Table.single(length, Linear(BASES, Sectors(0))))
        rig.dmsetup.suspend(held.name)
        try:
            began = time.monotonic()
            made = pool.create("db.1", Bytes(4 * MIB))
            made.grow(Bytes(8 * MIB))
            made.delete()
            took = time.monotonic() - began
            without = refused(lambda: Tool("pvs", "lvm2", LvmFailed, timeout=took + 3).call("-a"))
        finally:
            rig.dmsetup.resume(held.name)
    return {"size": pool.used(), "without": without}


@contextmanager
def stacked(rig: Rig, pool: Pool, size: int, chunk: int) -> Iterator[tuple[Device, PoolObject]]:
    """A snapshot of 64 MiB whose auxiliary volume is an object of the pool."""
    origin = rig.slice(BASES, bytes_to_sectors(ORIGIN))
    made = pool.create("cow", Bytes(size))
    cow = made.attach()
    put(cow, 0, bytes(2 * chunk))
    target = Snapshot(origin.devno, cow, Sectors(chunk // SECTOR))
    snapshot = rig.make("snap", Table.single(bytes_to_sectors(ORIGIN), target))
    try:
        yield snapshot, made
    finally:
        snapshot.remove()
        made.delete()


@contextmanager
def on_top_of(device: str) -> Iterator[None]:
    """Another device stands on it."""
    with Rig() as rig:
        rig.make("top", Table.single(Sectors(8), Linear(device, Sectors(0))))
        yield


class PacedWriter(threading.Thread):
    """Writes 64 KiB after 64 KiB, each with its own number all over, at ``rate`` bytes a second."""

    def __init__(self, path: str, length: int, rate: float) -> None:
        super().__init__()
        self.path = path
        self.chunks = length // (64 * KIB)
        self.pause = 64 * KIB / rate
        self.error = ""
        self.start()

    def run(self) -> None:
        """Write."""
        try:
            for number in range(self.chunks):
                due = time.monotonic() + self.pause
                put(self.path, number * 64 * KIB, self.content(number))
                time.sleep(max(0.0, due - time.monotonic()))
        except OSError as error:
            self.error = str(error.strerror)

    def wrong(self) -> int:
        """How many of the chunks do not read back as written."""
        return sum(
            get(self.path, number * 64 * KIB, 64 * KIB) != self.content(number)
            for number in range(self.chunks)
        )

    @staticmethod
    def content(number: int) -> bytes:
        """What chunk ``number`` holds."""
        return number.to_bytes(8, "little") * (64 * KIB // 8)


def status_of(snapshot: Device) -> object:
    """The snapshot's own status."""
    return parse_snapshot(snapshot.status()[0].text)


def put(path: str, at: int, data: bytes) -> None:
    """Write past the page cache, and flush."""
    with mmap.mmap(-1, len(data)) as page:
        page[:] = data
        descriptor = os.open(path, os.O_WRONLY | os.O_DIRECT)
        try:
            if os.pwrite(descriptor, page, at) != len(data):
                raise OSError("short write")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def get(path: str, at: int, length: int) -> bytes:
    """Read; past the page cache where the filesystem can."""
    with mmap.mmap(-1, length) as page:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            descriptor = os.open(path, os.O_RDONLY)
        try:
            os.preadv(descriptor, [page], at)
        finally:
            os.close(descriptor)
        return bytes(page)


def capacity(device: str) -> int:
    """A block device's size in bytes, as its users find it."""
    descriptor = os.open(device, os.O_RDONLY)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def refused(attempt: Any) -> str:
    """The error that an attempt ends in; empty when it succeeds."""
    try:
        attempt()
    except (ObjectBusy, PoolFull, ToolTimedOut, LvmFailed) as error:
        return error.name
    return ""
