"""What has to be done to a store's metadata before the kernel may activate it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from control.store import layout
from control.store.direct import DirectFile, aligned_buffer, is_zero
from control.store.errors import BlankStore
from control.store.reader import read_area, read_header
from dm_tables.units import Bytes


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What :func:`scrub` found and did.

    ``exceptions`` is how many the store holds; ``area`` the area with the terminator;
    ``cleared`` how many stale entries stood behind it and are zero now.
    """

    exceptions: int
    area: int
    cleared: int


def blank(path: str | os.PathLike[str], chunk: Bytes) -> None:
    """Zero chunks 0 and 1 of a new COW device, durably: the kernel then makes it a new store.

    Without it the kernel would take whatever lay there for a store, and bring old exceptions
    back to life.
    """
    layout.check_chunk(chunk)
    with DirectFile(path, writable=True) as file:
        file.write(aligned_buffer(2 * chunk), 0)
        file.fsync()


def scrub(path: str | os.PathLike[str]) -> Scrubbed:
    """Zero what lies behind the terminator of the store's last area, durably.

    A torn write of an area may leave entries behind the first new_chunk == 0. The kernel keeps
    those bytes in memory on activation, and a later commit writes them out with the entries in
    front of them: exceptions that never were. So: before every activation after a boot.

    A store that was never activated has nothing to scrub. Writes only when there is something.

    :raises StoreCorrupt: a subclass; it is no usable store.
    """
    with DirectFile(path, writable=True) as file:
        try:
            chunk = read_header(file).chunk
        except BlankStore:
            return Scrubbed(0, 0, 0)
        per_area = layout.entries_per_area(chunk)
        buffer = aligned_buffer(chunk)
        area, entries = 0, per_area
        while entries == per_area:
            old, _ = read_area(file, chunk, area, buffer)
            entries = len(old)
            area += 1
        area -= 1
        stale = buffer[entries * layout.ENTRY_BYTES :]
        found = _entries_in(stale)
        if found:
            stale[:] = bytes(len(stale))
            file.write(buffer, layout.area_chunk(area, chunk) * chunk)
            file.fsync()
        return Scrubbed(area * per_area + entries, area, found)


def _entries_in(stale: memoryview) -> int:
    """How many of the entries are not all zero."""
    if is_zero(stale):
        return 0
    numbers = stale.cast("Q")
    return sum(1 for i in range(0, len(numbers), 2) if numbers[i] or numbers[i + 1])
