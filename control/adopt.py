"""Taking a device, a file or parts of them as a volume (claims 16 and 20): all checks first."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from control.mounts import check_unused
from control.records import VolumeRecord
from control.spans import Span
from control.store.direct import DirectFile
from dm_tables.errors import Exists, NotFound, Precondition, Usage
from dm_tables.names import UUID_PREFIX
from dm_tables.units import MIB, SECTOR, Bytes

SMALLEST_VOLUME = MIB
SMALLEST_CHUNK = 4096
LARGEST_CHUNK = MIB


class VolumeTooSmall(Usage):
    """The spans hold less than a volume must have."""


class SpanPastEnd(Usage):
    """A span leaves its device or file."""


class SpanOverlaps(Precondition):
    """A span is already part of a volume."""


def checked_chunk(chunk: int) -> Bytes:
    """A chunk size that may be had; 0: one that is chosen for each layer.

    :raises Usage: not a power of two from 4 KiB to 1 MiB.
    """
    if chunk == 0:
        return Bytes(0)
    if not SMALLEST_CHUNK <= chunk <= LARGEST_CHUNK or chunk & (chunk - 1):
        raise Usage(
            f"a chunk of {chunk} bytes is not possible",
            "give a power of two from 4KiB to 1MiB",
        )
    return Bytes(chunk)


def resolve(path: str, offset: int, length: int) -> Span:
    """A span as it will be journaled: checked, its length known, whole sectors.

    :param length: in bytes; 0: to the end.
    :raises NotFound: there is no such device or file.
    :raises SpanPastEnd: it leaves the device or file.
    :raises Usage: not absolute, no device or file, or not whole sectors.
    """
    where = Path(path)
    if not where.is_absolute():
        raise Usage(f"the path {path!r} is not absolute", "give it from / on")
    try:
        mode = where.stat().st_mode
    except OSError as error:
        hint = "see lsblk for the devices there are"
        raise NotFound(f"{path}: {error.strerror}", hint) from error
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        raise Usage(f"{path} is neither a block device nor a file")
    if offset % SECTOR or length % SECTOR:
        raise Usage(f"{path}: offset and length must be multiples of {SECTOR} bytes")
    with DirectFile(where) as file:
        size = file.size()
    rest = (size - offset) // SECTOR * SECTOR
    if rest <= 0 or length > rest:
        raise SpanPastEnd(
            f"{path} has {size} bytes; {length or 1} bytes at {offset} would leave it"
        )
    return Span(where, Bytes(offset), Bytes(length or rest))


class NothingToGrow(Precondition):
    """The volume has all there is already."""


def grown(spans: tuple[Span, ...], wanted: Sequence[tuple[str, int, int]]) -> tuple[Span, ...]:
    """A volume's spans with more behind them; with none wanted, the last one to its end.

    :param wanted: (path, offset, length) in bytes; a length of 0 goes to the end.
    :raises NothingToGrow: the last span ends where its device or file does.
    """
    if wanted:
        return (*spans, *(resolve(*one) for one in wanted))
    last = spans[-1]
    longer = resolve(str(last.path), last.offset, 0)
    if longer.length <= last.length:
        raise NothingToGrow(
            f"{last.path} has no more than the volume uses",
            "make the device larger first, or name another one with --span",
        )
    return (*spans[:-1], longer)


class Occupied(Protocol):
    """Whatever has spans already: a volume, or a replica on a device of its own."""

    @property
    def name(self) -> str:
        """How to call it."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """What nothing else may have."""


def check_adoptable(spans: Sequence[Span], volumes: Sequence[Occupied]) -> None:
    """See that the spans are free to become a volume.

    :raises VolumeTooSmall: less than 1 MiB.
    :raises SpanOverlaps: two of them, or one and a volume, share bytes.
    :raises Precondition: a device is mounted or otherwise in use.
    """
    if not spans:
        raise Usage("a volume needs at least one device or file")
    size = sum(span.length for span in spans)
    if size < SMALLEST_VOLUME:
        raise VolumeTooSmall(f"{size} bytes are too little for a volume: 1 MiB is the least")
    for index, span in enumerate(spans):
        for other in spans[:index]:
            if _overlap(span, other):
                raise SpanOverlaps(f"{span.path} is named twice, with bytes in common")
        for volume in volumes:
            for theirs in volume.spans:
                if _overlap(span, theirs):
                    raise SpanOverlaps(
                        f"{span.path} is already part of volume {volume.name}",
                        "give another device, or other offsets",
                    )
        if not _held_by_us(span.path):
            check_unused(span.path)


def check_name_free(name: str, volumes: Sequence[VolumeRecord]) -> None:
    """:raises Exists: there is a volume of that name."""
    if any(volume.name == name for volume in volumes):
        raise Exists(f"there is already a volume {name}", "see frazil volume list")


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    if stat.S_ISBLK(status.st_mode):
        return (status.st_rdev, 0, 0)
    return (0, status.st_dev, status.st_ino)


def _overlap(one: Span, other: Span) -> bool:
    try:
        if _identity(one.path) != _identity(other.path):
            return False
    except FileNotFoundError:
        return False
    return one.offset < other.offset + other.length and other.offset < one.offset + one.length


def _held_by_us(path: Path) -> bool:
    """Whether only frazil's own devices hold a device: another part of it is a volume already."""
    status = path.stat()
    if not stat.S_ISBLK(status.st_mode):
        return False
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    holders = list(Path(f"/sys/dev/block/{number}/holders").glob("*"))
    return bool(holders) and all(
        (holder / "dm" / "uuid").exists()
        and (holder / "dm" / "uuid").read_text().startswith(UUID_PREFIX)
        for holder in holders
    )
