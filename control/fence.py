"""Fencing: an old source that comes back does not give its head to applications unasked.

Once a replica of it was promoted, another host's applications may be writing there. What is
written here then is no part of that any more: two histories, a split brain, which nobody resolves
but a person.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from control.addresses import parse_address
from dm_tables.errors import FrazilError, NotFound, Precondition, Unavailable

if TYPE_CHECKING:
    from control.context import Context
    from control.records import MirrorRecord, Promotion
    from control.volume import Volume
    from proto.frazil.v1 import replica_pb2

OVERRIDDEN = "overridden: "
"""Stands for the reason of a fence that a person took away by force, until an authority has it."""

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


class Unanswered(Unavailable):
    """Who could have taken the volume over is asked, and silent."""


def is_fenced(volume: Volume) -> bool:
    """Whether the head is kept back."""
    why = volume.record.fenced
    return bool(why) and not why.startswith(OVERRIDDEN)


def refusal(volume: Volume, *, certain: bool = False) -> FrazilError | None:
    """Why the head is not given to applications, if it is not: what :func:`check` raises."""
    try:
        check(volume, certain=certain)
    except FrazilError as error:
        return error
    return None


def check(volume: Volume, *, certain: bool = False) -> None:
    """See that the head may be given out.

    The authority is asked, if there is one, and as the group says (:data:`FENCINGS`) its
    replicas' hosts.

    :param certain: who is asked is waited for, too, if the group would go on without an answer.
    :raises Fenced: another host took it over. :raises Unanswered: one that is asked is silent.
    :raises AuthorityUnavailable: so is the authority.
    """
    if not is_fenced(volume):
        _ask(volume, certain=certain)
    if not volume.record.fenced:
        volume.context.authority.activating(volume)
    if is_fenced(volume):
        raise Fenced(
            f"{volume.name} is kept from applications: {volume.record.fenced}",
            f"frazil volume demote {volume.name}; or, to use it all the same, "
            f"frazil volume activate {volume.name} --force",
        )


def fence(volume: Volume, why: str, told_by: MirrorRecord | None = None) -> None:
    """Keep the head back from now on; one that is in use stays, and its user is told.

    What a person overrode is no reason any more.

    :param told_by: leads to the host that took over; None: no replica's host can be asked of it.
    """
    with volume.context.journal.transaction():
        known = reasons(volume)
        if why in known or why in _overridden(volume):
            return
        _keep_back(volume, {**known, why: _replica(volume, told_by) if told_by else ""})
    volume.context.events.add("error", volume.name, "fenced", why)
    try:
        with volume.tables:
            volume.check_idle()
            volume.stack.head.remove()
    except FrazilError as error:
        volume.context.events.add("warning", volume.name, error.name, str(error))


def unfence(volume: Volume, *, force: bool) -> None:
    """Give the head out whatever is known; without ``force`` only see that nothing speaks against.

    Who took it over may have given it up since, so the replicas' hosts are asked again: each must
    answer, who took over among them.

    What is known now is overridden, and no more: who takes over later fences again.

    :raises Fenced: without ``force``, and another host is known to have taken it over.
    """
    if not force:
        known = reasons(volume)
        if known:
            _check_nobody_has_it(volume)
            _are_over(volume, known)
        return
    overridden = {*_overridden(volume), *_told(volume), *reasons(volume)}
    with volume.context.journal.transaction():
        volume.context.journal.set_note(_note(volume), json.dumps(sorted(overridden)))
        _keep_back(volume, {})
        volume.context.journal.set_fenced(volume.name, OVERRIDDEN)


def given_up(volume: Volume, mirror: MirrorRecord) -> None:
    """The host that a mirror leads to gave up what it took over; what others did still counts."""
    by = _replica(volume, mirror)
    _are_over(volume, [why for why, there in reasons(volume).items() if there == by])


def reasons(volume: Volume) -> dict[str, str]:
    """Why the head is kept back: every takeover that is known, by the replica that was taken over.

    That is empty where no replica's host can say that it gave it up: an authority knew it.
    """
    if not is_fenced(volume):
        return {}
    noted: dict[str, str] = json.loads(volume.context.journal.note(_reasons_note(volume)) or "{}")
    why = volume.record.fenced
    return noted if why in noted else {why: ""}


def _are_over(volume: Volume, whys: Collection[str]) -> None:
    """What came to be known since still counts."""
    with volume.context.journal.transaction():
        known = reasons(volume)
        if known:
            _keep_back(volume, {why: there for why, there in known.items() if why not in whys})


def _keep_back(volume: Volume, known: dict[str, str]) -> None:
    volume.context.journal.set_note(_reasons_note(volume), json.dumps(known))
    volume.context.journal.set_fenced(volume.name, next(iter(known), ""))


def _reasons_note(volume: Volume) -> str:
    return f"fenced {volume.uuid}"


def _replica(volume: Volume, mirror: MirrorRecord) -> str:
    """One replica of a volume. Not the mirror's name: it may lead elsewhere by now."""
    return f"{mirror.replica_of(volume.name)} at {mirror.peer}"


def _note(volume: Volume) -> str:
    return f"overridden {volume.uuid}"


def _overridden(volume: Volume) -> list[str]:
    """The reasons that a person overrode."""
    noted: list[str] = json.loads(volume.context.journal.note(_note(volume)) or "[]")
    return noted


def _mirrors(volume: Volume) -> list[MirrorRecord]:
    journal = volume.context.journal
    mirrors = journal.mirrors_of(journal.group_of(volume.name))
    return [mirror for mirror in mirrors if mirror.peer]


def _check_nobody_has_it(volume: Volume) -> None:
    """See that all replicas' hosts say that they did not take it over, or not any more.

    Silence, a refusal or another volume's replica is no answer, and neither is that of others than
    who is known to have taken over.

    :raises Fenced: it cannot be said of one of them.
    """
    mirrors, why = _mirrors(volume), ""
    for mirror in mirrors:
        try:
            why = why or ask(volume.name, mirror, volume.context, certain=True)
        except FrazilError as error:
            why = f"{volume.record.fenced}; {mirror.peer} does not tell: {error.what}"
    asked = {_replica(volume, mirror) for mirror in mirrors}
    left = [known for known, there in reasons(volume).items() if there not in asked]
    if left:
        why = f"{left[0]}; no mirror of it leads to who could say that this is over"
    if why:
        raise Fenced(
            f"{volume.name} is kept from applications: {why}",
            "with --force it is used all the same: both sides are written then",
        )


def _told(volume: Volume) -> list[str]:
    """What the replicas' hosts that answer have to say against it."""
    found = []
    for mirror in _mirrors(volume):
        try:
            if _answers(mirror.peer):
                found.append(ask(volume.name, mirror, volume.context))
        except FrazilError:
            continue
    return [why for why in found if why]


def _ask(volume: Volume, *, certain: bool) -> None:
    group = volume.context.journal.group(volume.context.journal.group_of(volume.name))
    if group is None or group.fencing == OFF or volume.stack.head.exists():
        return
    for mirror in _mirrors(volume):
        if group.fencing != PEER and not _answers(mirror.peer):
            if certain:
                raise _unanswered(volume, mirror, "nobody can be reached there")
            continue
        try:
            taken_over = ask(volume.name, mirror, volume.context)
        except FrazilError as error:
            # Such as no certificates, with a configuration that cannot be read.
            if certain or group.fencing == PEER:
                raise _unanswered(volume, mirror, error.what) from error
            continue
        if taken_over:
            fence(volume, taken_over, mirror)


def _unanswered(volume: Volume, mirror: MirrorRecord, why: str) -> Unanswered:
    return Unanswered(
        f"{volume.name} waits for {mirror.peer} to say that it did not take over: {why}",
        f"frazil volume activate {volume.name} --force",
    )


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


def ask(volume: str, mirror: MirrorRecord, context: Context, *, certain: bool = False) -> str:
    """Whether another host took a volume over, by its replica: how to say so, or nothing.

    The same takeover is always said in the same words, and another one in others.

    :param certain: nothing stands for a replica of this volume that nobody took over; else it
        may also be that there is none, or none that this host may ask for.
    :raises Unavailable: the replica's host does not answer.
    :raises FrazilError: if ``certain``, it does not say.
    """
    # Here, because activating at boot must not wait for gRPC to be imported without need.
    import grpc

    from control.wire.channel import connect
    from control.wire.peers import peer_error
    from proto.frazil.v1 import replica_pb2
    from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

    journal = context.journal
    record = journal.volume(volume)
    request = replica_pb2.DescribeRequest(
        volume=mirror.replica_of(volume), volume_uuid=record.uuid if record is not None else ""
    )
    with connect(mirror.peer, context.config.tls, mirror.plaintext) as channel:
        try:
            there = ReplicaStub(channel).Describe(request, timeout=ASK_SECONDS)
        except grpc.RpcError as error:
            found = peer_error(error, mirror.peer)
            if certain or isinstance(found, Unavailable):
                raise found from error
            return ""
    if certain and there.volume_uuid != request.volume_uuid:
        raise NotFound(f"its {request.volume} is no replica of this volume")
    known = {made.uuid for made in journal.generations(volume)}
    known.add(journal.standing(mirror.name, volume).committed_uuid)
    return taken_over(there, mirror.peer, journal.promotion(volume), known)


def taken_over(
    there: replica_pb2.ReplicaVolume, peer: str, mine: Promotion | None, known: Collection[str]
) -> str:
    """What a replica's description says of who took the volume over; empty: nobody did.

    That another identity writes the replica is not enough: this host's may have been renamed. It
    counts once the replica has a generation that was never here.

    :param mine: when this host's side was promoted, if it was: of two sides the one that was
        promoted from the later generation counts, of one generation the one that was promoted
        later. Else each would keep its head back for the other one.
    :param known: the UUIDs of this host's generations.
    """
    number, since = there.newest.number, there.role_since.ToNanoseconds()
    if there.role == "promoted":
        if mine and mine >= (number, since):
            return ""
        when = datetime.fromtimestamp(since / 1e9, UTC).isoformat(timespec="milliseconds")
        return f"{peer} was promoted from generation {number} of it, at {when}"
    if not there.written_by_another or not there.newest.uuid or there.newest.uuid in known:
        return ""
    # From whom this side took over writes on elsewhere what it had: it does not count any more.
    if mine and (mine.number >= number or there.source_identity == mine.taken_from):
        return ""
    return f"{peer} has a replica of it that {there.source_identity} writes now"
