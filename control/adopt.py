"""Taking a device, a file or parts of them as a volume (claims 16 and 20): all checks first."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from control import beneath
from control.beneath import Stretch, TableOf, live_table
from control.holders import check_unused, own_device_below
from control.records import VolumeRecord
from control.spans import Span
from control.store.direct import DirectFile
from dm_tables.errors import Exists, NotFound, Precondition, Usage
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


class ReadOnly(Precondition):
    """A device or file that cannot be written."""


class OwnDevice(Precondition):
    """A device that frazil made."""


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
    :raises ReadOnly: it cannot be written.
    :raises Usage: not absolute, no device or file, or not whole sectors.
    """
    where = Path(path)
    if not where.is_absolute():
        raise Usage(f"the path {path!r} is not absolute", "give it from / on")
    try:
        status = where.stat()
    except OSError as error:
        hint = "see lsblk for the devices there are"
        raise NotFound(f"{path}: {error.strerror}", hint) from error
    if not (stat.S_ISBLK(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise Usage(f"{path} is neither a block device nor a file")
    number = beneath.number_of(where)
    _check_writable(where, number)
    sector = _sector(number)
    if offset % sector or length % sector:
        raise Usage(f"{path}: offset and length must be multiples of {sector} bytes")
    with DirectFile(where) as file:
        size = file.size()
    rest = (size - offset) // sector * sector
    if rest <= 0 or length > rest:
        end = f"offset {offset} and length {length}" if length else f"offset {offset}"
        raise SpanPastEnd(
            f"a span of {path} at {end} would leave it: it has {size} bytes",
            "give a smaller one; without a length a span goes to the end",
        )
    return Span(where, Bytes(offset), Bytes(length or rest))


class NothingToGrow(Precondition):
    """The volume has all there is already."""


def grown(
    spans: tuple[Span, ...], wanted: Sequence[tuple[str, int, int]], *, growing: bool = False
) -> tuple[Span, ...]:
    """A volume's spans with more behind them; with none wanted, the last one to its end.

    :param wanted: (path, offset, length) in bytes; a length of 0 goes to the end.
    :param growing: the head has not followed yet: what was asked for may be asked for again.
    :raises NothingToGrow: the last span ends where its device or file does.
    """
    if wanted:
        more = tuple(resolve(*one) for one in wanted)
        return spans if growing and spans[-len(more) :] == more else (*spans, *more)
    last = spans[-1]
    longer = resolve(str(last.path), last.offset, 0)
    if longer.length <= last.length and growing:
        return spans
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


def _check_writable(path: Path, number: str | None) -> None:
    if number:
        about = beneath.SYS / number / "ro"
        if about.exists() and about.read_text().strip() != "0":
            raise ReadOnly(f"{path} is read-only", "a volume is written to: blockdev --setrw")
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise ReadOnly(f"{path} cannot be written: {error.strerror}") from error


def _sector(number: str | None) -> int:
    """The smallest piece of a device that can be written; of a file, a sector."""
    if number is None:
        return SECTOR
    about = beneath.SYS / beneath.whole_disk(number) / "queue" / "logical_block_size"
    return int(about.read_text()) if about.exists() else SECTOR


def check_adoptable(
    spans: Sequence[Span],
    volumes: Sequence[Occupied],
    table_of: TableOf = live_table,
    *,
    growing: Occupied | None = None,
) -> None:
    """See that the spans are free to become a volume.

    :param growing: the volume that they are to be all of, which has some of them already.

    :raises VolumeTooSmall: less than 1 MiB.
    :raises OwnDevice: a device of frazil's, or one that stands on it.
    :raises SpanOverlaps: two of them, or one and a volume, share bytes, by whatever paths.
    :raises InUse: a device is mounted or otherwise in use.
    """
    if not spans:
        raise Usage("a volume needs at least one device or file")
    size = sum(span.length for span in spans)
    if size < SMALLEST_VOLUME:
        raise VolumeTooSmall(f"{size} bytes are too little for a volume: 1 MiB is the least")
    for span in spans:
        _check_not_ours(span)
    wanted = [(span, beneath.beneath(span, table_of)) for span in spans]
    for index, (span, stretches) in enumerate(wanted):
        for other, theirs in wanted[:index]:
            if _meet(stretches, theirs):
                raise SpanOverlaps(_twice(span, other))
            _check_not_both(span.path, other.path)
    taken = list(_taken(volumes, table_of))
    for span, stretches in wanted:
        for name, theirs in taken:
            if _meet(stretches, theirs):
                raise SpanOverlaps(
                    f"{span.path} is already part of volume {name}",
                    "give another device, or other offsets",
                )
        sharing = volumes if growing is None else [*volumes, growing]
        check_unused(span.path, shared=_has_volume(span.path, sharing))


def _check_not_both(one: Path, other: Path) -> None:
    """The kernel gives nobody a disk and a partition of it at once."""
    numbers = (beneath.number_of(one), beneath.number_of(other))
    for part, disk, path, whole in ((*numbers, one, other), (*numbers[::-1], other, one)):
        if part and part != disk and beneath.whole_disk(part) == disk:
            raise SpanOverlaps(
                f"{path} is a partition of {whole}, which is part of the same volume",
                "give offsets on the disk instead",
            )


def _has_volume(path: Path, volumes: Sequence[Occupied]) -> bool:
    """Whether another part of the same device or file is a volume."""
    own = beneath.aliases(path)
    for span in (span for volume in volumes for span in volume.spans):
        with suppress(OSError):
            if own & beneath.aliases(span.path):
                return True
    return False


def _check_not_ours(span: Span) -> None:
    number = beneath.number_of(span.path)
    if number and (name := own_device_below(number)):
        raise OwnDevice(
            f"{span.path} is, or stands on, frazil's own device {name}",
            "a volume is made of what lies below frazil: see frazil volume list",
        )


def _taken(volumes: Sequence[Occupied], table_of: TableOf) -> Iterator[tuple[str, list[Stretch]]]:
    """Each volume's name, and where each of its spans lies; without those that are not there."""
    for volume in volumes:
        for span in volume.spans:
            with suppress(OSError):
                yield volume.name, beneath.beneath(span, table_of)


def _meet(ours: Sequence[Stretch], theirs: Sequence[Stretch]) -> bool:
    return any(one.meets(other) for one in ours for other in theirs)


def _twice(span: Span, other: Span) -> str:
    if span.path == other.path:
        return f"{span.path} is named twice, with bytes in common"
    return f"{span.path} and {other.path} have bytes in common"


def check_name_free(name: str, volumes: Sequence[VolumeRecord]) -> None:
    """:raises Exists: there is a volume of that name."""
    if any(volume.name == name for volume in volumes):
        raise Exists(f"there is already a volume {name}", "see frazil volume list")
