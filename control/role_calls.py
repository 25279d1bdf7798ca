"""The Control service's calls that change who is source and who is replica."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from control import render
from control.adopt import resolve
from control.calls import Report, reported, typed, typed_stream
from control.host import Host
from control.replica.side import ReplicaSide
from control.switch import Roles
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import control_pb2_grpc, replica_pb2


class RoleCalls(control_pb2_grpc.ControlServicer):
    """Every method maps a message to the host and back; nothing is decided here."""

    host: Host
    replicas: ReplicaSide
    roles: Roles

    @typed_stream
    def Promote(
        self, request: pb.PromoteRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """A writable head on what is committed here."""

        def work(report: Report) -> pb.Progress:
            promoter = self.roles.promoter
            heads = promoter.promote(request.name, force=request.force, progress=report)
            return pb.Progress(phase="promoting", message=_heads(heads))

        yield from reported("promoting", work)

    @typed_stream
    def Demote(
        self, request: pb.DemoteRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """A source becomes a replica."""

        def work(_: Report) -> pb.Progress:
            names = self.roles.demoter.demote(request.name, request.identity, force=request.force)
            told = f"{', '.join(names)}: replica here now, written by {request.identity}"
            return pb.Progress(phase="demoting", message=told)

        yield from reported("demoting", work)

    @typed_stream
    def SwitchOver(
        self, request: pb.SwitchOverRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """Last cycle, this side becomes the replica, the other the source."""

        def work(say: Callable[[str], None]) -> str:
            heads = self.roles.switch(
                request.mirror, request.reverse_peer, say, identity=request.identity
            )
            return f"at the other host: {', '.join(heads)}"

        yield from _said(work)

    @typed_stream
    def DiscardThere(
        self, request: pb.DiscardThereRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """The other side gives up what it wrote."""

        def work(_: Report) -> pb.Progress:
            return pb.Progress(phase="resolving", message=self.roles.discard_there(request.mirror))

        yield from reported("resolving", work)

    @typed
    def ActivateVolume(
        self, request: pb.ActivateVolumeRequest, context: grpc.ServicerContext
    ) -> pb.Volume:
        """Give a fenced volume's head to applications after all."""
        volume = self.host.volume(request.name)
        self.host.unfence(volume, force=request.force)
        mirrors = [worker.mirror for worker in self.host.roster.workers_of(volume.name)]
        return render.volume_message(volume, mirrors)

    @typed
    def SetWriter(
        self, request: pb.SetWriterRequest, context: grpc.ServicerContext
    ) -> pb.ListReplicasReply:
        """Another host writes a replica from now on."""
        names = self.replicas.set_writer(request.name, request.identity)
        return pb.ListReplicasReply(replicas=[self.replicas.description(name) for name in names])

    @typed
    def SeedReplica(
        self, request: pb.SeedReplicaRequest, context: grpc.ServicerContext
    ) -> replica_pb2.ReplicaVolume:
        """Let a first copy build on content that is here."""
        spans = tuple(
            resolve(span.path, span.offset_bytes, span.length_bytes) for span in request.spans
        )
        self.replicas.seed(request.name, spans, request.identity)
        return self.replicas.description(request.name)


def _heads(heads: list[Path]) -> str:
    return f"source here now: {', '.join(map(str, heads))}"


def _said(work: Callable[[Callable[[str], None]], str]) -> Iterator[pb.Progress]:
    """Run ``work`` in a thread, and give what it says as it comes; last what it returns."""
    steps: queue.SimpleQueue[pb.Progress | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            last = work(lambda text: steps.put(pb.Progress(phase=text, message=text)))
            steps.put(pb.Progress(phase="done", message=last, finished=True))
        except BaseException as error:
            steps.put(error)

    threading.Thread(target=run, name="switch", daemon=True).start()
    while True:
        step = steps.get()
        if isinstance(step, BaseException):
            raise step
        yield step
        if step.finished:
            return
