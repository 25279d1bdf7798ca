"""``frazil replica``: the copies that this host keeps for others."""

from __future__ import annotations

import sys

import click

from control.cli import keeping, words
from control.cli.man import ManGroup
from control.cli.output import columns, data, fields, show
from control.cli.session import Session, pass_session
from control.units_text import human_size
from dm_tables.errors import Kind, Usage
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb


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
            one.role or "replica",
            human_size(one.size_bytes),
            words.number(one.newest),
            words.age(one.newest.frozen_at) if one.newest.HasField("frozen_at") else words.NONE,
            str(len(one.layers)),
            ",".join(words.number(held) for held in one.held) or words.NONE,
            _incoming(one),
        )
        for one in replicas
    ]
    header = ("REPLICA", "ROLE", "SIZE", "GEN", "FROZEN", "LAYERS", "HELD", "INCOMING")
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
    one = get(session, name)
    show(session, one, details(one))


def get(session: Session, name: str) -> rpb.ReplicaVolume:
    """The replica ``name``. :raises FrazilError: there is none; nobody answers."""
    return session.api.ask("GetReplica", pb.GetReplicaRequest(name=name), rpb.ReplicaVolume)


def details(one: rpb.ReplicaVolume) -> str:
    """Everything about a replica, for reading."""
    pairs = [
        ("replica", one.name),
        ("role", _role(one)),
        ("group", one.group),
        ("volume uuid", one.volume_uuid),
        ("source", one.source_identity),
        ("size", f"{human_size(one.size_bytes)} ({one.size_bytes} bytes)"),
        ("newest", words.generation(one.newest)),
        ("age", words.age(one.newest.frozen_at) if one.newest.HasField("frozen_at") else ""),
        ("committed", words.when(one.committed_at) if one.HasField("committed_at") else ""),
        ("incoming", _incoming(one)),
        ("merging", _merging(one)),
        ("held", ", ".join(words.number(held) for held in one.held) or words.NONE),
        ("kept", keeping.retention(one.retention)),
        ("takes", human_size(one.allocated_bytes) if one.allocated_bytes else ""),
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
    if one.points:
        text += "\n\n" + keeping.table(list(one.points))
    if one.history:
        text += "\n\nhistory:\n" + "\n".join(f"  {words.generation(past)}" for past in one.history)
    return text


def _role(one: rpb.ReplicaVolume) -> str:
    role = {
        "seed": "seed: content that was here before, no generation yet",
        "promoted": "promoted: a source here now",
    }.get(one.role, one.role or "replica")
    return f"{role}, since {words.when(one.role_since)}" if one.HasField("role_since") else role


def _merging(one: rpb.ReplicaVolume) -> str:
    if not one.merging_chunks_total:
        return ""
    return f"{one.merging_chunks_done} of {one.merging_chunks_total} chunks"


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
