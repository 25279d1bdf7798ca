"""Sets of blocks against a plain set of bytes."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from control.blocks import BLOCK, BlockSet
from dm_tables.units import Bytes

SIZE = 64 * BLOCK - 512
stretches = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, 5 * BLOCK)).map(
        lambda s: (s[0], min(s[1], SIZE - s[0]))
    ),
    max_size=12,
)


@given(stretches, st.sampled_from([BLOCK, 4 * BLOCK, 16 * BLOCK]))
def test_extents_cover_what_was_added_and_nothing_beyond_its_chunks(
    added: list[tuple[int, int]], align: int
) -> None:
    blocks = BlockSet()
    wanted: set[int] = set()
    for address, length in added:
        blocks.add(address, length)
        wanted |= set(range(address // align, (address + length - 1) // align + 1))
    extents = list(blocks.extents(Bytes(align), Bytes(SIZE)))
    covered: set[int] = set()
    end = -1
    for extent in extents:
        assert extent.length > 0
        assert extent.address > end, "stretches that touch are one"
        end = extent.address + extent.length
        assert end <= SIZE
        assert extent.address % align == 0
        assert end % align == 0 or end == SIZE
        covered |= set(range(extent.address // align, (end - 1) // align + 1))
    assert covered == wanted


@given(stretches, stretches)
def test_a_union_survives_the_journal(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    left, right, both = BlockSet(), BlockSet(), BlockSet()
    for address, length in one:
        left.add(address, length)
        both.add(address, length)
    for address, length in other:
        right.add(address, length)
        both.add(address, length)
    left.update(right)
    again = BlockSet(left.serialise())
    assert again == both
    assert again.length == both.length
    assert bool(again) == bool(one or other)


@given(st.sets(st.integers(0, 100)), st.sampled_from([BLOCK, 8 * BLOCK]))
def test_chunks_are_their_blocks(chunks: set[int], chunk: int) -> None:
    by_chunk, by_bytes = BlockSet(), BlockSet()
    by_chunk.add_chunks(chunks, Bytes(chunk))
    for number in chunks:
        by_bytes.add(number * chunk, chunk)
    assert by_chunk == by_bytes
