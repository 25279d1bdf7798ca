"""Units that cannot be mixed up.

Device-mapper counts in sectors, the exception store in chunks, files in bytes. Each has a
type of its own, so that a type checker refuses one where another belongs. A ``Chunks`` is a
count or an address in units of a layer's own chunk size, which always travels beside it.
"""

from __future__ import annotations

from typing import NewType

Bytes = NewType("Bytes", int)
"""A count of bytes, or an address in bytes."""

Sectors = NewType("Sectors", int)
"""A count of 512-byte sectors, or an address in them: the unit of device-mapper tables."""

Chunks = NewType("Chunks", int)
"""A count of chunks, or a chunk's number."""

SECTOR = 512
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def sectors_to_bytes(sectors: Sectors) -> Bytes:
    """The same length in bytes."""
    return Bytes(sectors * SECTOR)


def bytes_to_sectors(size: Bytes) -> Sectors:
    """The same length in sectors. :raises ValueError: ``size`` is not whole sectors."""
    if size % SECTOR:
        raise ValueError(f"{size} bytes are not a whole number of {SECTOR}-byte sectors")
    return Sectors(size // SECTOR)


def chunks_covering(size: Bytes, chunk: Bytes) -> Chunks:
    """How many chunks of ``chunk`` bytes cover ``size`` bytes; the last one may be partial."""
    return Chunks(-(-size // chunk))
