"""Where bytes really lie: below partitions, loop devices and linear tables.

Two paths may lead to the same bytes: a disk and its partition, a file and the loop device over
it, a logical volume and the disk it is on. Each is followed down to what stands on nothing
further, or on something that moves bytes about (encryption, RAID), which counts as the end.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from control.spans import Span
from dm_tables.dmsetup import Dmsetup
from dm_tables.names import DmName
from dm_tables.table import Table
from dm_tables.targets import Linear
from dm_tables.units import SECTOR

SYS = Path("/sys/dev/block")

TableOf = Callable[[str], Table | None]


@dataclass(frozen=True, slots=True)
class Stretch:
    """``length`` bytes at ``offset`` of ``place``: a device's number, or a file's inode."""

    place: str
    offset: int
    length: int

    def meets(self, other: Stretch) -> bool:
        """Whether both have bytes in common."""
        return (
            self.place == other.place
            and self.offset < other.offset + other.length
            and other.offset < self.offset + self.length
        )


def live_table(name: str) -> Table | None:
    """The table of a device-mapper device."""
    return Dmsetup().table(DmName(name))


def beneath(span: Span, table_of: TableOf = live_table) -> list[Stretch]:
    """The stretches that a span's bytes are in.

    :raises OSError: its path is not there.
    """
    return list(_path(span.path, span.offset, span.length, table_of))


def number_of(path: Path) -> str | None:
    """``major:minor`` of a block device; None for a file.

    :raises OSError: nothing is there.
    """
    status = path.stat()
    return devno(status.st_rdev) if stat.S_ISBLK(status.st_mode) else None


def identity(path: Path) -> str:
    """The place that a path is, whatever its name. :raises OSError: nothing is there."""
    if number := number_of(path):
        return number
    status = path.stat()
    return f"inode {status.st_dev}/{status.st_ino}"


def aliases(path: Path) -> set[str]:
    """The place that a path is, and the file that it is a loop device over.

    :raises OSError: nothing is there.
    """
    found = {identity(path)}
    if (number := number_of(path)) and (file := backing_file(number)):
        found.add(identity(file))
    return found


def devno(number: int) -> str:
    """``major:minor``."""
    return f"{os.major(number)}:{os.minor(number)}"


def whole_disk(device: str) -> str:
    """The disk that a partition is of; a device that is no partition itself."""
    if (SYS / device / "partition").exists():
        return ((SYS / device).resolve().parent / "dev").read_text().strip()
    return device


def _path(path: Path, offset: int, length: int, table_of: TableOf) -> Iterator[Stretch]:
    if number := number_of(path):
        yield from _device(number, offset, length, table_of)
    else:
        yield Stretch(identity(path), offset, length)


def _device(device: str, offset: int, length: int, table_of: TableOf) -> Iterator[Stretch]:
    about = SYS / device
    if (about / "partition").exists():
        start = int((about / "start").read_text()) * SECTOR
        yield from _device(whole_disk(device), start + offset, length, table_of)
    elif (about / "dm").is_dir():
        yield from _mapped(device, offset, length, table_of)
    elif (file := backing_file(device)) is not None:
        start = int((about / "loop" / "offset").read_text())
        yield from _path(file, start + offset, length, table_of)
    else:
        yield Stretch(device, offset, length)


def backing_file(device: str) -> Path | None:
    """The file that a loop device is over; None where it is none, or its file cannot be seen."""
    about = SYS / device / "loop" / "backing_file"
    if not about.exists():
        return None
    path = Path(about.read_text().rstrip("\n"))
    return path if path.exists() else None


def _mapped(device: str, offset: int, length: int, table_of: TableOf) -> Iterator[Stretch]:
    table = table_of((SYS / device / "dm" / "name").read_text().strip())
    for segment in table.segments if table else ():
        start = max(offset, segment.start * SECTOR)
        end = min(offset + length, segment.end * SECTOR)
        if start >= end:
            continue
        if isinstance(segment.target, Linear):
            at = segment.target.offset * SECTOR + start - segment.start * SECTOR
            yield from _device(segment.target.device, at, end - start, table_of)
        else:
            yield Stretch(device, start, end - start)
