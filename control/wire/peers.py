"""The first words with a peer, and what its failures mean to a source."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from control.wire.errors import PeerUnreachable, ProtocolMismatch, ReplicaRefused
from control.wire.frames import PROTOCOL
from control.wire.status import error_from_rpc
from dm_tables.errors import Denied, FrazilError, Precondition, Unavailable
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

HELLO_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Me:
    """What a frazild says of itself."""

    host_uuid: str
    host_name: str
    software: str


def greet(
    stub: ReplicaStub, me: Me, *, peer: str = "the replica", timeout: float = HELLO_SECONDS
) -> replica_pb2.HelloReply:
    """Say Hello, which comes before any other call.

    :param timeout: in seconds.
    :raises PeerUnreachable: it does not answer. :raises ReplicaRefused: it knows us not.
    :raises ProtocolMismatch: it speaks another version.
    """
    request = replica_pb2.HelloRequest(
        protocol=PROTOCOL,
        host_uuid=me.host_uuid,
        host_name=me.host_name,
        software=me.software,
    )
    try:
        reply: replica_pb2.HelloReply = stub.Hello(request, timeout=timeout)
    except grpc.RpcError as error:
        raise peer_error(error, peer) from error
    if reply.protocol != PROTOCOL:
        raise ProtocolMismatch(
            f"{peer} speaks version {reply.protocol} of the protocol, this host {PROTOCOL}",
            "run the same release of frazil on both hosts",
        )
    return reply


def peer_error(rpc_error: grpc.RpcError, peer: str) -> FrazilError:
    """The typed error behind a call to ``peer`` that failed.

    What the peer's frazil raised comes through as it is; what gRPC itself says becomes one of
    the wire's own types.
    """
    error = error_from_rpc(rpc_error)
    if type(error) is Unavailable:
        return PeerUnreachable(f"{peer} cannot be reached: {error.what}", "it is tried again")
    if type(error) is Denied:
        return ReplicaRefused(f"{peer} refused: {error.what}", error.hint)
    if type(error) is Precondition and error.hint:
        return ProtocolMismatch(f"{peer}: {error.what}", error.hint)
    return error
