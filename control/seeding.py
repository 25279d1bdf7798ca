"""What differs between a frozen image here and content that a replica has: found by digests.

The first copy onto a seed, and any other where nobody knows what changed: both ends read, and
only digests travel, 16 bytes a block. Large blocks first; where they differ, small ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from control.blocks import BLOCK, BlockSet
from control.limiter import RateLimiter
from control.needed import ComparingStopped, Read
from control.store.direct import is_zero
from control.wire.errors import DataLoss, SourceChanged
from control.wire.frames import CHECKSUM_BYTES, checksum
from control.wire.peers import peer_error
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

COARSE = Bytes(MIB)
FINE = Bytes(BLOCK)
STRETCH = Bytes(4 * MIB)
"""Small blocks are asked for in stretches of whole multiples of this: a call each costs more than
reading some equal bytes again."""

LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class There:
    """A generation or a seed at a replica. ``volume`` is its name there."""

    stub: ReplicaStub
    volume: str
    generation_uuid: str
    peer: str = "the replica"


def differing_blocks(
    read: Read,
    size: Bytes,
    there: There,
    *,
    cancel: threading.Event,
    fine: Bytes = FINE,
    limiter: RateLimiter | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BlockSet:
    """The blocks of the image here that are not the same in ``there``.

    :param read: reads the image, which stays as it is meanwhile.
    :param size: the volume's, at both ends.
    :param fine: how exactly: a power of two from 4 KiB to 1 MiB. What is found is multiples of it.
    :param limiter: of the bytes read here; the replica reads no faster.
    :param progress: told bytes compared, and bytes to compare in all, which grow with what differs.
    :raises ComparingStopped: ``cancel`` is set. :raises Interrupted: the limiter's stop is.
    :raises PeerUnreachable, GenerationNotFound, ReplicaRefused: as the replica says.
    :raises DataLoss: its answer is none.
    """
    comparing = _Comparing(read, there, cancel, limiter, progress, size)
    found = comparing.compare(Bytes(0), size, COARSE)
    if fine == COARSE:
        return found
    stretches = list(found.extents(STRETCH, size))
    comparing.total += sum(stretch.length for stretch in stretches)
    exact = BlockSet()
    for stretch in stretches:
        exact.update(comparing.compare(stretch.address, stretch.length, fine))
    return exact


@dataclass(slots=True)
class _Comparing:
    """Passes over parts of the volume. ``done`` of ``total`` bytes are compared."""

    read: Read
    there: There
    cancel: threading.Event
    limiter: RateLimiter | None
    progress: Callable[[int, int], None]
    total: int
    done: int = 0

    def compare(self, offset: Bytes, length: Bytes, block: Bytes) -> BlockSet:
        """The blocks of a stretch that differ; it begins with a whole one."""
        found = BlockSet()
        at, end = int(offset), offset + length
        request = replica_pb2.DigestsRequest(
            volume=self.there.volume,
            generation_uuid=self.there.generation_uuid,
            block_bytes=block,
            offset=offset,
            length=length,
        )
        with self._calling(request) as call:
            for part in call:
                stop = self._end_of(part, at, end, block)
                self._part(part, stop, found)
                at = stop
        self._check_stop()
        if at != end:
            raise DataLoss(f"{self.there.peer} gave no digests from byte {at} on")
        return found

    @contextmanager
    def _calling(self, request: replica_pb2.DigestsRequest) -> Iterator[Any]:
        """The call, ended soon after ``cancel`` is set, even while its answer is waited for."""
        call: Any = self.there.stub.Digests(request)
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(LOOK_SECONDS):
                if self.cancel.is_set():
                    call.cancel()
                    return

        watching = threading.Thread(target=watch, name="seeding watch", daemon=True)
        watching.start()
        try:
            yield call
        except grpc.RpcError as error:
            self._check_stop()
            raise peer_error(error, self.there.peer) from error
        finally:
            ended.set()
            call.cancel()
            watching.join()

    def _check_stop(self) -> None:
        if self.cancel.is_set():
            raise ComparingStopped("the comparison with the replica was stopped")

    def _end_of(self, part: replica_pb2.BlockDigests, at: int, end: int, block: int) -> int:
        """Where the part ends. :raises DataLoss: it is not what is due."""
        stop = min(at + part.blocks * block, end)
        digests = len(part.digests)
        if (
            (part.offset, part.block_bytes) != (at, block)
            or not part.blocks
            or at + (part.blocks - 1) * block >= end
            or digests not in (0, part.blocks * CHECKSUM_BYTES)
        ):
            raise DataLoss(
                f"{self.there.peer} gave {digests} bytes of digests for {part.blocks} blocks "
                f"of {part.block_bytes} at {part.offset}, where blocks of {block} at {at} are due"
            )
        return stop

    def _part(self, part: replica_pb2.BlockDigests, stop: int, found: BlockSet) -> None:
        block = part.block_bytes
        for start in range(part.offset, stop, COARSE):
            self._check_stop()
            length = min(COARSE, stop - start)
            if self.limiter is not None:
                self.limiter.take(length)
            view = memoryview(self.read(Bytes(start), Bytes(length)))
            if len(view) != length:
                raise SourceChanged(f"the image gave {len(view)} bytes at {start} for {length}")
            for at in range(start, start + length, block):
                piece = view[at - start : at - start + block]
                if not _same(piece, part.digests, (at - part.offset) // block):
                    found.add(at, len(piece))
            self.done += length
            self.progress(self.done, self.total)


def _same(piece: memoryview, digests: bytes, index: int) -> bool:
    """Blocks of zeroes travel without digests."""
    if not digests:
        return is_zero(piece)
    at = index * CHECKSUM_BYTES
    return digests[at : at + CHECKSUM_BYTES] == checksum(piece)
