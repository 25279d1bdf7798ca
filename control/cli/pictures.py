"""Heat maps as PNG and SVG files, written by hand: both formats are small enough for that."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from control.cli.heat import Colour, HeatLine, colour, lines
from control.units_text import human_size
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2 as pb

WIDTH = 1024
HIGHEST = 16
LOWEST = 3
HEIGHT = 640
LEGEND = 12
"""Pixels of the bar at the bottom that shows every warmth, and of the gap above it."""

MARGIN_LEFT = 170
MARGIN_TOP = 48
MARGIN_BOTTOM = 72
BACKGROUND: Colour = (255, 255, 255)
SHADES = 64


def row_height(rows: int) -> int:
    """Pixels of a cycle."""
    return max(LOWEST, min(HIGHEST, HEIGHT // max(1, rows)))


def png(found: pb.HeatMap) -> bytes:
    """An RGB picture: address to the right, cycles downwards, below them all warmths."""
    rows = lines(found, WIDTH)
    high = row_height(len(rows))
    drawn: list[bytes] = []
    for line in rows:
        drawn += [_scaled([colour(cell) for cell in line.cells])] * high
    drawn += [bytes(BACKGROUND) * WIDTH] * LEGEND
    drawn += [_scaled([colour(place / (SHADES - 1)) for place in range(SHADES)])] * LEGEND
    return encode(drawn, WIDTH, {"Title": title(found), "Description": axis(found)})


def _scaled(colours: Sequence[Colour]) -> bytes:
    """As wide as the picture."""
    number = len(colours)
    return b"".join(bytes(colours[place * number // WIDTH]) for place in range(WIDTH))


def encode(rows: Sequence[bytes], width: int, texts: dict[str, str]) -> bytes:
    """A PNG file of 8 bit RGB rows, top first, with texts of ISO 8859-1 (RFC 2083)."""
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    chunks = [_chunk(b"IHDR", header)]
    for key, text in texts.items():
        said = text.encode("latin-1", "replace")
        chunks.append(_chunk(b"tEXt", key.encode() + b"\0" + said))
    chunks += [_chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def title(found: pb.HeatMap) -> str:
    """What the picture shows."""
    return f"Writes to volume {found.volume}, by address and cycle"


def axis(found: pb.HeatMap) -> str:
    """What its directions and colours mean."""
    size = human_size(Bytes(found.size_bytes))
    return f"to the right: addresses 0 to {size}; down: cycles, newest last; bright: all written"


def svg(found: pb.HeatMap) -> str:
    """A drawing with addresses, cycles and a legend named."""
    rows = lines(found, WIDTH)
    high = row_height(len(rows))
    height = MARGIN_TOP + high * len(rows) + MARGIN_BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{MARGIN_LEFT + WIDTH + 20}"'
        f' height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(MARGIN_LEFT, 24, title(found), size=16),
        f'<g shape-rendering="crispEdges">{"".join(_cells(rows, high))}</g>',
        *_labels(rows, high),
        *_addresses(found, MARGIN_TOP + high * len(rows)),
        *_legend(MARGIN_TOP + high * len(rows) + 40),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _cells(rows: Sequence[HeatLine], high: int) -> Iterator[str]:
    """A rectangle for each stretch of one colour."""
    for index, line in enumerate(rows):
        top = MARGIN_TOP + index * high
        at = 0
        for shade, group in groupby(line.cells, key=colour):
            count = len(list(group))
            left, right = (place * WIDTH / len(line.cells) for place in (at, at + count))
            yield _box(MARGIN_LEFT + left, top, right - left, high, shade)
            at += count


def _box(left: float, top: float, width: float, height: float, fill: Colour) -> str:
    red, green, blue = fill
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"'
        f' fill="#{red:02x}{green:02x}{blue:02x}"/>'
    )


def _labels(rows: Sequence[HeatLine], high: int) -> Iterator[str]:
    """The cycles' names, as many as there is room for."""
    every = -(-14 // high)
    for index in range(0, len(rows), every):
        line = rows[index]
        name = line.label + ("" if line.exact else " *")
        yield _text(MARGIN_LEFT - 6, MARGIN_TOP + index * high + 10, name, anchor="end")


def _addresses(found: pb.HeatMap, top: int) -> Iterator[str]:
    for part in range(5):
        at = human_size(Bytes(found.size_bytes * part // 4))
        yield _text(MARGIN_LEFT + WIDTH * part // 4, top + 16, at, anchor="middle")


def _legend(top: int) -> Iterator[str]:
    yield _text(MARGIN_LEFT, top + 10, "nothing written")
    for place in range(SHADES):
        yield _box(MARGIN_LEFT + 110 + 3 * place, top, 3, LEGEND, colour(place / (SHADES - 1)))
    yield _text(MARGIN_LEFT + 118 + 3 * SHADES, top + 10, "everything (logarithmic)")
    yield _text(MARGIN_LEFT + 520, top + 10, "* untraced: whole chunks")


def _text(x: int, y: int, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
