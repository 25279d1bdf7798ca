"""What a cycle sends of a store when it is known which blocks were written: those, and no more."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from control.blocks import BLOCK, BlockSet
from control.needed import fitting_chunk, needed_blocks
from control.store.direct import aligned_buffer
from control.store.exceptions import Exceptions
from control.store.reader import StoreReader
from control.wire.deltas import Count, Delta, Group, StoreDelta, Stretch, coalesced, group_ends
from control.wire.errors import SourceChanged
from control.wire.frames import MAX_RUN_BYTES
from dm_tables.units import KIB, Bytes

READ_GAP = 32 * KIB
"""What lies between two blocks is read with them up to this many bytes: that costs less than
another read."""


def layer_delta(store: StoreReader, traced: BlockSet | None) -> Delta:
    """What to send of a frozen layer (figure 8, step 226).

    :param traced: what was written to it, or more; None: not known, so whole chunks.
    :raises StoreCorrupt: the store is damaged.
    """
    if traced is None or store.chunk == BLOCK:
        return StoreDelta(store)
    blocks = needed_blocks(store, traced)
    chunk = fitting_chunk(blocks, store.chunk)
    # Every chunk of the store has a needed block: at its own chunk size that is all of it.
    return StoreDelta(store) if chunk == store.chunk else BlockDelta(store, blocks, chunk)


@dataclass(frozen=True, slots=True)
class _Piece:
    """``length`` bytes that are wanted, ``at`` bytes into what a group has in the store."""

    at: int
    length: int


class BlockDelta:
    """Parts of a frozen store's chunks, in store order, as chunks of a smaller size.

    To a replica it is a delta like any other, of chunks of ``chunk`` bytes. A position is a
    number of the store's exceptions, as in :class:`StoreDelta`, and so are the groups; only what
    is sent is read, and what lies close between. Memory: one group, and the set of what is sent.

    :param blocks: what to send; all of them in chunks that the store has, as
        :func:`control.needed.needed_blocks` gives them.
    :param chunk: a power of two from 4 KiB to the store's chunk size; blocks are widened to it.
    """

    def __init__(self, reader: StoreReader, blocks: BlockSet, chunk: Bytes) -> None:
        self._reader = reader
        self._parts = blocks.chunks(chunk)
        self._per_chunk = reader.chunk // chunk
        self._exceptions = reader.count()
        self._buffer = aligned_buffer(max(MAX_RUN_BYTES, reader.chunk))
        self._chunk = chunk

    @property
    def chunk(self) -> Bytes:
        """The size of what is sent as one chunk."""
        return self._chunk

    @property
    def size(self) -> Bytes:
        """The volume's size."""
        return self._reader.origin_bytes

    def count(self, position: int | None = None) -> Count:
        """How much the first ``position`` exceptions come to; reads metadata only."""
        last = self.size // self._chunk
        clipped = -self.size % self._chunk if last in self._parts else 0
        if position is None or position >= self._exceptions:
            return self._count(len(self._parts), clipped)
        parts, clip = 0, 0
        for found in self._reader.areas():
            if found.first >= position:
                break
            for old in found.old[: position - found.first]:
                first = old * self._per_chunk
                parts += self._parts.range_cardinality(first, first + self._per_chunk)
                if first <= last < first + self._per_chunk:
                    clip = clipped
        return self._count(parts, clip)

    def _count(self, parts: int, clipped: int) -> Count:
        return Count(parts, parts * self._chunk - clipped)

    def stretches(self, position: int = 0) -> Iterator[Stretch]:
        """What is sent of the store's chunks from exception ``position`` on.

        :raises StoreCorrupt: the store is damaged.
        :raises SourceChanged: it holds another number of exceptions than at first.
        """
        return coalesced(self._groups(position))

    def _groups(self, position: int) -> Iterator[Stretch]:
        done = position
        for found in self._reader.areas(position):
            start = 0
            for end in group_ends(found.new, max(MAX_RUN_BYTES // self._reader.chunk, 1)):
                group = self._group(found, start, end)
                if group.chunks:
                    yield from group.stretches(found.first + end)
                start = end
            done = found.first + len(found)
        if done != self._exceptions:
            raise SourceChanged(
                f"{self._reader.file.path} holds {done} exceptions, it held {self._exceptions}",
                "a frozen layer must not change: see what writes to it",
            )

    def _group(self, found: Exceptions, start: int, end: int) -> Group:
        """What is sent of exceptions that follow each other in the store."""
        parts, pieces = array("Q"), list[_Piece]()
        for index in range(start, end):
            first = found.old[index] * self._per_chunk
            wanted = self._wanted(first)
            parts.extend(wanted)
            at = (index - start) * self._reader.chunk
            pieces += [_Piece(at + (n - first) * self._chunk, self._chunk) for n in wanted]
        data = self._read(found.new[start] * self._reader.chunk, list(_joined(pieces, 0)))
        return Group(data, parts, self._chunk, self.size)

    def _wanted(self, first: int) -> list[int]:
        """What is sent of the chunk whose first part is ``first``."""
        end = first + self._per_chunk
        if self._parts.contains_range(first, end):
            return list(range(first, end))
        wanted = []
        for part in self._parts.iter_equal_or_larger(first):
            if part >= end:
                break
            wanted.append(part)
        return wanted

    def _read(self, base: int, pieces: list[_Piece]) -> bytes:
        """The pieces one behind the other; ``base`` is where the group lies in the store."""
        for span in _joined(pieces, READ_GAP):
            self._reader.read_at(self._buffer[span.at : span.at + span.length], base + span.at)
        return b"".join(self._buffer[piece.at : piece.at + piece.length] for piece in pieces)


def _joined(pieces: Iterable[_Piece], gap: int) -> Iterator[_Piece]:
    """Rising pieces, those that are at most ``gap`` bytes apart made one."""
    held: _Piece | None = None
    for piece in pieces:
        if held is not None and piece.at - held.at - held.length <= gap:
            held = _Piece(held.at, piece.at + piece.length - held.at)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held
