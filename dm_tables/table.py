"""Device-mapper tables: segments of targets, laid end to end from sector 0."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dm_tables import targets
from dm_tables.errors import Corrupt, NotFound, Usage
from dm_tables.targets import Linear, Resolver, Target
from dm_tables.units import Sectors

_DEVNO = re.compile(r"[0-9]+:[0-9]+")


class BadTable(Usage):
    """Segments that do not follow one another from 0, or have no length."""


class TableUnreadable(Corrupt):
    """Text that is not a table's."""


class NoSuchDevice(NotFound):
    """A path in a table that is not a block device, or is not there."""


@dataclass(frozen=True, slots=True)
class Segment:
    """``length`` sectors from ``start`` on, mapped by ``target``."""

    start: Sectors
    length: Sectors
    target: Target

    def line(self) -> str:
        """``start length kind params``, without a newline."""
        words = [str(self.start), str(self.length), targets.kind_of(self.target)]
        params = self.target.params()
        return " ".join([*words, params] if params else words)

    @property
    def end(self) -> Sectors:
        """The sector behind the last one."""
        return Sectors(self.start + self.length)


@dataclass(frozen=True, slots=True)
class Extent:
    """``length`` sectors of ``device`` from ``offset`` on: a piece of a span."""

    device: str
    offset: Sectors
    length: Sectors


@dataclass(frozen=True, slots=True)
class Table:
    """A whole device's mapping. :raises BadTable: there is a gap, an overlap or nothing."""

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        """Check that the segments cover the device from 0 on."""
        if not self.segments:
            raise BadTable("a table needs at least one segment")
        at = Sectors(0)
        for segment in self.segments:
            if segment.start != at or segment.length <= 0:
                raise BadTable(f"{segment.line()!r} does not go on at sector {at}")
            at = segment.end

    @property
    def size(self) -> Sectors:
        """The size of the device."""
        return self.segments[-1].end

    def lines(self) -> tuple[str, ...]:
        """One line a segment, as ``dmsetup`` reads and prints it."""
        return tuple(segment.line() for segment in self.segments)

    def text(self) -> str:
        """The lines, each with its newline."""
        return "".join(f"{line}\n" for line in self.lines())

    def devices(self) -> tuple[str, ...]:
        """Every device the table maps to, in order, each once."""
        names = (device for segment in self.segments for device in segment.target.devices())
        return tuple(dict.fromkeys(names))

    def resolved(self, resolver: Resolver) -> Table:
        """The table as the kernel would print it: devices as ``major:minor``."""
        return Table(
            tuple(Segment(s.start, s.length, s.target.resolved(resolver)) for s in self.segments)
        )

    def matches(self, other: Table, resolver: Resolver | None = None) -> bool:
        """Whether both mean the same mapping, however each names its devices."""
        resolve = resolver or devno_of
        return self.resolved(resolve) == other.resolved(resolve)

    @classmethod
    def parse(cls, text: str) -> Table:
        """Read what ``dmsetup table NAME`` prints.

        :raises TableUnreadable: a line is not ``start length kind [params]``.
        :raises BadTable: there are no lines, or they leave gaps.
        """
        return cls(tuple(_segment(line) for line in text.splitlines() if line.strip()))

    @classmethod
    def single(cls, length: Sectors, target: Target) -> Table:
        """A device of one segment."""
        return cls((Segment(Sectors(0), length, target),))


def linear_over(extents: Iterable[Extent]) -> Table:
    """The extents laid end to end: a volume's base over its spans (claim 20)."""
    segments: list[Segment] = []
    at = 0
    for extent in extents:
        target = Linear(extent.device, extent.offset)
        segments.append(Segment(Sectors(at), extent.length, target))
        at += extent.length
    return Table(tuple(segments))


def devno_of(device: str) -> str:
    """``major:minor`` of a block device's path; such text itself is left as it is.

    :raises NoSuchDevice: nothing is there, or it is not a block device.
    """
    if _DEVNO.fullmatch(device):
        return device
    try:
        status = Path(device).stat()
    except OSError as error:
        raise NoSuchDevice(f"{device} cannot be looked up: {error.strerror}") from error
    if not stat.S_ISBLK(status.st_mode):
        raise NoSuchDevice(f"{device} is not a block device")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _segment(line: str) -> Segment:
    try:
        start, length, kind, *params = line.strip().split(" ", 3)
        at, count = Sectors(int(start)), Sectors(int(length))
    except ValueError as error:
        raise TableUnreadable(f"{line!r} is not a line of a table") from error
    return Segment(at, count, targets.parse(kind, params[0] if params else ""))
