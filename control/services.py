"""The Control service: what an administrator or an orchestrator asks of this host."""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from control import VERSION, render
from control.freeze_table import freeze_table_parts
from control.heatmap import heat_map
from control.host import Host
from control.live_trace import live_traces, tracer_message
from control.mirror import MirrorWorker
from control.records import MirrorRecord, MirrorState
from control.replica.side import ReplicaSide
from control.wire.channel import stays_here
from control.wire.status import abort_with
from dm_tables.errors import FrazilError, Kind, Precondition, Usage
from dm_tables.names import volume_name
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import control_pb2_grpc, replica_pb2

log = logging.getLogger("frazil.services")

TICK_SECONDS = 0.5
WATCH_SECONDS = 1.0
Reply = TypeVar("Reply")
Report = Callable[[int, int], None]


def typed(method: Callable[..., Reply]) -> Callable[..., Reply]:
    """A call whose FrazilError reaches the caller as what it is."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Reply:
        try:
            return method(self, request, context)
        except FrazilError as error:
            abort_with(context, error)

    return call


def typed_stream(method: Callable[..., Iterator[Reply]]) -> Callable[..., Iterator[Reply]]:
    """The same for a stream of replies."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Iterator[Reply]:
        try:
            yield from method(self, request, context)
        except FrazilError as error:
            abort_with(context, error)

    return call


def reported(phase: str, work: Callable[[Report], pb.Progress]) -> Iterator[pb.Progress]:
    """Run ``work`` in a thread, and give its progress as it comes; last what it returns."""
    steps: queue.SimpleQueue[pb.Progress | BaseException] = queue.SimpleQueue()
    started = time.monotonic()
    told = 0.0

    def report(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < TICK_SECONDS / 2 and done != total:
            return
        told = now
        rate = int(done / (now - started)) if now > started else 0
        steps.put(pb.Progress(phase=phase, done=done, total=total, bytes_per_second=rate))

    def run() -> None:
        try:
            last = work(report)
            last.finished = True
            steps.put(last)
        except BaseException as error:
            steps.put(error)

    threading.Thread(target=run, name=phase, daemon=True).start()
    while True:
        step = steps.get()
        if isinstance(step, BaseException):
            raise step
        yield step
        if step.finished:
            return


class ControlService(control_pb2_grpc.ControlServicer):
    """Every method maps a message to the host and back; nothing is decided here."""

    def __init__(self, host: Host, replicas: ReplicaSide) -> None:
        self.host = host
        self.replicas = replicas
        self.stopping = threading.Event()

    # The host.

    @typed
    def GetHost(self, request: pb.GetHostRequest, context: grpc.ServicerContext) -> pb.Host:
        """Who this is, and what it has."""
        about = self.host.context
        return pb.Host(
            uuid=about.journal.host_uuid,
            name=about.config.host.name,
            software=VERSION,
            listen_address=about.config.listen.address or "",
            device_mapper=not self.host.device_mapper_missing,
            device_mapper_missing=self.host.device_mapper_missing,
            pool=render.pool_message(about.pool),
            tracer=tracer_message(about.tracing),
        )

    # Volumes.

    @typed
    def CreateVolume(
        self, request: pb.CreateVolumeRequest, context: grpc.ServicerContext
    ) -> pb.Volume:
        """Adopt spans as a volume."""
        wanted = [(s.path, s.offset_bytes, s.length_bytes) for s in request.spans]
        configured = self.host.context.config.volume.chunk_size or 0
        chunk = 0 if request.chunk_auto else request.chunk_bytes or configured
        made = self.host.create_volume(request.name, wanted, chunk, dry_run=request.dry_run)
        if request.dry_run:
            return render.planned_message(made)
        return self._volume(made.name)

    @typed
    def ListVolumes(
        self, request: pb.ListVolumesRequest, context: grpc.ServicerContext
    ) -> pb.ListVolumesReply:
        """Every volume."""
        names = sorted(volume.name for volume in self.host.volumes())
        return pb.ListVolumesReply(volumes=[self._volume(name) for name in names])

    @typed
    def GetVolume(self, request: pb.GetVolumeRequest, context: grpc.ServicerContext) -> pb.Volume:
        """One volume."""
        return self._volume(request.name)

    def _volume(self, name: str) -> pb.Volume:
        mirrors = [worker.mirror for worker in self.host.workers_of(name)]
        return render.volume_message(self.host.volume(name), mirrors)

    @typed_stream
    def RemoveVolume(
        self, request: pb.RemoveVolumeRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """Merge everything and give the bare device back."""

        def work(report: Report) -> pb.Progress:
            self.host.remove_volume(request.name, report)
            return pb.Progress(phase="merging", message="the bare device holds the head's content")

        yield from reported("merging", work)

    @typed_stream
    def FreezeTable(
        self, request: pb.FreezeTableRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.FreezeTablePart]:
        """Freeze Table 1 of a layer."""
        sequence = request.sequence if request.HasField("sequence") else None
        volume = self.host.volume(request.volume)
        yield from freeze_table_parts(volume, sequence, changed_only=request.changed_only)

    @typed_stream
    def WatchTrace(
        self, request: pb.WatchTraceRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.LayerTrace]:
        """What the trace has of a layer."""
        sequence = request.sequence if request.HasField("sequence") else None
        volume = self.host.volume(request.volume)
        stop = threading.Event()
        context.add_callback(stop.set)
        for reading in live_traces(volume, sequence, request.interval_ms / 1000, stop):
            if self.stopping.is_set():
                return
            yield reading

    @typed
    def GetHeatMap(
        self, request: pb.GetHeatMapRequest, context: grpc.ServicerContext
    ) -> pb.HeatMap:
        """Where a volume is written, cycle by cycle."""
        return heat_map(self.host.volume(request.volume), request.cycles)

    # Mirrors.

    @typed
    def CreateMirror(
        self, request: pb.CreateMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """Write a mirror down; start it if asked."""
        if not request.name:
            raise Usage("a mirror needs a name")
        loopback = stays_here(request.peer)
        if request.plaintext and not loopback:
            raise Usage(
                f"{request.peer} is not on this host: plaintext is for loopback only",
                "leave --plaintext out, and set [tls] in the configuration",
            )
        record = MirrorRecord(
            volume_name(request.name),
            request.volume,
            request.peer,
            volume_name(request.replica_volume or request.volume),
            MirrorState.RUNNING if request.start else MirrorState.STOPPED,
            request.interval_ms,
            request.rate_bytes,
            request.on_demand,
            request.plaintext,
            request.verify,
        )
        return render.mirror_message(self.host.create_mirror(record))

    @typed
    def ListMirrors(
        self, request: pb.ListMirrorsRequest, context: grpc.ServicerContext
    ) -> pb.ListMirrorsReply:
        """Every mirror."""
        return self._mirrors([])

    def _mirrors(self, names: list[str]) -> pb.ListMirrorsReply:
        workers = [self.host.worker(name) for name in names] if names else self.host.workers()
        return pb.ListMirrorsReply(mirrors=[render.mirror_message(worker) for worker in workers])

    @typed
    def GetMirror(self, request: pb.GetMirrorRequest, context: grpc.ServicerContext) -> pb.Mirror:
        """One mirror."""
        return render.mirror_message(self.host.worker(request.name))

    @typed_stream
    def WatchMirrors(
        self, request: pb.WatchMirrorsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ListMirrorsReply]:
        """The mirrors now, and again once a second and at every change of a single one."""
        names = list(request.names)
        while context.is_active() and not self.stopping.is_set():
            yield self._mirrors(names)
            if len(names) == 1:
                worker = self.host.worker(names[0])
                with worker.changed:
                    worker.changed.wait(WATCH_SECONDS)
            else:
                self.stopping.wait(WATCH_SECONDS)

    @typed
    def UpdateMirror(
        self, request: pb.UpdateMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """Change settings; they hold at once."""
        names = ("interval_ms", "rate_bytes", "on_demand", "peer", "verify")
        fields = {name: getattr(request, name) for name in names if request.HasField(name)}
        if "peer" in fields:
            stays_here(fields["peer"])
        return render.mirror_message(self.host.change_mirror(request.name, **fields))

    @typed
    def StartMirror(
        self, request: pb.StartMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """Let it run."""
        worker = self.host.start_mirror(request.name, whole=request.whole)
        return render.mirror_message(worker)

    @typed
    def PauseMirror(
        self, request: pb.PauseMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """Stop where it is."""
        return self._state(request.name, MirrorState.PAUSED)

    @typed
    def BreakMirror(
        self, request: pb.BreakMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """End it after the running cycle, or now."""
        state = MirrorState.BROKEN if request.now else MirrorState.BREAKING
        return self._state(request.name, state, now=request.now)

    def _state(self, name: str, state: MirrorState, *, now: bool = False) -> pb.Mirror:
        return render.mirror_message(self.host.set_mirror_state(name, state, now=now))

    @typed
    def RemoveMirror(
        self, request: pb.RemoveMirrorRequest, context: grpc.ServicerContext
    ) -> pb.RemoveMirrorReply:
        """End and forget it."""
        self.host.remove_mirror(request.name)
        return pb.RemoveMirrorReply()

    @typed_stream
    def SyncNow(
        self, request: pb.SyncNowRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """Start a cycle now; stay until its generation is committed if asked."""
        worker = self.host.worker(request.name)
        if worker.record.state is not MirrorState.RUNNING:
            raise Precondition(
                f"mirror {request.name} is {worker.record.state.value}",
                f"frazil mirror start {request.name}",
            )
        failures = worker.failures
        number = worker.ask()
        if not request.wait:
            yield pb.Progress(phase="asked", finished=True, message="a cycle starts now")
            return
        yield from self._until_committed(worker, number, failures, context)

    def _until_committed(
        self, worker: MirrorWorker, number: int, failures: int, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """Follow the worker; what waiting may cure is waited for, anything else ends the call."""
        while context.is_active() and not self.stopping.is_set():
            record, now = worker.record, worker.now
            if record.committed_number >= number:
                last = pb.Progress(phase="committed", finished=True)
                last.generation.number = record.committed_number
                last.generation.uuid = record.committed_uuid
                last.message = f"generation {record.committed_number} is committed"
                yield last
                return
            if worker.failures > failures and now.error and now.kind is not Kind.UNAVAILABLE:
                raise now.error
            step = pb.Progress(phase=now.phase, message=now.problem)
            if now.progress is not None:
                step.done, step.total = now.progress.done, now.progress.total
                step.bytes_per_second = int(now.progress.rate)
            yield step
            with worker.changed:
                worker.changed.wait(TICK_SECONDS)

    @typed_stream
    def Verify(
        self, request: pb.VerifyRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """Compare the newest committed generation at both ends."""
        worker = self.host.worker(request.mirror)

        def work(report: Report) -> pb.Progress:
            record = worker.record
            if not record.committed_uuid:
                raise Precondition(
                    f"mirror {request.mirror} has committed nothing yet", "let a cycle end first"
                )
            found = worker.verify(
                record.committed_number, record.committed_uuid, request.block_bytes, report
            )
            last = pb.Progress(phase="verifying", done=found.compared, total=found.compared)
            last.generation.number = record.committed_number
            last.generation.uuid = record.committed_uuid
            for extent in found.differences:
                last.differences.add(offset_bytes=extent.address, length_bytes=extent.length)
            last.message = (
                f"generation {record.committed_number} differs in {len(found.differences)} places"
                if found.differences
                else f"generation {record.committed_number} is the same at both ends"
            )
            return last

        yield from reported("verifying", work)

    # Replicas.

    @typed
    def ListReplicas(
        self, request: pb.ListReplicasRequest, context: grpc.ServicerContext
    ) -> pb.ListReplicasReply:
        """Every volume that other hosts mirror to this one."""
        return pb.ListReplicasReply(replicas=self.replicas.descriptions())

    @typed
    def GetReplica(
        self, request: pb.GetReplicaRequest, context: grpc.ServicerContext
    ) -> replica_pb2.ReplicaVolume:
        """One of them."""
        return self.replicas.description(request.name)

    @typed
    def AttachReplica(
        self, request: pb.AttachReplicaRequest, context: grpc.ServicerContext
    ) -> pb.AttachedReplica:
        """A read-only device of a committed generation."""
        device, generation = self.replicas.attach(request.name, request.generation)
        return pb.AttachedReplica(device=device, generation=generation)

    @typed
    def DetachReplica(
        self, request: pb.DetachReplicaRequest, context: grpc.ServicerContext
    ) -> pb.DetachReplicaReply:
        """Release it."""
        self.replicas.detach(request.name, request.generation)
        return pb.DetachReplicaReply()

    @typed
    def RemoveReplica(
        self, request: pb.RemoveReplicaRequest, context: grpc.ServicerContext
    ) -> pb.RemoveReplicaReply:
        """Forget a replica volume and its bytes."""
        self.replicas.remove(request.name)
        return pb.RemoveReplicaReply()

    # Events.

    @typed_stream
    def WatchEvents(
        self, request: pb.WatchEventsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Event]:
        """What happened, and what happens."""
        events = self.host.context.events
        since = request.since if request.HasField("since") else events.newest() + 1
        if not request.follow:
            yield from map(render.event_message, events.since(since))
            return
        stop = threading.Event()
        context.add_callback(stop.set)
        for event in events.follow(since, stop):
            if self.stopping.is_set():
                return
            yield render.event_message(event)
