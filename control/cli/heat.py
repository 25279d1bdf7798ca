"""A heat map as cells of a warmth, for whatever draws it: pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from control.cli import words
from proto.frazil.v1 import control_pb2 as pb

COLDEST = -4.0
"""The power of ten of the share of written blocks that is hardly warm."""

BARELY = 0.08
"""The warmth of the least that was written: never that of nothing."""

Colour = tuple[int, int, int]
STOPS: tuple[Colour, ...] = (
    (12, 10, 38),
    (66, 10, 104),
    (147, 38, 103),
    (221, 81, 58),
    (252, 165, 10),
    (252, 255, 164),
)
"""From nothing written to everything; they rise in brightness, so that they print in grey too."""


@dataclass(frozen=True, slots=True)
class HeatLine:
    """One cycle: its layer, when it began, and the warmth of each cell from 0 to 1."""

    label: str
    exact: bool
    live: bool
    cells: tuple[float, ...]


def lines(found: pb.HeatMap, width: int) -> list[HeatLine]:
    """The cycles, oldest first, in at most ``width`` cells each."""
    starts = borders(found)
    return [
        HeatLine(
            f"{row.sequence} {words.when(row.began)[5:]}",
            row.traced,
            not row.HasField("frozen"),
            tuple(cells(row.counts, starts, width)),
        )
        for row in found.rows
    ]


def borders(found: pb.HeatMap) -> list[int]:
    """The first block of each region, and the volume's end, in blocks."""
    blocks = -(-found.size_bytes // found.block_bytes)
    return [index * blocks // found.regions for index in range(found.regions + 1)]


def cells(counts: Sequence[int], starts: Sequence[int], width: int) -> list[float]:
    """Neighbouring regions joined to at most ``width`` cells: the warmth of each."""
    regions = len(counts)
    number = min(width, regions)
    edges = [index * regions // number for index in range(number + 1)]
    return [
        warmth(sum(counts[first:end]), starts[end] - starts[first])
        for first, end in itertools.pairwise(edges)
    ]


def warmth(written: int, blocks: int) -> float:
    """From 0, for nothing, to 1, for everything; by the logarithm of the share."""
    if written <= 0 or blocks <= 0:
        return 0.0
    power = math.log10(min(1.0, written / blocks))
    return BARELY + (1 - BARELY) * max(0.0, 1 - power / COLDEST)


def colour(value: float) -> Colour:
    """The colour of a warmth."""
    place = min(max(value, 0.0), 1.0) * (len(STOPS) - 1)
    low = min(int(place), len(STOPS) - 2)
    part = place - low
    red, green, blue = (
        round(a + (b - a) * part) for a, b in zip(STOPS[low], STOPS[low + 1], strict=True)
    )
    return red, green, blue
