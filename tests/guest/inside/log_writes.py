"""A store on dm-log-writes: what reached it, in order, with flushes and marks."""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass

from dm_tables.table import Table
from dm_tables.targets import LogWrites
from dm_tables.units import MIB, SECTOR, Sectors
from tests.guest.inside.rig import LOGS, STORE, Rig

MAGIC = 0x6A736677736872
FLUSH, MARK = 1, 8
READ = 4 * MIB
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")


@dataclass(frozen=True, slots=True)
class Entry:
    """A write, a flush or a mark; ``sectors`` of data."""

    sectors: int
    flush: bool
    mark: str


class Log:
    """``device`` is the store; the log is read with :meth:`between`."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._log = rig.slice(LOGS, Sectors(64 * MIB // SECTOR))
        target = LogWrites(rig.store().devno, self._log.devno)
        self.device = rig.make("logged", Table.single(STORE, target))

    def mark(self, text: str) -> None:
        """Put a mark into the log."""
        self._rig.dmsetup.message(self.device.name, 0, f"mark {text}")

    def between(self, first: str, last: str) -> list[Entry]:
        """What reached the store between two marks."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            entries = read(self._bytes())
            marks = [entry.mark for entry in entries]
            if last in marks:
                return entries[marks.index(first) + 1 : marks.index(last)]
            time.sleep(0.05)
        raise TimeoutError(f"no mark {last}")

    def _bytes(self) -> bytes:
        # Past the page cache: the kernel writes the log underneath it.
        descriptor = os.open(self._log, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, READ) as buffer:
                os.preadv(descriptor, [buffer], 0)
                return buffer[:]
        finally:
            os.close(descriptor)


def read(log: bytes) -> list[Entry]:
    """Every entry: ``struct log_write_super`` and ``log_write_entry`` of dm-log-writes.c."""
    magic, _version, count, sector = SUPER.unpack_from(log)
    assert magic == MAGIC
    entries: list[Entry] = []
    at = sector
    for _ in range(count):
        _where, sectors, flags, length = ENTRY.unpack_from(log, at)
        text = log[at + ENTRY.size : at + ENTRY.size + length] if flags & MARK else b""
        entries.append(Entry(sectors, bool(flags & FLUSH), text.rstrip(b"\0").decode()))
        at += sector + (0 if flags & MARK else sectors * SECTOR)
    return entries
