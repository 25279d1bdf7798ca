"""``frazil mirror``: copy a volume or a group to another host, cycle after cycle."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from control.cli import rhythm, words
from control.cli.man import ManGroup
from control.cli.members import groups
from control.cli.mirror_text import details, status_code, table
from control.cli.output import data, show
from control.cli.progress import follow
from control.cli.refusals import NothingToSet
from control.cli.session import Session, pass_session
from control.cli.types import ADDRESS, RATE
from control.cli.waiting import wait_for
from control.units_text import Rate
from dm_tables.errors import Kind, Precondition, Usage
from proto.frazil.v1 import control_pb2 as pb

KNOWN = (Kind.NOT_FOUND,)


SETTINGS = (
    "--interval",
    "--schedule",
    "--rpo",
    "--on-demand",
    "--continuous",
    "--window",
    "--rate",
    "--peer",
    "--verify",
)


class WhatToMirror(Usage):
    """A mirror of nothing, or of two things."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"the mirror {name} needs one volume or one group: {why}",
            "write --volume V or --group G, and --peer HOST:PORT",
        )


@click.group(cls=ManGroup)
def mirror() -> None:
    """Mirrors of volumes and groups to other hosts.

    A mirror freezes its volume or its group, copies what changed to the peer, and begins again.
    """


@mirror.command(
    "create",
    examples=[
        ("frazil mirror create data-b data backup1:7420 --start", "mirror data from now on"),
        (
            "frazil mirror create nightly data backup2:7420 --interval 1h --rate 50MB/s",
            "a freeze an hour, gently; begins with 'frazil mirror start nightly'",
        ),
        (
            "frazil mirror create db-b --group db --peer backup1:7420 --rpo 5m --start",
            "all volumes of a group, at the pace that five minutes ask for",
        ),
        (
            "frazil mirror create db-c --group db --peer backup2:7420"
            " --schedule '0 1 * * *' --replica-name 'night-{volume}'",
            "once a night, under other names there",
        ),
    ],
    exits=(Kind.NOT_FOUND, Kind.EXISTS, Kind.PRECONDITION),
)
@click.argument("name")
@click.argument("volume", required=False, metavar="[VOLUME")
@click.argument("peer", required=False, metavar="HOST:PORT]", type=ADDRESS)
@click.option("--volume", "volume_option", metavar="VOLUME", help="The volume, if not given above.")
@click.option("--group", metavar="GROUP", help="All volumes of a group, instead of one volume.")
@click.option(
    "--peer",
    "peer_option",
    type=ADDRESS,
    metavar="HOST:PORT",
    help="Where the frazild listens that keeps the replica, if not given above.",
)
@click.option(
    "--replica-name",
    "--replica-volume",
    "replica_volume",
    default="",
    metavar="PATTERN",
    help="The volume's name there, if another; {volume} in it stands for its name here.",
)
@rhythm.options
@click.option("--rate", type=RATE, default=Rate(0), metavar="RATE", help="At most, as 50MB/s.")
@click.option("--verify", is_flag=True, help="Compare every generation at both ends.")
@click.option("--plaintext", is_flag=True, help="No TLS: only for a peer on this very host.")
@click.option("--start", is_flag=True, help="Start it, too.")
@pass_session
def create(session: Session, /, name: str, **given: Any) -> None:
    """Make a mirror NAME of a volume or a group to the frazild at HOST:PORT.

    The first cycle copies everything without its holes and zeroes; each later one what changed.
    The peer's configuration must allow this host to write the replicas. Without an interval, a
    schedule, an RPO or --on-demand a cycle follows the last at once.

    VOLUME may also be a replica that this host keeps, and GROUP one whose volumes are committed
    here together: what their source commits here is then mirrored on, without a freeze.
    """
    request = pb.CreateMirrorRequest(
        name=name,
        rate_bytes=given.pop("rate"),
        window=given.pop("window") or "",
        **_source(name, given),
        **rhythm.taken(given),
        **given,
    )
    _show_state(session, session.api.ask("CreateMirror", request, pb.Mirror))


def _source(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Take what is mirrored, and where to, out of ``given``."""
    volumes = [one for one in (given.pop("volume"), given.pop("volume_option")) if one]
    peers = [one for one in (given.pop("peer"), given.pop("peer_option")) if one]
    group: str | None = given.pop("group")
    named = [*volumes, group] if group else volumes
    if len(named) != 1:
        raise WhatToMirror(name, f"{' and '.join(named)} are named" if named else "none is named")
    if len(peers) != 1:
        raise WhatToMirror(name, "two peers are named" if peers else "no peer is named")
    return {"volume": volumes[0] if volumes else "", "group": group or "", "peer": peers[0]}


@mirror.command("list", examples=[("frazil mirror list", "a line a mirror")])
@pass_session
def list_mirrors(session: Session) -> None:
    """List the mirrors of this host's volumes and groups."""
    reply = session.api.ask("ListMirrors", pb.ListMirrorsRequest(), pb.ListMirrorsReply)
    show(session, reply, lambda: table(reply.mirrors, groups(session)))


@mirror.command(
    "status",
    examples=[
        ("frazil mirror status", "a line a mirror"),
        ("frazil mirror status data-b", "one in full, with its last cycles"),
        ("frazil mirror status --watch", "the view that keeps itself current"),
        ("frazil mirror status --watch | tee log", "without a terminal: a line a change"),
        ("frazil mirror status data-b --exit-code", "for a script: 0 only when all is well"),
    ],
    exits=(Kind.NOT_FOUND, Kind.DEGRADED),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--watch", is_flag=True, help="Keep it on the screen until Ctrl-C.")
@click.option("--exit-code", is_flag=True, help="Exit with 7 if one is DEGRADED, 1 if ERROR.")
@pass_session
def status(session: Session, names: tuple[str, ...], watch: bool, exit_code: bool) -> int:
    """Show how mirrors fare: all of them in brief, or each NAME in full.

    LAG is the age of the replica's newest instant. A mirror of a group is shown with its
    volumes: the generation that each has at the replica, what it lacks there, and whether it is
    joining still. With --watch --json, one JSON document a line; without a terminal, --watch
    prints a line at every change.
    """
    if watch:
        if exit_code:
            raise click.UsageError("--watch has no end, and so no --exit-code")
        return _watch(session, names)
    mirrors = _chosen(session, names)
    reply = pb.ListMirrorsReply(mirrors=mirrors)
    show(session, reply, lambda: _text(mirrors, groups(session), bool(names)))
    return status_code(mirrors) if exit_code else int(Kind.OK)


def _text(mirrors: list[pb.Mirror], known: list[pb.Group], in_full: bool) -> str:
    if in_full:
        return "\n\n".join(details(one, known) for one in mirrors)
    return table(mirrors, known)


@mirror.command(
    "show", exits=(Kind.NOT_FOUND,), examples=[("frazil mirror show data-b", "in full")]
)
@click.argument("name")
@pass_session
def show_mirror(session: Session, name: str) -> None:
    """Show the mirror NAME in full: how it is set, where it stands, its last cycles."""
    one = session.api.ask("GetMirror", pb.GetMirrorRequest(name=name), pb.Mirror)
    show(session, one, lambda: details(one, groups(session)))


def _chosen(session: Session, names: tuple[str, ...]) -> list[pb.Mirror]:
    if not names:
        request = pb.ListMirrorsRequest()
        return list(session.api.ask("ListMirrors", request, pb.ListMirrorsReply).mirrors)
    return [
        session.api.ask("GetMirror", pb.GetMirrorRequest(name=name), pb.Mirror) for name in names
    ]


def _watch(session: Session, names: tuple[str, ...]) -> int:
    from control.cli.live import watch

    # The view's only end, so it is no failure.
    with contextlib.suppress(KeyboardInterrupt):
        watch(session, names)
    return int(Kind.OK)


@mirror.command(
    "start",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil mirror start data-b --wait", "and stay until a copy is there"),
        ("frazil mirror start data-b --whole", "after the replica was removed or lost"),
        ("frazil mirror start db.back --whole", "what both have in common is not known"),
    ],
)
@click.argument("name")
@click.option("--whole", is_flag=True, help="Begin with a whole copy, whatever the replica has.")
@click.option("--wait", is_flag=True, help="Stay until the replica has a generation.")
@pass_session
def start(session: Session, name: str, whole: bool, wait: bool) -> None:
    """Start or go on with the mirror NAME. Nothing happens to one that runs.

    With --whole the next cycle takes nothing for granted of what the replica has. One in a pool
    gets a whole copy. One that keeps recovery points, or is on a device of its own (a seed, or a
    source that was demoted), is compared by digests, and what differs comes as a delta: until that
    is committed the replica shows its old instant, and it takes as much room in the pool as
    differs.
    """
    request = pb.StartMirrorRequest(name=name, whole=whole)
    one = session.api.ask("StartMirror", request, pb.Mirror)
    if wait:
        if one.on_demand and not one.committed.number:
            raise Precondition(
                f"{name} is {one.state}, but has no cycle until it is asked for one",
                f"frazil mirror sync-now {name} --wait",
            )
        one = wait_for(session, name, "the first copy", lambda now: now.committed.number > 0)
    _show_state(session, one)


@mirror.command(
    "sync-now",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION, Kind.EXHAUSTED, Kind.CORRUPT),
    examples=[
        ("frazil mirror sync-now data-b", "freeze as soon as the running cycle allows"),
        ("frazil mirror sync-now data-b --wait --timeout 5m", "and stay until it is committed"),
    ],
)
@click.argument("name")
@click.option("--wait", is_flag=True, help="Stay until a freeze made after this is committed.")
@pass_session
def sync_now(session: Session, name: str, wait: bool) -> None:
    """Freeze now, and copy, without waiting for the interval of the mirror NAME."""
    request = pb.SyncNowRequest(name=name, wait=wait)
    last = follow(session.api.stream("SyncNow", request, pb.Progress), f"syncing {name}")
    show(session, last, "")
    if not session.as_json:
        done = f"generation {words.number(last.generation)} is committed" if wait else "asked for"
        data(f"{name}: {last.message or done}")


@mirror.command("pause", exits=KNOWN, examples=[("frazil mirror pause data-b", "no more cycles")])
@click.argument("name")
@pass_session
def pause(session: Session, name: str) -> None:
    """Stop the mirror NAME where it stands; start goes on there. The head is not touched."""
    request = pb.PauseMirrorRequest(name=name)
    _show_state(session, session.api.ask("PauseMirror", request, pb.Mirror))


@mirror.command(
    "break",
    exits=KNOWN,
    examples=[
        ("frazil mirror break data-b --wait", "end cleanly: the replica has the last cycle whole"),
        ("frazil mirror break data-b --now", "do not finish the running cycle"),
    ],
)
@click.argument("name")
@click.option("--now", is_flag=True, help="Do not finish the running cycle.")
@click.option("--wait", is_flag=True, help="Stay until it is broken.")
@pass_session
def break_mirror(session: Session, name: str, now: bool, wait: bool) -> None:
    """End the mirror NAME after the running cycle. The application goes on undisturbed.

    The replica keeps the newest generation that was committed.
    """
    request = pb.BreakMirrorRequest(name=name, now=now)
    one = session.api.ask("BreakMirror", request, pb.Mirror)
    if wait:
        one = wait_for(session, name, "the break", lambda seen: seen.state == "broken")
    _show_state(session, one)


@mirror.command(
    "set",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[
        ("frazil mirror set data-b --rate 20MB/s", "slower, from now on, mid-copy too"),
        ("frazil mirror set data-b --rate none --interval 10m", "as fast as it goes, six an hour"),
        ("frazil mirror set data-b --window 'Mon-Fri 22:00-06:00, Sat-Sun'", "copies out of hours"),
        ("frazil mirror set data-b --continuous --window always", "at any time, without a pause"),
    ],
)
@click.argument("name")
@rhythm.options
@click.option("--rate", "rate_bytes", type=RATE, metavar="RATE", help="As 50MB/s, or none.")
@click.option("--peer", type=ADDRESS, metavar="HOST:PORT", help="Where the replica's host is now.")
@click.option("--verify/--no-verify", default=None, help="Compare every generation at both ends.")
@pass_session
def set_mirror(session: Session, /, name: str, **given: Any) -> None:
    """Change the mirror NAME while it runs.

    One of --interval, --schedule, --rpo, --on-demand and --continuous takes the place of
    whichever was set before.
    """
    chosen = rhythm.taken(given)
    chosen |= {key: value for key, value in given.items() if value is not None}
    if not chosen:
        raise NothingToSet(f"the mirror {name}", SETTINGS)
    request = pb.UpdateMirrorRequest(name=name, **chosen)
    one = session.api.ask("UpdateMirror", request, pb.Mirror)
    limit = f"cycles {words.cadence(one)}, {words.rate(one.rate_bytes)}"
    limit += f", copies {one.window}" if one.window else ""
    show(session, one, f"{one.name}: {words.standing(one)}, {limit}")


@mirror.command(
    "remove",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil mirror remove data-b", "the replica stays where it is")],
)
@click.argument("name")
@pass_session
def remove(session: Session, name: str) -> None:
    """Forget the mirror NAME. Volume and replica stay.

    A new mirror to the same replica goes on from the generation that it has. If what came since is
    merged here by then, both ends read everything to find what differs; if this host does not know
    that generation any more, everything is copied again.
    """
    request = pb.RemoveMirrorRequest(name=name)
    show(session, session.api.ask("RemoveMirror", request, pb.RemoveMirrorReply), "")
    if not session.as_json:
        data(f"{name}: removed")


def _show_state(session: Session, one: pb.Mirror) -> None:
    text = f"{one.name}: {words.standing(one)}"
    show(session, one, f"{text}: {one.problem}" if one.problem else text)
