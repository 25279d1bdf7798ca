"""Whether a generation is the same at both ends: block digests of the same instant, no pause."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from control.blocks import Extent
from control.context import Context
from control.limiter import RateLimiter
from control.records import GenerationRecord, MirrorRecord
from control.store.direct import DirectFile, aligned_buffer, is_zero
from control.volume import Volume
from control.wire.channel import connect
from control.wire.errors import DataLoss
from control.wire.frames import CHECKSUM_BYTES, checksum
from control.wire.status import error_from_rpc
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2, replica_pb2_grpc

DEFAULT_BLOCK = MIB
DIFFERENCES_AT_MOST = 1000


@dataclass(slots=True)
class Verification:
    """What a comparison found: the bytes compared, and where they differ (bounded)."""

    compared: int = 0
    differences: list[Extent] = field(default_factory=list)
    cancelled: bool = False


def verify_generation(
    volume: Volume,
    mirror: MirrorRecord,
    context: Context,
    generation: GenerationRecord,
    *,
    block_bytes: int = 0,
    limiter: RateLimiter | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event,
) -> Verification:
    """Compare the frozen image here with the committed generation there.

    The caller holds the generation's image. ``block_bytes`` is the grain of the comparison; 0
    for 1 MiB.

    :raises PeerUnreachable: the replica does not answer.
    :raises GenerationNotFound: the replica has merged past this generation, or never had it.
    """
    block = block_bytes or DEFAULT_BLOCK
    size = volume.record.size
    found = Verification()
    request = replica_pb2.DigestsRequest(
        volume=mirror.replica_of(volume.name),
        generation_uuid=generation.uuid,
        block_bytes=block,
    )
    with (
        connect(mirror.peer, context.config.tls, mirror.plaintext) as channel,
        DirectFile(volume.image(generation)) as image,
    ):
        call = replica_pb2_grpc.ReplicaStub(channel).Digests(request)
        try:
            for part in call:
                if cancel.is_set():
                    found.cancelled = True
                    break
                _compare(image, size, part, found)
                if limiter is not None:
                    limiter.take(part.blocks * part.block_bytes)
                if progress is not None:
                    progress(found.compared, size)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        finally:
            call.cancel()
    if not found.cancelled and found.compared != size:
        found.differences.append(Extent(Bytes(found.compared), Bytes(size - found.compared)))
    return found


def _compare(
    image: DirectFile, size: int, part: replica_pb2.BlockDigests, found: Verification
) -> None:
    """Compare the blocks of one message; zero blocks travel without digests."""
    block = part.block_bytes
    if part.offset != found.compared:
        raise DataLoss(f"digests of {part.offset} came where {found.compared} was due")
    buffer = aligned_buffer(block)
    at = part.offset
    for index in range(part.blocks):
        length = min(block, size - at)
        view = buffer[:length]
        image.read_into(view, at)
        if part.digests:
            theirs = part.digests[index * CHECKSUM_BYTES : (index + 1) * CHECKSUM_BYTES]
            same = theirs == checksum(view)
        else:
            same = is_zero(view)
        if not same and len(found.differences) < DIFFERENCES_AT_MOST:
            found.differences.append(Extent(Bytes(at), Bytes(length)))
        at += length
        found.compared += length
