"""Whether a generation is the same at both ends: block digests of the same instant, no pause.

A comparison can end early and go on later from its :class:`Position`, at the same generation or
at a newer one: see :func:`verify_generation` for what that proves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import grpc

from control.blocks import BLOCK, BlockSet, Extent
from control.context import Context
from control.limiter import Interrupted, RateLimiter
from control.mirrored import MirroredVolume, Readable
from control.records import GenerationRecord, MirrorRecord
from control.store.direct import aligned_buffer, is_zero
from control.verify_position import Position
from control.wire.channel import connect
from control.wire.errors import DataLoss
from control.wire.frames import CHECKSUM_BYTES, checksum
from control.wire.status import error_from_rpc
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2, replica_pb2_grpc

DEFAULT_BLOCK = MIB
DIFFERENCES_AT_MOST = 1000
NARROWED_AT_MOST = 256 * MIB
"""Bytes that are compared again in 4 KiB blocks; what differs beyond is repaired whole."""

SAVE_SECONDS = 2.0

Load = Callable[[], str]
Save = Callable[[str], None]


@dataclass(slots=True)
class Verification:
    """What a comparison found.

    :ivar compared: every byte below was compared, in this part or in an earlier one.
    :ivar size: of the volume, in bytes. :ivar blocks: what differs, all of it.
    :ivar cancelled: it was interrupted, and can be gone on with.
    :ivar carried: a part of it was compared at an earlier generation.
    """

    compared: int = 0
    size: Bytes = Bytes(0)
    blocks: BlockSet = field(default_factory=BlockSet)
    cancelled: bool = False
    carried: bool = False

    @property
    def finished(self) -> bool:
        """Whether all of the volume was compared."""
        return self.compared >= self.size

    @property
    def differences(self) -> list[Extent]:
        """Where the ends differ, the first so many stretches."""
        return list(islice(self.blocks.extents(Bytes(BLOCK), self.size), DIFFERENCES_AT_MOST))


def repair_blocks(verification: Verification) -> BlockSet:
    """What the next cycle has to send so that the replica no longer differs."""
    return BlockSet(verification.blocks.serialise())


def verify_generation(
    volume: MirroredVolume,
    mirror: MirrorRecord,
    context: Context,
    generation: GenerationRecord,
    *,
    block_bytes: int = 0,
    limiter: RateLimiter | None = None,
    progress: Callable[[int, int], None] | None = None,
    load: Load | None = None,
    save: Save | None = None,
    seconds: float | None = None,
    cancel: threading.Event,
    taken: threading.Event | None = None,
) -> Verification:
    """Compare the frozen image here with the committed generation there.

    The caller holds the generation's image. A comparison that goes on from an earlier generation
    looks again at what differed then. When it is through, every block was the same at both ends
    at some generation since it began, but those named; later writes to a block were sent on top
    of that, with checksums of their own.

    :param block_bytes: the grain of the comparison, 0 for 1 MiB; what differs is looked at again
        in blocks of 4 KiB.
    :param limiter: of the bytes read here a second, and at its rate now also of those there.
    :param load: gives what ``save`` was given last: where to go on. None: from the start.
    :param save: given the position now and then and at the end, as JSON; nothing once it is
        through.
    :param seconds: after so many it ends where it is, as an interrupted one does.
    :param taken: set when the image is one no more: what is found then means nothing.
    :raises PeerUnreachable: the replica does not answer.
    :raises GenerationNotFound: the replica has merged past this generation, or never had it.
    """
    begin = Position.parse(load()) if load is not None else None
    with (
        connect(mirror.peer, context.config.tls, mirror.plaintext) as channel,
        volume.open_image(generation) as image,
    ):
        comparison = Comparison(
            replica_pb2_grpc.ReplicaStub(channel),
            image,
            # A volume that has grown since is compared as far as the generation goes.
            Bytes(min(volume.size, image.size())),
            replica=mirror.replica_of(volume.name),
            generation=generation.uuid,
            block=Bytes(block_bytes or DEFAULT_BLOCK),
            limiter=limiter or RateLimiter(0, cancel),
            cancel=cancel,
        )
        comparison.progress = progress
        comparison.save = save
        comparison.taken = taken or comparison.taken
        if seconds is not None:
            comparison.until = time.monotonic() + seconds
        try:
            return comparison.run(begin)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error


class Comparison:
    """One part of a comparison; keywords as for :func:`verify_generation`."""

    def __init__(
        self,
        stub: replica_pb2_grpc.ReplicaStub,
        image: Readable,
        size: Bytes,
        *,
        replica: str,
        generation: str,
        block: Bytes,
        limiter: RateLimiter,
        cancel: threading.Event,
    ) -> None:
        self._stub = stub
        self._image = image
        self._replica = replica
        self._generation = generation
        self._block = block
        self._limiter = limiter
        self._cancel = cancel
        self._narrowable = NARROWED_AT_MOST
        self._saved_at = time.monotonic()
        self.progress: Callable[[int, int], None] | None = None
        self.save: Save | None = None
        self.taken = threading.Event()
        self.until = float("inf")
        self.found = Verification(size=size)

    def run(self, begin: Position | None) -> Verification:
        """Compare to the end, or as far as it gets. :raises grpc.RpcError: the replica's word."""
        try:
            # What was kept stays as it is until all of it was taken over.
            if begin is not None:
                self._go_on(begin)
            try:
                self._compare()
            finally:
                self._keep(last=True)
        except Interrupted:
            self.found.cancelled = True
        return self.found

    def _go_on(self, begin: Position) -> None:
        found = self.found
        found.compared = min(begin.offset, found.size) // self._block * self._block
        earlier = BlockSet(begin.blocks)
        earlier.cut(found.size)
        if begin.generation == self._generation:
            found.blocks = earlier
            return
        found.carried = True
        stretches = list(earlier.extents(self._block, found.size))
        if sum(stretch.length for stretch in stretches) > self._narrowable:
            found.blocks = earlier
            return
        for stretch in stretches:
            self._narrow(stretch)

    def _compare(self) -> None:
        found = self.found
        for at, length, same in self._blocks(found.compared, Bytes(0), self._block):
            if not same:
                self._differs(Extent(Bytes(at), Bytes(length)))
            found.compared = at + length
            if self.progress is not None:
                self.progress(found.compared, found.size)
            if self._cancel.is_set() or self.taken.is_set():
                found.cancelled = True
                return
            if time.monotonic() >= self.until:
                return
            self._keep()
        if found.compared < found.size:
            # The replica's image ends before this one.
            found.blocks.add(found.compared, found.size - found.compared)
            found.compared = found.size

    def _differs(self, stretch: Extent) -> None:
        if self._block > BLOCK and stretch.length <= self._narrowable:
            self._narrowable -= stretch.length
            self._narrow(stretch)
        else:
            self.found.blocks.add(stretch.address, stretch.length)

    def _narrow(self, stretch: Extent) -> None:
        """Which 4 KiB blocks of it differ; it is asked for again while the generation is held."""
        for at, length, same in self._blocks(stretch.address, stretch.length, Bytes(BLOCK)):
            if not same:
                self.found.blocks.add(at, length)

    def _blocks(self, offset: int, length: Bytes, block: Bytes) -> Iterator[tuple[int, int, bool]]:
        """(address, length, whether it is the same) of each block; a length of 0: to the end."""
        if offset >= self.found.size:
            return
        request = replica_pb2.DigestsRequest(
            volume=self._replica,
            generation_uuid=self._generation,
            block_bytes=block,
            offset=offset,
            length=length,
            rate_bytes=self._limiter.rate,
        )
        call = self._stub.Digests(request)
        buffer = aligned_buffer(block)
        at = offset
        try:
            for part in call:
                if part.offset != at or part.block_bytes != block:
                    raise DataLoss(f"digests of {part.offset} came where {at} was due")
                for index in range(part.blocks):
                    view = buffer[: min(block, self.found.size - at)]
                    if not view:
                        # The replica's image goes on behind the end of this one.
                        return
                    self._limiter.take(len(view))
                    self._image.read_into(view, Bytes(at))
                    yield at, len(view), _is_same(view, part.digests, index)
                    at += len(view)
        finally:
            call.cancel()

    def _keep(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self.save is None or (not last and now - self._saved_at < SAVE_SECONDS):
            return
        if self.taken.is_set():
            return
        self._saved_at = now
        found = self.found
        position = Position(self._generation, found.compared, found.blocks.serialise())
        self.save("" if found.finished else position.text())


def _is_same(view: memoryview, digests: bytes, index: int) -> bool:
    """Zero blocks travel without digests."""
    if not digests:
        return is_zero(view)
    return digests[index * CHECKSUM_BYTES : (index + 1) * CHECKSUM_BYTES] == checksum(view)
