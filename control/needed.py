"""Which blocks of a frozen layer a replica lacks, and the chunks they are best sent in.

An exception store knows chunks: of a chunk that one 4 KiB write touched it holds all of it, and
everything but those 4 KiB is a copy of what is below, which a replica has. The trace says which
blocks were written; the store says which chunks count, and wins (WO 03/017022, figure 4: the
freeze table is what decides where a chunk lies).

What is needed is sent in chunks of their own, as small as the blocks where writes are scattered:
layers of different chunk sizes stack, so the replica's layer holds just what came, and every
other byte shows through it from the generation below. Nothing has to be read there to complete a
chunk, nor written twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pyroaring import BitMap64

from control.blocks import BLOCK, BlockSet
from control.store.reader import StoreReader
from dm_tables.errors import Unavailable
from dm_tables.units import MIB, Bytes

SLACK = 64
"""Wider chunks are taken while they add at most one part in so many to the bytes: longer runs,
fewer exceptions, and a device that the kernel need not split at every 4 KiB."""

Read = Callable[[Bytes, Bytes], bytes | memoryview]


class ComparingStopped(Unavailable):
    """A comparison was told to stop."""


def needed_blocks(store: StoreReader, traced: BlockSet | None) -> BlockSet:
    """The blocks that bring a replica from the generation below a frozen layer to the one above.

    All of them lie in chunks that the store has, and within the volume. A chunk of which nothing
    was traced counts with all of its blocks; without a trace, every chunk does. Memory follows
    the change.

    :param traced: what was written to the layer, or more; None: not known.
    :raises StoreCorrupt: the store is damaged.
    """
    stored = store.changed()
    blocks = BlockSet()
    if traced is None:
        blocks.add_chunks(stored, store.chunk)
    else:
        known = traced.chunks(store.chunk)
        blocks.update(traced)
        blocks.remove_chunks(known - stored, store.chunk)
        blocks.add_chunks(stored - known, store.chunk)
    blocks.cut(store.origin_bytes)
    return blocks


def fitting_chunk(blocks: BlockSet, most: Bytes) -> Bytes:
    """The widest chunk, a power of two from 4 KiB to ``most``, that costs next to no more bytes.

    That is at most 1 / :data:`SLACK` over the blocks themselves: 4 KiB for scattered writes,
    ``most`` for streaming ones.
    """
    units, chunk = blocks.chunks(Bytes(BLOCK)), BLOCK
    limit = blocks.length + blocks.length // SLACK
    while chunk < most:
        wider = BitMap64(unit >> 1 for unit in units)
        if len(wider) * chunk * 2 > limit:
            break
        units, chunk = wider, chunk * 2
    return Bytes(chunk)


def changed_blocks(
    blocks: BlockSet, new: Read, old: Read, size: Bytes, stop: threading.Event
) -> BlockSet:
    """Those of ``blocks`` whose bytes differ from one image to another; reads both.

    :param new: reads the image that is to be sent. :param old: reads the one it is built on.
    :param size: the volume's. :param stop: ends it early.
    :raises ComparingStopped: ``stop`` is set.
    """
    changed = BlockSet()
    for extent in blocks.extents(Bytes(BLOCK), size):
        end = extent.address + extent.length
        for at in range(extent.address, end, MIB):
            if stop.is_set():
                raise ComparingStopped("the comparison of what was written was stopped")
            length = Bytes(min(MIB, end - at))
            one, other = bytes(new(Bytes(at), length)), bytes(old(Bytes(at), length))
            if one != other:
                changed.add_blocks(_differing(one, other, at // BLOCK))
    return changed


def _differing(one: bytes, other: bytes, first: int) -> list[int]:
    """The numbers of the blocks that differ, where the bytes begin with block ``first``."""
    return [
        first + at // BLOCK
        for at in range(0, len(one), BLOCK)
        if one[at : at + BLOCK] != other[at : at + BLOCK]
    ]
