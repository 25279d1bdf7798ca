"""Sizes, durations and rates as people write and read them: ``256MiB``, ``1h30m``, ``10MB/s``.

The words are those of coreutils: ``K``, ``KiB`` are 1024, ``KB`` is 1000; letter case does not
count, so bits must be spelled out (``100Mbit/s``). :func:`exact_size` and its like give text
that parses back to the very same value; the ``human`` ones round for the eye.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NewType

from dm_tables.errors import Usage
from dm_tables.units import Bytes

Seconds = NewType("Seconds", float)
"""A length of time in seconds."""

Rate = NewType("Rate", int)
"""Bytes a second; 0 means that there is no limit."""

_PREFIXES = "kmgtpe"
_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_SIZE = re.compile(rf"{_NUMBER}\s*([kmgtpe]?)(i?)(b|bytes?)?", re.IGNORECASE)
_BITS = re.compile(rf"{_NUMBER}\s*([kmgt]?)(i?)(?:bits?|(?-i:bps))", re.IGNORECASE)
_PER_SECOND = re.compile(r"\s*(?:/\s*s(?:ec)?|ps)$", re.IGNORECASE)
_DURATION_PART = re.compile(rf"{_NUMBER}\s*(us|µs|ms|s|m|h|d|w)?\s*", re.IGNORECASE)
_SECONDS = {
    "us": Fraction(1, 1_000_000),
    "µs": Fraction(1, 1_000_000),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
    "w": Fraction(7 * 86400),
}
_NO_LIMIT = frozenset({"none", "unlimited", "0"})


class NotASize(Usage):
    """Text that is no size. :ivar text: what was written."""

    def __init__(self, text: str) -> None:
        super().__init__(f'"{text}" is not a size', 'write a size such as "256MiB" or "10GB"')
        self.text = text


class NotADuration(Usage):
    """Text that is no length of time. :ivar text: what was written."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f'"{text}" is not a length of time', 'write a duration such as "250ms", "5s" or "1h30m"'
        )
        self.text = text


class NotARate(Usage):
    """Text that is no rate. :ivar text: what was written."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f'"{text}" is not a rate', 'write a rate such as "10MB/s", "100Mbit/s" or "none"'
        )
        self.text = text


def parse_size(text: str) -> Bytes:
    """``"256MiB"`` as bytes; a fraction of a byte is dropped.

    :raises NotASize: the text is no size, or a negative one.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise NotASize(text)
    # "10K" and "10KiB" are binary, "10KB" is decimal.
    decimal = bool(match[4]) and not match[3]
    return Bytes(int(Fraction(match[1]) * _multiplier(match[2], decimal)))


def parse_rate(text: str) -> Rate:
    """``"10MB/s"`` as bytes a second; ``/s`` may be left out. ``none`` and ``0`` mean no limit.

    :raises NotARate: the text is no rate, or one under a byte a second.
    """
    plain = text.strip()
    if plain.lower() in _NO_LIMIT:
        return Rate(0)
    bits = _BITS.fullmatch(_without_per_second(plain)) or _BITS.fullmatch(plain)
    if bits is not None:
        rate = int(Fraction(bits[1]) * _multiplier(bits[2], not bits[3]) / 8)
    else:
        try:
            rate = parse_size(_without_per_second(plain))
        except NotASize:
            raise NotARate(text) from None
    if rate < 1:
        raise NotARate(text)
    return Rate(rate)


def parse_duration(text: str) -> Seconds:
    """``"1h30m"`` as seconds; a number alone is seconds.

    :raises NotADuration: the text is no length of time, or a negative one.
    """
    plain = text.strip()
    parts = list(_DURATION_PART.finditer(plain))
    if not parts or "".join(part[0] for part in parts) != plain:
        raise NotADuration(text)
    if len(parts) > 1 and any(part[2] is None for part in parts):
        raise NotADuration(text)
    units = [_SECONDS[(part[2] or "s").lower()] for part in parts]
    if any(units[i] <= units[i + 1] for i in range(len(units) - 1)):
        raise NotADuration(text)
    total = sum((Fraction(part[1]) * unit for part, unit in zip(parts, units, strict=True)))
    return Seconds(float(total))


def exact_size(size: Bytes) -> str:
    """The shortest text with a binary unit that parses back to ``size``: ``"256MiB"``."""
    return _exact(size) + "B"


def exact_rate(rate: Rate) -> str:
    """Text that parses back to ``rate``: ``"10MiB/s"``, ``"none"``."""
    return f"{_exact(rate)}B/s" if rate else "none"


def exact_duration(seconds: Seconds) -> str:
    """Text that parses back to ``seconds``, to the microsecond: ``"1h30m"``, ``"250ms"``."""
    left = round(seconds * 1_000_000)
    parts: list[str] = []
    for unit in ("w", "d", "h", "m", "s", "ms", "us"):
        worth = int(_SECONDS[unit] * 1_000_000)
        if left >= worth:
            parts.append(f"{left // worth}{unit}")
            left %= worth
    return "".join(parts) or "0s"


def human_size(size: int) -> str:
    """A size for the eye, three figures or so: ``"1.2 MiB"``, ``"640 KiB"``, ``"12 B"``."""
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    for prefix in "KMGTPE":
        value /= 1024
        if abs(value) < 1023.5 or prefix == "E":
            break
    return f"{value:.1f} {prefix}iB" if abs(value) < 99.95 else f"{value:.0f} {prefix}iB"


def human_rate(rate: float) -> str:
    """A rate for the eye: ``"12.5 MiB/s"``."""
    return human_size(round(rate)) + "/s"


def human_duration(seconds: float) -> str:
    """A length of time for the eye: ``"850 µs"``, ``"1.2 ms"``, ``"5.0 s"``, ``"1h 30m"``."""
    if seconds < 0:
        return "-" + human_duration(-seconds)
    if seconds < 59.95:
        return _under_a_minute(seconds)
    whole = round(seconds)
    for big, small in (("m", "s"), ("h", "m"), ("d", "h")):
        worth, rest = int(_SECONDS[big]), int(_SECONDS[small])
        if whole < worth * (24 if big == "h" else 60) or big == "d":
            break
    lesser = whole % worth // rest
    return f"{whole // worth}{big} {lesser}{small}" if lesser else f"{whole // worth}{big}"


def _under_a_minute(seconds: float) -> str:
    if seconds == 0:
        return "0 s"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    value = seconds * 1e3
    return f"{value:.1f} ms" if value < 99.95 else f"{value:.0f} ms"


def _multiplier(prefix: str, decimal: bool) -> int:
    power = _PREFIXES.index(prefix.lower()) + 1 if prefix else 0
    return int((1000 if decimal else 1024) ** power)


def _without_per_second(text: str) -> str:
    return _PER_SECOND.sub("", text)


def _exact(value: int) -> str:
    power = 0
    while value and value % 1024 == 0 and power < len(_PREFIXES):
        value //= 1024
        power += 1
    return f"{value}{_PREFIXES[power - 1].upper()}i" if power else str(value)
