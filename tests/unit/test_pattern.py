"""What is kept of where a layer was written."""

from __future__ import annotations

from control.blocks import BLOCK, BlockSet
from control.pattern import CHUNKS, REGIONS, borders, region_counts, touched_chunks
from dm_tables.units import GIB, MIB, Bytes


def test_a_region_counts_what_lies_in_it_to_the_block() -> None:
    size = Bytes(GIB)
    starts = borders(size)
    blocks = BlockSet()
    blocks.add_blocks([0, starts[1] - 1, starts[1], starts[7] + 3, starts[-1] - 1])
    counts = region_counts(blocks, size)
    assert len(counts) == REGIONS
    assert {i: n for i, n in enumerate(counts) if n} == {0: 2, 1: 1, 7: 1, REGIONS - 1: 1}


def test_a_volume_of_few_blocks_has_a_region_for_each() -> None:
    blocks = BlockSet()
    blocks.add(2 * BLOCK, 1)
    assert region_counts(blocks, Bytes(3 * BLOCK + 512)) == [0, 0, 1, 0]


def test_large_sets_are_sampled() -> None:
    blocks = BlockSet()
    blocks.add(0, 2 * GIB)
    exact = tuple(2 * GIB // chunk for chunk in CHUNKS)
    assert touched_chunks(blocks) == exact
    sampled = touched_chunks(blocks, at_most=1 << 15)
    assert all(abs(a - b) <= 0.02 * b for a, b in zip(sampled, exact, strict=True))


def test_nothing_written_touches_nothing() -> None:
    assert touched_chunks(BlockSet()) == (0,) * len(CHUNKS)
    assert sum(region_counts(BlockSet(), Bytes(64 * MIB))) == 0
