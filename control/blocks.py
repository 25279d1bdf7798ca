"""Sets of blocks: what a replica lacks, remembered in memory and journal by what changed.

A set holds 4 KiB block numbers as a compressed bitmap: its size follows the change, not the
volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyroaring import BitMap64

from dm_tables.units import Bytes, chunks_covering

BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of the volume, in bytes."""

    address: Bytes
    length: Bytes


class BlockSet:
    """A set of a volume's 4 KiB blocks."""

    def __init__(self, serialised: bytes = b"") -> None:
        """:param serialised: what :meth:`serialise` gave; empty for the empty set."""
        self._bits = BitMap64.deserialize(serialised) if serialised else BitMap64()

    def add(self, address: int, length: int) -> None:
        """Every block that ``length`` bytes at ``address`` touch."""
        if length > 0:
            self._bits.add_range(address // BLOCK, -(-(address + length) // BLOCK))

    def add_chunks(self, chunks: Iterable[int], chunk: Bytes) -> None:
        """Every block of the chunks with these numbers; ``chunk`` is their size."""
        if chunk == BLOCK:
            self._bits.update(chunks)
            return
        for number in chunks:
            self.add(number * chunk, chunk)

    def add_blocks(self, numbers: Iterable[int]) -> None:
        """The blocks with these numbers."""
        self._bits.update(numbers)

    def remove_chunks(self, chunks: Iterable[int], chunk: Bytes) -> None:
        """No block of the chunks with these numbers."""
        per_chunk = chunk // BLOCK
        for number in chunks:
            self._bits.remove_range(number * per_chunk, (number + 1) * per_chunk)

    def chunks(self, chunk: Bytes) -> BitMap64:
        """The numbers of the chunks that its blocks lie in; ``chunk`` is their size."""
        per_chunk = chunk // BLOCK
        return self._bits if per_chunk == 1 else BitMap64(n // per_chunk for n in self._bits)

    def cut(self, size: Bytes) -> None:
        """No block that begins at byte ``size`` or behind."""
        if self._bits:
            first = chunks_covering(size, Bytes(BLOCK))
            self._bits.remove_range(first, max(first, self._bits.max() + 1))

    def count_below(self, block: int) -> int:
        """How many of its blocks have smaller numbers than ``block``."""
        return int(self._bits.rank(block - 1)) if block > 0 else 0

    @property
    def end(self) -> int:
        """The number behind its last block; 0 for the empty set."""
        return int(self._bits.max()) + 1 if self._bits else 0

    def between(self, first: int, end: int) -> Iterator[int]:
        """Its blocks from ``first`` on, below ``end``."""
        for block in self._bits.iter_equal_or_larger(first):
            if block >= end:
                return
            yield block

    def __iter__(self) -> Iterator[int]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)

    def update(self, other: BlockSet) -> None:
        """Every block of ``other`` too."""
        self._bits |= other._bits

    def __bool__(self) -> bool:
        return bool(self._bits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockSet) and self._bits == other._bits

    def __hash__(self) -> int:
        raise TypeError("a block set changes")

    @property
    def length(self) -> Bytes:
        """How many bytes its blocks hold."""
        return Bytes(len(self._bits) * BLOCK)

    def serialise(self) -> bytes:
        """The set as bytes, for the journal; the empty set is empty."""
        return bytes(self._bits.serialize()) if self._bits else b""

    def extents(self, align: Bytes, size: Bytes) -> Iterator[Extent]:
        """Its blocks as stretches in rising order, widened to ``align`` and cut at ``size``.

        Neighbours that touch are one stretch.
        """
        start = end = -1
        for block in self._bits:
            low = block * BLOCK // align * align
            if low > end:
                if end > start and start < size:
                    yield Extent(Bytes(start), Bytes(min(end, size) - start))
                start = low
            end = max(end, -(-((block + 1) * BLOCK) // align) * align)
        if end > start and start < size:
            yield Extent(Bytes(start), Bytes(min(end, size) - start))
