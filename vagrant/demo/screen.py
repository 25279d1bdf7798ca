"""What the person who watches the demo sees: phases, commands, rows, and a verdict."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

WIDEST = 110


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of cycles: its title, and how many characters it takes."""

    title: str
    width: int


class Screen:
    """Calm lines: a heading a phase, what was run, and how it ended. Plain without a tty."""

    def __init__(self) -> None:
        width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
        if not sys.stdout.isatty():
            width = WIDEST
        self._console = Console(width=width, highlight=False, soft_wrap=True)
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the demo runs by now."""
        return time.monotonic() - self._begin

    def title(self, text: str, below: str) -> None:
        """The first lines."""
        self._console.print(Text(text, "bold"))
        self._console.print(Text(below, "dim"))

    def phase(self, text: str) -> None:
        """Announce what comes next."""
        self._console.print()
        stamp = Text(f"{self.seconds:6.1f} s  ", "dim")
        self._console.print(stamp + Text(text, "bold cyan"))

    def command(self, host: str, words: str) -> None:
        """A command, as an administrator of ``host`` would type it."""
        self._line(Text(f"{host}# ", "green") + Text(words))

    def note(self, text: str) -> None:
        """One line of what was found or done."""
        self._line(Text(text))

    def good(self, text: str) -> None:
        """Something that had to be so, and is."""
        self._line(Text("ok    ", "bold green") + Text(text))

    def bad(self, text: str) -> None:
        """Something that had to be so, and is not."""
        self._line(Text("WRONG ", "bold red") + Text(text))

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes a while; without a tty, one line says so."""
        if not self._console.is_terminal:
            self._line(Text(f"{text} …", "dim"))
            yield
            return
        with self._console.status(Text(text)):
            yield

    def header(self, columns: Sequence[Column]) -> None:
        """The head of a table whose rows come one at a time."""
        titles = "  ".join(column.title.rjust(column.width) for column in columns)
        self._line(Text(titles, "dim"))

    def row(self, columns: Sequence[Column], cells: Sequence[str], style: str = "") -> None:
        """A row of it."""
        padded = (cell.rjust(column.width) for column, cell in zip(columns, cells, strict=True))
        self._line(Text("  ".join(padded), style))

    def failure(self, text: str) -> None:
        """What ended the demo."""
        self._console.print()
        self._console.print(Text("failed: ", "bold red") + Text(text))

    def _line(self, text: Text) -> None:
        self._console.print(Text(" " * 10) + text)
