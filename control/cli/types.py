"""Parameter types: sizes, rates, lengths of time, addresses and spans, as people write them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from control.addresses import parse_address
from control.units_text import parse_duration, parse_rate, parse_size
from dm_tables.errors import FrazilError, Usage
from dm_tables.units import Bytes

# Generic for the type checker; at run time only in the newest versions of click.
if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType


class Parsed(ParamType):
    """A type whose values come out of ``parse``; the parser's own error is the message."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """``value``, parsed; a value that is no text has been parsed before."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except FrazilError as error:
            self.fail(f"{error.what}; {error.hint}" if error.hint else error.what, param, ctx)


@dataclass(frozen=True, slots=True)
class SpanText:
    """A span as asked for: ``length`` 0 means to the end."""

    path: str
    offset: Bytes
    length: Bytes


class NotASpan(Usage):
    """Text that is no span."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f'"{text}" is not a span: {why}',
            'write PATH[,offset=SIZE][,length=SIZE], such as "/dev/vdb,offset=1GiB,length=4GiB"',
        )


def parse_span(text: str) -> SpanText:
    """``"/dev/vdb,offset=1GiB,length=4GiB"`` (claim 20: part of a device, or the whole).

    :raises NotASpan: no path, an option that does not exist or is given twice, no size.
    """
    path, *options = text.split(",")
    if not path:
        raise NotASpan(text, "it names no device or file")
    sizes: dict[str, Bytes] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if key not in ("offset", "length") or not equals:
            raise NotASpan(text, f'"{option}" is neither offset=SIZE nor length=SIZE')
        if key in sizes:
            raise NotASpan(text, f"{key} is given twice")
        try:
            sizes[key] = parse_size(value)
        except FrazilError as error:
            raise NotASpan(text, error.what) from None
        if key == "length" and not sizes[key]:
            raise NotASpan(text, "a span of no bytes; leave length out for all there is")
    return SpanText(path, sizes.get("offset", Bytes(0)), sizes.get("length", Bytes(0)))


def parse_chunk(text: str) -> Bytes | None:
    """A size; None for ``auto``. :raises NotASize: it is neither."""
    return None if text.strip().lower() == "auto" else parse_size(text)


class NotAPolicy(Usage):
    """Text that is no policy of a group."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f'"{text}" is not a policy', 'write "lockstep", "quorum=N" with N from 1, "independent"'
        )


def parse_policy(text: str) -> tuple[str, int]:
    """``"quorum=2"`` as its name and number; the number is 0 for the other policies.

    :raises NotAPolicy: it is none.
    """
    name, equals, count = text.strip().partition("=")
    if name in ("lockstep", "independent") and not equals:
        return name, 0
    if name == "quorum" and count.isascii() and count.isdigit() and int(count):
        return name, int(count)
    raise NotAPolicy(text)


class NotACommand(Usage):
    """Text that is no program with its arguments."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f'"{text}" is not a command: {why}',
            "write a program and its arguments, quoted as for a shell, or none",
        )


def parse_command(text: str) -> tuple[str, ...]:
    """A program and its arguments, as quoted for a shell that never sees them; none for ``none``.

    :raises NotACommand: an open quotation, or nothing at all.
    """
    if text.strip().lower() == "none":
        return ()
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise NotACommand(text, str(error)) from None
    if not words:
        raise NotACommand(text, "it is empty")
    return words


def parse_window(text: str) -> str:
    """A time window as it is; the daemon reads it."""
    return text.strip()


SIZE = Parsed("size", parse_size)
CHUNK = Parsed("chunk", parse_chunk)
RATE = Parsed("rate", parse_rate)
DURATION = Parsed("duration", parse_duration)
SPAN = Parsed("span", parse_span)
ADDRESS = Parsed("address", lambda text: str(parse_address(text)))
POLICY = Parsed("policy", parse_policy)
COMMAND = Parsed("command", parse_command)
WINDOW = Parsed("window", parse_window)
