"""Holding generations of replicas: one by itself, or a group's members at one instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control.cli import mounting
from control.cli.mounting import Shown
from control.cli.replicas import get
from control.cli.session import Session
from dm_tables.errors import FrazilError, Kind, NotFound, Precondition, Usage
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

TRIES = 5
"""Times that a group's newest instant is looked for: newer ones come in meanwhile."""

PROMOTED = "promoted"


class NotHeld(NotFound):
    """``replica unmount`` of a generation that no device shows."""

    def __init__(self, name: str, generation: int, held: str) -> None:
        super().__init__(
            f"generation {generation} of the replica {name} is not attached or mounted",
            f"attached: {held}",
        )


class WhichGeneration(Usage):
    """One generation wanted, where several are there."""

    def __init__(self, name: str, held: str) -> None:
        super().__init__(
            f"several generations of the replica {name} are held: {held}",
            "name one with --generation, or all of them with --all",
        )


class SeveralSources(Precondition):
    """A group's name that several hosts use here."""

    def __init__(self, name: str, sources: Sequence[str]) -> None:
        super().__init__(
            f"group {name} is committed here by {' and by '.join(sources)}",
            "name its replicas one by one",
        )


class NoCommonInstant(NotFound):
    """Members of a group of which no instant is there of all."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no generation of all volumes of {name} here",
            "name its replicas one by one: frazil replica list",
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A replica's device of a generation; ``ours``: this very call made it."""

    name: str
    attached: pb.AttachedReplica
    writable: bool
    ours: bool


def members(session: Session, name: str) -> list[rpb.ReplicaVolume]:
    """The replica of a name, or all that are committed here as the group of that name.

    :raises FrazilError: there is neither. :raises SeveralSources: two groups of that name.
    """
    try:
        return [get(session, name)]
    except FrazilError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        reply = session.api.ask("ListReplicas", pb.ListReplicasRequest(), pb.ListReplicasReply)
        found = [one for one in reply.replicas if one.group == name and one.role != PROMOTED]
        if not found:
            raise
    if len(sources := sorted({one.source_identity for one in found})) > 1:
        raise SeveralSources(name, sources)
    return found


def hold(
    session: Session, replicas: Sequence[rpb.ReplicaVolume], generation: int, *, writable: bool
) -> list[Held]:
    """A device of each, all of one generation, or of none.

    :param generation: 0 for the newest that there is of all.
    :raises FrazilError: why a device cannot be.
    """
    if len(replicas) == 1:
        return _hold(session, replicas, generation, writable=writable)
    for left in reversed(range(TRIES)):
        try:
            return _hold(session, replicas, generation or _newest(replicas), writable=writable)
        except FrazilError as error:
            # What was the newest a moment ago may be merged by now, in some of them.
            if generation or not left or error.kind is not Kind.NOT_FOUND:
                raise
        replicas = [get(session, one.name) for one in replicas]
    raise AssertionError


def _newest(replicas: Sequence[rpb.ReplicaVolume]) -> int:
    there = [
        {point.generation.number: point.generation.uuid for point in one.points} for one in replicas
    ]
    for number in sorted(set.intersection(*map(set, there)), reverse=True):
        if len({numbers[number] for numbers in there}) == 1:
            return number
    raise NoCommonInstant(replicas[0].group)


def _hold(
    session: Session, replicas: Sequence[rpb.ReplicaVolume], generation: int, *, writable: bool
) -> list[Held]:
    held: list[Held] = []
    try:
        for one in replicas:
            before = {made.generation for made in shown(one) if made.writable is writable}
            request = pb.AttachReplicaRequest(
                name=one.name, generation=generation, writable=writable
            )
            attached = session.api.ask("AttachReplica", request, pb.AttachedReplica)
            ours = attached.generation.number not in before
            held.append(Held(one.name, attached, writable, ours))
    except FrazilError:
        let_go(session, held)
        raise
    return held


def let_go(session: Session, held: Sequence[Held]) -> None:
    """Detach them again; one that was there before is somebody else's."""
    for one in held:
        if one.ours:
            detach(session, one.name, one.attached.generation.number, writable=one.writable)


def detach(session: Session, name: str, generation: int, *, writable: bool) -> None:
    """Take a device away. :raises FrazilError: it is in use."""
    request = pb.DetachReplicaRequest(name=name, generation=generation, writable=writable)
    session.api.ask("DetachReplica", request, pb.DetachReplicaReply)


def shown(one: rpb.ReplicaVolume) -> list[Shown]:
    """The devices that show generations of a replica, the oldest generation first.

    A generation that is held without a word about its device has the one of its name.
    """
    found = [
        Shown(point.generation.number, device, mounting.is_writable(device))
        for point in one.points
        for device in point.devices
    ]
    told = {device.generation for device in found}
    found += [
        Shown(held.number, mounting.held_device(one.name, held.number), writable=False)
        for held in one.held
        if held.number not in told
    ]
    return sorted(found, key=lambda device: device.generation)


def chosen(
    name: str, there: Sequence[Shown], generation: int | None, every: bool
) -> Sequence[Shown]:
    """Those to end: the only one, the one of ``generation``, or all. It is never guessed.

    :raises NotHeld: not that one. :raises WhichGeneration: several.
    """
    listed = ", ".join(str(one.generation) for one in there)
    if generation is not None:
        wanted = [one for one in there if one.generation == generation]
        if not wanted:
            raise NotHeld(name, generation, listed)
        return wanted
    if len(there) > 1 and not every:
        raise WhichGeneration(name, listed)
    return there
