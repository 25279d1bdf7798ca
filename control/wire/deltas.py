"""What a cycle sends: runs of chunks read from a frozen store or from a frozen image.

Both sources are deterministic and restartable: they read in *groups*, whose borders do not
depend on where reading began, so starting again at a :attr:`Stretch.resume` yields the same
stretches as going on. Nothing is kept but one group.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from control.blocks import Extent
from control.store.reader import StoreReader
from control.wire.errors import SourceChanged
from control.wire.frames import MAX_RUN_BYTES, MAX_ZERO_RUN_BYTES
from dm_tables.units import Bytes, chunks_covering

Read = Callable[[Bytes, Bytes], bytes | memoryview]
"""Reads ``(address, length)`` of an image; gives exactly ``length`` bytes."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive chunks of the volume, in bytes; ``data`` is None for zeroes.

    ``resume`` is a position behind it from which reading can start again; None where it cannot,
    inside a group.
    """

    address: int
    length: int
    data: bytes | None
    resume: int | None


@dataclass(frozen=True, slots=True)
class Count:
    """How much there is: whole chunks, and their bytes within the volume."""

    chunks: int
    length: int


class Delta(Protocol):
    """A source of runs."""

    @property
    def chunk(self) -> Bytes:
        """The size of its chunks."""

    @property
    def size(self) -> Bytes:
        """The volume's size."""

    def count(self, position: int | None = None) -> Count:
        """How much lies before ``position``; None: everything."""

    def stretches(self, position: int = 0) -> Iterator[Stretch]:
        """What lies behind ``position``, in order."""


class StoreDelta:
    """The chunks of a frozen exception store, in store order (figure 8, step 226).

    A position is a number of exceptions. Groups are exceptions whose data lie one behind the
    other in the store, so that reading is sequential however random the writes were.

    :param exceptions: how many the store holds, where that is known; else it is counted.
    """

    def __init__(self, reader: StoreReader, exceptions: int | None = None) -> None:
        self._reader = reader
        self._exceptions = reader.count() if exceptions is None else exceptions

    @property
    def chunk(self) -> Bytes:
        """The store's chunk size."""
        return self._reader.chunk

    @property
    def size(self) -> Bytes:
        """The volume's size."""
        return self._reader.origin_bytes

    def count(self, position: int | None = None) -> Count:
        """How much the first ``position`` exceptions come to; reads metadata only."""
        chunks = self._exceptions if position is None else position
        clipped = -self.size % self.chunk
        if clipped and not self._holds_last(chunks):
            clipped = 0
        return Count(chunks, chunks * self.chunk - clipped)

    def _holds_last(self, exceptions: int) -> bool:
        last = self.size // self.chunk
        for found in self._reader.areas():
            if found.first >= exceptions:
                return False
            if last in found.old[: exceptions - found.first]:
                return True
        return False

    def stretches(self, position: int = 0) -> Iterator[Stretch]:
        """The store's chunks from exception ``position`` on.

        :raises StoreCorrupt: the store is damaged.
        :raises SourceChanged: it holds another number of exceptions than at first.
        """
        return coalesced(self._groups(position))

    def _groups(self, position: int) -> Iterator[Stretch]:
        done = position
        for found in self._reader.areas(position):
            start = 0
            for end in group_ends(found.new, MAX_RUN_BYTES // self.chunk):
                data = bytes(self._reader.read_chunks(found.new[start], end - start))
                group = Group(data, found.old[start:end], self.chunk, self.size)
                yield from group.stretches(found.first + end)
                start = end
            done = found.first + len(found)
        if done != self._exceptions:
            raise SourceChanged(
                f"{self._reader.file.path} holds {done} exceptions, it held {self._exceptions}",
                "a frozen layer must not change: see what writes to it",
            )


class ImageDelta:
    """Extents of a frozen image: a whole copy (figure 8, step 212) or a set of chunks.

    A position is a byte address. Groups end at whole MiB of the volume.

    :param extents: in rising order; widened to whole chunks, clipped to ``size``.
    :raises ValueError: the extents are not in rising order.
    """

    def __init__(self, read: Read, extents: Iterable[Extent], chunk: Bytes, size: Bytes) -> None:
        self._read = read
        self._starts, self._ends = _aligned(extents, chunk, size)
        self.chunk = chunk
        self.size = size

    def count(self, position: int | None = None) -> Count:
        """How much of the extents lies before the byte ``position``."""
        stop = self.size if position is None else position
        chunks = length = 0
        for start, end in zip(self._starts, self._ends, strict=True):
            part = min(end, stop) - start
            if part <= 0:
                break
            chunks += chunks_covering(Bytes(part), self.chunk)
            length += part
        return Count(chunks, length)

    def stretches(self, position: int = 0) -> Iterator[Stretch]:
        """The extents' bytes from address ``position`` on.

        :raises SourceChanged: the image gave fewer bytes than it has.
        """
        return coalesced(self._groups(position))

    def _groups(self, position: int) -> Iterator[Stretch]:
        for start, end in zip(self._starts, self._ends, strict=True):
            at = max(start, position)
            while at < end:
                stop = min(end, at - at % MAX_RUN_BYTES + MAX_RUN_BYTES)
                data = bytes(self._read(Bytes(at), Bytes(stop - at)))
                if len(data) != stop - at:
                    raise SourceChanged(
                        f"the image gave {len(data)} bytes at {at} instead of {stop - at}"
                    )
                chunks = range(at // self.chunk, -(-stop // self.chunk))
                yield from Group(data, chunks, self.chunk, self.size).stretches(stop)
                at = stop


def coalesced(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """The same stretches, with zeroes that follow each other made one, up to 1 GiB."""
    zeroes: Stretch | None = None
    for stretch in stretches:
        if zeroes is not None:
            length = zeroes.length + stretch.length
            follows = stretch.address == zeroes.address + zeroes.length
            if stretch.data is None and follows and length <= MAX_ZERO_RUN_BYTES:
                zeroes = replace(zeroes, length=length, resume=stretch.resume)
                continue
            yield zeroes
        zeroes = stretch if stretch.data is None else None
        if zeroes is None:
            yield stretch
    if zeroes is not None:
        yield zeroes


@dataclass(frozen=True, slots=True)
class Group:
    """Chunks read at once: ``data`` holds them one behind the other.

    ``chunks`` are their numbers in the volume; bytes past ``size`` are left out.
    """

    data: bytes
    chunks: Sequence[int]
    chunk: Bytes
    size: Bytes

    def stretches(self, resume: int) -> Iterator[Stretch]:
        """Cut where the addresses jump, and between zeroes and data.

        :param resume: the position behind the group, which goes to its last stretch.
        """
        blank = bytes(self.chunk)
        start = 0
        zero = self._is_zero(0, blank)
        for index in range(1, len(self.chunks)):
            also = self._is_zero(index, blank)
            if also == zero and self.chunks[index] == self.chunks[index - 1] + 1:
                continue
            yield self._stretch(start, index, zero, None)
            start, zero = index, also
        yield self._stretch(start, len(self.chunks), zero, resume)

    def _is_zero(self, index: int, blank: bytes) -> bool:
        inside = self.size - self.chunks[index] * self.chunk
        # startswith compares in place, without a copy of the chunk.
        wanted = blank if inside >= self.chunk else blank[:inside]
        return self.data.startswith(wanted, index * self.chunk)

    def _stretch(self, start: int, end: int, zero: bool, resume: int | None) -> Stretch:
        address = self.chunks[start] * self.chunk
        length = min((end - start) * self.chunk, self.size - address)
        at = start * self.chunk
        return Stretch(address, length, None if zero else self.data[at : at + length], resume)


def group_ends(new: Sequence[int], limit: int) -> Iterator[int]:
    """Where groups of at most ``limit`` chunks end that follow each other in the store."""
    start = 0
    for index in range(1, len(new)):
        if new[index] != new[index - 1] + 1 or index - start == limit:
            yield index
            start = index
    if new:
        yield len(new)


def _aligned(extents: Iterable[Extent], chunk: Bytes, size: Bytes) -> tuple[array[int], array[int]]:
    """Starts and ends, on whole chunks, apart from each other, within the volume."""
    starts, ends = array("Q"), array("Q")
    for extent in extents:
        start = extent.address // chunk * chunk
        end = min(-(-(extent.address + extent.length) // chunk) * chunk, size)
        if starts and start < starts[-1]:
            raise ValueError(f"the extent at {extent.address} is out of order")
        if end <= start:
            continue
        if ends and start <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return starts, ends
