"""Counts of chunks and regions against counting them one by one; forecasts within their bounds."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
from hypothesis import given

from control.blocks import BLOCK, BlockSet
from control.chunk_size import choose, overhead
from control.forecast import CycleNow, forecast_cycle
from control.pattern import CHUNKS, Pattern, borders, region_counts, touched_chunks
from dm_tables.units import Bytes

BLOCKS = st.sets(st.integers(0, 1 << 14), max_size=200)
COUNTS = st.lists(st.integers(0, 1 << 20), min_size=16, max_size=16).map(tuple)


def of(numbers: set[int]) -> BlockSet:
    made = BlockSet()
    made.add_blocks(numbers)
    return made


@given(BLOCKS)
def test_touched_chunks_are_those_that_hold_a_block(numbers: set[int]) -> None:
    counted = tuple(len({n * BLOCK // chunk for n in numbers}) for chunk in CHUNKS)
    assert touched_chunks(of(numbers)) == counted


@given(BLOCKS, st.integers(1, 600), st.integers(1 << 14, 1 << 15))
def test_each_block_is_in_one_region(numbers: set[int], regions: int, last: int) -> None:
    size = Bytes((last + 1) * BLOCK)
    starts = borders(size, regions)
    counts = region_counts(of(numbers), size, regions)
    assert starts == sorted(set(starts))
    assert counts == [
        sum(first <= n < end for n in numbers) for first, end in itertools.pairwise(starts)
    ]


@given(BLOCKS, st.integers(0, 1 << 14), st.integers(0, 1 << 10))
def test_counting_below_and_between(numbers: set[int], first: int, span: int) -> None:
    made = of(numbers)
    assert made.count_below(first) == sum(n < first for n in numbers)
    assert list(made.between(first, first + span)) == sorted(
        n for n in numbers if first <= n < first + span
    )
    assert made.end == max(numbers, default=-1) + 1


@given(BLOCKS, COUNTS, COUNTS, st.sampled_from(CHUNKS))
def test_a_choice_never_costs_more_than_what_there_is(
    numbers: set[int], sizes: tuple[int, ...], alignments: tuple[int, ...], now: Bytes
) -> None:
    written = sum(count << 9 + bucket for bucket, count in enumerate(sizes))
    seen = Pattern(
        len(numbers), touched_chunks(of(numbers)), sum(sizes), written, sizes, alignments
    )
    choice = choose(Bytes(0), now, [seen])
    assert choice.chunk in CHUNKS
    assert 0 <= overhead(seen, choice.chunk) <= overhead(seen, now)
    assert choose(Bytes(0), choice.chunk, [seen]).chunk == choice.chunk


@given(
    st.integers(0, 1 << 40),
    st.floats(0, 1e9),
    st.integers(0, 1 << 40),
    st.floats(0, 1e9),
    st.none() | st.floats(0, 1e5),
    st.none() | st.floats(0, 1e5),
)
def test_a_forecast_stays_within_the_volume_and_the_future(
    changed: int,
    growth: float,
    copying: int,
    throughput: float,
    due: float | None,
    age: float | None,
) -> None:
    volume = Bytes(1 << 40)
    found = forecast_cycle(CycleNow(changed, growth, volume, copying, throughput, due, age))
    assert changed <= found.size <= volume
    for time in (found.freeze_in, found.commit_in, found.lag):
        assert time is None or time >= 0
    if due is not None and found.freeze_in is not None:
        assert found.freeze_in >= due
    if found.lag is not None and age is not None:
        assert found.lag >= age
