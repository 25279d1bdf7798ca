"""How a layer was written: where, in what sizes, and what each chunk size would have made of it.

Pure values from the trace of one layer. What is kept of a cycle is bounded, whatever was written.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from bpf.layout import BUCKETS, Counters
from control.blocks import BLOCK, BlockSet
from dm_tables.units import Bytes

REGIONS = 512
"""Into so many equal parts the volume's addresses are divided."""

CHUNKS = tuple(Bytes(BLOCK << shift) for shift in range(9))
"""The chunk sizes there are, 4 KiB to 1 MiB."""

COUNTED_AT_MOST = 1 << 19
"""Blocks looked at one by one; of larger sets it is a sample of so many."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The writes of one cycle, or of several added up.

    :ivar blocks: distinct 4 KiB blocks of each cycle. :ivar touched: for each of :data:`CHUNKS`,
        the distinct chunks of that size that were written. :ivar writes: bios, and ``bytes``
        theirs. :ivar sizes, alignments: as in :class:`bpf.layout.Counters`.
    """

    blocks: int = 0
    touched: tuple[int, ...] = (0,) * len(CHUNKS)
    writes: int = 0
    bytes: int = 0
    sizes: tuple[int, ...] = (0,) * BUCKETS
    alignments: tuple[int, ...] = (0,) * BUCKETS

    def __add__(self, other: Pattern) -> Pattern:
        return Pattern(
            self.blocks + other.blocks,
            _sums(self.touched, other.touched),
            self.writes + other.writes,
            self.bytes + other.bytes,
            _sums(self.sizes, other.sizes),
            _sums(self.alignments, other.alignments),
        )

    def chunks(self, chunk: Bytes) -> int:
        """Distinct chunks of a size that were written."""
        return self.touched[CHUNKS.index(chunk)]


def _sums(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def pattern_of(blocks: BlockSet, counters: Counters) -> Pattern:
    """The pattern of one layer."""
    return Pattern(
        len(blocks),
        touched_chunks(blocks),
        counters.writes,
        counters.bytes,
        counters.sizes,
        counters.alignments,
    )


def borders(size: Bytes, regions: int = REGIONS) -> list[int]:
    """The first block of each region, and behind the last one the volume's end, in blocks."""
    blocks = -(-size // BLOCK)
    count = max(1, min(regions, blocks))
    return [index * blocks // count for index in range(count + 1)]


def region_counts(blocks: BlockSet, size: Bytes, regions: int = REGIONS) -> list[int]:
    """How many blocks of each region are in the set. A small volume has fewer regions."""
    below = [blocks.count_below(border) for border in borders(size, regions)]
    return [after - before for before, after in itertools.pairwise(below)]


def touched_chunks(blocks: BlockSet, at_most: int = COUNTED_AT_MOST) -> tuple[int, ...]:
    """For each of :data:`CHUNKS`: how many chunks have at least one of the blocks.

    Exact for up to ``at_most`` blocks; of more, parts spread evenly over them are counted.
    """
    counts = [0] * len(CHUNKS)
    last = [-1] * len(CHUNKS)
    seen = 0
    for block in _sample(blocks, at_most):
        seen += 1
        for shift in range(len(CHUNKS)):
            number = block >> shift
            # In the same small chunk as the one before, it is in the same larger ones too.
            if number == last[shift]:
                break
            last[shift] = number
            counts[shift] += 1
    if not seen:
        return tuple(counts)
    return tuple(round(count * len(blocks) / seen) for count in counts)


def _sample(blocks: BlockSet, at_most: int) -> itertools.chain[int]:
    """All of them, or stretches of 64 MiB of the volume, evenly apart."""
    if len(blocks) <= at_most:
        return itertools.chain(blocks)
    stretch = (64 << 20) // BLOCK
    every = -(-len(blocks) // at_most)
    starts = range(0, blocks.end, stretch * every)
    return itertools.chain.from_iterable(blocks.between(start, start + stretch) for start in starts)
