"""``mirror status --watch``: a view that keeps itself current, or a line a change."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from control.cli import members, words
from control.cli.api import lasting
from control.cli.glyphs import for_encoding
from control.cli.output import data, say
from control.cli.schema import as_dict, line
from control.cli.watch import view
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb

if TYPE_CHECKING:
    from control.cli.session import Session


def watch(session: Session, names: Sequence[str]) -> None:
    """Show the mirrors until interrupted; a daemon that restarts is waited for.

    :raises FrazilError: the daemon does not answer at the beginning, or refuses.
    """
    request = pb.WatchMirrorsRequest(names=names)

    def connect() -> Iterator[pb.ListMirrorsReply]:
        api = session.fresh_api()
        return api.stream_and_close("WatchMirrors", request, pb.ListMirrorsReply)

    if session.as_json:
        for reply in lasting(connect, _tell_gap, time.sleep):
            data(line(as_dict(reply)))
            sys.stdout.flush()
    elif sys.stdout.isatty():
        with Screen() as screen:
            for reply in lasting(connect, screen.gap, time.sleep):
                screen.show(list(reply.mirrors), _policies(session))
    else:
        changes = Changes()
        for reply in lasting(connect, _tell_gap, time.sleep):
            for text in changes.lines(reply.mirrors):
                data(text)
            sys.stdout.flush()


def _policies(session: Session) -> dict[str, str]:
    return {group.name: words.policy(group) for group in members.groups(session)}


def _tell_gap(error: FrazilError) -> None:
    say(f"{error.what}; trying again")


class Screen:
    """The terminal's other screen, while it lasts; the last view stays on the first one."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._glyphs = for_encoding(self._console.encoding)
        self._mirrors: list[pb.Mirror] = []
        self._policies: dict[str, str] = {}
        self._seen = ""
        self._stack = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._stack.enter_context(self._live)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        if self._mirrors:
            size = self._console.size
            title = Text(f"mirrors at {self._seen}", style="dim")
            text = self._view(size.width, size.height - 1, title)
            self._console.print(text, no_wrap=True)

    def show(self, mirrors: list[pb.Mirror], policies: dict[str, str] | None = None) -> None:
        """Draw ``mirrors`` as they are now; ``policies`` are their groups'."""
        self._mirrors = mirrors
        self._policies = policies or {}
        self._seen = time.strftime("%H:%M:%S")
        count = f"{len(mirrors)} mirror" + ("" if len(mirrors) == 1 else "s")
        self._draw(Text(f"frazil  {count}  {self._seen}  Ctrl-C ends", style="dim"))

    def gap(self, error: FrazilError) -> None:
        """Keep what was seen last, and say that it is old."""
        seen = f"; seen last at {self._seen}" if self._seen else ""
        self._draw(Text(f"frazild does not answer{seen}; trying again", style="yellow"))

    def _draw(self, title: Text) -> None:
        size = self._console.size
        text = self._view(size.width, size.height, title)
        if self._live is not None:
            self._live.update(text, refresh=True)

    def _view(self, width: int, height: int, title: Text) -> Text:
        return view(self._mirrors, width, height, self._glyphs, title, policies=self._policies)


class Changes:
    """What is worth a line when nobody looks: changes, not the passing of time."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[object, ...]] = {}

    def lines(self, mirrors: Sequence[pb.Mirror]) -> list[str]:
        """A line for each mirror that is not what it was, and for each that is gone."""
        now = {mirror.name: _essence(mirror) for mirror in mirrors}
        lines = [
            change_line(mirror)
            for mirror in mirrors
            if self._before.get(mirror.name) != now[mirror.name]
        ]
        lines += [f"{_stamp()} {name}: removed" for name in self._before if name not in now]
        self._before = now
        return lines


def _essence(mirror: pb.Mirror) -> tuple[object, ...]:
    return (
        mirror.state,
        mirror.phase,
        mirror.health,
        mirror.problem,
        mirror.committed.number,
        mirror.current.generation.number,
        mirror.current.resumed,
        mirror.counts,
        *((one.volume, one.state, one.committed.number) for one in members.behind(mirror)),
    )


def change_line(mirror: pb.Mirror) -> str:
    """``2026-03-01T12:00:00 data-b: running, copying, OK, committed 6, coming 7, lag 3.0 s``."""
    parts = [words.standing(mirror), mirror.health]
    parts.append(f"committed {words.number(mirror.committed)}")
    if mirror.current.generation.number > mirror.committed.number:
        parts.append(f"coming {mirror.current.generation.number}")
    parts.append(f"lag {words.lag(mirror)}")
    text = f"{_stamp()} {mirror.name}: {', '.join(part for part in parts if part)}"
    if members.behind(mirror):
        text += f", {members.brief(mirror)}"
    return f"{text}: {mirror.problem}" if mirror.problem else text


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")
