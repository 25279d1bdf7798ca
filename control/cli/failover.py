"""Changing roles: promote, demote, activate, switch, and the end of a split brain."""

from __future__ import annotations

import ipaddress

import click

from control.addresses import parse_address
from control.cli import roles, words
from control.cli.man import ManCommand
from control.cli.output import say, show
from control.cli.progress import follow
from control.cli.roles import HEAD
from control.cli.session import Session, pass_session
from control.cli.types import ADDRESS
from dm_tables.errors import Kind, Precondition, Usage
from proto.frazil.v1 import control_pb2 as pb


class WhoseLoss(Usage):
    """A split brain that nobody has said how to end."""

    def __init__(self, one: pb.Mirror) -> None:
        here = words.source(one)
        super().__init__(
            f"the mirror {one.name} is resolved only by saying whose writes are discarded, and"
            " --force",
            f"--discard local --force: {here} on this host loses what it wrote after the newest"
            " generation that both sides have (it is kept as a recovery point) and becomes the"
            f" replica; --discard remote: {one.peer} does, if its configuration lets this host ask"
            " for it",
        )


class NothingToResolve(Precondition):
    """A mirror that is well, or whose other side is only away."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no split brain of the mirror {name} to resolve",
            "to change roles use 'frazil mirror switch'; where the other host is away, wait for it",
        )


class WhichIdentity(Usage):
    """A peer by its address: its certificate's name is not known here."""

    def __init__(self, one: pb.Mirror) -> None:
        super().__init__(
            f"the name in the certificate of {one.peer} is not known here",
            "give it with --identity: only that host may write the replica",
        )


@click.command(
    "promote",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil replica promote data", "the source is lost: this host takes over"),
        ("frazil replica promote db", "all volumes of a group, from one instant"),
        ("frazil replica promote db --force", "although its source is sending to it"),
    ],
)
@click.argument("name")
@click.option(
    "--force", is_flag=True, help="Although a copy comes in now, or an authority objects."
)
@pass_session
def promote(session: Session, name: str, force: bool) -> None:
    """Make a source of the replica or group NAME.

    Says first from which generation, and how old that is: what the old source wrote after it is
    not here. Within seconds, whatever the size, /dev/mapper/frazil-VOLUME is there to be written.
    It waits for no copy and no merge.

    While a copy is being received it is refused without --force, for then the source lives: use
    'frazil mirror switch' on its host. Between two cycles nothing tells that it does, so see first
    that it does not write any more. If both are written, they have to be resolved later.

    Volumes that left the group are not promoted with it. Where two hosts have groups of that name
    here, give the name of a volume of the one that is meant. What failed half-way goes on where it
    stopped when the same command is given again.
    """
    reply = session.api.ask("ListReplicas", pb.ListReplicasRequest(), pb.ListReplicasReply)
    chosen = roles.replicas_of(name, reply.replicas)
    for one in chosen:
        say(roles.from_where(one))
    request = pb.PromoteRequest(name=name, force=force)
    last = follow(session.api.stream("Promote", request, pb.Progress), f"promoting {name}")
    heads = ", ".join(HEAD + one.name for one in chosen) or "its head"
    show(session, last, f"{name}: {last.message or f'promoted; applications may use {heads}'}")


@click.command(
    "demote",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil volume demote data --identity backup1", "backup1 may write it from now on"),
        ("frazil volume demote db --identity backup1 --force", "a group, whatever is lost by it"),
    ],
)
@click.argument("name")
@click.option(
    "--identity",
    required=True,
    metavar="WHO",
    help="Who writes it then: the name in that host's certificate, as in [[replica.allow]].",
)
@click.option("--force", is_flag=True, help="Also when no replica has all of it.")
@pass_session
def demote(session: Session, name: str, identity: str, force: bool) -> None:
    """Make a replica of the volume or group NAME.

    Says first what would be discarded: everything above the newest generation that another host
    has. If there is such, --force is needed. It is kept as a recovery point, to be mounted with
    'frazil replica mount'. The head goes away: stop what uses it first. No data is copied.

    With several mirrors, the host that is called WHO decides by which generation it has. What
    failed half-way goes on where it stopped when the same command is given again.
    """
    for line in _outlook(session, name, identity, force=force):
        say(line)
    _demote(session, name, identity, force=force)


def _outlook(session: Session, name: str, identity: str, *, force: bool) -> list[str]:
    api = session.api
    groups = api.ask("ListGroups", pb.ListGroupsRequest(), pb.ListGroupsReply).groups
    volumes = api.ask("ListVolumes", pb.ListVolumesRequest(), pb.ListVolumesReply).volumes
    mirrors = api.ask("ListMirrors", pb.ListMirrorsRequest(), pb.ListMirrorsReply).mirrors
    chosen = roles.volumes_of(name, volumes, groups)
    return [roles.lost(one, roles.ahead(one, mirrors, identity), force=force) for one in chosen]


def _demote(session: Session, name: str, identity: str, *, force: bool) -> None:
    request = pb.DemoteRequest(name=name, identity=identity, force=force)
    last = follow(session.api.stream("Demote", request, pb.Progress), f"demoting {name}")
    show(session, last, f"{name}: {last.message or f'demoted; {identity} may write it'}")


@click.command(
    "activate",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.UNAVAILABLE),
    examples=[
        ("frazil volume activate data", "if no other host took it over"),
        ("frazil volume activate data --force", "although one did, or nobody can tell"),
    ],
)
@click.argument("name")
@click.option("--force", is_flag=True, help="Although another host took it over.")
@pass_session
def activate(session: Session, name: str, force: bool) -> None:
    """Give the head of the fenced volume NAME to applications.

    After a restart a volume is held back where a replica's host says that it took over, and with
    the fencing "peer" until all of them said that they did not. They are asked again: all of them
    must answer, and who took over must have given it up. With --force it is given away all the
    same: if another host is the source by now, both are written, and one side's writes have to be
    discarded later. It overrides what is known now: who takes over later counts again.
    """
    request = pb.ActivateVolumeRequest(name=name, force=force)
    one = session.api.ask("ActivateVolume", request, pb.Volume)
    show(session, one, f"{one.name}: {one.state}, at {one.head_path}")


@click.command(
    "switch",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil mirror switch db-b", "the peer is the source from now on"),
        (
            "frazil mirror switch db-b --reverse host1:7420",
            "and mirrors back to this host, which it reaches as host1:7420",
        ),
        (
            "frazil mirror switch db-b --identity backup1",
            "the peer is reached by an address, and its certificate says backup1",
        ),
    ],
)
@click.argument("name")
@click.option(
    "--reverse",
    type=ADDRESS,
    metavar="HOST:PORT",
    help="By which the peer reaches this host, to mirror back.",
)
@click.option(
    "--identity",
    default="",
    metavar="WHO",
    help="The name in the peer's certificate, as in [[replica.allow]] here, if it is not the one "
    "by which it is reached.",
)
@pass_session
def switch(session: Session, name: str, reverse: str | None, identity: str) -> None:
    """Change the roles of both ends of the mirror NAME.

    Stop what uses the heads here first. A last cycle is committed, this host's volumes become
    replicas, and the peer's replicas become the source: nothing is lost, and nothing copied
    twice. Without --reverse nothing mirrors back until somebody makes a mirror there.

    The peer writes the replicas here from then on. If no [[replica.allow]] here lets the name write
    them by which it is reached, or that is an IP address, say its name with --identity; nothing
    has been changed then.
    """
    one = session.api.ask("GetMirror", pb.GetMirrorRequest(name=name), pb.Mirror)
    for line in roles.switching(one, reverse):
        say(line)
    request = pb.SwitchOverRequest(mirror=name, reverse_peer=reverse or "", identity=identity)
    last = follow(session.api.stream("SwitchOver", request, pb.Progress), f"switching {name}")
    done = f"switched; {words.source(one)} is written at {one.peer} from now on"
    show(session, last, f"{name}: {last.message or done}")


@click.command(
    "resolve",
    cls=ManCommand,
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.UNAVAILABLE, Kind.DENIED),
    examples=[
        ("frazil mirror resolve db-b", "what is there to choose from; nothing is changed"),
        ("frazil mirror resolve db-b --discard local --force", "the other side is right"),
        ("frazil mirror resolve db-b --discard remote --force", "this side is"),
    ],
)
@click.argument("name")
@click.option(
    "--discard",
    type=click.Choice(["local", "remote"]),
    help="Whose writes since the newest common generation.",
)
@click.option("--force", is_flag=True, help="Without it nothing is discarded.")
@click.option(
    "--identity",
    default="",
    metavar="WHO",
    help="The name in the peer's certificate, if it is not that of --peer.",
)
@pass_session
def resolve(session: Session, name: str, discard: str | None, force: bool, identity: str) -> None:
    """End a split brain of the mirror NAME.

    Both sides were written since they had a generation in common. frazil never chooses a side.
    With --discard local --force this host's volumes of the mirror are demoted: what they wrote
    after the newest generation that both sides have is kept here as a recovery point, and the
    peer may write them.

    With --discard remote --force that is done at the other host, where [[replica.allow]] must say
    discard = true of this one, and no head may be in use; then the mirror goes on. Where it is
    refused, nothing was changed: it can always be run on the other host.
    """
    one = session.api.ask("GetMirror", pb.GetMirrorRequest(name=name), pb.Mirror)
    if one.problem:
        say(f"{name}: {one.problem}")
    if discard is None or not force:
        raise WhoseLoss(one)
    if one.health == "OK" or (discard == "local" and one.health != "ERROR"):
        raise NothingToResolve(name)
    if discard == "remote":
        _discard_there(session, one)
        return
    _demote(session, one.group or one.volume, identity or _identity(one), force=True)


def _discard_there(session: Session, one: pb.Mirror) -> None:
    request = pb.DiscardThereRequest(mirror=one.name)
    asked = session.api.stream("DiscardThere", request, pb.Progress)
    last = follow(asked, f"resolving {one.name}")
    show(session, last, f"{one.name}: {last.message or f'{one.peer} gave up what it wrote'}")


def _identity(one: pb.Mirror) -> str:
    """The peer's name as its certificate most likely has it: the one it is reached by."""
    if one.plaintext:
        return "loopback"
    host = parse_address(one.peer).host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    raise WhichIdentity(one)
