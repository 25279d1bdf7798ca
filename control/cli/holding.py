"""Holding generations of replicas: one by itself, or a group's members at one instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control.cli import mounting
from control.cli.mounting import Shown
from control.cli.output import say
from control.cli.replicas import get
from control.cli.session import Session
from dm_tables.errors import FrazilError, Kind, NotFound, Usage
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

TRIES = 5
"""Times that a group's newest instant is looked for: newer ones come in meanwhile."""


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


class NoCommonInstant(NotFound):
    """Members of a group of which no instant is there of all, or none under this number."""

    def __init__(self, name: str, generation: int = 0) -> None:
        what = f"there is no generation of all volumes of {name} here"
        if generation:
            what = f"generation {generation} is not one instant of all volumes of {name}"
        super().__init__(what, "name its replicas one by one: frazil replica list")


@dataclass(frozen=True, slots=True)
class Held:
    """A replica's device of a generation; ``ours``: this very call made it."""

    name: str
    attached: pb.AttachedReplica
    writable: bool
    ours: bool


def members(session: Session, name: str) -> list[rpb.ReplicaVolume]:
    """The replica of a name, or the members of a group that is committed here.

    :raises FrazilError: there is neither; or which volumes the group has is not known here.
    """
    try:
        return [get(session, name)]
    except FrazilError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
    request = pb.GetReplicaGroupRequest(name=name)
    return list(session.api.ask("GetReplicaGroup", request, pb.ListReplicasReply).replicas)


def hold(session: Session, name: str, generation: int, *, writable: bool) -> list[Held]:
    """A device of the replica of a name, or one of each member of a group, all at one instant.

    :param generation: 0 for the newest that there is of all.
    :raises NoCommonInstant: there is none, or its number is of several. Nothing is held then.
    :raises FrazilError: why a device cannot be.
    """
    for left in reversed(range(TRIES)):
        replicas = members(session, name)
        alone = len(replicas) == 1
        try:
            number = generation if generation or alone else _newest(replicas)
            return _hold(session, replicas, number, writable=writable)
        except FrazilError as error:
            # What was the newest a moment ago may be merged by now, in some of them.
            if generation or alone or not left or error.kind is not Kind.NOT_FOUND:
                raise
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
        # A volume that joined has generations of its own before that, numbered as the group's.
        if len({one.attached.generation.uuid for one in held}) > 1:
            raise NoCommonInstant(replicas[0].group, generation)
    except FrazilError:
        let_go(session, held)
        raise
    return held


def let_go(session: Session, held: Sequence[Held]) -> None:
    """Detach them again, all that can be; one that was there before is somebody else's.

    For who has an error to raise already: one that stays is only told.
    """
    for one in held:
        if not one.ours:
            continue
        number = one.attached.generation.number
        try:
            detach(session, one.name, number, writable=one.writable)
        except FrazilError as error:
            say(f"generation {number} of {one.name} stays attached: {error.what}")


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
