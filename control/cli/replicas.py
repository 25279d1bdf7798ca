"""``frazil replica``: the copies that this host keeps for others."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from control.cli import mounting, words
from control.cli.man import ManGroup
from control.cli.output import columns, data, document, fields, say, show
from control.cli.session import Session, pass_session
from control.units_text import human_size
from dm_tables.errors import FrazilError, Kind, NotFound, Precondition, Usage
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb


class NothingHeld(Precondition):
    """``replica unmount`` of a replica that no device shows."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no generation of the replica {name} is attached or mounted")


class NotHeld(NotFound):
    """``replica unmount`` of a generation that no device shows."""

    def __init__(self, name: str, generation: int, held: str) -> None:
        super().__init__(
            f"generation {generation} of the replica {name} is not attached or mounted",
            f"attached: {held}",
        )


class WhichGeneration(Usage):
    """``replica unmount`` where several generations are held."""

    def __init__(self, name: str, held: str) -> None:
        super().__init__(
            f"several generations of the replica {name} are held: {held}",
            "name one with --generation, or all of them with --all",
        )


class NotADirectory(Usage):
    """A place to mount at that is none."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not a directory", f"make it first: mkdir -p {path}")


class NotSure(Usage):
    """A replica's removal that nobody confirmed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"removing the replica {name} deletes its data and its history",
            "say --yes if that is meant",
        )


@click.group(cls=ManGroup)
def replica() -> None:
    """Replicas that this host keeps.

    A replica is what another host's mirror writes: always one whole instant.
    """


@replica.command("list", examples=[("frazil replica list", "a line a replica")])
@pass_session
def list_replicas(session: Session) -> None:
    """List the replicas that this host keeps."""
    reply = session.api.ask("ListReplicas", pb.ListReplicasRequest(), pb.ListReplicasReply)
    show(session, reply, table(list(reply.replicas)))


def table(replicas: list[rpb.ReplicaVolume]) -> str:
    """A line a replica."""
    if not replicas:
        return "no replicas"
    rows = [
        (
            one.name,
            human_size(one.size_bytes),
            words.number(one.newest),
            words.age(one.newest.frozen_at) if one.newest.HasField("frozen_at") else words.NONE,
            str(len(one.layers)),
            ",".join(words.number(held) for held in one.held) or words.NONE,
            _incoming(one),
        )
        for one in replicas
    ]
    header = ("REPLICA", "SIZE", "GEN", "FROZEN", "LAYERS", "HELD", "INCOMING")
    return columns(header, rows, right="SIZE GEN LAYERS")


def _incoming(one: rpb.ReplicaVolume) -> str:
    if not one.incoming.number:
        return words.NONE
    return f"{one.incoming.number}, {human_size(one.incoming_bytes)}"


@replica.command(
    "show", exits=(Kind.NOT_FOUND,), examples=[("frazil replica show data", "in full")]
)
@click.argument("name")
@pass_session
def show_replica(session: Session, name: str) -> None:
    """Show the replica NAME: where it stands, what it holds, what it went through."""
    one = _replica(session, name)
    show(session, one, details(one))


def _replica(session: Session, name: str) -> rpb.ReplicaVolume:
    return session.api.ask("GetReplica", pb.GetReplicaRequest(name=name), rpb.ReplicaVolume)


def details(one: rpb.ReplicaVolume) -> str:
    """Everything about a replica, for reading."""
    pairs = [
        ("replica", one.name),
        ("volume uuid", one.volume_uuid),
        ("source", one.source_identity),
        ("size", f"{human_size(one.size_bytes)} ({one.size_bytes} bytes)"),
        ("newest", words.generation(one.newest)),
        ("age", words.age(one.newest.frozen_at) if one.newest.HasField("frozen_at") else ""),
        ("committed", words.when(one.committed_at) if one.HasField("committed_at") else ""),
        ("incoming", _incoming(one)),
        ("merging", _merging(one)),
        ("held", ", ".join(words.number(held) for held in one.held) or words.NONE),
        ("base", one.base_path),
    ]
    text = fields(pairs)
    if one.layers:
        rows = [
            (
                words.number(layer.generation),
                layer.state,
                str(layer.chunks),
                human_size(layer.chunk_bytes),
                human_size(layer.allocated_bytes),
                layer.path,
            )
            for layer in one.layers
        ]
        header = ("GEN", "STATE", "CHUNKS", "CHUNK", "SIZE", "LAYER")
        text += "\n\n" + columns(header, rows, right="GEN CHUNKS CHUNK SIZE")
    if one.history:
        text += "\n\nhistory:\n" + "\n".join(f"  {words.generation(past)}" for past in one.history)
    return text


def _merging(one: rpb.ReplicaVolume) -> str:
    if not one.merging_chunks_total:
        return ""
    return f"{one.merging_chunks_done} of {one.merging_chunks_total} chunks"


@replica.command(
    "mount",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil replica mount data /mnt", "its newest instant, read-only, under /mnt"),
        ("dev=$(frazil replica mount data) && sha256sum $dev", "only the device"),
    ],
)
@click.argument("name")
@click.argument("directory", metavar="[DIRECTORY]", required=False)
@click.option("--generation", type=click.IntRange(min=1), metavar="N", help="Not the newest.")
@pass_session
def mount(session: Session, name: str, directory: str | None, generation: int | None) -> None:
    """Show a committed generation of the replica NAME as a read-only device, and mount it.

    Prints the device, or the DIRECTORY it is mounted at. The generation is held, unchanged,
    while newer ones come in, until it is unmounted. A filesystem whose journal would have to be
    replayed is mounted without a replay, and a line says so.
    """
    if directory is not None and not Path(directory).is_dir():
        raise NotADirectory(directory)
    before = _held(_replica(session, name))
    request = pb.AttachReplicaRequest(name=name, generation=generation or 0)
    attached = session.api.ask("AttachReplica", request, pb.AttachedReplica)
    mounted = None
    if directory is not None:
        ours = attached.generation.number not in before
        mounted = _mounted(session, name, attached, directory, ours=ours)
    if session.as_json:
        from control.cli.schema import as_dict

        place = {
            "mountpoint": mounted.directory if mounted else None,
            "options": mounted.options if mounted else None,
        }
        document(as_dict(attached) | place)
        return
    say(f"generation {words.generation(attached.generation)} of {name}")
    data(mounted.directory if mounted else attached.device)


def _mounted(
    session: Session, name: str, attached: pb.AttachedReplica, directory: str, *, ours: bool
) -> mounting.Mounted:
    try:
        mounted = mounting.mount(attached.device, directory)
    except FrazilError:
        # Whoever asked for a mounted directory does not know of a device to detach; but one
        # that was there before is somebody else's.
        if ours:
            _detach(session, name, attached.generation.number)
        raise
    if not mounted.replayed:
        say(f"mounted with {mounted.options}: the journal of the {mounted.filesystem} was not read")
    return mounted


def _detach(session: Session, name: str, generation: int) -> None:
    request = pb.DetachReplicaRequest(name=name, generation=generation)
    session.api.ask("DetachReplica", request, pb.DetachReplicaReply)


@replica.command(
    "unmount",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil replica unmount data", "and let the generation go")],
)
@click.argument("name")
@click.option("--generation", type=click.IntRange(min=1), metavar="N", help="Which one.")
@click.option("--all", "every", is_flag=True, help="Every one that is held.")
@pass_session
def unmount(session: Session, name: str, generation: int | None, every: bool) -> None:
    """Unmount the replica NAME wherever it is mounted, and take its read-only device away."""
    gone: list[str] = []
    chosen = _chosen(_replica(session, name), generation, every)
    for number in chosen:
        for point in mounting.mountpoints(name, number):
            mounting.unmount(point)
            gone.append(point)
        _detach(session, name, number)
    if session.as_json:
        document({"name": name, "generations": chosen, "unmounted": gone})
        return
    for number in chosen:
        data(f"{name}: generation {number} is let go")


def _held(one: rpb.ReplicaVolume) -> set[int]:
    return {held.number for held in one.held}


def _chosen(one: rpb.ReplicaVolume, generation: int | None, every: bool) -> list[int]:
    held = sorted(_held(one))
    listed = ", ".join(map(str, held))
    if not held:
        raise NothingHeld(one.name)
    if generation is not None:
        if generation not in held:
            raise NotHeld(one.name, generation, listed)
        return [generation]
    if len(held) > 1 and not every:
        raise WhichGeneration(one.name, listed)
    return held


@replica.command(
    "remove",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil replica remove data --yes", "without a question")],
)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def remove(session: Session, name: str, yes: bool) -> None:
    """Delete the replica NAME, its data and its history. There is no way back."""
    if not yes and not (sys.stdin.isatty() and _confirmed(name)):
        raise NotSure(name)
    request = pb.RemoveReplicaRequest(name=name)
    show(session, session.api.ask("RemoveReplica", request, pb.RemoveReplicaReply), "")
    if not session.as_json:
        data(f"{name}: removed")


def _confirmed(name: str) -> bool:
    return click.confirm(f"Delete the replica {name} with all its data?", err=True)
