"""Digests of an image's blocks, for verify: both ends compute them from the same instant.

Where the image is known to be empty nothing is read, so a verify costs what the volume holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from control.blocks import Extent
from control.store.direct import is_zero
from control.wire.deltas import Read
from control.wire.errors import SourceChanged
from control.wire.frames import checksum
from dm_tables.errors import Usage
from dm_tables.units import GIB, KIB, MIB, Bytes
from proto.frazil.v1 import replica_pb2

DEFAULT_BLOCK = MIB
SMALLEST_BLOCK = 4 * KIB
LARGEST_BLOCK = 16 * MIB
BLOCKS_AT_MOST = 256
ZEROES_AT_MOST = GIB


class BadRange(Usage):
    """A stretch or a block size that cannot be compared."""


def check_range(size: int, block: int, offset: int, length: int) -> tuple[Bytes, Bytes, Bytes]:
    """(block, offset, end) in bytes, defaults filled in: 0 for 1 MiB, and for the volume's end.

    :raises BadRange: outside the volume, or not whole blocks from its start.
    """
    block = block or DEFAULT_BLOCK
    end = offset + length if length else size
    if not SMALLEST_BLOCK <= block <= LARGEST_BLOCK or block & (block - 1):
        raise BadRange(f"blocks of {block} bytes", "a power of two from 4KiB to 16MiB")
    if offset % block or not 0 <= offset <= end <= size or (end % block and end != size):
        raise BadRange(
            f"bytes {offset} to {end} are not whole blocks of {block} in a volume of {size}"
        )
    return Bytes(block), Bytes(offset), Bytes(end)


def block_digests(
    read: Read,
    data: Iterable[Extent],
    block: Bytes,
    offset: Bytes,
    end: Bytes,
    *,
    most: int = BLOCKS_AT_MOST,
) -> Iterator[replica_pb2.BlockDigests]:
    """The digests of the blocks from ``offset`` to ``end``, in order, without a gap.

    :param data: what may be other than zero, in rising order.
    :param most: so many blocks that are read in one message, at least one.
    :raises SourceChanged: the image gave fewer bytes than asked for.
    """
    at = int(offset)
    for start, stop in _blocks_of(data, block, offset, end):
        yield from _zeroes(at, start, block)
        step = min(max(most, 1), BLOCKS_AT_MOST) * block
        for begin in range(start, stop, step):
            yield _digests(read, begin, min(begin + step, stop), block)
        at = stop
    yield from _zeroes(at, end, block)


def _blocks_of(
    data: Iterable[Extent], block: Bytes, offset: Bytes, end: Bytes
) -> Iterator[tuple[int, int]]:
    """The stretches of whole blocks that hold data, each once, within ``offset`` and ``end``."""
    done = int(offset)
    for extent in data:
        start = max(extent.address // block * block, done)
        stop = min(-(-(extent.address + extent.length) // block) * block, end)
        if stop > start:
            yield start, stop
            done = stop


def _zeroes(start: int, end: int, block: Bytes) -> Iterator[replica_pb2.BlockDigests]:
    step = max(ZEROES_AT_MOST // block, 1) * block
    for at in range(start, end, step):
        blocks = -(-(min(at + step, end) - at) // block)
        yield replica_pb2.BlockDigests(offset=at, block_bytes=block, blocks=blocks)


def _digests(read: Read, start: int, end: int, block: Bytes) -> replica_pb2.BlockDigests:
    digests: list[bytes] = []
    zero = True
    for at in range(start, end, block):
        length = min(block, end - at)
        view = memoryview(read(Bytes(at), Bytes(length)))
        if len(view) != length:
            raise SourceChanged(f"the image gave {len(view)} bytes at {at} instead of {length}")
        zero = zero and is_zero(view)
        digests.append(checksum(view))
    return replica_pb2.BlockDigests(
        offset=start,
        block_bytes=block,
        blocks=len(digests),
        digests=b"" if zero else b"".join(digests),
    )
