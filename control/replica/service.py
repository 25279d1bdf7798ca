"""The Replica service: what one frazild asks of another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import grpc

from control.replica.access import (
    AllowRule,
    Client,
    allowed_identity,
    check_may_discard,
    client_of,
)
from control.replica.admission import Source, Wanted, check_loop, written_by_another
from control.replica.describe import describe, outline
from control.replica.groups import read_commit
from control.replica.images import image_digests
from control.replica.merging import ReplicaMerger
from control.replica.quota import quota_of
from control.replica.receive import Receiver, Replies, Requests, first_request
from control.replica.records import ROLE_PROMOTED
from control.replica.store import ReplicaStore
from control.store.errors import os_failure
from control.wire.errors import BadCommit, BaseMismatch, ProtocolMismatch, WrittenByAnother
from control.wire.frames import PROTOCOL
from control.wire.peers import Me
from control.wire.status import abort_with
from dm_tables.errors import FrazilError
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaServicer

log = logging.getLogger("frazil.replica")


class ReplicaService(ReplicaServicer):
    """The servicer. Every call but Hello needs a rule that allows the client the volume.

    :param rules: gives the [[replica.allow]] rules there are now.
    :param source: gives this host's own volume with a UUID, if there is one.
    :param take_over: makes sources of replicas; gives their heads.
    :param give_up: makes replicas again of sources that were promoted, for who wrote them, if
        that is still wanted.
    """

    def __init__(
        self,
        store: ReplicaStore,
        receiver: Receiver,
        merger: ReplicaMerger,
        me: Me,
        rules: Callable[[], Sequence[AllowRule]],
        *,
        source: Callable[[str], Source | None] = lambda _: None,
        take_over: Callable[[replica_pb2.TakeOverRequest], list[str]] = lambda _: [],
        give_up: Callable[[Sequence[str], str, Callable[[], bool]], list[str]] = lambda *_: [],
    ) -> None:
        self._take_over = take_over
        self._give_up = give_up
        self._source = source
        self._store = store
        self._receiver = receiver
        self._merger = merger
        self._me = me
        self._rules = rules

    def Hello(
        self, request: replica_pb2.HelloRequest, context: grpc.ServicerContext
    ) -> replica_pb2.HelloReply:
        """Who is there. FAILED_PRECONDITION for another version of the protocol."""
        with _typed(context):
            client = client_of(context)
            if request.protocol != PROTOCOL:
                raise ProtocolMismatch(
                    f"{self._me.host_name} speaks version {PROTOCOL} of the protocol, "
                    f"{request.host_name} {request.protocol}",
                    "run the same release of frazil on both hosts",
                )
        return replica_pb2.HelloReply(
            protocol=PROTOCOL,
            host_uuid=self._me.host_uuid,
            host_name=self._me.host_name,
            software=self._me.software,
            identity=client.identity,
        )

    def Describe(
        self, request: replica_pb2.DescribeRequest, context: grpc.ServicerContext
    ) -> replica_pb2.ReplicaVolume:
        """Where a volume stands."""
        with _typed(context):
            try:
                self._check_reader(context, request.volume)
            except WrittenByAnother:
                uuid = self._store.volume(request.volume).volume_uuid
                if not uuid or uuid != request.volume_uuid:
                    raise
                return outline(self._store, request.volume)
            merge = self._merger.progress(request.volume)
            return describe(self._store, request.volume, merge)

    def Receive(self, request_iterator: Requests, context: grpc.ServicerContext) -> Replies:
        """One generation."""
        with _typed(context):
            requests = _until_broken(request_iterator)
            wanted = first_request(requests)
            identity = allowed_identity(self._rules(), client_of(context), wanted.volume)
            # The generated stubs do not know it; it ends the wait for the next request.
            interrupt: Callable[[], object] = context.cancel
            self._check_loop(wanted)
            quota = quota_of(self._rules(), identity)
            yield from self._receiver.receive(identity, wanted, requests, interrupt, quota)

    def Commit(
        self, request: replica_pb2.CommitRequest, context: grpc.ServicerContext
    ) -> replica_pb2.Committed:
        """The staged generations of a group, all of them or none."""
        with _typed(context):
            members = read_commit(request)
            for volume in members:
                self._check_reader(context, volume)
            return self._receiver.commit(request.group, members)

    def TakeOver(
        self, request: replica_pb2.TakeOverRequest, context: grpc.ServicerContext
    ) -> replica_pb2.TakeOverReply:
        """The end of a planned switch of roles."""
        with _typed(context):
            if not request.volumes:
                raise BadCommit("nothing is named that could be taken over")
            for volume in request.volumes:
                self._check_reader(context, volume)
                newest = self._store.journal.newest(volume)
                if newest is None or newest.generation.uuid != request.generation_uuid:
                    raise BaseMismatch(
                        f"{volume} does not stand at generation {request.generation_uuid} here",
                        "let a cycle end first",
                    )
            return replica_pb2.TakeOverReply(head_paths=self._take_over(request))

    def GiveUp(
        self, request: replica_pb2.GiveUpRequest, context: grpc.ServicerContext
    ) -> replica_pb2.GiveUpReply:
        """The end of a split brain, against this host."""
        with _typed(context):
            if not request.volumes:
                raise BadCommit("nothing is named that could be given up")
            for volume in request.volumes:
                self._check_reader(context, volume)
                check_may_discard(self._rules(), self._store.volume(volume).identity, volume)
            identity = self._store.volume(request.volumes[0]).identity
            given_up = self._give_up(request.volumes, identity, context.is_active)
            return replica_pb2.GiveUpReply(volumes=given_up)

    def Digests(
        self, request: replica_pb2.DigestsRequest, context: grpc.ServicerContext
    ) -> Iterator[replica_pb2.BlockDigests]:
        """Digests of a committed generation's blocks."""
        with _typed(context):
            self._check_reader(context, request.volume)
            stop = threading.Event()
            context.add_callback(stop.set)
            yield from image_digests(self._store, request, stop)

    def _check_loop(self, wanted: Wanted) -> None:
        """A promoted volume is refused as such, by whom it was a replica of."""
        volume = self._store.journal.volume(wanted.volume)
        if volume is None or volume.role != ROLE_PROMOTED:
            check_loop(wanted, self._me, self._source(wanted.volume_uuid))

    def _check_reader(self, context: grpc.ServicerContext, volume: str) -> None:
        """:raises ReplicaRefused: no rule allows it the volume.
        :raises WrittenByAnother: the client is not the one that writes it.
        """
        client: Client = client_of(context)
        allowed_identity(self._rules(), client, volume)
        owner = self._store.volume(volume).identity
        if owner not in client.names:
            raise written_by_another(volume, owner, client.identity)


@contextmanager
def _typed(context: grpc.ServicerContext) -> Iterator[None]:
    """Errors that are raised inside end the call, typed."""
    try:
        yield
    except FrazilError as error:
        log.info("%s: %s", error.name, error)
        abort_with(context, error)
    except OSError as error:
        log.exception("a call failed")
        abort_with(context, os_failure(error, error.filename or "the replica", "using it"))


def _until_broken(requests: Requests) -> Requests:
    """The requests until the connection breaks, which ends them as their end would."""
    with suppress(grpc.RpcError):
        yield from requests
