"""The copy of one generation to a replica (figure 8, steps 212 and 226; figure 7, 7B and 7C).

Three threads: one reads the delta and packs it, gRPC's own sends, and one waits for replies;
the caller's thread watches all three. Between reader and gRPC stand at most
:data:`QUEUED_BATCHES` messages of about 1 MiB, so memory does not follow the delta.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from control.wire.batches import Batch, Checkpoint, batches, find_start
from control.wire.codec import Compressor
from control.wire.deltas import Count, Delta
from control.wire.errors import BadStream, SendStopped, Stalled
from control.wire.frames import Tally
from control.wire.peers import peer_error
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

QUEUED_BATCHES = 4
THROTTLE_SLICE = 16 << 10
TICK_SECONDS = 0.2
STALL_SECONDS = 60.0
FAREWELL_SECONDS = 2.0
COMMIT_SECONDS = 60.0


class Limiter(Protocol):
    """A limit on bytes a second."""

    def take(self, amount: int) -> object:
        """Wait until ``amount`` bytes may go."""


@dataclass(frozen=True, slots=True)
class SendProgress:
    """How far a copy is. Bytes: ``done`` of ``total`` of the delta, ``sent`` on the wire."""

    done: int
    total: int
    sent: int


@dataclass(frozen=True, slots=True)
class SendResult:
    """A generation that is committed, or staged for the commit of its group.

    ``sent`` counts the messages' bytes of this call, ``plain`` the payload bytes in them before
    compression; ``length`` the delta's bytes, zeroes included, and ``chunks`` and ``runs`` what
    the whole generation came to. ``resumed`` runs were at the replica already; with ``already``
    it had committed the generation before, or staged it, and nothing was sent.
    """

    already: bool
    sent: int
    plain: int
    length: int
    chunks: int
    runs: int
    resumed: int
    digest: bytes
    staged: bool = False


@dataclass(frozen=True, slots=True)
class _Failed:
    """The reader's end, before it was through."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class _Ended:
    """The replies' end; ``error`` is None when the call went well."""

    error: grpc.RpcError | None


_Event = replica_pb2.ReceiveReply | _Failed | _Ended


def send(
    stub: ReplicaStub,
    manifest: replica_pb2.Manifest,
    delta: Delta,
    *,
    checkpoint: Checkpoint | None = None,
    limiter: Limiter | None = None,
    on_progress: Callable[[SendProgress], None] | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    cancel: threading.Event | None = None,
    stall_seconds: float = STALL_SECONDS,
    peer: str = "the replica",
    compress: bool = True,
) -> SendResult:
    """Bring the manifest's generation to the replica, and wait until it has committed it.

    With ``manifest.staged`` until it has staged it: :func:`commit` makes it the newest.

    :param checkpoint: the last one that ``on_checkpoint`` gave for this generation.
    :param on_checkpoint: called in this thread with each place that is durable at the replica.
    :param on_progress: called in this thread, some times a second.
    :param cancel: set it to stop; what is durable at the replica stays there.
    :param stall_seconds: how long the peer may keep everything waiting.
    :param peer: how to call the replica in errors.
    :param compress: compress payloads, where that pays.
    :raises PeerUnreachable, Stalled, ReplicaBusy, SendStopped: the same call may work later.
    :raises BaseMismatch, SizeMismatch, VolumeNameTaken: the delta does not fit the replica.
    :raises ReplicaRefused: the identity may not write this volume.
    :raises ReplicaFull: there is no room at the replica.
    :raises DataLoss: bytes arrived damaged.
    :raises StoreCorrupt, SourceChanged: the delta cannot be read.
    """
    sending = _Sending(manifest, delta, checkpoint, limiter, Compressor(compress))
    try:
        sending.start(stub)
        while True:
            event = sending.wait(cancel, stall_seconds, peer)
            if on_progress is not None:
                on_progress(sending.progress())
            if event is not None:
                done = sending.handle(event, on_checkpoint, peer)
                if done is not None:
                    return done
    finally:
        sending.close()


def commit(
    stub: ReplicaStub,
    group: str,
    members: Mapping[str, str],
    *,
    peer: str = "the replica",
    timeout: float = COMMIT_SECONDS,
) -> replica_pb2.Committed:
    """Make a group's staged generations the newest of their volumes, all of them or none.

    Repeating it is harmless: what is committed already stays so.

    :param group: the group's name, for people.
    :param members: the generation's UUID by volume, as the replica names it.
    :param timeout: in seconds.
    :raises PeerUnreachable: no answer; it may be committed all the same.
    :raises NotStaged, BaseMismatch, ReplicaNotFound: it names the member that cannot be.
    :raises ReplicaRefused: the identity may not write one of them.
    """
    request = replica_pb2.CommitRequest(group=group)
    for volume, uuid in members.items():
        request.members.add(volume=volume, generation_uuid=uuid)
    try:
        reply: replica_pb2.Committed = stub.Commit(request, timeout=timeout)
    except grpc.RpcError as error:
        raise peer_error(error, peer) from error
    return reply


class _Sending:
    """The state of one Receive call, shared by its threads."""

    def __init__(
        self,
        manifest: replica_pb2.Manifest,
        delta: Delta,
        checkpoint: Checkpoint | None,
        limiter: Limiter | None,
        compressor: Compressor,
    ) -> None:
        self._compressor = compressor
        self._manifest = manifest
        self._delta = delta
        self._checkpoint = checkpoint
        self._limiter = limiter
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._feed: queue.Queue[Batch | Tally] = queue.Queue(QUEUED_BATCHES)
        self._marks: deque[Checkpoint] = deque()
        self._stop = threading.Event()
        self._call: Any = None
        self._replies: threading.Thread | None = None
        self._reader: threading.Thread | None = None
        self._ended_well = False
        self._moved = time.monotonic()
        self._total = Count(0, 0)
        self._resumed = 0
        self._sent = 0
        self._plain = 0
        self._tally = Tally()

    def start(self, stub: ReplicaStub) -> None:
        """Open the call."""
        self._call = stub.Receive(self._requests())
        listening = threading.Thread(target=self._listen, name="send replies", daemon=True)
        self._replies = listening
        listening.start()

    def close(self) -> None:
        """Stop the threads, and the call if it is still there."""
        self._stop.set()
        if self._replies is not None:
            if self._ended_well:
                # The replica has only to end the call; cancelling would look like a failure there.
                self._replies.join(FAREWELL_SECONDS)
            self._call.cancel()
            self._replies.join()
        if self._reader is not None:
            self._reader.join()

    def wait(
        self, cancel: threading.Event | None, stall_seconds: float, peer: str
    ) -> _Event | None:
        """The next event, or None after a tick.

        :raises SendStopped: ``cancel`` is set. :raises Stalled: the peer keeps us waiting.
        """
        if cancel is not None and cancel.is_set():
            raise SendStopped("the copy was stopped")
        try:
            event = self._events.get(timeout=TICK_SECONDS)
        except queue.Empty:
            if time.monotonic() - self._moved > stall_seconds and not self._waits_for_source():
                raise Stalled(f"{peer} did not move for {stall_seconds:g} seconds") from None
            return None
        self._moved = time.monotonic()
        return event

    def _waits_for_source(self) -> bool:
        return self._reader is not None and self._reader.is_alive() and self._feed.empty()

    def progress(self) -> SendProgress:
        """How far it is now."""
        return SendProgress(self._tally.length, self._total.length, self._sent)

    def handle(
        self, event: _Event, on_checkpoint: Callable[[Checkpoint], None] | None, peer: str
    ) -> SendResult | None:
        """Take one event. :return: the result, once the generation is committed or staged."""
        if isinstance(event, _Failed):
            raise event.error
        if isinstance(event, _Ended):
            if event.error is not None:
                raise peer_error(event.error, peer)
            raise BadStream(f"{peer} ended the call without a commit")
        what = event.WhichOneof("message")
        if what == "committed" or (what == "staged" and self._manifest.staged):
            self._ended_well = True
            # Only where something is lacking does the replica say where to begin.
            there = self._reader is None if what == "staged" else event.committed.already
            return self._result(there, what == "staged")
        if what == "ready" and self._reader is None:
            reading = threading.Thread(
                target=self._read, args=(event.ready,), name="send reader", daemon=True
            )
            self._reader = reading
            reading.start()
        elif what == "durable":
            mark = self._reached(event.durable.next_ordinal)
            if mark is not None and on_checkpoint is not None:
                on_checkpoint(mark)
        else:
            raise BadStream(f"{peer} answered out of order")
        return None

    def _reached(self, ordinal: int) -> Checkpoint | None:
        """The last checkpoint at or before ``ordinal``; those before it are forgotten."""
        mark = None
        while self._marks and self._marks[0].ordinal <= ordinal:
            mark = self._marks.popleft()
        return mark

    def _result(self, already: bool, staged: bool) -> SendResult:
        tally = self._tally
        return SendResult(
            already=already,
            staged=staged,
            sent=self._sent,
            plain=self._plain,
            length=tally.length,
            chunks=tally.chunks,
            runs=tally.runs,
            resumed=self._resumed,
            digest=tally.digest,
        )

    # In gRPC's thread.

    def _requests(self) -> Iterator[replica_pb2.ReceiveRequest]:
        yield self._counted(replica_pb2.ReceiveRequest(manifest=self._manifest))
        while True:
            item = self._next()
            if item is None:
                return
            if isinstance(item, Tally):
                yield self._counted(replica_pb2.ReceiveRequest(trailer=item.trailer()))
                return
            self._plain += item.plain
            self._tally = item.tally
            yield self._counted(replica_pb2.ReceiveRequest(runs=item.runs))

    def _counted(self, request: replica_pb2.ReceiveRequest) -> replica_pb2.ReceiveRequest:
        self._sent += request.ByteSize()
        self._moved = time.monotonic()
        return request

    def _next(self) -> Batch | Tally | None:
        while not self._stop.is_set():
            try:
                return self._feed.get(timeout=TICK_SECONDS)
            except queue.Empty:
                continue
        return None

    # In the thread that waits for replies.

    def _listen(self) -> None:
        try:
            for reply in self._call:
                self._events.put(reply)
        except grpc.RpcError as error:
            self._events.put(_Ended(error))
        else:
            self._events.put(_Ended(None))

    # In the reader's thread.

    def _read(self, ready: replica_pb2.Ready) -> None:
        try:
            self._total = self._delta.count()
            start = find_start(self._delta, ready, self._checkpoint)
            self._tally = tally = start.tally
            self._resumed = tally.runs
            for batch in batches(start.stretches, tally, self._delta, self._compressor):
                if batch.checkpoint is not None:
                    self._marks.append(batch.checkpoint)
                tally = batch.tally
                self._throttle(batch.runs.ByteSize())
                if not self._put(batch):
                    return
            self._put(tally)
        except BaseException as error:
            self._events.put(_Failed(error))

    def _throttle(self, amount: int) -> None:
        # In slices: a slow limit must not keep the reader from hearing that it is to stop.
        while self._limiter is not None and amount > 0 and not self._stop.is_set():
            self._limiter.take(min(amount, THROTTLE_SLICE))
            amount -= THROTTLE_SLICE

    def _put(self, item: Batch | Tally) -> bool:
        while not self._stop.is_set():
            try:
                self._feed.put(item, timeout=TICK_SECONDS)
            except queue.Full:
                continue
            self._moved = time.monotonic()
            return True
        return False
