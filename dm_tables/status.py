"""What the kernel says of its devices: the status of targets, and the state of devices."""

from __future__ import annotations

from dataclasses import dataclass

from dm_tables.errors import Corrupt
from dm_tables.units import Chunks, Sectors

INFO_FIELDS = (
    "name",
    "uuid",
    "major",
    "minor",
    "tables_loaded",
    "suspended",
    "readonly",
    "open",
    "events",
)
"""The columns of ``dmsetup info -c`` that :func:`parse_info` reads, in order."""

SEPARATOR = "|"


class StatusUnreadable(Corrupt):
    """Text that is not what ``dmsetup status`` or ``dmsetup info`` prints."""


@dataclass(frozen=True, slots=True)
class StatusLine:
    """One target's status: ``text`` is the target's own."""

    start: Sectors
    length: Sectors
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a snapshot's store is; ``metadata`` is within ``allocated``."""

    allocated: Sectors
    total: Sectors
    metadata: Sectors

    def exceptions(self, chunk: Sectors) -> Chunks:
        """How many chunks the store holds, about: the kernel counts what is under way too."""
        return Chunks(max(0, self.allocated - self.metadata) // chunk)

    @property
    def fraction(self) -> float:
        """How full it is, from 0 to 1."""
        return self.allocated / self.total if self.total else 1.0


@dataclass(frozen=True, slots=True)
class Invalid:
    """The snapshot failed: every read and write gets EIO, for good."""


@dataclass(frozen=True, slots=True)
class Overflow:
    """The store is full: reads go on, every write gets EIO until the table is loaded anew."""


@dataclass(frozen=True, slots=True)
class MergeFailed:
    """The kernel's own merge met an error."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The store does not say."""


SnapshotStatus = Usage | Invalid | Overflow | MergeFailed | Unknown

_WORDS: dict[str, SnapshotStatus] = {
    "Invalid": Invalid(),
    "Overflow": Overflow(),
    "Merge failed": MergeFailed(),
    "Unknown": Unknown(),
}


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device-mapper device as the kernel has it."""

    name: str
    uuid: str
    major: int
    minor: int
    live: bool
    inactive: bool
    suspended: bool
    readonly: bool
    open_count: int
    events: int

    @property
    def devno(self) -> str:
        """``major:minor``."""
        return f"{self.major}:{self.minor}"


def parse_status(text: str) -> tuple[StatusLine, ...]:
    """Read ``dmsetup status NAME``: a line for each target.

    :raises StatusUnreadable: a line is not ``start length kind [text]``.
    """
    return tuple(_status_line(line) for line in text.splitlines() if line.strip())


def parse_snapshot(text: str) -> SnapshotStatus:
    """Read a snapshot's own status (``snapshot_status`` of dm-snap.c).

    :raises StatusUnreadable: neither ``allocated/total metadata`` nor a known word.
    """
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    try:
        share, metadata = text.split()
        allocated, total = share.split("/")
        return Usage(Sectors(int(allocated)), Sectors(int(total)), Sectors(int(metadata)))
    except ValueError as error:
        raise StatusUnreadable(f"{text!r} is not the status of a snapshot") from error


def parse_info(text: str) -> tuple[DeviceInfo, ...]:
    """Read ``dmsetup info -c --noheadings --separator '|' -o`` :data:`INFO_FIELDS`.

    :raises StatusUnreadable: a line has other columns.
    """
    return tuple(_device(line) for line in text.splitlines() if line.strip())


def _status_line(line: str) -> StatusLine:
    try:
        start, length, kind, *rest = line.strip().split(" ", 3)
        at, count = Sectors(int(start)), Sectors(int(length))
    except ValueError as error:
        raise StatusUnreadable(f"{line!r} is not a line of a status") from error
    return StatusLine(at, count, kind, rest[0].strip() if rest else "")


def _device(line: str) -> DeviceInfo:
    columns = [column.strip() for column in line.strip().split(SEPARATOR)]
    try:
        name, uuid, major, minor, tables, suspended, readonly, opened, events = columns
        return DeviceInfo(
            name=name,
            uuid=uuid,
            major=int(major),
            minor=int(minor),
            live=tables in ("Live", "Both"),
            inactive=tables in ("Inactive", "Both"),
            suspended=suspended == "Suspended",
            readonly=readonly == "Read-only",
            open_count=int(opened),
            events=int(events),
        )
    except ValueError as error:
        raise StatusUnreadable(f"{line!r} is not a line of dmsetup's info") from error
