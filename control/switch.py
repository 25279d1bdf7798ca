"""A planned change of roles: last cycle, this side becomes the replica, the other the source."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence

import grpc

from control.demote import Demoter
from control.give_up import discard_there, give_up
from control.host import Host
from control.mirror import MirrorWorker
from control.promote import Promoter, WayBack
from control.records import MirrorRecord, MirrorState, Origin
from control.replica.access import LOOPBACK, AllowRule, is_allowed
from control.replica.side import ReplicaSide
from control.turning import Turning
from control.wire.channel import connect, stays_here
from control.wire.peers import peer_error
from dm_tables.errors import FrazilError, Kind, Precondition
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

TAKE_OVER_SECONDS = 120.0
LOOK_SECONDS = 0.5

Say = Callable[[str], None]


class WhichIdentity(Precondition):
    """Nobody said what the other host's certificate calls it, and its address does not tell."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(
            f"{what}, so the other host could not mirror back as {name}",
            "say by which name it will write the replicas here: --identity NAME",
        )


class Roles:
    """Who is source and who is replica: promote, demote, and both at once."""

    def __init__(self, host: Host, replicas: ReplicaSide) -> None:
        self._host = host
        self._replicas = replicas
        self._turning = Turning()
        self.promoter = Promoter(host, replicas, self._turning)
        self.demoter = Demoter(host, replicas, self._turning)

    def resume(self) -> None:
        """Go on with what a crash cut short; what cannot be now is told, and tried at the next."""
        for resume in (self.promoter.resume, self.demoter.resume):
            try:
                resume()
            except FrazilError as error:
                self._host.context.events.add("error", "roles", error.name, str(error))

    def take_over(self, request: replica_pb2.TakeOverRequest) -> list[str]:
        """The other side's half of :meth:`switch`. :raises: as :meth:`Promoter.promote`."""
        volume = request.volumes[0]
        with self._turning.alone(f"taking over {request.group or volume}"):
            name = self.promoter.called(volume)
            back = WayBack(request.reverse_peer, request.plaintext)
            if request.dry_run:
                self.promoter.check(name, force=False)
                self._host.context.authority.check()
                return []
            heads = self.promoter.promote(name, back=back, progress=lambda *_: None)
            return [str(head) for head in heads]

    def take_over_unasked(self, name: str) -> None:
        """Promote because the owner's lease ended. :raises: as :meth:`Promoter.promote`."""
        self.promoter.promote(name, progress=lambda *_: None)

    def give_up(
        self, volumes: Sequence[str], identity: str, wanted: Callable[[], bool]
    ) -> list[str]:
        """The other side's half of :func:`control.give_up.discard_there`."""
        return give_up(self._host, self._replicas, self.demoter, volumes, identity, wanted=wanted)

    def discard_there(self, mirror: str) -> str:
        """See :func:`control.give_up.discard_there`.

        :raises Unavailable: another change of roles is under way.
        """
        with self._turning.alone(f"the end of a split brain of {mirror}"):
            return discard_there(self._host, mirror)

    def switch(self, mirror: str, reverse_peer: str, say: Say, *, identity: str = "") -> list[str]:
        """Bring the last writes over, demote here, promote there.

        :param reverse_peer: how the other side reaches this one, to mirror back.
        :param identity: the other host's name in its certificate, which writes the replicas here
            then; empty: the name that it is reached by.
        :return: the heads there.
        :raises WhichIdentity: that name could not write them; nothing was changed.
        :raises Precondition: a head is in use, or was written meanwhile; nothing was changed.
        :raises PeerUnreachable: the other side did not answer. If that was its promote, both are
            replicas now, and either may be promoted.
        :raises AuthorityUnavailable: it could not be told; nothing was changed.
        """
        worker = self._host.roster.worker(mirror)
        record = worker.record
        if record.state is not MirrorState.RUNNING:
            raise Precondition(
                f"mirror {mirror} is {record.state}", f"frazil mirror start {mirror}"
            )
        if record.origin is not Origin.GROUP:
            raise Precondition(
                f"mirror {mirror} brings a replica on: this host is no source of it",
                "switch roles where its source is",
            )
        group = self._host.roster.conductor(record.group_name).group
        volumes = [record.replica_of(volume.name) for volume in worker.group.volumes]
        identity = identity or _derived(record, volumes, self._host.context.config.replica.allow)
        for volume in group.volumes:
            volume.check_idle()
        self._host.context.authority.check()
        say("the last cycle")
        # Before the turn: it may take long, and keep nobody from promoting something else.
        self._sync(worker)
        with self._turning.alone(f"the switch of {mirror}"):
            standing = worker.committed
            assert standing is not None
            request = replica_pb2.TakeOverRequest(
                group=record.group_name if len(volumes) > 1 else "",
                generation_uuid=standing.committed_uuid,
                volumes=volumes,
                reverse_peer=reverse_peer,
                plaintext=record.plaintext,
                dry_run=True,
            )
            self._ask(record, request)
            say("this side becomes the replica")
            self.demoter.demote(worker.group.name, identity, force=False, mirror=mirror)
            say("the other side becomes the source")
            request.dry_run = False
            return self._ask(record, request)

    def _sync(self, worker: MirrorWorker) -> None:
        asked = time.monotonic()
        number = self._host.roster.ask(worker.mirror)
        while worker.committed_number < number:
            failed = worker.failed_since(asked)
            if failed is not None and failed.kind is not Kind.UNAVAILABLE:
                raise failed
            time.sleep(LOOK_SECONDS)

    def _ask(self, mirror: MirrorRecord, request: replica_pb2.TakeOverRequest) -> list[str]:
        tls = self._host.context.config.tls
        with connect(mirror.peer, tls, mirror.plaintext) as channel:
            try:
                reply = ReplicaStub(channel).TakeOver(request, timeout=TAKE_OVER_SECONDS)
            except grpc.RpcError as error:
                raise peer_error(error, mirror.peer) from error
            return list(reply.head_paths)


def _derived(record: MirrorRecord, volumes: Sequence[str], rules: Sequence[AllowRule]) -> str:
    """The other host's name as its certificate most likely has it: the one it is reached by.

    :raises WhichIdentity: it is an address, or the other host could not write under it here.
    """
    if record.plaintext and stays_here(record.peer):
        name = LOOPBACK
    else:
        name = record.peer.rpartition(":")[0].strip("[]")
    if _is_address(name):
        raise WhichIdentity(f"{record.peer} is an address, and certificates have names", name)
    for volume in volumes:
        if not is_allowed(rules, name, volume):
            raise WhichIdentity(f"no [[replica.allow]] here lets {name} write {volume}", name)
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
