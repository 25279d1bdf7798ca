"""The end of a split brain from the other host: its writes are given up because this one asks.

Nothing is given up unasked, and nothing is lost by it: the host that gives up must allow it to who
asks ([[replica.allow]] discard), no head of it may be in use, and what it wrote stays there as a
recovery point. It is a demote, so the way on is the same: only what changed here is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from control.demote import Demoter
from control.host import Host
from control.mirror import MirrorWorker
from control.records import MirrorState, Origin
from control.replica.side import ReplicaSide
from control.turning import DEMOTING, begun
from control.wire.channel import connect
from control.wire.peers import peer_error
from dm_tables.errors import Precondition
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

GIVE_UP_SECONDS = 120.0


class NothingToGiveUp(Precondition):
    """The volumes were not promoted: there is nothing that the other host has not."""


def give_up(
    host: Host, replicas: ReplicaSide, demoter: Demoter, volumes: Sequence[str], identity: str
) -> list[str]:
    """Demote the sources here that were replicas, for who wrote them: see :class:`Demoter`.

    One that was begun and has not ended goes on where it stopped.

    :param volumes: replica volumes that ``identity`` wrote. :return: all of them.
    :raises NothingToGiveUp: none of them is a source here.
    :raises Precondition: a head is in use, or others would have to be given up with them.
    :raises NoCommonGeneration: see :func:`control.common.common_generations`.
    """
    left = begun(host.context.journal, DEMOTING)
    if left and set(left["names"].values()) & set(volumes):
        return demoter.demote(left["mirrored"], identity, force=True)
    taken = [name for name in volumes if _is_promoted(host, replicas, name)]
    if not taken:
        raise NothingToGiveUp(
            f"{', '.join(volumes)}: no source here, so nothing was written that could be given up",
            "start the mirror again; heads that are kept back at its source are given out by "
            "'frazil volume activate' there, which asks again",
        )
    group = host.context.journal.group_of(taken[0])
    members = [volume.name for volume in host.roster.conductor(group).group.volumes]
    if more := sorted(set(members) - set(volumes)):
        raise Precondition(
            f"{', '.join(more)} would be given up as well, being in group {group} here",
            f"take them out of it first: frazil group leave {group} {more[0]}",
        )
    return demoter.demote(group, identity, force=True)


def _is_promoted(host: Host, replicas: ReplicaSide, name: str) -> bool:
    volume = host.context.journal.volume(name)
    return volume is not None and volume.uuid == replicas.store.volume(name).volume_uuid


def discard_there(host: Host, mirror: str) -> str:
    """Let the other host give up what it wrote to the replicas of a mirror.

    Heads that were kept back here because that host had taken over are given out again, unless yet
    another one took over. The mirror goes on by itself if it is running.

    :return: what became of it, in words.
    :raises Precondition: the mirror brings a replica on; or as :func:`give_up`.
    :raises ReplicaRefused: the other host does not allow it.
    :raises PeerUnreachable: it does not answer.
    """
    worker = host.roster.worker(mirror)
    record = worker.record
    if record.origin is not Origin.GROUP:
        raise Precondition(
            f"mirror {mirror} brings a replica on: this host is no source of it",
            "resolve it where its source is",
        )
    names = [record.replica_of(volume.name) for volume in worker.group.volumes]
    with connect(record.peer, host.context.config.tls, record.plaintext) as channel:
        try:
            request = replica_pb2.GiveUpRequest(volumes=names)
            given_up = ReplicaStub(channel).GiveUp(request, timeout=GIVE_UP_SECONDS).volumes
        except grpc.RpcError as error:
            raise peer_error(error, record.peer) from error
    told = f"{', '.join(given_up)}: a replica again at {record.peer}, which keeps what it wrote"
    host.context.events.add("warning", mirror, "discarded-there", told)
    return "; ".join([told, *_given_out(host, worker), _goes_on(worker)])


def _given_out(host: Host, worker: MirrorWorker) -> list[str]:
    found = []
    for member in worker.group.volumes:
        volume = host.volume(member.name)
        if host.give_back(volume):
            found.append(volume.problem or f"applications may use {volume.stack.head.link} again")
    return found


def _goes_on(worker: MirrorWorker) -> str:
    record = worker.record
    if record.state is not MirrorState.RUNNING:
        return f"the mirror is {record.state}: frazil mirror start {record.name}"
    worker.wake()
    return f"{record.name} goes on"
