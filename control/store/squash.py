"""Squash two adjacent layers of a stack into one that shows the same, in user space.

What the newer layer has wins; the rest is the older one's. Neither is touched, the result is a
store of its own: a crash before it is finished costs only the work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from control.limiter import RateLimiter
from control.store.direct import aligned_buffer, is_zero
from control.store.reader import StoreReader
from control.store.writer import StoreWriter
from dm_tables.errors import Precondition
from dm_tables.units import MIB, chunks_covering

BATCH = 4 * MIB
"""How much is read at once, in the order of the store it comes from."""


class UnlikeStores(Precondition):
    """Stores that belong to volumes of different sizes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` bytes for the volume's ``address``, in ``store`` from its byte ``at`` on.

    All three are whole chunks of the result.
    """

    store: StoreReader
    address: int
    length: int
    at: int


class Overlay:
    """``upper`` over ``lower``, as one store would hold them.

    :param lower: the older layer; frozen, as the other is.
    :param upper: the layer directly above it.
    :raises UnlikeStores: the volume has grown between the two.
    :raises StoreCorrupt, DeviceFailed: ``upper`` cannot be read.

    ``chunk`` is the smaller chunk size of the two, so every chunk of either is whole chunks of
    it. Memory: one batch, and the set of the chunks that ``upper`` holds.
    """

    def __init__(self, lower: StoreReader, upper: StoreReader) -> None:
        if lower.origin_bytes != upper.origin_bytes:
            raise UnlikeStores(
                f"{os.fspath(lower.file)} belongs to a volume of {lower.origin_bytes} bytes, "
                f"{os.fspath(upper.file)} to one of {upper.origin_bytes}"
            )
        self.lower = lower
        self.upper = upper
        self.size = upper.origin_bytes
        self.chunk = min(lower.chunk, upper.chunk)
        self._end = chunks_covering(self.size, self.chunk) * self.chunk
        self._covered = upper.changed()

    def count(self) -> int:
        """How many exceptions the result has. :raises StoreCorrupt, DeviceFailed: as it says."""
        return sum(piece.length for piece in self.pieces()) // self.chunk

    def pieces(self) -> Iterator[Piece]:
        """What the result holds: all of ``upper``, then what it leaves of ``lower``."""
        for start, end, at in self._stretches(self.upper):
            yield Piece(self.upper, start, end - start, at)
        for start, end, at in self._stretches(self.lower):
            for begin, stop in self._uncovered(start, end):
                yield Piece(self.lower, begin, stop - begin, at + begin - start)

    def _stretches(self, store: StoreReader) -> Iterator[tuple[int, int, int]]:
        """A store's runs as (start, end, byte of the store), cut off at the volume's end."""
        for run in store.runs():
            end = min((run.old + run.count) * store.chunk, self._end)
            yield run.old * store.chunk, end, run.new * store.chunk

    def _uncovered(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of a stretch that ``upper`` does not hold."""
        size = self.upper.chunk
        at = start
        for number in self._covered.iter_equal_or_larger(start // size):
            begin = number * size
            if begin >= end:
                break
            if begin > at:
                yield at, begin
            at = begin + size
        if at < end:
            yield at, end

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        limiter: RateLimiter,
        progress: Callable[[int], None] = lambda exceptions: None,
    ) -> int:
        """Make the store at ``path``, whole and durable. :return: its exceptions.

        Zeroes become holes, where ``path`` can have them.

        :param limiter: the rate, in bytes written, and the way to stop.
        :param progress: told now and then how many exceptions are written.
        :raises Interrupted: the limiter's stop.
        :raises StoreCorrupt, NoRoom, DeviceFailed: reading or writing failed.
        """
        buffer = aligned_buffer(BATCH)
        with StoreWriter(path, self.chunk, self.size) as writer:
            writer.create()
            for batch in self._batches():
                length = _read(batch, buffer)
                limiter.take(length)
                at = 0
                for piece in batch:
                    self._append(writer, piece, buffer[at : at + piece.length])
                    at += piece.length
                progress(writer.count)
            return writer.finish()

    def _batches(self) -> Iterator[list[Piece]]:
        batch: list[Piece] = []
        held = 0
        for whole in self.pieces():
            for piece in _cut(whole):
                if held + piece.length > BATCH:
                    yield batch
                    batch, held = [], 0
                batch.append(piece)
                held += piece.length
        if batch:
            yield batch

    def _append(self, writer: StoreWriter, piece: Piece, data: memoryview) -> None:
        """Append a piece, in runs of chunks that all are zeroes, or all are not."""
        chunk = int(self.chunk)
        first, begin = piece.address // chunk, 0
        blank = is_zero(data[:chunk])
        for at in range(chunk, piece.length + chunk, chunk):
            after = at < piece.length and is_zero(data[at : at + chunk])
            if at < piece.length and after == blank:
                continue
            run = None if blank else data[begin:at]
            writer.append(first + begin // chunk, (at - begin) // chunk, run)
            begin, blank = at, after


def _cut(piece: Piece) -> Iterator[Piece]:
    for done in range(0, piece.length, BATCH):
        length = min(BATCH, piece.length - done)
        yield Piece(piece.store, piece.address + done, length, piece.at + done)


def _read(batch: list[Piece], buffer: memoryview) -> int:
    """Read a batch end to end, neighbours in one go. :return: its bytes."""
    end = begin = 0
    for i, piece in enumerate(batch):
        end += piece.length
        after = batch[i + 1] if i + 1 < len(batch) else None
        if after is None or after.store is not piece.store or after.at != piece.at + piece.length:
            start = piece.at + piece.length - (end - begin)
            piece.store.read_at(buffer[begin:end], start)
            begin = end
    return end
