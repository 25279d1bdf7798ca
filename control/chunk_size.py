"""Which chunk size the next layer gets, by how the ones before were written.

dm-snapshot's work beside a write itself: the first write into a chunk, unless it covers the whole
chunk, reads it from below and writes all of it; the entry in the exception store is committed
with a flush and a write of one whole chunk of metadata, alone or together with others that wait;
and a bio is split where chunks meet. So small chunks suit small random writes, which may even
need no copy, and large ones suit streams. A layer's chunk size is free to differ from that of
the layer below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control.pattern import CHUNKS, Pattern
from control.units_text import human_size
from dm_tables.units import KIB, MIB, SECTOR, Bytes

DEFAULT_CHUNK = Bytes(64 * KIB)
CYCLES = 4
"""So many of the newest traced cycles are evidence."""

ENOUGH_WRITES = 64
WORTH_CHANGING = 0.8
"""Another size is taken where it costs less than this share of what the present one does."""

OPERATION = 32 * KIB
"""What a disk could move in the time that a request to it costs, a flush among them."""

SPLIT = 8 * KIB
"""The same for each further bio that a write is split into, in every layer."""

EXCEPTION = 8 * KIB
"""The same for each chunk that gets an entry: to make it, to copy it, to merge it later."""

COMMITS_A_FIRST_WRITE = 0.5
"""Between 68 of 192, measured with 16 writers at once, and 1 of 1 with one."""

MEMORY_AN_EXCEPTION = 32
"""Bytes of kernel memory, where no chunk's neighbour is written."""

MEMORY_AT_MOST = 64 * MIB


@dataclass(frozen=True, slots=True)
class Choice:
    """A chunk size and why it was taken, for people."""

    chunk: Bytes
    why: str

    def __str__(self) -> str:
        return f"{named(self.chunk)}: {self.why}"


def named(chunk: Bytes) -> str:
    """``64 KiB``."""
    return f"{chunk // MIB} MiB" if chunk >= MIB else f"{chunk // KIB} KiB"


def choose(fixed: Bytes, now: Bytes, evidence: Sequence[Pattern]) -> Choice:
    """The next layer's chunk size.

    :param fixed: what was set for the volume; 0: choose.
    :param now: the newest layer's; 0 if there is none.
    :param evidence: patterns of the newest traced cycles.
    """
    if fixed:
        return Choice(fixed, "set for the volume")
    now = now or DEFAULT_CHUNK
    seen = sum(evidence, Pattern())
    if seen.writes < ENOUGH_WRITES or not seen.blocks:
        kept = "the default" if now == DEFAULT_CHUNK else "as before"
        return Choice(now, f"{kept}, for {seen.writes} traced writes say too little")
    costs = {chunk: overhead(seen, chunk) for chunk in _possible(seen, len(evidence))}
    best = min(costs, key=lambda chunk: (costs[chunk], chunk))
    told = f"{seen.writes} writes, most of {_usual(seen)}, {_density(seen)}"
    if now not in costs:
        return Choice(best, f"{told}; {named(now)} would take too much kernel memory")
    if best == now:
        return Choice(now, f"{told}; it costs least, {_second(costs, now)}")
    share = costs[best] / costs[now]
    if share >= WORTH_CHANGING:
        return Choice(now, f"{told}; kept, as {named(best)} costs only {1 - share:.0%} less")
    return Choice(best, f"{told}; costs {1 - share:.0%} less beside them than {named(now)}")


def _possible(seen: Pattern, cycles: int) -> list[Bytes]:
    """Sizes whose table of exceptions the kernel has room for; the largest one always is."""
    most = MEMORY_AT_MOST // MEMORY_AN_EXCEPTION
    return [
        chunk
        for chunk in CHUNKS
        if chunk == CHUNKS[-1] or seen.chunks(chunk) / max(1, cycles) <= most
    ]


def overhead(seen: Pattern, chunk: Bytes) -> float:
    """What such chunks cost beside the writes, in bytes that a disk could move in the time."""
    touched = seen.chunks(chunk)
    copied = touched - min(touched, _covered(seen, chunk))
    commits = COMMITS_A_FIRST_WRITE * min(touched, seen.writes)
    return (
        copied * 2 * (chunk + OPERATION)
        + commits * (chunk + OPERATION)
        + _splits(seen, chunk) * SPLIT
        + touched * EXCEPTION
    )


def _covered(seen: Pattern, chunk: Bytes) -> float:
    """Chunks whose first write covered them, which need no copy; an estimate."""
    aligned = _aligned_share(seen, chunk)
    whole = sum(
        count * (size // chunk - 1 + aligned)
        for size, count in _buckets(seen.sizes)
        if size >= chunk
    )
    # What is written again was counted again.
    distinct = min(1.0, seen.blocks * CHUNKS[0] / seen.bytes) if seen.bytes else 0.0
    return whole * distinct


def _aligned_share(seen: Pattern, chunk: Bytes) -> float:
    """Of the writes as large as a chunk, those that begin at one's border."""
    large = sum(count for size, count in _buckets(seen.sizes) if size >= chunk)
    aligned = sum(count for size, count in _buckets(seen.alignments) if size >= chunk)
    return min(1.0, aligned / large) if large else 0.0


def _splits(seen: Pattern, chunk: Bytes) -> float:
    """Bios beyond the first that the writes are split into."""
    return sum(count * (size // chunk - 1) for size, count in _buckets(seen.sizes) if size > chunk)


def _buckets(counts: Sequence[int]) -> list[tuple[int, int]]:
    """(smallest size in bytes, count) of each bucket."""
    return [(SECTOR << number, count) for number, count in enumerate(counts)]


def _usual(seen: Pattern) -> str:
    size, _ = max(_buckets(seen.sizes), key=lambda bucket: bucket[1])
    return human_size(size)


def _density(seen: Pattern) -> str:
    """How full of writes the default chunks are."""
    per_chunk = DEFAULT_CHUNK // CHUNKS[0]
    density = seen.blocks / max(1, seen.chunks(DEFAULT_CHUNK))
    return f"which changed {density:.1f} of {per_chunk} blocks in each {named(DEFAULT_CHUNK)}"


def _second(costs: Mapping[Bytes, float], best: Bytes) -> str:
    others = [chunk for chunk in costs if chunk != best]
    if not others:
        return "and no other fits"
    second = min(others, key=lambda chunk: costs[chunk])
    return f"before {named(second)}"
