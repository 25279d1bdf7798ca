"""Fencing: an old source that comes back does not give its head to applications unasked.

Once a replica of it was promoted, another host's applications may be writing there. What is
written here then is no part of that any more: two histories, a split brain, which nobody resolves
but a person.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from control.addresses import parse_address
from dm_tables.errors import FrazilError, Precondition, Unavailable

if TYPE_CHECKING:
    from control.config.sections import TlsSection
    from control.records import MirrorRecord, Promotion
    from control.volume import Volume

OVERRIDDEN = "overridden: "
"""Begins the reason of a fence that a person took away by force."""

OFF, ASK, PEER = FENCINGS = ("off", "ask", "peer")
"""Whether the replicas' hosts are asked before a head is given out after a restart: not; where
they answer; and their answers are waited for."""

ASK_SECONDS = 10.0
KNOCK_SECONDS = 2.0
SILENT_SECONDS = 60.0

_silent: dict[str, float] = {}
"""Addresses where nobody answered, and until when: many volumes do not wait for each of them."""


class Fenced(Precondition):
    """The head is kept from applications: another host took the volume over."""


class SplitBrain(Precondition):
    """What was a replica is written as a source by its host, and so is this side."""


def is_fenced(volume: Volume) -> bool:
    """Whether the head is kept back."""
    why = volume.record.fenced
    return bool(why) and not why.startswith(OVERRIDDEN)


def check(volume: Volume) -> None:
    """See that the head may be given out.

    The authority is asked, if there is one, and as the group says (:data:`FENCINGS`) its
    replicas' hosts.

    :raises Fenced: another host took it over. :raises Unavailable: one that is asked is silent.
    """
    if not volume.record.fenced:
        _ask(volume)
    if not volume.record.fenced:
        volume.context.authority.activating(volume)
    if is_fenced(volume):
        raise Fenced(
            f"{volume.name} is kept from applications: {volume.record.fenced}",
            f"frazil volume demote {volume.name}; or, to use it all the same, "
            f"frazil volume activate {volume.name} --force",
        )


def fence(volume: Volume, why: str) -> None:
    """Keep the head back from now on; one that is in use stays, and its user is told."""
    if volume.record.fenced:
        return
    volume.context.journal.set_fenced(volume.name, why)
    volume.context.events.add("error", volume.name, "fenced", why)
    try:
        with volume.tables:
            volume.check_idle()
            volume.stack.head.remove()
    except FrazilError as error:
        volume.context.events.add("warning", volume.name, error.name, str(error))


def unfence(volume: Volume, *, force: bool) -> None:
    """Give the head out whatever is known; without ``force`` only see that nothing speaks against.

    :raises Fenced: without ``force``, and another host is known to have taken it over.
    """
    why = volume.record.fenced
    if not force:
        if is_fenced(volume):
            raise Fenced(
                f"{volume.name} is kept from applications: {why}",
                "with --force it is used all the same: both sides are written then",
            )
        return
    volume.context.journal.set_fenced(volume.name, OVERRIDDEN + why.removeprefix(OVERRIDDEN))


def _ask(volume: Volume) -> None:
    journal = volume.context.journal
    group = journal.group(journal.group_of(volume.name))
    if group is None or group.fencing == OFF or volume.stack.head.exists():
        return
    for mirror in journal.mirrors_of(group.name):
        if mirror.peer and (group.fencing == PEER or _answers(mirror.peer)):
            try:
                mine = journal.promotion(volume.name)
                taken_over = ask(volume.name, mirror, volume.context.config.tls, mine)
            except FrazilError as error:
                # Such as no certificates, with a configuration that cannot be read.
                if group.fencing != PEER:
                    continue
                raise Unavailable(
                    f"{volume.name} waits for {mirror.peer} to say that it did not take over: "
                    f"{error.what}",
                    f"frazil volume activate {volume.name} --force",
                ) from error
            if taken_over:
                fence(volume, taken_over)


def _answers(peer: str) -> bool:
    """Whether somebody listens there. At boot there is no network yet, which is seen at once."""
    if peer.startswith("unix:"):
        return True
    now = time.monotonic()
    if now < _silent.get(peer, 0.0):
        return False
    address = parse_address(peer)
    try:
        socket.create_connection((address.host, address.port), KNOCK_SECONDS).close()
    except OSError:
        _silent[peer] = now + SILENT_SECONDS
        return False
    return True


def ask(
    volume: str, mirror: MirrorRecord, tls: TlsSection | None, mine: Promotion | None = None
) -> str:
    """Whether the replica of a volume was promoted: how to say so, or nothing.

    :param mine: when this host's side was, if it was: of two sides the one that was promoted from
        the later generation counts, of one generation the one that was promoted later. Else each
        would keep its head back for the other one.
    :raises Unavailable: its host does not answer.
    """
    # Here, because activating at boot must not wait for gRPC to be imported without need.
    import grpc

    from control.wire.channel import connect
    from control.wire.peers import peer_error
    from proto.frazil.v1 import replica_pb2
    from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

    replica = mirror.replica_of(volume)
    with connect(mirror.peer, tls, mirror.plaintext) as channel:
        try:
            request = replica_pb2.DescribeRequest(volume=replica)
            there = ReplicaStub(channel).Describe(request, timeout=ASK_SECONDS)
        except grpc.RpcError as error:
            found = peer_error(error, mirror.peer)
            if isinstance(found, Unavailable):
                raise found from error
            return ""
    since = there.role_since.ToNanoseconds()
    if there.role != "promoted" or (mine and mine >= (there.newest.number, since)):
        return ""
    return f"{mirror.peer} was promoted from generation {there.newest.number} of it"
