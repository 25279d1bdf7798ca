"""One generation brought to one replica (figure 8, steps 212 and 226)."""

from __future__ import annotations

import dataclasses
import heapq
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import grpc

from control import VERSION, cycle
from control.blocks import BlockSet, Extent
from control.context import Context
from control.limiter import RateLimiter
from control.mirrored import Frozen, Readable
from control.needed import changed_blocks, fitting_chunk, needed_blocks
from control.records import (
    CycleKind,
    GenerationRecord,
    LayerRecord,
    MirrorRecord,
    StandingRecord,
)
from control.replica.records import ROLE_SEED
from control.seeding import There, differing_blocks
from control.wire.batches import Checkpoint
from control.wire.blocks import BlockDelta, layer_delta
from control.wire.channel import connect
from control.wire.deltas import Delta, ImageDelta
from control.wire.errors import KeepsPoints, OnOwnDevice
from control.wire.peers import Me, greet, peer_error
from control.wire.send import SendProgress, send
from dm_tables.errors import FrazilError, NotFound
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

LOGICAL_BLOCK = 512


@dataclass(slots=True)
class CopyProgress:
    """How far a copy is, in bytes; ``started`` and ``seconds`` of the monotonic clock."""

    done: int = 0
    total: int = 0
    sent: int = 0
    started: float = 0.0

    @property
    def rate(self) -> float:
        """Bytes of the delta a second, so far."""
        elapsed = time.monotonic() - self.started
        return self.done / elapsed if self.started and elapsed > 0 else 0.0


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy came to. Sizes in bytes, time in seconds; ``resumed`` runs were there already."""

    chunks: int
    changed_bytes: int
    sent_bytes: int
    payload_bytes: int
    seconds: float
    resumed: int


class Copier:
    """Sends one generation; may be run again for the same one, and goes on where it was.

    :param staged: leave it invisible at the replica, for a commit together with others.
    """

    def __init__(
        self,
        context: Context,
        frozen: Frozen,
        mirror: MirrorRecord,
        *,
        limiter: RateLimiter,
        cancel: threading.Event,
        staged: bool = False,
    ) -> None:
        self.frozen = frozen
        self.mirror = mirror
        self.replica = mirror.replica_of(frozen.volume)
        self.context = context
        self.limiter = limiter
        self.cancel = cancel
        self.staged = staged
        self.progress = CopyProgress()
        self._compared: tuple[There, Bytes] | None = None
        self.standing = self._up_to_here(context.journal.standing(mirror.name, frozen.volume))
        self.plan = self._planned()

    def run(self, note: Callable[[], None] = lambda: None) -> CopyResult:
        """Bring the generation there and wait for its commit, or until it is staged.

        :param note: called now and then, and when the copy breaks off: ``progress`` is new.

        :raises FrazilError: see :func:`control.wire.send.send`; what is durable stays.
        """
        peer = self.mirror.peer
        with connect(peer, self.context.config.tls, self.mirror.plaintext) as channel:
            stub = ReplicaStub(channel)
            me = Me(self.context.journal.host_uuid, self.context.config.host.name, VERSION)
            greet(stub, me, peer=peer)
            self._adopt_standing(stub)
            self.progress.started = time.monotonic()
            try:
                return self._bring(stub, note)
            except FrazilError:
                note()
                raise

    def _bring(self, stub: ReplicaStub, note: Callable[[], None]) -> CopyResult:
        """Send what is planned, or what differs where a whole copy would take something away.

        :raises OnOwnDevice: that is a device of the replica's own, and nobody asked.
        """
        try:
            with ExitStack() as stack:
                return self._send(stub, self._delta(stack), note)
        except KeepsPoints:
            pass
        except OnOwnDevice as error:
            if not self.standing.asked_whole:
                raise OnOwnDevice(
                    error.what,
                    f"frazil mirror start {self.mirror.name} --whole compares both by digests, "
                    "and sends what differs",
                ) from error
        self._compare_with(stub, self._described(stub))
        with ExitStack() as stack:
            return self._send(stub, self._delta(stack), note)

    def _planned(self) -> cycle.DeltaPlan:
        frozen = self.frozen
        return cycle.plan_delta(
            self.standing,
            frozen.generation,
            frozen.layers,
            follows=frozen.follows(self.standing),
        )

    def _up_to_here(self, standing: StandingRecord) -> StandingRecord:
        """What a replica lacks of the generation: the volume may have grown since."""
        lacking = BlockSet(standing.lacking)
        lacking.cut(self.frozen.size)
        return dataclasses.replace(standing, lacking=lacking.serialise())

    def _adopt_standing(self, stub: ReplicaStub) -> None:
        """Plan from where the replica stands: a commit whose answer was lost still counts."""
        try:
            there = self._described(stub)
        except NotFound:
            return
        if there.role == ROLE_SEED and not self.standing.committed_uuid:
            self._compare_with(stub, there)
            return
        known = self.frozen.known()
        ahead = next((old for old in known if old.uuid == there.newest.uuid), None)
        if ahead is None:
            return
        with self.frozen.standing_on() as bottom:
            layer = _shown_below(ahead, known, bottom)
            if self._is_ahead(ahead, layer):
                lacking = self.frozen.grown(Bytes(there.size_bytes))
                lacking.update(BlockSet(self.standing.lacking))
                adopted = self.context.journal.change_standing(
                    self.mirror.name,
                    self.frozen.volume,
                    committed_uuid=ahead.uuid,
                    committed_number=ahead.number,
                    committed_layer=ahead.layer if layer is None else layer,
                    committed_frozen_at=ahead.frozen_at,
                    base=self.frozen.base,
                    lacking=lacking.serialise(),
                )
                self.standing = self._up_to_here(adopted)
                self.plan = self._planned()
                return
        # Of the same history, and what came since is merged here: it is found all the same.
        fresh = not self.standing.committed_uuid and not self.standing.lacking_all
        behind = ahead.number < self.frozen.generation.number
        if fresh and behind and there.size_bytes == self.frozen.size:
            self._compare_with(stub, there)

    def _described(self, stub: ReplicaStub) -> replica_pb2.ReplicaVolume:
        request = replica_pb2.DescribeRequest(volume=self.replica)
        try:
            there: replica_pb2.ReplicaVolume = stub.Describe(request, timeout=30)
        except grpc.RpcError as error:
            raise peer_error(error, self.mirror.peer) from error
        return there

    def _compare_with(self, stub: ReplicaStub, there: replica_pb2.ReplicaVolume) -> None:
        """Send what is not in the newest content of the replica, by digests."""
        base = there.newest.uuid
        self._compared = There(stub, self.replica, base, self.mirror.peer), Bytes(there.size_bytes)
        self.plan = dataclasses.replace(self.plan, kind=CycleKind.CATCH_UP, base_uuid=base)

    def _is_ahead(self, there: GenerationRecord, layer: int | None) -> bool:
        """Whether the replica has more than was known, and what it lacks since is all here."""
        # To a mirror that knows nothing yet, what is to be copied may be there already.
        past = self.frozen.generation.number + (not self.standing.committed_uuid)
        if not self.standing.committed_number < there.number < past:
            return False
        if layer is not None:
            return True
        return bool(self.standing.committed_uuid) and self.frozen.follows(self.standing)

    def _send(self, stub: ReplicaStub, delta: Delta, note: Callable[[], None]) -> CopyResult:
        journal, uuid = self.context.journal, self.frozen.generation.uuid
        mirror, volume = self.mirror.name, self.frozen.volume
        # A place in a store is none in an image: a catch-up is read again up to the replica's.
        kept = self.plan.kind is not CycleKind.CATCH_UP
        saved = journal.checkpoint(mirror, volume, uuid) if kept else None

        def keep(mark: Checkpoint) -> None:
            if kept:
                place = (mark.ordinal, mark.position, mark.digest)
                journal.save_checkpoint(mirror, volume, uuid, place)
            note()

        result = send(
            stub,
            self._manifest(delta),
            delta,
            checkpoint=Checkpoint(*saved) if saved else None,
            limiter=self.limiter,
            on_progress=self._progressed,
            on_checkpoint=keep,
            cancel=self.cancel,
            compress=self.context.config.copy.compress,
            stall_seconds=self.context.config.copy.stall,
            peer=self.mirror.peer,
        )
        count = delta.count()
        return CopyResult(
            chunks=count.chunks,
            changed_bytes=count.length,
            sent_bytes=result.sent,
            payload_bytes=result.plain,
            seconds=time.monotonic() - self.progress.started,
            resumed=result.resumed,
        )

    def _progressed(self, now: SendProgress) -> None:
        self.progress.done = now.done
        self.progress.total = now.total
        self.progress.sent = now.sent

    def _manifest(self, delta: Delta) -> replica_pb2.Manifest:
        manifest = replica_pb2.Manifest(
            volume=self.replica,
            staged=self.staged,
            volume_uuid=self.frozen.uuid,
            base_uuid=self.plan.base_uuid,
            size_bytes=delta.size,
            chunk_bytes=delta.chunk,
            chunks=0 if self.plan.kind is CycleKind.WHOLE else delta.count().chunks,
            logical_block_bytes=LOGICAL_BLOCK,
            host_uuid=self.context.journal.host_uuid,
        )
        manifest.generation.CopyFrom(self.frozen.message(self.plan.base_uuid))
        return manifest

    # What is sent.

    def _delta(self, stack: ExitStack) -> Delta:
        records = {layer.sequence: layer for layer in self.frozen.layers}
        layers = [records[sequence] for sequence in self.plan.layers]
        if self.plan.kind is CycleKind.DELTA:
            return self._layer_delta(layers[0], stack)
        image = stack.enter_context(self.frozen.open())
        chunk, size = self.frozen.chunk, self.frozen.size
        if self.plan.kind is CycleKind.WHOLE:
            extents: Iterator[Extent] = heapq.merge(
                self.frozen.base_extents(),
                self._changed(layers, BlockSet()).extents(chunk, size),
                key=lambda extent: extent.address,
            )
        else:
            if self._compared is not None:
                lacking = self._differing(image, *self._compared)
            else:
                lacking = self._changed(layers, BlockSet(self.standing.lacking))
            chunk = fitting_chunk(lacking, chunk)
            extents = lacking.extents(chunk, size)
        return ImageDelta(image.read, extents, chunk, size)

    def _differing(self, image: Readable, there: There, size: Bytes) -> BlockSet:
        """What of the image is not in the content there, of so many bytes, by digests."""
        same = min(size, self.frozen.size)

        def compared(done: int, total: int) -> None:
            self.progress.done, self.progress.total = done, total

        found = differing_blocks(
            image.read,
            same,
            there,
            cancel=self.cancel,
            limiter=self.limiter,
            progress=compared,
        )
        if same < self.frozen.size:
            found.add(same, self.frozen.size - same)
        return found

    def _layer_delta(self, layer: LayerRecord, stack: ExitStack) -> Delta:
        """What one layer changed: the blocks that were written, where that is known."""
        store = stack.enter_context(self.frozen.reader(layer))
        traced = self.frozen.traced(layer)
        if not self.context.config.copy.skip_same:
            return layer_delta(store, traced)
        blocks = self._without_same(needed_blocks(store, traced))
        return BlockDelta(store, blocks, fitting_chunk(blocks, store.chunk))

    def _without_same(self, blocks: BlockSet) -> BlockSet:
        """Those of the blocks whose bytes are not those that the replica has."""
        if not self._is_shown():
            return blocks
        with self.frozen.open_at(self.standing.committed_layer) as old, self.frozen.open() as new:
            if old is None:
                return blocks
            return changed_blocks(blocks, new.read, old.read, self.frozen.size, self.cancel)

    def _is_shown(self) -> bool:
        """Whether what the replica has is an image here, and not only among what a layer holds."""
        known = {one.uuid: one.layer for one in self.frozen.known()}
        return known.get(self.standing.committed_uuid) == self.standing.committed_layer

    def _changed(self, layers: list[LayerRecord], blocks: BlockSet) -> BlockSet:
        for layer in layers:
            traced = self.frozen.traced(layer)
            with self.frozen.reader(layer) as store:
                blocks.update(needed_blocks(store, traced))
        return blocks


def _shown_below(
    there: GenerationRecord, known: Sequence[GenerationRecord], bottom: int
) -> int | None:
    """The layer device from which all layers lead to what a replica at ``there`` lacks, or more.

    That generation's own; or, where layers were squashed past it, that of the newest one before it
    whose image is here. None: what it lacks is merged.
    """
    if there.layer >= bottom:
        return there.layer
    below = [one.layer for one in known if one.number < there.number and one.layer >= bottom]
    return max(below, default=None)
