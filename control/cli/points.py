"""``replica points``, ``keep``, ``seed``, ``set``: a replica's instants, beginning and writer."""

from __future__ import annotations

import click

from control.cli import keeping
from control.cli.man import ManCommand
from control.cli.output import say, show
from control.cli.refusals import NothingToSet
from control.cli.replicas import get
from control.cli.session import Session, pass_session
from control.cli.types import SPAN, SpanText
from control.cli.volumes import span_messages
from control.units_text import human_size
from dm_tables.errors import Kind
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

COUNT = click.IntRange(0, 10_000)


@click.command(
    "points",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND,),
    examples=[
        ("frazil replica points data", "a line a recovery point, the newest first"),
        ("frazil replica points data --json | jq '.points[].generation.number'", "for a script"),
    ],
)
@click.argument("name")
@pass_session
def points(session: Session, name: str) -> None:
    """List the recovery points of the replica NAME.

    They are the instants that can be mounted, and tested on. SIZE is what keeping it takes. KEPT
    BY says why it is there: newest; last, hourly, daily or weekly, by 'replica keep'; held, a
    device shows it; diverged, what a demoted source had that no other host has; passing, it goes
    with the next merge.
    """
    one = get(session, name)
    show(session, one, lambda: _listed(one))


def _listed(one: rpb.ReplicaVolume) -> str:
    text = f"{one.name}: keeps {keeping.retention(one.retention)}"
    text += f"; {human_size(one.allocated_bytes)} in all" if one.allocated_bytes else ""
    return f"{keeping.table(list(one.points))}\n{text}"


@click.command(
    "keep",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND,),
    examples=[
        ("frazil replica keep data --hourly 24 --daily 7", "a day of hours, a week of days"),
        ("frazil replica keep data --last 10", "and the ten newest of all"),
        ("frazil replica keep data --last 0 --hourly 0 --daily 0 --weekly 0", "only the newest"),
    ],
)
@click.argument("name")
@click.option("--last", type=COUNT, metavar="N", help="The newest N.")
@click.option("--hourly", type=COUNT, metavar="N", help="The newest of each of N hours.")
@click.option("--daily", type=COUNT, metavar="N", help="The newest of each of N days.")
@click.option("--weekly", type=COUNT, metavar="N", help="The newest of each of N weeks.")
@click.option(
    "--drop-diverged",
    is_flag=True,
    help="Give up what a demoted source had that no other host has. It cannot be had back.",
)
@pass_session
def keep(session: Session, /, name: str, *, drop_diverged: bool, **given: int | None) -> None:
    """Say which recovery points the replica NAME keeps. What is not given stays.

    The newest generation is always kept. What no rule keeps any more goes with the next merge,
    unless a device shows it; generations that went before do not come back. Keeping takes room
    for what changed between the instants; where there is none left for what comes next, the
    oldest go, with an event.
    """
    chosen = {period: count for period, count in given.items() if count is not None}
    if not chosen and not drop_diverged:
        options = [f"--{period}" for period in (*given, "drop-diverged")]
        raise NothingToSet(f"the replica {name}", options)
    request = pb.SetRetentionRequest(name=name, drop_diverged=drop_diverged)
    if chosen:
        request.retention.CopyFrom(get(session, name).retention)
        for period, count in chosen.items():
            setattr(request.retention, period, count)
    one = session.api.ask("SetRetention", request, rpb.ReplicaVolume)
    if going := keeping.passing(list(one.points)):
        say(f"{name}: with the next merge go generations {', '.join(map(str, going))}")
    show(session, one, f"{name}: keeps {keeping.retention(one.retention)}")


@click.command(
    "seed",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.EXISTS, Kind.PRECONDITION),
    examples=[
        ("frazil replica seed data /dev/sdx --identity host1", "a disk that was shipped here"),
        ("frazil replica seed data /srv/old.img --identity host1", "an old copy, as a file"),
    ],
)
@click.argument("name")
@click.argument("spans", metavar="SPAN...", nargs=-1, required=True, type=SPAN)
@click.option(
    "--identity",
    required=True,
    metavar="WHO",
    help="Who will write it: the name in that host's certificate, as in [[replica.allow]].",
)
@pass_session
def seed(session: Session, name: str, spans: tuple[SpanText, ...], identity: str) -> None:
    """Begin the replica NAME with content that is here already.

    A SPAN is PATH[,offset=SIZE][,length=SIZE], as in 'volume create'. Of the first cycle only the
    blocks travel whose digests differ. The spans become the replica's base: they are written to
    from then on, by merges, and nobody else may use them.
    """
    request = pb.SeedReplicaRequest(name=name, spans=span_messages(spans), identity=identity)
    one = session.api.ask("SeedReplica", request, rpb.ReplicaVolume)
    size = human_size(one.size_bytes)
    show(session, one, f"{name}: {size} to begin on; {identity} may write it")


@click.command(
    "set",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.UNAVAILABLE),
    examples=[
        ("frazil replica set data --identity host2", "host2 is the source now, and may write it"),
        ("frazil replica set db --identity host2", "all replicas of the group db"),
    ],
)
@click.argument("name")
@click.option(
    "--identity",
    required=True,
    metavar="WHO",
    help="Who writes it from now on: the name in that host's certificate, as in [[replica.allow]].",
)
@pass_session
def set_replica(session: Session, name: str, identity: str) -> None:
    """Let another host write the replica NAME, or all replicas of the group NAME.

    For when its source is another host now: another of its replicas was promoted. What is here
    stays; a mirror that is made at the new source goes on from the generation that both have, and
    the old source may not write it any more. Refused while a copy comes in, and for what was
    promoted.
    """
    request = pb.SetWriterRequest(name=name, identity=identity)
    reply = session.api.ask("SetWriter", request, pb.ListReplicasReply)
    names = ", ".join(one.name for one in reply.replicas)
    them = "it" if len(reply.replicas) == 1 else "them"
    show(session, reply, f"{names}: {identity} may write {them} from now on")
