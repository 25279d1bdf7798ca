"""How a volume is written and what comes of it, as messages."""

from __future__ import annotations

import time

from control.forecast import CycleForecast, CycleNow, fills_in, forecast_cycle, throughput
from control.mirror import MirrorWorker
from control.pattern import Pattern
from control.records import LayerState, MirrorState
from control.trace import Tracing
from control.volume import Volume
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2

NEWEST_COPIES = 5


def pattern_message(volume: Volume) -> control_pb2.WritePattern:
    """The newest traced cycles, and the writes of the live one."""
    evidence = volume.evidence()
    seen = sum(evidence, Pattern()) + live_writes(volume, volume.context.tracing)
    return control_pb2.WritePattern(
        cycles=len(evidence),
        writes=seen.writes,
        bytes=seen.bytes,
        blocks=seen.blocks,
        sizes=seen.sizes,
        alignments=seen.alignments,
    )


def live_writes(volume: Volume, tracing: Tracing) -> Pattern:
    """What was counted of the live layer, if it is traced; not which blocks, which costs more."""
    live = next((r for r in volume.layers if r.state is LayerState.LIVE), None)
    if live is None:
        return Pattern()
    view = tracing.view(live)
    if not view.traced:
        return Pattern()
    counters = view.counters
    return Pattern(
        writes=counters.writes,
        bytes=counters.bytes,
        sizes=counters.sizes,
        alignments=counters.alignments,
    )


def room_message(volume: Volume, used: int, size: int) -> control_pb2.RoomForecast:
    """When room will be short.

    :param used: bytes of the live auxiliary volume; ``size`` is all of its.
    """
    rates = volume.context.rates
    growth = rates.growth(volume.name)
    message = control_pb2.RoomForecast(
        dirty_bytes_per_second=growth.now, average_bytes_per_second=growth.average
    )
    # One with room for the whole volume neither fills nor grows.
    if volume.watched:
        layer = fills_in(size - used, growth.expected)
        pool = fills_in(volume.context.pool.free() + size - used, rates.total().expected)
        if layer is not None:
            message.layer_full_seconds = layer
        if pool is not None:
            message.pool_full_seconds = pool
    return message


def cycle_forecast(worker: MirrorWorker) -> CycleForecast | None:
    """The next cycle of a mirror; None while it does not run."""
    record = worker.record
    if record.state is not MirrorState.RUNNING:
        return None
    standing = worker.committed
    changed, growth = worker.group.changed(), worker.group.growth()
    progress = worker.now.progress
    copying = max(0, progress.total - progress.done) if progress is not None else 0
    copies = worker.context.journal.cycles(record.name, NEWEST_COPIES)
    return forecast_cycle(
        CycleNow(
            changed=round(changed),
            growth=growth,
            volume=Bytes(worker.group.size()),
            copying=copying,
            throughput=(progress.rate if progress is not None else 0.0) or throughput(copies),
            due=worker.due(record, idle=not changed and not growth),
            age=time.time() - standing.committed_frozen_at if standing is not None else None,
        )
    )


def forecast_message(found: CycleForecast) -> control_pb2.CycleForecast:
    """For the API."""
    return control_pb2.CycleForecast(
        bytes=found.size,
        freeze_seconds=found.freeze_in,
        commit_seconds=found.commit_in,
        lag_seconds=found.lag,
        falling_behind=found.falling_behind,
    )
