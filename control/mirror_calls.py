"""The Control service's calls about groups and mirrors."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from control import render
from control.calls import TICK_SECONDS, Report, reported, typed, typed_stream
from control.conductor import Conductor
from control.fence import ASK
from control.host import Host
from control.mirror import MirrorWorker
from control.records import GroupRecord, MirrorRecord, MirrorState, Origin
from control.roster import policy_of
from control.verify import repair_blocks
from control.wire.channel import stays_here
from dm_tables.errors import Kind, Precondition, Usage
from dm_tables.names import volume_name
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import control_pb2_grpc

WATCH_SECONDS = 1.0


class MirrorCalls(control_pb2_grpc.ControlServicer):
    """Every method maps a message to the host and back; nothing is decided here."""

    host: Host
    stopping: threading.Event

    # Groups.

    @typed
    def CreateGroup(
        self, request: pb.CreateGroupRequest, context: grpc.ServicerContext
    ) -> pb.Group:
        """Make a group of volumes."""
        record = GroupRecord(
            request.name,
            implicit=False,
            consistency=request.consistency,
            policy=policy_of(request.policy),
            quorum=request.quorum,
            fencing=request.fencing or ASK,
            **_hooks(request.hooks),
        )
        return self._group(self.host.roster.create_group(record, list(request.volumes)))

    @typed
    def ListGroups(
        self, request: pb.ListGroupsRequest, context: grpc.ServicerContext
    ) -> pb.ListGroupsReply:
        """Every group."""
        return pb.ListGroupsReply(groups=map(self._group, self.host.roster.conductors()))

    @typed
    def GetGroup(self, request: pb.GetGroupRequest, context: grpc.ServicerContext) -> pb.Group:
        """One group."""
        return self._group(self.host.roster.conductor(request.name))

    @typed
    def UpdateGroup(
        self, request: pb.UpdateGroupRequest, context: grpc.ServicerContext
    ) -> pb.Group:
        """Members and settings."""
        record = self.host.roster.conductor(request.name).group.record
        names = ("consistency", "quorum", "fencing")
        fields: dict[str, Any] = {
            name: getattr(request, name) for name in names if request.HasField(name)
        }
        if request.HasField("policy"):
            fields["policy"] = policy_of(request.policy)
            fields.setdefault("quorum", 0)
        if request.HasField("hooks"):
            fields.update(_hooks(request.hooks))
        changed = dataclasses.replace(record, **fields)
        add, remove = list(request.add), list(request.remove)
        return self._group(self.host.roster.change_group(changed, add, remove))

    @typed
    def RemoveGroup(
        self, request: pb.RemoveGroupRequest, context: grpc.ServicerContext
    ) -> pb.RemoveGroupReply:
        """Its volumes are by themselves again."""
        self.host.roster.remove_group(request.name)
        return pb.RemoveGroupReply()

    def _group(self, conductor: Conductor) -> pb.Group:
        mirrors = [worker.mirror for worker in self.host.roster.workers_in(conductor.group.name)]
        return render.group_message(conductor, mirrors)

    # Mirrors.

    @typed
    def CreateMirror(
        self, request: pb.CreateMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """Write a mirror down; start it if asked."""
        return render.mirror_message(self.host.roster.create_mirror(self._planned(request)))

    def _planned(self, request: pb.CreateMirrorRequest) -> MirrorRecord:
        if not request.name:
            raise Usage("a mirror needs a name")
        if request.plaintext and not stays_here(request.peer):
            raise Usage(
                f"{request.peer} is not on this host: plaintext is for loopback only",
                "leave --plaintext out, and set [tls] in the configuration",
            )
        if bool(request.volume) == bool(request.group):
            raise Usage("a mirror is of a volume or of a group: name one of them")
        origin = self.host.roster.origin_of(request.volume, request.group)
        if request.volume and origin is Origin.GROUP:
            self._check_by_itself(self.host.volume(request.volume).name)
        pattern = request.replica_volume or "{volume}"
        volume_name(pattern.replace("{volume}", "v"))
        return MirrorRecord(
            volume_name(request.name),
            request.volume or request.group,
            request.peer,
            pattern,
            MirrorState.RUNNING if request.start else MirrorState.STOPPED,
            request.interval_ms,
            request.rate_bytes,
            request.on_demand,
            request.plaintext,
            request.verify,
            request.schedule,
            request.rpo_ms,
            request.window,
            origin,
        )

    def _check_by_itself(self, volume: str) -> None:
        group = self.host.context.journal.group_of(volume)
        if group != volume:
            raise Precondition(
                f"volume {volume} is in group {group}", f"mirror that: --group {group}"
            )

    @typed
    def ListMirrors(
        self, request: pb.ListMirrorsRequest, context: grpc.ServicerContext
    ) -> pb.ListMirrorsReply:
        """Every mirror."""
        return self._mirrors([])

    def _mirrors(self, names: list[str]) -> pb.ListMirrorsReply:
        workers = (
            [self.host.roster.worker(name) for name in names]
            if names
            else self.host.roster.workers()
        )
        return pb.ListMirrorsReply(mirrors=[render.mirror_message(worker) for worker in workers])

    @typed
    def GetMirror(self, request: pb.GetMirrorRequest, context: grpc.ServicerContext) -> pb.Mirror:
        """One mirror."""
        return render.mirror_message(self.host.roster.worker(request.name))

    @typed_stream
    def WatchMirrors(
        self, request: pb.WatchMirrorsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ListMirrorsReply]:
        """The mirrors now, and again once a second and at every change of a single one."""
        names = list(request.names)
        while context.is_active() and not self.stopping.is_set():
            yield self._mirrors(names)
            if len(names) == 1:
                worker = self.host.roster.worker(names[0])
                with worker.changed:
                    worker.changed.wait(WATCH_SECONDS)
            else:
                self.stopping.wait(WATCH_SECONDS)

    @typed
    def UpdateMirror(
        self, request: pb.UpdateMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """Change settings; they hold at once."""
        names = (
            "interval_ms",
            "rate_bytes",
            "on_demand",
            "peer",
            "verify",
            "schedule",
            "rpo_ms",
            "window",
        )
        fields = {name: getattr(request, name) for name in names if request.HasField(name)}
        if "peer" in fields:
            stays_here(fields["peer"])
        return render.mirror_message(self.host.roster.change_mirror(request.name, **fields))

    @typed
    def StartMirror(
        self, request: pb.StartMirrorRequest, context: grpc.ServicerContext
    ) -> pb.Mirror:
        """Let it run."""
        worker = self.host.roster.start_mirror(request.name, whole=request.whole)
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
        return render.mirror_message(self.host.roster.set_mirror_state(name, state, now=now))

    @typed
    def RemoveMirror(
        self, request: pb.RemoveMirrorRequest, context: grpc.ServicerContext
    ) -> pb.RemoveMirrorReply:
        """End and forget it."""
        self.host.roster.remove_mirror(request.name)
        return pb.RemoveMirrorReply()

    @typed_stream
    def SyncNow(
        self, request: pb.SyncNowRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """Start a cycle now; stay until its generation is committed if asked."""
        worker = self.host.roster.worker(request.name)
        if worker.record.state is not MirrorState.RUNNING:
            raise Precondition(
                f"mirror {request.name} is {worker.record.state.value}",
                f"frazil mirror start {request.name}",
            )
        asked = time.monotonic()
        number = self.host.roster.ask(request.name)
        if not request.wait:
            yield pb.Progress(phase="asked", finished=True, message="a cycle starts now")
            return
        yield from self._until_committed(worker, number, asked, context)

    def _until_committed(
        self, worker: MirrorWorker, number: int, asked: float, context: grpc.ServicerContext
    ) -> Iterator[pb.Progress]:
        """Follow the worker; what waiting may cure is waited for, anything else ends the call."""
        while context.is_active() and not self.stopping.is_set():
            standing, now = worker.committed, worker.now
            if standing is not None and standing.committed_number >= number:
                last = pb.Progress(phase="committed", finished=True)
                last.generation.number = standing.committed_number
                last.generation.uuid = standing.committed_uuid
                last.message = f"generation {standing.committed_number} is committed"
                yield last
                return
            failed = worker.failed_since(asked)
            if failed is not None and failed.kind is not Kind.UNAVAILABLE:
                raise failed
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
        worker = self.host.roster.worker(request.mirror)
        cancel = threading.Event()
        context.add_callback(cancel.set)

        def work(report: Report) -> pb.Progress:
            members = worker.comparisons.members()
            compared = {
                member[0].name: worker.comparisons.newest(
                    *member,
                    block_bytes=request.block_bytes,
                    rate_bytes=request.rate_bytes,
                    resume=request.resume,
                    progress=report,
                    cancel=cancel,
                )
                for member in members
            }
            for volume, (_, one) in compared.items():
                if request.repair and one.blocks:
                    self.host.roster.repair(worker.mirror, volume, repair_blocks(one))
            worker.comparisons.forget(compared)
            return render.compared_message(compared)

        yield from reported("verifying", work)


def _hooks(hooks: pb.Hooks) -> dict[str, Any]:
    return {
        "before": tuple(hooks.before),
        "before_ms": hooks.before_ms,
        "after": tuple(hooks.after),
        "after_ms": hooks.after_ms,
    }
