"""Which generation a source that becomes a replica has in common with who will write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from control import VERSION
from control.group import Group
from control.mirror import MirrorWorker
from control.records import GenerationRecord
from control.replica.access import LOOPBACK
from control.replica.records import ROLE_PROMOTED
from control.volume import Volume
from control.wire.channel import connect
from control.wire.peers import Me, greet, peer_error
from dm_tables.errors import FrazilError, Precondition
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

ASK_SECONDS = 10.0

SEED = (
    "remove the volume, and seed a replica with its device: only what differs is sent then "
    "(frazil replica seed)"
)


class NoCommonGeneration(Precondition):
    """No generation of the volume is both here and at another host."""


@dataclass(frozen=True, slots=True)
class There:
    """What the peer of a mirror has, and what it calls itself.

    :ivar newest: the UUID of each volume's newest generation; empty for none.
    """

    worker: MirrorWorker
    newest: dict[str, str]
    promoted: bool = False
    host_name: str = ""

    def goes_by(self, identity: str) -> bool:
        """Whether the peer writes the replica here under this name, as far as can be told."""
        record = self.worker.record
        if identity == LOOPBACK:
            return record.plaintext
        return identity in (self.host_name, host_of(record.peer))


def host_of(peer: str) -> str:
    """The host of ``host:port``."""
    return peer.rpartition(":")[0].strip("[]")


def common_generations(
    group: Group, workers: Sequence[MirrorWorker], identity: str
) -> tuple[dict[str, GenerationRecord], MirrorWorker]:
    """The newest generation of each volume that the host has which will write it.

    A host that answers says itself what it has: its last commit may not be known here.

    :param workers: of the mirrors that may lead there. :param identity: who will write it.
    :return: by volume, and the mirror that leads there.
    :raises NoCommonGeneration: there is none whose image is here, or it cannot be told.
    """
    asked = [ask(worker, group) for worker in workers]
    there = one_of(group, asked, identity)
    found = {}
    for volume in group.volumes:
        uuid = there.newest[volume.name]
        made = next(
            (
                one
                for one in volume.context.journal.generations(volume.name)
                if uuid and one.uuid == uuid
            ),
            None,
        )
        if made is None:
            raise NoCommonGeneration(f"no other host has a generation of {volume.name}", SEED)
        if made not in volume.images():
            raise NoCommonGeneration(
                f"generation {made.number} of {volume.name}, the newest that another host has, "
                "is merged over here",
                SEED,
            )
        found[volume.name] = made
    if len({made.uuid for made in found.values()}) > 1:
        raise NoCommonGeneration(
            f"the volumes of {group.name} are not at one generation at the other host",
            "take them out of the group, and demote them one by one",
        )
    return found, there.worker


def one_of(group: Group, asked: Sequence[There], identity: str) -> There:
    """Who will write the volumes; any where it does not matter.

    Of several that go by the name, or where none does, it is the one that was promoted.

    :raises NoCommonGeneration: there is nobody, or which it is matters and cannot be told.
    """
    if not asked:
        raise NoCommonGeneration(f"no other host has a generation of {group.volumes[0].name}", SEED)
    left = [one for one in asked if one.goes_by(identity)] or list(asked)
    left = [one for one in left if one.promoted] or left
    if all(one.newest == left[0].newest for one in left):
        return left[0]
    peers = ", ".join(f"{one.worker.mirror} ({one.worker.record.peer})" for one in left)
    raise NoCommonGeneration(
        f"which of the mirrors {peers} leads to {identity} is not known here, and they do not "
        f"have the same generation of {group.name}",
        "end those that do not lead there, which a demote does anyhow: frazil mirror remove NAME",
    )


def ask(worker: MirrorWorker, group: Group) -> There:
    """What a mirror's peer has; by what is known here, if it does not say."""
    try:
        return _asked(worker, group)
    except FrazilError as error:
        journal = worker.context.journal
        worker.context.events.add(
            "warning", worker.mirror, error.name, f"what it has is taken as known here: {error}"
        )
        names = [volume.name for volume in group.volumes]
        known = {name: journal.standing(worker.mirror, name).committed_uuid for name in names}
        return There(worker, known)


def _asked(worker: MirrorWorker, group: Group) -> There:
    record, context = worker.record, worker.context
    newest, roles = {}, set()
    with connect(record.peer, context.config.tls, record.plaintext) as channel:
        stub = ReplicaStub(channel)
        me = Me(context.journal.host_uuid, context.config.host.name, VERSION)
        host_name = greet(stub, me, peer=record.peer, timeout=ASK_SECONDS).host_name
        for volume in group.volumes:
            request = replica_pb2.DescribeRequest(volume=record.replica_of(volume.name))
            try:
                reply = stub.Describe(request, timeout=ASK_SECONDS)
            except grpc.RpcError as error:
                raise peer_error(error, record.peer) from error
            newest[volume.name] = _newest(worker, volume, reply)
            roles.add(reply.role)
    return There(worker, newest, ROLE_PROMOTED in roles, host_name)


def _newest(worker: MirrorWorker, volume: Volume, reply: replica_pb2.ReplicaVolume) -> str:
    """The UUID of the newest generation that the peer is known to have of a volume.

    Of a replica that was promoted the peer tells from which generation. What it froze since then
    may have been mirrored to here, before this side was promoted in turn.
    """
    told = str(reply.newest.uuid)
    if reply.role != ROLE_PROMOTED:
        return told
    journal = worker.context.journal
    known = journal.standing(worker.mirror, volume.name).committed_uuid
    order = [made.uuid for made in journal.generations(volume.name)]
    if known not in order or told not in order:
        return told
    return min(told, known, key=order.index)
