"""Where things lie in an exception store: arithmetic only.

Little-endian. Chunk 0 is the header. Area ``a`` is one chunk of metadata at chunk
``1 + (E + 1) a``, with E = chunk bytes / 16 entries; its E data chunks lie behind it. (The
kernel's ``area_location`` and ``skip_metadata`` in drivers/md/dm-snap-persistent.c.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dm_tables.errors import Usage
from dm_tables.units import KIB, MIB, SECTOR, Bytes, Chunks

MAGIC = 0x70416E53
VERSION = 1
ENTRY_BYTES = 16
"""One entry: old_chunk and new_chunk, two u64."""

HEADER = struct.Struct("<IIII")
SMALLEST_CHUNK = Bytes(4 * KIB)
LARGEST_CHUNK = Bytes(1 * MIB)


class ImpossibleChunk(Usage):
    """A chunk size that is not a power of two from 4 KiB to 1 MiB."""


@dataclass(frozen=True, slots=True)
class Header:
    """Chunk 0, as it lies on disk. ``chunk`` is in bytes (sectors on disk)."""

    magic: int
    valid: int
    version: int
    chunk: Bytes


def parse_header(data: bytes | memoryview) -> Header:
    """The first 16 bytes of a store, unchecked."""
    magic, valid, version, sectors = HEADER.unpack_from(data)
    return Header(magic, valid, version, Bytes(sectors * SECTOR))


def pack_header(chunk: Bytes) -> bytes:
    """The 16 bytes that begin a valid store."""
    return HEADER.pack(MAGIC, 1, VERSION, chunk // SECTOR)


def is_possible_chunk(chunk: int) -> bool:
    """A power of two from 4 KiB to 1 MiB."""
    return SMALLEST_CHUNK <= chunk <= LARGEST_CHUNK and chunk & (chunk - 1) == 0


def check_chunk(chunk: Bytes) -> None:
    """:raises ImpossibleChunk: the size cannot be a layer's."""
    if not is_possible_chunk(chunk):
        raise ImpossibleChunk(
            f"a chunk of {chunk} bytes is not possible", "use a power of two from 4 KiB to 1 MiB"
        )


def entries_per_area(chunk: Bytes) -> int:
    """E: how many exceptions one metadata area holds."""
    return chunk // ENTRY_BYTES


def area_chunk(area: int, chunk: Bytes) -> Chunks:
    """The chunk that holds metadata area ``area``."""
    return Chunks(1 + (entries_per_area(chunk) + 1) * area)


def is_metadata(new_chunk: int, chunk: Bytes) -> bool:
    """Whether this chunk of the store is the header or an area, and so never data."""
    return new_chunk == 0 or new_chunk % (entries_per_area(chunk) + 1) == 1


def data_chunk(ordinal: int, chunk: Bytes) -> Chunks:
    """The data chunk of the ``ordinal``-th exception (from 0) of a compact store."""
    area, entry = divmod(ordinal, entries_per_area(chunk))
    return Chunks(area_chunk(area, chunk) + 1 + entry)


def ordinal_of(new_chunk: Chunks, chunk: Bytes) -> int:
    """Which exception of a compact store has this data chunk.

    :raises ValueError: the chunk holds metadata.
    """
    if is_metadata(new_chunk, chunk):
        raise ValueError(f"chunk {new_chunk} of a store holds metadata")
    area, place = divmod(new_chunk - 1, entries_per_area(chunk) + 1)
    return area * entries_per_area(chunk) + place - 1


def room_for(exceptions: int, chunk: Bytes) -> Chunks:
    """The chunks of a store that holds so many exceptions, its terminator included.

    With ``exceptions`` = the chunks of the origin, no overflow is possible; the result is never
    treacherous.
    """
    return Chunks(1 + exceptions + exceptions // entries_per_area(chunk) + 1)


def is_treacherous(cow_chunks: int, chunk: Bytes) -> bool:
    """Whether a COW device of so many chunks ends exactly at the last data chunk of an area.

    The kernel zeroes the next area before it commits a full one; on such a device that runs off
    the end, and the snapshot turns Invalid even with persistent-with-overflow. So a COW device
    must never have such a size, nor pass through one while it grows.
    """
    return (cow_chunks - 1) % (entries_per_area(chunk) + 1) == 0
