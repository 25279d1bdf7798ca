"""The end of a split brain from the other host: its writes are given up because this one asks.

Nothing is given up unasked, and nothing is lost by it: the host that gives up must allow it to who
asks ([[replica.allow]] discard), no head of it may be in use, and what it wrote stays there as a
recovery point. It is a demote, so the way on is the same: only what changed here is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc

from control.demote import Demoter
from control.fence import is_fenced
from control.host import Host
from control.mirror import MirrorWorker
from control.records import MirrorRecord, MirrorState, Origin
from control.replica.side import ReplicaSide
from control.turning import DEMOTING, begun
from control.wire.channel import connect
from control.wire.errors import PeerUnreachable
from control.wire.peers import peer_error
from dm_tables.errors import Precondition, Unavailable
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

GIVE_UP_SECONDS = 120.0


class NothingToGiveUp(Precondition):
    """The volumes were not promoted: there is nothing that the other host has not."""


class NotTogether(Precondition):
    """What is to be given up is not one group where it was promoted."""


class NoAnswer(Unavailable):
    """The other host did not say in time whether it gave up; it may have, or still do so."""


def give_up(
    host: Host,
    replicas: ReplicaSide,
    demoter: Demoter,
    volumes: Sequence[str],
    identity: str,
    *,
    wanted: Callable[[], bool] = lambda: True,
) -> list[str]:
    """Demote the sources here that were replicas, for who wrote them: see :class:`Demoter`.

    One that was begun and has not ended goes on where it stopped.

    :param volumes: replica volumes that ``identity`` wrote.
    :param wanted: whether who asks still waits, see :meth:`Demoter.demote`.
    :return: those that are replicas again.
    :raises NothingToGiveUp: none of them is a source here.
    :raises NotTogether: they are in several groups here, or others are in theirs.
    :raises Precondition: a head is in use.
    :raises NoCommonGeneration: see :func:`control.common.common_generations`.
    :raises Unavailable: it is not wanted any more when it could be done; nothing was changed.
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
    groups = sorted({host.context.journal.group_of(name) for name in taken})
    if len(groups) > 1:
        raise NotTogether(
            f"{', '.join(taken)} are not one group here, but {', '.join(groups)}",
            "have each given up there: "
            + "; ".join(
                f"frazil volume demote {one} --identity {identity} --force" for one in groups
            ),
        )
    (group,) = groups
    members = [volume.name for volume in host.roster.conductor(group).group.volumes]
    if more := sorted(set(members) - set(volumes)):
        raise NotTogether(
            f"{', '.join(more)} would be given up as well, being in group {group} here",
            f"take them out of it first: frazil group leave {group} {more[0]}",
        )
    return demoter.demote(group, identity, force=True, wanted=wanted)


def _is_promoted(host: Host, replicas: ReplicaSide, name: str) -> bool:
    volume = host.context.journal.volume(name)
    return volume is not None and volume.uuid == replicas.store.volume(name).volume_uuid


def discard_there(host: Host, mirror: str) -> str:
    """Let the other host give up what it wrote to the replicas of a mirror.

    Heads of what it gave up that were kept back here because it had taken over are given out again,
    unless yet another one took over. The mirror goes on by itself if it is running.

    :return: what became of it, in words.
    :raises Precondition: the mirror brings a replica on; or as :func:`give_up`.
    :raises NothingToGiveUp: nothing of it was ever committed there; or as :func:`give_up`.
    :raises ReplicaRefused: the other host does not allow it.
    :raises PeerUnreachable, NoAnswer: it does not answer, or not in time.
    """
    worker = host.roster.worker(mirror)
    record = worker.record
    if record.origin is not Origin.GROUP:
        raise Precondition(
            f"mirror {mirror} brings a replica on: this host is no source of it",
            "resolve it where its source is",
        )
    # What joined the group since is unknown there.
    names = [record.replica_of(one.volume) for one in worker.standings if one.committed_uuid]
    if not names:
        raise NothingToGiveUp(
            f"nothing of mirror {mirror} was committed at {record.peer}, as far as is known here",
            "if it was promoted there, it can be given up there: frazil volume demote",
        )
    given_up = _ask_to_give_up(host, record, names)
    told = f"{', '.join(given_up)}: a replica again at {record.peer}, which keeps what it wrote"
    host.context.events.add("warning", mirror, "discarded-there", told)
    return "; ".join([told, *_given_out(host, worker, given_up), _goes_on(worker)])


def _ask_to_give_up(host: Host, record: MirrorRecord, names: Sequence[str]) -> list[str]:
    """:return: the replica volumes that the other host gave up."""
    with connect(record.peer, host.context.config.tls, record.plaintext) as channel:
        try:
            request = replica_pb2.GiveUpRequest(volumes=names)
            reply = ReplicaStub(channel).GiveUp(request, timeout=GIVE_UP_SECONDS)
        except grpc.RpcError as error:
            found = peer_error(error, record.peer)
            if not isinstance(found, PeerUnreachable):
                raise found from error
            hint = (
                "it may be done there all the same: look with 'frazil volume list' there, or ask "
                f"again: frazil mirror resolve {record.name} --discard remote --force"
            )
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                text = f"{record.peer} did not say within {GIVE_UP_SECONDS:g} s that it gave up"
                raise NoAnswer(text, hint) from error
            raise PeerUnreachable(found.what, hint) from error
    return list(reply.volumes)


def _given_out(host: Host, worker: MirrorWorker, given_up: Sequence[str]) -> list[str]:
    """What became of the heads that were kept back, in words."""
    record, found = worker.record, []
    for volume in [host.volume(member.name) for member in worker.group.volumes]:
        if not is_fenced(volume):
            continue
        if record.replica_of(volume.name) in given_up:
            host.give_back(volume, record)
        if is_fenced(volume):
            found.append(
                f"{volume.name} stays kept from applications: {volume.record.fenced} "
                f"(frazil volume activate {volume.name} asks again)"
            )
        else:
            found.append(volume.problem or f"applications may use {volume.stack.head.link} again")
    return found


def _goes_on(worker: MirrorWorker) -> str:
    record = worker.record
    if record.state is not MirrorState.RUNNING:
        return f"the mirror is {record.state}: frazil mirror start {record.name}"
    worker.wake()
    return f"{record.name} goes on"
