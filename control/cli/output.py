"""Data goes to standard output, everything else to standard error."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dm_tables.errors import FrazilError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from control.cli.session import Session


def write_anywhere() -> None:
    """Let no terminal's encoding stop a command: what it cannot write is replaced."""
    codecs.register_error("frazil", _replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="frazil")


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join("u" if sign == "µ" else "?" for sign in text), error.end


def data(text: str) -> None:
    """A line of what was asked for."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """A line about it: never data."""
    sys.stderr.write(f"frazil: {text}\n")
    sys.stderr.flush()


def document(content: dict[str, Any]) -> None:
    """One JSON document."""
    from control.cli.schema import pretty

    data(pretty(content))


def show(session: Session, message: Message, text: str | Callable[[], str]) -> None:
    """``message`` as JSON when asked for, else ``text``, made only then if it is a function."""
    if session.as_json:
        from control.cli.schema import as_dict

        document(as_dict(message))
    elif said := text if isinstance(text, str) else text():
        data(said)


def fail(error: FrazilError, *, as_json: bool) -> int:
    """One sentence, and one what to do. :return: the exit code."""
    if as_json:
        from control.cli.schema import error_dict, line

        # On one line, for it may end a stream of documents that are a line each.
        data(line(error_dict(error)))
    say(error.what)
    if error.hint:
        sys.stderr.write(f"  {error.hint}\n")
    return int(error.kind)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    """Rows under a header, as wide as their widest cell, two spaces apart; no borders.

    :param right: the header names to align to the right, separated by blanks.
    """
    table = [header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    aligned = [
        [
            cell.rjust(width) if name in right.split() else cell.ljust(width)
            for cell, width, name in zip(row, widths, header, strict=True)
        ]
        for row in table
    ]
    return "\n".join("  ".join(row).rstrip() for row in aligned)


def fields(pairs: Sequence[tuple[str, str]]) -> str:
    """``name: value`` lines, values under each other; what has no value is left out."""
    kept = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0) + 1
    return "\n".join(f"{name + ':':<{width}}  {value}" for name, value in kept)
