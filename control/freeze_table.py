"""The patent's Freeze Table 1, read from an exception store: chunk, and address or -1."""

from __future__ import annotations

from collections.abc import Iterator

from control.image import ChunkMap
from control.records import LayerRecord
from control.volume import Volume
from dm_tables.errors import NotFound, Precondition
from dm_tables.units import Bytes, chunks_covering
from proto.frazil.v1 import control_pb2 as pb

UNCHANGED = -1


def freeze_table_parts(
    volume: Volume, sequence: int | None, *, changed_only: bool
) -> Iterator[pb.FreezeTablePart]:
    """The table of a layer as a summary and then its runs, in chunk order.

    Memory follows what changed. A live layer is read as it stands on disk.

    :raises NotFound: the volume has no such layer.
    :raises Precondition: it has no layer at all: nothing was frozen yet.
    """
    layer = layer_of(volume, sequence)
    chunks = chunks_covering(volume.record.size, layer.chunk)
    with volume.reader(layer) as store:
        table = ChunkMap(store)
    changed = sum(table.count)
    summary = pb.FreezeTableSummary(
        volume=volume.name,
        sequence=layer.sequence,
        state=layer.state.value,
        chunk_bytes=layer.chunk,
        chunks=chunks,
        changed_chunks=changed,
        changed_bytes=_changed_bytes(table, changed, chunks, layer.chunk, volume.record.size),
    )
    summary.read_at.GetCurrentTime()
    yield pb.FreezeTablePart(summary=summary)
    for first, count, address in table.stretches(0, chunks):
        if address or not changed_only:
            run = pb.FreezeTableRun(first_chunk=first, count=count, address=address or UNCHANGED)
            yield pb.FreezeTablePart(run=run)


def layer_of(volume: Volume, sequence: int | None) -> LayerRecord:
    """A layer of a volume; None: the newest one. :raises NotFound, Precondition: see above."""
    layers = volume.layers
    if not layers:
        raise Precondition(
            f"volume {volume.name} has no freeze table: it was not frozen yet",
            "start a mirror of it",
        )
    if sequence is None:
        return layers[-1]
    for layer in layers:
        if layer.sequence == sequence:
            return layer
    there = ", ".join(str(layer.sequence) for layer in layers)
    raise NotFound(f"volume {volume.name} has no layer {sequence}", f"it has: {there}")


def _changed_bytes(table: ChunkMap, changed: int, chunks: int, chunk: Bytes, size: Bytes) -> int:
    """The changed chunks' bytes inside the volume: its last chunk may be partial."""
    last = next(table.stretches(chunks - 1, chunks))
    clipped = chunks * chunk - size if last[2] else 0
    return changed * chunk - clipped
