"""The Control service: what an administrator or an orchestrator asks of this host."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import grpc

from control import VERSION, render
from control.calls import Report, reported, typed, typed_stream
from control.freeze_table import freeze_table_parts
from control.heatmap import heat_map
from control.host import Host
from control.live_trace import live_traces, tracer_message
from control.mirror_calls import MirrorCalls
from control.replica.side import ReplicaSide
from control.role_calls import RoleCalls
from control.switch import Roles
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2

log = logging.getLogger("frazil.services")


class ControlService(MirrorCalls, RoleCalls):
    """Every method maps a message to the host and back; nothing is decided here."""

    def __init__(self, host: Host, replicas: ReplicaSide, roles: Roles) -> None:
        self.host = host
        self.replicas = replicas
        self.roles = roles
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
        mirrors = [worker.mirror for worker in self.host.roster.workers_of(name)]
        return render.volume_message(self.host.volume(name), mirrors)

    @typed
    def GrowVolume(self, request: pb.GrowVolumeRequest, context: grpc.ServicerContext) -> pb.Volume:
        """More spans, or longer ones, with the head in use."""
        wanted = [(s.path, s.offset_bytes, s.length_bytes) for s in request.spans]
        planned = self.host.grow_volume(request.name, wanted, dry_run=request.dry_run)
        return render.planned_message(planned) if request.dry_run else self._volume(request.name)

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
    def GetReplicaGroup(
        self, request: pb.GetReplicaGroupRequest, context: grpc.ServicerContext
    ) -> pb.ListReplicasReply:
        """Those that are committed together as a group."""
        return pb.ListReplicasReply(replicas=self.replicas.group(request.name))

    @typed
    def AttachReplica(
        self, request: pb.AttachReplicaRequest, context: grpc.ServicerContext
    ) -> pb.AttachedReplica:
        """A device of a committed generation, read-only or to test on."""
        device, generation = self.replicas.attach(
            request.name, request.generation, writable=request.writable
        )
        return pb.AttachedReplica(device=device, generation=generation)

    @typed
    def DetachReplica(
        self, request: pb.DetachReplicaRequest, context: grpc.ServicerContext
    ) -> pb.DetachReplicaReply:
        """Release it."""
        self.replicas.detach(request.name, request.generation, writable=request.writable)
        return pb.DetachReplicaReply()

    @typed
    def SetRetention(
        self, request: pb.SetRetentionRequest, context: grpc.ServicerContext
    ) -> replica_pb2.ReplicaVolume:
        """Say which generations a replica keeps."""
        if request.HasField("retention"):
            self.replicas.set_retention(request.name, request.retention)
        if request.drop_diverged:
            self.replicas.drop_diverged(request.name)
        return self.replicas.description(request.name)

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
