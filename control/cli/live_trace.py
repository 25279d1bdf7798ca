"""``frazil freeze-table --live``: what is written to a layer, as it is written."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

from control.cli import words
from control.cli.output import columns, data
from control.cli.session import Session
from control.units_text import human_rate, human_size
from dm_tables.errors import Kind
from proto.frazil.v1 import control_pb2 as pb

SECOND_MS = 1000
SECTOR = 512
HEADER = ("LAYER", "TRACE", "CHUNKS", "BLOCKS", "CHANGED", "WRITES", "WRITTEN", "WRITES/S", "RATE")
WIDTHS = (5, 8, 10, 11, 10, 11, 10, 9, 11)
BAR = 32


def follow_live(session: Session, volume: str, sequence: int | None, count: int) -> int:
    """Print a line a second until Ctrl-C; with --json a document a line.

    :param count: lines after which to end; 0: never. One alone is printed in full.
    """
    interval = 0 if count == 1 else SECOND_MS
    request = pb.WatchTraceRequest(volume=volume, sequence=sequence, interval_ms=interval)
    stream = session.api.stream("WatchTrace", request, pb.LayerTrace)
    readings = itertools.islice(stream, count) if count else stream
    try:
        _write(session, readings, alone=count == 1)
    except KeyboardInterrupt:
        if count:
            raise
    return int(Kind.OK)


def _write(session: Session, readings: Iterator[pb.LayerTrace], *, alone: bool) -> None:
    told = ""
    for number, reading in enumerate(readings):
        if session.as_json:
            from control.cli.schema import as_dict, line

            data(line(as_dict(reading)))
        elif alone:
            data(in_full(reading))
        else:
            if number == 0:
                data(_aligned(HEADER))
            data(_aligned(row(reading)))
            if reading.untraced_reason and reading.untraced_reason != told:
                data(f"       {reading.untraced_reason}")
            told = reading.untraced_reason
        sys.stdout.flush()


def _aligned(cells: tuple[str, ...]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def row(reading: pb.LayerTrace) -> tuple[str, ...]:
    """A reading under :data:`HEADER`; ``-`` for what is not known."""
    traced = reading.trace == "traced"
    fresh = not reading.HasField("writes_per_second")
    return (
        str(reading.sequence),
        reading.trace,
        str(reading.chunks) if traced else words.NONE,
        str(reading.blocks) if traced else words.NONE,
        human_size(reading.blocks * reading.block_bytes) if traced else words.NONE,
        str(reading.writes) if traced else words.NONE,
        human_size(reading.bytes) if traced else words.NONE,
        words.NONE if fresh or not traced else f"{reading.writes_per_second:.0f}",
        words.NONE if fresh or not traced else human_rate(int(reading.bytes_per_second)),
    )


def in_full(reading: pb.LayerTrace) -> str:
    """Everything about one reading: totals, kinds of writes, sizes and alignments."""
    head = f"volume {reading.volume}, layer {reading.sequence} ({reading.state}), {reading.trace}"
    if reading.untraced_reason:
        head += f": {reading.untraced_reason}"
    if reading.HasField("since"):
        head += f"\nsince {words.when(reading.since)}, read {words.when(reading.read_at)}"
    if not reading.HasField("since"):
        return head
    kinds = {
        "write-zeroes": reading.zeroes,
        "discards": reading.discards,
        "FUA": reading.fua,
        "metadata": reading.metadata,
    }
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    totals = (
        f"{reading.writes} writes of {human_size(reading.bytes)}: {reading.blocks} blocks of"
        f" {human_size(reading.block_bytes)} in {reading.chunks} chunks of"
        f" {human_size(reading.chunk_bytes)} changed\n"
        f"{f'of these {told}; ' if told else ''}"
        f"{reading.flushes} flushes; {reading.lost} marks lost"
    )
    parts = [head, totals]
    parts += histogram("SIZE", list(reading.sizes))
    parts += histogram("ALIGNED TO", list(reading.alignments))
    return "\n\n".join(parts)


def histogram(name: str, buckets: list[int]) -> list[str]:
    """Powers of two of a sector, from the first that has something to the last; [] for none."""
    used = [number for number, count in enumerate(buckets) if count]
    if not used:
        return []
    most = max(buckets)
    rows = [
        (human_size(SECTOR << number), str(count), "*" * -(-count * BAR // most))
        for number, count in enumerate(buckets)
        if used[0] <= number <= used[-1]
    ]
    return [columns((name, "WRITES", ""), rows, right=f"{name} WRITES")]
