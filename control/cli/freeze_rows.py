"""Freeze Table 1 of WO 03/017022 as rows: Chunk No. and Address, -1 for what did not change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TextIO

from control.cli import words
from control.cli.schema import as_dict, error_dict
from control.units_text import human_size
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb

UNCHANGED = -1
WIDTH = 24


@dataclass(frozen=True, slots=True)
class Row:
    """A run of chunks: ``count`` from ``first``; ``address`` is the first's chunk in the AVL,
    rising by one, or -1 for all of them."""

    first: int
    count: int
    address: int


class Table:
    """A stream of parts, taken apart: rows as they come, the summary when it comes.

    Holds one row at a time, however many chunks the volume has.

    :ivar summary: None until the stream brought it, which may be first or last.
    """

    def __init__(self, parts: Iterable[pb.FreezeTablePart]) -> None:
        self._parts = parts
        self.summary: pb.FreezeTableSummary | None = None

    def rows(self, *, each: bool, changed: bool) -> Iterator[Row]:
        """In chunk order.

        :param each: a row for each chunk; else runs are joined as far as they go.
        :param changed: leave the -1s out.
        """
        runs = joined(run for run in self._runs() if not changed or run.address != UNCHANGED)
        for run in runs:
            if each:
                yield from single(run)
            else:
                yield run

    def _runs(self) -> Iterator[Row]:
        for part in self._parts:
            if part.HasField("summary"):
                self.summary = part.summary
            elif part.HasField("run"):
                yield Row(part.run.first_chunk, part.run.count, part.run.address)


def joined(runs: Iterable[Row]) -> Iterator[Row]:
    """Neighbours of one kind as one run: the daemon cuts runs where it likes."""
    held: Row | None = None
    for run in runs:
        if held is not None and _continues(held, run):
            held = replace(held, count=held.count + run.count)
            continue
        if held is not None:
            yield held
        held = run
    if held is not None:
        yield held


def _continues(before: Row, run: Row) -> bool:
    if run.first != before.first + before.count:
        return False
    if UNCHANGED in (before.address, run.address):
        return before.address == run.address
    return run.address == before.address + before.count


def single(run: Row) -> Iterator[Row]:
    """``run`` chunk by chunk."""
    for i in range(run.count):
        address = UNCHANGED if run.address == UNCHANGED else run.address + i
        yield Row(run.first + i, 1, address)


def write_text(table: Table, out: TextIO, *, each: bool, changed: bool) -> None:
    """The table in two columns, then the summary."""
    out.write(f"{'Chunk No.':>{WIDTH}}{'Address':>{WIDTH}}\n")
    for row in table.rows(each=each, changed=changed):
        address = "-1" if row.address == UNCHANGED else _range(row.address, row.count)
        out.write(f"{_range(row.first, row.count):>{WIDTH}}{address:>{WIDTH}}\n")
    if table.summary is not None:
        out.write(f"\n{summary_text(table.summary)}\n")


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def summary_text(summary: pb.FreezeTableSummary) -> str:
    """Two lines: whose table it is, and how much of the volume changed."""
    share = 100 * summary.changed_chunks / summary.chunks if summary.chunks else 0.0
    head = f"volume {summary.volume}, layer {summary.sequence}"
    head += f" ({summary.state})" if summary.state else ""
    if summary.HasField("read_at"):
        head += f", read {words.when(summary.read_at)}"
    return (
        f"{head}\n{summary.changed_chunks} of {summary.chunks} chunks of"
        f" {human_size(summary.chunk_bytes)} changed ({share:.1f} %),"
        f" {human_size(summary.changed_bytes)}"
    )


def write_json(table: Table, out: TextIO, *, each: bool, changed: bool) -> FrazilError | None:
    """One JSON document, written as the rows come: ``{"runs": [...], "summary": {...}}``.

    :return: what cut the stream off, if anything did; the document then says so in ``error``,
        and is whole JSON all the same.
    :raises FrazilError: the stream failed before anything was written.
    """
    rows = table.rows(each=each, changed=changed)
    row = next(rows, None)
    out.write('{"runs": [')
    failed, comma = None, ""
    try:
        while row is not None:
            run = {"first_chunk": row.first, "count": row.count, "address": row.address}
            out.write(f"{comma}\n{json.dumps(run)}")
            comma = ","
            row = next(rows, None)
    except FrazilError as error:
        failed = error
    summary = as_dict(table.summary) if table.summary is not None else None
    tail = {"summary": summary} | (error_dict(failed) if failed is not None else {})
    out.write(f"\n], {json.dumps(tail)[1:]}\n")
    return failed
