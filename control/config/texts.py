"""Values that a configuration file writes as text: sizes, durations, rates, paths, addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from control.addresses import parse_address
from control.config.errors import BadValue
from control.hours import parse_hours
from control.units_text import (
    NotADuration,
    NotARate,
    NotASize,
    Rate,
    Seconds,
    exact_duration,
    exact_rate,
    exact_size,
    parse_duration,
    parse_rate,
    parse_size,
)
from dm_tables.errors import Usage
from dm_tables.units import Bytes

Extra = Mapping[str, object]
"""A field's ``Meta(extra=...)``: ``text`` kind, word for ``None``, ``least``, ``most``."""


def read_text(value: object, key: str, extra: Extra) -> object:
    """The value that ``value`` stands for. :raises BadValue: it stands for none."""
    if "none" in extra and value == extra["none"]:
        return None
    try:
        meant = _READERS[str(extra["text"])](value, key)
    except Usage as error:
        raise BadValue(key, error.what, error.hint) from None
    _check_bounds(meant, key, extra)
    return meant


def write_text(value: object, extra: Extra) -> str:
    """``value`` as it would be written between quotes, so that it reads back the same."""
    if value is None:
        return str(extra["none"])
    match extra["text"], value:
        case "size", int():
            return exact_size(Bytes(value))
        case "duration", int() | float():
            return exact_duration(Seconds(value))
        case "rate", int():
            return exact_rate(Rate(value))
    return str(value)


def _size(value: object, key: str) -> Bytes:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise NotASize(_shown(value))
    return parse_size(str(value))


def _duration(value: object, key: str) -> Seconds:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise NotADuration(_shown(value))
    return parse_duration(str(value))


def _rate(value: object, key: str) -> Rate:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise NotARate(_shown(value))
    return parse_rate(str(value))


def _path(value: object, key: str) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise BadValue(key, f"{_shown(value)} is not an absolute path", "write it from / on")
    return Path(value)


def _address(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise BadValue(key, f"{_shown(value)} is not an address", 'write "host:port"')
    return str(parse_address(value))


def _hours(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise BadValue(key, f"{_shown(value)} names no hours", 'write "Mon-Fri 22:00-06:00"')
    return parse_hours(value).text


def _plain(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise BadValue(key, f"{_shown(value)} is not text", "put it in quotes")
    return value


_READERS: Mapping[str, Callable[[object, str], object]] = {
    "size": _size,
    "duration": _duration,
    "rate": _rate,
    "path": _path,
    "address": _address,
    "hours": _hours,
    "text": _plain,
}


def _check_bounds(value: object, key: str, extra: Extra) -> None:
    least, most = extra.get("least"), extra.get("most")
    if not isinstance(value, int | float):
        return
    below = isinstance(least, int | float) and value < least
    above = isinstance(most, int | float) and value > most
    if below or above:
        low = write_text(least, extra) if least is not None else "0"
        high = f" to {write_text(most, extra)}" if most is not None else " up"
        raise BadValue(key, f"{write_text(value, extra)} is out of bounds", f"from {low}{high}")


def _shown(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case dict():
            return "a table"
        case list():
            return "an array"
    return str(value)
