"""``frazil events``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click

from control.cli import words
from control.cli.man import ManCommand
from control.cli.output import data, say
from control.cli.schema import as_dict, line
from control.cli.session import Session, pass_session
from dm_tables.errors import FrazilError, Kind
from proto.frazil.v1 import control_pb2 as pb

LEVELS = ("info", "warning", "error")
EXAMPLES = [
    ("frazil events --level warning", "what went wrong, as far back as is kept"),
    ("frazil events --follow", "what happens from now on"),
    ("frazil events --json | jq -r 'select(.kind == \"committed\").at'", "an event a line"),
]


@click.command("events", cls=ManCommand, examples=EXAMPLES)
@click.option("--follow", is_flag=True, help="Go on with what happens until Ctrl-C.")
@click.option("--since", type=click.IntRange(min=0), metavar="N", help="From sequence number N on.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="info",
    metavar="LEVEL",
    help="info, warning or error: this one and above.",
)
@pass_session
def events(session: Session, follow: bool, since: int | None, level: str) -> int:
    """Show what happened on this host.

    Freezes, commits, failures. Without --follow, all that is kept; with it, only what is new,
    unless --since says from where. With --json, one document a line. A daemon that restarts is
    waited for, and what it logged meanwhile is not missed.
    """
    wanted = LEVELS[LEVELS.index(level) :]
    try:
        for event in _stream(session, follow, since):
            if event.level in wanted or event.level not in LEVELS:
                data(line(as_dict(event)) if session.as_json else text(event))
                sys.stdout.flush()
    except KeyboardInterrupt:
        if not follow:
            raise
    return int(Kind.OK)


def _stream(session: Session, follow: bool, since: int | None) -> Iterator[pb.Event]:
    from control.cli.api import lasting

    if not follow:
        request = pb.WatchEventsRequest(since=since or 0, follow=False)
        yield from session.api.stream("WatchEvents", request, pb.Event)
        return
    yield from lasting(Following(session, since).connect, _gap, time.sleep)


class Following:
    """Events from one connection to the next, none twice and none left out.

    :param since: the first sequence number wanted; None: what happens from now on.
    """

    def __init__(self, session: Session, since: int | None) -> None:
        self._session = session
        self._next = since
        self._begun = time.time()
        self._connections = 0

    def connect(self) -> Iterator[pb.Event]:
        """The events that were not seen yet. :raises FrazilError: there is no daemon."""
        api = self._session.fresh_api()
        self._connections += 1
        since = self._next
        if since is None and self._connections > 1:
            # Nothing was seen before the gap: only the clock tells what came after.
            since = 0
        request = pb.WatchEventsRequest(since=since, follow=True)
        return self._new(api.stream_and_close("WatchEvents", request, pb.Event))

    def _new(self, events: Iterator[pb.Event]) -> Iterator[pb.Event]:
        for event in events:
            if self._next is not None or words.seconds(event.at) >= self._begun:
                self._next = event.sequence + 1
                yield event


def _gap(error: FrazilError) -> None:
    say(f"{error.what}; trying again")


def text(event: pb.Event) -> str:
    """``2026-03-01 12:00:00  warning  data-b  PeerUnreachable: …``."""
    mark = f"{event.level:<7}"
    return f"{words.when(event.at)}  {mark}  {event.subject}  {event.kind}: {event.message}"
