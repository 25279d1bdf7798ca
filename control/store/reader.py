"""Reading an exception store: area by area, checked, in memory that follows the change."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from types import TracebackType

from pyroaring import BitMap64

from control.store import layout
from control.store.direct import DirectFile, aligned_buffer
from control.store.errors import (
    AddressPastDevice,
    BadChunkSize,
    BadMagic,
    BadVersion,
    BlankStore,
    CutOff,
    DoubledChunk,
    MetadataAddress,
    NotValid,
)
from control.store.exceptions import Exceptions, Run
from dm_tables.units import Bytes, Chunks, chunks_covering


def read_header(file: DirectFile, chunk: Bytes | None = None) -> layout.Header:
    """The header of the store in ``file``, checked.

    :param chunk: the chunk size that the layer must have; none: whatever the store says.
    :raises BlankStore, BadMagic, BadVersion, BadChunkSize, NotValid, CutOff: it is no usable store.
    """
    data = file.read(0, layout.SMALLEST_CHUNK)
    if len(data) < layout.SMALLEST_CHUNK:
        raise CutOff(file, f"the store is only {len(data)} bytes long")
    header = layout.parse_header(data)
    if header.magic == 0:
        raise BlankStore(file, "the store is blank: no header was ever written")
    if header.magic != layout.MAGIC:
        raise BadMagic(file, f"magic {header.magic:#010x} is not {layout.MAGIC:#010x}")
    if header.version != layout.VERSION:
        raise BadVersion(file, f"disk version {header.version} is not {layout.VERSION}")
    if not layout.is_possible_chunk(header.chunk):
        raise BadChunkSize(file, f"a chunk of {header.chunk} bytes is not possible")
    if chunk is not None and chunk != header.chunk:
        raise BadChunkSize(file, f"chunks of {header.chunk} bytes, where {chunk} are expected")
    if header.valid != 1:
        raise NotValid(file, "the kernel has marked this snapshot invalid")
    return header


def read_area(
    file: DirectFile, chunk: Bytes, area: int, buffer: memoryview
) -> tuple[array[int], array[int]]:
    """Old and new chunks of the entries of ``area`` before its terminator.

    :param buffer: ``chunk`` bytes from :func:`aligned_buffer`; holds the raw area afterwards.
    :raises CutOff: the store ends before or inside the area.
    """
    at = layout.area_chunk(area, chunk) * chunk
    if file.read_into(buffer, at) < chunk:
        raise CutOff(file, f"the store ends before its terminator, at {file.size()} bytes", area)
    entries = array("Q", bytes(buffer))
    new = entries[1::2]
    try:
        end = new.index(0)
    except ValueError:
        end = len(new)
    return entries[0 : 2 * end : 2], new[:end]


class _Checks:
    """What must hold for every entry of a store; sees each area once, in order."""

    def __init__(self, file: DirectFile, chunk: Bytes, origin: Bytes) -> None:
        self.file = file
        self.chunk = chunk
        self.origin_chunks = chunks_covering(origin, chunk)
        self.old = BitMap64()
        self.new = BitMap64()

    def check(self, found: Exceptions) -> None:
        """:raises AddressPastDevice, MetadataAddress, DoubledChunk: naming area and entry."""
        if not found.old:
            return
        self._check_past(found)
        self._check_metadata(found)
        self._check_doubled(found, found.old, self.old, "of the volume")
        self._check_doubled(found, found.new, self.new, "of the store")

    def _check_past(self, found: Exceptions) -> None:
        last = max(found.old)
        if last >= self.origin_chunks:
            entry = found.old.index(last)
            what = f"chunk {last} of the volume, which has {self.origin_chunks}"
            raise AddressPastDevice(self.file, what, found.area, entry)
        last = max(found.new)
        # Asked anew each time: a live COW device grows.
        chunks = self.file.size() // self.chunk
        if last >= chunks:
            entry = found.new.index(last)
            what = f"data in chunk {last} of the store, which has {chunks}"
            raise AddressPastDevice(self.file, what, found.area, entry)

    def _check_metadata(self, found: Exceptions) -> None:
        stride = layout.entries_per_area(self.chunk) + 1
        low, high = min(found.new), max(found.new)
        if (low - 1) // stride == (high - 1) // stride and low % stride != 1:
            return
        for entry, new in enumerate(found.new):
            if new % stride == 1:
                what = f"data in chunk {new} of the store, which holds metadata"
                raise MetadataAddress(self.file, what, found.area, entry)

    def _check_doubled(
        self, found: Exceptions, chunks: array[int], seen: BitMap64, whose: str
    ) -> None:
        here = BitMap64(chunks)
        if len(here) == len(chunks) and seen.isdisjoint(here):
            # Not |=, whose cost grows with what was seen.
            seen.update(chunks)
            return
        for entry, number in enumerate(chunks):
            if number in seen:
                what = f"chunk {number} {whose} stands in two entries"
                raise DoubledChunk(self.file, what, found.area, entry)
            seen.add(number)


class StoreReader:
    """The exceptions of the store at ``path``, and the data behind them.

    :param path: the COW device, or a file that holds a store; read with O_DIRECT.
    :param origin_bytes: the size of the volume the store belongs to.
    :param chunk: the chunk size it must have; none: as its header says.
    :raises StoreCorrupt: a subclass that says what is wrong with the header, here; with the
        entries, while they are read.

    A store that is still being written may be read too: what is seen is a valid prefix, because
    the kernel commits an entry only when everything before it is on disk, and zeroes the next
    area before it fills one. Memory: one area, and the sets that detect doubled chunks, which
    take at most some bytes a changed chunk and do not depend on the volume's size.
    """

    def __init__(
        self, path: str | os.PathLike[str], origin_bytes: Bytes, chunk: Bytes | None = None
    ) -> None:
        self.file = DirectFile(path)
        self.origin_bytes = origin_bytes
        self._buffer = memoryview(b"")
        try:
            self.header = read_header(self.file, chunk)
        except BaseException:
            self.file.close()
            raise
        self.chunk = self.header.chunk

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; harmless when done twice."""
        self.file.close()

    def areas(self, start_exception: int = 0) -> Iterator[Exceptions]:
        """The exceptions from number ``start_exception`` on, an area at a time.

        The areas before it are read and checked too: one chunk in E + 1, so a restart is cheap
        and still proves the whole store.

        :raises StoreCorrupt: an entry that cannot be, or fewer than ``start_exception`` of them.
        """
        per_area = layout.entries_per_area(self.chunk)
        checks = _Checks(self.file, self.chunk, self.origin_bytes)
        buffer = aligned_buffer(self.chunk)
        area, full = 0, True
        while full:
            old, new = read_area(self.file, self.chunk, area, buffer)
            full = len(old) == per_area
            found = Exceptions(area, area * per_area, old, new)
            checks.check(found)
            end = found.first + len(found)
            if end > start_exception:
                yield found.since(start_exception)
            elif not full and end < start_exception:
                what = f"the store ends after {end} exceptions, before number {start_exception}"
                raise CutOff(self.file, what, area)
            area += 1

    def runs(self, start_exception: int = 0, limit: int = 1 << 63) -> Iterator[Run]:
        """The runs of at most ``limit`` chunks from exception ``start_exception`` on, in order."""
        for found in self.areas(start_exception):
            yield from found.runs(limit)

    def exceptions(self, start_exception: int = 0) -> Iterator[tuple[Chunks, Chunks]]:
        """The pairs (chunk of the volume, chunk of the store), in order."""
        for found in self.areas(start_exception):
            for old, new in zip(found.old, found.new, strict=True):
                yield Chunks(old), Chunks(new)

    def count(self) -> int:
        """How many exceptions the store holds now; reads all its areas."""
        return sum(len(found) for found in self.areas())

    def changed(self) -> BitMap64:
        """The set of the volume's chunks that the store holds."""
        chunks = BitMap64()
        for found in self.areas():
            chunks.update(found.old)
        return chunks

    def read_into(self, view: memoryview, new_chunk: int) -> None:
        """Fill ``view`` with the store's bytes from ``new_chunk`` on.

        :raises CutOff: the store ends before. :raises DeviceFailed: an I/O error.
        """
        self.read_at(view, new_chunk * self.chunk)

    def read_at(self, view: memoryview, at: int) -> None:
        """Fill ``view`` from the store's byte ``at`` on, which may lie inside a chunk.

        :raises CutOff, DeviceFailed: as :meth:`read_into`.
        """
        if self.file.read_into(view, at) < len(view):
            raise CutOff(self.file, f"no {len(view)} bytes of data at {at}")

    def read_chunks(self, new_chunk: int, count: int) -> memoryview:
        """``count`` data chunks from ``new_chunk`` on, unclipped.

        The memory is the reader's own and is overwritten by the next call.

        :raises CutOff, DeviceFailed: as :meth:`read_into`.
        """
        length = count * self.chunk
        if len(self._buffer) < length:
            self._buffer = aligned_buffer(length)
        view = self._buffer[:length]
        self.read_into(view, new_chunk)
        return view
