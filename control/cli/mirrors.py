"""``frazil mirror``: copy a volume to another host, cycle after cycle."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from control.cli import words
from control.cli.man import ManGroup
from control.cli.mirror_text import details, status_code, table
from control.cli.output import data, show
from control.cli.progress import follow
from control.cli.session import Session, pass_session
from control.cli.types import ADDRESS, DURATION, RATE
from control.cli.waiting import wait_for
from control.units_text import Rate, Seconds
from dm_tables.errors import Kind, Usage
from proto.frazil.v1 import control_pb2 as pb

KNOWN = (Kind.NOT_FOUND,)


class NothingToSet(Usage):
    """``mirror set`` without a setting."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"nothing to set for the mirror {name}",
            "give at least one of --interval, --rate, --on-demand, --continuous, --peer, --verify",
        )


class TwoRhythms(Usage):
    """An interval for cycles that start only when asked."""

    def __init__(self) -> None:
        super().__init__(
            "--on-demand and --interval exclude each other",
            "a mirror runs cycles by itself, or only at sync-now",
        )


@click.group(cls=ManGroup)
def mirror() -> None:
    """Mirrors of volumes to other hosts.

    A mirror freezes its volume, copies what changed to the peer, and begins again.
    """


@mirror.command(
    "create",
    examples=[
        ("frazil mirror create data-b data backup1:7420 --start", "mirror data from now on"),
        (
            "frazil mirror create nightly data backup2:7420 --interval 1h --rate 50MB/s",
            "a freeze an hour, gently; begins with 'frazil mirror start nightly'",
        ),
    ],
    exits=(Kind.NOT_FOUND, Kind.EXISTS, Kind.PRECONDITION),
)
@click.argument("name")
@click.argument("volume")
@click.argument("peer", metavar="HOST:PORT", type=ADDRESS)
@click.option("--replica-volume", default="", metavar="NAME", help="Its name there, if another.")
@click.option(
    "--interval",
    type=DURATION,
    metavar="DURATION",
    help="From one freeze to the next; without it a cycle follows the last at once.",
)
@click.option("--rate", type=RATE, default=Rate(0), metavar="RATE", help="At most, as 50MB/s.")
@click.option("--on-demand", is_flag=True, help="A cycle only at sync-now.")
@click.option("--verify", is_flag=True, help="Compare every generation at both ends.")
@click.option("--plaintext", is_flag=True, help="No TLS: only for a peer on this very host.")
@click.option("--start", is_flag=True, help="Start it, too.")
@pass_session
def create(session: Session, /, name: str, interval: Seconds | None, **given: Any) -> None:
    """Make a mirror NAME of VOLUME to the frazild at HOST:PORT.

    The first cycle copies the whole volume without its holes and zeroes; each later one what
    changed. The peer's configuration must allow this host to write the replica.
    """
    if interval and given["on_demand"]:
        raise TwoRhythms
    request = pb.CreateMirrorRequest(
        name=name,
        interval_ms=_milliseconds(interval),
        rate_bytes=given.pop("rate"),
        **given,
    )
    _show_state(session, session.api.ask("CreateMirror", request, pb.Mirror))


@mirror.command("list", examples=[("frazil mirror list", "a line a mirror")])
@pass_session
def list_mirrors(session: Session) -> None:
    """List the mirrors of this host's volumes."""
    reply = session.api.ask("ListMirrors", pb.ListMirrorsRequest(), pb.ListMirrorsReply)
    show(session, reply, table(list(reply.mirrors)))


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

    LAG is the age of the replica's newest instant. With --watch --json, one JSON document a
    line; without a terminal, --watch prints a line at every change.
    """
    if watch:
        if exit_code:
            raise click.UsageError("--watch has no end, and so no --exit-code")
        return _watch(session, names)
    mirrors = _chosen(session, names)
    reply = pb.ListMirrorsReply(mirrors=mirrors)
    show(session, reply, "\n\n".join(map(details, mirrors)) if names else table(mirrors))
    return status_code(mirrors) if exit_code else int(Kind.OK)


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
    ],
)
@click.argument("name")
@click.option("--whole", is_flag=True, help="Begin with a whole copy, whatever the replica has.")
@click.option("--wait", is_flag=True, help="Stay until the replica has a generation.")
@pass_session
def start(session: Session, name: str, whole: bool, wait: bool) -> None:
    """Start or go on with the mirror NAME. Nothing happens to one that runs."""
    request = pb.StartMirrorRequest(name=name, whole=whole)
    one = session.api.ask("StartMirror", request, pb.Mirror)
    if wait:
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
    ],
)
@click.argument("name")
@click.option("--interval", type=DURATION, metavar="DURATION", help="0: at once after the last.")
@click.option("--rate", "rate_bytes", type=RATE, metavar="RATE", help="As 50MB/s, or none.")
@click.option("--on-demand/--continuous", default=None, help="Cycles at sync-now only, or not.")
@click.option("--peer", type=ADDRESS, metavar="HOST:PORT", help="Where the replica's host is now.")
@click.option("--verify/--no-verify", default=None, help="Compare every generation at both ends.")
@pass_session
def set_mirror(session: Session, /, name: str, interval: Seconds | None, **given: Any) -> None:
    """Change the mirror NAME while it runs."""
    chosen = {key: value for key, value in given.items() if value is not None}
    if interval is not None:
        chosen["interval_ms"] = _milliseconds(interval)
    if not chosen:
        raise NothingToSet(name)
    if interval and given["on_demand"]:
        raise TwoRhythms
    request = pb.UpdateMirrorRequest(name=name, **chosen)
    one = session.api.ask("UpdateMirror", request, pb.Mirror)
    limit = f"cycles {words.cadence(one)}, {words.rate(one.rate_bytes)}"
    show(session, one, f"{one.name}: {words.standing(one)}, {limit}")


@mirror.command(
    "remove",
    exits=(Kind.NOT_FOUND, Kind.PRECONDITION),
    examples=[("frazil mirror remove data-b", "the replica stays where it is")],
)
@click.argument("name")
@pass_session
def remove(session: Session, name: str) -> None:
    """Forget the mirror NAME. Volume and replica stay; a new mirror copies everything again."""
    request = pb.RemoveMirrorRequest(name=name)
    show(session, session.api.ask("RemoveMirror", request, pb.RemoveMirrorReply), "")
    if not session.as_json:
        data(f"{name}: removed")


def _show_state(session: Session, one: pb.Mirror) -> None:
    text = f"{one.name}: {words.standing(one)}"
    show(session, one, f"{text}: {one.problem}" if one.problem else text)


def _milliseconds(seconds: Seconds | None) -> int:
    # A cycle that is due at once is not the same as one every half millisecond.
    return max(round(seconds * 1000), 1) if seconds else 0
