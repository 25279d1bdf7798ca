"""A volume's writes over address and cycle, as a message."""

from __future__ import annotations

import logging

from control.blocks import BLOCK
from control.historian import live_cycle
from control.history import KEPT, CycleWrites
from control.pattern import borders
from control.records import LayerState
from control.volume import Volume
from dm_tables.errors import FrazilError, Precondition
from proto.frazil.v1 import control_pb2 as pb

log = logging.getLogger("frazil.history")


def heat_map(volume: Volume, cycles: int = 0) -> pb.HeatMap:
    """The newest cycles, and the running one.

    :param cycles: so many in all; 0: what is kept.
    :raises Precondition: nothing was frozen yet.
    """
    rows = volume.context.history.cycles(volume.uuid, cycles or KEPT)
    live = next((r for r in volume.layers if r.state is LayerState.LIVE), None)
    if live is not None:
        try:
            rows.append(live_cycle(volume, live))
        except FrazilError as error:
            log.info("volume %s: the live layer cannot be read: %s", volume.name, error)
    if not rows:
        raise Precondition(
            f"volume {volume.name} has no heat map: it was not frozen yet", "start a mirror of it"
        )
    size = volume.record.size
    return pb.HeatMap(
        volume=volume.name,
        size_bytes=size,
        block_bytes=BLOCK,
        regions=len(borders(size)) - 1,
        rows=[_row(row) for row in rows[-(cycles or len(rows)) :]],
    )


def _row(row: CycleWrites) -> pb.HeatRow:
    message = pb.HeatRow(
        sequence=row.sequence,
        traced=row.traced,
        chunk_bytes=row.chunk,
        blocks=row.pattern.blocks,
        writes=row.pattern.writes,
        bytes=row.pattern.bytes,
        counts=row.counts,
    )
    message.began.FromNanoseconds(int(row.began * 1e9))
    if row.frozen:
        message.frozen.FromNanoseconds(int(row.frozen * 1e9))
    return message
