"""Where a volume's spans hold data: what is a hole need not be read for a whole copy."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from control.blocks import Extent
from control.spans import Span
from dm_tables.units import Bytes

SYSFS = Path("/sys/dev/block")


@dataclass(frozen=True, slots=True)
class Backing:
    """The file a span's bytes lie in, and what to add to the span's addresses to find them."""

    path: Path
    shift: int


def data_extents(spans: tuple[Span, ...], sysfs: Path = SYSFS) -> Iterator[Extent]:
    """The stretches of the volume that may hold something else than zeroes, in rising order.

    Files, and loop devices through their backing files, are asked for their holes (lseek with
    SEEK_DATA); any other block device counts as data from end to end.

    :raises OSError: a span cannot be opened.
    """
    start = 0
    for span in spans:
        backing = backing_of(span.path, sysfs)
        if backing is None:
            yield Extent(Bytes(start), span.length)
        else:
            yield from _file_extents(backing, span, start)
        start += span.length


def backing_of(path: Path, sysfs: Path = SYSFS) -> Backing | None:
    """The file behind ``path``: itself, or what a loop device is set on; None: no file.

    What was written through a loop device's own page cache is flushed first, so that the file
    shows it as data.
    """
    status = path.stat()
    if stat.S_ISREG(status.st_mode):
        return Backing(path, 0)
    loop = sysfs / f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" / "loop"
    try:
        file = Path((loop / "backing_file").read_text().rstrip("\n"))
        shift = int((loop / "offset").read_text())
    except (OSError, ValueError):
        return None
    _flush(path)
    return Backing(file, shift) if file.is_file() else None


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _file_extents(backing: Backing, span: Span, start: int) -> Iterator[Extent]:
    """The data of one span; ``start`` is where the span begins in the volume."""
    begin = span.offset + backing.shift
    end = begin + span.length
    fd = os.open(backing.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for low, high in _data(fd, begin, end):
            yield Extent(Bytes(start + low - begin), Bytes(high - low))
    finally:
        os.close(fd)


def _data(fd: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    while at < end:
        try:
            low = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            yield at, end
            return
        if low >= end:
            return
        high = min(os.lseek(fd, low, os.SEEK_HOLE), end)
        yield low, high
        at = high
