"""A committed generation's image, read without device-mapper."""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control.blocks import Extent
from control.image import StackImage
from control.limiter import RateLimiter
from control.replica.bases import base_of
from control.replica.records import Chain
from control.replica.store import ReplicaStore
from control.store.reader import StoreReader
from control.wire.digests import BLOCKS_AT_MOST, block_digests, check_range
from control.wire.extents import data_extents
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2

READ_AT_MOST = 16 << 20


@contextmanager
def open_image(store: ReplicaStore, chain: Chain) -> Iterator[StackImage]:
    """The image of ``chain``, which the caller holds. :raises: as :class:`StackImage`."""
    layers: list[tuple[str | os.PathLike[str], Bytes]] = [
        (store.object_path(layer.object_name), layer.chunk) for layer in chain.layers
    ]
    with StackImage(base_of(store.pool, chain), layers, chain.size) as image:
        yield image


def image_extents(store: ReplicaStore, chain: Chain) -> Iterator[Extent]:
    """What the image may hold other than zeroes: in order of address; they may overlap."""
    sources: list[Iterator[Extent]] = [data_extents(base_of(store.pool, chain))]
    for layer in chain.layers:
        path = store.object_path(layer.object_name)
        sources.append(_layer_extents(path, chain.size, layer.chunk))
    return heapq.merge(*sources, key=lambda extent: extent.address)


def image_digests(
    store: ReplicaStore, request: replica_pb2.DigestsRequest, stop: threading.Event | None = None
) -> Iterator[replica_pb2.BlockDigests]:
    """Digests of a committed generation's blocks; it stays as it is meanwhile.

    :param stop: set when nobody wants them any more.
    :raises ReplicaNotFound, GenerationNotFound: it is not here, or not any more.
    :raises BadRange: no such blocks. :raises Interrupted: ``stop`` was set.
    """
    limiter = RateLimiter(request.rate_bytes, stop)
    with store.reading(request.volume, uuid=request.generation_uuid) as chain:
        block, offset, end = check_range(
            chain.size, request.block_bytes, request.offset, request.length
        )
        with open_image(store, chain) as image:

            def read(address: Bytes, length: Bytes) -> bytes | memoryview:
                limiter.take(length)
                return image.read(address, length)

            extents = image_extents(store, chain)
            # Of a slow one each message holds what a second gives, so that both ends go together.
            most = limiter.rate // block if limiter.rate else BLOCKS_AT_MOST
            yield from block_digests(read, extents, block, offset, end, most=most)


def _layer_extents(path: Path, size: Bytes, chunk: Bytes) -> Iterator[Extent]:
    """A layer's chunks as extents, from a compressed set: memory follows the change."""
    with StoreReader(path, size, chunk) as reader:
        changed = reader.changed()
    start = end = -1
    for number in changed:
        if number != end:
            if end > start:
                yield _extent(start, end, chunk)
            start = number
        end = number + 1
    if end > start:
        yield _extent(start, end, chunk)


def _extent(start: int, end: int, chunk: Bytes) -> Extent:
    return Extent(Bytes(start * chunk), Bytes((end - start) * chunk))
