"""A volume's contents span: part of, the whole of, or more than one device (claim 20)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dm_tables.units import Bytes


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a device or of a file, in bytes; offset and length are whole sectors."""

    path: Path
    offset: Bytes
    length: Bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a stretch of the volume lies: in ``span``, at ``at`` bytes from the path's start."""

    span: Span
    at: Bytes
    length: Bytes


def size_of(spans: tuple[Span, ...]) -> Bytes:
    """The volume's size: its spans laid end to end."""
    return Bytes(sum(span.length for span in spans))


def first_of(spans: tuple[Span, ...], size: Bytes) -> tuple[Span, ...]:
    """The spans of the volume's first ``size`` bytes, all of them before it grew."""
    pieces = locate(spans, Bytes(0), size)
    return tuple(Span(piece.span.path, piece.at, piece.length) for piece in pieces)


def locate(spans: tuple[Span, ...], address: Bytes, length: Bytes) -> list[Piece]:
    """The pieces of ``spans`` that hold the volume's bytes from ``address`` on.

    :raises ValueError: the stretch leaves the volume.
    """
    pieces: list[Piece] = []
    start = 0
    want, end = int(address), address + length
    for span in spans:
        stop = start + span.length
        if want < stop and want < end:
            take = min(stop, end) - want
            pieces.append(Piece(span, Bytes(span.offset + want - start), Bytes(take)))
            want += take
        start = stop
    if want != end or address < 0:
        raise ValueError(f"bytes {address} to {end} are not inside a volume of {start} bytes")
    return pieces
