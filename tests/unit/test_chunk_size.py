"""Which chunk size the next layer gets, and what is said about it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bpf.layout import BUCKETS, Counters
from control.blocks import BLOCK, BlockSet
from control.chunk_size import DEFAULT_CHUNK, Choice, choose, overhead
from control.pattern import CHUNKS, Pattern, pattern_of
from dm_tables.units import KIB, MIB, Bytes

AUTO = Bytes(0)


def written(writes: list[tuple[int, int]]) -> Pattern:
    """The pattern of (address, length) writes, counted as the trace counts them."""
    blocks = BlockSet()
    sizes, alignments = [0] * BUCKETS, [0] * BUCKETS
    for address, length in writes:
        blocks.add(address, length)
        sizes[min((length // 512).bit_length() - 1, BUCKETS - 1)] += 1
        sector = address // 512
        lowest = (sector & -sector).bit_length() - 1 if sector else BUCKETS - 1
        alignments[min(lowest, BUCKETS - 1)] += 1
    size = sum(length for _, length in writes)
    counters = Counters(len(writes), size, sizes=tuple(sizes), alignments=tuple(alignments))
    return pattern_of(blocks, counters)


def scattered(length: int, count: int = 2000, volume: int = 4 << 30) -> Pattern:
    """Random writes, aligned to their length."""
    draw = random.Random(7)
    return written([(draw.randrange(volume // length) * length, length) for _ in range(count)])


def stream(length: int, total: int = 256 * MIB) -> Pattern:
    """One pass of writes that follow each other."""
    return written([(address, length) for address in range(0, total, length)])


@pytest.mark.parametrize("length", [4 * KIB, 8 * KIB, 16 * KIB])
def test_small_random_writes_get_chunks_of_their_size(length: int) -> None:
    choice = choose(AUTO, DEFAULT_CHUNK, [scattered(length)])
    assert choice.chunk == length
    assert "less beside them than 64 KiB" in choice.why


def test_streams_get_larger_chunks_than_the_default() -> None:
    assert choose(AUTO, DEFAULT_CHUNK, [stream(MIB)]).chunk > DEFAULT_CHUNK
    assert choose(AUTO, Bytes(4 * KIB), [stream(MIB)]).chunk > DEFAULT_CHUNK


def test_a_whole_chunk_written_at_once_needs_no_copy_and_a_part_of_it_does() -> None:
    aligned, smaller = scattered(64 * KIB), scattered(32 * KIB)
    # The same number of writes, half of the bytes: more work, because each chunk is copied.
    assert overhead(smaller, Bytes(64 * KIB)) > 2 * overhead(aligned, Bytes(64 * KIB))


def test_unaligned_writes_cover_fewer_chunks() -> None:
    straight = written([(i * 2 * MIB, 128 * KIB) for i in range(500)])
    crooked = written([(i * 2 * MIB + 4 * KIB, 128 * KIB) for i in range(500)])
    chunk = Bytes(64 * KIB)
    assert overhead(crooked, chunk) > overhead(straight, chunk)


@pytest.mark.parametrize(
    "pattern", [lambda: scattered(4 * KIB), lambda: stream(MIB), lambda: scattered(64 * KIB)]
)
@pytest.mark.parametrize("begin", CHUNKS)
def test_a_choice_is_kept_under_the_same_writes(
    pattern: Callable[[], Pattern], begin: Bytes
) -> None:
    seen = pattern()
    first = choose(AUTO, begin, [seen])
    assert choose(AUTO, first.chunk, [seen]).chunk == first.chunk


def test_a_little_better_is_not_worth_a_change() -> None:
    seen = stream(MIB)
    costs = sorted(CHUNKS, key=lambda chunk: overhead(seen, chunk))
    best, second = costs[0], costs[1]
    assert overhead(seen, best) > 0.8 * overhead(seen, second), "negative control: no close call"
    choice = choose(AUTO, second, [seen])
    assert choice.chunk == second
    assert "kept" in choice.why


def test_what_is_set_is_not_chosen() -> None:
    assert choose(Bytes(64 * KIB), Bytes(4 * KIB), [scattered(4 * KIB)]) == Choice(
        Bytes(64 * KIB), "set for the volume"
    )


def test_too_little_is_no_evidence() -> None:
    assert choose(AUTO, AUTO, []).chunk == DEFAULT_CHUNK
    few = choose(AUTO, Bytes(4 * KIB), [stream(MIB, total=8 * MIB)])
    assert few.chunk == 4 * KIB
    assert str(few) == "4 KiB: as before, for 8 traced writes say too little"


def test_the_reason_names_size_writes_and_density() -> None:
    text = str(choose(AUTO, DEFAULT_CHUNK, [scattered(4 * KIB)]))
    assert text.startswith("4 KiB: 2000 writes, most of 4.0 KiB, which changed 1.0 of 16")


def test_a_size_whose_exceptions_fill_the_kernels_memory_is_not_taken() -> None:
    touched = tuple(max(1, (64 << 20) >> shift) for shift in range(len(CHUNKS)))
    sizes = tuple(64 << 20 if bucket == 3 else 0 for bucket in range(BUCKETS))
    huge = Pattern(64 << 20, touched, 64 << 20, (64 << 20) * BLOCK, sizes, sizes)
    choice = choose(AUTO, Bytes(4 * KIB), [huge])
    assert huge.chunks(choice.chunk) * 32 <= 64 * MIB
    assert "kernel memory" in choice.why
    assert choose(AUTO, Bytes(4 * KIB), [scattered(4 * KIB)]).chunk == 4 * KIB
