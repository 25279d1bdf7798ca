"""What a change of roles will do, in words, before it is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from control.cli import words
from control.units_text import human_size
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

HEAD = "/dev/mapper/frazil-"


def replicas_of(name: str, replicas: Iterable[rpb.ReplicaVolume]) -> list[rpb.ReplicaVolume]:
    """The replica ``name``, or all of the group ``name`` without those that left it."""
    every = list(replicas)
    named = [one for one in every if one.name == name]
    found = [one for one in every if one.group == name]
    newest = max((one.newest.number for one in found), default=0)
    return named or [one for one in found if one.newest.number == newest]


def from_where(one: rpb.ReplicaVolume) -> str:
    """The generation that a replica would be promoted from."""
    if one.role == "promoted":
        return f"{one.name}: it is a source here already"
    if not one.newest.number:
        return f"{one.name}: no generation is committed here"
    return (
        f"{one.name}: from generation {one.newest.number}, {dated(one.newest)};"
        " what was written at the source after it is not here"
    )


def dated(generation: rpb.Generation) -> str:
    """``frozen 2026-03-01 12:00:00, 34 s ago``."""
    if not generation.HasField("frozen_at"):
        return "frozen at an unknown time"
    return f"frozen {words.when(generation.frozen_at)}, {words.age(generation.frozen_at)}"


def volumes_of(
    name: str, volumes: Iterable[pb.Volume], groups: Iterable[pb.Group]
) -> list[pb.Volume]:
    """The volumes of the group ``name``, or the volume ``name``."""
    members = {name}
    for group in groups:
        if group.name == name:
            members = set(group.volumes)
    return [one for one in volumes if one.name in members]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a volume holds that no other host has. ``changed``: bytes of chunks, at most."""

    newest: rpb.Generation
    layers: int
    changed: int


def ahead(volume: pb.Volume, mirrors: Iterable[pb.Mirror], identity: str = "") -> Ahead:
    """How far ``volume`` is beyond the newest generation that one of its mirrors has brought.

    :param identity: a host's name; where a mirror leads there by that name it alone counts.
    """
    every = list(mirrors)
    leading = [one for one in every if identity and one.peer.rpartition(":")[0] == identity]
    mirrors = [one for one in leading if _brought(volume.name, one).number] or every
    brought = [_brought(volume.name, mirror) for mirror in mirrors]
    newest = max(brought, key=lambda generation: generation.number, default=rpb.Generation())
    above = [
        layer
        for layer in volume.layers
        if layer.chunks and (not layer.generation.number or layer.generation.number > newest.number)
    ]
    return Ahead(newest, len(above), sum(layer.chunks * layer.chunk_bytes for layer in above))


def _brought(volume: str, mirror: pb.Mirror) -> rpb.Generation:
    for member in mirror.members:
        if member.volume == volume:
            return member.committed
    return mirror.committed if mirror.volume == volume else rpb.Generation()


def lost(volume: pb.Volume, beyond: Ahead, *, force: bool) -> str:
    """What demoting ``volume`` discards."""
    if not beyond.newest.number:
        return f"{volume.name}: no replica has any generation of it"
    base = f"generation {beyond.newest.number}, {dated(beyond.newest)}"
    if not beyond.layers:
        return f"{volume.name}: a replica has all of it, with {base}"
    text = f"{volume.name}: up to {human_size(beyond.changed)} were written after {base}"
    if force:
        return f"{text}, and no replica has them: they are kept as a recovery point"
    return f"{text}, and no replica has them: that is not discarded without --force"


def switching(one: pb.Mirror, reverse: str | None) -> Sequence[str]:
    """What a planned switch will do."""
    names = [member.volume for member in one.members] or [one.volume]
    heads = ", ".join(HEAD + name for name in names)
    back = f"it mirrors back to {reverse}" if reverse else "nothing mirrors back"
    return (
        f"{one.name}: {one.peer} has generation {words.number(one.committed)}; one last cycle is"
        " committed there first",
        f"{one.name}: then {heads} go away here, {one.peer} is the source, and {back}",
    )
