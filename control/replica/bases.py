"""Where a replica volume's base lies, and how it grows.

A base is a list of spans like a source's contents: content that was there before, if any, and
behind it an object of the pool that holds the rest. The usual base is such an object alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from control.pool.errors import PoolObjectMissing
from control.pool.pool import Pool
from control.replica.records import Based, VolumeRecord
from control.replica.room import growth_left
from control.replica.store import ReplicaStore
from control.spans import Span, size_of
from control.store.direct import DirectFile
from dm_tables.units import MIB, Bytes

ZERO_STEP = 256 * MIB
"""How much of a device is zeroed at once: some seconds, where it must be written."""


def base_of(pool: Pool, based: Based) -> tuple[Span, ...]:
    """The base, exactly as large as what stands on it.

    :raises PoolObjectMissing: its object is not there.
    """
    spans: list[Span] = []
    rest = int(based.size)
    for span in based.base_spans:
        if rest:
            spans.append(replace(span, length=Bytes(min(span.length, rest))))
            rest -= spans[-1].length
    if rest:
        spans.append(Span(pool.open(based.base_object).path, Bytes(0), Bytes(rest)))
    return tuple(spans)


def growth_to_come(pool: Pool, volume: VolumeRecord, size: Bytes) -> int:
    """How many bytes of the pool its object may still take, when the volume has ``size`` bytes."""
    rest = Bytes(max(0, size - size_of(volume.base_spans)))
    if volume.base_object:
        with suppress(PoolObjectMissing):
            return growth_left(pool.open(volume.base_object).path, rest)
    # Nothing is merged before there is a base; a whole copy brings its own.
    return rest if volume.base_spans else 0


def grow_base(store: ReplicaStore, name: str, size: Bytes) -> Iterator[None]:
    """Make a volume's base hold ``size`` bytes, the new ones zero, in short steps.

    Comes before the commit that lets the volume grow; until then nobody looks there, so doing it
    again after a crash is harmless. Content that was there before is not made longer: what lies
    behind it may be somebody else's.

    :raises PoolFull, NoRoom, DeviceFailed: there is no room; the volume is as it was.
    """
    volume = store.name_base(name)
    before = size_of(volume.base_spans)
    wanted = Bytes(size - before)
    if wanted <= 0:
        return
    try:
        made = store.pool.open(volume.base_object)
        made.grow(wanted, sparse=True)
    except PoolObjectMissing:
        if volume.size > before:
            raise
        made = store.pool.create(volume.base_object, wanted, sparse=True)
    with DirectFile(made.path, writable=True) as file:
        if file.device:
            yield from _zero(file, max(0, volume.size - before), wanted)
        file.fsync()


def _zero(file: DirectFile, start: int, end: int) -> Iterator[None]:
    """What a logical volume held before must not be seen; its last old block was padded."""
    at = -(-start // file.block) * file.block
    end = min(-(-end // file.block) * file.block, file.size())
    while at < end:
        stop = min(at + ZERO_STEP, end)
        file.zero(at, stop - at)
        at = stop
        yield
